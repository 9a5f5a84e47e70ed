"""What may go wrong with which signal, and by how much."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

FaultKind = Literal["out_of_range", "spike", "stuck", "step", "imbalance", "drift", "gap"]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


@dataclass(frozen=True, slots=True)
class Habit:
    """What may happen to a signal.

    Parameters
    ----------
    unit
        A disturbance that an engineer would care about, in the signal's unit.
    impossible
        Two ranges of which a value out of range is drawn.
    """

    unit: float
    kinds: tuple[FaultKind, ...]
    impossible: tuple[tuple[float, float], ...] = ()


_HOT = ((70.0, 150.0), (-60.0, -42.0))
_CELL_LOW_HIGH = ((0.0, 2.2), (4.0, 6.5))
_GRID_LOW_HIGH = ((0.0, 280.0), (490.0, 650.0))
_SENSOR: tuple[FaultKind, ...] = ("out_of_range", "spike", "stuck", "step", "gap")
_DRIFTING: tuple[FaultKind, ...] = (*_SENSOR, "drift")
_CURRENT: tuple[FaultKind, ...] = ("spike", "stuck", "gap")
HABITS: Mapping[str, Habit] = {
    "bms1_soc": Habit(3, _DRIFTING, ((102.0, 255.0), (-20.0, -2.0))),
    "bms1_soh": Habit(2, ("out_of_range", "spike", "step", "gap"), ((102.0, 255.0), (-9.0, -1.0))),
    "bms1_v": Habit(4, _DRIFTING, ((0.0, 400.0), (1000.0, 1500.0))),
    "bms1_c": Habit(18, _CURRENT),
    "bms1_cell_ave_v": Habit(0.02, _DRIFTING, _CELL_LOW_HIGH),
    "bms1_cell_max_v": Habit(0.02, (*_SENSOR, "imbalance"), _CELL_LOW_HIGH),
    "bms1_cell_min_v": Habit(0.02, (*_SENSOR, "imbalance"), _CELL_LOW_HIGH),
    "bms1_cell_v_diff": Habit(0.02, ("spike", "gap")),
    "bms1_cell_ave_t": Habit(2, _DRIFTING, _HOT),
    "bms1_cell_max_t": Habit(2, (*_DRIFTING, "imbalance"), _HOT),
    "bms1_cell_min_t": Habit(2, _SENSOR, _HOT),
    "bms1_cell_t_diff": Habit(2, ("spike", "gap")),
    "pcs1_ap": Habit(14, _CURRENT),
    "pcs1_dcc": Habit(18, _CURRENT),
    "pcs1_dcv": Habit(4, _DRIFTING, ((0.0, 400.0), (1000.0, 1500.0))),
    "pcs1_ia": Habit(14, (*_CURRENT, "imbalance")),
    "pcs1_ib": Habit(14, (*_CURRENT, "imbalance")),
    "pcs1_ic": Habit(14, (*_CURRENT, "imbalance")),
    "pcs1_uab": Habit(3.5, (*_SENSOR, "imbalance"), _GRID_LOW_HIGH),
    "pcs1_ubc": Habit(3.5, (*_SENSOR, "imbalance"), _GRID_LOW_HIGH),
    "pcs1_uca": Habit(3.5, (*_SENSOR, "imbalance"), _GRID_LOW_HIGH),
    "pcs1_t_env": Habit(2.5, _DRIFTING, _HOT),
    "pcs1_t_a": Habit(2.5, _DRIFTING, _HOT),
    "pcs1_t_igbt": Habit(4, ("out_of_range", "spike", "stuck", "step", "gap"), ((85.0, 160.0),)),
}
# How many of the signal's units a fault of each kind moves it by.
SIZES = {"spike": (4, 12), "step": (3, 6), "drift": (4, 8)}
HOURS = {"stuck": (1.0, 5.0), "step": (2.0, 14.0), "imbalance": (1.0, 6.0), "gap": (0.4, 6.0)}
DRIFT_DAYS = (0.75, 2.0)
# One weak cell pulls its neighbours' spread along; V and degrees C.
CELL_IMBALANCE: Mapping[str, tuple[str, int, tuple[float, float]]] = {
    "bms1_cell_max_v": ("bms1_cell_v_diff", 1, (0.06, 0.2)),
    "bms1_cell_min_v": ("bms1_cell_v_diff", -1, (0.06, 0.2)),
    "bms1_cell_max_t": ("bms1_cell_t_diff", 1, (5.0, 14.0)),
}
# By phase current and by line voltage.
PHASE_SHARE = {"i": (0.15, 0.4), "u": (0.025, 0.08)}
