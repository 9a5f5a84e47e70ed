"""What can go wrong between a client and a server, told in one way whatever the API's own shape.

::

    BenchError
    ├── Unreachable        no connection, or it was lost
    │   └── AnswerLost     a request may have been carried out, its answer did not arrive
    ├── Refused            the server said no
    │   ├── Unauthorised   401, 403: the key is wrong or missing
    │   ├── NotFound       404
    │   ├── Invalid        400, 413, 422: the request cannot be used
    │   ├── Conflict       409: something else is in the way
    │   └── Unavailable    429, 502, 503, 504: not at the moment
    ├── Unreadable         what came back is no answer of a benchwire server
    ├── WorkFailed         a piece of work ended, and not well
    │   └── WorkCancelled
    └── StillRunning       it did not end in time
"""

from collections.abc import Mapping, Sequence
from typing import Any


class BenchError(Exception):
    """Something that cannot be done, in words for the person who asked.

    Parameters
    ----------
    message
        What is wrong.
    status
        The HTTP status where a server answered.
    code
        A word for programs, such as ``jobs.slots_busy``.
    hint
        What to do about it; may be empty.
    details
        One sentence for each thing that is wrong, where there are many.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        hint: str = "",
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.hint = hint
        self.details = tuple(details)

    def __str__(self) -> str:
        """Return message and hint as one text."""
        text = self.message.rstrip(". ")
        return f"{text}. {self.hint}" if self.hint else text


class Unreachable(BenchError):
    """There is no connection to the server."""


class AnswerLost(Unreachable):
    """The connection was cut while an answer was waited for; the request may have had effect."""


class Refused(BenchError):
    """The server has refused a request."""


class Unauthorised(Refused):
    """The key is wrong or missing, or the request is not allowed."""


class NotFound(Refused):
    """There is nothing of that name."""


class Invalid(Refused):
    """The request cannot be used as it is."""


class Conflict(Refused):
    """Something else is in the way."""


class Unavailable(Refused):
    """It cannot be done at the moment."""


class Unreadable(BenchError):
    """What came back is no answer of a benchwire server."""


class WorkFailed(BenchError):
    """A piece of work has failed; what it had written by then is kept."""


class WorkCancelled(WorkFailed):
    """A piece of work was cancelled; what it had written by then is kept."""


class StillRunning(BenchError, TimeoutError):
    """A piece of work did not end in the time given; it goes on."""


class IncompleteWarning(UserWarning):
    """A list is longer than the server gives out."""


_KINDS: Mapping[int, tuple[type[Refused], str]] = {
    400: (Invalid, "invalid"),
    401: (Unauthorised, "unauthorised"),
    403: (Unauthorised, "forbidden"),
    404: (NotFound, "not_found"),
    405: (Refused, "method_not_allowed"),
    409: (Conflict, "conflict"),
    413: (Invalid, "too_large"),
    422: (Invalid, "invalid"),
    429: (Unavailable, "too_many_requests"),
    502: (Unavailable, "unavailable"),
    503: (Unavailable, "unavailable"),
    504: (Unavailable, "unavailable"),
}
_KEY_HINT = (
    "Give the server's key: Bench(url, api_key=...), the variable BENCHWIRE_API_KEY, or --key."
)
# Where the API of the plates says in `message` what exactly is wrong, not what to do about it.
_GENERAL = frozenset({"Record not found", "Missing parameter"})


def refusal(status: int, body: object, path: str) -> BenchError:
    """Return the error that a refusing answer means.

    Parameters
    ----------
    body
        The answer, parsed where it is JSON and as text otherwise.
    path
        What was asked for, named where the answer says nothing.
    """
    kind, code = _KINDS.get(status, (Refused, "failed" if status >= 500 else "refused"))
    message, own_code, hint, details = "", "", "", list[str]()
    if isinstance(body, Mapping):
        message, own_code, hint, details = _read(body)
    if not message:
        message = f"The server answered {status} to {path}"
    if status == 401 and not hint:
        hint = _KEY_HINT
    return kind(message, status=status, code=own_code or code, hint=hint, details=details)


def _read(body: Mapping[str, Any]) -> tuple[str, str, str, list[str]]:
    """Return message, code, hint and details of a refusal in any of the server's shapes."""
    code = str(body.get("code") or body.get("error_code") or "")
    second = str(body.get("message") or "")
    details = [str(item) for item in _listed(body.get("details"))]
    if isinstance(body.get("error"), str):
        message = str(body["error"])
        if message in _GENERAL and second:
            return f"{message}: {second}", code, "", details
        if details and not all(detail in message for detail in details):
            message = f"{message}: {'; '.join(details)}"
        return message, code, second if second != body["error"] else "", details
    if second:
        return second, code, str(body.get("hint") or ""), details
    found = body.get("detail")
    if isinstance(found, str):
        return found, code, "", details
    sentences = [_sentence(item) for item in _listed(found)]
    return "; ".join(sentences), code, "", sentences


def _listed(found: object) -> list[Any]:
    return found if isinstance(found, list) else []


def _sentence(item: object) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    place = ".".join(str(part) for part in _listed(item.get("loc"))[1:])
    text = str(item.get("msg") or item.get("message") or "")
    return f"{place}: {text}" if place else text
