"""Swings of a state of charge: turning points, and cycles by their depth."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import Samples

DEPTH_BINS = 10  # of 10 % each
# A state of charge in whole percent flickers by 1 without anything having flowed.
FLICKER_PERCENT = 1.0


@dataclass(frozen=True, slots=True)
class Swings:
    """The way of a state of charge between its turning points, without flicker.

    Parameters
    ----------
    turns : (T,) float64, %
        First value, turning points, last value.
    at_us, moved : (N,)
        Times, and the sum of all changes up to them in %.
    """

    turns: NDArray[np.float64]
    at_us: NDArray[np.int64]
    moved: NDArray[np.float64]

    def moved_by(self, moments_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sum of all changes before each moment."""
        index = np.searchsorted(self.at_us, moments_us) - 1
        return np.where(index >= 0, self.moved[index.clip(0)], 0.0)


def soc_swings(soc: Samples) -> Swings:
    """Return the turning points of a state of charge that has at least one value.

    It turns when it has gone back by more than `FLICKER_PERCENT` from the furthest it came.
    """
    known = soc.without_nulls()
    is_new = np.concatenate([[True], np.diff(known.values) != 0])
    at_us, values = known.at_us[is_new], known.values[is_new]
    turns = _turning_points(values.tolist())
    moved = np.zeros(len(values))
    total = 0.0
    for begin, end in pairwise(turns):
        leg = values[begin : end + 1]
        rises = leg[-1] > leg[0]
        furthest = np.maximum.accumulate(leg) if rises else np.minimum.accumulate(leg)
        moved[begin : end + 1] = total + np.abs(furthest - leg[0])
        total = float(moved[end])
    moved[turns[-1] :] = total
    return Swings(values[turns], at_us, moved)


def _turning_points(values: list[float]) -> list[int]:
    """Return the indices of the first value, of each turning point and of the furthest at last."""
    turns, furthest, direction = [0], 0, 0
    for index, value in enumerate(values):
        ahead = value - values[furthest]
        if direction == 0:
            if abs(ahead) > FLICKER_PERCENT:
                direction, furthest = (1 if ahead > 0 else -1), index
        elif ahead * direction >= 0:
            furthest = index
        elif abs(ahead) > FLICKER_PERCENT:
            turns.append(furthest)
            direction, furthest = -direction, index
    if furthest:
        turns.append(furthest)
    return turns


def depth_histogram(turns: NDArray[np.float64]) -> tuple[float, ...]:
    """Return cycles by depth from turning points in %, counted by the rainflow method.

    ASTM E1049-85, section 5.4.4: a range not larger than the one after it is a full cycle, or half
    a cycle if it holds the starting point; what remains at the end are half cycles.
    """
    counts = np.zeros(DEPTH_BINS)
    for depth, count in rainflow(turns):
        counts[min(int(depth * DEPTH_BINS / 100), DEPTH_BINS - 1)] += count
    return tuple(counts.tolist())


def rainflow(turns: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return the range of each cycle and what it counts, 1 or a half."""
    stack: list[float] = []
    found: list[tuple[float, float]] = []
    for turn in turns.tolist():
        stack.append(turn)
        while len(stack) >= 3 and abs(stack[-1] - stack[-2]) >= abs(stack[-2] - stack[-3]):
            depth = abs(stack[-2] - stack[-3])
            if len(stack) == 3:
                found.append((depth, 0.5))
                del stack[0]
            else:
                found.append((depth, 1.0))
                del stack[-3:-1]
    return found + [(abs(after - before), 0.5) for before, after in pairwise(stack)]
