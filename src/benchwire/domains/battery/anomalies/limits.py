"""Values outside what a system may have or can have."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.anomalies.findings import Anomaly, amount, events
from benchwire.domains.battery.samples import Samples
from benchwire.domains.battery.signals import CELLS_PER_STACK, STACKS, Signal


@dataclass(frozen=True, slots=True)
class Limits:
    """The range without a word, and the wider one that is critical to leave; ends included."""

    low: float
    high: float
    critical_low: float
    critical_high: float


_N_CELLS = STACKS * CELLS_PER_STACK
_PERCENT = Limits(0, 100, 0, 100)
# Lithium iron phosphate: cells are used from 2.5 to 3.65 V and take damage beyond 2.0 and 3.8 V.
_CELL_VOLTAGE = Limits(2.5, 3.65, 2.0, 3.8)
_STRING_VOLTAGE = Limits(2.5 * _N_CELLS, 3.65 * _N_CELLS, 2.0 * _N_CELLS, 3.8 * _N_CELLS)
# Charging below 0 degrees C plates lithium; ageing is fast over 45, venting is near over 60.
_CELL_TEMPERATURE = Limits(0, 45, -20, 60)
# EN 50160: 400 V within 10 %; 15 % is the most that is tolerated at all.
_GRID_VOLTAGE = Limits(360, 440, 340, 460)
_CABINET = Limits(-20, 50, -40, 65)

LIMITS: Mapping[str, Limits] = {
    "bms1_soc": _PERCENT,
    # Below 70 % a system is at the end of its use, however it is warranted.
    "bms1_soh": Limits(70, 100, 0, 100),
    "bms1_v": _STRING_VOLTAGE,
    "bms1_cell_ave_v": _CELL_VOLTAGE,
    "bms1_cell_max_v": _CELL_VOLTAGE,
    "bms1_cell_min_v": _CELL_VOLTAGE,
    "bms1_cell_v_diff": Limits(0, 0.3, 0, 0.5),
    "bms1_cell_ave_t": _CELL_TEMPERATURE,
    "bms1_cell_max_t": _CELL_TEMPERATURE,
    "bms1_cell_min_t": _CELL_TEMPERATURE,
    "bms1_cell_t_diff": Limits(0, 10, 0, 15),
    "pcs1_dcv": _STRING_VOLTAGE,
    "pcs1_uab": _GRID_VOLTAGE,
    "pcs1_ubc": _GRID_VOLTAGE,
    "pcs1_uca": _GRID_VOLTAGE,
    "pcs1_t_env": _CABINET,
    "pcs1_t_a": _CABINET,
    "pcs1_t_igbt": Limits(-20, 75, -40, 80),
    "ac1_outside_t": Limits(-30, 40, -50, 55),
    "ac1_outwater_t": Limits(4, 35, 0, 60),
    "ac1_rtnwater_pre": Limits(1.5, 4, 0.5, 6),
    "dh1_humi": Limits(20, 85, 0, 100),
    "dh1_temp": Limits(0, 45, -20, 60),
    "fa1_SmokeFlag": Limits(0, 0, 0, 0),
}


def out_of_range(signal: Signal, samples: Samples) -> tuple[list[Anomaly], NDArray[np.bool_]]:
    """Return the events outside the signal's limits, and which samples they are.

    The score is 1 plus the distance to the limit in widths of the range between both limits.
    """
    limits, values = LIMITS.get(signal.name), samples.values
    if limits is None or not len(values):
        return [], np.zeros(len(values), np.bool_)
    outside = (values < limits.low) | (values > limits.high)
    hits = np.flatnonzero(outside)
    excess = np.maximum(limits.low - values[hits], values[hits] - limits.high)
    found = []
    for event in events(samples.at_us, hits, excess):
        value = float(values[event.worst])
        is_low = value < limits.low
        limit = limits.low if is_low else limits.high
        is_critical = not limits.critical_low <= value <= limits.critical_high
        found.append(
            Anomaly(
                signal.field,
                "out_of_range",
                "critical" if is_critical else "warning",
                int(samples.at_us[event.first]),
                int(samples.at_us[event.last]),
                1 + abs(value - limit) / max(limits.high - limits.low, 1.0),
                value,
                limit,
                _message(signal, value, limit, is_low=is_low),
            )
        )
    return found, outside


def _message(signal: Signal, value: float, limit: float, *, is_low: bool) -> str:
    if signal.is_flag:
        return f"{signal.title} was reported."
    side = "below the lower" if is_low else "above the upper"
    return f"{signal.title} was {amount(value, signal)}, {side} limit of {amount(limit, signal)}."
