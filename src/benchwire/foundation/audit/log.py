"""The audit log: an entry for everything that was done or refused.

Each entry carries a hash of itself and of the entry before, so that one that was changed or taken
out shows: every hash after it would have to be made anew. Whoever can write to the database can do
that for all of them, so the newest hash is told in the server's own log at each start, and
``benchwire audit`` prints it to be kept elsewhere.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from benchwire.foundation.audit.tables import entries
from benchwire.foundation.clock import Clock, utc_text
from benchwire.foundation.db import Database

if TYPE_CHECKING:
    from concurrent.futures import Future

_ROWS_AT_ONCE = 1000
_LONGEST = {"who": 40, "role": 20, "address": 100, "method": 20, "path": 1000, "action": 200}
BEGINNING = "0" * 64
"""Stands for the hash before the first entry."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did or was refused.

    Parameters
    ----------
    address
        Where it came from.
    method, path
        Of the request; ``PAGE`` and the page for what was done on the dashboard. Neither a query
        nor a body is kept.
    action
        In words, for what was done on the dashboard.
    status
        As an answer over HTTP has it.
    """

    who: str
    role: str
    address: str
    method: str
    path: str
    status: int
    action: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A deed as it stands in the log; ids go up by one."""

    id: int
    at: datetime
    deed: Deed
    hash: str

    def as_json(self) -> dict[str, Any]:
        """Return the entry for clients."""
        return {"id": self.id, "at": utc_text(self.at), **asdict(self.deed), "hash": self.hash}


class AuditLog:
    """Adds entries and reads them; nothing changes or removes one."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(self, deed: Deed) -> "Future[None]":
        """Queue an entry, and return the promise that it is on the disk.

        The database's writer takes many at once, so that they share a commit.
        """
        at = self._clock.now()
        texts: dict[str, Any] = {
            name: _plain(getattr(deed, name), longest) for name, longest in _LONGEST.items()
        }
        written = replace(deed, **texts)

        def work(connection: sa.Connection) -> None:
            if connection.dialect.name == "postgresql":
                # Two servers on one database would else begin two chains.
                connection.execute(sa.text("LOCK TABLE audit_entry IN EXCLUSIVE MODE"))
            last = connection.execute(
                sa.select(entries.c.id, entries.c.hash).order_by(entries.c.id.desc()).limit(1)
            ).first()
            number, before = (1, BEGINNING) if last is None else (last.id + 1, last.hash)
            entry = Entry(number, at, written, "")
            connection.execute(
                entries.insert().values(
                    id=number, at=at, hash=_hash(entry, before), **asdict(written)
                )
            )

        return self._database.write_later(work)

    def page(self, limit: int, before: int | None = None) -> list[Entry]:
        """Return the newest entries, or the newest of those before one, newest first."""
        query = entries.select().order_by(entries.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(entries.c.id < before)
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def newest(self) -> Entry | None:
        """Return the last entry."""
        return next(iter(self.page(1)), None)

    def first_broken(self) -> int | None:
        """Return the number of the first entry that is not as it was written, None if all are.

        What was cut off at the end shows only by a hash that was kept elsewhere.
        """
        before = BEGINNING
        for number, entry in enumerate(self._all(), 1):
            if entry.id != number or entry.hash != _hash(entry, before):
                return number
            before = entry.hash
        return None

    def _all(self) -> Iterator[Entry]:
        last = 0
        with self._database.read() as connection:
            while True:
                query = entries.select().where(entries.c.id > last).order_by(entries.c.id)
                rows = connection.execute(query.limit(_ROWS_AT_ONCE)).all()
                yield from (_entry(row) for row in rows)
                if len(rows) < _ROWS_AT_ONCE:
                    return
                last = rows[-1].id


def _entry(row: Any) -> Entry:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    deed = Deed(**{name: values[name] for name in (*_LONGEST, "status")})
    return Entry(row.id, row.at, deed, row.hash)


def _hash(entry: Entry, before: str) -> str:
    content = {**entry.as_json(), "hash": before}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain(text: str, longest: int) -> str:
    """Return a text as one line in which nothing is hidden.

    Line breaks, control characters and what turns the direction of writing are spelled out, so that
    no path can forge an entry or hide in one.
    """
    spelled = "".join(
        character
        if character.isprintable() and character != "\\"
        else character.encode("unicode_escape").decode("ascii")
        for character in text[:longest]
    )
    return spelled[:longest]
