"""A forecast of one signal from its own past, with a band and a test of how good it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from benchwire.domains.battery.errors import QueryInvalid
from benchwire.domains.battery.forecast.history import (
    STEP_US,
    History,
    Indices,
    Values,
    read_history,
)
from benchwire.domains.battery.forecast.scoring import Backtest, Predict, make_trial, score
from benchwire.domains.battery.forecast.seasonal import day_spread, last_value, seasonal_naive
from benchwire.domains.battery.forecast.smoothing import fit_holt_winters
from benchwire.domains.battery.forecast.trees import fit_trees
from benchwire.domains.battery.samples import HOUR_US, MICROSECONDS, Samples

METHODS = ("auto", "seasonal_naive", "ets", "gbdt")
LAST_VALUE = "last_value"
LONGEST_HORIZON_HOURS = 168.0
LONGEST_STEP_MINUTES = 120.0
# Days of history below which a method is not tried.
LEAST_DAYS: Mapping[str, float] = {LAST_VALUE: 0, "seasonal_naive": 1, "ets": 4, "gbdt": 8}
LEAST_DAYS_FOR_CHOICE = 8.0
_FIRST_ORIGIN_DAYS: Mapping[str, float] = {"seasonal_naive": 1, "ets": 2.5, "gbdt": 4}
_PERCENTAGES = frozenset({"soc", "soh", "bms_soc", "bms_soh", "env_humidity"})
_WIDE_SHARE, _WIDE_LEAST = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """A forecast value with the band in which nine of ten are expected."""

    at_us: int
    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """First and last sample used, and how many have a value."""

    start_us: int
    end_us: int
    samples: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast in the signal's unit.

    Parameters
    ----------
    method
        The one used: that asked for, or ``seasonal_naive`` or ``last_value`` if there is too little
        history for it.
    """

    method: str
    trained_on: TrainedOn
    points: tuple[Point, ...]
    backtest: Backtest


