"""What was found in the file of one signal, and how far apart its samples are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import MICROSECONDS

LEAST_GAP_S = 600.0
GAP_INTERVALS = 10


@dataclass(frozen=True, slots=True)
class SignalReport:
    """What the cleaning of one signal's CSV kept and met.

    Parameters
    ----------
    rows
        Samples kept, those without a value included.
    nulls
        Of these, samples without a value.
    bad_times, bad_values
        Lines whose time cannot be read (left out); rows whose value is no finite number.
    repeated
        Rows left out since an earlier one has the same time.
    unsorted
        Rows that are earlier than some row before them in the file.
    unterminated
        1 if the last line has no end, else 0.
    has_bom
        Whether a byte order mark stands at the start.
    wrong_case
        How many of file name, time column and value column are in the wrong case.
    gaps, longest_gap_s
        Intervals longer than 600 s and than ten median intervals; 0.0 if there is none.
    median_interval_s
        None with fewer than two samples.
    first_us, last_us
        Microseconds since 1970 UTC; None without samples.
    error
        Why the file could not be read, as a sentence; None if it could.
    """

    rows: int = 0
    nulls: int = 0
    bad_times: int = 0
    bad_values: int = 0
    repeated: int = 0
    unsorted: int = 0
    unterminated: int = 0
    has_bom: bool = False
    wrong_case: int = 0
    gaps: int = 0
    longest_gap_s: float = 0.0
    median_interval_s: float | None = None
    first_us: int | None = None
    last_us: int | None = None
    error: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the report that was written."""
        return cls(**plain)


class Intervals:
    """How often each interval between samples occurred, in memory that does not grow with them.

    Whole seconds are exact. Others are too, until too many different ones have been seen: then
    they are counted by the millisecond, and at last by the second.
    """

    _SECONDS = 65_536
    _UNITS_US = (1, 1000, MICROSECONDS)

    def __init__(self, *, most_others: int = 200_000) -> None:
        self._most_others = most_others
        self._by_second = np.zeros(self._SECONDS, np.int64)
        self._others = np.empty(0, np.int64)
        self._counts = np.empty(0, np.int64)
        self._unit = 0

    def add(self, intervals_us: NDArray[np.int64]) -> None:
        """Count intervals in microseconds."""
        seconds = intervals_us // MICROSECONDS
        is_whole = (seconds * MICROSECONDS == intervals_us) & (seconds < self._SECONDS)
        if not is_whole.all():
            self._add_others(
                intervals_us[~is_whole], np.ones(np.count_nonzero(~is_whole), np.int64)
            )
            seconds = seconds[is_whole]
        self._by_second += np.bincount(seconds, minlength=self._SECONDS)

    def _add_others(self, values: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        values = np.concatenate((self._others, self._rounded(values)))
        counts = np.concatenate((self._counts, counts))
        self._others, place = np.unique(values, return_inverse=True)
        self._counts = np.bincount(place, counts, len(self._others)).astype(np.int64)
        if len(self._others) > self._most_others and self._unit + 1 < len(self._UNITS_US):
            self._unit += 1
            values, counts = self._others, self._counts
            self._others, self._counts = np.empty(0, np.int64), np.empty(0, np.int64)
            self._add_others(values, counts)

    def _rounded(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        unit = self._UNITS_US[self._unit]
        return (values + unit // 2) // unit * unit

    def median_s(self) -> float | None:
        """Return the median, None without intervals."""
        values, counts = self._sorted()
        total = int(counts.sum())
        if not total:
            return None
        ranks = [(total - 1) // 2, total // 2]
        middle = values[np.searchsorted(np.cumsum(counts), ranks, "right")]
        return float(middle.sum()) / 2 / MICROSECONDS

    def gaps(self) -> tuple[int, float]:
        """Return how many gaps there are, and the longest in seconds."""
        median = self.median_s()
        if median is None:
            return 0, 0.0
        values, counts = self._sorted()
        is_gap = values > max(GAP_INTERVALS * median, LEAST_GAP_S) * MICROSECONDS
        if not is_gap.any():
            return 0, 0.0
        return int(counts[is_gap].sum()), float(values[is_gap].max()) / MICROSECONDS

    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        seconds = np.flatnonzero(self._by_second)
        values = np.concatenate((seconds * MICROSECONDS, self._others))
        counts = np.concatenate((self._by_second[seconds], self._counts))
        order = np.argsort(values, kind="stable")
        return values[order], counts[order]
