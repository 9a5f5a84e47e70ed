"""The executor over a cluster: the same promises as that of processes, kept elsewhere."""

import logging
import pickle
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import uuid4

from benchwire.foundation.cluster import host
from benchwire.foundation.cluster.connection import (
    Cluster,
    ClusterAway,
    Connection,
    ConnectionLost,
    Running,
)
from benchwire.foundation.errors import Failed
from benchwire.foundation.workers import OnProgress, TooBusy, WorkStopped, WorkTimedOut, packed

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ATTEMPTS = 3
_LOOK_SECONDS = 0.1
# What the way there and back may take on top of a limit that the worker keeps.
_SPARE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Task:
    name: str
    order: bytes
    on_progress: OnProgress | None
    time_limit: float | None
    is_unwanted: Callable[[], bool]


class ClusterExecutor:
    """Pieces of work done by the workers of a cluster.

    Parameters
    ----------
    at_once
        How many are handed to the cluster at once; the others wait here.
    is_urgent
        Whether somebody waits for them: they go before others that wait in the cluster.
    """

    def __init__(self, cluster: Cluster, at_once: int, *, is_urgent: bool = False) -> None:
        self._cluster = cluster
        self._priority = int(is_urgent)
        self._closing = threading.Event()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="cluster")

    def submit(
        self,
        work: Callable[..., T],
        *args: Any,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
        time_limit: float | None = None,
    ) -> Future[T]:
        """Run ``work(reporter, *args)`` on the cluster; see `Executor`."""
        failed: Future[T] = Future()
        if self._closing.is_set():
            failed.set_exception(WorkStopped("The server is shutting down"))
            return failed
        try:
            order = packed(work, args)
        except Failed as error:
            failed.set_exception(error)
            return failed

        def is_unwanted() -> bool:
            return self._closing.is_set() or (stop is not None and stop.is_set())

        task = _Task(work.__name__, order, on_progress, time_limit, is_unwanted)
        return cast("Future[T]", self._threads.submit(self._do, task))

    def close(self) -> None:
        """End all work; the cluster stays."""
        self._closing.set()
        self._threads.shutdown()

    # -- one thread per piece under way -----------------------------------------------------

    def _do(self, task: _Task) -> Any:
        patience = min(self._cluster.patience, task.time_limit or self._cluster.patience)
        for _ in range(_ATTEMPTS):
            connection = self._cluster.connected(patience, task.is_unwanted)
            if connection is None:
                raise _stopped()
            key = f"{task.name}-{uuid4().hex}"
            try:
                kind, payload = self._done_there(connection, key, task)
            except ConnectionLost:
                logger.warning("%s was lost with the cluster and is begun anew", key)
                # Where it was under way it is ended by then: no two may write the same files.
                self._closing.wait(self._cluster.grace + _SPARE_SECONDS)
                continue
            if kind == host.LEFT:
                continue
            value = pickle.loads(payload)  # noqa: S301 - from the cluster that was chosen
            if kind == host.DONE:
                return value
            raise value
        raise ClusterAway("The cluster went away with the work more than once")

    def _done_there(self, connection: Connection, key: str, task: _Task) -> host.Outcome:
        running = connection.start(
            key, task.order, time_limit=task.time_limit, priority=self._priority
        )
        try:
            return _Watch(self._cluster, connection, running, task).until_over()
        finally:
            connection.let_go(running)


class _Watch:
    """A piece under way: passes on what is told of it, and sees to its limits."""

    def __init__(
        self, cluster: Cluster, connection: Connection, running: Running, task: _Task
    ) -> None:
        self._cluster = cluster
        self._connection = connection
        self._running = running
        self._task = task
        self._since = self._peopled_at = time.monotonic()
        self._asked_at: float | None = None
        self._reason: Exception | None = None

    def until_over(self) -> host.Outcome:
        """Wait for the end, and return what came of it.

        Raises
        ------
        ConnectionLost
            The cluster went away.
        WorkStopped, WorkTimedOut, TooBusy
            It was ended, or never begun.
        ClusterAway
            There is no worker to begin it.
        """
        while True:
            try:
                what = self._running.told.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                pass
            else:
                if what is None:
                    return self._outcome()
                self._hear(what)
            # Also after a message: work may tell more often than this waits for one.
            self._look()

    def _outcome(self) -> host.Outcome:
        if self._connection.lost.is_set():
            raise ConnectionLost
        kind, payload = self._running.outcome()
        if self._reason is not None and kind != host.DONE:
            raise self._reason
        return kind, payload

    def _hear(self, what: dict[str, Any]) -> None:
        if what["kind"] == host.BEGUN:
            self._since = time.monotonic()
        elif self._task.on_progress is not None:
            try:
                self._task.on_progress(what["fraction"], what["message"])
            except Exception:
                # The work itself goes on; its promise must be kept whatever they do.
                logger.exception("progress could not be told")

    def _look(self) -> None:
        if self._connection.lost.is_set():
            raise ConnectionLost
        now = time.monotonic()
        if self._asked_at is not None:
            if self._reason is not None and now - self._asked_at > self._ending_seconds:
                raise self._reason
            return
        self._reason = self._why_end(now - self._since)
        if self._reason is not None:
            self._asked_at = now
            if not self._connection.stop(self._running):
                raise self._reason

    @property
    def _ending_seconds(self) -> float:
        return self._cluster.grace + _SPARE_SECONDS

    def _why_end(self, seconds: float) -> Exception | None:
        """Return why a piece should end that has been waiting or under way for so long."""
        if self._task.is_unwanted():
            return _stopped()
        limit, is_begun = self._task.time_limit, self._running.worker is not None
        # The worker keeps the limit of what it has begun, if it can.
        if limit is not None and seconds > limit + is_begun * self._ending_seconds:
            if is_begun:
                return WorkTimedOut(f"The work took longer than {limit:g} s")
            return TooBusy("The cluster is busy with other work; try again later")
        # What was begun by a worker that is gone waits for another like all else.
        if self._connection.threads:
            self._peopled_at = time.monotonic()
        elif time.monotonic() - self._peopled_at > self._cluster.patience:
            self._cluster.raise_if_deserted(self._connection)
        return None


def _stopped() -> WorkStopped:
    return WorkStopped("The work was stopped")
