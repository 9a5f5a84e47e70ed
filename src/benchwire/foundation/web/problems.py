"""Every failure as one value, before the owning API writes it in its own shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchwire.foundation.errors import BenchwireError


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong with a request.

    ``code`` is the fact in dotted words, ``kind`` tells failures of the framework apart from those
    of a service: ``service``, ``validation``, ``path``, ``method``, ``key``, ``unforeseen``.
    """

    status: int
    code: str
    message: str
    hint: str = ""
    details: tuple[Mapping[str, Any], ...] = ()
    kind: str = "service"

    @classmethod
    def of(cls, error: BenchwireError) -> "Problem":
        """Return the problem that an error of ours states."""
        return cls(error.status, error.code, error.message, error.hint, error.details)


KEY_REFUSED = Problem(
    401,
    "auth.invalid_api_key",
    "The API key is missing or wrong",
    "Send the server's key in the X-API-Key header.",
    kind="key",
)
ORIGIN_REFUSED = Problem(
    403,
    "auth.foreign_origin",
    "A page of another site may not change anything here",
    "Open the dashboard of this server, or allow the site with cors_origins.",
    kind="key",
)
GUESSES_REFUSED = Problem(
    429,
    "auth.too_many_wrong_keys",
    "Too many wrong keys came from here",
    "Wait a minute. The correct key still works.",
    kind="key",
)
HOST_REFUSED = Problem(
    403,
    "auth.foreign_host",
    "This server is not known by that name",
    "Use its address, set a key, or add the name to allowed_hosts.",
    kind="key",
)


def role_refused(role: str, needed: str) -> Problem:
    """Return what is told to a key that is not good for what it asks."""
    return Problem(
        403,
        "auth.role",
        f"The key is one of a {role}; this needs {'an' if needed[0] in 'ao' else 'a'} {needed}",
        "Ask whoever runs the server for a key with that role.",
        kind="key",
    )
