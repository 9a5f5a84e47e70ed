"""What runs on a worker of the cluster: it has each piece of work done in a process below it.

A piece that hangs, crashes or takes too much memory thereby ends alone. The Dask worker itself
only waits, and other pieces on it, of this server or of anybody, go on.
"""

import pickle
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from distributed import Worker, WorkerPlugin, get_worker

from benchwire import __version__
from benchwire.foundation.errors import Failed
from benchwire.foundation.workers import ProcessExecutor, WorkStopped

PLUGIN = "benchwire"
BEGUN = "begun"
PROGRESS = "progress"
DONE = "done"
ERROR = "error"
LEFT = "left"
_REMEMBERED = 10_000

Outcome = tuple[str, bytes]
"""`DONE` with the pickled result, `ERROR` with the pickled exception, or `LEFT`: begin anew."""


class WorkerUnfit(Failed):
    """A worker of the cluster lacks what the server's work needs."""

    code = "cluster.worker_unfit"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a worker must have to do a server's work.

    Parameters
    ----------
    version
        The server's version of benchwire.
    probe, token
        A file in the server's data folder, and what stands in it.
    folders
        Other folders it has to see.
    """

    version: str
    probe: Path
    token: str
    folders: tuple[Path, ...]

    def lacking(self) -> str | None:
        """Return what is missing where this is called, None if nothing is."""
        if self.version != __version__:
            return f"has benchwire {__version__} and this server {self.version}"
        try:
            is_same = self.probe.read_text("ascii") == self.token
        except (OSError, ValueError):
            is_same = False
        if not is_same:
            return "does not see the server's data folder under the same path"
        unseen = [folder for folder in self.folders if not folder.is_dir()]
        if unseen:
            return f"does not see {len(unseen)} of the folders that requests may name"
        return None


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of work on its way to a worker.

    Parameters
    ----------
    key
        Its name in the cluster.
    order
        Pickled pair of the function and its arguments.
    memory
        Bytes that its process may have at most, None for any.
    topic
        Where the server listens for what is told of it.
    """

    key: str
    order: bytes
    time_limit: float | None
    memory: int | None
    topic: str
    needs: Needs


class Host(WorkerPlugin):
    """The processes below one Dask worker, as many as it has threads."""

    # A second server, or this one come back, must not end what is running.
    idempotent = True

    def __init__(self, grace: float) -> None:
        self._grace = grace

    def setup(self, worker: Worker) -> None:
        """Make ready; processes are started when first needed."""
        self._n_threads = worker.state.nthreads
        # By the memory limit of the server that asks.
        self._executors: dict[int | None, ProcessExecutor] = {}
        self._lock = threading.Lock()
        self._stops: dict[str, threading.Event] = {}
        self._unwanted: deque[str] = deque(maxlen=_REMEMBERED)
        self._fit_for: set[str] = set()

    def teardown(self, worker: Worker) -> None:
        """End all work."""
        for executor in list(self._executors.values()):
            executor.close()

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """End a piece that nobody wants any more: its server is gone, or let go of it."""
        if (start, finish) == ("executing", "released"):
            self.stop(key)

    def stop(self, key: str) -> bool:
        """Have a piece stopped, and return whether it is running here; it will not begin then."""
        with self._lock:
            event = self._stops.get(key)
            if event is None:
                self._unwanted.append(key)
                return False
        event.set()
        return True

    def lacking(self, needs: Needs) -> str | None:
        """Return what this computer lacks; what it once had is not looked for again."""
        if needs.token in self._fit_for:
            return None
        found = needs.lacking()
        if found is None:
            self._fit_for.add(needs.token)
        return found

    def do(self, piece: Piece, tell: Callable[[dict[str, Any]], None]) -> Outcome:
        """Have a piece of work done and return what came of it."""
        stop = threading.Event()
        with self._lock:
            if piece.key in self._unwanted:
                return ERROR, pickle.dumps(WorkStopped("The work was stopped"))
            self._stops[piece.key] = stop
            executor = self._executors.get(piece.memory)
            if executor is None:
                executor = ProcessExecutor(self._n_threads, memory=piece.memory, grace=self._grace)
                self._executors[piece.memory] = executor
        try:
            work, args = pickle.loads(piece.order)  # noqa: S301 - from the server that set us up
            future = executor.submit(
                work,
                *args,
                on_progress=lambda fraction, message: tell(
                    {"kind": PROGRESS, "fraction": fraction, "message": message}
                ),
                stop=stop,
                time_limit=piece.time_limit,
            )
            result = future.result()
        except WorkStopped as error:
            # Unless asked for, it is this worker that ends; the piece is somebody else's then.
            return (ERROR, pickle.dumps(error)) if stop.is_set() else (LEFT, b"")
        except Exception as error:  # noqa: BLE001 - handed to the one who asked
            return ERROR, pickle.dumps(error)
        else:
            return DONE, pickle.dumps(result)
        finally:
            with self._lock:
                del self._stops[piece.key]


def do_piece(piece: Piece) -> Outcome:
    """Do a piece of work; what Dask runs."""
    worker = get_worker()

    def tell(what: dict[str, Any]) -> None:
        worker.log_event(piece.topic, {**what, "key": piece.key})

    host = _host_of(worker)
    lacking = piece.needs.lacking() if host is None else host.lacking(piece.needs)
    if host is None or lacking is not None:
        message = f"The worker {worker.name} of the cluster {lacking or 'was not made ready'}"
        return ERROR, pickle.dumps(WorkerUnfit(message))
    tell({"kind": BEGUN, "worker": worker.address})
    return host.do(piece, tell)


def stop_piece(key: str, dask_worker: Worker) -> bool:
    """Stop a piece of work, and return whether it is running on this worker."""
    host = _host_of(dask_worker)
    return host is not None and host.stop(key)


def look(needs: Needs, dask_worker: Worker) -> str | None:
    """Return what this worker lacks, as the rest of a sentence that begins with its name."""
    host = _host_of(dask_worker)
    return needs.lacking() if host is None else host.lacking(needs)


def _host_of(worker: Worker) -> Host | None:
    return cast("Host | None", worker.plugins.get(PLUGIN))
