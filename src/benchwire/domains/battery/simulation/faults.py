"""Faults put into a recording, and the labels that say where they are.

A fault is only made where it changes something: a stuck sensor while the quantity rests looks like
a working one, so no label would be fair there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.samples import DAY_US, HOUR_US, Samples
from benchwire.domains.battery.signals import BESS, BMS, PCS
from benchwire.domains.battery.simulation.habits import (
    CELL_IMBALANCE,
    DRIFT_DAYS,
    FAULT_KINDS,
    HABITS,
    HOURS,
    PHASE_SHARE,
    SIZES,
    FaultKind,
)
from benchwire.domains.battery.simulation.recording import decimals

_APART_US = 2 * HOUR_US
_MILLIVOLTS = 3
_TRIES = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one signal; `end_us` is the time of its last sample that is wrong.

    A gap lasts from the sample before it to the sample after. `size` is in the signal's unit:
    how far it was moved, how far it would have moved while it stuck; seconds for a gap.
    """

    device_id: str
    signal: str
    field: str
    group: str
    kind: FaultKind
    start_us: int
    end_us: int
    size: float


def signal_groups() -> Mapping[str, tuple[str, str]]:
    """Return field and group under which each signal is judged: its own API's, else the view's."""
    found: dict[str, tuple[str, str]] = {}
    for group in (BMS, PCS, BESS):
        for signal in group.signals:
            found.setdefault(signal.name, (signal.field, group.name))
    return found


def inject(
    signals: Mapping[str, Samples],
    seed: int,
    *,
    device_id: str = "device",
    faults_per_day: float = 5.0,
    strength: float = 1.0,
) -> tuple[dict[str, Samples], tuple[Fault, ...]]:
    """Return the recording with faults in it, and where they are; the kinds take turns.

    Faults of one signal keep two hours apart. A fault that finds no place after some tries is
    left out, so a short recording may get fewer.

    Parameters
    ----------
    strength
        Spikes, steps, drifts and imbalances are made this many times as large as they usually are.
    """
    rng = np.random.default_rng([seed, 0xFA])
    injection = _Injection(dict(signals), device_id, rng, strength)
    known = [samples for samples in signals.values() if len(samples)]
    if not known:
        return dict(signals), ()
    span_us = max(s.at_us[-1] for s in known) - min(s.at_us[0] for s in known)
    for number in range(round(faults_per_day * span_us / DAY_US)):
        injection.add(FAULT_KINDS[number % len(FAULT_KINDS)])
    faults = sorted(injection.faults, key=lambda fault: (fault.start_us, fault.signal))
    return injection.signals, tuple(faults)


