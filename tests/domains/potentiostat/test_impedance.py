"""Spectra of known circuits, simulated exactly, and the order in which they come out."""

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchwire.domains.potentiostat import impedance
from benchwire.domains.potentiostat.impedance import ImpedanceAnalyser, ImpedancePlan
from benchwire.domains.potentiostat.modes import MODES
from benchwire.domains.potentiostat.progress import planned_seconds
from benchwire.domains.potentiostat.validation import ModeParametersInvalid, parse

TICK = 0.36e-3
OUTPUT_STEP = 9.9 / 4096
CURRENT_NOISE = 5e-8
POTENTIAL_NOISE = 2e-5

Circuit = tuple[float, float, float]
Samples = tuple[NDArray[np.float64], NDArray[np.float64]]


def parameters_of(**raw: Any) -> Any:
    return parse(MODES["EIS"], {"points_per_decade": 5, **raw})


def played(planned: ImpedancePlan) -> NDArray[np.float64]:
    return np.concatenate([chunk.applied for chunk in impedance.excitation(planned)])


def simulate(planned: ImpedancePlan, circuit: Circuit, *, seed: int = 1) -> Samples:
    """Return current and potential at the end of each tick of a constant, quantised potential.

    The capacitor's voltage follows a constant potential by an exponential, so a tick is exact.
    """
    series, transfer, capacitance = circuit
    applied = np.round(played(planned) / OUTPUT_STEP) * OUTPUT_STEP
    conductance = 1 / series + 1 / transfer
    decay = math.exp(-TICK * conductance / capacitance)
    voltage, voltages = 0.0, np.empty(len(applied))
    for tick, value in enumerate(applied.tolist()):
        final = value / series / conductance
        voltage = final + (voltage - final) * decay
        voltages[tick] = voltage
    noise = np.random.default_rng(seed)
    current = (applied - voltages) / series + noise.normal(0, CURRENT_NOISE, len(applied))
    return current, applied + noise.normal(0, POTENTIAL_NOISE, len(applied))


def analyse(
    planned: ImpedancePlan, samples: Samples, sizes: Sequence[int] = (777,)
) -> list[impedance.ImpedancePoint]:
    current, potential = samples
    analyser, found, at, turn = ImpedanceAnalyser(planned), [], 0, 0
    while at < len(current):
        part = slice(at, at + sizes[turn % len(sizes)])
        found += analyser.feed(at, current[part], potential[part])
        at, turn = min(part.stop, len(current)), turn + 1
    return found


def errors(points: list[impedance.ImpedancePoint], circuit: Circuit) -> tuple[float, float]:
    """Return the largest relative error of the magnitude and of the phase in degrees."""
    series, transfer, capacitance = circuit
    frequencies = np.array([point.frequency for point in points])
    measured = np.array([complex(point.z_real, point.z_imag) for point in points])
    ratio = measured / (series + 1 / (2j * np.pi * frequencies * capacitance + 1 / transfer))
    return float(np.abs(np.abs(ratio) - 1).max()), float(np.degrees(np.abs(np.angle(ratio))).max())


@pytest.mark.parametrize("transfer", [500, 2000])
@pytest.mark.parametrize("capacitance", [5e-6, 1e-5, 5e-5])
@pytest.mark.parametrize(("start", "end"), [(100, 0.5), (0.5, 100)])
def test_spectrum_is_within_one_percent_and_one_degree(
    transfer: float, capacitance: float, start: float, end: float
) -> None:
    circuit = (100.0, transfer, capacitance)
    planned = impedance.plan(parameters_of(start_freq=start, end_freq=end))
    found = analyse(planned, simulate(planned, circuit))
    assert len(found) == 13
    magnitude, phase = errors(found, circuit)
    assert magnitude < 0.01
    assert phase < 1.0


@pytest.mark.parametrize("circuit", [(100, 500, 5e-6), (100, 2000, 1e-5), (20, 500, 2e-5)])
def test_spectrum_holds_up_to_the_highest_frequency(circuit: Circuit) -> None:
    planned = impedance.plan(parameters_of(start_freq=278, end_freq=100, points_per_decade=20))
    magnitude, phase = errors(analyse(planned, simulate(planned, circuit)), circuit)
    assert magnitude < 0.01
    assert phase < 1.0


@pytest.mark.parametrize("resistance", [10.0, 1e3, 1e7])
def test_resistor_is_exact_at_every_frequency(resistance: float) -> None:
    planned = impedance.plan(parameters_of(start_freq=278, end_freq=1, bias=0.3))
    potential = played(planned)
    for point in analyse(planned, (potential / resistance, potential)):
        assert point.z_real == pytest.approx(resistance, rel=1e-9)
        assert abs(point.z_imag) < 1e-9 * resistance
        assert point.phase_degrees == pytest.approx(0, abs=1e-6)


