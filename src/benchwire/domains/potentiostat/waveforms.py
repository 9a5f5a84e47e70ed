"""The potentials and currents of each mode over time, made piece by piece as they are played.

The instrument puts out one point and takes one sample per tick. A waveform of any length takes the
same memory, since only the chunk being played exists.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.potentiostat.modes import Mode, Parameters

SAMPLE_PERIOD = 0.00036
"""Seconds between two points, the instrument's tick."""

CHUNK_POINTS = 8192
# 0.36 s / 0.36 ms is 999.9999999999999 in binary; the point it lacks is a rounding error.
_ROUNDING = 1e-6
# More than any limit allows, and still a number where a tiny scan rate makes a time infinite.
_COUNTLESS = 1e18


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive points: ``applied`` in V and, where the mode counts, ``mark``; (n,) float64."""

    applied: NDArray[np.float64]
    mark: NDArray[np.float64] | None = None

    def split(self, count: int) -> tuple["Chunk", "Chunk"]:
        """Return the first points and the rest."""
        head, rest = (None, None) if self.mark is None else (self.mark[:count], self.mark[count:])
        return Chunk(self.applied[:count], head), Chunk(self.applied[count:], rest)


@dataclass(frozen=True, slots=True)
class CurrentStep:
    """A current (A) held for a time (s); ``mark`` is its cycle where the mode counts."""

    current: float
    duration: float
    mark: int | None = None


@dataclass(frozen=True, slots=True)
class _Ramp:
    """A straight line of ``count`` points from one potential to another, both ends included."""

    start: float
    end: float
    count: int
    mark: int | None = None


def samples_in(duration: float, period: float) -> int:
    """Return how many whole periods fit into a time."""
    return int(min(duration / period + _ROUNDING, _COUNTLESS))


def _number(parameters: Parameters, name: str) -> float:
    return float(cast("float", parameters[name]))


def _whole(parameters: Parameters, name: str) -> int:
    return int(cast("int", parameters[name]))


def _sweep(start: float, end: float, scan_rate: float, mark: int | None = None) -> _Ramp:
    return _Ramp(start, end, samples_in(abs(end - start) / scan_rate, SAMPLE_PERIOD), mark)


def _ramps(mode: Mode, parameters: Parameters) -> Iterator[_Ramp]:
    if mode.name == "CA":
        potential = _number(parameters, "potential")
        duration = _number(parameters, "duration")
        yield _Ramp(potential, potential, samples_in(duration, SAMPLE_PERIOD))
    elif mode.name == "LSV":
        yield _sweep(
            _number(parameters, "start"),
            _number(parameters, "end"),
            _number(parameters, "scan_rate"),
        )
    elif mode.name == "CV":
        first, middle, last = _cv_sweeps(parameters)
        cycles = _whole(parameters, "cycles")
        yield from first
        for cycle in range(2, cycles + 1):
            for ramp in middle:
                yield _Ramp(ramp.start, ramp.end, ramp.count, cycle)
        for ramp in last:
            yield _Ramp(ramp.start, ramp.end, ramp.count, cycles)
    else:
        duration = _number(parameters, "step_duration")
        count = samples_in(duration, SAMPLE_PERIOD)
        potentials = cast("Sequence[float]", parameters["potentials"])
        for step, potential in enumerate(potentials):
            yield _Ramp(potential, potential, count, step)


def _cv_sweeps(parameters: Parameters) -> tuple[list[_Ramp], list[_Ramp], list[_Ramp]]:
    """Return the sweeps of cycle 1, of each later cycle, and of the way to the end."""
    start, vertex1, vertex2, end, scan_rate = (
        _number(parameters, name) for name in ("start", "vertex1", "vertex2", "end", "scan_rate")
    )
    first = [_sweep(start, vertex1, scan_rate, 1), _sweep(vertex1, vertex2, scan_rate, 1)]
    middle = [_sweep(vertex2, vertex1, scan_rate), _sweep(vertex1, vertex2, scan_rate)]
    last = [_sweep(vertex2, end, scan_rate)] if end != vertex2 else []
    return first, middle, last


def potential_waveform(
    mode: Mode, parameters: Parameters, chunk_points: int = CHUNK_POINTS
) -> Iterator[Chunk]:
    """Yield the points of a potentiostatic mode in chunks.

    CV runs start, vertex 1, vertex 2 in cycle 1, then vertex 2, vertex 1, vertex 2 in each further
    one, then to the end, which belongs to the last cycle. Each sweep includes both its ends, so a
    vertex appears as the last point of one sweep and the first of the next.
    """
    for ramp in _ramps(mode, parameters):
        for first in range(0, ramp.count, chunk_points):
            count = min(chunk_points, ramp.count - first)
            step = (ramp.end - ramp.start) / max(1, ramp.count - 1)
            applied = ramp.start + step * np.arange(first, first + count, dtype=np.float64)
            mark = None if ramp.mark is None else np.full(count, float(ramp.mark))
            yield Chunk(applied, mark)


def point_count(mode: Mode, parameters: Parameters) -> int:
    """Return the number of points of a mode, without making them; 0 for impedance.

    Steps of current are counted as one stretch of time. Each is sampled for itself, so that up to
    one point per step fewer may be recorded.
    """
    if mode.name == "CV":
        first, middle, last = _cv_sweeps(parameters)
        further = _whole(parameters, "cycles") - 1
        return (
            sum(ramp.count for ramp in first)
            + further * sum(ramp.count for ramp in middle)
            + sum(ramp.count for ramp in last)
        )
    if mode.name in {"CA", "LSV", "PSTEP"}:
        return sum(ramp.count for ramp in _ramps(mode, parameters))
    if mode.name == "EIS":
        return 0
    return samples_in(duration(mode, parameters), SAMPLE_PERIOD)


def duration(mode: Mode, parameters: Parameters) -> float:
    """Return how long a mode's waveform lasts in s, EIS aside."""
    if mode.name in {"CA", "CP", "OCP"}:
        return _number(parameters, "duration")
    if mode.name in {"LSV", "CV", "PSTEP"}:
        return point_count(mode, parameters) * SAMPLE_PERIOD
    step = _number(parameters, "step_duration")
    if mode.name == "STEPSEQ":
        return len(cast("Sequence[float]", parameters["currents"])) * step
    num_steps = _whole(parameters, "num_steps")
    if mode.name == "GS":
        return num_steps * step
    legs = 3 * _whole(parameters, "cycles") + (parameters["end"] != parameters["start"])
    return legs * num_steps * step


