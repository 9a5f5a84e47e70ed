"""How long a run takes and how far it is."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchwire.domains.potentiostat import impedance, waveforms
from benchwire.domains.potentiostat.modes import Control, Mode, Parameters

SETUP_SECONDS = 1.0
"""Time that each mode takes before and after its waveform."""

_UNFINISHED = frozenset({"queued", "running"})


@dataclass(frozen=True, slots=True)
class SlotProgress:
    """One slot's state; ``planned`` and ``elapsed`` in s, ``planned`` None when unknown."""

    status: str
    planned: float | None
    elapsed: float

    @property
    def percent(self) -> int:
        """How far the slot is; 99 at most until it has ended."""
        if self.status in {"done", "failed"}:
            return 100
        if self.status != "running" or not self.planned:
            return 0
        return min(99, round(100 * min(1.0, self.elapsed / self.planned)))


def planned_seconds(mode: Mode, parameters: Parameters) -> float | None:
    """Return how long a mode takes with its set-up, None when that cannot be known."""
    if mode.control is Control.IMPEDANCE:
        seconds = impedance.plan(parameters).points * waveforms.SAMPLE_PERIOD
    else:
        seconds = waveforms.duration(mode, parameters)
    return seconds + SETUP_SECONDS if seconds > 0 else None


def plan_total(modes: Iterable[tuple[Mode, Parameters]]) -> float | None:
    """Return how long modes take one after another, None if any of them is unknown."""
    total = 0.0
    for mode, parameters in modes:
        seconds = planned_seconds(mode, parameters)
        if seconds is None:
            return None
        total += seconds
    return total


def job_progress_pct(slots: Sequence[SlotProgress]) -> int:
    """Return how far a run is: the mean of its slots, 99 at most while one of them runs."""
    states = {slot.status for slot in slots}
    mean = round(sum(slot.percent for slot in slots) / len(slots))
    if states & _UNFINISHED:
        return min(99, mean)
    if "failed" in states or "cancelled" not in states:
        return 100
    return mean


def job_remaining_seconds(slots: Sequence[SlotProgress]) -> int | None:
    """Return the longest time a running slot still needs; None when nothing is known."""
    states = {slot.status for slot in slots}
    if not states & _UNFINISHED:
        return None if "cancelled" in states and "failed" not in states else 0
    left = [
        max(0, math.ceil(slot.planned - slot.elapsed))
        for slot in slots
        if slot.status == "running" and slot.planned is not None
    ]
    return max(left) if left else None
