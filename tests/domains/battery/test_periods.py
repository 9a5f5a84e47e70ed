"""Days, months and moments in queries."""

import pytest

from benchwire.domains.battery.errors import QueryInvalid
from benchwire.domains.battery.periods import moment_of, period_of, span_of
from benchwire.domains.battery.samples import DAY_US, iso


@pytest.mark.parametrize(
    ("date", "start", "days"),
    [
        ("2024-02", "2024-02-01T00:00:00Z", 29), ("2023-02", "2023-02-01T00:00:00Z", 28),
        ("2024-12", "2024-12-01T00:00:00Z", 31), ("9999-12", "9999-12-01T00:00:00Z", 31),
        ("2024-02-29", "2024-02-29T00:00:00Z", 1), ("1970-01-01", "1970-01-01T00:00:00Z", 1),
    ],
)  # fmt: skip
def test_period_is_a_whole_month_or_day(date: str, start: str, days: int) -> None:
    begin, end = period_of(date)
    assert iso(begin) == start
    assert end - begin == days * DAY_US


@pytest.mark.parametrize("date", ["2023-02-29", "2024-13", "2024-00", "2024-1", "", "2024-01-00"])
def test_what_is_not_in_the_calendar_is_refused(date: str) -> None:
    with pytest.raises(QueryInvalid):
        period_of(date)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-09", "2024-03-09T00:00:00Z"),
        ("2024-03-09T12:30", "2024-03-09T12:30:00Z"),
        ("2024-03-09T12:30:00.25Z", "2024-03-09T12:30:00.250000Z"),
        ("2024-03-09T12:30:00+02:00", "2024-03-09T10:30:00Z"),
        ("2024-03-09T12:30:00 02:00", "2024-03-09T10:30:00Z"),
    ],
)
def test_moment_is_read_in_its_zone_or_utc(text: str, expected: str) -> None:
    assert iso(moment_of(text, "start")) == expected


@pytest.mark.parametrize(
    "text", ["", "now", "2024-03-09T25:00", "1e9", "2024-03-09T12:30:00+25:00"]
)
def test_what_is_no_moment_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(QueryInvalid, match="as_of"):
        moment_of(text, "as_of")


def test_span_may_be_open_but_not_turned_round() -> None:
    assert span_of(None, None) == (None, None)
    with pytest.raises(QueryInvalid):
        span_of("2024-01-02", "2024-01-02")
