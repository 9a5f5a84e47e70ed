"""The one family of errors that services raise and the web edge turns into answers.

::

    BenchwireError
    ├── Invalid       400   the request cannot be used as it is
    ├── Forbidden     403   understood, and refused
    ├── NotFound      404   no such thing
    ├── Conflict      409   right request, wrong moment
    ├── Unavailable   503   a part the request needs is not there at the moment
    └── Failed        500   the work itself went wrong

A domain subclasses these with a fixed ``code`` and, where its API differs, another ``status``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class BenchwireError(Exception):
    """Something a person can act on: what happened, and what to do about it.

    Parameters
    ----------
    message
        One sentence for the user. It names no server path and carries no trace.
    hint
        What to do next; may be empty.
    details
        Facts a client may want to read by key or in a list.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal.error"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        details: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)

    def __reduce__(self) -> tuple[Any, ...]:
        """Take it to another process as it is, whatever a subclass's constructor asks for."""
        return _as_it_was, (type(self), self.args, self.__dict__)


class Invalid(BenchwireError):
    """The request cannot be used as it is."""

    status = 400
    code = "request.invalid"


class Forbidden(BenchwireError):
    """The request was understood and is refused."""

    status = 403
    code = "request.forbidden"


class NotFound(BenchwireError):
    """There is no such thing."""

    status = 404
    code = "request.not_found"


class Conflict(BenchwireError):
    """The request is right, the moment is not."""

    status = 409
    code = "request.conflict"


class Unavailable(BenchwireError):
    """A part that the request needs is not there at the moment."""

    status = 503
    code = "service.unavailable"


class Failed(BenchwireError):
    """The work was started and went wrong."""

    status = 500
    code = "work.failed"


def _as_it_was(
    kind: type[BenchwireError], arguments: tuple[Any, ...], facts: dict[str, Any]
) -> BenchwireError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(facts)
    return error
