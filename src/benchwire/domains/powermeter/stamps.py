"""The time of a reading: the system's clock, made to run forward only."""

import threading

from benchwire.foundation.clock import SECOND, Clock, microseconds

# After a step back the stamps stay ahead and lose this share of each second until the clock has
# caught up, so durations stay true to half a per cent.
SLEW = 0.005
# The clock counts as set forward when it is so far ahead of what has passed.
LEAP_SECONDS = 60.0


class Stamps:
    """Strictly ascending stamps in microseconds since 1970.

    They follow the system's clock, forward steps included. Where that was set back they go on by
    the monotonic clock, a little slower.

    Parameters
    ----------
    after
        The newest stamp of an earlier life; all stamps are later.
    """

    def __init__(self, clock: Clock, after: int | None) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = after
        # A moment and its stamp, from which the stamps run on.
        self._line, self._line_at = after, clock.monotonic()
        self._leapt_at: float | None = None

    def next(self, at: float) -> int:
        """Return the stamp of a moment on the monotonic clock (s), later than any before."""
        with self._lock:
            stamp = self._of(at)
            self._line, self._line_at = stamp, at
            if self._last is not None:
                stamp = max(stamp, self._last + 1)
            self._last = stamp
            return stamp

    def now(self) -> int:
        """Return this moment on the stamps' own line, for windows that end now."""
        with self._lock:
            present = self._present()
            return present if self._last is None else max(present, self._last)

    @property
    def ahead_s(self) -> float:
        """How far the stamps are ahead of the system's clock, in s."""
        with self._lock:
            return (self._present() - microseconds(self._clock.now())) / 1e6

    @property
    def steady_s(self) -> float:
        """For how long the system's clock has not been set forward, in s."""
        with self._lock:
            self._present()
            leapt_at = self._leapt_at
        return float("inf") if leapt_at is None else self._clock.monotonic() - leapt_at

    def _present(self) -> int:
        return self._of(self._clock.monotonic())

    def _of(self, at: float) -> int:
        """Return the stamp of a moment, whatever passes until it is asked for."""
        wall, present = microseconds(self._clock.now()), self._clock.monotonic()
        wall -= int((present - at) * SECOND)
        if self._line is None:
            return wall
        passed = at - self._line_at
        expected = self._line + int(passed * (1 - SLEW) * SECOND)
        if wall - expected > LEAP_SECONDS * SECOND + passed * SLEW * SECOND:
            self._leapt_at = present
            self._line, self._line_at = wall, at
        return max(wall, expected)
