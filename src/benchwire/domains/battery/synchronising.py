"""The signals of a group written as rows on one timeline, a part at a time."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.rows_writer import GROUP_ROWS, RowsWriter
from benchwire.domains.battery.samples import joined
from benchwire.domains.battery.signal_file import SignalFile
from benchwire.domains.battery.timeline import nearest
from benchwire.foundation.files import whole_file

if TYPE_CHECKING:
    from benchwire.domains.battery.samples import Samples

# Written together; a multiple of the rows of a row group.
CHUNK_ROWS = 131_072
# Samples of one signal in memory while a part is written.
MOST_SAMPLES = 1_000_000
_THREADS = 2


def write_timeline(
    path: Path,
    signals: Mapping[str, Path | None],
    master: str | None,
    *,
    tolerance_us: int,
    on_part: Callable[[float], None] = lambda _: None,
    chunk_rows: int = CHUNK_ROWS,
    group_rows: int = GROUP_ROWS,
) -> None:
    """Write the rows of a group as Parquet: ``at_us``, then every field, NaN for null.

    Parameters
    ----------
    signals
        The cleaned file of each field, in order; None where there is none.
    master
        The field whose times are the timeline; None for no rows.
    on_part
        Called with the part done; what it raises stops the work.
    """
    with (
        whole_file(path) as file,
        closing(RowsWriter(file, list(signals), group_rows=group_rows)) as writer,
        ExitStack() as stack,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        windows = {
            name: _Window(stack.enter_context(SignalFile(signal)), tolerance_us)
            for name, signal in signals.items()
            if signal is not None
        }
        if master is None:
            return
        timeline = windows[master].file
        done = 0
        for chunk in _chunks(timeline, chunk_rows):
            columns = pool.map(partial(_column, chunk), map(windows.get, signals))
            writer.write_columns(chunk, columns)
            done += len(chunk)
            on_part(done / timeline.rows)


def _column(timeline_us: NDArray[np.int64], window: "_Window | None") -> NDArray[np.float64]:
    if window is None:
        return np.full(len(timeline_us), np.nan)
    return window.nearest(timeline_us)


class _Window:
    """The samples of a signal around the part of the timeline that is being written."""

    def __init__(self, file: SignalFile, tolerance_us: int) -> None:
        self.file = file
        self._tolerance_us = tolerance_us
        self._groups: dict[int, Samples] = {}

    def nearest(self, timeline_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the values at the times of the next part."""
        groups = self.file.groups(
            int(timeline_us[0]) - self._tolerance_us, int(timeline_us[-1]) + self._tolerance_us
        )
        samples = int(self.file.counts[groups.start : groups.stop].sum())
        if samples > MOST_SAMPLES and len(timeline_us) > 1:
            # The timeline has a hole here in which this signal goes on.
            half = len(timeline_us) // 2
            return np.concatenate(
                (self.nearest(timeline_us[:half]), self.nearest(timeline_us[half:]))
            )
        self._groups = {
            group: self._groups[group] if group in self._groups else self.file.group(group)
            for group in groups
        }
        return nearest(timeline_us, joined(list(self._groups.values())), self._tolerance_us)


def _chunks(file: SignalFile, rows: int) -> Iterator[NDArray[np.int64]]:
    """Yield the times of a signal, so many at once."""
    times = np.empty(0, np.int64)
    for group in range(len(file.counts)):
        times = np.concatenate((times, file.group(group).at_us))
        while len(times) >= rows:
            yield times[:rows]
            times = times[rows:]
    if len(times):
        yield times
