"""How much a battery was cycled: throughput, equivalent full cycles, depths of discharge."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import Samples
from benchwire.domains.battery.swings import FLICKER_PERCENT, depth_histogram, soc_swings
from benchwire.domains.battery.throughput import (
    Flows,
    Sign,
    days_of,
    find_sign,
    hourly,
    integrate,
    power_kw,
)

_LEAST_HOURS = 8
_OUTLIER_DEVIATIONS = 4.0
_NORMAL_MAD = 1.4826  # standard deviation of a normal distribution per median absolute deviation
# Of the time of which the current is known; with less, the energy would be told too low.
_LEAST_ENERGY_COVERED = 0.95


@dataclass(frozen=True, slots=True)
class Capacity:
    """Charge between an empty and a full battery, as its state of charge counts.

    Parameters
    ----------
    standard_error_ah
        None for a given capacity.
    hours
        Hours it was estimated from.
    """

    ah: float
    standard_error_ah: float | None
    source: Literal["given", "estimated"]
    hours: int = 0


@dataclass(frozen=True, slots=True)
class Throughput:
    """What went through the battery in a period.

    Parameters
    ----------
    full_cycles
        Discharged charge over capacity (equivalent full cycles); None without either.
    soc_full_cycles
        The same from the swings of the state of charge alone: the sum of its changes over 200 %,
        without flicker. A change while nothing was recorded counts, but not what it hides, so
        over gaps this is a lower bound.
    covered_hours, uncovered_hours
        Time of which the current is known, and time between first and last sample of which it is
        not: nothing was integrated there.
    energy_covered_hours
        Time of which both current and voltage are known; None without either of them.
    energy_reason
        Why there is no energy; None where there is.
    """

    start_us: int
    end_us: int
    charged_ah: float | None
    discharged_ah: float | None
    charged_kwh: float | None
    discharged_kwh: float | None
    full_cycles: float | None
    soc_full_cycles: float | None
    covered_hours: float
    uncovered_hours: float
    energy_covered_hours: float | None
    energy_reason: str | None


@dataclass(frozen=True, slots=True)
class Cycling:
    """Throughput of a recording, in all and by day (UTC).

    Parameters
    ----------
    sign
        What a positive current was taken to do; None without a current.
    capacity
        None if it was not given and could not be estimated.
    depth_cycles : (10,)
        Cycles of the state of charge by their depth, from 0..10 % to 90..100 %; a half cycle counts
        half. None without a state of charge.
    """

    sign: Sign | None
    capacity: Capacity | None
    total: Throughput | None
    days: tuple[Throughput, ...]
    depth_cycles: tuple[float, ...] | None


def cycling(
    current: Samples | None,
    soc: Samples | None,
    *,
    voltage: Samples | None = None,
    capacity_ah: float | None = None,
) -> Cycling:
    """Return how much a battery was cycled, from its current (A), or its state of charge (%) alone.

    Charge is the trapezoidal integral of the current, energy that of current times pack voltage
    (V); there is none where the voltage is not known nearly all the time that the current is.
    Equivalent full cycles are discharged charge over capacity.

    Parameters
    ----------
    capacity_ah
        None to estimate it.
    """
    current = current if current is not None and len(current.without_nulls()) > 1 else None
    soc = soc if soc is not None and len(soc.without_nulls()) else None
    present = [signal for signal in (current, soc) if signal is not None]
    if not present:
        return Cycling(None, None, None, (), None)
    bounds = days_of(*present)
    sign = None if current is None else find_sign(current, soc)
    capacity = None
    if capacity_ah is not None:
        capacity = Capacity(capacity_ah, None, "given")
    elif current is not None and soc is not None:
        capacity = estimate_capacity(current, soc)
    charge = None if current is None else integrate(current, bounds)
    energy = None
    if current is not None and voltage is not None and len(voltage.without_nulls()):
        energy = integrate(power_kw(voltage, current), bounds)
    swings = None if soc is None else soc_swings(soc)
    moved = None if swings is None else np.diff(swings.moved_by(bounds))
    throughput = partial(
        _throughput,
        bounds,
        sign=sign,
        charge=charge,
        energy=energy,
        capacity=capacity,
        moved=moved,
    )
    days = tuple(throughput(slice(day, day + 1)) for day in range(len(bounds) - 1))
    total = throughput(slice(0, len(bounds)))
    depths = None if swings is None else depth_histogram(swings.turns)
    return Cycling(sign, capacity, total, days, depths)


def _throughput(
    bounds: NDArray[np.int64],
    part: slice,
    *,
    sign: Sign | None,
    charge: Flows | None,
    energy: Flows | None,
    capacity: Capacity | None,
    moved: NDArray[np.float64] | None,
) -> Throughput:
    """Return the throughput of some days."""
    charged_ah, discharged_ah = _in_and_out(charge, sign, part)
    reason = _no_energy(charge, energy, part)
    charged_kwh, discharged_kwh = _in_and_out(None if reason else energy, sign, part)
    full = None
    if discharged_ah is not None and capacity is not None:
        full = discharged_ah / capacity.ah
    return Throughput(
        start_us=int(bounds[part.start]),
        end_us=int(bounds[min(part.stop, len(bounds) - 1)]),
        charged_ah=charged_ah,
        discharged_ah=discharged_ah,
        charged_kwh=charged_kwh,
        discharged_kwh=discharged_kwh,
        full_cycles=full,
        soc_full_cycles=None if moved is None else float(moved[part].sum()) / 200.0,
        covered_hours=0.0 if charge is None else float(charge.covered_hours[part].sum()),
        uncovered_hours=0.0 if charge is None else float(charge.uncovered_hours[part].sum()),
        energy_covered_hours=None if energy is None else float(energy.covered_hours[part].sum()),
        energy_reason=reason,
    )


def _no_energy(charge: Flows | None, energy: Flows | None, part: slice) -> str | None:
    """Return why the energy of some days cannot be told, None if it can."""
    if charge is None:
        return "no current"
    if energy is None:
        return "no voltage"
    of_charge = float(charge.covered_hours[part].sum())
    if of_charge <= 0:
        return "the current is not known"
    if float(energy.covered_hours[part].sum()) < _LEAST_ENERGY_COVERED * of_charge:
        return "the voltage is not known all the time"
    return None


def _in_and_out(
    flows: Flows | None, sign: Sign | None, part: slice
) -> tuple[float | None, float | None]:
    if flows is None or sign is None:
        return None, None
    above, below = float(flows.positive[part].sum()), float(flows.negative[part].sum())
    return (above, below) if sign.positive == "charge" else (below, above)


def estimate_capacity(current: Samples, soc: Samples) -> Capacity | None:
    """Return the capacity for which current and state of charge agree best, None if nothing moved.

    Least squares of the hourly change of the state of charge on the integrated charge, with an
    intercept, which takes up a constant offset of the current sensor; the capacity is 100 % over
    the slope. This way round, as the rounding of the state of charge is the larger error: on the
    other axis it would bias the slope (errors in variables). Hours with a residual beyond four
    robust standard deviations, in which the battery management corrected itself, are left out. The
    standard error is that of the slope; an error of the current's scale is not in it.
    """
    flows, changes = hourly(current, soc)
    known = ~np.isnan(changes)
    charge, changes = flows.net[known], changes[known]
    for _ in range(2):
        if len(charge) < _LEAST_HOURS or not np.any(np.abs(changes) > FLICKER_PERCENT):
            return None
        spread = charge - charge.mean()
        power = float((spread**2).sum())
        if power == 0.0:
            return None
        slope = float((spread * changes).sum()) / power
        residuals = changes - changes.mean() - slope * spread
        variance = float((residuals**2).sum()) / (len(charge) - 2)
        deviations = np.abs(residuals - np.median(residuals))
        limit = _OUTLIER_DEVIATIONS * _NORMAL_MAD * float(np.median(deviations))
        kept = deviations <= max(limit, FLICKER_PERCENT)
        charge, changes = charge[kept], changes[kept]
    error = (variance / power) ** 0.5
    if abs(slope) <= 2 * error:
        return None
    ah = 100.0 / abs(slope)
    return Capacity(ah, ah * error / abs(slope), "estimated", len(spread))
