"""What all stores share: one transaction per change, and a race lost told as a rule broken."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.compiler import compiles

from benchwire.domains.plates.errors import Refused, Unacceptable
from benchwire.foundation.clock import Clock
from benchwire.foundation.db import Database

T = TypeVar("T")

Row = Mapping[str, Any]

# What a constraint is called on either database, and the sentence for whoever broke it.
_RULES = {
    "current_location_id": "Location is already occupied",
    "barcode": "Barcode has already been taken",
    "carousel_position": "Carousel position has already been taken",
    "special_key": "Name has already been taken",
    "subwell": "Subwell has already been taken",
    "chemical_id": "Chemical can only be added once per stock solution",
    "well_content": "Stock solution is in this well already",
    "symbol": "Symbol has already been taken",
    "sciformation_id": "Sciformation has already been taken",
    "name": "Name has already been taken",
}


class Records:
    """One kind of record in the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def _read(self, query: sa.Executable) -> list[Row]:
        with self._database.read() as connection:
            return cast("list[Row]", connection.execute(query).mappings().all())

    def _write(self, what: str, work: Callable[[sa.Connection], T]) -> T:
        """Run a change in one transaction; ``what`` names it where a constraint refuses it."""
        try:
            return self._database.write(work)
        except IntegrityError as error:
            # Checks within the transaction come first; only another server on the same database
            # can have been faster than those.
            text = str(error.orig)
            reason = next((told for name, told in _RULES.items() if name in text), None)
            if reason is None:
                raise Refused(f"Failed to {what}: the record is in use") from error
            raise Unacceptable(what, [reason]) from error

    def _save(
        self,
        kind: str,
        table: sa.Table,
        own_id: int | None,
        values: Mapping[str, Any],
        reasons: Sequence[str],
        check: Callable[[sa.Connection], Sequence[str]],
        *,
        only: Collection[str] | None = None,
        then: Callable[[sa.Connection, int], object] = lambda _, __: None,
    ) -> int:
        """Make a record, or change one, unless something is wrong; return its id.

        Parameters
        ----------
        reasons
            What is wrong already.
        check
            Says what else is, from what is stored.
        only
            Columns to be written in a change; what others change meanwhile stays theirs.
        then
            What changes with it, by its id, in the same transaction.
        """
        what = f"{'create' if own_id is None else 'update'} {kind}"

        def work(connection: sa.Connection) -> int:
            told = list(dict.fromkeys([*reasons, *check(connection)]))
            if told:
                raise Unacceptable(what, told)
            row = values if only is None else {key: values[key] for key in only if key in values}
            saved = self._put(connection, table, own_id, row)
            then(connection, saved)
            return saved

        return self._write(what, work)

    def _put(
        self,
        connection: sa.Connection,
        table: sa.Table,
        own_id: int | None,
        values: Mapping[str, Any],
    ) -> int:
        if own_id is None:
            return new_id(connection, table, self._stamped(values))
        row = self._stamped(values, is_new=False)
        connection.execute(table.update().where(table.c.id == own_id).values(**row))
        return own_id

    def _stamped(self, values: Mapping[str, Any], *, is_new: bool = True) -> dict[str, Any]:
        now = self._clock.now()
        made = {"created_at": now} if is_new else {}
        return {**values, **made, "updated_at": now}


def paged(query: sa.Select[Any], offset: int, limit: int | None) -> sa.Select[Any]:
    """Return a query for one page of its rows, or for all."""
    return query.offset(offset).limit(limit) if limit is not None else query


class _Position(sa.sql.functions.FunctionElement[int]):
    """Where a text begins in another, 0 if nowhere: twice as fast as LIKE, without wildcards."""

    type = sa.Integer()
    inherit_cache = True


@compiles(_Position, "sqlite")
def _position_sqlite(element: _Position, compiler: Any, **more: Any) -> str:
    return f"instr({compiler.process(element.clauses, **more)})"


@compiles(_Position, "postgresql")
def _position_postgresql(element: _Position, compiler: Any, **more: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **more)})"


def contains(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    """Return the condition that a folded column contains a text."""
    return _Position(column, sa.literal(text.casefold(), sa.Text)) > 0


def new_id(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> int:
    """Insert a row and return its id."""
    key = connection.execute(table.insert().values(**values)).inserted_primary_key
    assert key is not None  # noqa: S101 - every table here has one
    return int(key[0])


def first_row(connection: sa.Connection, query: sa.Select[Any]) -> Row | None:
    """Return a query's first row."""
    return cast("Row | None", connection.execute(query).mappings().first())


def only_row(connection: sa.Connection, query: sa.Select[Any]) -> Row:
    """Return the row of a query that has one, as of what was just made."""
    return cast("Row", connection.execute(query).mappings().one())


def is_taken(
    connection: sa.Connection,
    table: sa.Table,
    condition: sa.ColumnElement[bool],
    own_id: int | None = None,
) -> bool:
    """Return whether another row than its own meets a condition."""
    query = sa.select(table.c.id).where(condition)
    if own_id is not None:
        query = query.where(table.c.id != own_id)
    return connection.execute(query.limit(1)).first() is not None
