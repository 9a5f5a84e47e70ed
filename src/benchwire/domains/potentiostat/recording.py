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
# More than any run has: a longer interval makes one row.
_MOST_POINTS_PER_ROW = 1e15

Table = dict[str, NDArray[np.float64]]


class DiskFailed(Unavailable):
    """The samples cannot be written."""

    code = "storage.disk_full"


def points_per_row(interval: float | None, period: float) -> int:
    """Return how many points go into a row of ``interval`` s; None keeps every point."""
    if interval is None:
        return 1
    return max(1, round(min(interval / period, _MOST_POINTS_PER_ROW)))


class Thinner:
    """Averages a number of consecutive points into one row.

    A row's time is that of its first point. A block ends early where the cycle or step changes, as
    a mean across the change would belong to neither; the rest at the end is averaged too.

    Only the sum of a block that is not full yet is kept, so that a point costs the same however
    long a row is. The last digits of a mean depend on the pieces in which its points came.

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
        # One row of sums, and how many points are in it.
        self._held: Table = {}
        self._size = 0

    def feed(self, points: Table) -> Table:
        """Return the rows that are complete with these points; each value is (n,) float64."""
        length = len(next(iter(points.values())))
        if self._factor == 1 or length == 0:
            return points
        starts = self._block_starts(points, length)
        sums = {
            name: values[starts]
            if self._is_taken_from_first(name)
            else np.add.reduceat(values, starts)
            for name, values in points.items()
        }
        sizes = np.diff(starts, append=length)
        if self._goes_on(points):
            for name, held in self._held.items():
                taken = self._is_taken_from_first(name)
                sums[name][0] = held[0] if taken else held[0] + sums[name][0]
            sizes[0] += self._size
        elif self._held:
            sums = {name: np.append(self._held[name], values) for name, values in sums.items()}
            sizes = np.append(self._size, sizes)
        # The last block may still grow, so it waits for more points.
        count = len(sizes) if sizes[-1] == self._factor else len(sizes) - 1
        self._held = {name: values[count:] for name, values in sums.items() if count < len(sizes)}
        self._size = int(sizes[count:].sum())
        return self._means({name: values[:count] for name, values in sums.items()}, sizes[:count])

    def finish(self) -> Table:
        """Return the row of what is left; empty when nothing is."""
        rest = self._means(self._held, np.array([self._size]))
        self._held, self._size = {}, 0
        return rest

    def _means(self, sums: Table, sizes: NDArray[np.intp]) -> Table:
        return {
            name: values if self._is_taken_from_first(name) else values / sizes
            for name, values in sums.items()
        }

    def _is_taken_from_first(self, name: str) -> bool:
        return name in {"Time (s)", self._mark}

    def _goes_on(self, points: Table) -> bool:
        """Whether the first of these points belongs to the block that is not full yet."""
        if not self._held:
            return False
        mark = self._mark
        return mark is None or mark not in points or points[mark][0] == self._held[mark][0]

    def _block_starts(self, points: Table, length: int) -> NDArray[np.intp]:
        edges = [0]
        if self._mark is not None and self._mark in points:
            edges += (np.flatnonzero(np.diff(points[self._mark])) + 1).tolist()
        edges.append(length)
        starts = [np.arange(start, stop, self._factor) for start, stop in pairwise(edges)]
        if self._goes_on(points):
            starts[0] = np.maximum(np.arange(-self._size, edges[1], self._factor), 0)
        return np.concatenate(starts)


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
