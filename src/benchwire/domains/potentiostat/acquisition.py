"""The modes of one slot, one after another: play, record, show, and leave the cell open."""

import contextlib
import queue
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.potentiostat import impedance, waveforms
from benchwire.domains.potentiostat.driver import POLL_PERIOD, Potentiostat, RunLatch, Samples
from benchwire.domains.potentiostat.errors import RunIncomplete
from benchwire.domains.potentiostat.live import LiveCurve
from benchwire.domains.potentiostat.modes import Control, Mode, Parameters
from benchwire.domains.potentiostat.recording import (
    CsvFile,
    DiskFailed,
    Table,
    Thinner,
    points_per_row,
)
from benchwire.domains.potentiostat.waveforms import (
    SAMPLE_PERIOD,
    Chunk,
    CurrentStep,
    samples_in,
)
from benchwire.foundation.clock import Clock

# The instrument's own buffer holds 0.74 s. This is 3.6 minutes of 30 samples each: a disk that
# takes nothing for so long will not do so at all.
MAX_WAITING_BLOCKS = 20_000
# Of the time between two samples: what a run's times are to be trusted to.
_PERIOD_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Measurement:
    """One mode on one slot, ready to be measured.

    ``sampling_interval`` is the time between two rows in s; None keeps every point.
    """

    mode: Mode
    parameters: Parameters
    csv_path: Path
    gain: int
    sampling_interval: float | None


RunOnInstrument = Callable[[Callable[[Potentiostat], float | None]], Future[float | None]]


def measure(
    task: Measurement,
    *,
    run: RunOnInstrument,
    latch: RunLatch,
    live: LiveCurve,
    clock: Clock,
) -> str | None:
    """Measure one mode and write its CSV while the samples come; returns what is odd about it.

    The link's thread plays and samples; this thread writes, so that a slow disk cannot starve the
    instrument.

    Raises
    ------
    Stopped
        The latch was tripped; what was measured is in the CSV.
    RunIncomplete, LinkLost, DiskFailed and the driver's errors
        The mode failed; what was measured before is in the CSV.
    """
    method = _METHODS[task.mode.control](task)
    csv = CsvFile(task.csv_path, task.mode.columns, clock)
    csv.open()
    blocks: queue.SimpleQueue[Samples | None] = queue.SimpleQueue()

    def take(samples: Samples) -> None:
        # Looked at here, as the recorder is stuck while the disk hangs.
        if blocks.qsize() >= MAX_WAITING_BLOCKS:
            raise DiskFailed("The disk takes the samples too slowly")
        blocks.put(samples)

    def work(device: Potentiostat) -> float | None:
        method.play(device, latch, take)
        return device.reported_period

    try:
        done = run(work)
        done.add_done_callback(lambda _: blocks.put(None))
        try:
            _record(method, blocks, csv, live)
        except BaseException:
            # Without its recorder the instrument would measure for nobody.
            latch.trip("The samples could not be recorded")
            wait([done])
            raise
        csv.append(method.rest())
        period = done.result()
        if lacking := method.lacking():
            raise RunIncomplete(lacking, hint="Repeat the run; the data so far are kept.")
        return _doubt(period)
    finally:
        # An error's traceback may keep the queue until somebody collects garbage.
        with contextlib.suppress(queue.Empty):
            while True:
                blocks.get_nowait()
        csv.close()
        live.finish()


def _record(
    method: "_Method", blocks: "queue.SimpleQueue[Samples | None]", csv: CsvFile, live: LiveCurve
) -> None:
    """Write and show blocks of samples until the None that ends them."""
    while (samples := blocks.get()) is not None:
        points, rows = method.take(samples)
        csv.append(rows)
        if points:
            live.feed({name: points[name] for name in points if name != "Exp"})


