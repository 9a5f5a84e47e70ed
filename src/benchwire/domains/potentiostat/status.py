"""From a run's record to the answers clients read."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import cast

from benchwire.domains.potentiostat.progress import (
    SlotProgress,
    job_progress_pct,
    job_remaining_seconds,
)
from benchwire.domains.potentiostat.run_folder import subdir_of
from benchwire.domains.potentiostat.schemas import (
    JobOverview,
    JobStatus,
    RunState,
    SlotState,
    SlotStatus,
)
from benchwire.domains.potentiostat.store import UNFINISHED, RunRecord, SlotRecord
from benchwire.foundation.clock import utc_text
from benchwire.foundation.files import sanitise


def run_status(slots: tuple[SlotRecord, ...]) -> str:
    """Return a run's state from those of its slots."""
    states = {slot.status for slot in slots}
    if states & set(UNFINISHED):
        return "running"
    for state in ("failed", "cancelled"):
        if state in states:
            return state
    return "done"


def job_status(
    run: RunRecord, *, planned: float | None, elapsed: Callable[[str], float]
) -> JobStatus:
    """Return how far a run is.

    Parameters
    ----------
    planned
        Seconds all modes of a slot take; None when unknown.
    elapsed
        Gives the seconds since a slot started.
    """
    status = run_status(run.slots)
    modes: list[str] = list(run.request["modes"])
    number = _mode_number(run)
    is_running = status == "running"
    progress = [SlotProgress(slot.status, planned, elapsed(slot.slot)) for slot in run.slots]
    return JobStatus.model_construct(
        run_id=run.run_id,
        mode=modes[number],
        started_at=utc_text(run.started_at),
        status=cast("RunState", status),
        ended_at=None if run.ended_at is None else utc_text(run.ended_at),
        slots=[slot_status(slot) for slot in run.slots],
        progress_pct=job_progress_pct(progress),
        remaining_s=job_remaining_seconds(progress),
        modes=modes,
        current_mode=modes[number] if is_running else None,
        remaining_modes=modes[number + 1 :] if is_running else [],
    )


def slot_status(slot: SlotRecord) -> SlotStatus:
    """Return one slot's part of a run's status."""
    return SlotStatus.model_construct(
        slot=slot.slot,
        status=cast("SlotState", slot.status),
        started_at=None if slot.started_at is None else utc_text(slot.started_at),
        ended_at=None if slot.ended_at is None else utc_text(slot.ended_at),
        message=slot.message,
        files=list(slot.files),
    )


def overview(run: RunRecord) -> JobOverview:
    """Return a run's line in the list."""
    is_queued = all(slot.status == "queued" for slot in run.slots)
    return JobOverview.model_construct(
        run_id=run.run_id,
        mode=run.request["modes"][_mode_number(run)],
        status="queued" if is_queued else cast("RunState", run_status(run.slots)),
        started_at=utc_text(run.started_at),
        ended_at=None if run.ended_at is None else utc_text(run.ended_at),
        devices=[slot.slot for slot in run.slots],
    )


def _mode_number(run: RunRecord) -> int:
    """Return the mode of the slot that is furthest behind, or the last one started at the end."""
    numbers = [slot.mode_number or 0 for slot in run.slots if slot.status in UNFINISHED]
    if numbers:
        return min(numbers)
    return max((slot.mode_number or 0 for slot in run.slots), default=0)


def belongs_to_group(run: RunRecord, group: str) -> bool:
    """Whether a run is found under a group's name, case aside.

    The name may be the label it was sent with, the folder's name as sent or as sanitised, or the
    folder that holds the run's own.
    """
    wanted = group.strip().casefold()
    request = run.request
    names = [request.get("group_id"), request.get("folder_name"), request.get("subdir")]
    names.append(sanitise(subdir_of(request) or ""))
    parts = PurePosixPath(run.folder).parts
    if len(parts) > 2:
        names.append(parts[-2])
    return any(name and name.strip().casefold() == wanted for name in names)
