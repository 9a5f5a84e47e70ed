"""Rows in time order: a Parquet file of them, some in memory, and several of these as one.

Everything here is read by position or by time without touching more than the parts asked for, so
neither the length of a file nor the place in it matters.
"""

import itertools
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.errors import FileDamaged
from benchwire.domains.battery.samples import Samples

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 262_144
TIME_COLUMN = "at_us"
_ROWS_PER_PART = 4_096
_TIMES_KEPT = 64


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows, at strictly ascending times.

    Parameters
    ----------
    at_us : (N,) int64
        Microseconds since 1970 UTC.
    values : (N, F) float64
        One column per field; NaN where nothing was measured.
    """

    at_us: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.at_us)

    @classmethod
    def none(cls, fields: int) -> "Rows":
        """Return no rows."""
        return cls(np.empty(0, np.int64), np.empty((0, fields)))

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where parts that can be had alone begin, and how many rows each has."""
        return [(int(self.at_us[0]), len(self))] if len(self) else []

    def between(self, start_us: int | None, end_us: int | None) -> "Rows":
        """Return the rows from a time on and before another; None leaves that side open."""
        lo = 0 if start_us is None else int(np.searchsorted(self.at_us, start_us))
        hi = len(self) if end_us is None else int(np.searchsorted(self.at_us, end_us))
        return Rows(self.at_us[lo:hi], self.values[lo:hi])

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> "Rows":
        """Return the rows at some places."""
        return Rows(self.at_us[index], self.values[index])

    def known(self) -> NDArray[np.intp]:
        """Return how many values each field has."""
        counts: NDArray[np.intp] = np.sum(~np.isnan(self.values), axis=0)
        return counts

    def column(self, number: int) -> Samples:
        """Return one field of the rows."""
        return Samples(self.at_us, np.ascontiguousarray(self.values[:, number]))


