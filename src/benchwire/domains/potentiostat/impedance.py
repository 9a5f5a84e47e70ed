r"""Impedance spectra from sines played through the output buffer.

The output is a staircase: a point is held, and current and potential are sampled at the end of
every tick of 0.36 ms. A cell answers a staircase otherwise than a sine. The part of its current
that follows the potential at once (series resistance) jumps with each step, the part that lags
(double layer, kinetics) decays in between, so no correction by one fixed phase is right for both.

What is wanted is the current's component at the sine's frequency. It is the mean over a hold of
length :math:`T` of :math:`h(t)\,e^{-i\omega t}`, where :math:`h(t)` is the complex amplitude of the
currents measured at a time :math:`t` after the steps; the same holds for the potential, whose
amplitude does not change within a hold. Their ratio is the impedance of any linear cell. Each
point is held for two ticks, so :math:`h` is known in the middle and at the end of the hold.
Simpson's rule needs it right after the step as well: there it is the value at the end of the hold
before plus a jump, :math:`h(0) = h(T)\,e^{-i\omega T} + G\,u\,(1 - e^{-i\omega T})`, with
:math:`u` the potential and :math:`G` the conductance through which the cell follows at once.

:math:`G` is found from the steps themselves. Within a hold the current decays, about
exponentially, so what it has lost before the first sample is in proportion to what it loses
between the two: :math:`i_k(T/2) - i_{k-1}(T) = c + G\,\Delta u_k + g\,(i_k(T) - i_k(T/2))`.

A resistor comes out exact. Series resistance with a double layer of a time constant from 0.4 ms
on comes out within 1 % and 0.5 degrees up to 278 Hz, simulated with a sine of 20 mV and noise of
1e-5 of the largest current range. What decays much faster is over before the first sample, and
no estimate from the samples can know it.
"""

import cmath
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.potentiostat.modes import Parameters
from benchwire.domains.potentiostat.waveforms import CHUNK_POINTS, SAMPLE_PERIOD, Chunk
from benchwire.foundation.errors import Invalid

HIGHEST_FREQUENCY = 278.0
"""Hz; ten points per period."""
RECOMMENDED_FREQUENCY = 100.0
TICKS_PER_POINT = 2
HOLD = TICKS_PER_POINT * SAMPLE_PERIOD
BIAS_SECONDS = 1.0
"""How long the bias is held before the first sine, for the cell to settle."""
_TERMS = 4
_SIMPSON_ENDS, _SIMPSON_MIDDLE = 1 / 6, 4 / 6
# The decay within a hold counts only as far as it stands out of the noise of its own estimate.
_NOISE_WEIGHT = 4.0
# More than any limit allows, and still a number where a tiny frequency makes a time infinite.
_COUNTLESS = 1e18


class NoUsableFrequency(Invalid):
    """Every frequency asked for is above what the instrument can do."""

    status: ClassVar[int] = 422
    code = "jobs.invalid_request"


@dataclass(frozen=True, slots=True)
class Segment:
    """One frequency's part of the waveform, in ticks: it settles first, then it is measured."""

    frequency: float
    first: int
    settling: int
    measured: int

    @property
    def end(self) -> int:
        """The tick after the last."""
        return self.first + self.settling + self.measured


@dataclass(frozen=True, slots=True)
class ImpedancePlan:
    """A whole spectrum: the bias, then every frequency. ``amplitude`` and ``bias`` in V."""

    segments: tuple[Segment, ...]
    amplitude: float
    bias: float
    bias_points: int

    @property
    def points(self) -> int:
        """The number of ticks it takes."""
        return self.segments[-1].end if self.segments else 0


@dataclass(frozen=True, slots=True)
class ImpedancePoint:
    """The impedance at one frequency (Hz, ohm, degrees)."""

    frequency: float
    z_real: float
    z_imag: float

    @property
    def magnitude(self) -> float:
        """The absolute impedance in ohm."""
        return math.hypot(self.z_real, self.z_imag)

    @property
    def phase_degrees(self) -> float:
        """The phase in degrees, negative for a capacitor."""
        return math.degrees(math.atan2(self.z_imag, self.z_real))


def frequencies(parameters: Parameters) -> NDArray[np.float64]:
    """Return the frequencies asked for, (n,) float64, Hz, in the order asked for."""
    start = float(cast("float", parameters["start_freq"]))
    end = float(cast("float", parameters["end_freq"]))
    if start == end:
        return np.array([start])
    per_decade = int(cast("int", parameters["points_per_decade"]))
    decades = abs(math.log10(end) - math.log10(start))
    count = max(round(decades * per_decade) + 1, 2)
    if parameters["spacing"] == "lin":
        return np.linspace(start, end, count)
    return np.geomspace(start, end, count)


