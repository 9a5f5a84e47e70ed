"""What a signal should be by the others it hangs together with physically.

Each signal is predicted from each of its references alone, so that a faulty reference is outvoted
by the others: a departure counts only when references that could have seen it agree.

The curve of a pair is a line with the median of all slopes (H. Theil, Proc. K. Ned. Akad. Wet. 53
(1950) 386; P. K. Sen, J. Am. Stat. Assoc. 63 (1968) 1379) through medians of groups of equal width,
and the medians of what is left: up to half of each group may be faulty. It is fitted anew every
four weeks, since cells and seasons change.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.anomalies.bins import BIN_US
from benchwire.domains.battery.anomalies.charge import (
    counted,
    counted_charge,
    resistance,
    slow,
    stand_in,
)
from benchwire.domains.battery.samples import DAY_US

Curve = NDArray[np.float64]
Means = Mapping[str, Curve]

_BLOCK_BINS = 28 * DAY_US // BIN_US
_LEAST_PAIRS = 60
_GROUPS, _PER_GROUP, _LEAST_PER_GROUP, _PAIRS_PER_MEMBER = 24, 20, 3, 200
_INNER = (0.005, 0.995)
_TO_SIGMA = 1.4826
_LAGS_S = (300.0, 600.0, 1200.0, 2400.0)
# What a charge counter may run away by in a day, as a share of the charge that passes.
_RUNAWAYS = np.linspace(-0.04, 0.04, 33).tolist()
_VOLTAGES = ("bms1_v", "bms1_cell_ave_v", "bms1_cell_max_v", "bms1_cell_min_v")
_CELL_TEMPERATURES = ("bms1_cell_ave_t", "bms1_cell_max_t", "bms1_cell_min_t")
_PHASE_CURRENTS = ("pcs1_ia", "pcs1_ib", "pcs1_ic")
_PHASE_VOLTAGES = ("pcs1_uab", "pcs1_ubc", "pcs1_uca")
_HEAT = ("pcs1_ap", "pcs1_ia", "pcs1_dcc")

# Signals that follow one another's level; each is checked by all others of its line.
_LEVELS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_VOLTAGES, _VOLTAGES),
    **dict.fromkeys(_CELL_TEMPERATURES, _CELL_TEMPERATURES),
    **dict.fromkeys(_PHASE_VOLTAGES, _PHASE_VOLTAGES),
    "bms1_cell_v_diff": ("bms1_cell_ave_v", "bms1_v"),
    "bms1_cell_t_diff": ("bms1_cell_ave_t", "bms1_cell_min_t"),
    "pcs1_t_env": ("pcs1_t_a", "pcs1_t_igbt"),
    "pcs1_t_a": ("pcs1_t_env", "pcs1_t_igbt"),
}
# The grid side has no sign: phase currents follow the size of the power.
_SIZES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_PHASE_CURRENTS, (*_PHASE_CURRENTS, "pcs1_ap")),
    "pcs1_ap": ("pcs1_dcc", "pcs1_ia", "pcs1_ib"),
    "pcs1_dcc": ("pcs1_ap", "pcs1_ia", "pcs1_ib"),
}


@dataclass(frozen=True, slots=True)
class Departure:
    """How far a signal is from what one reference says, per bin; NaN where unknown.

    Parameters
    ----------
    away : (B,) float64
        Measured minus expected.
    scale : (B,) float64
        Usual size of `away` in this state, as a standard deviation.
    """

    away: Curve
    scale: Curve


def departures(name: str, means: Means, bins: NDArray[np.int64]) -> tuple[Departure, ...]:
    """Return how far a signal is from what each reference says, the closest reference first."""
    target = means[name]
    if np.count_nonzero(~np.isnan(target)) < _LEAST_PAIRS:
        return ()

    def known(names: tuple[str, ...]) -> list[Curve]:
        return [means[other] for other in names if other != name and other in means]

    found = [_in_blocks(other, target, bins) for other in known(_LEVELS.get(name, ()))]
    found += [_by_size(other, target, bins) for other in known(_SIZES.get(name, ()))]
    if name == "pcs1_t_igbt":
        found += [_lagged(np.abs(other), target, bins) for other in known(_HEAT)]
    if name == "bms1_soc":
        found += [_evenly(counted_charge(target, other, bins)) for other in known(("bms1_c",))]
    if name == "pcs1_dcv":
        found += [_by_charge(target, other, means, bins) for other in known(("pcs1_dcc",))]
    if name == "bms1_soh":
        found.append(_evenly(target - slow(target, bins)))
    usable = [one for one in found if np.isfinite(_usual_size(one))]
    return tuple(sorted(usable, key=_usual_size))


def agreed(found: tuple[Departure, ...]) -> Departure:
    """Return the departure by the closest reference, nothing where the others deny it.

    Of the other references those count whose own uncertainty is less than half the departure; at
    least as many must see half of it as see less.
    """
    away, scale = found[0].away.copy(), found[0].scale.copy()
    for other in found[1:]:
        missing = np.isnan(away)
        away[missing], scale[missing] = other.away[missing], other.scale[missing]
    votes = np.zeros(len(away))
    for other in found[1:]:
        can_tell = 2 * other.scale < np.abs(away)
        # The reference that gave the departure has no second vote.
        can_tell &= other.away != away
        sees = other.away * np.sign(away) >= np.abs(away) / 2
        votes += np.where(can_tell, np.where(sees, 1, -1), 0)
    return Departure(np.where(votes < 0, 0.0, away), scale)


def _in_blocks(reference: Curve, target: Curve, bins: NDArray[np.int64]) -> Departure:
    """Return the departures from a curve fitted in each four weeks; the last take a short rest."""
    away, scale = np.full(len(bins), np.nan), np.full(len(bins), np.nan)
    for lo, hi in _blocks(bins):
        known = lo + np.flatnonzero(~np.isnan(reference[lo:hi]) & ~np.isnan(target[lo:hi]))
        if len(known) >= _LEAST_PAIRS:
            away[known], scale[known] = _fit(reference[known], target[known])
    return Departure(away, scale)


def _by_size(reference: Curve, target: Curve, bins: NDArray[np.int64]) -> Departure:
    """Return how far a signal is from what the size of another says; it keeps its own sign."""
    found = _in_blocks(np.abs(reference), np.abs(target), bins)
    return Departure(np.where(target < 0, -found.away, found.away), found.scale)


def _blocks(bins: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the first bin of each four weeks and the one after its last."""
    block = (bins - bins[0]) // _BLOCK_BINS
    last = int(block[-1])
    if last and bins[-1] - bins[0] - last * _BLOCK_BINS < _BLOCK_BINS // 2:
        block = np.minimum(block, last - 1)
    edges = np.append(0, np.flatnonzero(np.diff(block)) + 1).tolist()
    return list(zip(edges, [*edges[1:], len(bins)], strict=True))