def current_steps(mode: Mode, parameters: Parameters) -> Iterator[CurrentStep]:
    """Yield the set points of a galvanostatic mode.

    GCV goes start, vertex 1, vertex 2, start in each cycle, every leg in ``num_steps`` equal steps
    with both ends included, then to the end if that differs, counted as one cycle more.
    """
    if mode.name == "CP":
        yield CurrentStep(_number(parameters, "current"), _number(parameters, "duration"))
        return
    step = _number(parameters, "step_duration")
    if mode.name == "STEPSEQ":
        for current in cast("Sequence[float]", parameters["currents"]):
            yield CurrentStep(current, step)
        return
    start, end = _number(parameters, "start"), _number(parameters, "end")
    num_steps = _whole(parameters, "num_steps")
    if mode.name == "GS":
        yield from _staircase(start, end, num_steps, step, None)
        return
    vertex1, vertex2 = _number(parameters, "vertex1"), _number(parameters, "vertex2")
    cycles = _whole(parameters, "cycles")
    for cycle in range(1, cycles + 1):
        yield from _staircase(start, vertex1, num_steps, step, cycle)
        yield from _staircase(vertex1, vertex2, num_steps, step, cycle)
        yield from _staircase(vertex2, start, num_steps, step, cycle)
    if end != start:
        yield from _staircase(start, end, num_steps, step, cycles + 1)


def _staircase(
    start: float, end: float, count: int, seconds: float, mark: int | None
) -> Iterator[CurrentStep]:
    for number in range(count):
        fraction = number / (count - 1) if count > 1 else 0.0
        current = end if number == count - 1 and count > 1 else start + (end - start) * fraction
        yield CurrentStep(current, seconds, mark)
