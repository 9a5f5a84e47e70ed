"""Readings on their way to the disk: one write at a time, the next batch gathers meanwhile.

Meters that are read ten times a second would otherwise keep the disk syncing all the time, and
every other write waiting for it.

While the database is away everything waits here and is tried again, up to a limit that is told.
"""

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Protocol

from benchwire.domains.powermeter.alarms import AlarmEvent
from benchwire.domains.powermeter.charging import Session
from benchwire.domains.powermeter.readings import Reading
from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import BenchwireError

logger = logging.getLogger(__name__)

MOST_WAITING = 100_000
RETRY_SECONDS = 1.0
# The shortest time from one write of mere readings to the next; after a pause they do not wait.
GATHER_SECONDS = 0.2


class Batch:
    """Readings, and what they have changed, that go to the disk together."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        # Of a session only the latest state counts.
        self.sessions: dict[int, Session] = {}
        self.events: list[AlarmEvent] = []

    def __bool__(self) -> bool:
        return bool(self.readings or self.sessions or self.events)

    @property
    def is_news(self) -> bool:
        """Whether somebody is told of what is in it, and may ask for it at once."""
        return bool(self.events) or any(item.is_at_an_end for item in self.sessions.values())


class Append(Protocol):
    """Queues a batch for the disk; ``again`` when it may be there already."""

    def __call__(
        self,
        readings: list[Reading],
        sessions: Iterable[Session],
        events: list[AlarmEvent],
        *,
        again: bool,
    ) -> Future[None]:
        """Return a promise that is kept once the batch is on the disk."""


class Recorder:
    """The queue of one meter.

    Parameters
    ----------
    append
        Writes a batch.
    newest
        The newest reading on the disk at the start.
    """

    def __init__(
        self,
        append: Append,
        clock: Clock,
        newest: Reading | None,
    ) -> None:
        self._append = append
        self._clock = clock
        self._lock = threading.Condition()
        self._gathering = Batch()
        self._writing: Batch | None = None
        self._is_again = False
        self._retry_at: float | None = None
        self._gather_until = float("-inf")
        self._is_draining = False
        self._newest = newest
        self.dropped = 0
        self.last_error: str | None = None

    @property
    def newest(self) -> Reading | None:
        """The newest reading on the disk."""
        return self._newest

    @property
    def waiting(self) -> int:
        """Readings that are not on the disk yet."""
        with self._lock:
            writing = 0 if self._writing is None else len(self._writing.readings)
            return writing + len(self._gathering.readings)

    def add(
        self,
        reading: Reading | None = None,
        sessions: Iterable[Session] = (),
        events: Iterable[AlarmEvent] = (),
    ) -> None:
        """Take something in; it is written at once or with the next batch.

        The next batch goes with the next reading, or as the meter is looked after.
        """
        with self._lock:
            batch = self._gathering
            if reading is not None:
                batch.readings.append(reading)
            batch.sessions.update((item.started_at, item) for item in sessions)
            batch.events.extend(events)
        self.push()

    def push(self) -> None:
        """Begin the next write, if none is under way and none is being put off."""
        with self._lock:
            now = self._clock.monotonic()
            if self._retry_at is not None:
                if now < self._retry_at:
                    return
                self._retry_at = None
            elif self._writing is not None or not self._is_due(now):
                return
            if self._writing is None:
                self._writing, self._gathering = self._gathering, Batch()
                self._gather_until = now + GATHER_SECONDS
            batch, again = self._writing, self._is_again
        try:
            promise = self._append(
                batch.readings, batch.sessions.values(), batch.events, again=again
            )
        except BenchwireError as error:
            promise = Future()
            promise.set_exception(error)
        promise.add_done_callback(self._written)

    def has_room(self) -> bool:
        """Whether one more reading can wait; if not, it is counted as dropped."""
        with self._lock:
            if len(self._gathering.readings) < MOST_WAITING:
                return True
            self.dropped += 1
            return False

    def drain(self, seconds: float) -> None:
        """Try until all is on the disk, or for so long; say what is lost."""
        deadline = self._clock.monotonic() + seconds
        self._is_draining = True
        while self.waiting and (left := deadline - self._clock.monotonic()) > 0:
            self.push()
            with self._lock:
                self._lock.wait_for(lambda: not self._has_anything(), min(left, RETRY_SECONDS))
        if self.waiting:
            logger.error("%d readings did not reach the disk and are lost", self.waiting)

    def _has_anything(self) -> bool:
        return bool(self._writing or self._gathering)

    def _is_due(self, now: float) -> bool:
        """Whether there is something that does not wait for more."""
        batch = self._gathering
        return bool(batch) and (now >= self._gather_until or self._is_draining or batch.is_news)

    def _written(self, outcome: Future[None]) -> None:
        error = outcome.exception()
        with self._lock:
            batch = self._writing
            if error is None and batch is not None:
                self._writing, self._is_again = None, False
                self.last_error = None
                if batch.readings:
                    self._newest = batch.readings[-1]
            else:
                if not self._is_again:
                    logger.error("readings are held back: %s", error)
                # A commit whose answer was lost may have reached the disk all the same.
                self._is_again = True
                self._retry_at = self._clock.monotonic() + RETRY_SECONDS
                self.last_error = f"Readings are held back: {error}"
            self._lock.notify_all()
        if error is None:
            self.push()
