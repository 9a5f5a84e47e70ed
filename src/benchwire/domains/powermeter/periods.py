"""Windows of time as the API writes them: ``30s``, ``5m``, ``1h``."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from benchwire.domains.powermeter.errors import PeriodInvalid
from benchwire.foundation.clock import microseconds, moment

_FORM = re.compile(r"[0-9]{1,4300}[smh]")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
# A day inside the calendar, so that any zone's offset still fits.
_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, both ends included, in microseconds since 1970."""

    start: int
    end: int


def window(text: str, now: int) -> Window:
    """Return the window that ends now; a period that reaches past the calendar is cut there.

    Raises
    ------
    PeriodInvalid
        The text is not digits and one of ``s m h``, or means nothing.
    """
    if not _FORM.fullmatch(text):
        raise PeriodInvalid(text)
    seconds = int(text[:-1]) * _SECONDS[text[-1]]
    if seconds == 0:
        raise PeriodInvalid(text)
    return Window(max(now - seconds * 1_000_000, microseconds(_EARLIEST)), now)


@dataclass(frozen=True, slots=True)
class LocalTime:
    """Naive local stamps with one offset from UTC, so that they ascend through a clock change."""

    zone: timezone

    @classmethod
    def at(cls, now: int) -> "LocalTime":
        """Return the local time in force at a moment."""
        offset = moment(now).astimezone().utcoffset() or timedelta(0)
        return cls(timezone(offset))

    def text(self, at: int) -> str:
        """Return a moment as the API's own stamp, always with six decimals."""
        local = moment(at).astimezone(self.zone).replace(tzinfo=None)
        return local.isoformat(timespec="microseconds")

    @property
    def offset(self) -> int:
        """The offset from UTC in microseconds."""
        return self.zone.utcoffset(None) // timedelta(microseconds=1)
