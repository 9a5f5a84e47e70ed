"""What a meter measures, and series of it as arrays.

Values are kept as the meter's own integer codes, so that nothing is rounded on the way to the disk
and back; dividing by the scale gives a value that equals itself rounded to its last digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Quantity:
    """One thing measured: its key in the API, its unit, and how many codes make one unit."""

    key: str
    unit: str
    scale: int
    column: str

    def value(self, code: int) -> float | int:
        """Return a code in the quantity's unit; a whole number where the code is one."""
        return code if self.scale == 1 else code / self.scale


VOLTAGE, CURRENT, POWER = 0, 1, 2
TEMPERATURE = 4
CHARGE_COUNTERS, ENERGY_COUNTERS = (5, 7), (6, 8)
QUANTITIES = (
    Quantity("voltage", "V", 10_000, "voltage_V"),
    Quantity("current", "A", 100_000, "current_A"),
    Quantity("power", "W", 10_000, "power_W"),
    Quantity("resistance", "ohm", 10, "resistance_ohm"),
    Quantity("temperature", "degC", 1, "temperature_degC"),
    Quantity("mah_g0", "mAh", 1, "group0_charge_mAh"),
    Quantity("mwh_g0", "mWh", 1, "group0_energy_mWh"),
    Quantity("mah_g1", "mAh", 1, "group1_charge_mAh"),
    Quantity("mwh_g1", "mWh", 1, "group1_energy_mWh"),
    Quantity("d_plus", "V", 100, "d_plus_V"),
    Quantity("d_minus", "V", 100, "d_minus_V"),
)


@dataclass(frozen=True, slots=True)
class Totals:
    """Running totals of a meter at one reading, counted since its first reading ever.

    Parameters
    ----------
    number
        Readings before this one.
    charge_as, energy_ws
        Charge in A s and energy in W s, integrated by trapezoid over all stretches without a gap.
    gap_s
        Time in s that lies in gaps, where nothing is known.
    counter_mah, counter_mwh
        What the meter's own counters have advanced, resets and jumps left out.
    """

    number: float = 0.0
    charge_as: float = 0.0
    energy_ws: float = 0.0
    gap_s: float = 0.0
    counter_mah: float = 0.0
    counter_mwh: float = 0.0

    def plus(self, steps: Sequence[float]) -> "Totals":
        """Return the totals one reading later."""
        return Totals(*(old + step for old, step in zip(self.row(), steps, strict=True)))

    def since(self, earlier: "Totals") -> "Totals":
        """Return what has been added since an earlier reading."""
        return Totals(*(a - b for a, b in zip(self.row(), earlier.row(), strict=True)))

    def row(self) -> tuple[float, ...]:
        """Return the totals in the order of `TOTALS`."""
        return (
            self.number, self.charge_as, self.energy_ws,
            self.gap_s, self.counter_mah, self.counter_mwh,
        )  # fmt: skip


# What charts and statistics show.
CHARTED = tuple(QUANTITIES[index].key for index in (VOLTAGE, CURRENT, POWER))
TOTALS = tuple(field.name for field in fields(Totals))


@dataclass(frozen=True, slots=True)
class Reading:
    """One stored reading.

    Parameters
    ----------
    at
        Microseconds since 1970 in UTC.
    codes
        A code for each of `QUANTITIES`.
    follows_gap
        Whether the stretch before it is unknown and must not be integrated.
    """

    at: int
    codes: tuple[int, ...]
    follows_gap: bool
    totals: Totals

    def value(self, quantity: int) -> float | int:
        """Return one of its values in that quantity's unit."""
        return QUANTITIES[quantity].value(self.codes[quantity])


@dataclass(frozen=True, slots=True)
class Readings:
    """Consecutive readings of one meter.

    Parameters
    ----------
    at : (N,) int64
        Microseconds since 1970 in UTC, strictly ascending.
    codes : (N, 11) int64
        A code for each of `QUANTITIES`.
    follows_gap : (N,) bool
        Whether the stretch before a reading is unknown.
    totals : (N, 6) float64
        Running totals in the order of `TOTALS`.
    """

    at: "NDArray[np.int64]"
    codes: "NDArray[np.int64]"
    follows_gap: "NDArray[np.bool_]"
    totals: "NDArray[np.float64]"

    def __len__(self) -> int:
        return len(self.at)

    def between(self, start: int, end: int) -> "Readings":
        """Return the readings with ``start <= at <= end``, both in microseconds."""
        first = int(self.at.searchsorted(start, "left"))
        last = int(self.at.searchsorted(end, "right"))
        return self[first:last]

    def __getitem__(self, chosen: slice) -> "Readings":
        return Readings(
            self.at[chosen], self.codes[chosen], self.follows_gap[chosen], self.totals[chosen]
        )

    def reading(self, index: int) -> Reading:
        """Return one of them."""
        return Reading(
            int(self.at[index]),
            tuple(self.codes[index].tolist()),
            bool(self.follows_gap[index]),
            Totals(*self.totals[index].tolist()),
        )

    def values(self, quantity: int) -> "NDArray[np.float64] | NDArray[np.int64]":
        """Return all values of a quantity in its unit."""
        scale = QUANTITIES[quantity].scale
        codes = self.codes[:, quantity]
        return codes if scale == 1 else codes / scale


def join(parts: Sequence[Readings]) -> Readings:
    """Return series that follow each other as one."""
    import numpy as np

    if not parts:
        return empty()
    if len(parts) == 1:
        return parts[0]
    return Readings(
        np.concatenate([part.at for part in parts]),
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.follows_gap for part in parts]),
        np.concatenate([part.totals for part in parts]),
    )


def of(readings: Sequence[Reading]) -> Readings:
    """Return single readings, in the order of time, as a series."""
    import numpy as np

    return Readings(
        np.array([reading.at for reading in readings], np.int64),
        np.array([reading.codes for reading in readings], np.int64).reshape(-1, len(QUANTITIES)),
        np.array([reading.follows_gap for reading in readings], np.bool_),
        np.array([reading.totals.row() for reading in readings]).reshape(-1, len(TOTALS)),
    )


def empty() -> Readings:
    """Return a series of no reading."""
    return of(())
