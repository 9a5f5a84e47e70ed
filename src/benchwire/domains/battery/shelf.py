"""What is known of one device's group: its rows, and how far the reading of them is."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchwire.domains.battery.dataset import Recording
from benchwire.domains.battery.recorded import Recorded
from benchwire.domains.battery.rows import Rows, Timeline
from benchwire.foundation.errors import BenchwireError


@dataclass(slots=True)
class Shelf:
    """The rows of a device's group.

    Parameters
    ----------
    tail
        Live readings that are in the database alone.
    segments
        Files of live readings.
    timeline
        All rows, once they have been read.
    made_of
        The recording they were read from.
    live_values
        How many values the files of live readings have, by field.
    """

    tail: Rows
    segments: tuple[Path, ...] = ()
    timeline: Timeline | None = None
    recorded: Recorded | None = None
    made_of: Recording | None = None
    live_values: Mapping[str, int] = field(default_factory=dict)
    progress: float = 0.0
    failure: BenchwireError | None = None
    failed_at: float = float("-inf")
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def is_live(self) -> bool:
        """Whether any of it came live."""
        return bool(self.segments) or len(self.tail) > 0

    def newest(self) -> Rows:
        """Return the newest row that is known; none if there is none."""
        if self.timeline is None:
            return self.tail.take(slice(-1, None))
        return self.timeline.read(len(self.timeline) - 1, len(self.timeline))

    def rows_per_field(self) -> dict[str, int]:
        """Return how many samples each field has, without those that have none."""
        if self.timeline is None:
            return {}
        of_tail = self.tail.known().tolist()
        recorded = self.recorded.rows_per_field if self.recorded else {}
        sums = {
            name: recorded.get(name, 0) + self.live_values.get(name, 0) + count
            for name, count in zip(self.timeline.fields, of_tail, strict=True)
        }
        return {name: count for name, count in sums.items() if count}


@dataclass(frozen=True, slots=True)
class ShelfState:
    """How far the reading of a device's group is: waiting, reading, ready or failed."""

    state: str
    progress: float
    message: str
    rows: int
    first_us: int | None
    last_us: int | None
    is_live: bool


@contextmanager
def all_locked(shelves: Iterable[Shelf]) -> Iterator[None]:
    """Hold the locks of several shelves, in the order given."""
    with ExitStack() as stack:
        for shelf in shelves:
            stack.enter_context(shelf.lock)
        yield
