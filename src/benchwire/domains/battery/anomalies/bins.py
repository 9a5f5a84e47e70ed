"""Signals of different rates side by side: means of five minutes on one axis of time."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.anomalies.findings import MINUTE_US
from benchwire.domains.battery.samples import HOUR_US, Samples

BIN_US = 5 * MINUTE_US
_STRETCH_US = 6 * HOUR_US
# How far a shifted value may be from a whole number by binary fractions alone.
_ROUND = 1e-3
_LOOKED_AT, _MOST_DECIMALS, _NEARLY_ALL, _MUCH_COARSER = 20_000, 6, 0.98, 15


def occupied(recordings: Iterable[Samples]) -> NDArray[np.int64]:
    """Return the numbers of all bins in which any signal has a sample, ascending.

    Empty stretches take no room, however long they are.
    """
    numbers = [_starts(samples)[1] for samples in recordings if len(samples)]
    return np.unique(np.concatenate(numbers)) if numbers else np.empty(0, np.int64)


def means(samples: Samples, bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of each bin; NaN where the signal gave less than half its usual samples.

    Parameters
    ----------
    samples
        Without nulls, all of their bins among `bins`.
    """
    found = np.full(len(bins), np.nan)
    if not len(samples):
        return found
    starts, numbers = _starts(samples)
    counts = np.diff(np.append(starts, len(samples)))
    mean = np.add.reduceat(samples.values, starts) / counts
    mean[counts < np.median(counts) / 2] = np.nan
    found[np.searchsorted(bins, numbers)] = mean
    return found


def resolution(values: NDArray[np.float64]) -> float:
    """Return the place of the last decimal that nearly all values have; 0 beyond six."""
    if not len(values):
        return 0.0
    some = values[:: len(values) // _LOOKED_AT + 1]
    for decimals in range(_MOST_DECIMALS + 1):
        shifted = some * 10.0**decimals
        if np.mean(np.abs(shifted - np.round(shifted)) < _ROUND) >= _NEARLY_ALL:
            return 10.0**-decimals
    return 0.0


def finely_recorded(samples: Samples) -> Samples:
    """Return a signal without the stretches recorded much more coarsely than the rest.

    Some loggers give cell voltages with one decimal for months and then with three; a volt with
    one decimal says nothing about millivolts. A stretch in which nothing moves is judged by the one
    before it, at the start by the first that moves.
    """
    if not len(samples):
        return samples
    finest = resolution(samples.values)
    number = (samples.at_us - samples.at_us[0]) // _STRETCH_US
    first = np.append(0, np.flatnonzero(np.diff(number)) + 1)
    lengths = np.diff(np.append(first, len(samples)))
    stretches = np.split(samples.values, first[1:])
    moving = np.array([values.min() < values.max() for values in stretches])
    if not moving.any():
        return samples
    coarse = np.array([resolution(values) > _MUCH_COARSER * finest > 0 for values in stretches])
    judged = np.maximum.accumulate(np.where(moving, np.arange(len(first)), int(np.argmax(moving))))
    kept = np.repeat(~coarse[judged], lengths)
    return samples if kept.all() else Samples(samples.at_us[kept], samples.values[kept])


def _starts(samples: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first sample of each bin, and the bins' numbers."""
    number = samples.at_us // BIN_US
    starts = np.append(0, np.flatnonzero(np.diff(number)) + 1)
    return starts, number[starts]
