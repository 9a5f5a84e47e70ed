"""Where a search begins: each trace compared with a grid of shapes by matrix products."""

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.traces.models import Array
from benchwire.domains.traces.problem import Problem, Traces

# Grid points along each searched parameter, by how many there are.
_COUNTS: dict[int, tuple[int, ...]] = {1: (64,), 2: (25, 24), 3: (14, 10, 10)}
_SCATTERED = 1024
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)
# Where a shape has an onset: most onsets, points along the others, and how like each other two
# shapes may be (correlation) that both are kept.
_MOST_ONSETS, _RATES, _ALIKE = 128, 12, 0.997
_FLAT = 1e-12
# So many traces beside the grid stay in the processor's cache.
_TRACES_AT_ONCE = 64
# Two such values can be multiplied in single precision.
_MOST = 1e18

Half = NDArray[np.float32]


class Grid:
    """A grid of searched parameters and its shapes at the times (T,) of some traces.

    The comparison is in single precision, which is enough to begin with. The bounds of gain and
    offset are kept one after the other, exact inside the box and close enough outside.
    """

    def __init__(self, problem: Problem, time: Array) -> None:
        self._problem = problem
        self.points, self._counts, self._alternatives = _grid(problem, time)
        shapes = problem.shapes(time[None, :], self.points)
        self._level = shapes.mean(axis=1)
        centred = shapes - self._level[:, None]
        size = np.sqrt((centred**2).sum(axis=1))
        is_flat = ~(size > _FLAT * np.abs(self._level))
        self._size = np.where(is_flat, 1.0, size)
        unit = np.where(is_flat[:, None], 0.0, centred / self._size[:, None])
        self._unit = np.ascontiguousarray(unit.T, dtype=np.float32)
        self._unit_squared = self._unit**2

    def candidates(self, traces: Traces, most: int) -> NDArray[np.int64]:
        """Return the grid's best separated valleys for each trace: (N, most), -1 where none."""
        found = np.empty((len(traces.data), most), int)
        for first in range(0, len(found), _TRACES_AT_ONCE):
            rows = np.arange(first, min(first + _TRACES_AT_ONCE, len(found)))
            found[rows] = self._some_candidates(traces.take(rows), most)
        return found

    def _some_candidates(self, traces: Traces, most: int) -> NDArray[np.int64]:
        cost = self._cost(traces)
        rows = np.arange(len(cost))
        best: NDArray[np.int64] = np.zeros((len(cost), 1), int)
        if self._alternatives > 1:
            apart = cost.reshape(len(cost), -1, self._alternatives)
            best = apart.argmin(axis=2)
            cost = np.take_along_axis(apart, best[:, :, None], 2)[:, :, 0]
        valleys = np.where(
            _is_valley(cost.reshape(-1, *self._counts)).reshape(cost.shape), cost, np.inf
        )
        chosen = np.full((len(cost), most), -1)
        for k in range(most):
            at = valleys.argmin(axis=1)
            point = at * self._alternatives + best[rows, np.minimum(at, best.shape[1] - 1)]
            chosen[:, k] = np.where(np.isfinite(valleys[rows, at]), point, -1)
            valleys[rows, at] = np.inf
        return chosen

    def _cost(self, traces: Traces) -> Half:
        count = np.maximum(traces.count, 1.0)[:, None]
        data_level = traces.data.sum(axis=1)[:, None] / count
        deviation = (traces.data - data_level) * traces.weight
        size = np.sqrt((deviation**2).sum(axis=1))[:, None]
        size = np.where(size > 0, size, 1.0)
        together = (deviation / size).astype(np.float32) @ self._unit
        if traces.weight.all():
            level: Half = np.zeros((1, 1), np.float32)
            spread: Half = np.ones((1, 1), np.float32)
        else:
            weight = traces.weight.astype(np.float32)
            level = np.divide(weight @ self._unit, count, dtype=np.float32)
            spread = weight @ self._unit_squared - level * level * count.astype(np.float32)
            spread = np.maximum(spread, np.float32(1e-6))
        # In units of each trace's own size, offset from its own level.
        (low, high), (lowest, highest) = self._problem.gain, self._problem.offset
        gain = together / spread
        limits = (_single(end / size) * _single(self._size) for end in (low, high))
        np.clip(gain, *limits, out=gain)
        level = level + _single(self._level / self._size)
        needed = gain * level
        off = np.clip(
            -needed, _single((lowest - data_level) / size), _single((highest - data_level) / size)
        )
        off += needed
        cost: Half = gain * spread
        cost -= 2 * together
        cost *= gain
        off *= off
        off *= count.astype(np.float32)
        cost += off
        return np.nan_to_num(cost, copy=False, nan=np.inf, posinf=np.inf, neginf=np.inf)