def _by_charge(voltage: Curve, current: Curve, means: Means, bins: NDArray[np.int64]) -> Departure:
    """Return how far a string's voltage is from what charge and current say.

    The open-circuit voltage is a curve over the counted charge. The counter runs away a little each
    day (losses, an offset of the sensor), by as much as makes the curve fit best.
    """
    if "pcs1_ap" in means:
        current = stand_in(current, means["pcs1_ap"])
    open_circuit = voltage - resistance(voltage, current) * current
    charge = counted(current, bins)
    days = bins * (BIN_US / DAY_US)
    away, scale = np.full(len(bins), np.nan), np.full(len(bins), np.nan)
    for lo, hi in _blocks(bins):
        known = lo + np.flatnonzero(~np.isnan(open_circuit[lo:hi]))
        if len(known) < _LEAST_PAIRS:
            continue
        days_in, y = days[known] - days[known[0]], open_circuit[known]
        throughput = float(np.abs(np.diff(charge[known])).sum()) / max(float(days_in[-1]), 1.0)
        best = np.inf
        for share in _RUNAWAYS:
            rest, spread = _fit(charge[known] - share * throughput * days_in, y)
            if np.median(spread) < best:
                best = float(np.median(spread))
                away[known], scale[known] = rest, spread
    return Departure(away, scale)


def _fit(x: Curve, y: Curve) -> tuple[Curve, Curve]:
    """Return residuals of a robust curve, and their usual size at each point."""
    lowest, highest = np.quantile(x, _INNER)
    width = max(float(highest - lowest), 1e-12) / _GROUPS
    group = np.floor((x - lowest) / width).clip(0, _GROUPS - 1).astype(np.int64)
    used = np.bincount(group, minlength=_GROUPS) >= _least_in_group(len(x))
    middle, level = _medians(group, x, _GROUPS)[used], _medians(group, y, _GROUPS)[used]
    rise, run = level[:, None] - level, middle[:, None] - middle
    apart = run > 0
    slope = float(np.median(rise[apart] / run[apart])) if apart.any() else 0.0
    rest = y - slope * x
    rest -= np.interp(x, middle, level - slope * middle)
    spread = _TO_SIGMA * _medians(group, np.abs(rest), _GROUPS)[used]
    spread = np.maximum(spread, np.median(spread))
    return rest, np.interp(x, middle, spread)


def _least_in_group(n: int) -> int:
    """Return how many pairs make a group: few in a short recording, or loads would be left out."""
    return min(_PER_GROUP, max(_LEAST_PER_GROUP, n // _PAIRS_PER_MEMBER))


def _medians(group: NDArray[np.int64], values: Curve, n_groups: int) -> Curve:
    """Return the median of each group; NaN for an empty one."""
    ordered = values[np.lexsort((values, group))]
    counts = np.bincount(group, minlength=n_groups)
    starts = np.cumsum(counts) - counts
    found = np.full(n_groups, np.nan)
    some = counts > 0
    found[some] = ordered[starts[some] + counts[some] // 2]
    return found


def _evenly(away: Curve) -> Departure:
    """Return a departure that is as uncertain at all times."""
    known = away[~np.isnan(away)]
    scale = _TO_SIGMA * float(np.median(np.abs(known))) if len(known) else np.nan
    return Departure(away, np.full(len(away), scale))


def _lagged(heat: Curve, target: Curve, bins: NDArray[np.int64]) -> Departure:
    """Return the departures from what the heat of the last while explains, whichever lag fits."""
    fits = [_in_blocks(_after(heat, lag_s), target, bins) for lag_s in _LAGS_S]
    return min(fits, key=_usual_size)


def _usual_size(departure: Departure) -> float:
    """Return the median of a departure's scale; infinite when there is none."""
    known = departure.scale[~np.isnan(departure.scale)]
    return float(np.median(known)) if len(known) else np.inf


def _after(heat: Curve, lag_s: float) -> Curve:
    """Return a curve after a first-order lag; the last known value stands for unknown ones."""
    from scipy.signal import lfilter

    known = ~np.isnan(heat)
    if not known.any():
        return heat
    last = np.maximum.accumulate(np.where(known, np.arange(len(heat)), int(np.argmax(known))))
    filled = heat[last]
    keep = np.exp(-BIN_US / 1e6 / lag_s)
    # The filter's delay of half a bin is part of the lag that is searched for.
    followed, _ = lfilter([1 - keep], [1, -keep], filled, zi=[keep * filled[0]])
    return np.asarray(followed, np.float64)
