"""Which cells stand out: each cell's voltage against the median of all at the same moment."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import MICROSECONDS, Samples
from benchwire.domains.battery.throughput import Sign
from benchwire.domains.battery.trends import trend_per_day

MINUTE_US = 60 * MICROSECONDS
# Every cell is kept as one mean per moment: 20,000 moments of 260 cells are 21 MB.
SHORTEST_MOMENT_MINUTES = 10
MOST_MOMENTS = 20_000
LEAST_CELLS = 3  # the median of two is their mean, and then none of them stands out
# Of the largest current that lasts; less is the battery's own consumption. A glitch of 32,767 A
# would make all else rest.
REST_SHARE = 0.03
# So many samples tell a glitch by their median; of fewer the highest thousandth may be some.
_LEAST_FOR_MEDIAN = 3
_HIGHEST_LEFT_OUT = 0.001
_MOMENTS_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class CellDeviation:
    """How one cell's voltage differs from the median of all cells.

    Parameters
    ----------
    mean_mv
        Mean difference over all moments; below zero if the cell is lower.
    spread_mv
        Standard deviation of the difference.
    at_rest_mv, charging_mv, discharging_mv
        Mean difference by what the battery does; None without a current, or without such moments.
        A cell that differs at rest is charged otherwise or has another capacity; one that is
        high in charge and low in discharge has a higher resistance. Rest is less than 3 % of the
        largest current, of which the highest thousandth of samples is left out.
    trend_mv_per_day
        Median slope of all pairs of days; None with less than three days.
    moments
        How many differences there are.
    """

    cell: str
    mean_mv: float
    spread_mv: float
    at_rest_mv: float | None
    charging_mv: float | None
    discharging_mv: float | None
    trend_mv_per_day: float | None
    moments: int


@dataclass(frozen=True, slots=True)
class Imbalance:
    """Cells by how far they are from the median, the furthest first.

    Parameters
    ----------
    moment_minutes
        Voltages are means over this time.
    """

    cells: tuple[CellDeviation, ...]
    moment_minutes: int
    start_us: int | None
    end_us: int | None


def rank_cells(
    cells: Iterable[tuple[str, Samples]],
    *,
    current: Samples | None = None,
    sign: Sign | None = None,
) -> Imbalance:
    """Return all cells with values by their deviation, from their voltages (V).

    Cells are read one after another and reduced to means per moment at once, so that the memory
    does not grow with their rate. Of moments with less than three cells nothing is said.

    Parameters
    ----------
    current, sign
        Pack current in A and what a positive one does, to tell rest, charge and discharge apart;
        without a sign, positive charges.
    """
    names: list[str] = []
    reduced: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    length_us = 0
    for name, samples in cells:
        known = samples.without_nulls()
        if not len(known):
            continue
        length_us = length_us or _moment_us(known)
        names.append(name)
        reduced.append(_means(known, length_us))
    if not reduced:
        return Imbalance((), SHORTEST_MOMENT_MINUTES, None, None)
    moments, voltages = _table(reduced)
    reduced.clear()
    _subtract_median(voltages)
    factor = 1.0 if sign is None else sign.factor
    modes = _modes(current, moments, length_us=length_us, factor=factor)
    found = [
        _deviation(name, moments * length_us, deviation_mv=row * 1e3, modes=modes)
        for name, row in zip(names, voltages, strict=True)
    ]
    ranked = sorted((one for one in found if one is not None), key=lambda one: -abs(one.mean_mv))
    return Imbalance(
        tuple(ranked),
        length_us // MINUTE_US,
        int(moments[0]) * length_us,
        (int(moments[-1]) + 1) * length_us,
    )


def _moment_us(known: Samples) -> int:
    """Return the length of a moment, longer for a long recording."""
    shortest = SHORTEST_MOMENT_MINUTES * MINUTE_US
    span = int(known.at_us[-1] - known.at_us[0])
    return shortest * max(1, -(-span // (shortest * MOST_MOMENTS)))


def _means(known: Samples, length_us: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the moments with values, and the mean in each."""
    moment = known.at_us // length_us
    starts = np.flatnonzero(np.diff(moment, prepend=moment[:1] - 1))
    counts = np.diff(np.append(starts, len(moment)))
    return moment[starts], (np.add.reduceat(known.values, starts) / counts).astype(np.float32)


