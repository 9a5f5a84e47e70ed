"""Down from many starts at once, by the steps of Levenberg and Marquardt within bounds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.traces.models import Array
from benchwire.domains.traces.problem import Problem, Traces

# What is gained by a step, and what is left, that counts as nothing beside the whole.
_LITTLE, _PERFECT = 3e-9, 1e-18
_FIRST_DAMPING, _LOWEST_DAMPING, _HIGHEST_DAMPING = 1e-3, 1e-10, 1e8
_EASIER, _HARDER = 0.1, 6.0
_POOR, _GOOD = 0.25, 0.75


@dataclass(frozen=True, slots=True)
class Found:
    """Searched parameters (N, P), their sums of squares, and whether the search came to rest."""

    inner: Array
    cost: Array
    is_at_rest: NDArray[np.bool_]


def descend(
    problem: Problem, traces: Traces, inner: Array, *, low: Array, high: Array, steps: int
) -> Found:
    """Go down from each start, within bounds (N, P); those that rest are left alone."""
    inner = inner.copy()
    state = problem.state(traces, inner)
    cost = state.cost
    level = traces.data.sum(axis=1) / np.maximum(traces.count, 1.0)
    nothing = _PERFECT * (((traces.data - level[:, None]) * traces.weight) ** 2).sum(axis=1)
    damping = np.full(len(inner), _FIRST_DAMPING)
    is_at_rest = cost <= nothing
    left = np.flatnonzero(~is_at_rest)
    at_work = traces.take(left)
    for _ in range(steps):
        if not len(left):
            break
        at, pull, normal = inner[left], state.pull[left], state.normal[left]
        step, free = _step(at, pull, normal, low=low[left], high=high[left], damping=damping[left])
        trial = np.clip(at + step, low[left], high[left])
        new = problem.state(at_work, trial)
        gained = cost[left] - new.cost
        is_better = gained > 0
        # So little left to gain, or no step, however short, that leads down any more.
        small = _LITTLE * cost[left]
        promised = -(step * free).sum(axis=1)
        rests = (promised <= small) | (is_better & (gained <= small))
        went = left[is_better]
        inner[went] = trial[is_better]
        state.put(went, new, is_better)
        # Far less than promised, or nothing at all, was gained: the curvature is not to be trusted.
        is_as_promised = gained > _GOOD * promised
        is_poor = ~(gained > _POOR * promised)
        damping[left] *= np.where(is_as_promised, _EASIER, np.where(is_poor, _HARDER, 1.0))
        np.maximum(damping, _LOWEST_DAMPING, out=damping)
        rests |= (damping[left] > _HIGHEST_DAMPING) | (cost[left] <= nothing[left])
        is_at_rest[left[rests]] = True
        left = left[~rests]
        at_work = at_work.take(np.flatnonzero(~rests)) if rests.any() else at_work
    return Found(inner, cost, is_at_rest)


def _step(
    at: Array, pull: Array, normal: Array, *, low: Array, high: Array, damping: Array
) -> tuple[Array, Array]:
    """Return the damped step, and the pull without what is held at a bound."""
    unit = np.eye(at.shape[1])
    size = np.maximum(np.diagonal(normal, axis1=1, axis2=2), 1e-300)
    # At a bound, what pulls outwards does not count.
    is_held = ((at <= low) & (pull > 0)) | ((at >= high) & (pull < 0))
    free = np.where(is_held, 0.0, pull)
    # Scaled to a diagonal of ones, or small and large parameters would lose digits.
    root = np.sqrt(size)
    scaled = normal / (root[:, :, None] * root[:, None, :]) + damping[:, None, None] * unit
    is_off = is_held[:, :, None] | is_held[:, None, :]
    scaled = np.where(is_off, is_held[:, :, None] * unit, scaled)
    scaled += 1e-14 * unit
    return -np.linalg.solve(scaled, (free / root)[:, :, None])[:, :, 0] / root, free
