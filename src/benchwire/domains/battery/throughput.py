"""What flowed in and out of a battery: integrals by sign, and which sign means charging.

Data sheets and devices differ in whether a positive current charges or discharges. It is therefore
never taken for granted here: it is given, or found from the state of charge (SOC), or else assumed,
and every result says which of the three it was.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import DAY_US, HOUR_US, MICROSECONDS, Samples

# As far apart as two samples may be for a straight line between them; the timeline joins signals
# over the same distance.
LONGEST_GAP_SECONDS = 600.0
_SUMMATION_ERROR_HOURS = 1e-6
_LEAST_COVERED = 0.95
# SOC is often told in whole percent: a change of 1 may be no change at all.
_LEAST_SOC_CHANGE = 2.0
_LEAST_SOC_CHANGE_IN_ALL = 5.0
_LEAST_AGREEMENT = 0.8

Positive = Literal["charge", "discharge"]


@dataclass(frozen=True, slots=True)
class Sign:
    """What a positive current or power does.

    Parameters
    ----------
    positive
        Whether it charges or discharges the battery.
    source
        ``soc``: the state of charge rises (or falls) with it; ``assumed`` to charge, as the state
        of charge is missing, moves too little or contradicts itself.
    agreement
        Share of all changes of the state of charge that fit; None unless found from them.
    """

    positive: Positive
    source: Literal["soc", "assumed"]
    agreement: float | None = None

    @property
    def factor(self) -> float:
        """What to multiply a value by, for positive to mean charging."""
        return 1.0 if self.positive == "charge" else -1.0


@dataclass(frozen=True, slots=True)
class Flows:
    """Integral of a signal over consecutive periods, by its sign.

    Parameters
    ----------
    bounds_us : (N + 1,) int64
        Where the periods begin and end.
    positive, negative : (N,) float64
        Integral of what is above zero, and of what is below it as a positive number; in the
        signal's unit times hours.
    covered_hours, uncovered_hours : (N,) float64
        Time that was integrated, and time between first and last sample that was not.
    """

    bounds_us: NDArray[np.int64]
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    covered_hours: NDArray[np.float64]
    uncovered_hours: NDArray[np.float64]

    @property
    def net(self) -> NDArray[np.float64]:
        """What is above zero less what is below it."""
        return self.positive - self.negative

    @property
    def is_covered(self) -> NDArray[np.bool_]:
        """Whether nearly all of a period was integrated."""
        hours = np.diff(self.bounds_us) / HOUR_US
        return np.asarray(self.covered_hours >= _LEAST_COVERED * hours, np.bool_)


def integrate(samples: Samples, bounds_us: NDArray[np.int64]) -> Flows:
    """Return the integrals over consecutive periods by the trapezoidal rule.

    The signal runs straight from one known sample to the next, also through zero and through the
    end of a period; where they are further apart than the longest gap, nothing is integrated.
    """
    known = samples.without_nulls()
    if len(known) < 2:
        none = np.zeros(len(bounds_us) - 1)
        return Flows(bounds_us, none, none, none, none)
    first, last = known.at_us[[0, -1]]
    ends = np.clip(bounds_us, first, last)
    at = _with(known.at_us, ends)
    values = np.interp(at, known.at_us, known.values)
    segment = np.searchsorted(known.at_us, at[:-1], "right") - 1
    is_bridged = np.diff(known.at_us)[segment] <= LONGEST_GAP_SECONDS * MICROSECONDS
    hours = np.where(is_bridged, np.diff(at) / HOUR_US, 0.0)
    before, after = values[:-1], values[1:]
    mean = (before + after) / 2
    higher, apart = np.maximum(before, after), np.abs(after - before)
    crosses = (before * after) < 0
    above = np.where(crosses, higher**2 / (2 * np.where(crosses, apart, 1.0)), mean.clip(0))
    where = np.searchsorted(at, ends)
    positive, net, covered = (
        np.diff(np.concatenate([[0.0], np.cumsum(part)])[where])
        for part in (above * hours, mean * hours, hours)
    )
    missing = np.diff(ends) / HOUR_US - covered
    missing[missing < _SUMMATION_ERROR_HOURS] = 0.0
    return Flows(bounds_us, positive, (positive - net).clip(0), covered, missing)


def _with(at_us: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ascending times with others, within them, put in where they are missing."""
    others = np.unique(ends)
    where = np.searchsorted(at_us, others)
    is_missing = at_us[where] != others
    return np.insert(at_us, where[is_missing], others[is_missing])


