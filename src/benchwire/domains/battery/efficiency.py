"""Round-trip efficiency of a battery by day: what came out of what was put in."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import MICROSECONDS, Samples
from benchwire.domains.battery.throughput import (
    LONGEST_GAP_SECONDS,
    Flows,
    Sign,
    days_of,
    find_sign,
    hourly,
    integrate,
    value_at,
)

# Less than a fifth of the battery in or out, and rounding and idle losses outweigh the cycle.
LEAST_SHARE_CYCLED = 0.2
_MOST_UNCOVERED = 0.05
_MOST_PLAUSIBLE = 1.02
_LEAST_HOURS = 12


@dataclass(frozen=True, slots=True)
class DayEfficiency:
    """Energy of a day (UTC) into and out of the battery, and their ratio.

    Parameters
    ----------
    efficiency
        Between 0 and 1; None where it cannot be told, for the reason given.
    uncertainty
        Standard deviation from the rounding of the state of charge at both ends.
    soc_change_percent
        From the first to the last moment of the day with data; None if not known.
    """

    start_us: int
    charged_kwh: float
    discharged_kwh: float
    soc_change_percent: float | None
    efficiency: float | None
    uncertainty: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Round-trip efficiency in all and by day.

    Parameters
    ----------
    efficiency
        Of the days that have one taken together. Without a state of charge: energy out over energy
        in of the whole record, not corrected. None if neither can be told.
    is_corrected
        Whether the difference of the state of charge between the ends is accounted for.
    kwh_per_soc_percent
        Energy the battery gives for 1 % of state of charge; None if it cannot be told.
    """

    sign: Sign
    efficiency: float | None
    is_corrected: bool
    kwh_per_soc_percent: float | None
    days: tuple[DayEfficiency, ...]


def round_trip_efficiency(power: Samples, soc: Samples | None) -> Efficiency:
    """Return the round-trip efficiency from a power (kW) and the state of charge (%).

    The power is that of the battery (voltage times current) or of the converter, whose losses are
    then included; of the latter's apparent power it is as good as the power factor is near 1.

    A battery fuller at the end than at the start would have given more: what came out is corrected
    by the difference of the state of charge times the energy that 1 % of it gives (so is, the
    other way, what the start lent). That energy is found over the whole record, see
    `discharge_energy`.
    """
    soc = soc if soc is not None and len(soc.without_nulls()) else None
    sign = find_sign(power, soc)
    bounds = days_of(power)
    if not len(bounds):
        return Efficiency(sign, None, False, None, ())
    flows = integrate(power, bounds)
    charged, discharged = _in_and_out(flows, sign)
    per_percent = None if soc is None else discharge_energy(power, soc, sign=sign)
    if soc is None or per_percent is None:
        reason = "no state of charge" if soc is None else "the state of charge moves too little"
        days = tuple(
            DayEfficiency(int(start), float(one), float(other), None, None, None, reason)
            for start, one, other in zip(bounds[:-1], charged, discharged, strict=True)
        )
        whole = float(discharged.sum() / charged.sum()) if charged.sum() > 0 else None
        is_likely = whole is not None and 0 < whole <= _MOST_PLAUSIBLE
        return Efficiency(sign, whole if is_likely else None, False, None, days)
    changes = _soc_changes(power, soc, bounds=bounds)
    rounding = _rounding_deviation(soc) * per_percent
    days = tuple(
        _day(
            flows,
            day,
            charged=charged[day],
            discharged=discharged[day],
            change=changes[day],
            per_percent=per_percent,
            rounding_kwh=rounding,
        )
        for day in range(len(changes))
    )
    counted = [day for day in days if day.efficiency is not None]
    put_in = sum(day.charged_kwh for day in counted)
    came_out = sum(day.charged_kwh * (day.efficiency or 0.0) for day in counted)
    return Efficiency(sign, came_out / put_in if counted else None, True, per_percent, days)


def discharge_energy(power: Samples, soc: Samples, *, sign: Sign) -> float | None:
    """Return the energy in kWh that the battery gives for 1 % of its state of charge.

    Least squares of the hourly change of the state of charge, ``a * charged - b * discharged +
    idle``: 1 / b is the energy given for 1 %, 1 / a the one it takes. None unless the state of
    charge clearly falls with discharged energy.
    """
    flows, changes = hourly(power, soc)
    known = ~np.isnan(changes)
    if np.count_nonzero(known) < _LEAST_HOURS:
        return None
    charged, discharged = _in_and_out(flows, sign)
    terms = np.stack([charged[known], -discharged[known], np.ones(np.count_nonzero(known))], axis=1)
    found, _, rank, _ = np.linalg.lstsq(terms, changes[known], rcond=None)
    if rank < 3 or found[1] <= 0:
        return None
    residuals = changes[known] - terms @ found
    variance = float((residuals**2).sum()) / max(len(residuals) - 3, 1)
    error = (variance * float(np.linalg.inv(terms.T @ terms)[1, 1])) ** 0.5
    return None if found[1] <= 4 * error else 1.0 / float(found[1])


def _in_and_out(flows: Flows, sign: Sign) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return charged and discharged."""
    pair = flows.positive, flows.negative
    return pair if sign.positive == "charge" else pair[::-1]


def _soc_changes(power: Samples, soc: Samples, *, bounds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the change of the state of charge in each day, between the ends of its data."""
    known, charge = power.without_nulls(), soc.without_nulls()
    first = max(int(known.at_us[0]), int(charge.at_us[0]))
    tolerated = int(LONGEST_GAP_SECONDS * MICROSECONDS)
    # Signals do not begin together; one that begins much later is missing.
    start = first if first - int(known.at_us[0]) <= tolerated else int(known.at_us[0])
    ends = np.clip(bounds, start, int(known.at_us[-1]))
    return np.diff(value_at(soc, ends))


def _rounding_deviation(soc: Samples) -> float:
    """Return the standard deviation (%) of a difference of two states of charge by rounding."""
    steps = np.abs(np.diff(soc.without_nulls().values))
    steps = steps[steps > 0]
    resolution = float(steps.min()) if len(steps) else 0.0
    return resolution / math.sqrt(6)


def _day(
    flows: Flows,
    day: int,
    *,
    charged: float,
    discharged: float,
    change: float,
    per_percent: float,
    rounding_kwh: float,
) -> DayEfficiency:
    """Return the efficiency of one day, or why it has none."""
    least = LEAST_SHARE_CYCLED * 100 * per_percent
    covered, uncovered = flows.covered_hours[day], flows.uncovered_hours[day]
    efficiency = (discharged + change * per_percent) / charged if charged > 0 else np.nan
    reason = None
    if covered <= 0 or uncovered > _MOST_UNCOVERED * (covered + uncovered):
        reason = "the power is not known all day"
    elif np.isnan(change):
        reason = "the state of charge is not known at both ends"
    elif charged < least or discharged < least:
        reason = "too little was charged and discharged"
    elif not 0 < efficiency <= _MOST_PLAUSIBLE:
        reason = "more came out than went in; power or state of charge is wrong"
    is_known = reason is None
    return DayEfficiency(
        start_us=int(flows.bounds_us[day]),
        charged_kwh=float(charged),
        discharged_kwh=float(discharged),
        soc_change_percent=None if np.isnan(change) else float(change),
        efficiency=float(efficiency) if is_known else None,
        uncertainty=rounding_kwh / float(charged) if is_known else None,
        reason=reason,
    )