def _table(
    reduced: list[tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return all moments, and (cells, moments) voltages, NaN where a cell has none."""
    moments = reduced[0][0]
    for own, _ in reduced[1:]:
        if not np.array_equal(own, moments):
            moments = np.union1d(moments, own)
    voltages = np.full((len(reduced), len(moments)), np.nan, np.float32)
    for row, (own, values) in zip(voltages, reduced, strict=True):
        row[np.searchsorted(moments, own)] = values
    return moments, voltages


def _subtract_median(voltages: NDArray[np.float32]) -> None:
    """Turn voltages into differences from the median of each moment, in place."""
    for begin in range(0, voltages.shape[1], _MOMENTS_AT_ONCE):
        part = voltages[:, begin : begin + _MOMENTS_AT_ONCE]
        ordered = np.sort(part, axis=0)  # NaN comes last
        count = np.count_nonzero(~np.isnan(part), axis=0)
        column = np.arange(part.shape[1])
        lower = ordered[((count - 1) // 2).clip(0), column]
        upper = ordered[(count // 2).clip(max=len(part) - 1), column]
        part -= np.where(count >= LEAST_CELLS, (lower + upper) / 2, np.nan)


def _modes(
    current: Samples | None, moments: NDArray[np.int64], *, length_us: int, factor: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return which moments are rest, charge and discharge throughout; mixed ones are none."""
    known = None if current is None else current.without_nulls()
    if known is None or not len(known):
        return None
    moment = known.at_us // length_us
    starts = np.flatnonzero(np.diff(moment, prepend=moment[:1] - 1))
    threshold = REST_SHARE * _largest(known.values, starts)
    amperes = known.values * factor
    least, most = np.minimum.reduceat(amperes, starts), np.maximum.reduceat(amperes, starts)
    where = np.searchsorted(moment[starts], moments).clip(max=len(starts) - 1)
    is_known = moment[starts][where] == moments
    least, most = least[where], most[where]
    return (
        is_known & (least >= -threshold) & (most <= threshold),
        is_known & (least > threshold),
        is_known & (most < -threshold),
    )


def _largest(amperes: NDArray[np.float64], starts: NDArray[np.intp]) -> float:
    """Return the largest current of either sign that lasts, glitches left out.

    That is the largest of the medians of all moments; where no moment has enough samples for one,
    the largest but for the highest thousandth, at least one.

    Parameters
    ----------
    amperes : (N,) float64
    starts : (M,) int
        Where each moment's samples begin.
    """
    size = np.abs(amperes)
    counts = np.diff(starts, append=len(size))
    has_median = counts >= _LEAST_FOR_MEDIAN
    if not has_median.any():
        return float(np.quantile(size, 1 - _HIGHEST_LEFT_OUT, method="lower"))
    by_size = size[np.lexsort((size, np.repeat(np.arange(len(starts)), counts)))]
    return float(by_size[(starts + (counts - 1) // 2)[has_median]].max())


def _deviation(
    cell: str,
    at_us: NDArray[np.int64],
    *,
    deviation_mv: NDArray[np.float32],
    modes: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]] | None,
) -> CellDeviation | None:
    """Return the figures of one cell, None if it was never compared."""
    is_known = ~np.isnan(deviation_mv)
    if not is_known.any():
        return None
    known = deviation_mv[is_known].astype(np.float64)
    by_mode: list[float | None] = [None, None, None]
    if modes is not None:
        chosen = [is_known & mode for mode in modes]
        by_mode = [float(deviation_mv[one].mean()) if one.any() else None for one in chosen]
    return CellDeviation(
        cell=cell,
        mean_mv=float(known.mean()),
        spread_mv=float(known.std()),
        at_rest_mv=by_mode[0],
        charging_mv=by_mode[1],
        discharging_mv=by_mode[2],
        trend_mv_per_day=trend_per_day(Samples(at_us[is_known], known)),
        moments=len(known),
    )
