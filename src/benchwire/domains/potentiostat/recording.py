"""Samples on their way to the disk: thinned if asked for, written as rows while they come.

A row is at most one second away from the disk: rows are handed to the operating system in blocks
and synchronised once a second, whatever the sampling rate.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import Unavailable
from benchwire.foundation.files import sync_folder

SYNC_SECONDS = 1.0
_LINE_END = "\r\n"
# Single-precision readings are kept without loss: 9 significant digits. Times are multiples of
# 10 us, marks are whole numbers unless a client reads them as text.
_FORMATS = {
    "Time (s)": "%.5f",
    "Potential (V)": "%.7f",
    "Current (A)": "%.8e",
    "Cycle": "%.1f",
    "Step": "%.1f",
    "Exp": "%.1f",
    "Applied potential (V)": "%.7f",
    "Applied current (A)": "%.8e",
}
_ANY_NUMBER = "%.9e"

Table = dict[str, NDArray[np.float64]]


class DiskFailed(Unavailable):
    """The samples cannot be written."""

    code = "storage.disk_full"


class Thinner:
    """Averages a number of consecutive points into one row.

    A row's time is that of its first point. A block ends early where the cycle or step changes, as
    a mean across the change would belong to neither; the rest at the end is averaged too.

    Parameters
    ----------
    factor
        Points per row; 1 passes everything through.
    mark
        Name of the column that holds the cycle or step.
    """

    def __init__(self, factor: int, mark: str | None = None) -> None:
        self._factor = max(1, factor)
        self._mark = mark
        self._held: Table = {}

    def feed(self, points: Table) -> Table:
        """Return the rows that are complete with these points; each value is (n,) float64."""
        if self._factor == 1:
            return points
        return self._rows(points, final=False)

    def finish(self) -> Table:
        """Return the row of what is left; empty when nothing is."""
        if not self._held:
            return {}
        return self._rows({}, final=True)

    def _rows(self, points: Table, *, final: bool) -> Table:
        names = points.keys() or self._held.keys()
        held = self._held
        whole = {
            name: np.concatenate([held[name], points[name]])
            if held and points
            else (points or held)[name]
            for name in names
        }
        length = len(next(iter(whole.values())))
        starts = self._block_starts(whole, length)
        # The last block may still grow, so it waits for more points.
        last_is_full = length - starts[-1] == self._factor if len(starts) else True
        keep_from = length if final or last_is_full else int(starts[-1])
        starts = starts[starts < keep_from]
        self._held = (
            {name: values[keep_from:] for name, values in whole.items()}
            if keep_from < length
            else {}
        )
        if not len(starts):
            return {name: values[:0] for name, values in whole.items()}
        sizes = np.diff(np.append(starts, keep_from))
        return {
            name: values[starts]
            if name in {"Time (s)", self._mark}
            else np.add.reduceat(values[:keep_from], starts) / sizes
            for name, values in whole.items()
        }

    def _block_starts(self, whole: Table, length: int) -> NDArray[np.intp]:
        if length == 0:
            return np.empty(0, np.intp)
        edges = [0]
        if self._mark is not None and self._mark in whole:
            edges += (np.flatnonzero(np.diff(whole[self._mark])) + 1).tolist()
        edges.append(length)
        return np.concatenate(
            [np.arange(start, stop, self._factor) for start, stop in pairwise(edges)]
        )


@dataclass(slots=True)
class CsvFile:
    """A CSV file that grows row by row and survives whatever ends the program.

    Parameters
    ----------
    columns
        The header, in order.
    """

    path: Path
    columns: Sequence[str]
    clock: Clock
    rows: int = 0
    _file: BinaryIO | None = None
    _synced: float = 0.0

    def open(self) -> None:
        """Make the file with its header; it must not exist.

        Raises
        ------
        DiskFailed
            The folder cannot take it; no file without a header is left.
        """
        try:
            self._file = self.path.open("xb", buffering=0)
            self._write((",".join(self.columns) + _LINE_END).encode("ascii"))
            # Rows are safe by their own syncs, and lost all the same while the name is not.
            sync_folder(self.path.parent)
        except OSError as error:
            if self._file is not None:
                self._file.close()
                self._file = None
                with contextlib.suppress(OSError):
                    self.path.unlink()
            raise _disk_failed(error) from error
        self._synced = self.clock.monotonic()

    def append(self, table: Table) -> None:
        """Write rows; each column is (n,) float64.

        Raises
        ------
        DiskFailed
            The disk is full or gone; the file ends with a whole row.
        """
        if not table:
            return
        count = len(next(iter(table.values())))
        if count == 0:
            return
        row = ",".join(_FORMATS.get(name, _ANY_NUMBER) for name in self.columns) + _LINE_END
        values = np.column_stack([table[name] for name in self.columns])
        text = (row * count) % tuple(values.ravel().tolist())
        try:
            self._write(text.encode("ascii"))
            self.rows += count
            now = self.clock.monotonic()
            if now - self._synced >= SYNC_SECONDS:
                self._sync()
                self._synced = now
        except OSError as error:
            raise _disk_failed(error) from error

    def close(self) -> None:
        """Bring the last rows to the disk and close the file.

        Raises
        ------
        DiskFailed
            They did not get there.
        """
        if self._file is None:
            return
        try:
            self._sync()
        except OSError as error:
            raise _disk_failed(error) from error
        finally:
            self._file.close()
            self._file = None

    def _write(self, content: bytes) -> None:
        file = self._file
        assert file is not None  # noqa: S101 - opened by its owner
        start = file.tell()
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            # A full disk takes part of a row; half a row would read as a wrong number.
            file.truncate(start + content.rfind(b"\n", 0, file.tell() - start) + 1)
            raise

    def _sync(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())


def drop_half_row(path: Path) -> None:
    """Cut a CSV file after its last whole row, as a crash may have left half of one."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        tail_start = max(0, size - 4096)
        file.seek(tail_start)
        tail = file.read()
        end = tail_start + tail.rfind(b"\n") + 1
        if end != size:
            file.truncate(end)
            os.fsync(file.fileno())


def _disk_failed(error: OSError) -> DiskFailed:
    return DiskFailed(
        f"The samples could not be written: {error.strerror or 'disk failure'}",
        hint="Free space on the disk of the runs folder.",
    )
