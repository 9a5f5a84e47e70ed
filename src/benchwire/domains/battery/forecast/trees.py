"""Boosted trees that correct the mean of the last days by what is known at the origin."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchwire.domains.battery.forecast.history import (
    STEPS_PER_DAY,
    STEPS_PER_HOUR,
    STEPS_PER_WEEK,
    History,
    Indices,
    Values,
    carried,
    carried_by_day,
    days_back,
    looked_up,
)

PROFILE_DAYS = 7
_ORIGINS = 1_000
_LEADS_PER_ORIGIN = 16
_RECENT = (3 * STEPS_PER_HOUR, STEPS_PER_DAY, STEPS_PER_WEEK)
_SEED = 20260106


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """A fitted model for all steps ahead at once: how far ahead is one of its features."""

    model: Any

    def __call__(self, history: History, origins: Indices, steps: int) -> Values:
        """Return the forecasts at each origin, (origins, steps)."""
        lead = np.tile(np.arange(1, steps + 1), len(origins))
        features, base = _features(history, np.repeat(origins, steps), lead)
        with _one_thread():
            predicted: Values = base + self.model.predict(features)
        return predicted.reshape(len(origins), steps)


def fit_trees(history: History, steps: int) -> BoostedTrees:
    """Return the trees trained on origins all over the history and random steps ahead of them."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    generator = np.random.default_rng(_SEED)
    count = len(history.values)
    stride = max(1, (count - STEPS_PER_DAY) // _ORIGINS)
    origins = np.arange(STEPS_PER_DAY - 1, count - 1, stride)
    per_origin = min(_LEADS_PER_ORIGIN, steps)
    lead = generator.integers(1, steps + 1, (len(origins), per_origin)).reshape(-1)
    origins = np.repeat(origins, per_origin)
    is_past = origins + lead < count
    origins, lead = origins[is_past], lead[is_past]
    target = history.values[origins + lead]
    known = ~np.isnan(target)
    features, base = _features(history, origins[known], lead[known])
    # The trees cannot take a column without any value, as that of last week in a short history.
    features[:, np.isnan(features).all(axis=0)] = 0.0
    model = HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=60,
        learning_rate=0.06,
        max_leaf_nodes=8,
        max_features=0.4,
        min_samples_leaf=100,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=_SEED,
    )
    with _one_thread():
        model.fit(features, target[known] - base)
    return BoostedTrees(model)


def _features(history: History, origins: Indices, lead: Indices) -> tuple[Values, Values]:
    """Return features (rows, columns) and the mean of the last days that they are to correct.

    Nothing after the origin is looked at.
    """
    past, latest = carried_by_day(history.held), carried(history.held)
    target = origins + lead
    yesterday = target - days_back(lead)
    same_time = np.stack(
        [looked_up(past, yesterday - day * STEPS_PER_DAY) for day in range(PROFILE_DAYS)]
    )
    profile = _mean(same_time)
    profile = np.where(np.isnan(profile), latest[origins], profile)
    at_origin = np.stack(
        [looked_up(past, origins - day * STEPS_PER_DAY) for day in range(1, PROFILE_DAYS + 1)]
    )
    level = latest[origins]
    hours, weekday = history.clock(target)
    hours_at_origin, _ = history.clock(origins)
    last_week = looked_up(past, target - days_back(lead, 7))
    hours_3, day, week = (_rolling_mean(latest, length)[origins] for length in _RECENT)
    columns = [
        lead.astype(np.float64),
        hours,
        weekday,
        hours_at_origin,
        profile,
        same_time[0] - profile,
        same_time[1] - profile,
        last_week - profile,
        _deviation(same_time, profile),
        level,
        level - profile,
        level - _mean(at_origin),
        level - looked_up(latest, origins - STEPS_PER_HOUR),
        hours_3 - profile,
        day - week,
    ]
    return np.stack(columns, axis=1), profile


def _mean(rows: Values) -> Values:
    """Return means over the first axis without missing values, NaN where all are missing."""
    known = ~np.isnan(rows)
    count = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0)
    return np.where(count > 0, total / count.clip(1), np.nan)


def _deviation(rows: Values, mean: Values) -> Values:
    return np.sqrt(_mean((rows - mean) ** 2))


def _rolling_mean(latest: Values, length: int) -> Values:
    """Return the mean of some steps up to each, of fewer at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(latest)])
    end = np.arange(1, len(latest) + 1)
    begin = (end - length).clip(0)
    means: Values = (sums[end] - sums[begin]) / (end - begin)
    return means


def _one_thread() -> Any:
    """Return a context in which trees use one thread: waiting for a busy core costs more."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)
