"""Hours that are unlike the others, by an isolation forest.

F. T. Liu, K. M. Ting, Z.-H. Zhou, Isolation forest, ICDM 2008, 413. It sees combinations that no
single rule has in mind, and cannot say what is wrong, so an event is told of each signal
that is far from its usual values.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.anomalies.bins import BIN_US
from benchwire.domains.battery.anomalies.findings import (
    Anomaly,
    AnomalyType,
    amount,
    events,
    severity,
)
from benchwire.domains.battery.anomalies.relations import Departure
from benchwire.domains.battery.samples import HOUR_US
from benchwire.domains.battery.signals import Signal

_BINS_PER_HOUR = HOUR_US // BIN_US
_LEAST_HOURS = 48
_TREES, _SAMPLE, _SEED = 100, 512, 42
# How far over the median of all hours, in standard deviations of their usual scatter.
_SCATTERS = 3.0
_TO_SIGMA = 1.4826
_FAR = 10.0
_INF = float("inf")
_KINDS: tuple[AnomalyType, ...] = ("step", "spike", "drift")


def unusual_hours(
    signals: Mapping[str, Signal],
    departures: Mapping[str, Departure],
    *,
    bins: NDArray[np.int64],
    means: Mapping[str, NDArray[np.float64]],
) -> list[Anomaly]:
    """Return hours whose isolation is far beyond that of usual ones.

    The threshold lies above the median score by a multiple of the scores' scatter, so a recording
    without faults has no share that must be anomalous.
    """
    names = [name for name in signals if name in means]
    hour = bins // _BINS_PER_HOUR
    if not names or not len(bins) or len(np.unique(hour)) < _LEAST_HOURS:
        return []
    first = np.append(0, np.flatnonzero(np.diff(hour)) + 1)
    features = _standardised(
        np.stack([
            feature
            for name in names
            for feature in _features(means[name], departures.get(name), first)
        ], axis=1)
    )  # fmt: skip
    # One number for each signal: with all three, what one of them does would rarely be looked at.
    of_signal = np.abs(features).reshape(len(features), -1, len(_KINDS)).max(axis=2)
    score = _isolation(np.log1p(of_signal))
    middle = float(np.median(score))
    scatter = _TO_SIGMA * float(np.median(np.abs(score - middle)))
    over = (score - middle) / max(_SCATTERS * scatter, 1e-9)
    hits = np.flatnonzero(over > 1)
    at_us = hour[first] * HOUR_US
    found = []
    for event in events(at_us, hits, over[hits]):
        hours = slice(event.first, event.last + 1)
        by_kind = np.abs(features[hours]).max(axis=0).reshape(-1, len(_KINDS))
        for index in np.flatnonzero(by_kind.max(axis=1) >= _FAR).tolist():
            name = names[index]
            known = means[name][first[event.worst] :][:_BINS_PER_HOUR]
            known = known[~np.isnan(known)]
            value = float(np.mean(known)) if len(known) else None
            found.append(
                Anomaly(
                    signals[name].field,
                    _KINDS[int(np.argmax(by_kind[index]))],
                    severity(float(over[event.worst]), warning=1.5, critical=_INF),
                    int(at_us[event.first]),
                    int(at_us[event.last]) + HOUR_US,
                    float(over[event.worst]),
                    value,
                    None,
                    _message(signals[name], value),
                )
            )
    return found


def _features(
    means: NDArray[np.float64], departure: Departure | None, first: NDArray[np.int64]
) -> tuple[NDArray[np.float64], ...]:
    """Return per hour: the departure (or the level), its largest jump and its slope."""
    level = means if departure is None else departure.away
    jump = np.abs(np.diff(level, append=np.nan))
    last = np.append(first[1:], len(level)) - 1
    return (
        np.fmax.reduceat(np.abs(level), first),
        np.fmax.reduceat(jump, first),
        level[last] - level[first],
    )


def _standardised(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each feature as its distance from the median in robust deviations, 0 if unknown."""
    middle = np.nanmedian(np.where(np.isnan(features).all(axis=0), 0.0, features), axis=0)
    away = np.nan_to_num(features - middle)
    scatter = _TO_SIGMA * np.median(np.abs(away), axis=0)
    scatter = np.maximum(scatter, np.quantile(np.abs(away), 0.95, axis=0) / 4)
    found: NDArray[np.float64] = np.clip(away / np.where(scatter > 0, scatter, 1.0), -50, 50)
    return found


def _isolation(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how easily each row is isolated, higher for odd ones.

    Rows far out in some feature are left out of the training, so that many alike faults cannot
    become usual.
    """
    from sklearn.ensemble import IsolationForest

    odd = features.max(axis=1)
    usual = features[odd <= np.quantile(odd, 0.95)]
    forest = IsolationForest(
        n_estimators=_TREES, max_samples=min(_SAMPLE, len(usual)), random_state=_SEED
    )
    score: NDArray[np.float64] = -forest.fit(usual).score_samples(features)
    return score


def _message(signal: Signal, value: float | None) -> str:
    reading = "" if value is None else f", {amount(value, signal)} on average"
    return f"{signal.title} made this time unlike the rest of the recording{reading}."
