"""How fast a battery ages: the trend of its state of health, and its end of life."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import DAY_US, Samples
from benchwire.domains.battery.trends import daily_medians, theil_sen

# The end of life in the USABC Electric Vehicle Battery Test Procedures Manual (1996); warranties
# may name another.
END_OF_LIFE_PERCENT = 80.0
DAYS_PER_MONTH = 30.4375
LEAST_DAYS = 14
_MOST_POINTS = 120  # a slope is the median of all pairs, and each resampling takes all of them
_RESAMPLINGS = 600
_LEAST_BLOCK = 8
_FURTHEST_YEARS = 50.0
_SEED = 20260106


@dataclass(frozen=True, slots=True)
class Trend:
    """State of health (%) over time as a straight line.

    Parameters
    ----------
    percent_per_month
        Slope; a month is 30.4375 days.
    lower, upper
        Its 95 % interval.
    is_significant
        Whether the interval leaves out zero.
    level_percent
        The line at the end of the data.
    resolution_percent
        Smallest step of the signal; the interval allows for it.
    end_of_life_us, earliest_us, latest_us
        When the line reaches 80 %, with the interval of the slope; None if the trend is not
        significant, does not fall, or that is more than 50 years away. Past the data this
        assumes that ageing goes on as before.
    reason
        Why there is no end of life.
    """

    percent_per_month: float
    lower: float
    upper: float
    is_significant: bool
    level_percent: float
    resolution_percent: float
    days: int
    start_us: int
    end_us: int
    end_of_life_us: int | None
    earliest_us: int | None
    latest_us: int | None
    reason: str | None


def health_trend(soh: Samples) -> Trend | None:
    """Return the trend of the state of health (%), None with less than 14 days of data.

    The slope is the median of the slopes of all pairs of points (Theil 1950; Sen, J. Am. Stat.
    Assoc. 63, 1379, 1968), which a few wrong days do not move; the points are medians of days, or
    of as many days as keep them to 120.

    The interval has two parts. Residuals are alike over weeks, so a moving block bootstrap
    (Künsch, Ann. Stat. 17, 1217, 1989) draws them in blocks, not shorter than the longest run of
    equal points. Rounding is no noise: a signal in steps of q may hide, over a time T, a slope of
    up to 1.5 q / T (exact for least squares: errors of q / 2 with the sign of ``t - mean(t)``),
    and the bootstrap cannot see it. Its bounds are moved outwards by that.
    """
    at_days, values, days = _points(soh)
    if days < LEAST_DAYS or len(values) < LEAST_DAYS:
        return None
    slope, level = _line(at_days, values)
    resolution = _resolution(soh)
    hidden = 1.5 * resolution / float(at_days[-1] - at_days[0])
    low, high = np.percentile(
        _resampled_slopes(at_days, values, slope=slope, level=level), [2.5, 97.5]
    )
    # A bootstrap of a staircase need not be centred on the slope it was made from.
    lower, upper = min(float(low), slope) - hidden, max(float(high), slope) + hidden
    known = soh.without_nulls()
    start_us, end_us = int(known.at_us[0]), int(known.at_us[-1])
    now = level + slope * (end_us / DAY_US - float(at_days[0]))
    is_significant = lower > 0 or upper < 0
    reason = None
    if not is_significant:
        reason = "the trend cannot be told from none"
    elif slope > 0:
        reason = "the state of health does not fall"
    reached = [
        None if reason else _reached_us(now, rate, now_us=end_us) for rate in (slope, lower, upper)
    ]
    if reason is None and reached[0] is None:
        reason = "the end of life is more than 50 years away"
    return Trend(
        percent_per_month=slope * DAYS_PER_MONTH,
        lower=lower * DAYS_PER_MONTH,
        upper=upper * DAYS_PER_MONTH,
        is_significant=is_significant,
        level_percent=now,
        resolution_percent=resolution,
        days=days,
        start_us=start_us,
        end_us=end_us,
        end_of_life_us=reached[0],
        earliest_us=reached[1],
        latest_us=reached[2],
        reason=reason,
    )


def _points(soh: Samples) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return times in days, the values to fit, and the number of days with data."""
    known = soh.without_nulls()
    if not len(known):
        return np.empty(0), np.empty(0), 0
    at_days, values = daily_medians(known)
    days = len(at_days)
    if days > _MOST_POINTS:
        span = at_days[-1] - at_days[0] + 1
        at_days, values = daily_medians(known, int(np.ceil(span / _MOST_POINTS)))
    return at_days, values, days


def _line(at_days: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[float, float]:
    slope, level = theil_sen(at_days, values)
    return float(slope), float(level)


def _resolution(soh: Samples) -> float:
    """Return the smallest step between different values."""
    steps = np.diff(np.unique(soh.without_nulls().values))
    # A constant tells nothing of its steps; whole percent are the usual ones.
    return float(steps.min()) if len(steps) else 1.0


def _resampled_slopes(
    at_days: NDArray[np.float64], values: NDArray[np.float64], *, slope: float, level: float
) -> NDArray[np.float64]:
    """Return the slopes of the line with its residuals drawn again in blocks."""
    count = len(values)
    line = level + slope * (at_days - at_days[0])
    residuals = values - line
    changes = np.flatnonzero(np.diff(values) != 0)
    runs = np.diff(np.concatenate([[-1], changes, [count - 1]]))
    length = int(np.clip(runs.max(), _LEAST_BLOCK, max(count // 3, 1)))
    generator = np.random.default_rng(_SEED)
    blocks = -(-count // length)
    starts = generator.integers(0, count - length + 1, (_RESAMPLINGS, blocks))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(_RESAMPLINGS, -1)[:, :count]
    slopes = [theil_sen(at_days, line + residuals[part])[0] for part in np.array_split(drawn, 20)]
    return np.concatenate(slopes)


def _reached_us(level: float, per_day: float, *, now_us: int) -> int | None:
    """Return when a line reaches the end of life; the present if it is past it already."""
    if level <= END_OF_LIFE_PERCENT:
        return now_us
    if per_day >= 0 or (days := (END_OF_LIFE_PERCENT - level) / per_day) > _FURTHEST_YEARS * 365.25:
        return None
    return now_us + int(days * DAY_US)
