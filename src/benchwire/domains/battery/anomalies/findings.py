"""What the detectors give: events with a cause that a battery engineer can check."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import MICROSECONDS
from benchwire.domains.battery.signals import Signal

AnomalyType = Literal["out_of_range", "spike", "stuck", "step", "imbalance", "drift", "gap"]
Severity = Literal["info", "warning", "critical"]
TYPES: tuple[AnomalyType, ...] = get_args(AnomalyType)
MINUTE_US = 60 * MICROSECONDS
JOIN_US = 15 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One event of one signal.

    Parameters
    ----------
    metric
        The field in the API.
    score
        How many times over the detector's own threshold it is; 1 is just noticed.
    value, expected
        What was measured where it was worst and what it should have been, in the signal's unit;
        None where there is no such number.
    """

    metric: str
    type: AnomalyType
    severity: Severity
    start_us: int
    end_us: int
    score: float
    value: float | None
    expected: float | None
    message: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave; the anomalies by their start."""

    samples_analyzed: int
    anomalies: tuple[Anomaly, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Consecutive hits: indices of the first, the last and the worst of them."""

    first: int
    last: int
    worst: int


def events(
    at_us: NDArray[np.int64], hits: NDArray[np.int64], size: NDArray[np.float64]
) -> list[Event]:
    """Return hits that are less than `JOIN_US` apart as one event each.

    Parameters
    ----------
    hits : (H,) int64
        Ascending indices into `at_us`.
    size : (H,) float64
        How bad each is; the largest is the worst.
    """
    if not len(hits):
        return []
    breaks = np.flatnonzero(np.diff(at_us[hits]) >= JOIN_US) + 1
    starts, ends = np.append(0, breaks), np.append(breaks, len(hits))
    return [
        Event(int(hits[a]), int(hits[b - 1]), int(hits[a + int(np.argmax(size[a:b]))]))
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def join(anomalies: list[Anomaly]) -> tuple[Anomaly, ...]:
    """Return them by start, those of the same metric and type less than `JOIN_US` apart as one.

    The joined event tells of its worst part.
    """
    joined: list[Anomaly] = []
    for next_one in sorted(anomalies, key=lambda one: (one.metric, one.type, one.start_us)):
        last = joined[-1] if joined else None
        if (
            last is None
            or (last.metric, last.type) != (next_one.metric, next_one.type)
            or next_one.start_us - last.end_us >= JOIN_US
        ):
            joined.append(next_one)
            continue
        worst = max(last, next_one, key=lambda one: one.score)
        joined[-1] = Anomaly(
            worst.metric,
            worst.type,
            worst.severity,
            last.start_us,
            max(last.end_us, next_one.end_us),
            worst.score,
            worst.value,
            worst.expected,
            worst.message,
        )
    return tuple(sorted(joined, key=lambda one: (one.start_us, one.metric, one.type)))


def severity(score: float, *, warning: float, critical: float) -> Severity:
    """Return how serious a score is: info below the first bound, critical from the second on."""
    if score >= critical:
        return "critical"
    return "warning" if score >= warning else "info"


def amount(value: float, signal: Signal) -> str:
    """Return a value as text with its unit."""
    text = f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{text} {signal.unit}".strip()


def duration(us: int) -> str:
    """Return a span of time as text."""
    seconds = us / MICROSECONDS
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
