"""Signals made of straight pieces, whose integrals can be told by hand."""

import numpy as np

from benchwire.domains.battery.samples import DAY_US, HOUR_US, MICROSECONDS, Samples

MIDNIGHT = 20_000 * DAY_US


def square_wave(*pieces: tuple[float, float], every_s: int = 60, start: int = MIDNIGHT) -> Samples:
    """Return pieces of (hours, value), a second between the end of one and the next."""
    at, values = [], []
    begin = 0.0
    for hours, value in pieces:
        end = begin + hours * 3600
        times = np.append(np.arange(begin, end - 1, every_s), end - 1)
        at.append(times)
        values.append(np.full(len(times), value))
        begin = end
    seconds = np.concatenate(at).astype(np.int64)
    return Samples(start + seconds * MICROSECONDS, np.concatenate(values).astype(np.float64))


def ramps(*corners: tuple[float, float], every_s: int = 60, start: int = MIDNIGHT) -> Samples:
    """Return straight lines through corners of (hour, value)."""
    hours, values = np.array(corners, np.float64).T
    seconds = np.arange(0, hours[-1] * 3600 + 1, every_s)
    at_us = start + seconds.astype(np.int64) * MICROSECONDS
    return Samples(at_us, np.interp(seconds / 3600, hours, values))


def without(samples: Samples, from_hour: float, to_hour: float) -> Samples:
    """Return the samples outside a gap."""
    hours = (samples.at_us - MIDNIGHT) / HOUR_US
    kept = (hours < from_hour) | (hours > to_hour)
    return Samples(samples.at_us[kept], samples.values[kept])


def none() -> Samples:
    return Samples(np.empty(0, np.int64), np.empty(0))
