"""What a logger makes of a plant: every signal at its own rate, rounded, with noise and losses."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import DAY_US, MICROSECONDS, Samples
from benchwire.domains.battery.signals import (
    CELLS_PER_STACK,
    STACKS,
    cell_temperature,
    cell_voltage,
)
from benchwire.domains.battery.simulation.plant import GRID_S, Plant, cell_voltages, course

FIRST_DAY_US = int(datetime(2023, 9, 19, tzinfo=UTC).timestamp()) * MICROSECONDS
_SLOW, _FAST, _CONVERTER, _SELDOM = (59, 60), (31, 30), (15, 16), (232, 233)
_LOST_SHARE, _NULL_SHARE = 1e-3, 1e-4
# The converter's temperature was recorded only after a quarter of the real data set's time.
_LATE_SHARE = 0.25
_NEVER_NEGATIVE = frozenset({"pcs1_ia", "pcs1_ib", "pcs1_ic", "bms1_cell_v_diff"})
_COARSE = frozenset({"bms1_cell_ave_v", "bms1_cell_max_v", "bms1_cell_min_v"})


@dataclass(frozen=True, slots=True)
class _Form:
    """How a signal is recorded: usual intervals (s), decimals, noise in its unit."""

    intervals: tuple[int, int]
    decimals: int
    noise: float


_FORMS = {
    "bms1_soc": _Form(_SLOW, 0, 0.05),
    "bms1_soh": _Form(_SLOW, 0, 0.0),
    "bms1_v": _Form(_FAST, 1, 0.25),
    "bms1_c": _Form(_FAST, 1, 0.3),
    "bms1_cell_ave_v": _Form(_FAST, 3, 0.0007),
    "bms1_cell_ave_t": _Form(_SLOW, 0, 0.1),
    "bms1_cell_max_v": _Form(_FAST, 3, 0.001),
    "bms1_cell_min_v": _Form(_FAST, 3, 0.001),
    "bms1_cell_max_t": _Form(_SLOW, 0, 0.1),
    "bms1_cell_min_t": _Form(_SLOW, 0, 0.1),
    "bms1_cell_v_diff": _Form(_FAST, 3, 0.001),
    "bms1_cell_t_diff": _Form(_SLOW, 0, 0.1),
    "pcs1_ap": _Form(_CONVERTER, 2, 0.15),
    "pcs1_dcc": _Form(_CONVERTER, 1, 0.3),
    "pcs1_dcv": _Form(_CONVERTER, 1, 0.4),
    "pcs1_ia": _Form(_CONVERTER, 1, 0.4),
    "pcs1_ib": _Form(_CONVERTER, 1, 0.4),
    "pcs1_ic": _Form(_CONVERTER, 1, 0.4),
    "pcs1_uab": _Form(_CONVERTER, 1, 0.5),
    "pcs1_ubc": _Form(_CONVERTER, 1, 0.5),
    "pcs1_uca": _Form(_CONVERTER, 1, 0.5),
    "pcs1_t_env": _Form(_SLOW, 0, 0.1),
    "pcs1_t_a": _Form(_SELDOM, 0, 0.1),
    "pcs1_t_igbt": _Form(_SLOW, 0, 0.2),
    "ac1_outside_t": _Form(_SLOW, 1, 0.1),
    "ac1_outwater_t": _Form(_SLOW, 1, 0.1),
    "ac1_rtnwater_pre": _Form(_SLOW, 2, 0.01),
    "aux_m_ap": _Form(_FAST, 2, 0.03),
    "dh1_humi": _Form(_SLOW, 0, 0.3),
    "dh1_temp": _Form(_SLOW, 1, 0.1),
    "fa1_SmokeFlag": _Form(_SLOW, 0, 0.0),
}
_CELL_V, _CELL_T = _Form(_FAST, 3, 0.001), _Form(_SLOW, 0, 0.1)


def decimals(signal: str) -> int:
    """Return how many decimals a signal is recorded with."""
    return _FORMS[signal].decimals


def simulate(
    device_number: int, days: float, *, seed: int = 0, cells: int = 0
) -> dict[str, Samples]:
    """Return a faultless recording of one system, by the names of the signals' files.

    The parameters of the plant follow from the seed and the number alone. The BMS's current is
    positive while charging, the converter's current and power while discharging.

    Parameters
    ----------
    cells
        How many cells of each stack are recorded singly, 0 to 52.
    """
    rng = np.random.default_rng([seed, device_number])
    plant = Plant.draw(rng)
    true = course(plant, days, day_of_year=262, rng=rng)
    grid_s: NDArray[np.float64] = np.arange(len(true["bms1_soc"]), dtype=np.float64) * GRID_S
    forms = dict(_FORMS)
    for stack in range(STACKS):
        for cell in range(min(cells, CELLS_PER_STACK)):
            index = stack * CELLS_PER_STACK + cell
            voltage = cell_voltage(stack + 1, cell + 1)
            temperature = cell_temperature(stack + 1, cell + 1)
            true[voltage] = cell_voltages(true, plant, index)
            true[temperature] = true["bms1_cell_ave_t"] + plant.cell_temperature_offsets[index]
            forms |= {voltage: _CELL_V, temperature: _CELL_T}
    return {
        name: _record(name, form, grid_s, true[name], plant=plant, rng=rng)
        for name, form in forms.items()
    }


def _record(
    name: str,
    form: _Form,
    grid_s: NDArray[np.float64],
    curve: NDArray[np.float64],
    *,
    plant: Plant,
    rng: np.random.Generator,
) -> Samples:
    """Return the curve as it is logged, times in whole seconds."""
    length_s = len(grid_s) * GRID_S
    usual, seldom = form.intervals
    steps = np.where(rng.random(length_s // min(form.intervals) + 1) < 0.8, usual, seldom)
    at_s = rng.integers(0, usual) + np.cumsum(steps) - steps[0]
    at_s = at_s[at_s < length_s]
    if name == "pcs1_t_igbt":
        at_s = at_s[at_s >= length_s * _LATE_SHARE]
    at_s = at_s[rng.random(len(at_s)) >= _LOST_SHARE]
    if not len(at_s):
        return Samples(np.empty(0, np.int64), np.empty(0))
    values = np.interp(at_s, grid_s, curve)
    values += rng.standard_normal(len(values)) * (form.noise * plant.noise)
    if name in _NEVER_NEGATIVE:
        values = np.abs(values)
    values = np.round(values, form.decimals)
    if name in _COARSE:
        coarse = at_s < plant.coarse_days * DAY_US / MICROSECONDS
        values[coarse] = np.round(values[coarse], 1)
    values[rng.random(len(values)) < _NULL_SHARE] = np.nan
    return Samples(FIRST_DAY_US + at_s.astype(np.int64) * MICROSECONDS, values)
