"""Readings as files for other programs: CSV and Parquet.

Every column but the time carries its unit in its name; times are UTC.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from benchwire.domains.powermeter.readings import QUANTITIES, Readings
from benchwire.foundation import exports

if TYPE_CHECKING:
    import pyarrow as pa

TIME_COLUMN = "time_utc"


def csv(parts: Iterator[Readings]) -> Iterator[bytes]:
    """Yield readings as CSV (RFC 4180, a header line, ``Z`` at the end of every time)."""
    import numpy as np

    def table(part: Readings) -> "pa.Table":
        moments = part.at.astype("datetime64[us]")
        return _table(part, np.datetime_as_string(moments, "us", timezone="UTC"))

    names = [TIME_COLUMN, *(item.column for item in QUANTITIES)]
    yield from exports.csv(names, map(table, parts))


def parquet(parts: Iterator[Readings], meter: str) -> Iterator[bytes]:
    """Yield readings as a Parquet file; each field's metadata has its unit."""
    import pyarrow as pa

    fields = [
        pa.field(TIME_COLUMN, pa.timestamp("us", tz="UTC")),
        *(
            pa.field(
                item.column,
                pa.int64() if item.scale == 1 else pa.float64(),
                metadata={"unit": item.unit},
            )
            for item in QUANTITIES
        ),
    ]
    schema = pa.schema(fields, metadata={"meter": meter})
    tables = (_table(part, part.at.astype("datetime64[us]")) for part in parts)
    yield from exports.parquet(schema, tables)


def recording_csv(records: Sequence[tuple[float, float]]) -> str:
    """Return what a meter recorded by itself as CSV; it keeps no times."""
    lines = [f"{number},{volts},{amperes}" for number, (volts, amperes) in enumerate(records)]
    return "\r\n".join(["record,voltage_V,current_A", *lines]) + "\r\n"


def _table(part: Readings, stamps: Any) -> "pa.Table":
    import pyarrow as pa

    values = {item.column: part.values(index) for index, item in enumerate(QUANTITIES)}
    return pa.table({TIME_COLUMN: pa.array(stamps), **values})
