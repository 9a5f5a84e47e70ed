"""Values that do not change although they should.

Two rules. A signal that is never still (noise, rounding finer than the noise) is stuck when it
stays the same for far longer than it usually does. A signal that may rest is stuck when signals
that move with it move on, by more than rounding and noise explain.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.anomalies.bins import BIN_US, resolution
from benchwire.domains.battery.anomalies.findings import (
    MINUTE_US,
    Anomaly,
    amount,
    duration,
    severity,
)
from benchwire.domains.battery.anomalies.relations import Departure
from benchwire.domains.battery.samples import DAY_US, HOUR_US, Samples
from benchwire.domains.battery.signals import Signal

_LEAST_US = 30 * MINUTE_US
_LEAST_SAMPLES = 10
# A run as long as some that come every other day, or six times at all, is usual.
_USUAL_EVERY_US, _USUAL_TIMES, _USUALS = 2 * DAY_US, 6, 3.0
_SHORT_RUN = 3
_QUANTA, _SCALES = 3.5, 3.0


@dataclass(frozen=True, slots=True)
class Runs:
    """Stretches of equal values: first sample, number of samples, and their time in us."""

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    length_us: NDArray[np.float64]

    @classmethod
    def of(cls, samples: Samples) -> "Runs":
        """Return the runs; time without samples does not count."""
        if len(samples) < 2:
            empty = np.empty(0, np.int64)
            return cls(empty, empty, np.empty(0))
        first = np.append(0, np.flatnonzero(np.diff(samples.values)) + 1)
        count = np.diff(np.append(first, len(samples)))
        usual_us = float(np.median(np.diff(samples.at_us)))
        return cls(first, count, (count - 1) * usual_us)


def still(signal: Signal, samples: Samples) -> list[Anomaly]:
    """Return where a signal that is never still is still."""
    runs = Runs.of(samples)
    if signal.is_flag or not len(runs.first):
        return []
    in_short_runs = int(runs.count[runs.count <= _SHORT_RUN].sum())
    if 2 * in_short_runs < len(samples):
        return []
    rank = max(_USUAL_TIMES, int((samples.at_us[-1] - samples.at_us[0]) / _USUAL_EVERY_US))
    if len(runs.first) <= rank:
        return []
    usual_us = float(np.partition(runs.length_us, -rank)[-rank])
    least_us = max(_LEAST_US, _USUALS * usual_us)
    long = np.flatnonzero((runs.length_us > least_us) & (runs.count > _LEAST_SAMPLES))
    values = samples.values[runs.first[long]]
    found = []
    for index, value in zip(long.tolist(), values.tolist(), strict=True):
        # A rest ends and comes again at the same value; a current rests at none.
        if value == 0 or np.count_nonzero(values == value) > 1:
            continue
        first, last = _ends(runs, index)
        score = float(runs.length_us[index]) / least_us
        found.append(_stuck(signal, samples, first, last, score=score, moved=None))
    return found


def left_behind(
    signal: Signal,
    samples: Samples,
    *,
    bins: NDArray[np.int64],
    means: NDArray[np.float64],
    found: tuple[Departure, ...],
) -> list[Anomaly]:
    """Return where a signal rests while what it follows moves on.

    Parameters
    ----------
    means : (B,) float64
        Of this signal.
    found
        Its departures by each reference; at least half of the references must have moved.
    """
    runs = Runs.of(samples)
    expected = [(means - one.away, float(np.nanmedian(one.scale))) for one in found]
    finest = resolution(samples.values)
    anomalies: list[Anomaly] = []
    long = (runs.length_us > _LEAST_US) & (runs.count > _LEAST_SAMPLES)
    for index in np.flatnonzero(long).tolist() if expected else []:
        first, last = _ends(runs, index)
        lo, hi = np.searchsorted(bins, samples.at_us[[first, last]] // BIN_US).tolist()
        moves = sorted((_moved(curve[lo : hi + 1]), scale) for curve, scale in expected)
        moved, scale = moves[(len(moves) - 1) // 2]
        least = max(_QUANTA * finest, _SCALES * scale)
        if moved > least:
            score = moved / least
            anomalies.append(_stuck(signal, samples, first, last, score=score, moved=moved))
    return anomalies


def _ends(runs: Runs, index: int) -> tuple[int, int]:
    first = int(runs.first[index])
    return first, first + int(runs.count[index]) - 1


def _moved(expected: NDArray[np.float64]) -> float:
    known = expected[~np.isnan(expected)]
    return float(np.ptp(known)) if len(known) else 0.0


def _stuck(
    signal: Signal,
    samples: Samples,
    first: int,
    last: int,
    *,
    score: float,
    moved: float | None,
) -> Anomaly:
    value = float(samples.values[first])
    length_us = int(samples.at_us[last] - samples.at_us[first])
    reason = (
        "related signals say it should have moved by about " + amount(moved, signal)
        if moved is not None
        else "it usually changes all the time"
    )
    return Anomaly(
        signal.field,
        "stuck",
        severity(length_us, warning=HOUR_US, critical=DAY_US),
        int(samples.at_us[first]),
        int(samples.at_us[last]),
        score,
        value,
        None,
        f"{signal.title} stayed at {amount(value, signal)} for {duration(length_us)}; {reason}.",
    )
