"""Charge and energy: by trapezoid from the readings, and by the meter's own counters."""

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.powermeter.readings import (
    CHARGE_COUNTERS,
    CURRENT,
    ENERGY_COUNTERS,
    POWER,
    QUANTITIES,
    TOTALS,
)

MICROSECOND = 1e-6
SECONDS_PER_HOUR = 3600.0
# The meter cannot measure more than 5 A and 30 V, so in a gap no counter can have moved faster.
_MOST_CURRENT_A, _MOST_POWER_W = 5.5, 165.0
# Counters move in whole mAh and mWh, and not at the moment of a reading.
_SLACK_MAH, _SLACK_MWH = 2.0, 50.0
_COUNTER_TOLERANCE = 2.0


def steps(
    at: NDArray[np.int64], codes: NDArray[np.int64], follows_gap: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what each reading adds to the running totals, zero for the first of the series.

    Charge is the sum of ``(I[k-1] + I[k]) / 2 * dt`` over all pairs without a gap between them,
    energy the same of the power. A counter that went back (a reset, or another meter) or forward
    faster than the current allows adds nothing.

    Parameters
    ----------
    at : (N,) int64, us
    codes : (N, 11) int64
    follows_gap : (N,) bool

    Returns
    -------
    (N, 6) float64
        In the order of `TOTALS`.
    """
    found = np.zeros((len(at), len(TOTALS)))
    if len(at) < 2:
        return found
    seconds = np.diff(at) * MICROSECOND
    known = ~follows_gap[1:]
    current = codes[:, CURRENT] / QUANTITIES[CURRENT].scale
    power = codes[:, POWER] / QUANTITIES[POWER].scale
    found[1:, 0] = 1.0
    found[1:, 1] = np.where(known, (current[1:] + current[:-1]) / 2 * seconds, 0.0)
    found[1:, 2] = np.where(known, (power[1:] + power[:-1]) / 2 * seconds, 0.0)
    found[1:, 3] = np.where(known, 0.0, seconds)
    hours = seconds / SECONDS_PER_HOUR
    likely = _COUNTER_TOLERANCE * np.maximum(current[1:], current[:-1])
    most_mah = np.where(known, likely, _MOST_CURRENT_A) * hours * 1e3 + _SLACK_MAH
    likely = _COUNTER_TOLERANCE * np.maximum(power[1:], power[:-1])
    most_mwh = np.where(known, likely, _MOST_POWER_W) * hours * 1e3 + _SLACK_MWH
    found[1:, 4] = _advance(codes[:, CHARGE_COUNTERS], most_mah)
    found[1:, 5] = _advance(codes[:, ENERGY_COUNTERS], most_mwh)
    return found


def _advance(counters: NDArray[np.int64], most: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far two counters, of which one counts at a time, went on between readings."""
    moved = np.diff(counters, axis=0)
    plausible = (moved > 0) & (moved <= most[:, None])
    advanced: NDArray[np.float64] = np.where(plausible, moved, 0).sum(axis=1).astype(np.float64)
    return advanced
