"""When to ask: at fixed moments, so that the rhythm does not drift however long an answer takes."""

import logging
import threading
from collections.abc import Callable

from benchwire.foundation.clock import Clock, Schedule

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class Poller:
    """A thread that polls on schedule, once it is started.

    Parameters
    ----------
    poll
        Asks once; returns whether a reading came.
    """

    def __init__(self, name: str, poll: Callable[[], bool], interval: float, clock: Clock) -> None:
        self._poll = poll
        self._clock = clock
        self._changed = threading.Condition()
        self._schedule = Schedule(interval, clock.monotonic())
        self._interval = interval
        self._over = False
        self._retry_at: float | None = None
        self.missed = 0
        self._thread = threading.Thread(target=self._run, name=f"polling {name}", daemon=True)

    def start(self) -> None:
        """Poll from now on."""
        self._thread.start()

    def set_interval(self, interval: float) -> None:
        """Poll now and then in this rhythm (s), however long the old one would have waited."""
        with self._changed:
            if interval != self._interval:
                self._interval = interval
                self._schedule = Schedule(interval, self._clock.monotonic())
                self._changed.notify_all()

    def close(self, seconds: float = 5.0) -> None:
        """End the thread."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(seconds)

    def _run(self) -> None:
        while self._wait():
            try:
                came = self._poll()
            except Exception:
                # Nothing may end the polling of an experiment; the next poll may go well.
                logger.exception("a poll went wrong")
                came = False
            with self._changed:
                now = self._clock.monotonic()
                if now >= self._schedule.due:
                    self.missed += self._schedule.advance(now) + (not came)
                self._retry_at = None if came else now + RETRY_SECONDS

    def _wait(self) -> bool:
        """Wait for the next moment, or the moment to try again; False when all is over."""
        with self._changed:
            while not self._over:
                # After a failure neither so often as to flood a port nor only after an hour.
                due = self._schedule.due if self._retry_at is None else self._retry_at
                left = due - self._clock.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(left)
            return False
