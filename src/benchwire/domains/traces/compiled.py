"""Sums of squares and slopes as machine code, where numba is installed and does what NumPy does.

A model takes part by a static method ``point(time, values, found)`` of plain arithmetic: values are
what is searched for and then what is fixed, in the model's order; found takes the shape at one time
and its derivatives. It returns False where it would lose digits. Such traces, and those of which
gain or offset is at a bound, are left to NumPy.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from benchwire.domains.traces.models import Array
from benchwire.domains.traces.problem import Problem, State, Traces

# Compiling takes some seconds, which fewer traces do not give back.
WORTH_COMPILING = 50_000
_TESTS, _AGREEMENT = 24, 1e-6
_FLAT = 1e-20

logger = logging.getLogger(__name__)


def accelerate(problem: Problem) -> bool:
    """Make a problem use machine code; where that fails or differs it goes on with NumPy."""
    point = getattr(type(problem.model), "point", None)
    if point is None:
        return False
    try:
        kernel = _compiled(point)
        if kernel is None:
            return False
        _compare(problem, kernel)
    except Exception:  # whatever a compiler may raise, there is another way
        logger.exception("machine code for %s cannot be used, NumPy is", problem.model.name)
        return False
    problem.faster = lambda traces, inner: _state(problem, kernel, traces, inner)
    return True


def _state(problem: Problem, kernel: Callable[..., None], traces: Traces, inner: Array) -> State:
    rows, searched = inner.shape
    found = State(np.empty(rows), np.empty((rows, searched)), np.empty((rows, searched, searched)))
    kernel(
        traces.time, traces.data, traces.weight, problem.outer(inner), problem.is_log,
        problem.fixed, np.array([problem.gain, problem.offset]),
        found.cost, found.pull, found.normal,
    )  # fmt: skip
    left = np.flatnonzero(np.isnan(found.cost))
    if len(left):
        found.put(left, problem.state_by_numpy(traces.take(left), inner[left]), slice(None))
    return found


def _compare(problem: Problem, kernel: Callable[..., None]) -> None:
    """Raise ArithmeticError where machine code and NumPy differ."""
    generator = np.random.default_rng(1)
    # Away from the ends, where slopes are nothing but rounding.
    share = generator.uniform(0.3, 0.6, (_TESTS, len(problem.low)))
    inner = problem.low + share * (problem.high - problem.low)
    time = np.linspace(0.0, 30.0, 40)[None, :]
    weight = (generator.random((_TESTS, 40)) > 0.2).astype(float)
    data = problem.shapes(time, inner) * max(problem.gain[0], 1.0) * 2 + generator.normal(
        size=weight.shape
    )
    traces = Traces(time, data * weight, weight, weight.sum(axis=1))
    one, other = _state(problem, kernel, traces, inner), problem.state_by_numpy(traces, inner)
    for a, b in ((one.cost, other.cost), (one.pull, other.pull), (one.normal, other.normal)):
        scale = np.abs(b).reshape(_TESTS, -1).max(axis=1)
        apart = np.abs(a - b).reshape(_TESTS, -1).max(axis=1)
        if not (apart <= _AGREEMENT * scale + 1e-200).all():
            raise ArithmeticError("machine code differs from NumPy")


@cache
def _compiled(point: Callable[..., bool]) -> Callable[..., None] | None:
    """Return the kernel of a model's point, None without numba."""
    try:
        import numba
    except ImportError:
        return None
    compiled = numba.njit(error_model="numpy")
    curve, eliminated, down = (
        compiled(_curve(compiled(point))),
        compiled(_eliminated),
        compiled(_down),
    )

    def kernel(
        time: Any, data: Any, weight: Any, outer: Any, is_log: Any, fixed: Any, box: Any,
        cost: Any, pull: Any, normal: Any,
    ) -> None:  # fmt: skip
        points, searched = data.shape[1], outer.shape[1]
        values = np.empty(searched + len(fixed))
        values[searched:] = fixed
        shape, known, slopes = np.empty(points), np.empty(points), np.empty((searched, points))
        for row in range(len(data)):
            cost[row] = np.nan
            values[:searched] = outer[row]
            at = time[row if len(time) > 1 else 0]
            if not curve(at, weight[row], values, is_log, shape, slopes):
                continue
            gain, offset, spread = eliminated(data[row], weight[row], shape, known)
            if box[0, 0] < gain < box[0, 1] and box[1, 0] < offset < box[1, 1]:
                shape[:] = (data[row] - gain * shape - offset) * weight[row]
                cost[row] = down(
                    gain, spread, weight[row], shape, known, slopes, pull[row], normal[row]
                )

    found: Callable[..., None] = compiled(kernel)
    return found


# -- what is compiled: loops over arrays, which is slow as Python and fast as machine code --------


def _curve(at_point: Callable[..., bool]) -> Callable[..., bool]:
    def curve(time: Any, weight: Any, values: Any, is_log: Any, shape: Any, slopes: Any) -> bool:
        """Find the shape and its slopes where there are points."""
        found = np.empty(1 + len(slopes))
        is_good = True
        for i in range(len(time)):
            if weight[i] > 0:
                is_good &= at_point(time[i], values, found)
            else:
                found[:] = 0.0
            shape[i] = found[0]
            for k in range(len(slopes)):
                slopes[k, i] = found[1 + k] * (values[k] if is_log[k] else 1.0)
        return is_good

    return curve


def _eliminated(data: Any, weight: Any, shape: Any, known: Any) -> tuple[float, float, float]:
    """Return gain, offset and the spread of the shape, which itself goes to known, centred."""
    count, level, data_level = 0.0, 0.0, 0.0
    for i in range(len(data)):
        count += weight[i]
        level += shape[i]
        data_level += data[i]
    level /= count
    data_level /= count
    spread, together = 0.0, 0.0
    for i in range(len(data)):
        known[i] = (shape[i] - level) * weight[i]
        spread += known[i] * known[i]
        together += known[i] * data[i]
    if not spread > _FLAT * count * level * level:
        return np.nan, np.nan, np.nan
    gain = together / spread
    return gain, data_level - gain * level, spread


def _down(
    gain: float, spread: float, weight: Any, residual: Any, known: Any, slopes: Any,
    pull: Any, normal: Any,
) -> float:  # fmt: skip
    """Return the sum of squares; find half its gradient and curvature."""
    points, searched = len(residual), len(slopes)
    count, cost = 0.0, 0.0
    for i in range(points):
        count += weight[i]
        cost += residual[i] * residual[i]
    for k in range(searched):
        mean, share, along = 0.0, 0.0, 0.0
        for i in range(points):
            mean += slopes[k, i]
            share += slopes[k, i] * known[i]
        for i in range(points):
            # What gain and offset can make up for is no change.
            slopes[k, i] -= mean / count * weight[i] + share / spread * known[i]
            along += slopes[k, i] * residual[i]
        pull[k] = -gain * along
        for j in range(k + 1):
            both = 0.0
            for i in range(points):
                both += slopes[j, i] * slopes[k, i]
            normal[j, k] = normal[k, j] = gain * gain * both
    return cost
