"""How good a forecast is, by forecasting the past: errors, and the band that follows from them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchwire.domains.battery.forecast.history import (
    STEPS_PER_DAY,
    STEPS_PER_HOUR,
    History,
    Indices,
    Values,
)
from benchwire.domains.battery.forecast.seasonal import day_spread

NOMINAL_COVERAGE = 0.9
MOST_ORIGINS = 120
_MOST_DAYS = 28
_LEAST_RESIDUALS = 40
_FOLDS = 5
_BLOCK_HOURS = (1, 3, 6, 12, 24, 48, 96, 168)
# A constant signal is forecast up to rounding, and is no miss.
_ROUNDING = 1e-9

Predict = Callable[[History, Indices, int], Values]


@dataclass(frozen=True, slots=True)
class Backtest:
    """Errors at origins in the past, all after the data that the method was fitted to.

    Where several methods were tried, these are the errors of the best, by which it was chosen.

    Parameters
    ----------
    mae, rmse
        Mean absolute and root mean square error in the signal's unit.
    baseline_mae
        Mean absolute error of the seasonal naive forecast of the same values.
    coverage
        Share of values within a band calibrated on other origins; nominal is 0.9.
    origins
        How many; all numbers are None if there are too few data to try.
    """

    mae: float | None
    rmse: float | None
    baseline_mae: float | None
    coverage: float | None
    origins: int


@dataclass(frozen=True, slots=True)
class Trial:
    """Rolling origins at the end of a history, and what came after them.

    Parameters
    ----------
    origins : (M,) int64
        Last step seen.
    actual : (M, steps) float64
        NaN where it is not known.
    """

    history: History
    origins: Indices
    actual: Values

    @property
    def begin(self) -> int:
        """First step that a method tried may not be fitted to."""
        return int(self.origins[0]) + 1

    @property
    def is_enough(self) -> bool:
        """Whether there is anything to calibrate a band on."""
        return int(np.count_nonzero(~np.isnan(self.actual))) >= _LEAST_RESIDUALS

    def residuals(self, predict: Predict) -> Values:
        """Return actual less forecast."""
        return self.actual - predict(self.history, self.origins, self.actual.shape[1])


def make_trial(history: History, steps: int, *, least_days: float) -> Trial:
    """Return origins over the last third of the history, or as much as long forecasts need.

    Parameters
    ----------
    least_days
        Days before the first origin.
    """
    count = len(history.values)
    length = max(count // 3, min(steps + 3 * STEPS_PER_DAY, count // 2))
    length = min(length, _MOST_DAYS * STEPS_PER_DAY, count - round(least_days * STEPS_PER_DAY))
    # An odd stride meets all times of the day.
    stride = max(1, -(-length // MOST_ORIGINS)) // 2 * 2 + 1
    origins = np.arange(count - 1 - max(length, 0), count - 1, stride)
    index = origins[:, None] + np.arange(1, steps + 1)
    actual = np.where(index < count, history.values[index.clip(max=count - 1)], np.nan)
    return Trial(history, origins, actual)


@dataclass(frozen=True, slots=True)
class Band:
    """How far below and above a forecast the value may be, in units of the spread of days.

    Quantiles of residuals that no method was fitted to, by blocks of how far ahead they are, with
    the correction for few origins (split conformal prediction), each divided by how much days
    differ at its time (Lei et al., J. Am. Stat. Assoc. 113, 1094, 2018). Nine tenths
    of all values are within, on average over times, not at each.

    Parameters
    ----------
    middles : (B,) float64
        Steps ahead.
    lower, upper : (B,) float64
    """

    middles: Values
    lower: Values
    upper: Values

    def around(self, value: Values, spread: Values) -> tuple[Values, Values]:
        """Return both limits of forecasts (..., steps)."""
        ahead = np.arange(1, value.shape[-1] + 1)
        lower = value + np.interp(ahead, self.middles, self.lower) * spread
        upper = value + np.interp(ahead, self.middles, self.upper) * spread
        return np.minimum(lower, value), np.maximum(upper, value)


def calibrate(scaled: Values) -> Band:
    """Return the band from residuals over spread, (origins, steps), NaN where unknown."""
    middles, lower, upper = [], [], []
    begin, tail = 0, (1 - NOMINAL_COVERAGE) / 2
    for hours in _BLOCK_HOURS:
        block = scaled[:, begin : hours * STEPS_PER_HOUR]
        known = block[~np.isnan(block)]
        if block.shape[1] and len(known):
            origins = np.count_nonzero((~np.isnan(block)).any(axis=1))
            level = min(1.0, np.ceil((origins + 1) * (1 - tail)) / origins)
            middles.append(begin + (block.shape[1] + 1) / 2)
            lower.append(float(np.quantile(known, 1 - level)))
            upper.append(float(np.quantile(known, level)))
        elif block.shape[1] and middles:
            # Never tried so far ahead: errors grow no faster than those of a random walk.
            middle = begin + (block.shape[1] + 1) / 2
            growth = (middle / middles[-1]) ** 0.5
            middles.append(middle)
            lower.append(lower[-1] * growth)
            upper.append(upper[-1] * growth)
        begin = hours * STEPS_PER_HOUR
    return Band(np.array(middles), np.array(lower), np.array(upper))


def score(trial: Trial, residuals: Values, *, baseline: Values) -> tuple[Backtest, Band]:
    """Return the errors of a method and its band."""
    spread = day_spread(trial.history, trial.origins, residuals.shape[1])
    known = ~np.isnan(residuals)
    coverage = _coverage(residuals, spread)
    errors = residuals[known]
    backtest = Backtest(
        mae=float(np.abs(errors).mean()),
        rmse=float(np.sqrt((errors**2).mean())),
        baseline_mae=float(np.abs(baseline[known]).mean()),
        coverage=coverage,
        origins=len(trial.origins),
    )
    return backtest, calibrate(residuals / spread)


def _coverage(residuals: Values, spread: Values) -> float | None:
    """Return the share of residuals within bands calibrated on the other parts of the origins."""
    folds = np.array_split(np.arange(len(residuals)), _FOLDS)
    inside = seen = 0
    for fold in folds:
        others = np.delete(residuals / spread, fold, axis=0)
        known = ~np.isnan(residuals[fold])
        if not known.any() or np.isnan(others).all():
            continue
        band = calibrate(others)
        lower, upper = band.around(np.zeros_like(residuals[fold]), spread[fold])
        here = residuals[fold]
        is_inside = (here >= lower - _ROUNDING) & (here <= upper + _ROUNDING)
        inside += int(np.count_nonzero(is_inside & known))
        seen += int(np.count_nonzero(known))
    return inside / seen if seen else None
