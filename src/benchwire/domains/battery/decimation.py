"""Few points that look like many: a signal reduced for a chart, part by part.

``minmax`` gives the lowest and highest sample of each of equal steps of time, so that no spike is
lost; ``avg`` the mean of each step; ``lttb`` the samples that form the largest triangles
(S. Steinarsson, Downsampling Time Series for Visual Representation, 2013), chosen among the lowest
and highest of finer steps (J. Van Der Donckt et al., MinMaxLTTB, 2023).
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import MICROSECONDS, Samples, joined

METHODS = ("minmax", "avg", "lttb")
LONGEST_USUAL_GAP_US = 600 * MICROSECONDS
_GAP_INTERVALS = 10
_STEPS_PER_TRIANGLE = 2


class Reduction:
    """A signal being reduced to some points over a span of time.

    Parameters
    ----------
    points
        How many there may be, nulls included.
    """

    def __init__(self, method: str, start_us: int, end_us: int, *, points: int) -> None:
        self._method = method
        self._points = points
        steps = {"minmax": points // 2, "avg": points, "lttb": points * _STEPS_PER_TRIANGLE}[method]
        span = max(end_us - start_us, 1)
        # Number times span over steps, in two parts: the product has no room where both are large.
        each, rest = divmod(span, steps)
        number = np.arange(steps + 1)
        self._edges = start_us + number * each + (number * rest) // steps
        self._low = Samples(np.zeros(steps, np.int64), np.full(steps, np.inf))
        self._high = Samples(np.zeros(steps, np.int64), np.full(steps, -np.inf))
        self._sums = np.zeros(steps)
        self._firsts = np.zeros(steps, np.int64)
        self._lasts = np.zeros(steps, np.int64)
        self._counts = np.zeros(steps, np.int64)
        self._whole: list[Samples] | None = []
        self._gap_us = 0
        self.total = 0

    def add(self, part: Samples) -> None:
        """Take in the next part of the signal."""
        self.total += len(part)
        if self._whole is not None:
            self._whole = [*self._whole, part] if self.total <= self._points else None
        if self._gap_us == 0 and len(part) > 1:
            usual = float(np.median(np.diff(part.at_us[:10_000])))
            self._gap_us = int(max(_GAP_INTERVALS * usual, LONGEST_USUAL_GAP_US))
        known = part.without_nulls()
        cuts = np.searchsorted(known.at_us, self._edges)
        steps = np.flatnonzero(np.diff(cuts))
        if not len(steps):
            return
        new = steps[self._counts[steps] == 0]
        self._firsts[new] = known.at_us[cuts[new]]
        self._lasts[steps] = known.at_us[cuts[steps + 1] - 1]
        self._counts[steps] += cuts[steps + 1] - cuts[steps]
        if self._method == "avg":
            # What is between two filled steps is empty, so each sum ends where the next begins.
            self._sums[steps] += np.add.reduceat(known.values[: cuts[-1]], cuts[steps])
            return
        for step in steps.tolist():
            self._add_extremes(step, known, int(cuts[step]), int(cuts[step + 1]))

    def _add_extremes(self, step: int, known: Samples, lo: int, hi: int) -> None:
        at_us, values = known.at_us, known.values
        inside = values[lo:hi]
        lowest, highest = lo + int(inside.argmin()), lo + int(inside.argmax())
        if values[lowest] < self._low.values[step]:
            self._low.values[step], self._low.at_us[step] = values[lowest], at_us[lowest]
        if values[highest] > self._high.values[step]:
            self._high.values[step], self._high.at_us[step] = values[highest], at_us[highest]

    def result(self) -> Samples:
        """Return the points; all samples where they are few enough, a null in each long gap."""
        if self._whole is not None:
            return joined(self._whole)
        filled = np.flatnonzero(self._counts)
        gaps = self._gaps(filled)
        if self._method == "avg":
            middle = (self._firsts[filled] + self._lasts[filled]) // 2
            found = Samples(middle, self._sums[filled] / self._counts[filled])
        else:
            found = _in_order(self._low, self._high, filled)
        if self._method == "lttb":
            # Half of the points at most are spent on gaps, the longest of them.
            gaps = gaps[: self._points // 2]
            found = largest_triangles(found, self._points - len(gaps))
        gaps = np.sort(gaps)
        places = np.searchsorted(found.at_us, gaps)
        return Samples(
            np.insert(found.at_us, places, gaps), np.insert(found.values, places, np.nan)
        )

    def _gaps(self, filled: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return the middle of each gap longer than usual that leaves a step empty, longest first.

        A null in an empty step takes no point from any other, so there are never too many.
        """
        before, after = self._lasts[filled[:-1]], self._firsts[filled[1:]]
        is_gap = (np.diff(filled) > 1) & (after - before > self._gap_us)
        middles = (before[is_gap] + after[is_gap]) // 2
        return middles[np.argsort(before[is_gap] - after[is_gap], kind="stable")]


def _in_order(low: Samples, high: Samples, filled: NDArray[np.intp]) -> Samples:
    at_us = np.stack([low.at_us[filled], high.at_us[filled]], axis=1)
    values = np.stack([low.values[filled], high.values[filled]], axis=1)
    turned = at_us[:, 0] > at_us[:, 1]
    at_us[turned], values[turned] = at_us[turned, ::-1], values[turned, ::-1]
    # The lowest and the highest of a step may be the same sample.
    again = np.flatnonzero(np.diff(at_us.ravel()) == 0)
    return Samples(np.delete(at_us.ravel(), again), np.delete(values.ravel(), again))


def reduce(
    parts: Iterable[Samples], method: str, *, start_us: int, end_us: int, points: int
) -> tuple[Samples, int]:
    """Return a signal reduced to a number of points, and how many samples it has.

    Parameters
    ----------
    parts
        The signal between the two times, in order.
    """
    reduction = Reduction(method, start_us, end_us, points=points)
    for part in parts:
        reduction.add(part)
    return reduction.result(), reduction.total


def largest_triangles(samples: Samples, points: int) -> Samples:
    """Return the samples that keep a curve's look: first, last and the largest triangles between.

    Parameters
    ----------
    samples
        Without nulls.
    """
    count = len(samples)
    if count <= points or points < 3:
        return samples
    x = (samples.at_us - samples.at_us[0]).astype(np.float64)
    y = samples.values
    edges = np.linspace(1, count - 1, points - 1).astype(np.int64)
    sums = np.concatenate([[[0.0, 0.0]], np.cumsum(np.stack([x, y], axis=1), axis=0)])
    chosen = np.zeros(points, np.int64)
    chosen[-1] = count - 1
    for place in range(1, points - 1):
        lo, hi = edges[place - 1], edges[place]
        # The third corner is the mean of the next step; the last step is the last sample.
        ahead, beyond = (hi, edges[place + 1]) if place + 1 < points - 1 else (count - 1, count)
        mean_x, mean_y = (sums[beyond] - sums[ahead]) / (beyond - ahead)
        last = chosen[place - 1]
        area = np.abs(
            (x[last] - mean_x) * (y[lo:hi] - y[last]) - (x[last] - x[lo:hi]) * (mean_y - y[last])
        )
        chosen[place] = lo + int(area.argmax())
    return Samples(samples.at_us[chosen], y[chosen])
