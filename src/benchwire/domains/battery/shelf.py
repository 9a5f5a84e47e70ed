"""What is known of one device's group: its rows, and how far the reading of them is."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchwire.domains.battery.dataset import Recording
from benchwire.domains.battery.recorded import Recorded
from benchwire.domains.battery.rows import Rows, Timeline
from benchwire.domains.battery.tails import filled
from benchwire.foundation.errors import BenchwireError


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of new readings.

    Parameters
    ----------
    new
        How many are of times that were not known.
    shown
        The rows that are new or have new values.
    """

    new: int
    shown: Rows


@dataclass(slots=True)
class Shelf:
    """The rows of a device's group.

    Parameters
    ----------
    tail
        Live readings that the timeline's file lacks.
    folded_us
        Up to which time they are in files of their own already.
    segments
        Files of live readings.
    timeline
        All rows, once they have been read.
    made_of
        The recording they were read from.
    live_values
        How many values the files of live readings have, by field.
    version
        Grows with every change of the rows, also over times without a timeline, and never repeats.
    """

    tail: Rows
    segments: tuple[Path, ...] = ()
    folded_us: int | None = None
    timeline: Timeline | None = None
    recorded: Recorded | None = None
    made_of: Recording | None = None
    live_values: Mapping[str, int] = field(default_factory=dict)
    version: int = 0
    is_loaded: bool = False
    progress: float = 0.0
    failure: BenchwireError | None = None
    failed_at: float = float("-inf")
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def unfolded(self) -> int:
        """How many live readings are in the database alone."""
        if self.folded_us is None:
            return len(self.tail)
        return int(np.count_nonzero(self.tail.at_us > self.folded_us))

    @property
    def is_live(self) -> bool:
        """Whether any of it came live."""
        return bool(self.segments) or len(self.tail) > 0

    def take(self, rows: Rows) -> Appended:
        """Show new rows, and return what became of them; whoever calls holds the lock."""
        known = np.isin(rows.at_us, self.tail.at_us)
        hidden = np.zeros(len(rows), bool)
        if self.timeline is not None:
            hidden = ~known & self.timeline.exists(rows.at_us)
        before = self.tail.values[np.searchsorted(self.tail.at_us, rows.at_us[known])]
        self.tail = filled(self.tail, rows.take(~hidden))
        after = self.tail.take(np.searchsorted(self.tail.at_us, rows.at_us[~hidden]))
        again = known[~hidden]
        has_more = np.ones(len(after), bool)
        has_more[again] = (np.isnan(before) & ~np.isnan(after.values[again])).any(axis=1)
        self.version += 1
        if self.timeline is not None:
            self.timeline = self.timeline.with_tail(self.tail, version=self.version)
        return Appended(int((~known & ~hidden).sum()), after.take(has_more))

    def newest(self, most: int) -> Rows:
        """Return the newest rows that are known."""
        if self.timeline is None:
            return self.tail.take(slice(-most, None))
        return self.timeline.read(len(self.timeline) - most, len(self.timeline))

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