def _single(values: Array) -> Half:
    """Return values as float32, those beyond its range at its end."""
    return np.clip(values, -_MOST, _MOST).astype(np.float32)


def _grid(problem: Problem, time: Array) -> tuple[Array, tuple[int, ...], int]:
    """Return the points, how many lie along each axis, and how many share each such place."""
    low, high = problem.low, problem.high
    searched = len(low)
    if problem.onset is not None:
        return _grid_of_onsets(problem, time)
    if searched not in _COUNTS:
        steps = _scattered(searched)
        return low + steps * (high - low), (len(steps),), 1
    counts = _COUNTS[searched]
    axes = [np.linspace(a, b, n) for a, b, n in zip(low, high, counts, strict=True)]
    return _crossed(axes), counts, 1


def _grid_of_onsets(problem: Problem, time: Array) -> tuple[Array, tuple[int, ...], int]:
    """Return onsets within each interval of the times, crossed with all shapes that differ."""
    onset = problem.onset
    low, high = problem.low, problem.high
    times = np.unique(time)
    inside = times[(times > low[onset]) & (times < high[onset])]
    edges = np.concatenate([[low[onset]], inside, [high[onset]]])
    if times[-1] < high[onset]:
        # After the last point any onset is as good as none.
        edges = edges[:-1] if len(edges) > 2 else edges
    edges = edges[np.unique(np.linspace(0, len(edges) - 1, _MOST_ONSETS // 2).round().astype(int))]
    onsets = (edges[:-1, None] + np.diff(edges)[:, None] * np.array([0.25, 0.75])).ravel()
    others = [k for k in range(len(low)) if k != onset]
    points = np.empty((_RATES ** len(others), len(low)))
    points[:, onset] = onsets[0]
    if others:
        points[:, others] = _crossed([np.linspace(low[k], high[k], _RATES) for k in others])
    points = points[_different(problem.shapes(times[None, :], points))]
    crossed = np.repeat(points[None, :, :], len(onsets), axis=0)
    crossed[:, :, onset] = onsets[:, None]
    return crossed.reshape(-1, len(low)), (len(onsets),), len(points)


def _different(shapes: Array) -> list[int]:
    """Return which shapes are enough to stand for all."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    unit = np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
    alike = np.abs(unit @ unit.T)
    kept: list[int] = []
    for row in range(len(shapes)):
        if not (alike[row, kept] > _ALIKE).any():
            kept.append(row)
    return kept


def _crossed(axes: list[Array]) -> Array:
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def _scattered(dimensions: int) -> Array:
    """Return points that fill the unit cube evenly (Halton, Numer. Math. 2, 1960)."""
    points = np.zeros((_SCATTERED, dimensions))
    for column in range(dimensions):
        base = _PRIMES[column % len(_PRIMES)]
        left, share = np.arange(1, _SCATTERED + 1), 1.0
        while left.any():
            share /= base
            points[:, column] += share * (left % base)
            left = left // base
    return points


def _is_valley(cost: Half) -> NDArray[np.bool_]:
    """Return where no neighbour along any axis but the first is lower."""
    found = np.isfinite(cost)
    for axis in range(1, cost.ndim):
        ahead = [slice(None)] * cost.ndim
        behind = [slice(None)] * cost.ndim
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        rises = cost[tuple(ahead)] >= cost[tuple(behind)]
        found[tuple(behind)] &= rises
        found[tuple(ahead)] &= ~rises
    return found
