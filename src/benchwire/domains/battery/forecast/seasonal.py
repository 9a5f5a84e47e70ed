"""The simplest forecasts, which every other one has to beat, and how much days differ."""

import numpy as np

from benchwire.domains.battery.forecast.history import (
    STEPS_PER_DAY,
    STEPS_PER_HOUR,
    History,
    Indices,
    Values,
    carried,
    carried_by_day,
    days_back,
    looked_up,
)

SPREAD_DAYS = 14
_SMOOTHED = 2 * STEPS_PER_HOUR + 1
_LEAST_SHARE = 0.25


def last_value(history: History, origins: Indices, steps: int) -> Values:
    """Return the last known value at each origin for all steps ahead, (origins, steps)."""
    latest: Values = carried(history.held)[origins]
    return np.repeat(latest[:, None], steps, axis=1)


def seasonal_naive(history: History, origins: Indices, steps: int) -> Values:
    """Return the values at the same time of the latest day known at each origin.

    Where no day has that time, the last known value. (Hyndman and Athanasopoulos, Forecasting:
    Principles and Practice, 3rd ed., section 5.2, with a season of 24 hours.)

    Parameters
    ----------
    origins : (M,) int64
        Last step that may be seen.

    Returns
    -------
    (M, steps) float64
    """
    lead = np.arange(1, steps + 1)
    found = looked_up(carried_by_day(history.held), origins[:, None] + lead - days_back(lead))
    return np.where(np.isnan(found), last_value(history, origins, steps), found)


def day_spread(history: History, origins: Indices, steps: int) -> Values:
    """Return how much days differ at the time of each target, as known at each origin.

    Standard deviation over the last 14 days, smoothed over two hours, not below a quarter of its
    mean, so that a time that was always alike does not pass for certain. 1 where it is unknown.
    """
    lead = np.arange(1, steps + 1)
    index = origins[:, None] + lead - days_back(lead)
    past = carried_by_day(history.held)
    days = np.stack([looked_up(past, index - day * STEPS_PER_DAY) for day in range(SPREAD_DAYS)])
    known = ~np.isnan(days)
    count = known.sum(axis=0)
    days = np.where(known, days, 0.0)
    mean = days.sum(axis=0) / count.clip(1)
    variance = (np.where(known, days - mean, 0.0) ** 2).sum(axis=0) / count.clip(1)
    window = np.ones(min(_SMOOTHED, steps))
    weights = np.convolve(np.ones(steps), window, "same")
    spread = np.sqrt([np.convolve(row, window, "same") / weights for row in variance])
    spread = np.maximum(spread, _LEAST_SHARE * spread.mean(axis=1, keepdims=True))
    return np.where(spread > 0, spread, 1.0)
