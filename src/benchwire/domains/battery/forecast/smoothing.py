"""Holt-Winters: a level and a day's pattern, both smoothed exponentially."""

import warnings
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from benchwire.domains.battery.forecast.history import (
    STEPS_PER_DAY,
    History,
    Indices,
    Values,
    carried_by_day,
)

FITTED_DAYS = 10
_LEVEL_WEIGHTS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)
_SEASON_WEIGHTS = (0.05, 0.15, 0.3, 0.6)
_SETTLING_DAYS = 2
_ORIGIN_STRIDE = 7


@dataclass(frozen=True, slots=True)
class HoltWinters:
    """Smoothing weights and the state they start from.

    Additive season without a trend: what a battery gained in the last hours does not go on for a
    day. (Winters, Management Science 6, 324, 1960; in the error correction form.)

    Parameters
    ----------
    begin
        Step of the history from which it runs.
    pattern : (96,) float64
        Season of the first day.
    """

    begin: int
    level_weight: float
    season_weight: float
    level: float
    pattern: Values

    def __call__(self, history: History, origins: Indices, steps: int) -> Values:
        """Return the forecasts at each origin, (origins, steps); missing values change no state."""
        level, pattern = self.level, self.pattern.copy()
        wanted = dict.fromkeys(origins.tolist(), (level, pattern))
        for index, value in enumerate(history.held[self.begin :].tolist(), self.begin):
            position = (index - self.begin) % STEPS_PER_DAY
            error = value - level - pattern[position]
            if error == error:
                level += self.level_weight * error
                pattern[position] += self.season_weight * error
            if index in wanted:
                wanted[index] = (level, pattern.copy())
        ahead = np.arange(1, steps + 1)
        return np.stack(
            [
                wanted[origin][0] + wanted[origin][1][(origin + ahead - self.begin) % STEPS_PER_DAY]
                for origin in origins.tolist()
            ]
        )


def fit_holt_winters(history: History, steps: int) -> HoltWinters:
    """Return the smoothing that fits the last 10 days best.

    A fit one step ahead follows every cloud. Its start values are kept, but of its weights and a
    few others those are taken that forecast the next 24 hours best within these days.
    """
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    past = carried_by_day(history.held)
    begin = max(0, len(past) - FITTED_DAYS * STEPS_PER_DAY)
    past = past[begin:]
    known = np.flatnonzero(~np.isnan(past))
    past = np.interp(np.arange(len(past)), known, past[known])
    with warnings.catch_warnings():
        # A fit that did not converge is still a forecast; its backtest tells how good.
        warnings.simplefilter("ignore")
        fitted = ExponentialSmoothing(
            past, seasonal="add", seasonal_periods=STEPS_PER_DAY, initialization_method="heuristic"
        ).fit(use_brute=False)
    found = fitted.params
    one_step = HoltWinters(
        begin=begin,
        level_weight=float(found["smoothing_level"]),
        season_weight=float(found["smoothing_seasonal"]),
        level=float(found["initial_level"]),
        pattern=np.asarray(found["initial_seasons"], np.float64)[:STEPS_PER_DAY],
    )
    return _best_a_day_ahead(one_step, history)


def _best_a_day_ahead(fitted: HoltWinters, history: History) -> HoltWinters:
    """Return the smoothing with the weights that forecast a day best."""
    count = len(history.values)
    first = fitted.begin + _SETTLING_DAYS * STEPS_PER_DAY
    origins = np.arange(first, count - 1, _ORIGIN_STRIDE)
    index = origins[:, None] + np.arange(1, STEPS_PER_DAY + 1)
    actual = np.where(index < count, history.values[index.clip(max=count - 1)], np.nan)
    if np.isnan(actual).all():
        return fitted
    candidates = [
        fitted,
        *(
            replace(fitted, level_weight=level, season_weight=season)
            for level, season in product(_LEVEL_WEIGHTS, _SEASON_WEIGHTS)
        ),
    ]
    errors = [
        float(np.nanmean(np.abs(actual - one(history, origins, STEPS_PER_DAY))))
        for one in candidates
    ]
    return candidates[int(np.argmin(errors))]
