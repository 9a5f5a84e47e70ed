"""What is searched for in a fit: a model within its bounds, gain and offset eliminated.

Variable projection (Golub and Pereyra, SIAM J. Numer. Anal. 10, 1973) with Kaufman's derivative
(BIT 15, 1975): for any shape the best gain and offset within their bounds are known, so that only
what bends the shape is left to be searched for, by its logarithm where its bounds allow it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.traces.models import Array, Differentiable, Model

# A parameter whose bounds are positive and so far apart is searched for by its logarithm.
_DECADES = 50.0
# Difference for a derivative, of the value itself or of the range it may be in.
_STEP, _STEP_OF_RANGE = 1e-6, 1e-9
# A shape flatter than this, beside its own height, has no gain.
_FLAT = 1e-24


@dataclass(frozen=True, slots=True)
class Traces:
    """Some traces: (N, T) data, 0 where weight is 0, at (N, T) or (1, T) times in h."""

    time: Array
    data: Array
    weight: Array
    count: Array

    def take(self, rows: NDArray[np.int64]) -> "Traces":
        """Return some of them."""
        time = self.time if len(self.time) == 1 else self.time[rows]
        return Traces(time, self.data[rows], self.weight[rows], self.count[rows])


@dataclass(frozen=True, slots=True)
class Linear:
    """Gain and offset of N traces, and which of them are not held by a bound."""

    gain: Array
    offset: Array
    is_gain_free: NDArray[np.bool_]
    is_offset_free: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class State:
    """Sum of squares (N,), half its gradient (N, P) and half its curvature (N, P, P)."""

    cost: Array
    pull: Array
    normal: Array

    def put(
        self, rows: NDArray[np.int64], other: "State", which: NDArray[np.bool_] | slice
    ) -> None:
        """Take over some of another's."""
        self.cost[rows] = other.cost[which]
        self.pull[rows] = other.pull[which]
        self.normal[rows] = other.normal[which]


