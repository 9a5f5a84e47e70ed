"""The spread between highest and lowest cell of a pack, where single cells are not recorded."""

from dataclasses import dataclass

import numpy as np

from benchwire.domains.battery.samples import DAY_US, MICROSECONDS, Samples
from benchwire.domains.battery.throughput import LONGEST_GAP_SECONDS
from benchwire.domains.battery.trends import trend_per_day

_COARSE_VOLTS = 0.1


@dataclass(frozen=True, slots=True)
class DaySpread:
    """Difference between highest and lowest cell on a day (UTC)."""

    start_us: int
    mean_mv: float
    largest_mv: float


@dataclass(frozen=True, slots=True)
class PackSpread:
    """The pack's cell voltage spread over time.

    Parameters
    ----------
    coarse_days
        Days left out because the voltages have a single decimal: a spread that is a few mV wide
        is then told as 0 or 100 mV.
    """

    days: tuple[DaySpread, ...]
    coarse_days: int
    mean_mv: float | None
    trend_mv_per_day: float | None


def pack_spread(spread: Samples) -> PackSpread:
    """Return how the spread between highest and lowest cell (V) develops."""
    known = spread.without_nulls()
    if not len(known):
        return PackSpread((), 0, None, None)
    day = known.at_us // DAY_US
    starts = np.flatnonzero(np.diff(day, prepend=day[:1] - 1))
    days, is_kept = [], np.ones(len(known), np.bool_)
    for begin, end in zip(starts, np.append(starts[1:], len(day)), strict=True):
        part = known.values[begin:end]
        tenths = part / _COARSE_VOLTS
        if np.all(np.abs(tenths - np.round(tenths)) < 1e-6):
            is_kept[begin:end] = False
            continue
        mean_mv, largest_mv = float(part.mean()) * 1e3, float(part.max()) * 1e3
        days.append(DaySpread(int(day[begin]) * DAY_US, mean_mv, largest_mv))
    if not days:
        return PackSpread((), len(starts), None, None)
    kept = Samples(known.at_us[is_kept], known.values[is_kept] * 1e3)
    return PackSpread(
        tuple(days), len(starts) - len(days), float(kept.values.mean()), trend_per_day(kept)
    )


def difference(highest: Samples, lowest: Samples) -> Samples:
    """Return highest less lowest cell voltage (V) at the times of the highest.

    Of the lowest it takes the nearest sample, NaN where that is more than 10 minutes away.
    """
    known = lowest.without_nulls()
    if not len(known):
        return Samples(highest.at_us, np.full(len(highest), np.nan))
    after = np.searchsorted(known.at_us, highest.at_us).clip(max=len(known) - 1)
    before = (after - 1).clip(0)
    is_before = highest.at_us - known.at_us[before] <= np.abs(known.at_us[after] - highest.at_us)
    nearest = np.where(is_before, before, after)
    away_us = np.abs(known.at_us[nearest] - highest.at_us)
    values = highest.values - known.values[nearest]
    return Samples(
        highest.at_us, np.where(away_us <= LONGEST_GAP_SECONDS * MICROSECONDS, values, np.nan)
    )
