"""The Parquet in which rows are kept: the time first, then each field; NaN where there is none."""

from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchwire.domains.battery.rows import TIME_COLUMN, Rows

Column = NDArray[np.float64]

# A page reads one or two row groups of every column: of 13 columns in 1.7 and 2.4 ms at this size,
# in 2.7 and 5.2 ms at 65,536 (benchmarks/ingest.py); smaller ones make the file larger.
GROUP_ROWS = 16_384


class RowsWriter:
    """Writes rows that come in order; `close` makes the file complete."""

    def __init__(
        self, file: BinaryIO, fields: Sequence[str], *, group_rows: int = GROUP_ROWS
    ) -> None:
        self._group_rows = group_rows
        self._schema = pa.schema(
            [pa.field(TIME_COLUMN, pa.int64(), nullable=False)]
            + [pa.field(name, pa.float64(), nullable=False) for name in fields]
        )
        self._parquet = pq.ParquetWriter(
            file,
            self._schema,
            compression="zstd",
            # Steps between times are small and alike; values repeat.
            use_dictionary=list(fields),
            column_encoding={TIME_COLUMN: "DELTA_BINARY_PACKED"},
            write_statistics=[TIME_COLUMN],
            write_page_checksum=True,
        )

    def write(self, rows: Rows) -> None:
        """Add rows that follow all those before."""
        self.write_columns(rows.at_us, rows.values.T)

    def write_columns(self, at_us: NDArray[np.int64], columns: Iterable[Column]) -> None:
        """Add rows that follow all those before, field by field."""
        arrays = [pa.array(at_us), *(pa.array(column) for column in columns)]
        table = pa.table(arrays, schema=self._schema)
        self._parquet.write_table(table, row_group_size=self._group_rows)

    def close(self) -> None:
        """Write the end of the file."""
        self._parquet.close()
