"""Single values far from their neighbours, found by the Hampel filter.

A value is a spike when it is further from the median of its window than a multiple of the window's
median absolute deviation (F. R. Hampel, J. Am. Stat. Assoc. 69 (1974) 383; as a filter: R. K.
Pearson, IEEE Trans. Control Syst. Technol. 10 (2002) 55). It can only be one just after a jump, so
the windows are looked at there alone.
"""

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.anomalies.bins import resolution
from benchwire.domains.battery.anomalies.findings import (
    Anomaly,
    amount,
    duration,
    events,
    severity,
)
from benchwire.domains.battery.samples import Samples
from benchwire.domains.battery.signals import Signal

_HALF = 5
_WINDOW = 2 * _HALF + 1
_LONGEST = 4
_TO_SIGMA = 1.4826
_MADS, _SIGMAS, _QUANTA = 4.0, 8.0, 3.0
# Loads switch: what happens to one sample in a thousand is no fault, twice that much may be.
_USUAL_SHARE, _USUALS = 1e-3, 2.0
_SAMPLES_FOR_USUAL = 10_000
_BLOCK = 200_000
_INF = float("inf")


def spikes(signal: Signal, samples: Samples) -> tuple[list[Anomaly], NDArray[np.bool_]]:
    """Return the spikes, and which samples they are."""
    values, is_spike = samples.values, np.zeros(len(samples), np.bool_)
    if len(values) < _WINDOW or signal.is_flag:
        return [], is_spike
    least = _least_jump(values)
    near = _after_jumps(values, least)
    middle, spread = _windows(values, near)
    away = np.abs(values[near] - middle)
    least = max(least, _usual(away, len(values)))
    allowed = np.maximum(_MADS * _TO_SIGMA * spread, least)
    hit = away > allowed
    hits, score = near[hit], away[hit] / allowed[hit]
    is_spike[hits] = True
    expected = dict(zip(hits.tolist(), middle[hit].tolist(), strict=True))
    scores = dict(zip(hits.tolist(), score.tolist(), strict=True))
    found = []
    for event in events(samples.at_us, hits, score):
        value, usual = float(values[event.worst]), expected[event.worst]
        start_us, end_us = int(samples.at_us[event.first]), int(samples.at_us[event.last])
        lasted = f" for {duration(end_us - start_us)}" if end_us > start_us else ""
        found.append(
            Anomaly(
                signal.field,
                "spike",
                severity(scores[event.worst], warning=2.0, critical=_INF),
                start_us,
                end_us,
                scores[event.worst],
                value,
                usual,
                f"{signal.title} jumped to {amount(value, signal)}{lasted}; "
                f"{amount(usual, signal)} was usual around it.",
            )
        )
    return found, is_spike


def _least_jump(values: NDArray[np.float64]) -> float:
    """Return the least distance that is neither noise nor rounding."""
    moves = np.abs(np.diff(values))
    sigma = _TO_SIGMA * float(np.median(moves)) / np.sqrt(2)
    return float(max(_SIGMAS * sigma, _QUANTA * resolution(values)))


def _after_jumps(values: NDArray[np.float64], least: float) -> NDArray[np.int64]:
    """Return the samples that may be spikes: those just after, or before, a jump."""
    jumps = np.flatnonzero(np.abs(np.diff(values)) > least / 2) + 1
    near = jumps[:, None] + np.arange(-_LONGEST, _LONGEST)
    flags = np.zeros(len(values), np.bool_)
    flags[near.clip(0, len(values) - 1).ravel()] = True
    return np.flatnonzero(flags)


def _windows(
    values: NDArray[np.float64], near: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return median and median absolute deviation around some samples; windows stay inside."""
    middle, spread = np.empty(len(near)), np.empty(len(near))
    first = (near - _HALF).clip(0, len(values) - _WINDOW)
    for lo in range(0, len(near), _BLOCK):
        here = slice(lo, lo + _BLOCK)
        window = values[first[here, None] + np.arange(_WINDOW)]
        window.partition(_HALF, axis=1)
        middle[here] = window[:, _HALF]
        window = np.abs(window - middle[here, None])
        window.partition(_HALF, axis=1)
        spread[here] = window[:, _HALF]
    return middle, spread


def _usual(away: NDArray[np.float64], n: int) -> float:
    """Return what distance is usual now and then; all large ones are in `away`."""
    rank = int(n * _USUAL_SHARE)
    if n < _SAMPLES_FOR_USUAL or len(away) <= rank:
        return 0.0
    return _USUALS * float(np.partition(away, len(away) - rank)[len(away) - rank])
