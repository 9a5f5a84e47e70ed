"""Rows as files for other programs, with columns named as in the Battery Data Format.

The format (Battery Data Alliance, LF Energy) names a column by its quantity and unit, such as
``Voltage / V``; quantities it does not know are named in the same way. Signs are as measured: which
direction of the current charges is told by ``/bms/{device_id}/cycles``.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from benchwire.domains.battery.rows import Rows
from benchwire.domains.battery.samples import MICROSECONDS
from benchwire.domains.battery.signals import Group, Signal
from benchwire.foundation import exports

if TYPE_CHECKING:
    import pyarrow as pa

TIME_COLUMNS = ("Test Time / s", "Unix Time / s")
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
# The format's own names, where it has one for a signal.
_NAMES = {
    "bms1_v": "Voltage / V",
    "bms1_c": "Current / A",
    "pcs1_t_a": "Ambient Temperature / degC",
}
_UNITS = {"°C": "degC", "": "1"}


def column_of(group: Group, signal: Signal) -> str:
    """Return the name of a signal's column in an export of a group."""
    if group.name == "pcs" and signal.name in {"pcs1_dcv", "pcs1_dcc"}:
        # What a converter sees of the battery is on its direct-current side.
        return "Voltage / V" if signal.unit == "V" else "Current / A"
    if signal.name in _NAMES:
        return _NAMES[signal.name]
    title = re.sub(r"[^A-Za-z0-9]+", " ", signal.title).title()
    return f"{title} / {_UNITS.get(signal.unit, signal.unit)}"


def filename(device_id: str, group: Group, suffix: str) -> str:
    """Return the name of an export's file."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", device_id)[:80] or "device"
    return f"{safe}_{group.name}.bdf.{suffix}"


def csv(parts: Iterator[Rows], group: Group, first_us: int) -> Iterator[bytes]:
    """Yield rows as CSV; test time counts from ``first_us``."""
    names = [*TIME_COLUMNS, *(column_of(group, signal) for signal in group.signals)]
    yield from exports.csv(names, (_table(part, group, first_us) for part in parts))


def parquet(parts: Iterator[Rows], group: Group, first_us: int) -> Iterator[bytes]:
    """Yield rows as a Parquet file; test time counts from ``first_us``."""
    import pyarrow as pa

    names = [*TIME_COLUMNS, *(column_of(group, signal) for signal in group.signals)]
    schema = pa.schema([(name, pa.float64()) for name in names])
    yield from exports.parquet(schema, (_table(part, group, first_us) for part in parts))


FORMATS: Mapping[str, Callable[[Iterator[Rows], Group, int], Iterator[bytes]]] = {
    "csv": csv,
    "parquet": parquet,
}


def _table(part: Rows, group: Group, first_us: int) -> "pa.Table":
    import pyarrow as pa

    columns = {
        TIME_COLUMNS[0]: pa.array((part.at_us - first_us) / MICROSECONDS),
        TIME_COLUMNS[1]: pa.array(part.at_us / MICROSECONDS),
    }
    for number, signal in enumerate(group.signals):
        values = np.ascontiguousarray(part.values[:, number])
        columns[column_of(group, signal)] = pa.array(values, from_pandas=True)
    return pa.table(columns)
