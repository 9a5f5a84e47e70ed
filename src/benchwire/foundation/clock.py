"""Time as an object, so that a test can wind it forward instead of sleeping."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

SECOND = 1_000_000
"""A second in the unit in which moments are stored."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where time comes from: stamps from ``now``, durations from ``monotonic``."""

    def now(self) -> datetime:
        """Return the present moment as an aware UTC datetime."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards, for durations."""

    def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present moment as an aware UTC datetime."""
        return datetime.now(UTC)  # noqa: TID251 - this is the one place that asks the system

    def monotonic(self) -> float:
        """Return seconds that never run backwards, for durations."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""
        time.sleep(seconds)


class Schedule:
    """The moments ``anchor + k * interval`` on the monotonic clock, in s."""

    def __init__(self, interval: float, anchor: float) -> None:
        self._interval = interval
        self._anchor = anchor
        self._next = 0

    @property
    def due(self) -> float:
        """The next moment."""
        return self._anchor + self._next * self._interval

    def advance(self, now: float) -> int:
        """Go on to the first moment after now, and return how many were passed over."""
        before = self._next + 1
        self._next = max(before, int((now - self._anchor) // self._interval) + 1)
        return self._next - before


def utc_text(moment: datetime) -> str:
    """Return a moment as ISO 8601 text in UTC, microseconds and a ``Z`` at the end."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def utc_moment(text: str) -> datetime:
    """Return the aware UTC datetime that `utc_text` wrote."""
    return datetime.fromisoformat(text).astimezone(UTC)


def microseconds(moment: datetime) -> int:
    """Return an aware moment as whole microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(at: int) -> datetime:
    """Return microseconds since 1970 as an aware UTC datetime."""
    return _EPOCH + timedelta(microseconds=at)
