"""When to look: at fixed moments, so that the rhythm does not drift however long a look takes."""

import logging
import threading
from collections.abc import Callable

from benchwire.foundation.clock import Clock, Schedule

logger = logging.getLogger(__name__)


class Poller:
    """A thread that looks on schedule."""

    def __init__(self, name: str, poll: Callable[[], None], interval: float, clock: Clock) -> None:
        self._poll = poll
        self._clock = clock
        self._schedule = Schedule(interval, clock.monotonic())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"polling {name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, seconds: float = 5.0) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._over.wait(max(0.0, self._schedule.due - self._clock.monotonic())):
            try:
                self._poll()
            except Exception:
                # Nothing may end the polling; the next look may go well.
                logger.exception("a look at the balance went wrong")
            self._schedule.advance(self._clock.monotonic())
