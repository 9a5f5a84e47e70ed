"""A real server in a process of its own, started and ended as a person or an accident would."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx
import psutil

START_SECONDS = 60.0


class Server:
    """``benchwire serve`` on a data folder, with SQLite in it unless a URL names PostgreSQL."""

    module = "benchwire"
    command = "serve"

    def __init__(
        self,
        data_dir: Path,
        port: int,
        *options: str,
        environment: dict[str, str] | None = None,
        database_url: str | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = data_dir.parent / f"{data_dir.name}-{port}.log"
        self._options = options
        self._environment = dict(environment or {})
        if database_url is not None:
            self._environment["BENCHWIRE_DATABASE_URL"] = database_url
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.spawn()
        try:
            self.wait_until_whole()
        except BaseException:
            self.kill()
            raise

    def spawn(self) -> None:
        """Begin a life without waiting for an answer."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", self.module, self.command, "--port", str(self.port),
                    "--data-dir", str(self.data_dir), *self._options,
                ],
                env=self.environment,
                stdout=log,
                stderr=log,
            )  # fmt: skip

    def wait_until_whole(self, path: str = "/version") -> None:
        """Wait until a path is answered; only ``/health`` is before all of the server is there."""
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            try:
                httpx.get(f"{self.url}{path}", timeout=1)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return

    @property
    def environment(self) -> dict[str, str]:
        clean = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("BENCHWIRE_", "BOX_", "RUNS_ROOT", "NAS_", "PYAMA_"))
        }
        return {**clean, "BENCHWIRE_UI": "false", **self._environment}

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")[-8000:]

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self.process is not None
        return self.process.pid

    @property
    def holders(self) -> list[psutil.Process]:
        """The processes that hold its potentiostats."""
        return self._companions("potentiostat.holding:Holding")

    @property
    def meter_readers(self) -> list[psutil.Process]:
        """The processes that read its meters."""
        return self._companions("powermeter.holding:Holding")

    def _companions(self, name: str) -> list[psutil.Process]:
        return children_named(psutil.Process(self.pid), name) if self.is_running else []

    def kill(self) -> None:
        """End it as a power cut would, with the processes that hold its instruments."""
        holders = [*self.holders, *self.meter_readers]
        for holder in holders:
            # In the moment between the two it would open every cell.
            with contextlib.suppress(psutil.NoSuchProcess):
                holder.suspend()
        self.kill_alone()
        for holder in holders:
            with contextlib.suppress(psutil.NoSuchProcess):
                holder.kill()

    def kill_alone(self) -> None:
        """End the process that answers, and no other."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = 20.0) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_running:
            self.stop()


def children_named(process: psutil.Process, name: str) -> list[psutil.Process]:
    """Return the children of a process that have this in their command."""
    found = []
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if name in " ".join(child.cmdline()):
                found.append(child)
    return found
