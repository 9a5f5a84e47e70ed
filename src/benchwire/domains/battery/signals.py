"""What a storage system measures: the file of each signal, its field in the API, its unit.

A group is what one API serves as rows: the battery management system (BMS), the power conversion
system (PCS), or both with their surroundings in one view (BESS).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Signal:
    """One measured quantity.

    Parameters
    ----------
    field
        Its key in the API.
    name
        The name of its file without ``.csv``, and of the column in it.
    unit
        As text for people; empty for a flag.
    title
        What it is called on a page.
    is_flag
        Whether it is served as true or false.
    """

    field: str
    name: str
    unit: str
    title: str
    is_flag: bool = False


@dataclass(frozen=True)
class Group:
    """Signals that are served together, in the order in which they are written."""

    name: str
    title: str
    signals: tuple[Signal, ...]

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The API's keys, in order."""
        return tuple(signal.field for signal in self.signals)

    @cached_property
    def by_field(self) -> Mapping[str, Signal]:
        """Each signal under its key."""
        return {signal.field: signal for signal in self.signals}


BMS = Group(
    "bms",
    "Battery management system",
    (
        Signal("soc", "bms1_soc", "%", "State of charge"),
        Signal("soh", "bms1_soh", "%", "State of health"),
        Signal("voltage", "bms1_v", "V", "Pack voltage"),
        Signal("current", "bms1_c", "A", "Pack current"),
        Signal("cell_avg_voltage", "bms1_cell_ave_v", "V", "Mean cell voltage"),
        Signal("cell_avg_temp", "bms1_cell_ave_t", "°C", "Mean cell temperature"),
        Signal("cell_max_voltage", "bms1_cell_max_v", "V", "Highest cell voltage"),
        Signal("cell_min_voltage", "bms1_cell_min_v", "V", "Lowest cell voltage"),
        Signal("cell_max_temp", "bms1_cell_max_t", "°C", "Highest cell temperature"),
        Signal("cell_min_temp", "bms1_cell_min_t", "°C", "Lowest cell temperature"),
        Signal("cell_voltage_diff", "bms1_cell_v_diff", "V", "Cell voltage spread"),
        Signal("cell_temp_diff", "bms1_cell_t_diff", "°C", "Cell temperature spread"),
    ),
)

PCS = Group(
    "pcs",
    "Power conversion system",
    (
        Signal("apparent_power", "pcs1_ap", "kW", "Apparent power"),
        Signal("dc_current", "pcs1_dcc", "A", "DC current"),
        Signal("dc_voltage", "pcs1_dcv", "V", "DC voltage"),
        Signal("ac_current_a", "pcs1_ia", "A", "AC current, phase A"),
        Signal("ac_current_b", "pcs1_ib", "A", "AC current, phase B"),
        Signal("ac_current_c", "pcs1_ic", "A", "AC current, phase C"),
        Signal("ac_voltage_ab", "pcs1_uab", "V", "AC voltage A-B"),
        Signal("ac_voltage_bc", "pcs1_ubc", "V", "AC voltage B-C"),
        Signal("ac_voltage_ca", "pcs1_uca", "V", "AC voltage C-A"),
        Signal("temp_environment", "pcs1_t_env", "°C", "Environment temperature"),
        Signal("temp_ambient", "pcs1_t_a", "°C", "Ambient temperature"),
        Signal("temp_igbt", "pcs1_t_igbt", "°C", "IGBT temperature"),
    ),
)

BESS = Group(
    "bess",
    "Whole storage system",
    (
        Signal("bms_soc", "bms1_soc", "%", "State of charge"),
        Signal("bms_soh", "bms1_soh", "%", "State of health"),
        Signal("bms_voltage", "bms1_v", "V", "Pack voltage"),
        Signal("bms_current", "bms1_c", "A", "Pack current"),
        Signal("bms_cell_ave_v", "bms1_cell_ave_v", "V", "Mean cell voltage"),
        Signal("bms_cell_ave_t", "bms1_cell_ave_t", "°C", "Mean cell temperature"),
        Signal("bms_cell_max_v", "bms1_cell_max_v", "V", "Highest cell voltage"),
        Signal("bms_cell_min_v", "bms1_cell_min_v", "V", "Lowest cell voltage"),
        Signal("bms_cell_v_diff", "bms1_cell_v_diff", "V", "Cell voltage spread"),
        Signal("bms_cell_t_diff", "bms1_cell_t_diff", "°C", "Cell temperature spread"),
        Signal("pcs_apparent_power", "pcs1_ap", "kW", "Apparent power"),
        Signal("pcs_dc_voltage", "pcs1_dcv", "V", "DC voltage"),
        Signal("pcs_dc_current", "pcs1_dcc", "A", "DC current"),
        Signal("pcs_ac_current_a", "pcs1_ia", "A", "AC current, phase A"),
        Signal("pcs_ac_current_b", "pcs1_ib", "A", "AC current, phase B"),
        Signal("pcs_ac_current_c", "pcs1_ic", "A", "AC current, phase C"),
        Signal("pcs_ac_voltage_ab", "pcs1_uab", "V", "AC voltage A-B"),
        Signal("pcs_ac_voltage_bc", "pcs1_ubc", "V", "AC voltage B-C"),
        Signal("pcs_ac_voltage_ca", "pcs1_uca", "V", "AC voltage C-A"),
        Signal("pcs_temp_igbt", "pcs1_t_igbt", "°C", "IGBT temperature"),
        Signal("pcs_temp_environment", "pcs1_t_env", "°C", "Environment temperature"),
        Signal("aux_outside_temp", "ac1_outside_t", "°C", "Outside temperature"),
        Signal("aux_outwater_temp", "ac1_outwater_t", "°C", "Supply water temperature"),
        Signal("aux_return_water_pressure", "ac1_rtnwater_pre", "bar", "Return water pressure"),
        Signal("aux_power_apparent", "aux_m_ap", "kW", "Auxiliary power"),
        Signal("env_humidity", "dh1_humi", "%", "Room humidity"),
        Signal("env_temperature", "dh1_temp", "°C", "Room temperature"),
        Signal("safety_smoke_flag", "fa1_SmokeFlag", "", "Smoke", is_flag=True),
    ),
)

GROUPS: Mapping[str, Group] = {group.name: group for group in (BMS, PCS, BESS)}

STACKS, CELLS_PER_STACK = 5, 52


def cell_voltage(stack: int, cell: int) -> str:
    """Return the signal of one cell's voltage (V); stacks and cells count from 1."""
    return f"bms1_p{stack}_v{cell}"


def cell_temperature(stack: int, cell: int) -> str:
    """Return the signal of one cell's temperature (degrees C); stacks and cells count from 1."""
    return f"bms1_p{stack}_t{cell}"


DEVICE_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What a device that sends readings may be called: it becomes a folder and a part of a path."""

PATHS = frozenset({"devices", "overview", "sources"})
"""What it may not be called, as those are paths already."""
