"""A clock that a test winds."""

from datetime import UTC, datetime, timedelta

from benchwire.foundation.clock import SystemClock


class ManualClock:
    """Time that stands still until it is told to go on."""

    def __init__(self, start: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        self._elapsed += seconds

    wind = sleep


class SteppedClock:
    """The machine's clock, which somebody sets forward or back.

    ``offset`` is what was set, ``elapsed`` is time (s) that passes all at once.
    """

    def __init__(self) -> None:
        self._clock = SystemClock()
        self.offset = timedelta(0)
        self.elapsed = 0.0

    def now(self) -> datetime:
        return self._clock.now() + self.offset + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self._clock.monotonic() + self.elapsed

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)