def forecast(
    samples: Samples,
    *,
    field: str,
    horizon_hours: float = 24.0,
    step_minutes: float = 15.0,
    as_of_us: int | None = None,
    method: str = "auto",
) -> Forecast:
    """Return the forecast of a signal from the last sample with a value on.

    The first point is the first multiple of the step since 1970 UTC after that sample. Values are
    means of the quarter hour around their time, also between steps of a minute; so is what the
    band holds. Percentages stay within 0 and 100.

    Methods: ``seasonal_naive`` repeats the last day; ``ets`` is Holt-Winters on the last ten days;
    ``gbdt`` are boosted trees on up to 90 days; ``auto`` takes the best of these in the backtest,
    or ``seasonal_naive`` with less than 8 days. With less than a day the last value is repeated
    with a wide band.

    Parameters
    ----------
    field
        Its key in the API, for its bounds.
    as_of_us
        Time after which samples are hidden; None for none.

    Raises
    ------
    QueryInvalid
        Method, horizon or step are none that can be answered.
    TooLittleData
        There is no value.
    """
    _check(horizon_hours, step_minutes, method)
    history = read_history(samples, as_of_us=as_of_us)
    at_us = _times(history.end_us, horizon_hours, step_minutes)
    steps = int((at_us[-1] - history.end_us) // STEP_US) + 2
    used, values, lower, upper, backtest = _forecast_steps(history, steps, method)
    # A forecast step stands for its middle; the last known one is where the line begins.
    middles = history.end_us + (2 * np.arange(1, steps + 1) - 1) * (STEP_US // 2)
    below = np.interp(at_us, middles, values - lower)
    above = np.interp(at_us, middles, upper - values)
    values = np.interp(
        at_us, np.append(history.end_us - STEP_US // 2, middles), [history.values[-1], *values]
    )
    bounds = (0.0, 100.0) if field in _PERCENTAGES else (-np.inf, np.inf)
    columns = (np.clip(part, *bounds) for part in (values, values - below, values + above))
    rows = zip(at_us.tolist(), *(column.tolist() for column in columns), strict=True)
    return Forecast(
        method=used,
        trained_on=TrainedOn(history.start_us, history.end_us, history.samples),
        points=tuple(Point(*row) for row in rows),
        backtest=backtest,
    )


def _check(horizon_hours: float, step_minutes: float, method: str) -> None:
    if method not in METHODS:
        raise QueryInvalid(f"The method must be one of {', '.join(METHODS)}")
    if not 0 < horizon_hours <= LONGEST_HORIZON_HOURS:
        raise QueryInvalid("The horizon must be above 0 and at most 168 hours")
    if not 1 <= step_minutes <= LONGEST_STEP_MINUTES:
        raise QueryInvalid("The step must be 1 to 120 minutes")


def _times(end_us: int, horizon_hours: float, step_minutes: float) -> Indices:
    """Return the times asked for: at least one, and none after the horizon but that."""
    step_us = round(step_minutes * 60 * MICROSECONDS)
    count = max(1, int(horizon_hours * HOUR_US) // step_us)
    first = end_us // step_us + 1
    return (first + np.arange(count, dtype=np.int64)) * step_us


def _forecast_steps(
    history: History, steps: int, method: str
) -> tuple[str, Values, Values, Values, Backtest]:
    """Return the method used, values and limits of all steps ahead, and the backtest."""
    candidates = _candidates(history, method)
    now = np.array([len(history.values) - 1])
    # All candidates are tried at the same origins.
    least = max(_FIRST_ORIGIN_DAYS.get(name, 0.0) for name in candidates)
    trial = make_trial(history, steps, least_days=least)
    if candidates == (LAST_VALUE,) or not trial.is_enough:
        predict = _FITS[candidates[0]](history, steps)
        values = predict(history, now, steps)[0]
        lower, upper = _wide_band(history, values)
        return candidates[0], values, lower, upper, Backtest(None, None, None, None, 0)
    before = history.until(trial.begin)
    residuals = {name: trial.residuals(_FITS[name](before, steps)) for name in candidates}
    used = min(candidates, key=lambda name: float(np.nanmean(np.abs(residuals[name]))))
    baseline = trial.residuals(seasonal_naive)
    backtest, band = score(trial, residuals[used], baseline=baseline)
    values = _FITS[used](history, steps)(history, now, steps)
    lower, upper = band.around(values, day_spread(history, now, steps))
    return used, values[0], lower[0], upper[0], backtest


def _candidates(history: History, method: str) -> tuple[str, ...]:
    """Return the methods to try, given what there is."""
    if history.days < LEAST_DAYS["seasonal_naive"]:
        return (LAST_VALUE,)
    if method == "auto":
        is_enough = history.days >= LEAST_DAYS_FOR_CHOICE and history.is_dense
        return METHODS[1:] if is_enough else ("seasonal_naive",)
    is_enough = history.days >= LEAST_DAYS[method] and history.is_dense
    return (method,) if is_enough else ("seasonal_naive",)


def _wide_band(history: History, values: Values) -> tuple[Values, Values]:
    """Return limits as far outside all that was seen as that is wide."""
    lowest, highest = float(np.nanmin(history.values)), float(np.nanmax(history.values))
    width = highest - lowest
    if width == 0:
        width = max(_WIDE_LEAST, _WIDE_SHARE * abs(highest))
    return np.full_like(values, lowest - width), np.full_like(values, highest + width)


def _fitted_naive(history: History, steps: int) -> Predict:
    return seasonal_naive


def _fitted_last(history: History, steps: int) -> Predict:
    return last_value


_FITS: Mapping[str, Callable[[History, int], Predict]] = {
    LAST_VALUE: _fitted_last,
    "seasonal_naive": _fitted_naive,
    "ets": fit_holt_winters,
    "gbdt": fit_trees,
}
