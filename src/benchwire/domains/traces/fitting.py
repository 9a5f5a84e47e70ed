"""Least squares of a model to many traces at once, within bounds.

All traces are compared with a grid of shapes (`starts`); from the best of it each is refined by
steps on all traces together (`descent`), gain and offset eliminated (`problem`). That finds the
global minimum where a descent from one start value ends in a local one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.traces.compiled import WORTH_COMPILING, accelerate
from benchwire.domains.traces.descent import Found, descend
from benchwire.domains.traces.models import Array, Model
from benchwire.domains.traces.problem import Problem, Traces
from benchwire.domains.traces.starts import Grid

_TRACES_AT_ONCE = 2048
_VALLEYS, _BASINS = 2, 2
_FIRST_STEPS, _MOST_STEPS = 3, 400
# Nearer than this, of the range of each parameter, two searches are on the way to one minimum.
_SAME_BASIN = 0.03
_HOPELESS = 10.0
_MOST_HOPS = 12
_INTO_NEXT = 1e-6
_SHARE = 0.02
_NOTHING_LEFT = 1e-12
_HOP_STEPS, _HOPEFUL, _LOWER = 8, 1.05, 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Fits:
    """What was fitted to N traces.

    Parameters
    ----------
    parameters : (N, P) float64
        In the order of the model's parameters; the start values where a fit failed.
    r_squared : (N,) float64
        ``1 - SSres/SStot`` within 0 and 1; 0 for a constant trace and for a failed fit.
    residual : (N,) float64
        Sum of squared residuals; infinite for a failed fit.
    success : (N,) bool
        Whether there were enough points and the search came to rest.
    """

    parameters: Array
    r_squared: Array
    residual: Array
    success: NDArray[np.bool_]


def fit(
    model: Model,
    time: Array,
    values: Array,
    *,
    start: Mapping[str, float] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    fixed: Mapping[str, float] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Fits:
    """Fit a model to traces; none depends on any other.

    Parameters
    ----------
    time : (T,) or (N, T) float64
        In h; one axis for all traces or one for each.
    values : (N, T) float64
        Not finite where a point is missing.
    start, bounds, fixed
        In place of the model's own, by name; a start outside the bounds is moved to the nearest.
    on_progress
        Called with how many traces are done, from time to time; what it raises ends the fit.
    """
    problem = Problem(model, start or {}, bounds=bounds or {}, fixed=fixed or {})
    values = np.atleast_2d(np.asarray(values, float))
    count = len(values)
    if count >= WORTH_COMPILING:
        accelerate(problem)
    parts = Fits(
        np.tile([problem.start[item.name] for item in model.parameters], (count, 1)),
        np.zeros(count), np.full(count, np.inf), np.zeros(count, bool),
    )  # fmt: skip
    axes, axis_of = _axes(np.asarray(time, float), count)
    order = axis_of.argsort(kind="stable")
    grids = _Grids(problem, axes)
    for first in range(0, count, _TRACES_AT_ONCE):
        rows = order[first : first + _TRACES_AT_ONCE]
        with np.errstate(all="ignore"):
            _fit_some(problem, grids, values, rows=rows, axis_of=axis_of[rows], into=parts)
        if on_progress:
            on_progress(min(first + _TRACES_AT_ONCE, count))
    return parts


def _axes(time: Array, count: int) -> tuple[Array, NDArray[np.int64]]:
    """Return the distinct time axes, infinite where they have no time, and which is whose."""
    if time.ndim == 1 or (len(time) and (time == time[0]).all()):
        return np.atleast_2d(time)[:1], np.zeros(count, int)
    axes, axis_of = np.unique(
        np.where(np.isfinite(time), time, np.inf), axis=0, return_inverse=True
    )
    return axes, axis_of.reshape(-1)


class _Grids:
    """The grid for each time axis, made when it is needed; the last one is kept."""

    def __init__(self, problem: Problem, axes: Array) -> None:
        self.axes = axes
        self._problem = problem
        self._kept: tuple[int, Grid] | None = None

    def of(self, axis: int) -> Grid:
        if self._kept is None or self._kept[0] != axis:
            times = self.axes[axis]
            self._kept = axis, Grid(self._problem, np.where(np.isfinite(times), times, 0.0))
        return self._kept[1]


def _fit_some(
    problem: Problem, grids: _Grids, values: Array, *,
    rows: NDArray[np.int64], axis_of: NDArray[np.int64], into: Fits,
) -> None:  # fmt: skip
    """Fit some traces and put down what was found for those that could be."""
    is_shared = (axis_of == axis_of[0]).all()
    time = grids.axes[axis_of[:1]] if is_shared else grids.axes[axis_of]
    data = values[rows]
    is_known = np.isfinite(data) & np.isfinite(time)
    traces = Traces(
        np.where(np.isfinite(time), time, 0.0), np.where(is_known, data, 0.0),
        is_known.astype(float), is_known.sum(axis=1).astype(float),
    )  # fmt: skip
    enough = np.flatnonzero(traces.count >= len(problem.model.parameters))
    if not len(enough):
        return
    traces, rows = traces.take(enough), rows[enough]
    found = _search(problem, grids, traces, axis_of=axis_of[enough])
    shapes = problem.shapes(traces.time, found.inner)
    linear = problem.linear(traces, shapes)
    curve = linear.gain[:, None] * shapes + linear.offset[:, None]
    residual = (((traces.data - curve) * traces.weight) ** 2).sum(axis=1)
    mean = traces.data.sum(axis=1) / traces.count
    spread = (((traces.data - mean[:, None]) * traces.weight) ** 2).sum(axis=1)
    parameters = problem.named(found.inner, linear)
    success = found.is_at_rest & np.isfinite(residual) & np.isfinite(parameters).all(axis=1)
    ratio = np.divide(residual, spread, out=np.ones_like(spread), where=spread > 0)
    rows = rows[success]
    into.parameters[rows] = parameters[success]
    into.r_squared[rows] = np.clip(1.0 - ratio[success], 0.0, 1.0)
    into.residual[rows] = residual[success]
    into.success[rows] = True


def _search(
    problem: Problem, grids: _Grids, traces: Traces, *, axis_of: NDArray[np.int64]
) -> Found:
    """Return the best searched parameters of each trace."""
    count, searched = len(traces.data), len(problem.searched)
    if not searched:
        return Found(np.zeros((count, 0)), np.zeros(count), np.ones(count, bool))
    # The start value is tried whatever the grid says.
    starts = np.full((count, 1 + _VALLEYS, searched), np.nan)
    starts[:, 0] = problem.first
    for axis in np.unique(axis_of):
        members = np.flatnonzero(axis_of == axis)
        grid = grids.of(axis)
        chosen = grid.candidates(traces.take(members), _VALLEYS)
        starts[members, 1:] = np.where(chosen[:, :, None] < 0, np.nan, grid.points[chosen])
    # A few steps tell the basins apart; the deepest are gone down to the bottom.
    begun = _refine(problem, traces, starts, steps=_FIRST_STEPS)
    best = _deepest(problem, begun, _BASINS)
    ended = _refine(problem, traces, best, steps=_MOST_STEPS)
    deepest = np.nanargmin(np.where(np.isnan(ended.cost), np.inf, ended.cost), axis=1)
    at = np.arange(count), deepest
    found = Found(ended.inner[at], ended.cost[at], ended.is_at_rest[at])
    return _hop(problem, traces, found) if problem.onset is not None else found


def _refine(problem: Problem, traces: Traces, starts: Array, *, steps: int) -> Found:
    """Go down from each of several starts (N, K, P), NaN where there is none."""
    owner, which = np.nonzero(np.isfinite(starts).all(axis=2))
    own = traces.take(owner)
    inner = starts[owner, which]
    low, high = _between_kinks(problem, own, inner)
    part = descend(problem, own, inner, low=low, high=high, steps=steps)
    found = Found(
        starts.copy(), np.full(starts.shape[:2], np.inf), np.zeros(starts.shape[:2], bool)
    )
    found.inner[owner, which] = part.inner
    found.cost[owner, which] = part.cost
    found.is_at_rest[owner, which] = part.is_at_rest
    return found


def _deepest(problem: Problem, found: Found, most: int) -> Array:
    """Return the lowest that are not on the way to one and the same minimum: (N, most, P)."""
    rows = np.arange(len(found.cost))
    order = found.cost.argsort(axis=1, kind="stable")[:, :most]
    best = found.inner[rows[:, None], order]
    span = problem.high - problem.low
    for k in range(1, most):
        for j in range(k):
            away = np.abs(best[:, k] - best[:, j]) / span
            best[(away < _SAME_BASIN).all(axis=1), k] = np.nan
        best[found.cost[rows, order[:, k]] > _HOPELESS * found.cost[rows, order[:, 0]], k] = np.nan
    return best


def _between_kinks(problem: Problem, traces: Traces, inner: Array) -> tuple[Array, Array]:
    """Return bounds within which the sum of squares is smooth.

    Where an onset passes a point, the sum has a kink: a step that looks across it is misled.
    """
    low, high = np.tile(problem.low, (len(inner), 1)), np.tile(problem.high, (len(inner), 1))
    if problem.onset is None:
        return low, high
    onset = inner[:, problem.onset, None]
    is_point = traces.weight > 0
    before = np.where(is_point & (traces.time <= onset), traces.time, -np.inf).max(axis=1)
    after = np.where(is_point & (traces.time > onset), traces.time, np.inf).min(axis=1)
    low[:, problem.onset] = np.maximum(low[:, problem.onset], before)
    high[:, problem.onset] = np.minimum(high[:, problem.onset], after)
    return low, high


def _hop(problem: Problem, traces: Traces, found: Found) -> Found:
    """Look between the neighbouring points, as long as that leads further down."""
    level = traces.data.sum(axis=1) / traces.count
    spread = (((traces.data - level[:, None]) * traces.weight) ** 2).sum(axis=1)
    left = np.flatnonzero(found.cost > _NOTHING_LEFT * spread)
    for _ in range(_MOST_HOPS):
        if not len(left):
            break
        own = traces.take(left)
        starts = _beside(problem, own, found.inner[left])
        begun = _refine(problem, own, starts, steps=_HOP_STEPS)
        hopeful = begun.cost < found.cost[left][:, None] * _HOPEFUL
        starts = np.where(hopeful[:, :, None], begun.inner, np.nan)
        ended = _refine(problem, own, starts, steps=_MOST_STEPS)
        side = ended.cost.argmin(axis=1)
        rows = np.arange(len(left))
        is_better = ended.cost[rows, side] < found.cost[left] * _LOWER
        went = left[is_better]
        found.inner[went] = ended.inner[rows, side][is_better]
        found.cost[went] = ended.cost[rows, side][is_better]
        found.is_at_rest[went] = ended.is_at_rest[rows, side][is_better]
        left = went
    return found


def _beside(problem: Problem, traces: Traces, inner: Array) -> Array:
    """Return the same with the onset in the middle before and after its points: (N, 2, P)."""
    onset = problem.onset
    beside = np.repeat(inner[:, None, :], 2, axis=1)
    low, high = _between_kinks(problem, traces, inner)
    for side, edge in enumerate((low[:, onset], high[:, onset])):
        beyond = inner.copy()
        beyond[:, onset] = edge + (-_INTO_NEXT if side == 0 else _INTO_NEXT)
        is_inside = (beyond[:, onset] > problem.low[onset]) & (
            beyond[:, onset] < problem.high[onset]
        )
        next_low, next_high = _between_kinks(problem, traces, beyond)
        width = next_high[:, onset] - next_low[:, onset]
        start = edge + (-_SHARE if side == 0 else _SHARE) * width
        beside[:, side, onset] = np.where(is_inside, start, np.nan)
    return beside
