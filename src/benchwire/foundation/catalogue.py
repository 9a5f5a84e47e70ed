"""What a domain shows of itself in lists over all domains: items, bundles of results, notices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from benchwire.foundation.clock import utc_text
from benchwire.foundation.jobs.states import JobRecord

_WHOLE_STATES = frozenset({None, "done", "completed"})


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a domain keeps, as a list of many domains shows it.

    Parameters
    ----------
    kind
        A singular noun, such as ``run`` or ``plate``.
    id
        Its public id, unique within the kind.
    page
        Path of its page below the dashboard's own.
    api
        Path of its API.
    at
        When it began or was made.
    state
        In the words of its API.
    detail
        A line of facts, with units.
    parts
        What of it a sample can be named for, such as the slots of a run; None where not known.
    has_bundle
        Whether a bundle can be had of it now, where its kind has any; None leaves it to the state.
    """

    kind: str
    id: str
    title: str
    page: str | None = None
    api: str | None = None
    at: datetime | None = None
    state: str | None = None
    detail: str = ""
    parts: tuple[str, ...] | None = None
    has_bundle: bool | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a bundle can be had of it now: it says so, has no states, or is done."""
        return self.state in _WHOLE_STATES if self.has_bundle is None else self.has_bundle

    def as_json(self) -> dict[str, Any]:
        """Return the item for clients: plain values, the time as ISO 8601 UTC text."""
        return {
            "kind": self.kind,
            "id": self.id,
            "title": self.title,
            "page": self.page,
            "api": self.api,
            "at": None if self.at is None else utc_text(self.at),
            "state": self.state,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class BundledFile:
    """One file of a finished piece of work.

    Parameters
    ----------
    name
        Relative POSIX path in the bundle.
    path
        Where the file lies, links followed (`Path.resolve`); or
    make
        what writes it to the path it is given.
    """

    name: str
    description: str
    media_type: str
    path: Path | None = None
    make: Callable[[Path], None] | None = None
    role: Literal["result", "input", "record", "plot"] = "result"


@dataclass(frozen=True, slots=True)
class Instrument:
    """What measured."""

    name: str
    serial_number: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything of one finished piece of work.

    ``packages`` are the Python packages its results depend on.
    """

    item: Item
    files: Sequence[BundledFile]
    parameters: Mapping[str, Any]
    started: datetime | None
    ended: datetime | None
    instruments: Sequence[Instrument] = ()
    packages: Sequence[str] = ()
    requested_by: str = ""


class Shelf(Protocol):
    """A domain's items.

    Parameters
    ----------
    kinds
        The kinds of item it knows.
    bundled
        Those of which a bundle can be had.
    """

    kinds: tuple[str, ...]
    bundled: tuple[str, ...]

    def find(self, text: str, limit: int) -> list[Item]:
        """Return the items that a text occurs in, whatever its case, newest first."""
        ...

    def item(self, kind: str, item_id: str) -> Item:
        """Return one item.

        Raises
        ------
        NotFound
            There is none of that id.
        """
        ...

    def of_job(self, record: JobRecord) -> Item | None:
        """Return what a job of this domain works on or has made."""
        ...

    def bundle(self, kind: str, item_id: str) -> Bundle:
        """Return everything of one finished item.

        Raises
        ------
        NotFound, Conflict
            There is none of that id, or it is not finished.
        """
        ...


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should look at, and the dashboard's page to do so."""

    level: Literal["error", "warning"]
    text: str
    page: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Return the notice for clients."""
        return {"level": self.level, "text": self.text, "page": self.page}
