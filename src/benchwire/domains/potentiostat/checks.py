"""What is asked of a run, checked before anything is reserved or written."""

import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchwire.domains.potentiostat import impedance, waveforms
from benchwire.domains.potentiostat.errors import DiskAlmostFull, JobInvalid
from benchwire.domains.potentiostat.modes import Control, UnknownMode, mode_named
from benchwire.domains.potentiostat.recording import points_per_row
from benchwire.domains.potentiostat.run import ModeOrder
from benchwire.domains.potentiostat.run_folder import mode_name
from benchwire.domains.potentiostat.schemas import RUN_NAME_PATTERN
from benchwire.domains.potentiostat.validation import parse
from benchwire.domains.potentiostat.waveforms import SAMPLE_PERIOD
from benchwire.foundation.samples.store import Given

# A row of the widest table, as text.
BYTES_PER_ROW = 70
_RUN_ID = re.compile(RUN_NAME_PATTERN)


def is_run_id(text: str) -> bool:
    """Whether a text can be a run's id."""
    return _RUN_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What a run may take at most: ``hours`` planned, ``points`` per mode, free space left."""

    hours: float
    points: int
    min_free_bytes: int


def gain_of(request: Mapping[str, Any]) -> int:
    """Return the gain of a run; the lowest where none is asked for."""
    return request.get("tia_gain") or 0


def ordered_modes(request: Mapping[str, Any]) -> tuple[ModeOrder, ...]:
    """Return the modes of a request in their order, each with its parameters.

    The options of the request are good; see `check_options`.

    Raises
    ------
    JobInvalid, ModeParametersInvalid, NoUsableFrequency
        A mode is unknown, or lacks usable parameters.
    """
    names: Sequence[str] = request["modes"]
    if not names:
        raise JobInvalid("modes is empty", hint="Name at least one mode, such as CV.")
    orders: list[ModeOrder] = []
    for name in names:
        if name not in request["params_by_mode"]:
            raise JobInvalid(
                f"params_by_mode has no entry for {name[:40]}",
                hint="Give the parameters of every mode, under the spelling used in modes.",
            )
        try:
            mode = mode_named(name)
        except UnknownMode as error:
            raise JobInvalid(error.message, hint="GET /modes lists all modes.") from error
        mode_name(name)
        parameters = parse(mode, request["params_by_mode"][name], gain_of(request))
        if mode.control is Control.IMPEDANCE:
            impedance.ensure_usable(parameters)
        repeat = 1 + sum(mode_name(order.name) == mode_name(name) for order in orders)
        orders.append(ModeOrder(name, mode, parameters, repeat))
    return tuple(orders)


def check_options(request: Mapping[str, Any]) -> None:
    """Refuse options that no run can have."""
    gain = request.get("tia_gain")
    if gain is not None and not 0 <= gain <= 4:
        raise JobInvalid("tia_gain has to be 0, 1, 2, 3 or 4")
    interval = request.get("sampling_interval")
    if interval is not None and not (math.isfinite(interval) and interval > 0):
        raise JobInvalid("sampling_interval has to be a number of seconds above 0")
    run_name = request.get("run_name")
    if run_name and not is_run_id(run_name):
        raise JobInvalid(
            "run_name cannot be used as a run id",
            hint="Use up to 128 letters, digits, dots, hyphens and underscores, "
            "beginning with a letter or digit, without two dots in a row.",
        )


def check_limits(modes: tuple[ModeOrder, ...], planned: float | None, limits: RunLimits) -> None:
    """Refuse a run that takes too long or has too many points.

    Parameters
    ----------
    planned
        Seconds the run will take, None where nobody can say.
    """
    if planned is not None and planned > limits.hours * 3600:
        raise JobInvalid(
            f"The run would take {planned / 3600:.1f} hours",
            hint=f"At most {limits.hours:g} hours are allowed here.",
        )
    for order in modes:
        if order.mode.control is Control.IMPEDANCE:
            continue
        points = waveforms.point_count(order.mode, order.parameters)
        if points == 0:
            raise JobInvalid(
                f"{order.name} is over before its first point",
                hint=f"A point takes {SAMPLE_PERIOD} s; choose a longer time or sweep.",
            )
        if points > limits.points:
            raise JobInvalid(
                f"{order.name} would take {points:.3g} points",
                hint=f"At most {limits.points:.3g} points are allowed here.",
            )


def bytes_of_tables(
    modes: tuple[ModeOrder, ...], interval: float | None, seconds: float = math.inf
) -> float:
    """Return the most that a slot's tables take on the disk; spectra are too small to count.

    Parameters
    ----------
    interval
        Seconds per row, None for every point.
    seconds
        How long the slot still measures; what it wrote before does not count.
    """
    points = sum(waveforms.point_count(order.mode, order.parameters) for order in modes)
    points_to_come = min(points, seconds / SAMPLE_PERIOD)
    return points_to_come / points_per_row(interval, SAMPLE_PERIOD) * BYTES_PER_ROW


def check_space(needed: float, limits: RunLimits, runs_root: Path) -> None:
    """Refuse a run that would fill the disk; ``needed`` bytes are for it and those under way."""
    free = shutil.disk_usage(runs_root).free
    if free < limits.min_free_bytes + needed:
        raise DiskAlmostFull(
            f"Only {free / 1e6:.0f} MB are free for runs; "
            f"this one and those under way may take {needed / 1e6:.0f} MB",
            hint="Free space on the disk of the runs folder.",
        )


def check_samples(given: Given, slots: Sequence[str]) -> None:
    """Refuse samples for slots that the run has not."""
    strange = [part for part, _ in given if part and part not in slots]
    if strange:
        raise JobInvalid(
            f"samples names {strange[0][:40]}, which is no slot of this run",
            hint=f"The run's slots are {', '.join(slots)}.",
        )