class Problem:
    """One model, its bounds, starts and fixed values."""

    def __init__(
        self,
        model: Model,
        start: Mapping[str, float],
        *,
        bounds: Mapping[str, tuple[float, float]],
        fixed: Mapping[str, float],
    ) -> None:
        self.model = model
        self._bounds = {
            item.name: bounds.get(item.name, (item.low, item.high)) for item in model.parameters
        }
        self.start = {
            item.name: float(np.clip(start.get(item.name, item.default), *self._bounds[item.name]))
            for item in model.parameters
        }
        self._fixed = {**model.fixed, **fixed}
        self._scale = float(self._fixed.get("scale", 1.0))
        self.searched = [
            item.name for item in model.parameters if item.name not in (model.gain, model.offset)
        ]
        ends = [self._bounds[name] for name in self.searched]
        self.is_log = np.array([low > 0 and high / low > _DECADES for low, high in ends], bool)
        both = np.array(ends, float).reshape(-1, 2)
        self.low, self.high = self._inner(both[:, 0]), self._inner(both[:, 1])
        self.first = self._inner(np.array([self.start[name] for name in self.searched]))
        self.gain, self.offset = self._box()
        self.fixed = np.array([self._fixed[name] for name in model.fixed], float)
        # Another way to the same state, where there is one.
        self.faster: Callable[[Traces, Array], State] | None = None
        onset = getattr(model, "onset", None)
        self.onset = self.searched.index(onset) if onset in self.searched else None

    def _box(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the bounds of gain and offset, both times scale."""
        gain = (1.0, 1.0) if self.model.gain is None else self._bounds[self.model.gain]
        offset = (0.0, 0.0) if self.model.offset is None else self._bounds[self.model.offset]
        if not self.searched and self.model.offset is not None:
            shape = self.shapes(np.linspace(0.0, 1.0, 3)[None, :], np.zeros((1, 0)))
            if np.ptp(shape) == 0:
                # Only their sum is in the data, so the offset stays where it begins.
                offset = (self.start[self.model.offset],) * 2
        scaled = [sorted((self._scale * low, self._scale * high)) for low, high in (gain, offset)]
        return (scaled[0][0], scaled[0][1]), (scaled[1][0], scaled[1][1])

    def _inner(self, outer: Array) -> Array:
        return np.where(self.is_log, np.log(np.where(self.is_log, outer, 1.0)), outer)

    def outer(self, inner: Array) -> Array:
        """Return searched parameters as the model has them."""
        return np.where(self.is_log, np.exp(np.where(self.is_log, inner, 0.0)), inner)

    def _values(self, inner: Array) -> dict[str, Array]:
        outer = self.outer(inner)
        values = {name: np.array(value) for name, value in self._fixed.items()}
        return values | {name: outer[:, k, None] for k, name in enumerate(self.searched)}

    def shapes(self, time: Array, inner: Array) -> Array:
        """Return the shape for each row of searched parameters: (N, P) to (N, T)."""
        shape = self.model.shape(time, self._values(inner))
        return np.broadcast_to(shape, (len(inner), time.shape[1]))

    def _shapes_and_slopes(self, time: Array, inner: Array) -> tuple[Array, list[Array]]:
        if isinstance(self.model, Differentiable):
            values = self._values(inner)
            shape, by_name = self.model.shape_and_slopes(time, values)
            return shape, [
                by_name[name] * values[name] if is_log else by_name[name]
                for name, is_log in zip(self.searched, self.is_log, strict=True)
            ]
        shape = self.shapes(time, inner)
        slopes = []
        for k in range(inner.shape[1]):
            step = _STEP * np.abs(inner[:, k]) + _STEP_OF_RANGE * (self.high[k] - self.low[k])
            step = np.where(inner[:, k] + step > self.high[k], -step, step)
            moved = inner.copy()
            moved[:, k] += step
            slopes.append((self.shapes(time, moved) - shape) / step[:, None])
        return shape, slopes

    def state(self, traces: Traces, inner: Array) -> State:
        """Return how good some searched parameters are, and where it goes down from there."""
        return (self.faster or self.state_by_numpy)(traces, inner)

    def state_by_numpy(self, traces: Traces, inner: Array) -> State:
        """Return the state of any model."""
        shape, slopes = self._shapes_and_slopes(traces.time, inner)
        weight, count = traces.weight, np.maximum(traces.count, 1.0)
        linear = self.linear(traces, shape)
        residual = (traces.data - linear.gain[:, None] * shape - linear.offset[:, None]) * weight
        level = np.where(linear.is_offset_free, _dot(weight, shape) / count, 0.0)
        known = (shape - level[:, None]) * weight
        size = _dot(known, known)
        is_shape_known = linear.is_gain_free & (size > 0)
        count_if_free = np.where(linear.is_offset_free, count, np.inf)
        for k, slope in enumerate(slopes):
            # What gain and offset can make up for is no change.
            moved = weight * slope
            moved -= weight * (_dot(moved, weight) / count_if_free)[:, None]
            share = np.divide(
                _dot(moved, known), size, out=np.zeros_like(size), where=is_shape_known
            )
            moved -= known * share[:, None]
            slopes[k] = moved
        searched = len(slopes)
        pull, normal = np.empty((len(inner), searched)), np.empty((len(inner), searched, searched))
        for j in range(searched):
            pull[:, j] = -linear.gain * _dot(slopes[j], residual)
            for k in range(j, searched):
                normal[:, j, k] = normal[:, k, j] = linear.gain**2 * _dot(slopes[j], slopes[k])
        return State(_dot(residual, residual), pull, normal)

    def linear(self, traces: Traces, shape: Array) -> Linear:
        """Return the best gain and offset within their bounds for each trace and its shape."""
        weight, data = traces.weight, traces.data
        count = np.maximum(traces.count, 1.0)
        level, data_level = _dot(weight, shape) / count, data.sum(axis=1) / count
        centred = (shape - level[:, None]) * weight
        spread, together = _dot(centred, centred), _dot(centred, data)
        has_gain = spread > _FLAT * count * level**2
        gain = np.divide(together, spread, out=np.zeros_like(spread), where=has_gain)
        offset = data_level - gain * level
        is_gain_free = (gain > self.gain[0]) & (gain < self.gain[1])
        is_offset_free = (offset > self.offset[0]) & (offset < self.offset[1])
        rows = np.flatnonzero(~(is_gain_free & is_offset_free))
        if len(rows):
            gain[rows], offset[rows] = self._on_the_edge(
                level[rows], data_level[rows],
                spread=spread[rows], together=together[rows], count=count[rows],
            )  # fmt: skip
            is_gain_free = (gain > self.gain[0]) & (gain < self.gain[1])
            is_offset_free = (offset > self.offset[0]) & (offset < self.offset[1])
        return Linear(gain, offset, is_gain_free, is_offset_free)

    def _on_the_edge(
        self, level: Array, data_level: Array, *, spread: Array, together: Array, count: Array
    ) -> tuple[Array, Array]:
        """Return the best point of the box's edges, for traces whose free optimum lies outside."""
        squares = spread + count * level**2
        options = []
        for gain in self.gain:
            offset = np.clip(data_level - gain * level, *self.offset)
            options.append((np.full_like(offset, gain), offset))
        for end in self.offset:
            free = together + count * level * (data_level - end)
            gains = np.divide(free, squares, out=np.zeros_like(free), where=squares > 0)
            gains = np.clip(gains, *self.gain)
            options.append((gains, np.full_like(gains, end)))
        gains, offsets = (np.stack([option[k] for option in options]) for k in (0, 1))
        off = data_level - gains * level - offsets
        cost = gains**2 * spread - 2 * gains * together + count * off**2
        best, rows = cost.argmin(axis=0), np.arange(len(level))
        return gains[best, rows], offsets[best, rows]

    def named(self, inner: Array, linear: Linear) -> Array:
        """Return all parameters (N, P), in the model's order and within their bounds."""
        outer = self.outer(inner)
        found = {name: outer[:, k] for k, name in enumerate(self.searched)}
        for name, value in ((self.model.gain, linear.gain), (self.model.offset, linear.offset)):
            if name is not None and self._scale:
                found[name] = value / self._scale
            elif name is not None:
                found[name] = np.full(len(inner), self.start[name])
        # A logarithm and back may step over a bound by the last digit.
        return np.stack(
            [np.clip(found[item.name], *self._bounds[item.name]) for item in self.model.parameters],
            axis=1,
        )


def _dot(one: Array, other: Array) -> Array:
    found: Array = np.einsum("nt,nt->n", one, other)
    return found
