"""One signal of one device: where its samples are, recorded and live, and how they are read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchwire.domains.battery.rows import ROWS_AT_ONCE, Rows, RowsFile, Source, merged
from benchwire.domains.battery.samples import Samples, joined


@dataclass(frozen=True, slots=True)
class SignalSource:
    """Where the samples of a signal are; small enough to be handed to a worker process.

    Parameters
    ----------
    files
        Parquet files and the column in each; the earlier wins at equal times.
    tail
        Samples that are in no file yet.
    """

    files: tuple[tuple[Path, str], ...]
    tail: Samples | None = None

    def parts(
        self, start_us: int | None = None, end_us: int | None = None, *, rows: int = ROWS_AT_ONCE
    ) -> Iterator[Samples]:
        """Yield the samples from a time on and before another, part by part."""
        files = [RowsFile(path, (column,)) for path, column in self.files]
        sources: list[Source] = [*files]
        if self.tail is not None and len(self.tail):
            sources.append(Rows(self.tail.at_us, self.tail.values[:, np.newaxis]))
        try:
            for part in merged(sources, start_us, end_us, rows_at_once=rows):
                yield part.column(0)
        finally:
            for file in files:
                file.close()

    def samples(self, start_us: int | None = None, end_us: int | None = None) -> Samples:
        """Return the samples from a time on and before another, in one piece."""
        return joined(list(self.parts(start_us, end_us)))

    def span(self) -> tuple[int, int, int] | None:
        """Return the first and last time, and how many samples there are at most."""
        files = [RowsFile(path, (column,)) for path, column in self.files]
        ends = [(item.first_us, item.last_us) for item in files if len(item)]
        count = sum(map(len, files))
        for file in files:
            file.close()
        if self.tail is not None and len(self.tail):
            ends.append((int(self.tail.at_us[0]), int(self.tail.at_us[-1])))
            count += len(self.tail)
        if not ends:
            return None
        return (
            min(a for a, _ in ends if a is not None),
            max(b for _, b in ends if b is not None),
            count,
        )