def usable_frequencies(parameters: Parameters) -> NDArray[np.float64]:
    """Return those of the frequencies that the instrument can measure."""
    wanted = frequencies(parameters)
    return wanted[wanted <= HIGHEST_FREQUENCY]


def ensure_usable(parameters: Parameters) -> None:
    """Raise `NoUsableFrequency` when the instrument can measure none of them."""
    if not len(usable_frequencies(parameters)):
        raise NoUsableFrequency(
            f"EIS: the instrument measures up to {HIGHEST_FREQUENCY:g} Hz, "
            "and all frequencies asked for are above",
            hint=f"Choose frequencies of {RECOMMENDED_FREQUENCY:g} Hz and below.",
        )


def plan(parameters: Parameters) -> ImpedancePlan:
    """Return when each frequency is played.

    Before its periods are measured a frequency is played for a third of them, at least one, so
    that at least a quarter of what is played is left out as settling.
    """
    cycles = int(cast("int", parameters["cycles_per_freq"]))
    settling_cycles = max(1, math.ceil(cycles / 3))
    bias_points = TICKS_PER_POINT * round(BIAS_SECONDS / HOLD)
    at = bias_points
    segments = []
    for frequency in usable_frequencies(parameters).tolist():
        settling = TICKS_PER_POINT * math.ceil(_holds_in(settling_cycles / frequency))
        measured = TICKS_PER_POINT * max(_TERMS + 1, round(_holds_in(cycles / frequency)))
        segments.append(Segment(frequency, at, settling, measured))
        at += settling + measured
    return ImpedancePlan(
        tuple(segments),
        float(cast("float", parameters["amplitude"])),
        float(cast("float", parameters["bias"])),
        bias_points,
    )


def _holds_in(seconds: float) -> float:
    return min(seconds / HOLD, _COUNTLESS)


