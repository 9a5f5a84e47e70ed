"""What the counted charge says about the state of charge, and what it takes to count it.

Counting coulombs drifts slowly (G. L. Plett, Battery Management Systems, vol. 1, Artech House 2015,
ch. 1), so what it says is compared within some days only.
"""

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.anomalies.bins import BIN_US
from benchwire.domains.battery.samples import HOUR_US

Curve = NDArray[np.float64]

_BINS_PER_HOUR = HOUR_US // BIN_US
_DAYS = 5
_BUSY_SHARE = 0.3
_LARGE_CHANGE_QUANTILE = 0.9
_LEAST_WINDOWS = 12


def counted_charge(soc: Curve, current: Curve, bins: NDArray[np.int64]) -> Curve:
    """Return how far the state of charge is from the counted charge, percent; (B,) like the input.

    Percent per ampere hour follows from the data, for both directions apart. While the current is
    unknown the state of charge is believed.
    """
    hours = np.diff(bins, append=bins[-1] + 1) * (BIN_US / HOUR_US)
    passed = np.where(hours > 1, np.nan, current * hours)
    level = _filled(soc)
    moved = np.diff(level, append=level[-1])
    expected = np.zeros(len(bins))
    for direction in (1, -1):
        way = np.sign(passed) == direction
        expected[way] = passed[way] * _per_ampere_hour(moved, passed, way)
    unknown = np.isnan(passed)
    expected[unknown] = moved[unknown]
    away = soc - np.append(0.0, np.cumsum(expected)[:-1])
    rest: Curve = away - slow(away, bins)
    return rest


def counted(current: Curve, bins: NDArray[np.int64]) -> Curve:
    """Return the charge that has passed before each bin, Ah; nothing where it is unknown."""
    hours = np.diff(bins, append=bins[-1] + 1) * (BIN_US / HOUR_US)
    passed = np.nan_to_num(np.where(hours > 1, 0.0, current * hours))
    return np.append(0.0, np.cumsum(passed)[:-1])


def resistance(voltage: Curve, current: Curve) -> float:
    """Return the median of voltage over current where the current changes most, ohm."""
    more_current, more_voltage = np.diff(current), np.diff(voltage)
    known = ~np.isnan(more_current) & ~np.isnan(more_voltage)
    change = np.abs(more_current[known])
    large = change > (np.quantile(change, _LARGE_CHANGE_QUANTILE) if len(change) else 0)
    ratios = more_voltage[known][large] / more_current[known][large]
    return float(np.median(ratios)) if len(ratios) else 0.0


def stand_in(curve: Curve, other: Curve) -> Curve:
    """Return the curve, where unknown the other one times their usual ratio."""
    known = ~np.isnan(curve) & ~np.isnan(other) & (other != 0)
    size = np.abs(other[known])
    large = size > (np.quantile(size, _LARGE_CHANGE_QUANTILE) if len(size) else 0)
    ratios = curve[known][large] / other[known][large]
    ratio = float(np.median(ratios)) if len(ratios) else np.nan
    return np.where(np.isnan(curve), ratio * other, curve)


def _per_ampere_hour(moved: Curve, passed: Curve, way: NDArray[np.bool_]) -> float:
    """Return how many percent an ampere hour makes, from hours in which much passed one way."""
    whole = np.where(way, passed, np.nan)
    window = np.ones(_BINS_PER_HOUR)
    if len(passed) < _BINS_PER_HOUR:
        return 0.0
    ampere_hours = np.convolve(np.nan_to_num(whole), window, "valid")
    percent = np.convolve(moved, window, "valid")
    inside = np.convolve(np.isnan(whole), window, "valid") == 0
    busy = inside & (np.abs(ampere_hours) > _BUSY_SHARE * np.abs(ampere_hours).max(initial=0))
    if np.count_nonzero(busy) < _LEAST_WINDOWS:
        return 0.0
    return float(np.median(percent[busy] / ampere_hours[busy]))


def _filled(curve: Curve) -> Curve:
    """Return the curve with the last known value, or else the first, for unknown ones."""
    known = ~np.isnan(curve)
    if not known.any():
        return np.zeros(len(curve))
    last = np.maximum.accumulate(np.where(known, np.arange(len(curve)), int(np.argmax(known))))
    return curve[last]


def slow(curve: Curve, bins: NDArray[np.int64]) -> Curve:
    """Return the median of the five days around each bin, worked out by the hour."""
    hour = bins // _BINS_PER_HOUR
    first = np.append(0, np.flatnonzero(np.diff(hour)) + 1)
    hourly = curve[first]
    half = _DAYS * 12
    if len(hourly) <= 2 * half:
        known = hourly[~np.isnan(hourly)]
        return np.full(len(curve), np.median(known) if len(known) else 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(hourly, 2 * half + 1)
    middle = _window_medians(windows)
    middle = np.concatenate([np.full(half, middle[0]), middle, np.full(half, middle[-1])])
    return np.interp(bins, bins[first], middle)


def _window_medians(windows: NDArray[np.float64]) -> Curve:
    """Return the median of each window's known values; 0 where there are none."""
    ordered = np.sort(windows, axis=1)
    counts = np.count_nonzero(~np.isnan(windows), axis=1)
    found = ordered[np.arange(len(ordered)), counts // 2]
    return np.where(counts > 0, found, 0.0)