class Source(Protocol):
    """Rows that can be had by time."""

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where parts that can be had alone begin (us), and how many rows each has."""

    def between(self, start_us: int | None, end_us: int | None) -> Rows:
        """Return the rows from a time on and before another."""


class RowsFile:
    """Rows in a Parquet file with a column of times, read part by part; any thread may read.

    Parameters
    ----------
    fields
        The columns to read; one that the file lacks is never measured.
    """

    def __init__(self, path: Path, fields: Sequence[str]) -> None:
        import pyarrow.parquet as pq

        self.path = path
        with self._damage_told():
            self._file = pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)
        self._lock = threading.Lock()
        self._known_times: dict[int, NDArray[np.int64]] = {}
        known = set(self._file.schema_arrow.names)
        self._columns = [field for field in fields if field in known]
        self._places = [place for place, field in enumerate(fields) if field in known]
        self._width = len(fields)
        metadata = self._file.metadata
        # An empty file may have one row group without rows, and then without statistics.
        parts = range(metadata.num_row_groups if metadata.num_rows else 0)
        groups = [metadata.row_group(number) for number in parts]
        counts = np.array([group.num_rows for group in groups], np.int64)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        times = [group.column(0).statistics for group in groups]
        self._firsts = np.array([item.min for item in times], np.int64)
        self._lasts = np.array([item.max for item in times], np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def first_us(self) -> int | None:
        """The first row's time."""
        return int(self._firsts[0]) if len(self) else None

    @property
    def last_us(self) -> int | None:
        """The last row's time."""
        return int(self._lasts[-1]) if len(self) else None

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where the file's row groups begin, and how many rows each has."""
        return list(zip(self._firsts.tolist(), np.diff(self._starts).tolist(), strict=True))

    def rank(self, at_us: int) -> int:
        """Return how many rows are before a time."""
        group = int(np.searchsorted(self._lasts, at_us))
        if group == len(self._lasts):
            return len(self)
        if at_us <= self._firsts[group]:
            return int(self._starts[group])
        return int(self._starts[group]) + int(np.searchsorted(self._times(group), at_us))

    def ranks(self, at_us: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return how many rows are before each of some times, and whether there is one at it."""
        groups = np.searchsorted(self._lasts, at_us)
        found = np.full(len(at_us), len(self), np.int64)
        exists = np.zeros(len(at_us), bool)
        for group in np.unique(groups[groups < len(self._lasts)]):
            here = np.flatnonzero(groups == group)
            times = self._times(int(group))
            place = np.searchsorted(times, at_us[here])
            found[here] = self._starts[group] + place
            exists[here] = times[place] == at_us[here]
        return found, exists

    def read(self, start: int, stop: int) -> Rows:
        """Return the rows from one position on and before another."""
        start, stop = max(start, 0), min(stop, len(self))
        if start >= stop:
            return Rows.none(self._width)
        first = int(np.searchsorted(self._starts, start, "right")) - 1
        last = int(np.searchsorted(self._starts, stop, "left"))
        columns = [TIME_COLUMN, *self._columns]
        with self._lock, self._damage_told():
            table = self._file.read_row_groups(
                list(range(first, last)), columns=columns, use_threads=False
            )
        table = table.slice(start - int(self._starts[first]), stop - start)
        values = np.full((stop - start, self._width), np.nan)
        for place, field in zip(self._places, self._columns, strict=True):
            values[:, place] = table.column(field).to_numpy()
        return Rows(table.column(TIME_COLUMN).to_numpy(), values)

    def between(self, start_us: int | None, end_us: int | None) -> Rows:
        """Return the rows from a time on and before another; None leaves that side open."""
        start = 0 if start_us is None else self.rank(start_us)
        stop = len(self) if end_us is None else self.rank(end_us)
        return self.read(start, stop)

    def count(self, start_us: int | None, end_us: int | None) -> int:
        """Return how many rows there are from a time on and before another."""
        start = 0 if start_us is None else self.rank(start_us)
        return max((len(self) if end_us is None else self.rank(end_us)) - start, 0)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._file.close()

    @contextmanager
    def _damage_told(self) -> Iterator[None]:
        """Turn what the library says of a damaged file into one error.

        A sound file may be out of reach for a moment, or too much for the memory there is.
        """
        from pyarrow import ArrowException

        try:
            yield
        except FileNotFoundError:
            raise FileDamaged(self.path) from None
        except MemoryError:
            raise
        except (ArrowException, OSError, ValueError) as error:
            # What the library finds wrong in a file has no number; what the system refuses has.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            logger.error("%s is damaged: %s", self.path, error)
            raise FileDamaged(self.path) from error

    def _times(self, group: int) -> NDArray[np.int64]:
        """Return the times of a row group; late readings ask for the same ones again and again."""
        with self._lock:
            times = self._known_times.get(group)
            if times is None:
                with self._damage_told():
                    table = self._file.read_row_group(
                        group, columns=[TIME_COLUMN], use_threads=False
                    )
                while len(self._known_times) >= _TIMES_KEPT:
                    del self._known_times[next(iter(self._known_times))]
                times = self._known_times[group] = table.column(TIME_COLUMN).to_numpy()
            return times


def merged(
    sources: Sequence[Source],
    start_us: int | None = None,
    end_us: int | None = None,
    *,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[Rows]:
    """Yield the rows of several sources in time order, part by part.

    Where two have a row at the same time, the earlier of the sources wins. Memory depends on
    ``rows_at_once`` and on how many sources overlap in time, not on how long they are.
    """
    spans = sorted(span for source in sources for span in source.spans)
    cuts: list[int] = []
    gathered = 0
    for first_us, rows in spans:
        if gathered + rows > rows_at_once and gathered:
            cuts.append(first_us)
            gathered = 0
        gathered += rows
    inside = [
        cut
        for cut in dict.fromkeys(cuts)
        if (start_us is None or cut > start_us) and (end_us is None or cut < end_us)
    ]
    bounds = [start_us, *inside, end_us]
    for lo, hi in itertools.pairwise(bounds):
        part = joined(source.between(lo, hi) for source in sources)
        if part is not None and len(part):
            yield part


def joined(parts: Iterable[Rows]) -> Rows | None:
    """Return several pieces as one in time order; the earlier piece wins at equal times."""
    filled = [part for part in parts if len(part)]
    if len(filled) <= 1:
        return filled[0] if filled else None
    at_us = np.concatenate([part.at_us for part in filled])
    values = np.concatenate([part.values for part in filled])
    if (np.diff(at_us) > 0).all():
        return Rows(at_us, values)
    order = np.argsort(at_us, kind="stable")
    ordered = at_us[order]
    first = np.concatenate([[True], np.diff(ordered) > 0])
    return Rows(ordered[first], values[order[first]])


class Timeline:
    """All rows of a device's group at one moment: a file's, and those that came since.

    It never changes; `with_tail` gives the next one, so whoever reads goes on undisturbed.

    Parameters
    ----------
    fields
        Names of the values, in order.
    file
        What is in Parquet, if anything.
    tail
        What is not there yet.
    """

    def __init__(
        self,
        fields: Sequence[str],
        file: RowsFile | None,
        tail: Rows | None = None,
        *,
        version: int = 0,
    ) -> None:
        self.fields = tuple(fields)
        self.file = file
        self.version = version
        tail = Rows.none(len(self.fields)) if tail is None else tail
        if file is None:
            self._before, exists = np.zeros(len(tail), np.int64), np.zeros(len(tail), bool)
        else:
            self._before, exists = file.ranks(tail.at_us)
        if exists.any():
            tail, self._before = tail.take(~exists), self._before[~exists]
        self.tail = tail
        # Where the tail's rows stand among all.
        self._places = self._before + np.arange(len(tail))

    def __len__(self) -> int:
        return (len(self.file) if self.file else 0) + len(self.tail)

    @property
    def first_us(self) -> int | None:
        """The first row's time."""
        ends = [self.file.first_us if self.file else None, *self.tail.at_us[:1].tolist()]
        return min((at for at in ends if at is not None), default=None)

    @property
    def last_us(self) -> int | None:
        """The last row's time."""
        ends = [self.file.last_us if self.file else None, *self.tail.at_us[-1:].tolist()]
        return max((at for at in ends if at is not None), default=None)

    def rank(self, at_us: int) -> int:
        """Return how many rows are before a time."""
        before = int(np.searchsorted(self.tail.at_us, at_us))
        return before + (self.file.rank(at_us) if self.file else 0)

    def exists(self, at_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether there is a row at each of some times."""
        found = np.isin(at_us, self.tail.at_us)
        return found | self.file.ranks(at_us)[1] if self.file else found

    def read(self, start: int, stop: int) -> Rows:
        """Return the rows from one position on and before another."""
        start, stop = max(start, 0), min(stop, len(self))
        if start >= stop:
            return Rows.none(len(self.fields))
        lo, hi = (int(np.searchsorted(self._places, place)) for place in (start, stop))
        late = self.tail.take(slice(lo, hi))
        if self.file is None or stop - hi <= start - lo:
            return late
        found = joined([self.file.read(start - lo, stop - hi), late])
        assert found is not None  # noqa: S101 - start is below stop
        return found

    def parts(self, start: int, stop: int) -> Iterator[Rows]:
        """Yield the rows from one position on and before another, part by part."""
        for begin in range(start, stop, _ROWS_PER_PART):
            yield self.read(begin, min(begin + _ROWS_PER_PART, stop))

    def with_tail(self, tail: Rows, *, version: int) -> "Timeline":
        """Return the timeline with another tail."""
        return Timeline(self.fields, self.file, tail, version=version)
