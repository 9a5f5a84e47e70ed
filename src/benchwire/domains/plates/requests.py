"""What a request says, before it is anybody's value: root objects, ids, pages."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from benchwire.domains.plates.errors import MissingParameter, RecordNotFound

T = TypeVar("T")

_ID = re.compile(r"[0-9]{1,9}")
_TRUE, _FALSE = frozenset({"true", "1"}), frozenset({"false", "0"})
MOST_PER_PAGE = 1000


def root(body: Mapping[str, Any], name: str, columns: tuple[str, ...]) -> dict[str, Any]:
    """Return the object under a root key; without the key, those known columns that are there.

    Raises
    ------
    MissingParameter
        There is neither.
    """
    if name in body:
        found = body[name]
        if not isinstance(found, Mapping) or not found:
            raise MissingParameter(name)
        return dict(found)
    loose = {key: body[key] for key in columns if key in body}
    if not loose:
        raise MissingParameter(name)
    return loose


def optional_root(body: Mapping[str, Any], name: str, columns: tuple[str, ...]) -> dict[str, Any]:
    """Return what `root` does, an empty object where there is nothing."""
    try:
        return root(body, name, columns)
    except MissingParameter:
        return {}


def record_id(text: str, what: str) -> int:
    """Return an id from a path.

    Raises
    ------
    RecordNotFound
        It is no number that an id can be.
    """
    if not _ID.fullmatch(text):
        raise RecordNotFound(what, "id", text)
    return int(text)


def flag(text: str | None) -> bool | None:
    """Return what a query parameter says, None where it says nothing that is understood."""
    word = (text or "").strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def whole(text: str | None) -> int | None:
    """Return a filter's number: None where it is blank, -1, which nothing has, where it is none."""
    if text is None or not text.strip():
        return None
    plain = text.strip()
    return int(plain) if _ID.fullmatch(plain) else -1


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list; without a limit all of it."""

    offset: int = 0
    limit: int | None = None

    def cut(self, whole: Sequence[T]) -> Sequence[T]:
        """Return this page of a list that is short enough to be at hand."""
        return whole if self.limit is None else whole[self.offset : self.offset + self.limit]

    @classmethod
    def of(cls, page: str | None, per_page: str | None, default: int = 25) -> "Page":
        """Return the page that two query parameters mean; all where neither is given."""
        if not page and not per_page:
            return cls()
        size = min(max(whole(per_page) or default, 1), MOST_PER_PAGE)
        number = max(whole(page) or 1, 1)
        return cls((number - 1) * size, size)