class _Injection:
    """Signals under change, and what was done to them."""

    def __init__(
        self,
        signals: dict[str, Samples],
        device_id: str,
        rng: np.random.Generator,
        strength: float,
    ) -> None:
        self.signals = signals
        self.faults: list[Fault] = []
        self._device_id = device_id
        self._rng = rng
        self._strength = strength

    def add(self, kind: FaultKind) -> None:
        """Put in one fault of a kind, where it changes something."""
        able = [
            name
            for name, habit in HABITS.items()
            if kind in habit.kinds and len(self.signals.get(name, ())) > 500
        ]
        for _ in range(_TRIES if able else 0):
            name = able[int(self._rng.integers(len(able)))]
            if self._try(kind, name):
                return

    def _try(self, kind: FaultKind, name: str) -> bool:
        samples = self.signals[name]
        lo, hi = self._place(kind, samples)
        partner = CELL_IMBALANCE.get(name, ("",))[0] if kind == "imbalance" else ""
        start_us, end_us = int(samples.at_us[lo]), int(samples.at_us[hi - 1])
        if any(
            fault.signal in (name, partner)
            and fault.start_us - _APART_US < end_us
            and start_us < fault.end_us + _APART_US
            for fault in self.faults
        ):
            return False
        if kind == "gap":
            kept = np.ones(len(samples), np.bool_)
            kept[lo + 1 : hi - 1] = False
            self.signals[name] = Samples(samples.at_us[kept], samples.values[kept])
            self._label(kind, name, start_us, end_us, (end_us - start_us) / 1e6)
            return True
        if kind != "out_of_range" and _is_coarse(name, samples.values[lo:hi]):
            return False
        changed, size = self._changed(kind, name, samples.values[lo:hi])
        if not size:
            return False
        self._write(name, lo, hi, changed)
        self._label(kind, name, start_us, end_us, size)
        if partner in self.signals:
            other = self.signals[partner]
            lo, hi = np.searchsorted(other.at_us, [start_us, end_us]).tolist()
            self._write(partner, lo, hi, other.values[lo:hi] + abs(size))
            self._label(kind, partner, start_us, end_us, abs(size))
        return True

    def _place(self, kind: FaultKind, samples: Samples) -> tuple[int, int]:
        """Return the first sample and the one after the last, in reach of the others."""
        rng, n = self._rng, len(samples)
        if kind in ("spike", "out_of_range"):
            length = int(rng.integers(1, 4 if kind == "spike" else 20))
            lo = int(rng.integers(60, n - 60 - length))
            return lo, lo + length
        hours = 24 * rng.uniform(*DRIFT_DAYS) if kind == "drift" else rng.uniform(*HOURS[kind])
        length_us = int(hours * HOUR_US)
        first, last = samples.at_us[60], max(samples.at_us[-60] - length_us, samples.at_us[60] + 1)
        start_us = int(rng.integers(first, last))
        lo, hi = np.searchsorted(samples.at_us, [start_us, start_us + length_us]).tolist()
        return int(lo), int(min(max(hi, lo + 3), n))

    def _changed(
        self, kind: FaultKind, name: str, true: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """Return faulty values and how far they are off; 0 when nothing would be seen."""
        rng, habit = self._rng, HABITS[name]
        sign = float(rng.choice([-1.0, 1.0]))
        if np.isnan(true).all():
            return true, 0.0
        if kind == "out_of_range":
            lowest, highest = habit.impossible[int(rng.integers(len(habit.impossible)))]
            values = np.full(len(true), rng.uniform(lowest, highest))
            return values, float(np.nanmax(np.abs(values - true)))
        if kind == "stuck":
            moved = float(np.nanmax(true) - np.nanmin(true))
            return np.full(len(true), true[~np.isnan(true)][0]), moved * (moved >= 2 * habit.unit)
        if kind == "imbalance":
            return self._imbalanced(name, true, sign)
        size = sign * habit.unit * rng.uniform(*SIZES[kind]) * self._strength
        if name == "bms1_soc" and not 0 <= np.nanmedian(true) + size <= 100:
            size = -size
        if name == "bms1_soh":
            size = -abs(size)
        if name[:5] in ("bms1_", "pcs1_") and name[5:] in (
            "ia",
            "ib",
            "ic",
            "cell_v_diff",
            "cell_t_diff",
        ):
            size = abs(size)
        ramp = np.linspace(0, 1, len(true)) if kind == "drift" else 1.0
        return true + size * ramp, size

    def _imbalanced(
        self, name: str, true: NDArray[np.float64], sign: float
    ) -> tuple[NDArray[np.float64], float]:
        if name in CELL_IMBALANCE:
            _, side, sizes = CELL_IMBALANCE[name]
            size = side * self._rng.uniform(*sizes) * self._strength
            return true + size, size
        share = sign * self._rng.uniform(*PHASE_SHARE[name[5]]) * self._strength
        size = share * float(np.nanmedian(true))
        return true * (1 + share), size * (abs(size) >= HABITS[name].unit / 2 * self._strength)

    def _write(self, name: str, lo: int, hi: int, changed: NDArray[np.float64]) -> None:
        values = self.signals[name].values.copy()
        values[lo:hi] = np.round(changed, decimals(name))
        self.signals[name] = Samples(self.signals[name].at_us, values)

    def _label(self, kind: FaultKind, name: str, start_us: int, end_us: int, size: float) -> None:
        field, group = signal_groups()[name]
        self.faults.append(
            Fault(self._device_id, name, field, group, kind, start_us, end_us, float(size))
        )


def _is_coarse(name: str, values: NDArray[np.float64]) -> bool:
    """Return whether millivolts are rounded away here, so that a fault would not show."""
    known = values[~np.isnan(values)]
    return decimals(name) == _MILLIVOLTS and bool(np.all(np.round(known, 1) == known))
