"""Days, months and moments as a query names them."""

import calendar
import re
from datetime import UTC, datetime

from benchwire.domains.battery.errors import QueryInvalid
from benchwire.domains.battery.samples import DAY_US
from benchwire.foundation.clock import microseconds

_DATE = re.compile(r"(\d{4})-(\d{2})(?:-(\d{2}))?", re.ASCII)


def period_of(date: str) -> tuple[int, int]:
    """Return when a month (``2024-03``) or a day (``2024-03-09``) begins and ends, in us UTC.

    Raises
    ------
    QueryInvalid
        It is neither, or there is no such month or day.
    """
    match = _DATE.fullmatch(date)
    if match is None:
        raise QueryInvalid("date has to be a month such as 2024-03 or a day such as 2024-03-09")
    year, month, day = (int(part or 1) for part in match.groups())
    try:
        begin = datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        raise QueryInvalid(f"There is no {date} in the calendar") from None
    days = 1 if match[3] else calendar.monthrange(year, month)[1]
    return microseconds(begin), microseconds(begin) + days * DAY_US


def moment_of(text: str, name: str) -> int:
    """Return a moment in ISO 8601 as microseconds since 1970; UTC where it names no zone.

    Raises
    ------
    QueryInvalid
        It is no such moment; ``name`` says of what.
    """
    try:
        # A plus sign that a client did not encode arrives as a blank.
        moment = datetime.fromisoformat(re.sub(r" (\d\d:\d\d)$", r"+\1", text.strip()))
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        return microseconds(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        raise QueryInvalid(
            f"{name} has to be a moment in ISO 8601, such as 2024-03-09T12:00:00Z"
        ) from None


def span_of(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """Return the two ends of a range; either may be open.

    Raises
    ------
    QueryInvalid
        One is no moment, or the end is not after the start.
    """
    start_us = None if start is None else moment_of(start, "start")
    end_us = None if end is None else moment_of(end, "end")
    if start_us is not None and end_us is not None and end_us <= start_us:
        raise QueryInvalid("end has to be after start")
    return start_us, end_us
