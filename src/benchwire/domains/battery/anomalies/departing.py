"""Steps, drifts and imbalances: where a signal leaves what its relatives say, and how.

All three are one departure; its beginning tells a step from a drift, and the signals concerned
(phases, cells at the edge of the pack, spreads) tell an imbalance of the system from the fault of
a sensor.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.battery.anomalies.bins import BIN_US, resolution
from benchwire.domains.battery.anomalies.findings import (
    Anomaly,
    AnomalyType,
    Event,
    amount,
    events,
    severity,
)
from benchwire.domains.battery.anomalies.relations import Departure
from benchwire.domains.battery.samples import DAY_US, HOUR_US, Samples
from benchwire.domains.battery.signals import Signal


@dataclass(frozen=True, slots=True)
class Least:
    """The least departure worth a word: in the signal's unit, and as a share of its value."""

    size: float
    share: float = 0.0


_PHASE_CURRENT, _PHASE_VOLTAGE = Least(5, 0.07), Least(6)
_CELL_VOLTAGE, _CELL_TEMPERATURE = Least(0.025), Least(3)
LEAST: Mapping[str, Least] = {
    "bms1_soc": Least(5),
    "bms1_soh": Least(2),
    "bms1_v": Least(6),
    "bms1_cell_ave_v": _CELL_VOLTAGE,
    "bms1_cell_max_v": _CELL_VOLTAGE,
    "bms1_cell_min_v": _CELL_VOLTAGE,
    "bms1_cell_v_diff": Least(0.03),
    "bms1_cell_ave_t": _CELL_TEMPERATURE,
    "bms1_cell_max_t": _CELL_TEMPERATURE,
    "bms1_cell_min_t": _CELL_TEMPERATURE,
    "bms1_cell_t_diff": _CELL_TEMPERATURE,
    "pcs1_ap": Least(8, 0.15),
    "pcs1_dcc": Least(10, 0.15),
    "pcs1_dcv": Least(7),
    "pcs1_ia": _PHASE_CURRENT,
    "pcs1_ib": _PHASE_CURRENT,
    "pcs1_ic": _PHASE_CURRENT,
    "pcs1_uab": _PHASE_VOLTAGE,
    "pcs1_ubc": _PHASE_VOLTAGE,
    "pcs1_uca": _PHASE_VOLTAGE,
    "pcs1_t_env": Least(4),
    "pcs1_t_a": Least(4),
    "pcs1_t_igbt": Least(7),
}
_UNEQUAL = frozenset({
    "bms1_cell_max_v", "bms1_cell_min_v", "bms1_cell_v_diff",
    "bms1_cell_max_t", "bms1_cell_min_t", "bms1_cell_t_diff",
    "pcs1_ia", "pcs1_ib", "pcs1_ic", "pcs1_uab", "pcs1_ubc", "pcs1_uca",
})  # fmt: skip
_SCALES = 5.0
_LEAST_BINS = 3
_STEP_US = HOUR_US
_LOOK_BACK_US = 3 * DAY_US


def is_fine_enough(name: str, samples: Samples) -> bool:
    """Return whether a signal is recorded so finely that the least departure would show."""
    return name not in LEAST or resolution(samples.values) <= LEAST[name].size


def departing(
    signal: Signal, departure: Departure, *, bins: NDArray[np.int64], means: NDArray[np.float64]
) -> list[Anomaly]:
    """Return where a signal departs by more than is usual and more than is worth a word.

    It must do so for a quarter of an hour. The score is how many times over that it is.
    """
    least = LEAST.get(signal.name)
    if least is None or not len(bins):
        return []
    away = departure.away
    expected = means - away
    allowed = np.maximum(least.size, least.share * np.abs(expected))
    allowed = np.maximum(allowed, _SCALES * departure.scale)
    over = np.abs(np.nan_to_num(away)) / np.where(allowed > 0, allowed, 1.0)
    hits = np.flatnonzero(over > 1)
    at_us = bins * BIN_US
    found = []
    for event in events(at_us, hits, over[hits]):
        lo, hi = np.searchsorted(hits, [event.first, event.last + 1])
        if hi - lo < _LEAST_BINS:
            continue
        start, is_sudden = _onset(away, bins, event)
        kind = _kind(signal, is_sudden=is_sudden)
        value, usual = float(means[event.worst]), float(expected[event.worst])
        score = float(over[event.worst])
        found.append(
            Anomaly(
                signal.field,
                kind,
                severity(score, warning=1.5, critical=4.0),
                int(at_us[start]),
                int(at_us[event.last]) + BIN_US,
                score,
                value,
                usual,
                _message(signal, kind, value, usual),
            )
        )
    return found


def _onset(away: NDArray[np.float64], bins: NDArray[np.int64], event: Event) -> tuple[int, bool]:
    """Return where the departure began, and whether it came within an hour."""
    peak = away[event.worst]
    first = int(np.searchsorted(bins, bins[event.first] - _LOOK_BACK_US // BIN_US))
    risen = np.nan_to_num(away[first : event.worst + 1] / peak)
    top = int(np.argmax(risen >= 0.75))
    low = np.flatnonzero(risen[: top + 1] < 0.25)
    start = first + (int(low[-1]) + 1 if len(low) else top)
    began = min(start, event.first)
    return began, bool((bins[first + top] - bins[began]) * BIN_US <= _STEP_US)


def _kind(signal: Signal, *, is_sudden: bool) -> AnomalyType:
    if signal.name in _UNEQUAL:
        return "imbalance"
    return "step" if is_sudden else "drift"


def _message(signal: Signal, kind: AnomalyType, value: float, usual: float) -> str:
    how = {
        "step": "suddenly left what related signals say",
        "drift": "slowly left what related signals say",
        "imbalance": "is out of balance with the rest of the system",
    }[kind]
    return (
        f"{signal.title} {how}: {amount(value, signal)} where {amount(usual, signal)} is expected."
    )
