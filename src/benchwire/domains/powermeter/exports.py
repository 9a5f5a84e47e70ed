"""Readings as files for other programs: CSV and Parquet, made piece by piece while they are sent.

Every column but the time carries its unit in its name; times are UTC.
"""

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from benchwire.domains.powermeter.readings import QUANTITIES, Readings

if TYPE_CHECKING:
    import pyarrow as pa

TIME_COLUMN = "time_utc"
# Few pieces, since each becomes a row group of its own.
_ROWS_PER_GROUP = 65_536


def csv(parts: Iterator[Readings]) -> Iterator[bytes]:
    """Yield readings as CSV (RFC 4180, a header line, ``Z`` at the end of every time)."""
    import numpy as np
    from pyarrow import csv as arrow_csv

    options = arrow_csv.WriteOptions(include_header=False, quoting_style="none", eol="\r\n")
    yield (",".join([TIME_COLUMN, *(item.column for item in QUANTITIES)]) + "\r\n").encode()
    for part in parts:
        stamps = np.datetime_as_string(part.at.astype("datetime64[us]"), "us", timezone="UTC")
        sink = io.BytesIO()
        arrow_csv.write_csv(_table(part, stamps), sink, options)
        yield sink.getvalue()


def parquet(parts: Iterator[Readings], meter: str) -> Iterator[bytes]:
    """Yield readings as a Parquet file; each field's metadata has its unit."""
    import pyarrow as pa
    from pyarrow import parquet as arrow_parquet

    sink = _Drain()
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
    with arrow_parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for group in _grouped(parts):
            table = pa.concat_tables(
                _table(part, part.at.astype("datetime64[us]")).cast(schema) for part in group
            )
            writer.write_table(table)
            yield sink.taken()
    yield sink.taken()


def recording_csv(records: Sequence[tuple[float, float]]) -> str:
    """Return what a meter recorded by itself as CSV; it keeps no times."""
    lines = [f"{number},{volts},{amperes}" for number, (volts, amperes) in enumerate(records)]
    return "\r\n".join(["record,voltage_V,current_A", *lines]) + "\r\n"


def _table(part: Readings, stamps: Any) -> "pa.Table":
    import pyarrow as pa

    values = {item.column: part.values(index) for index, item in enumerate(QUANTITIES)}
    return pa.table({TIME_COLUMN: pa.array(stamps), **values})


def _grouped(parts: Iterator[Readings]) -> Iterator[list[Readings]]:
    group: list[Readings] = []
    for part in parts:
        group.append(part)
        if sum(map(len, group)) >= _ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group


class _Drain(io.RawIOBase):
    """A file that is emptied while it is written."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._waiting.append(piece)
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._position

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        waiting, self._waiting = self._waiting, []
        return b"".join(waiting)
