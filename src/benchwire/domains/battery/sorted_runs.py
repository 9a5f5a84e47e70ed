"""Samples that come in any order, put in order on the disk.

As long as they follow each other in time they go straight to one file. Where they do not, a new run
begins in a file of its own. In the end the runs are merged; of samples with the same time that of
the earliest run stays, which is the one that came first.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import numpy as np

from benchwire.domains.battery.samples import Samples, joined
from benchwire.domains.battery.signal_file import GROUP_ROWS, SignalFile, SignalWriter
from benchwire.domains.battery.signal_report import Intervals, SignalReport

MERGED_RUNS = 16
_MERGED_ROWS = 262_144


class SortedRuns:
    """Samples in runs, each in order, in files of their own until they are merged.

    Parameters
    ----------
    folder
        For the files; whoever made it removes it.
    group_rows
        Rows of a row group.
    merged_runs
        How many runs are merged at once; of each a row group is in memory.
    """

    def __init__(
        self, folder: Path, *, group_rows: int = GROUP_ROWS, merged_runs: int = MERGED_RUNS
    ) -> None:
        self._folder = folder
        self._group_rows = group_rows
        self._merged_runs = merged_runs
        self._done: list[tuple[Path, SignalReport]] = []
        self._current: _Run | None = None
        self._files = 0
        self._latest: int | None = None
        self.unsorted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def add(self, samples: Samples) -> None:
        """Take the next samples, in whatever order."""
        at_us = samples.at_us
        if not len(at_us):
            return
        latest = at_us if self._latest is None else np.append(self._latest, at_us)
        if not (np.diff(latest) > 0).all():
            highest = np.maximum.accumulate(latest)
            self.unsorted += int(np.count_nonzero(latest < highest))
            self._latest = int(highest[-1])
            samples = in_order(samples)
        else:
            self._latest = int(at_us[-1])
        if self._current is not None and (last := self._current.last_us) is not None:
            if samples.at_us[0] < last:
                self._end()
            elif samples.at_us[0] == last:
                samples = Samples(samples.at_us[1:], samples.values[1:])
        if self._current is None:
            self._current = self._run()
        self._current.write(samples)

    def merged(self) -> tuple[Path, SignalReport]:
        """Return the file with all samples, safe on the disk, and what is in it."""
        if self._current is None and not self._done:
            self._current = self._run()
        self._end()
        while len(self._done) > 1:
            runs, self._done = self._done, []
            for first in range(0, len(runs), self._merged_runs):
                paths = [path for path, _ in runs[first : first + self._merged_runs]]
                self._current = self._run()
                for samples in _merge(paths):
                    self._current.write(samples)
                self._end()
                for path in paths:
                    path.unlink()
        path, report = self._done[0]
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return path, report

    def _run(self) -> "_Run":
        self._files += 1
        return _Run(self._folder / f"{self._files}.parquet", self._group_rows)

    def _end(self) -> None:
        ended, self._current = self._current, None
        if ended is not None:
            self._done.append((ended.path, ended.close()))


class _Run:
    """Samples in order on their way to a file."""

    def __init__(self, path: Path, group_rows: int) -> None:
        self.path = path
        self.last_us: int | None = None
        self._first_us: int | None = None
        self._rows = self._nulls = 0
        self._intervals = Intervals()
        self._file = path.open("wb")
        self._writer = SignalWriter(self._file, group_rows=group_rows)

    def write(self, samples: Samples) -> None:
        if not len(samples):
            return
        self._writer.write(samples)
        at_us = samples.at_us
        if self.last_us is None:
            self._first_us = int(at_us[0])
            self._intervals.add(np.diff(at_us))
        else:
            self._intervals.add(np.diff(at_us, prepend=self.last_us))
        self.last_us = int(at_us[-1])
        self._rows += len(samples)
        self._nulls += int(np.count_nonzero(np.isnan(samples.values)))

    def close(self) -> SignalReport:
        with self._file:
            self._writer.close()
        gaps, longest_gap_s = self._intervals.gaps()
        return SignalReport(
            rows=self._rows,
            nulls=self._nulls,
            gaps=gaps,
            longest_gap_s=longest_gap_s,
            median_interval_s=self._intervals.median_s(),
            first_us=self._first_us,
            last_us=self.last_us,
        )


def in_order(samples: Samples) -> Samples:
    """Return samples by time; of those with the same time only the first."""
    at_us, values = samples.at_us, samples.values
    if (np.diff(at_us) < 0).any():
        order = np.argsort(at_us, kind="stable")
        at_us, values = at_us[order], values[order]
    is_first = np.ones(len(at_us), np.bool_)
    np.not_equal(at_us[1:], at_us[:-1], out=is_first[1:])
    return Samples(at_us[is_first], values[is_first])


def _merge(paths: Sequence[Path]) -> Iterator[Samples]:
    """Yield the samples of runs in order; of those with the same time, that of the first run."""
    with ExitStack() as stack:
        runs = [stack.enter_context(SignalFile(path)) for path in paths]
        groups = sorted(
            (int(start), run, group)
            for run, file in enumerate(runs)
            for group, start in enumerate(file.starts_us)
        )
        waiting: dict[int, list[Samples]] = {run: [] for run in range(len(runs))}
        rows, enough = 0, _MERGED_ROWS
        for number, (_, run, group) in enumerate(groups):
            waiting[run].append(runs[run].group(group))
            rows += len(waiting[run][-1])
            is_last = number + 1 == len(groups)
            if rows < enough and not is_last:
                continue
            # What is earlier than all groups still on the disk is complete.
            until = None if is_last else groups[number + 1][0]
            held = [joined(parts) for parts in waiting.values()]
            yield in_order(joined([samples.between(None, until) for samples in held]))
            left = [samples.between(until, None) for samples in held] if until is not None else []
            # Copies, as a part of an array keeps all of it in memory.
            waiting = {
                run: [Samples(part.at_us.copy(), part.values.copy())]
                for run, part in enumerate(left)
            }
            rows = sum(map(len, left))
            enough = rows + _MERGED_ROWS
