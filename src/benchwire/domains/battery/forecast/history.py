"""The past of a signal as every method sees it: means of quarter hours, counted back from its end.

The grid ends at the last sample, not at a full quarter hour, so that no mean is of a part only and
nothing recent is left out. Which points are asked for does not change it: a step of a minute costs
no more than one of an hour.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.errors import TooLittleData
from benchwire.domains.battery.samples import DAY_US, MICROSECONDS, Samples

STEP_US = 15 * 60 * MICROSECONDS
STEPS_PER_HOUR = 4
STEPS_PER_DAY = 96
STEPS_PER_WEEK = 7 * STEPS_PER_DAY
# More changes little of a forecast for a week and costs time; batteries age and seasons change.
MOST_DAYS = 90
_LONGEST_HELD = 4  # quarter hours, so that hourly signals have no gaps
_MONDAY = 3  # 1970 began on a Thursday

Values = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class History:
    """Means of quarter hours up to the last sample.

    Parameters
    ----------
    values : (N,) float64
        NaN where nothing is known; the last one is always known.
    held : (N,) float64
        The same with each value kept for up to an hour, for what looks back.
    start_us, end_us, samples
        First and last sample used, and how many.
    """

    values: Values
    held: Values
    start_us: int
    end_us: int
    samples: int

    @property
    def days(self) -> float:
        """How much there is, with gaps."""
        return len(self.values) / STEPS_PER_DAY

    @property
    def is_dense(self) -> bool:
        """Whether at least half of it is known."""
        return float(np.isnan(self.held).mean()) <= 0.5

    def clock(self, index: Indices) -> tuple[Values, Values]:
        """Return hour of the day and day of the week (0 Monday), UTC, also beyond the end."""
        middle_us = self.end_us - STEP_US // 2 + (index - len(self.values) + 1) * STEP_US
        hours = (middle_us % DAY_US) / (DAY_US / 24)
        return hours, ((middle_us // DAY_US + _MONDAY) % 7).astype(np.float64)

    def until(self, end: int) -> "History":
        """Return it as it was before a step, with the same clock."""
        removed = len(self.values) - end
        return History(
            self.values[:end],
            self.held[:end],
            self.start_us,
            self.end_us - removed * STEP_US,
            self.samples,
        )


def read_history(samples: Samples, *, as_of_us: int | None) -> History:
    """Return the history up to a time, later samples hidden; at most the last 90 days.

    Raises
    ------
    TooLittleData
        No sample with a value is left.
    """
    seen = samples if as_of_us is None else samples.between(None, as_of_us + 1)
    known = seen.without_nulls()
    if not len(known):
        raise TooLittleData("There are no values to forecast from")
    end_us = int(known.at_us[-1])
    known = known.between(end_us - MOST_DAYS * DAY_US + 1, None)
    back = (end_us - known.at_us) // STEP_US
    index = int(back.max()) - back
    counts = np.bincount(index)
    sums = np.bincount(index, weights=known.values)
    values = np.full(len(counts), np.nan)
    values[counts > 0] = sums[counts > 0] / counts[counts > 0]
    return History(values, _held(values), int(known.at_us[0]), end_us, len(known))


def _held(values: Values) -> Values:
    """Return values with each kept for an hour where none follows.

    A line to the next one would show a forecast of the past what came later.
    """
    index = np.arange(len(values))
    latest = np.maximum.accumulate(np.where(np.isnan(values), 0, index))
    return np.where(index - latest <= _LONGEST_HELD, values[latest], np.nan)


def carried_by_day(values: Values) -> Values:
    """Return values with a missing one taken from the same time of the latest day that has it."""
    carried = values.copy()
    for begin in range(STEPS_PER_DAY, len(values), STEPS_PER_DAY):
        day = carried[begin : begin + STEPS_PER_DAY]
        before = carried[begin - STEPS_PER_DAY : begin - STEPS_PER_DAY + len(day)]
        np.copyto(day, before, where=np.isnan(day))
    return carried


def carried(values: Values) -> Values:
    """Return values with a missing one taken from the last one known."""
    index = np.where(np.isnan(values), 0, np.arange(len(values)))
    return values[np.maximum.accumulate(index)]


def looked_up(values: Values, index: Indices) -> Values:
    """Return values by index, NaN for one before the beginning."""
    return np.where(index >= 0, values[index.clip(0, len(values) - 1)], np.nan)


def days_back(lead: Indices, days: int = 1) -> Indices:
    """Return how many steps a target lies behind its past, in whole multiples of some days."""
    season = days * STEPS_PER_DAY
    return -(-lead // season) * season
