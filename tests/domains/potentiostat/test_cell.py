"""The emulated cell against textbook formulas."""

import math

import numpy as np
import pytest

from benchwire.domains.potentiostat.cell import TICK, Cell, CellConstants


def sweep(cell: Cell, start: float, end: float, rate: float) -> tuple[np.ndarray, np.ndarray]:
    potentials = np.arange(start, end, math.copysign(rate * TICK, end - start))
    return potentials, np.array([cell.step(value) for value in potentials.tolist()])


def test_rest_potential_is_nernsts() -> None:
    cell = Cell(CellConstants(oxidised=1e-6, reduced=1e-6))
    assert cell.rest() == pytest.approx(0.3, abs=1e-3)
    reduced = Cell(CellConstants(oxidised=1e-7, reduced=1e-6))
    assert reduced.rest_potential == pytest.approx(0.3 - 0.025693 * math.log(10))


def test_peak_current_is_randles_sevciks() -> None:
    constants = CellConstants(
        series_resistance=1.0, capacitance=1e-7, rate=1.0, oxidised=1e-9, reduced=1e-6
    )
    _, current = sweep(Cell(constants), 0.0, 0.6, 0.1)
    expected = 2.69e5 * constants.area * constants.reduced * math.sqrt(constants.diffusion * 0.1)
    assert current.max() == pytest.approx(expected, rel=0.03)


def test_peaks_of_a_fast_couple_lie_57_mv_apart() -> None:
    constants = CellConstants(
        series_resistance=1.0, capacitance=1e-7, rate=1.0, oxidised=1e-9, reduced=1e-6
    )
    cell = Cell(constants)
    up, anodic = sweep(cell, -0.1, 0.7, 0.1)
    down, cathodic = sweep(cell, 0.7, -0.1, 0.1)
    separation = up[anodic.argmax()] - down[cathodic.argmin()]
    assert separation == pytest.approx(0.058, abs=0.006)


def test_current_decays_as_cottrell_says() -> None:
    constants = CellConstants(
        series_resistance=1.0, capacitance=1e-7, rate=10.0, oxidised=1e-9, reduced=1e-6
    )
    cell = Cell(constants)
    current = np.array([cell.step(0.8) for _ in range(6000)])
    for tick in (1000, 3000, 5999):
        time = (tick + 0.5) * TICK
        expected = (
            96485.33 * constants.area * constants.reduced
            * math.sqrt(constants.diffusion / (math.pi * time))
        )  # fmt: skip
        assert current[tick] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("frequency", [2.0, 10.0, 20.0])
def test_small_sine_meets_the_closed_form(frequency: float) -> None:
    cell = Cell()
    count = round(6 / frequency / TICK)
    # Many ticks per period, so that the staircase hardly differs from the sine.
    time = np.arange(count) * TICK
    phase = 2 * math.pi * frequency * time
    drive = cell.rest_potential + 0.002 * np.sin(phase)
    current = np.array([cell.step(value) for value in drive.tolist()])
    used = slice(count // 3, None)
    terms = np.stack([np.ones(count), time, np.cos(phase), np.sin(phase)])[:, used]
    solution = np.linalg.lstsq(terms.T, current[used], rcond=None)[0]
    measured = 0.002 / complex(solution[3], solution[2])
    expected = cell.impedance(np.array([frequency]))[0]
    assert abs(measured) == pytest.approx(abs(expected), rel=0.03)


def test_forced_current_appears_over_the_series_resistance() -> None:
    cell = Cell()
    before = cell.rest()
    _, potential = cell.step_current(1e-4)
    assert potential - before == pytest.approx(1e-4 * cell.constants.series_resistance, rel=0.2)


def test_cell_recovers_when_left_alone() -> None:
    cell = Cell()
    sweep(cell, 0.0, 0.8, 1.0)
    cell.idle(1e6)
    assert cell.rest() == pytest.approx(cell.rest_potential, abs=1e-3)