def test_offset_and_drift_of_the_cell_do_not_matter() -> None:
    planned = impedance.plan(parameters_of(start_freq=50, end_freq=5))
    potential = played(planned)
    drift = 3e-4 + 2e-6 * np.arange(len(potential)) * TICK
    for point in analyse(planned, (potential / 1000 + drift, potential)):
        assert point.magnitude == pytest.approx(1000, rel=1e-4)


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(0, 900), min_size=1, max_size=5).filter(any))
def test_spectrum_is_the_same_however_samples_come(sizes: list[int]) -> None:
    planned = impedance.plan(parameters_of(start_freq=200, end_freq=20))
    samples = simulate(planned, (100, 1000, 1e-5))
    found = analyse(planned, samples, [size or 1 for size in sizes])
    whole = analyse(planned, samples, [len(samples[0])])
    assert [point.frequency for point in found] == [s.frequency for s in planned.segments]
    for one, other in zip(found, whole, strict=True):
        assert one.z_real == pytest.approx(other.z_real, rel=1e-8)
        assert one.z_imag == pytest.approx(other.z_imag, rel=1e-8)


def test_frequency_comes_out_with_its_last_sample() -> None:
    planned = impedance.plan(parameters_of(start_freq=100, end_freq=20))
    current, potential = simulate(planned, (100, 1000, 1e-5))
    analyser = ImpedanceAnalyser(planned)
    ends = [
        tick
        for tick in range(len(current))
        if analyser.feed(tick, current[tick : tick + 1], potential[tick : tick + 1])
    ]
    assert ends == [segment.end - 1 for segment in planned.segments]


def test_lost_samples_are_not_analysed() -> None:
    analyser = ImpedanceAnalyser(impedance.plan(parameters_of(start_freq=9, end_freq=9)))
    analyser.feed(0, np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="go on at 3, not at 4"):
        analyser.feed(4, np.zeros(1), np.zeros(1))


def test_open_cell_has_infinite_impedance() -> None:
    planned = impedance.plan(parameters_of(start_freq=10, end_freq=10))
    potential = played(planned)
    (point,) = analyse(planned, (np.zeros(len(potential)), potential))
    assert math.isinf(point.magnitude)


def test_plan_has_no_gap_and_settles_a_quarter_of_the_time() -> None:
    planned = impedance.plan(parameters_of(start_freq=278, end_freq=0.5, cycles_per_freq=5))
    assert planned.bias_points * TICK == pytest.approx(1.0, abs=2 * TICK)
    assert planned.segments[0].first == planned.bias_points
    for segment, following in pairwise(planned.segments):
        assert segment.end == following.first
    for segment in planned.segments:
        assert segment.settling >= 0.25 * (segment.settling + segment.measured)
        assert segment.measured * TICK == pytest.approx(5 / segment.frequency, abs=TICK)
    assert planned.points == len(played(planned))


@pytest.mark.parametrize("chunk", [1, 7, 5000])
def test_excitation_holds_each_point_for_two_ticks(chunk: int) -> None:
    planned = impedance.plan(parameters_of(start_freq=100, end_freq=50, bias=0.3, amplitude=0.05))
    parts = list(impedance.excitation(planned, chunk))
    assert all(part.mark is None for part in parts)
    applied = np.concatenate([part.applied for part in parts])
    assert np.array_equal(applied[::2], applied[1::2])
    assert np.all(applied[: planned.bias_points] == 0.3)
    assert np.abs(applied - 0.3).max() == pytest.approx(0.05, rel=0.01)


def test_spacing_follows_the_scale_asked_for() -> None:
    logarithmic = impedance.frequencies(parameters_of(start_freq=100, end_freq=1))
    linear = impedance.frequencies(parameters_of(start_freq=100, end_freq=1, spacing="lin"))
    assert len(logarithmic) == len(linear) == 11
    assert np.allclose(np.diff(np.log10(logarithmic)), -0.2)
    assert np.allclose(np.diff(linear), -9.9)


def test_spectrum_above_the_hardware_is_refused() -> None:
    with pytest.raises(impedance.NoUsableFrequency, match="278 Hz"):
        impedance.ensure_usable(parameters_of(start_freq=1e5, end_freq=279))
    impedance.ensure_usable(parameters_of(start_freq=1e5, end_freq=278))


@pytest.mark.parametrize(
    ("start", "end"), [(1e-320, 100), (100, 1e-310), (9e-6, 1e5), (1e308, 1e-308)]
)
@pytest.mark.parametrize("spacing", ["log", "lin"])
def test_endless_period_is_refused(start: float, end: float, spacing: str) -> None:
    with pytest.raises(ModeParametersInvalid):
        parameters_of(start_freq=start, end_freq=end, spacing=spacing)


@pytest.mark.parametrize(("start", "end"), [(1e-5, 100), (1e6, 1e-5)])
@pytest.mark.parametrize("spacing", ["log", "lin"])
def test_the_longest_period_is_planned(start: float, end: float, spacing: str) -> None:
    parameters = parameters_of(start_freq=start, end_freq=end, spacing=spacing)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        impedance.ensure_usable(parameters)
        seconds = planned_seconds(MODES["EIS"], parameters)
    assert seconds is not None
    assert 1e5 < seconds < 1e8
