"""Tables as files for other programs, CSV and Parquet, made piece by piece while they are sent."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# Few pieces, since each becomes a row group of its own.
_ROWS_PER_GROUP = 65_536


def write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file piece by piece, for an archive on its way to a client."""
    with path.open("wb") as file:
        file.writelines(pieces)


def csv(names: list[str], tables: "Iterator[pa.Table]") -> Iterator[bytes]:
    """Yield tables as one CSV file (RFC 4180) under a line of names; null is empty."""
    from pyarrow import csv as arrow_csv

    options = arrow_csv.WriteOptions(include_header=False, quoting_style="none", eol="\r\n")
    yield (",".join(names) + "\r\n").encode()
    for table in tables:
        sink = io.BytesIO()
        arrow_csv.write_csv(table, sink, options)
        yield sink.getvalue()


def parquet(schema: "pa.Schema", tables: "Iterator[pa.Table]") -> Iterator[bytes]:
    """Yield tables as one Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet as arrow_parquet

    sink = _Drain()
    with arrow_parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for group in _grouped(tables):
            writer.write_table(pa.concat_tables(table.cast(schema) for table in group))
            yield sink.taken()
    yield sink.taken()


def _grouped(tables: "Iterator[pa.Table]") -> "Iterator[list[pa.Table]]":
    group: list[pa.Table] = []
    for table in tables:
        group.append(table)
        if sum(len(item) for item in group) >= _ROWS_PER_GROUP:
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