class _Method(Protocol):
    """How one kind of control is played and turned into rows."""

    def play(self, device: Potentiostat, latch: RunLatch, sink: Callable[[Samples], None]) -> None:
        """Measure, on the link's thread."""

    def take(self, samples: Samples) -> tuple[Table, Table]:
        """Return new points to show and new rows to write."""

    def rest(self) -> Table:
        """Return the rows of what is left at the end."""

    def lacking(self) -> str | None:
        """Return what is missing, as a sentence; None when every point came."""


def _lacking(received: int, expected: int) -> str | None:
    if received == expected:
        return None
    return f"Only {received} of {expected} points were recorded"


def _doubt(period: float | None) -> str | None:
    """Return what is to be told of samples that the instrument takes in another rhythm (s)."""
    if not period or abs(period / SAMPLE_PERIOD - 1) <= _PERIOD_TOLERANCE:
        return None
    return (
        f"The instrument reports a sample every {period * 1e6:.0f} \N{MICRO SIGN}s, "
        f"times and frequencies count {SAMPLE_PERIOD * 1e6:.0f} \N{MICRO SIGN}s"
    )


def _times(first: int, count: int) -> NDArray[np.float64]:
    """Return the nominal times of consecutive rows in s."""
    return np.arange(first, first + count, dtype=np.float64) * SAMPLE_PERIOD


def _thinner(task: Measurement, period: float) -> Thinner:
    return Thinner(points_per_row(task.sampling_interval, period), task.mode.mark)


