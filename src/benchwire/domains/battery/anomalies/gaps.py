"""Times without values, by what is usual for the signal itself."""

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.anomalies.findings import (
    MINUTE_US,
    Anomaly,
    duration,
    severity,
)
from benchwire.domains.battery.samples import DAY_US, HOUR_US, Samples
from benchwire.domains.battery.signals import Signal

_LEAST_US = 10 * MINUTE_US
# A logger that writes on change has long intervals by nature, so the rare ones count as well.
_MEDIANS, _RARE_SHARE, _RARES = 4.0, 0.995, 3.0
_ENOUGH = 3


def gaps(signal: Signal, samples: Samples, *, until_us: int) -> list[Anomaly]:
    """Return where values are missing for far longer than the signal's usual interval.

    Parameters
    ----------
    samples
        Without nulls: a value that is null is missing too.
    until_us
        When the recording of the system ends; a signal that fell silent before has a gap.
    """
    if len(samples) < _ENOUGH:
        return []
    steps = np.diff(samples.at_us)
    longest_us = _longest_usual(steps)
    ends = np.append(samples.at_us[1:], until_us)
    steps = np.append(steps, until_us - samples.at_us[-1])
    found = []
    for index in np.flatnonzero(steps > longest_us).tolist():
        length_us = int(steps[index])
        found.append(
            Anomaly(
                signal.field,
                "gap",
                severity(length_us, warning=HOUR_US, critical=DAY_US),
                int(samples.at_us[index]),
                int(ends[index]),
                length_us / longest_us,
                None,
                None,
                f"{signal.title} gave no values for {duration(length_us)}.",
            )
        )
    return found


def _longest_usual(steps: NDArray[np.int64]) -> float:
    """Return the longest interval that is no gap, us."""
    ranks = np.array([len(steps) // 2, int((len(steps) - 1) * _RARE_SHARE)])
    median, rare = np.partition(steps, ranks)[ranks]
    # In a short recording the rarest interval may be the gap that is looked for.
    rare_us = _RARES * float(rare) if len(steps) >= 1000 else 0.0
    return max(_LEAST_US, _MEDIANS * float(median), rare_us)