def days_of(*signals: Samples) -> NDArray[np.int64]:
    """Return the midnights (UTC) that enclose all known samples; empty if there are none."""
    known = [one for one in (signal.without_nulls() for signal in signals) if len(one)]
    if not known:
        return np.empty(0, np.int64)
    first = min(int(one.at_us[0]) for one in known) // DAY_US
    last = max(int(one.at_us[-1]) for one in known) // DAY_US
    return np.arange(first, last + 2, dtype=np.int64) * DAY_US


def value_at(samples: Samples, moments_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the latest known value at each moment, NaN where it is older than the longest gap."""
    known = samples.without_nulls()
    found = np.full(len(moments_us), np.nan)
    index = np.searchsorted(known.at_us, moments_us, "right") - 1
    has_any = index >= 0
    age = moments_us[has_any] - known.at_us[index[has_any]]
    is_fresh = age <= LONGEST_GAP_SECONDS * MICROSECONDS
    found[has_any] = np.where(is_fresh, known.values[index[has_any]], np.nan)
    return found


def power_kw(voltage: Samples, current: Samples) -> Samples:
    """Return voltage (V) times current (A) in kW at the times of the current.

    The voltage runs straight between its samples; there is no power where these are further than
    the longest gap away.
    """
    current, known = current.without_nulls(), voltage.without_nulls()
    if not len(known) or not len(current):
        return Samples(current.at_us[:0], current.values[:0])
    after = np.searchsorted(known.at_us, current.at_us)
    nearest_us = np.minimum(
        np.abs(current.at_us - known.at_us[(after - 1).clip(0)]),
        np.abs(current.at_us - known.at_us[after.clip(max=len(known) - 1)]),
    )
    volts = np.interp(current.at_us, known.at_us, known.values)
    is_near = nearest_us <= LONGEST_GAP_SECONDS * MICROSECONDS
    return Samples(current.at_us, np.where(is_near, volts * current.values / 1e3, np.nan))


def hourly(flow: Samples, soc: Samples) -> tuple[Flows, NDArray[np.float64]]:
    """Return the integrals over whole hours and the changes of the state of charge (%) in them.

    A change is NaN where the state of charge is not known at both ends, or the hour not covered.
    """
    days = days_of(flow)
    if not len(days):
        return integrate(flow, np.zeros(1, np.int64)), np.empty(0)
    bounds = np.arange(days[0], days[-1] + 1, HOUR_US, dtype=np.int64)
    flows = integrate(flow, bounds)
    changes = np.diff(value_at(soc, bounds))
    return flows, np.where(flows.is_covered, changes, np.nan)


def find_sign(flow: Samples, soc: Samples | None) -> Sign:
    """Return what a positive current or power does.

    Every covered hour in which the state of charge changed by 2 % or more votes with that change:
    the integral has the same sign, or the opposite one. Four fifths of the votes decide; fewer, or
    changes of less than 5 % in all, leave it at the assumption that positive charges.
    """
    if soc is not None:
        flows, changes = hourly(flow, soc)
        net, changes = flows.net[~np.isnan(changes)], changes[~np.isnan(changes)]
        moved = (np.abs(changes) >= _LEAST_SOC_CHANGE) & (net != 0)
        votes, weights = net[moved] * changes[moved] > 0, np.abs(changes[moved])
        if weights.sum() >= _LEAST_SOC_CHANGE_IN_ALL:
            share = float(weights[votes].sum() / weights.sum())
            if share >= _LEAST_AGREEMENT:
                return Sign("charge", "soc", share)
            if share <= 1 - _LEAST_AGREEMENT:
                return Sign("discharge", "soc", 1 - share)
    return Sign("charge", "assumed")
