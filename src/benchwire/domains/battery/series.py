"""One signal of one device: where its samples are, recorded and live, and how they are read."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchwire.domains.battery.rows import ROWS_AT_ONCE, Rows, RowsFile, Source, merged
from benchwire.domains.battery.samples import Samples, joined

_VALUE = "value"


@dataclass(frozen=True, slots=True)
class SignalSource:
    """Where the samples of a signal are; small enough to be handed to a worker process.

    Parameters
    ----------
    recorded
        File of what was recorded, which wins at equal times; its nulls are samples.
    live
        Files of live readings and the field in them; what a reading lacks is no sample.
    tail
        Live samples that are in no file yet.
    """

    recorded: Path | None = None
    live: tuple[tuple[Path, str], ...] = ()
    tail: Samples = field(default_factory=Samples.none)

    def parts(self, start_us: int | None = None, end_us: int | None = None) -> Iterator[Samples]:
        """Yield the samples from a time on and before another, part by part."""
        with self._files() as (recorded, live):
            sources: list[Source] = [*recorded, *map(_Measured, live)]
            sources.append(Rows(self.tail.at_us, self.tail.values[:, np.newaxis]))
            for part in merged(sources, start_us, end_us, rows_at_once=ROWS_AT_ONCE):
                yield part.column(0)

    def samples(self, start_us: int | None = None, end_us: int | None = None) -> Samples:
        """Return the samples from a time on and before another, in one piece."""
        return joined(list(self.parts(start_us, end_us)))

    def span(self) -> tuple[int, int] | None:
        """Return the first and the last time, None without samples."""
        with self._files() as (recorded, live):
            times = [at for file in (*recorded, *live) for at in (file.first_us, file.last_us)]
        known = [at for at in times if at is not None]
        known += self.tail.at_us[[0, -1]].tolist() if len(self.tail) else []
        return (min(known), max(known)) if known else None

    def count(self, start_us: int | None = None, end_us: int | None = None) -> int:
        """Return how many samples there are at most from a time on and before another."""
        with self._files() as (recorded, live):
            of_files = sum(file.count(start_us, end_us) for file in (*recorded, *live))
        return of_files + len(self.tail.between(start_us, end_us))

    @contextmanager
    def _files(self) -> Iterator[tuple[list[RowsFile], list[RowsFile]]]:
        with ExitStack() as stack:
            recorded = [] if self.recorded is None else [RowsFile(self.recorded, (_VALUE,))]
            live = [RowsFile(path, (name,)) for path, name in self.live]
            for file in (*recorded, *live):
                stack.enter_context(closing(file))
            yield recorded, live


class _Measured:
    """The rows of a file in which its one field was measured."""

    def __init__(self, file: RowsFile) -> None:
        self._file = file

    @property
    def spans(self) -> list[tuple[int, int]]:
        return self._file.spans

    def between(self, start_us: int | None, end_us: int | None) -> Rows:
        rows = self._file.between(start_us, end_us)
        return rows.take(~np.isnan(rows.values[:, 0]))
