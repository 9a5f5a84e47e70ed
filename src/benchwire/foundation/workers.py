"""Where work runs that would hold up the server: threads, or processes of its own.

Everything goes through one `Executor`, so that a cluster can take its place: work is a function of
a module, its arguments are paths and small values, and it reports through the `Reporter` it gets.

A process pool of our own, because the standard one loses every running part when a single worker
is killed, and cannot stop a part that hangs.
"""

import contextlib
import logging
import math
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchwire.foundation.errors import BenchwireError, Failed, Invalid, Unavailable
from benchwire.foundation.processes import (
    OwnProcess,
    connect_back,
    packed_error,
    set_niceness,
    unpacked_error,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

STOP_GRACE_SECONDS = 1.5
IDLE_SECONDS = 300.0
# Work yields to the server and its instruments, and still gets a tenth of a core that others want:
# somebody waits for its plots and previews.
_NICENESS = 10
_ATTEMPTS = 2
_LOOK_SECONDS = 0.1
_TELL_SECONDS = 0.05


class WorkerDied(Failed):
    """The process that did the work ended without a word, twice."""

    code = "workers.died"


class WorkTimedOut(Failed):
    """The work did not end within its time limit."""

    code = "workers.timed_out"


class WorkNeedsMemory(Invalid):
    """What was to be worked on takes more memory than a worker process may have."""

    code = "workers.needs_memory"


class WorkStopped(BenchwireError):
    """The work was stopped because it was asked to."""

    code = "workers.stopped"


class Reporter(Protocol):
    """What work in an executor may tell and ask."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the work is, from 0 to 1."""

    def raise_if_stopped(self) -> None:
        """Raise `WorkStopped` if the work should end."""


class TooBusy(Unavailable):
    """All workers were busy with other work for too long."""

    code = "workers.busy"


OnProgress = Callable[[float, str], None]


class Executor(Protocol):
    """Runs functions somewhere else."""

    def submit(
        self,
        work: Callable[..., T],
        *args: Any,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
        time_limit: float | None = None,
    ) -> Future[T]:
        """Run ``work(reporter, *args)`` and return the promise of its result.

        Parameters
        ----------
        stop
            Once set, the work is told, and ended by force if it does not listen.
        time_limit
            Seconds after which it is ended likewise.
        """

    def close(self) -> None:
        """End all work and every worker."""


class Turns:
    """Takes turns among those who wait for work of one sort.

    Parameters
    ----------
    at_once
        How many may be under way.
    waiting
        How many more may wait for their turn; the next is refused.
    """

    def __init__(self, at_once: int, waiting: int = 0) -> None:
        self._room = threading.BoundedSemaphore(at_once + waiting)
        self._turn = threading.BoundedSemaphore(at_once)

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn, and have it for the length of a block.

        Raises
        ------
        TooBusy
            Too many are waiting already.
        """
        if not self._room.acquire(blocking=False):
            raise TooBusy("The server is busy with other work; try again later")
        try:
            with self._turn:
                yield
        finally:
            self._room.release()


def ask(executor: Executor, work: Callable[..., T], *args: Any, seconds: float) -> T:
    """Have something done that somebody waits for, and return what came of it.

    Raises
    ------
    WorkTimedOut
        It was begun and took longer.
    TooBusy
        It was not begun in that time.
    """
    future = executor.submit(work, *args, time_limit=seconds)
    try:
        return future.result(seconds + STOP_GRACE_SECONDS + 1.0)
    except TimeoutError:
        if future.cancel():
            raise TooBusy("The server is busy with other work; try again later") from None
        return future.result()


def packed(work: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """Return a piece of work as it is handed to another process.

    Raises
    ------
    Failed
        The function or an argument cannot leave this one.
    """
    try:
        return pickle.dumps((work, args))
    except Exception as error:
        raise Failed(f"The work cannot be handed over: {error}") from error


@dataclass(slots=True)
class _Task:
    work: Callable[..., Any]
    args: tuple[Any, ...]
    on_progress: OnProgress | None
    stop: threading.Event | None
    time_limit: float | None
    future: Future[Any]


class ProcessExecutor:
    """Worker processes, started when first needed and kept warm.

    Parameters
    ----------
    processes
        How many work side by side.
    memory
        Bytes that one of them may have at most, where the system can tell (Linux); None for any.
    grace
        Seconds between asking work to stop and ending its process.
    """

    def __init__(
        self,
        processes: int,
        *,
        memory: int | None = None,
        grace: float = STOP_GRACE_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._processes = processes
        self._memory = memory
        self._grace = grace
        self._idle_seconds = idle_seconds
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        # Threads that look for work, less the work that waits for one.
        self._spare = 0
        self._closing = threading.Event()

    def submit(
        self,
        work: Callable[..., T],
        *args: Any,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
        time_limit: float | None = None,
    ) -> Future[T]:
        """Run ``work(reporter, *args)`` in a worker process; see `Executor`."""
        future: Future[T] = Future()
        with self._lock:
            if self._closing.is_set():
                future.set_exception(WorkStopped("The server is shutting down"))
                return future
            self._tasks.put(_Task(work, args, on_progress, stop, time_limit, future))
            self._spare -= 1
            # A thread that looks for work may be promised one piece already, and not be awake yet.
            if self._spare < 0 and len(self._threads) < self._processes:
                thread = threading.Thread(target=self._serve, name="worker", daemon=True)
                self._threads.append(thread)
                self._spare += 1
                thread.start()
        return future

    def close(self) -> None:
        """End all work and every worker process."""
        with self._lock:
            self._closing.set()
            threads = list(self._threads)
        for _ in threads:
            self._tasks.put(None)
        for thread in threads:
            thread.join(self._grace + 2.0)
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                return
            if task is not None and task.future.set_running_or_notify_cancel():
                task.future.set_exception(WorkStopped("The server is shutting down"))

    # -- one thread per process -------------------------------------------------------------

    def _serve(self) -> None:
        worker: _Worker | None = None
        try:
            while True:
                task = self._next_task()
                if task is None:
                    return
                if not task.future.set_running_or_notify_cancel():
                    pass
                elif self._closing.is_set():
                    task.future.set_exception(WorkStopped("The server is shutting down"))
                else:
                    worker = self._do(worker, task)
                with self._lock:
                    self._spare += 1
        finally:
            if worker is not None:
                worker.end()

    def _next_task(self) -> _Task | None:
        """Return a piece of work; None if there is none, and this thread serves no more."""
        task, is_over = None, False
        try:
            task = self._tasks.get(timeout=self._idle_seconds)
        except queue.Empty:
            is_over = True
        if task is None:
            with self._lock:
                if is_over:
                    # Who has just handed something in counted on this thread, and started no other.
                    with contextlib.suppress(queue.Empty):
                        task = self._tasks.get_nowait()
                if task is None:
                    self._spare -= 1
                    self._threads.remove(threading.current_thread())
        return task

    def _do(self, worker: "_Worker | None", task: _Task) -> "_Worker | None":
        try:
            order = packed(task.work, task.args)
        except Failed as error:
            task.future.set_exception(error)
            return worker
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if worker is None:
                    worker = _Worker(self._memory)
                worker.connection.send_bytes(order)
                outcome, value = self._follow(worker, task)
            except Exception as error:  # noqa: BLE001 - an answer may be built in any way
                # Where a message could not be read, the answer may still come, as if to other work.
                if worker is not None:
                    worker.end()
                worker = None
                lost = _lost(error)
                is_dead = isinstance(lost, WorkerDied)
                if is_dead and attempt < _ATTEMPTS and not self._closing.is_set():
                    continue
                task.future.set_exception(lost)
                return None
            break
        if outcome == "killed" and worker is not None:
            worker.end()
            worker = None
        if outcome == "done":
            task.future.set_result(value)
        else:
            task.future.set_exception(value)
        return worker

    def _follow(self, worker: "_Worker", task: _Task) -> tuple[str, Any]:
        """Return how a piece of work ended; a worker that must be ended is told by ``killed``."""
        started = time.monotonic()
        asked_at: float | None = None
        reason: BenchwireError = WorkStopped("The work was stopped")
        while True:
            if worker.connection.poll(_LOOK_SECONDS):
                kind, value = worker.receive()
                if kind != "progress":
                    return kind, value if asked_at is None or kind == "done" else reason
                if task.on_progress is not None:
                    try:
                        task.on_progress(*value)
                    except Exception:
                        # The work itself goes on; its promise must be kept whatever they do.
                        logger.exception("progress could not be told")
            # Also after a message: work may tell more often than this looks.
            now = time.monotonic()
            if asked_at is None:
                over_time = task.time_limit is not None and now - started > task.time_limit
                if over_time:
                    reason = WorkTimedOut(f"The work took longer than {task.time_limit:g} s")
                is_stopped = task.stop is not None and task.stop.is_set()
                if over_time or is_stopped or self._closing.is_set():
                    asked_at = now
                    worker.connection.send_bytes(_STOP)
            elif now - asked_at > self._grace:
                return "killed", reason


def _lost(error: Exception) -> Failed:
    """Return what to say of work whose answer did not come."""
    if isinstance(error, (EOFError, OSError)):
        return WorkerDied("The worker process ended unexpectedly; it may lack memory")
    told = f"{type(error).__name__}: {error}"
    return Failed(f"The answer of the worker process cannot be had: {told}")


_STOP = b"stop"


class _Worker(OwnProcess):
    """One worker process."""

    def __init__(self, memory: int | None) -> None:
        super().__init__(__name__, memory)

    def receive(self) -> tuple[str, Any]:
        """Return the worker's next message."""
        kind, payload = self.connection.recv()
        return kind, unpacked_error(payload) if kind == "error" else payload


# -- inside the worker process ----------------------------------------------------------------


class _PipeReporter:
    def __init__(self, connection: Any, stopped: threading.Event) -> None:
        self._connection = connection
        self._stopped = stopped
        self._told, self._told_at = "", -math.inf

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell it, unless the same words have been told just now: no one reads that fast."""
        now = time.monotonic()
        if message == self._told and fraction < 1 and now - self._told_at < _TELL_SECONDS:
            return
        self._told, self._told_at = message, now
        self._connection.send(("progress", (fraction, message)))

    def raise_if_stopped(self) -> None:
        if self._stopped.is_set():
            raise WorkStopped("The work was stopped")


def worker_main() -> None:
    """Do what is handed over until the connection ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A service manager may send them to every process; the server ends its workers itself.
        signal.signal(number, signal.SIG_IGN)
    set_niceness(_NICENESS)
    connection, (memory,) = connect_back()
    _limit_memory(memory)
    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    stopped = threading.Event()

    def listen() -> None:
        while True:
            try:
                message = connection.recv_bytes()
            except (EOFError, OSError, MemoryError):
                # The server is gone; work that hangs would otherwise stay for ever.
                os._exit(0)
            if message == _STOP:
                stopped.set()
            else:
                orders.put(message)

    threading.Thread(target=listen, daemon=True).start()
    reporter = _PipeReporter(connection, stopped)
    while True:
        order = orders.get()
        stopped.clear()
        connection.send_bytes(_outcome(order, reporter))


def _limit_memory(memory: int | None) -> None:
    """Have work fail that would take the machine's memory, an image bomb for one.

    Files that are mapped do not count: a movie may be larger than any memory.
    """
    if sys.platform != "linux":
        return
    import resource

    if memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with contextlib.suppress(OSError):
        # Should the machine run out all the same, the system ends a worker and not the server.
        Path("/proc/self/oom_score_adj").write_text("500", "ascii")


def _outcome(order: bytes, reporter: _PipeReporter) -> bytes:
    """Do a piece of work and return the pickled end of it, as the parent receives it."""
    try:
        work, args = pickle.loads(order)  # noqa: S301 - from our own parent
        return pickle.dumps(("done", work(reporter, *args)))
    except MemoryError:
        error = WorkNeedsMemory(
            "The work needs more memory than one worker process may have",
            hint="Is the file what it should be? worker_memory_mb sets the limit.",
        )
        return pickle.dumps(("error", packed_error(error)))
    except Exception as error:  # noqa: BLE001 - handed to the one who asked
        return pickle.dumps(("error", packed_error(error)))


if __name__ == "__main__":
    # Run under the module's own name, so that what is pickled here is known to the parent.
    from benchwire.foundation.workers import worker_main as run

    run()
