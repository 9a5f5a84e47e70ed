"""Signals of unequal rates on one timeline, by the rule of the data set.

The timeline has the times of the signal with most rows. Every other signal gives its nearest sample
in time, the earlier of two that are equally near, and nothing if that is too far away. A sample
without a value stays so; none further away takes its place.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import Samples


def master(fields: Sequence[str], rows: Mapping[str, int]) -> str | None:
    """Return the field whose times are the timeline: most rows, then first in order."""
    most = max((rows.get(field, 0) for field in fields), default=0)
    return next((field for field in fields if rows.get(field, 0) == most > 0), None)


def nearest(
    timeline_us: NDArray[np.int64], samples: Samples, tolerance_us: int
) -> NDArray[np.float64]:
    """Return a signal's values at the times of a timeline.

    Parameters
    ----------
    timeline_us : (N,) int64
        Strictly ascending, microseconds.
    tolerance_us
        How far away a sample may be; just that far is near enough.

    Returns
    -------
    (N,) float64
        NaN where the nearest sample has no value or is too far away.
    """
    if not len(samples):
        return np.full(len(timeline_us), np.nan)
    after = np.searchsorted(samples.at_us, timeline_us, "left")
    before = np.maximum(after - 1, 0)
    np.minimum(after, len(samples) - 1, out=after)
    until = np.abs(samples.at_us[after] - timeline_us)
    since = np.abs(timeline_us - samples.at_us[before])
    values = samples.values[np.where(since <= until, before, after)]
    values[np.minimum(since, until) > tolerance_us] = np.nan
    return values
