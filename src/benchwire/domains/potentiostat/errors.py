"""What the potentiostat API refuses, with its fixed codes, and how it writes a refusal."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel

from benchwire.foundation.errors import Conflict, Failed, Invalid, NotFound, Unavailable
from benchwire.foundation.web.problems import Problem


class JobInvalid(Invalid):
    """A run's modes, parameters or name cannot be used."""

    status: ClassVar[int] = 422
    code = "jobs.invalid_request"


class NoValidSlot(Invalid):
    """None of the wanted slots exists."""

    code = "jobs.invalid_devices"


class SlotChanged(Conflict):
    """A slot has another instrument than the run that is to be repeated had."""

    code = "jobs.slot_changed"


class RunIdTaken(Conflict):
    """A run of that name exists already, running or finished."""

    code = "jobs.run_id_conflict"


class KeyReused(Conflict):
    """An idempotency key began a run that was asked for otherwise."""

    code = "jobs.idempotency_key_reused"


class SlotsBusy(Conflict):
    """Wanted slots belong to another unfinished run."""

    code = "jobs.slots_busy"

    def __init__(self, slots: list[str]) -> None:
        super().__init__(
            f"Slots busy: {', '.join(sorted(slots))}",
            hint="Wait until the listed slots are free.",
        )


class RunNotFound(NotFound):
    """There is no job of that id."""

    code = "jobs.not_found"


class NoRunIds(Invalid):
    """A bulk status was asked for no run."""

    code = "jobs.missing_run_ids"


class RunIdsUnknown(NotFound):
    """A bulk status names runs that do not exist."""

    code = "jobs.run_ids_unknown"


class RunFolderNotFound(NotFound):
    """A run is unknown, or its files are gone."""

    code = "runs.not_found"


class RunFileNotFound(NotFound):
    """A run has no such file."""

    code = "runs.file_not_found"


class RunNotCompleted(Conflict):
    """Only a finished run can be uploaded."""

    code = "runs.not_completed"


class NameInvalid(Invalid):
    """Nothing is left of a name once unsafe characters are taken out."""

    code = "storage.invalid_name"


class NasNotConfigured(Conflict):
    """An upload was asked for and no NAS is set up."""

    code = "nas.not_configured"


class NoInstrument(Unavailable):
    """No potentiostat is connected."""

    code = "devices.unavailable"


class DiskAlmostFull(Unavailable):
    """There is too little free space to begin a run."""

    code = "storage.disk_full"


class ModeParametersUnknown(Invalid):
    """The instrument lacks a mode whose parameters were asked for."""

    code = "modes.parameter_error"


class RunIncomplete(Failed):
    """Fewer points reached the disk than the mode has."""

    code = "runs.incomplete"


class PotentiostatRefusal(BaseModel):
    """A refusal as this API writes it."""

    code: str
    message: str
    hint: str
    detail: list[dict[str, Any]] | None = None


def render_error(problem: Problem) -> tuple[int, Mapping[str, Any]]:
    """Write a problem as this API does: one flat object of code, message and hint."""
    body: dict[str, Any] = {
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
    }
    if problem.details:
        body["detail"] = [dict(item) for item in problem.details]
    return problem.status, body
