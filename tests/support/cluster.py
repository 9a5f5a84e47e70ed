"""A Dask cluster on this computer: a scheduler and workers, each a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from distributed import Client

from tests.support.ports import free_port

START_SECONDS = 60.0


class DaskCluster:
    """What an admin starts: ``dask scheduler`` and some ``dask worker``.

    Parameters
    ----------
    folder
        Where logs and the workers' own files go.
    options
        Further options of both commands, those of TLS for one.
    """

    def __init__(
        self,
        folder: Path,
        workers: int = 2,
        *,
        threads: int = 4,
        protocol: str = "tcp",
        options: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder
        self._threads = threads
        self._options = options
        self.port = free_port()
        self.address = f"{protocol}://127.0.0.1:{self.port}"
        self.scheduler = self.start_scheduler()
        self.workers = [self.start_worker(number) for number in range(workers)]

    def start_scheduler(self) -> "subprocess.Popen[bytes]":
        self.scheduler = self._start(
            "scheduler", "--host", self.address.rpartition(":")[0], "--port", str(self.port)
        )
        return self.scheduler

    def start_worker(self, number: int, *options: str) -> "subprocess.Popen[bytes]":
        """Start one that ends when its scheduler does, as Dask has it."""
        return self._start(
            "worker", self.address, "--name", f"worker-{number}-{uuid4().hex}",
            "--nthreads", str(self._threads), "--local-directory", str(self._folder),
            "--no-nanny", *options,
        )  # fmt: skip

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self._folder / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, "--no-dashboard", *self._options],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )

    def await_workers(self, count: int) -> None:
        with Client(self.address, set_as_default=False, timeout=30) as client:
            client.wait_for_workers(count, timeout=START_SECONDS)

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()

    def __enter__(self) -> "DaskCluster":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
