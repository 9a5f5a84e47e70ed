"""Samples of one signal, and readings of many at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

MICROSECONDS = 1_000_000
HOUR_US = 3600 * MICROSECONDS
DAY_US = 24 * HOUR_US


@dataclass(frozen=True, slots=True)
class Samples:
    """One signal at its own rate.

    Parameters
    ----------
    at_us : (N,) int64
        Times in microseconds since 1970 UTC, strictly ascending.
    values : (N,) float64
        In the signal's unit; NaN where it gave no value.
    """

    at_us: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.at_us)

    @classmethod
    def none(cls) -> "Samples":
        """Return no samples."""
        return cls(np.empty(0, np.int64), np.empty(0))

    def between(self, start_us: int | None, end_us: int | None) -> "Samples":
        """Return the samples from a time on and before another; None leaves that side open."""
        lo = 0 if start_us is None else int(np.searchsorted(self.at_us, start_us, "left"))
        hi = len(self) if end_us is None else int(np.searchsorted(self.at_us, end_us, "left"))
        return Samples(self.at_us[lo:hi], self.values[lo:hi])

    def without_nulls(self) -> "Samples":
        """Return only the samples that have a value."""
        known = ~np.isnan(self.values)
        return self if known.all() else Samples(self.at_us[known], self.values[known])


def joined(parts: Sequence[Samples]) -> Samples:
    """Return consecutive parts of a signal as one."""
    if len(parts) == 1:
        return parts[0]
    return Samples(
        np.concatenate([np.empty(0, np.int64), *(part.at_us for part in parts)]),
        np.concatenate([np.empty(0), *(part.values for part in parts)]),
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """What a group measured at one moment.

    Parameters
    ----------
    at_us
        Microseconds since 1970 UTC.
    values
        By field; a field that is absent or None was not measured.
    """

    at_us: int
    values: Mapping[str, float | None]


def iso(at_us: int) -> str:
    """Return a time as every answer writes it: ``2023-01-01T00:00:00Z``, a fraction only if any."""
    seconds, fraction = divmod(at_us, MICROSECONDS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:06d}Z" if fraction else f"{text}Z"


def isos(at_us: NDArray[np.int64]) -> list[str]:
    """Return many times as `iso` does."""
    if (at_us % MICROSECONDS).any():
        return [iso(at) for at in at_us.tolist()]
    texts = np.datetime_as_string((at_us // MICROSECONDS).astype("datetime64[s]"), timezone="UTC")
    found: list[str] = texts.tolist()
    return found
