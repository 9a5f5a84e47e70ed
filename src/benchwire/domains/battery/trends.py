"""Slopes that a few wrong days do not move."""

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import DAY_US, Samples

_MOST_POINTS = 120  # all pairs of them are taken
_LEAST_DAYS = 3


def daily_medians(
    samples: Samples, days_per_point: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middles of days (since 1970 UTC) or of several, and the median in each."""
    known = samples.without_nulls()
    period = known.at_us // (DAY_US * days_per_point)
    starts = np.flatnonzero(np.diff(period, prepend=period[:1] - 1))
    medians = [float(np.median(part)) for part in np.split(known.values, starts[1:])]
    middles = (period[starts] + 0.5) * days_per_point
    return middles.astype(np.float64), np.array(medians[: len(starts)])


def theil_sen(
    at: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return median slopes of all pairs of points, and median intercepts at the first time.

    Parameters
    ----------
    at : (N,) float64
    values : (..., N) float64
    """
    first, second = np.triu_indices(len(at), 1)
    slopes = np.median(
        (values[..., second] - values[..., first]) / (at[second] - at[first]), axis=-1
    )
    levels = np.median(values - slopes[..., None] * (at - at[0]), axis=-1)
    return slopes, levels


def trend_per_day(samples: Samples) -> float | None:
    """Return the median slope of all pairs of daily medians, None with less than three days."""
    days, medians = daily_medians(samples)
    if len(days) < _LEAST_DAYS:
        return None
    if len(days) > _MOST_POINTS:
        span = days[-1] - days[0] + 1
        days, medians = daily_medians(samples, int(np.ceil(span / _MOST_POINTS)))
    return float(theil_sen(days, medians)[0])
