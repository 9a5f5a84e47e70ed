"""One place where failures become answers: each application writes them in its own shape."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.files import disk_refusal
from benchwire.foundation.web.bodies import BodyTooLarge
from benchwire.foundation.web.problems import Problem

logger = logging.getLogger(__name__)

RenderError = Callable[[Problem], tuple[int, Mapping[str, Any]]]


class Detail(BaseModel):
    """A refusal in the framework's own shape."""

    detail: str


def render_detail(problem: Problem) -> tuple[int, Mapping[str, Any]]:
    """Write a problem in the framework's own shape, used where no API asks for another."""
    return problem.status, {"detail": _with_hint(problem)}


_UPPER_CODES = {
    "files.path_missing": "FILE_NOT_FOUND",
    "jobs.not_found": "JOB_NOT_FOUND",
    "jobs.already_ended": "JOB_ALREADY_COMPLETED",
    "jobs.not_done": "JOB_NOT_COMPLETED",
    "internal.error": "INTERNAL_ERROR",
}
_UPPER_STATUSES = {
    400: "INVALID_PARAMETERS",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    413: "REQUEST_TOO_LARGE",
    429: "TOO_MANY_REQUESTS",
    503: "UNAVAILABLE",
}


class Unsuccessful(BaseModel):
    """A refusal as the analysis APIs write it."""

    success: Literal[False]
    error: str
    error_code: str


def render_unsuccessful(problem: Problem) -> tuple[int, Mapping[str, Any]]:
    """Write a problem as ``success`` false with ``error`` and ``error_code``."""
    status = 400 if problem.kind == "validation" else problem.status
    otherwise = "INTERNAL_ERROR" if problem.kind == "unforeseen" else "PROCESSING_ERROR"
    code = _UPPER_CODES.get(problem.code) or _UPPER_STATUSES.get(status, otherwise)
    return status, {"success": False, "error": _with_hint(problem), "error_code": code}


def _with_hint(problem: Problem) -> str:
    return f"{problem.message}. {problem.hint}" if problem.hint else problem.message


def install(app: FastAPI, render: RenderError) -> None:
    """Make every failure of an application come out in one shape."""

    def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
        status, body = render(problem)
        # Escaped as ASCII: a message may echo text that no encoding can carry.
        return Response(
            json.dumps(body), status, dict(headers or {}), media_type="application/json"
        )

    def of_ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, BenchwireError)  # noqa: S101 - registered for this class alone
        if error.status >= 500:
            logger.error("%s: %s", error.code, error.message)
        return answer(Problem.of(error))

    def of_system(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)  # noqa: S101 - as above
        refusal = disk_refusal(error)
        return of_unforeseen(request, error) if refusal is None else of_ours(request, refusal)

    def of_validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        return answer(validation_problem(error))

    def of_framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        headers = dict(error.headers or {})
        if error.status_code == 405 and (methods := _methods(app, request.url.path)):
            headers["Allow"] = ", ".join(methods)
        return answer(_framework_problem(request, error), headers)

    def of_unforeseen(request: Request, error: Exception) -> Response:
        # The server's log carries the trace; the client must not.
        logger.error("unforeseen error at %s %s", request.method, request.url.path, exc_info=error)
        return answer(
            Problem(
                500,
                "internal.error",
                "An unforeseen error; the server's log has it",
                kind="unforeseen",
            )
        )

    app.add_exception_handler(BenchwireError, of_ours)
    app.add_exception_handler(OSError, of_system)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_framework)
    app.add_exception_handler(Exception, of_unforeseen)


def validation_problem(error: RequestValidationError) -> Problem:
    """Return what is wrong with a request, field by field, without echoing its content."""
    fields = tuple(
        {
            "field": ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0]),
            "code": item["type"],
            "message": item["msg"],
        }
        for item in error.errors()
    )
    shown = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:5])
    return Problem(
        422,
        "request.validation_error",
        f"The request cannot be used: {shown}",
        "Compare the request with /docs.",
        fields,
        kind="validation",
    )


def _framework_problem(request: Request, error: HTTPException) -> Problem:
    if error.status_code == 404:
        return Problem(
            404,
            "request.not_found",
            f"There is nothing at {request.url.path[:200]}",
            "See /docs for all paths.",
            kind="path",
        )
    if error.status_code == 405:
        return Problem(
            405,
            "request.method_not_allowed",
            f"{request.method} is not possible here",
            "See /docs for all paths.",
            kind="method",
        )
    code = BodyTooLarge.code if error.status_code == BodyTooLarge.status else "request.refused"
    return Problem(error.status_code, code, str(error.detail))


def _methods(app: FastAPI, path: str) -> list[str]:
    """Return the methods that a path has; the router names those of its first route alone."""
    for template, operations in app.openapi()["paths"].items():
        if compile_path(template)[0].fullmatch(path):
            return sorted(method.upper() for method in operations)
    return []
