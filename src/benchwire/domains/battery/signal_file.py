"""The Parquet of one cleaned signal: written in order, read a part at a time."""

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchwire.domains.battery.samples import Samples, joined

GROUP_ROWS = 65_536
_SCHEMA = pa.schema(
    [pa.field("at_us", pa.int64(), nullable=False), pa.field("value", pa.float64(), nullable=False)]
)


class SignalWriter:
    """Writes samples that come in order; every row group but the last is full."""

    def __init__(self, file: BinaryIO, *, group_rows: int = GROUP_ROWS) -> None:
        self._group_rows = group_rows
        self._waiting: list[Samples] = []
        self._waiting_rows = 0
        self._parquet = pq.ParquetWriter(
            file,
            _SCHEMA,
            compression="zstd",
            # Steps between times are small and alike; values repeat.
            use_dictionary=["value"],
            column_encoding={"at_us": "DELTA_BINARY_PACKED"},
            write_page_checksum=True,
        )

    def write(self, samples: Samples) -> None:
        """Add samples that follow all those before."""
        self._waiting.append(samples)
        self._waiting_rows += len(samples)
        full = self._waiting_rows - self._waiting_rows % self._group_rows
        if full:
            whole = joined(self._waiting)
            self._put(Samples(whole.at_us[:full], whole.values[:full]))
            self._waiting = [Samples(whole.at_us[full:].copy(), whole.values[full:].copy())]
            self._waiting_rows -= full

    def close(self) -> None:
        """Write what is left and the end of the file."""
        if self._waiting_rows:
            self._put(joined(self._waiting))
            self._waiting, self._waiting_rows = [], 0
        self._parquet.close()

    def _put(self, samples: Samples) -> None:
        table = pa.table([pa.array(samples.at_us), pa.array(samples.values)], schema=_SCHEMA)
        self._parquet.write_table(table, row_group_size=self._group_rows)


class SignalFile:
    """A cleaned signal on the disk; only the row groups asked for are in memory.

    Parameters
    ----------
    starts_us, ends_us : (G,) int64
        First and last time of each row group.
    counts : (G,) int64
        Their rows.
    """

    def __init__(self, path: Path) -> None:
        self._parquet = pq.ParquetFile(path, page_checksum_verification=True)
        metadata = self._parquet.metadata
        self.rows: int = metadata.num_rows
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        times = [group.column(0).statistics for group in groups]
        self.starts_us = np.array([time.min for time in times], np.int64)
        self.ends_us = np.array([time.max for time in times], np.int64)
        self.counts = np.array([group.num_rows for group in groups], np.int64)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._parquet.close()

    def groups(self, start_us: int, end_us: int) -> range:
        """Return which row groups may have samples from a time to another, both included."""
        first = int(np.searchsorted(self.ends_us, start_us, "left"))
        return range(first, max(first, int(np.searchsorted(self.starts_us, end_us, "right"))))

    def group(self, number: int) -> Samples:
        """Return the samples of one row group."""
        table = self._parquet.read_row_group(number, use_threads=False)
        return Samples(table.column(0).to_numpy(), table.column(1).to_numpy())
