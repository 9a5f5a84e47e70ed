r"""Impedance spectra from sines played through the output buffer.

The output is a staircase: each point is held for a tick of 0.36 ms, and a sample is taken at the
end of the tick. Played one point per tick, the sample would lie a whole tick after its step. The
part of a cell's current that follows the potential at once (series resistance) would then be read
right, the part that lags (double layer, kinetics) would look half a tick early, and no correction
by a fixed phase can be right for both.

Each point is therefore held for two ticks and only the first sample of the pair is used. It lies
in the middle of the hold, :math:`t = kT + T/2` with :math:`T` of two ticks. The fundamental of a
staircase of hold :math:`T` is :math:`\operatorname{sinc}(\omega T/2)\,e^{i\omega(t - T/2)}`, so in
the middle of the hold its phase is that of the point itself: for the part that lags the phase
error vanishes to first order, and for the part that follows at once the sample is exact. What
remains is the amplitude factor :math:`\operatorname{sinc}(\omega T/2) \approx 1 - (\omega T)^2/24`
of the part that lags: 0.9 % at 100 Hz, 0.2 % at 50 Hz.
"""

import math
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
    decades = abs(math.log10(end / start))
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
        settling = TICKS_PER_POINT * math.ceil(settling_cycles / frequency / HOLD)
        measured = TICKS_PER_POINT * max(_TERMS + 1, round(cycles / frequency / HOLD))
        segments.append(Segment(frequency, at, settling, measured))
        at += settling + measured
    return ImpedancePlan(
        tuple(segments),
        float(cast("float", parameters["amplitude"])),
        float(cast("float", parameters["bias"])),
        bias_points,
    )


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
    """The complex amplitudes of two channels at one frequency.

    Offset, linear drift, cosine and sine are fitted by least squares; only the normal equations
    are kept, so a frequency of any length takes the same memory.
    """

    def __init__(self, frequency: float, points: int) -> None:
        self._omega = 2 * math.pi * frequency
        self._points = points
        self._matrix = np.zeros((_TERMS, _TERMS))
        self._right = np.zeros((_TERMS, 2))

    def add(
        self,
        numbers: NDArray[np.int64],
        current: NDArray[np.float64],
        potential: NDArray[np.float64],
    ) -> None:
        """Take in samples by the number of their point; all (n,)."""
        angle = self._omega * HOLD * numbers
        # The drift runs from -1 to 1, which keeps the equations well conditioned.
        drift = 2 * numbers / max(1, self._points - 1) - 1
        terms = np.stack([np.ones(len(numbers)), drift, np.cos(angle), np.sin(angle)])
        self._matrix += terms @ terms.T
        self._right += terms @ np.stack([current, potential], axis=1)

    def impedance(self) -> complex:
        """Return potential over current as complex amplitudes."""
        solution = np.linalg.lstsq(self._matrix, self._right, rcond=None)[0]
        current, potential = solution[2] - 1j * solution[3]
        return complex(potential / current) if current else complex(math.inf)


class ImpedanceAnalyser:
    """Turns the samples of a spectrum into impedances, one frequency after another."""

    def __init__(self, planned: ImpedancePlan) -> None:
        self._segments = list(planned.segments)
        self._fit: SineFit | None = None

    def feed(
        self, first: int, current: NDArray[np.float64], potential: NDArray[np.float64]
    ) -> list[ImpedancePoint]:
        """Take in consecutive samples, (n,) each, and return the frequencies they complete."""
        finished = []
        while self._segments:
            segment = self._segments[0]
            ticks = np.arange(first, first + len(current))
            start = segment.first + segment.settling
            used = (ticks >= start) & (ticks < segment.end)
            used &= (ticks - segment.first) % TICKS_PER_POINT == 0
            if used.any():
                if self._fit is None:
                    points = segment.measured // TICKS_PER_POINT
                    self._fit = SineFit(segment.frequency, points)
                numbers = (ticks[used] - start) // TICKS_PER_POINT
                self._fit.add(numbers, current[used], potential[used])
            if first + len(current) < segment.end:
                break
            fit, self._fit = self._fit, None
            self._segments.pop(0)
            if fit is not None:
                z = fit.impedance()
                finished.append(ImpedancePoint(segment.frequency, z.real, z.imag))
        return finished