def excitation(planned: ImpedancePlan, chunk_points: int = CHUNK_POINTS) -> Iterator[Chunk]:
    """Yield the potentials of a spectrum in chunks, each value held for two ticks."""
    yield Chunk(np.full(planned.bias_points, planned.bias))
    for segment in planned.segments:
        length = segment.settling + segment.measured
        omega = 2 * math.pi * segment.frequency
        for first in range(0, length, chunk_points):
            ticks = np.arange(first, min(first + chunk_points, length))
            time = (ticks // TICKS_PER_POINT) * HOLD
            yield Chunk(planned.bias + planned.amplitude * np.sin(omega * time))


class SineFit:
    """The complex amplitudes of several channels at one frequency.

    Offset, linear drift, cosine and sine are fitted by least squares; only the normal equations
    are kept, so a frequency of any length takes the same memory.
    """

    def __init__(self, frequency: float, points: int, channels: int) -> None:
        self._omega = 2 * math.pi * frequency
        self._points = points
        self._matrix = np.zeros((_TERMS, _TERMS))
        self._right = np.zeros((_TERMS, channels))

    def add(self, first: int, values: NDArray[np.float64]) -> None:
        """Take in consecutive points from number ``first`` on; (channels, n)."""
        numbers = np.arange(first, first + values.shape[1])
        angle = self._omega * HOLD * numbers
        # The drift runs from -1 to 1, which keeps the equations well conditioned.
        drift = 2 * numbers / max(1, self._points - 1) - 1
        terms = np.stack([np.ones(len(numbers)), drift, np.cos(angle), np.sin(angle)])
        self._matrix += terms @ terms.T
        self._right += terms @ values.T

    def amplitudes(self) -> NDArray[np.complex128]:
        """Return the amplitude of each channel, (channels,)."""
        solution = np.linalg.lstsq(self._matrix, self._right, rcond=None)[0]
        amplitudes: NDArray[np.complex128] = solution[2] - 1j * solution[3]
        return amplitudes


class JumpFit:
    """The conductance through which a cell follows a step of potential at once.

    The loss of current within a hold carries noise, which would make its coefficient too small.
    Its part that follows from this step and the one before stands in for it (two-stage least
    squares); where that is no more than noise, the jump alone explains the first sample.
    """

    def __init__(self) -> None:
        self._moments = np.zeros((5, 5))
        self._count = 0

    def add(self, holds: NDArray[np.float64]) -> None:
        """Take in consecutive holds: potential, current in the middle and at the end.

        Parameters
        ----------
        holds
            (3, n + 2) float64; the first two only come before the n that are taken in.
        """
        potential, middle, end = holds
        step = np.diff(potential)
        columns = np.stack(
            [
                np.ones(len(step) - 1),
                step[1:],
                step[:-1],
                end[2:] - middle[2:],
                middle[2:] - end[1:-1],
            ]
        )
        self._moments += columns @ columns.T
        self._count += columns.shape[1]

    def conductance(self) -> float:
        """Return the conductance in S; 0 when the potential never changed."""
        scale = np.sqrt(np.diag(self._moments))
        scale[scale == 0] = 1.0
        moments = self._moments / np.outer(scale, scale)
        known, loss, jump = moments[:3, :3], moments[:3, 3], moments[:3, 4]
        first_stage = np.linalg.lstsq(known, loss, rcond=None)[0]
        unexplained = max(0.0, moments[3, 3] - first_stage @ loss) / max(1, self._count - 3)
        terms = np.column_stack([np.eye(3)[:, :2], first_stage])
        matrix = terms.T @ known @ terms
        matrix[2, 2] += _NOISE_WEIGHT * unexplained
        solution = np.linalg.lstsq(matrix, terms.T @ jump, rcond=None)[0]
        return float(solution[1] * scale[4] / scale[1])


class _SegmentFit:
    """One frequency while its samples come in."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._settling = segment.settling // TICKS_PER_POINT
        self._sine = SineFit(segment.frequency, segment.measured // TICKS_PER_POINT, 3)
        self._jump = JumpFit()

    def add(self, number: int, holds: NDArray[np.float64]) -> None:
        """Take in holds from a number on; (3, n + 2), the first two come before."""
        self._jump.add(holds)
        skipped = max(0, self._settling - number)
        self._sine.add(number + skipped - self._settling, holds[:, 2 + skipped :])

    def point(self) -> ImpedancePoint:
        """Return the impedance, from the components at its frequency over whole holds."""
        potential, middle, end = self._sine.amplitudes().tolist()
        half_hold = cmath.exp(1j * math.pi * self._segment.frequency * HOLD)
        before = 1 / half_hold**2
        start = end * before + self._jump.conductance() * potential * (1 - before)
        # Phases count from the middle of the hold.
        current = _SIMPSON_MIDDLE * middle + _SIMPSON_ENDS * (start * half_hold + end / half_hold)
        potential *= _SIMPSON_MIDDLE + _SIMPSON_ENDS * (half_hold + 1 / half_hold)
        z = potential / current if current else complex(math.inf)
        return ImpedancePoint(self._segment.frequency, z.real, z.imag)


class ImpedanceAnalyser:
    """Turns the samples of a spectrum into impedances, one frequency after another."""

    def __init__(self, planned: ImpedancePlan) -> None:
        self._segments = deque(planned.segments)
        self._fit: _SegmentFit | None = None
        self._next = 0
        self._unpaired = np.empty((2, 0))
        self._before: NDArray[np.float64] | None = None

    def feed(
        self, first: int, current: NDArray[np.float64], potential: NDArray[np.float64]
    ) -> list[ImpedancePoint]:
        """Take in the next samples, (n,) each, and return the frequencies they complete.

        Parameters
        ----------
        first
            The tick of the first of them; 0 in the first call, then without a gap.

        Raises
        ------
        ValueError
            Samples were left out or given twice.
        """
        if first != self._next:
            raise ValueError(f"samples go on at {self._next}, not at {first}")
        self._next += len(current)
        samples = np.concatenate([self._unpaired, np.stack([current, potential])], axis=1)
        count = samples.shape[1] // TICKS_PER_POINT
        self._unpaired = samples[:, count * TICKS_PER_POINT :].copy()
        if not count:
            return []
        currents, potentials = samples[:, : count * TICKS_PER_POINT].reshape(2, count, -1)
        holds = np.stack([potentials[:, 0], currents[:, 0], currents[:, 1]])
        before = holds[:, [0, 0]] if self._before is None else self._before
        holds = np.concatenate([before, holds], axis=1)
        self._before = holds[:, -2:].copy()
        return self._finished(self._next // TICKS_PER_POINT - count, holds)

    def _finished(self, first: int, holds: NDArray[np.float64]) -> list[ImpedancePoint]:
        """Share out holds from number ``first`` on; (3, n + 2), the first two come before."""
        stop = first + holds.shape[1] - 2
        finished = []
        while self._segments:
            segment = self._segments[0]
            segment_first = segment.first // TICKS_PER_POINT
            segment_stop = segment.end // TICKS_PER_POINT
            begin, end = max(first, segment_first), min(stop, segment_stop)
            if begin >= end:
                break
            if self._fit is None:
                self._fit = _SegmentFit(segment)
            self._fit.add(begin - segment_first, holds[:, begin - first : end - first + 2])
            if end < segment_stop:
                break
            finished.append(self._fit.point())
            self._fit = None
            self._segments.popleft()
        return finished
