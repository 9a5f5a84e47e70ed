"""What the holder of a key may do.

A viewer reads, an operator does experiments, an admin also deletes and sets up. The method of a
request says which of them it needs; where it does not, the domain names the path.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Role(StrEnum):
    """What a key is good for; each may all that those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, other: "Role") -> bool:
        """Whether this role may all that another may."""
        return _ORDER[self] >= _ORDER[other]


_ORDER = {role: number for number, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Need:
    """A path whose method does not tell what it does.

    Parameters
    ----------
    path
        As its route has it, such as ``/api/meters/{name}``.
    is_logged
        Whether what was done belongs in the audit log. A refusal always does.
    """

    method: str
    path: str
    role: Role
    is_logged: bool = True


def reading(path: str) -> Need:
    """Return the need of a path that is only read, though its question is sent as a body."""
    return Need("POST", path, Role.VIEWER, is_logged=False)


class Needs:
    """The role that each request needs.

    Reading needs a viewer, deleting an admin, everything else an operator, but for the exceptions.
    """

    def __init__(self, exceptions: Iterable[Need]) -> None:
        from starlette.routing import compile_path

        # As the routes themselves are matched, so that no spelling of a path slips through.
        self._exceptions = [(compile_path(need.path)[0], need) for need in exceptions]

    def of(self, method: str, path: str) -> Need:
        """Return what a request needs."""
        for pattern, need in self._exceptions:
            if need.method == method and pattern.match(path):
                return need
        if method in SAFE_METHODS:
            return Need(method, path, Role.VIEWER, is_logged=False)
        return Need(method, path, Role.ADMIN if method == "DELETE" else Role.OPERATOR)