class _Potentiostatic:
    """A potential waveform; row k answers to point k."""

    def __init__(self, task: Measurement) -> None:
        self._task = task
        self._thinner = _thinner(task, SAMPLE_PERIOD)
        self._played: deque[Chunk] = deque()
        self._received = 0

    def play(self, device: Potentiostat, latch: RunLatch, sink: Callable[[Samples], None]) -> None:
        device.play(self._points(), gain=self._task.gain, latch=latch, sink=sink)

    def _points(self) -> Iterator[NDArray[np.float64]]:
        """Hand out the waveform and keep what is on its way, to name it beside its samples."""
        for chunk in waveforms.potential_waveform(self._task.mode, self._task.parameters):
            self._played.append(chunk)
            yield chunk.applied

    def take(self, samples: Samples) -> tuple[Table, Table]:
        count = len(samples.current)
        applied, mark = self._next_applied(count)
        points: Table = {
            "Time (s)": _times(samples.first, count),
            "Potential (V)": samples.potential,
            "Current (A)": samples.current,
            "Exp": np.ones(count),
            "Applied potential (V)": applied,
        }
        if self._task.mode.mark is not None and mark is not None:
            points[self._task.mode.mark] = mark
        self._received += count
        return points, self._thinner.feed(points)

    def _next_applied(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        applied, marks = [], []
        while count > 0:
            chunk = self._played.popleft()
            if len(chunk.applied) > count:
                head, rest = chunk.split(count)
                self._played.appendleft(rest)
                chunk = head
            applied.append(chunk.applied)
            if chunk.mark is not None:
                marks.append(chunk.mark)
            count -= len(chunk.applied)
        return np.concatenate(applied), np.concatenate(marks) if marks else None

    def rest(self) -> Table:
        return self._thinner.finish()

    def lacking(self) -> str | None:
        expected = waveforms.point_count(self._task.mode, self._task.parameters)
        return _lacking(self._received, expected)


class _OpenCircuit:
    """The potential of the cell left to itself."""

    def __init__(self, task: Measurement) -> None:
        self._task = task
        self._thinner = _thinner(task, SAMPLE_PERIOD)
        self._expected = waveforms.point_count(task.mode, task.parameters)
        self._received = 0

    def play(self, device: Potentiostat, latch: RunLatch, sink: Callable[[Samples], None]) -> None:
        device.record_open_circuit(self._expected, gain=self._task.gain, latch=latch, sink=sink)

    def take(self, samples: Samples) -> tuple[Table, Table]:
        count = len(samples.current)
        points: Table = {
            "Time (s)": _times(samples.first, count),
            "Potential (V)": samples.potential,
            "Current (A)": samples.current,
            "Exp": np.ones(count),
        }
        self._received += count
        return points, self._thinner.feed(points)

    def rest(self) -> Table:
        return self._thinner.finish()

    def lacking(self) -> str | None:
        return _lacking(self._received, self._expected)


class _Galvanostatic:
    """Current set points; sampled by the instrument, or polled where it does not sample."""

    def __init__(self, task: Measurement) -> None:
        self._task = task
        self._thinner: Thinner | None = None
        self._steps: list[CurrentStep] = []
        self._received = 0
        self._polled = False

    def play(self, device: Potentiostat, latch: RunLatch, sink: Callable[[Samples], None]) -> None:
        device.play_currents(self._set_points(), gain=self._task.gain, latch=latch, sink=sink)

    def _set_points(self) -> Iterator[tuple[float, float]]:
        for step in waveforms.current_steps(self._task.mode, self._task.parameters):
            self._steps.append(step)
            yield step.current, step.duration

    def take(self, samples: Samples) -> tuple[Table, Table]:
        count = len(samples.current)
        if self._thinner is None:
            self._polled = samples.time is not None
            self._thinner = _thinner(self._task, POLL_PERIOD if self._polled else SAMPLE_PERIOD)
        time = _times(samples.first, count) if samples.time is None else samples.time
        step = self._steps[samples.step or 0]
        points: Table = {
            "Time (s)": time,
            "Potential (V)": samples.potential,
            "Current (A)": samples.current,
            "Exp": np.ones(count),
            "Applied current (A)": np.full(count, step.current),
        }
        if self._task.mode.mark is not None and step.mark is not None:
            points[self._task.mode.mark] = np.full(count, float(step.mark))
        self._received += count
        return points, self._thinner.feed(points)

    def rest(self) -> Table:
        return {} if self._thinner is None else self._thinner.finish()

    def lacking(self) -> str | None:
        period = POLL_PERIOD if self._polled else SAMPLE_PERIOD
        steps = waveforms.current_steps(self._task.mode, self._task.parameters)
        expected = sum(samples_in(step.duration, period) for step in steps)
        return _lacking(self._received, expected)


class _Impedance:
    """A spectrum from sines played one after another; a row per frequency."""

    def __init__(self, task: Measurement) -> None:
        self._task = task
        self._plan = impedance.plan(task.parameters)
        self._analyser = impedance.ImpedanceAnalyser(self._plan)
        self._received = 0

    def play(self, device: Potentiostat, latch: RunLatch, sink: Callable[[Samples], None]) -> None:
        # The running mean over a hundred readings would leave little of a fast sine.
        with device.averaging(1, 1):
            device.play(
                (chunk.applied for chunk in impedance.excitation(self._plan)),
                gain=self._task.gain,
                latch=latch,
                sink=sink,
            )

    def take(self, samples: Samples) -> tuple[Table, Table]:
        found = self._analyser.feed(samples.first, samples.current, samples.potential)
        self._received += len(found)
        if not found:
            return {}, {}
        rows: Table = {
            "Frequency (Hz)": np.array([point.frequency for point in found]),
            "Z real (Ohm)": np.array([point.z_real for point in found]),
            "Z imag (Ohm)": np.array([point.z_imag for point in found]),
            "|Z| (Ohm)": np.array([point.magnitude for point in found]),
            "Phase (deg)": np.array([point.phase_degrees for point in found]),
            "Exp": np.ones(len(found)),
        }
        return rows, rows

    def rest(self) -> Table:
        return {}

    def lacking(self) -> str | None:
        return _lacking(self._received, len(self._plan.segments))


_METHODS: Mapping[Control, Callable[[Measurement], _Method]] = MappingProxyType(
    {
        Control.POTENTIAL: _Potentiostatic,
        Control.CURRENT: _Galvanostatic,
        Control.OPEN_CIRCUIT: _OpenCircuit,
        Control.IMPEDANCE: _Impedance,
    }
)
