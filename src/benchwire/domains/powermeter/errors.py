"""Errors of the power meters, and the body the API writes them in."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from benchwire.foundation.errors import Conflict, Invalid, NotFound, Unavailable
from benchwire.foundation.instruments.transport import LinkLost
from benchwire.foundation.web.problems import Problem


class PeriodInvalid(Invalid):
    """The period is not in the API's form."""

    code = "powermeter.period_invalid"

    def __init__(self, text: str) -> None:
        super().__init__(
            f"'{text[:40]}' is not a period",
            hint="Write a whole number above 0 and s, m or h: 30s, 5m, 1h.",
        )


class NoReadings(NotFound):
    """Nothing is stored for what was asked."""

    code = "powermeter.no_readings"


class MeterUnknown(NotFound):
    """There is no meter of that name."""

    code = "powermeter.meter_unknown"


class SessionUnknown(NotFound):
    """There is no session of that id."""

    code = "powermeter.session_unknown"


class SessionUnfinished(Conflict):
    """A session that is still under way has no bundle."""

    code = "powermeter.session_unfinished"


class SessionReadingsGone(NotFound):
    """Readings of a session have been deleted, as they were older than the retention."""

    code = "powermeter.session_readings_gone"

    def __init__(self) -> None:
        super().__init__(
            "Readings of the charge are no longer here",
            hint="Set data_retention_minutes longer than the next charge will take.",
        )


class ConfigInvalid(Invalid):
    """The configuration cannot be used; nothing of it was applied."""

    code = "powermeter.config_invalid"


class PortTaken(Conflict):
    """Another meter is read at that port."""

    code = "powermeter.port_taken"


class MeterDeclared(Conflict):
    """The settings name the meter, so it cannot be removed here."""

    code = "powermeter.meter_declared"


class RecordingUnderWay(Conflict):
    """The meter's recording is being read for somebody else."""

    code = "powermeter.recording_under_way"


class MeterSilent(LinkLost):
    """The port is open and the meter says nothing."""

    code = "powermeter.silent"

    def __init__(self) -> None:
        super().__init__(
            "The meter does not answer",
            hint="The port is there, so the meter itself is deaf: unplug it and plug it in again.",
        )


class FrameDamaged(Unavailable):
    """What the meter answered is damaged; nothing of it was used."""

    code = "powermeter.frame_damaged"


class MeterUnusable(LinkLost):
    """What is at the port is no meter that measures."""

    code = "powermeter.unusable"


class MeterRefusal(BaseModel):
    """A refusal as this API writes it."""

    error: str
    message: str
    code: str


def render_error(problem: Problem) -> tuple[int, Mapping[str, Any]]:
    """Write a problem as this API does: ``error`` says what, ``message`` what to do about it."""
    status = 400 if problem.kind == "validation" else problem.status
    return status, {
        "error": problem.message,
        "message": problem.hint or problem.message,
        "code": problem.code,
    }
