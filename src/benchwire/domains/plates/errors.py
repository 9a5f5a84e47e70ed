"""Errors of the plates, and the bodies the API writes them in."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from benchwire.foundation.errors import BenchwireError, Invalid, NotFound
from benchwire.foundation.web.problems import Problem


class RecordNotFound(NotFound):
    """There is no such record."""

    code = "plates.not_found"

    def __init__(self, what: str, key: str, value: object) -> None:
        super().__init__(f"Couldn't find {what} with '{key}'={str(value)[:100]}")


class MissingParameter(Invalid):
    """A part that the request needs is not in its body."""

    code = "plates.missing_parameter"

    def __init__(self, name: str) -> None:
        super().__init__(f"param is missing or the value is empty or invalid: {name}")


class Refused(BenchwireError):
    """The request was understood, and breaks a rule; nothing has changed."""

    status = 422
    code = "plates.refused"


class Unacceptable(Refused):
    """A record's values break rules; each is told.

    Parameters
    ----------
    what
        What was to be done, as in ``create plate``.
    reasons
        One sentence per rule.
    """

    code = "plates.validation"

    def __init__(self, what: str, reasons: Sequence[str]) -> None:
        super().__init__(f"Failed to {what}", details=[{"message": reason} for reason in reasons])


class PlatesRefusal(BaseModel):
    """A refusal as this API writes it; the kind of failure decides which keys there are."""

    error: str
    message: str | None = None
    details: list[str] | None = None
    errors: list[str] | None = None


def render_error(problem: Problem) -> tuple[int, Mapping[str, Any]]:
    """Write a problem as this API does; the kind of failure decides which keys there are."""
    if problem.code == RecordNotFound.code:
        return 404, {"error": "Record not found", "message": problem.message}
    if problem.code == MissingParameter.code:
        return 400, {"error": "Missing parameter", "message": problem.message}
    if problem.kind == "validation":
        return 422, {"error": problem.message, "details": _sentences(problem)}
    body: dict[str, Any] = {"error": problem.message}
    if problem.details:
        # The stock solutions' clients know the list by another name.
        body["details"] = body["errors"] = _sentences(problem)
    if problem.hint:
        body["message"] = problem.hint
    return problem.status, body


def _sentences(problem: Problem) -> list[str]:
    return [str(item["message"]) for item in problem.details]
