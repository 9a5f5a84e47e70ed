"""The database of one moment as one SQLite file, and a database made of such a file.

SQLite is copied page by page under one read transaction, which no writer waits for. PostgreSQL is
read table by table within one transaction that sees one moment. The file has the schema of its
source, so what was taken from either can be restored to either.
"""

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from benchwire.backup.manifest import BackupFailed, BackupRefused, BackupUnusable
from benchwire.backup.places import mover
from benchwire.foundation import schema
from benchwire.foundation.db import BUSY_SECONDS, is_sound

_ROWS_AT_ONCE = 500
# As the standard library waits, in s.
_BETWEEN_LOOKS = 0.25
_VERSION_TABLE = "alembic_version"


def postgresql_url(text: str) -> sa.URL:
    """Return the address of a PostgreSQL database with the driver that is used here.

    Raises
    ------
    BackupRefused
        It is of another kind.
    """
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError as error:
        raise BackupRefused("The database address cannot be understood") from error
    if url.get_backend_name() != "postgresql":
        raise BackupRefused(f"'{url.drivername}' is not supported as a database")
    return url.set(drivername="postgresql+psycopg")


# -- taking -----------------------------------------------------------------------------------


def snapshot_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite database that may be in use; everything committed by now is in the copy.

    Raises
    ------
    BackupRefused
        The database is damaged.
    BackupFailed
        The disk did not take the copy, or another program holds the database locked.
    """
    with (
        contextlib.closing(sqlite3.connect(source, timeout=BUSY_SECONDS)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        # In one step: a copy in many begins anew whenever somebody else writes.
        try:
            old.execute("PRAGMA query_only=ON")
            old.backup(new, pages=-1, progress=_patience())
            new.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            raise BackupFailed(f"The database cannot be copied: {error}") from error
        except sqlite3.DatabaseError as error:
            raise _damaged() from error
    if not is_sound(target):
        raise _damaged()


def _patience() -> Callable[[int, int, int], None]:
    """Return what ends the wait for a database that another program holds locked."""
    looks = itertools.count(1)

    def look(status: int, _remaining: int, _total: int) -> None:
        is_locked = status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
        if is_locked and next(looks) * _BETWEEN_LOOKS > BUSY_SECONDS:
            raise BackupFailed("Another program holds the database locked")

    return look


def _damaged() -> BackupRefused:
    return BackupRefused(
        "The database is damaged, so no backup was made",
        hint="Restart the server, which sets it aside; an earlier backup may have what is lost.",
    )


def snapshot_postgresql(url: sa.URL, target: Path) -> None:
    """Write every table of a PostgreSQL database into a new SQLite file, all of one moment.

    Raises
    ------
    BackupRefused
        There is nothing of benchwire's in it, it does not answer, or it cannot be read.
    BackupFailed
        The disk did not take the copy.
    """
    engine = sa.create_engine(url, isolation_level="REPEATABLE READ")
    try:
        with engine.connect() as theirs:
            theirs.execute(sa.text("SET TRANSACTION READ ONLY"))
            if not sa.inspect(theirs).has_table(_VERSION_TABLE):
                raise BackupRefused("There is no benchwire in that database")
            version = theirs.scalar(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}"))  # noqa: S608
            with _sqlite(target) as ours:
                _migrate(ours, str(version))
                _copy_rows(theirs, ours)
                _set_sqlite_sequences(theirs, ours)
                ours.commit()
    except sa.exc.SQLAlchemyError as error:
        if isinstance(getattr(error, "orig", None), sqlite3.Error):
            raise BackupFailed(f"The copy of the database broke off: {_reason(error)}") from error
        raise BackupRefused(f"The database cannot be read: {_reason(error)}") from error
    finally:
        engine.dispose()


def schema_of(path: Path) -> str:
    """Return the schema version of a SQLite file.

    Raises
    ------
    BackupUnusable
        It has none.
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            found = connection.execute(f"SELECT version_num FROM {_VERSION_TABLE}").fetchone()  # noqa: S608
    except sqlite3.DatabaseError as error:
        raise BackupUnusable(f"The database in the backup cannot be read: {error}") from error
    if found is None:
        raise BackupUnusable("The database in the backup has no schema version")
    return str(found[0])


# -- giving back ------------------------------------------------------------------------------


@contextlib.contextmanager
def filling_postgresql(url: sa.URL, source: Path) -> Iterator[None]:
    """Write a SQLite file into an empty PostgreSQL database; it counts when the block ends well.

    Raises
    ------
    BackupRefused
        The database has tables, does not answer, or does not take the rows.
    """
    engine = sa.create_engine(url)
    try:
        with engine.connect() as theirs, _sqlite(source) as ours:
            if sa.inspect(theirs).get_table_names():
                raise BackupRefused(
                    "The PostgreSQL database is not empty", hint="Create a new one for it."
                )
            _migrate(theirs, schema_of(source))
            _copy_rows(ours, theirs)
            _set_postgresql_sequences(ours, theirs)
            yield
            theirs.commit()
    except sa.exc.SQLAlchemyError as error:
        raise BackupRefused(f"PostgreSQL refused: {_reason(error)}") from error
    finally:
        engine.dispose()


def move_paths(path: Path, moved: Mapping[Path, Path]) -> int:
    """Write new places over old ones in all texts of a SQLite file; return how many changed.

    Jobs name files in the data folder by absolute paths, which lead nowhere once it lies elsewhere.
    """
    if all(old == new for old, new in moved.items()):
        return 0
    changed = 0
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.create_function("moved", 1, mover(moved), deterministic=True)
        connection.create_function("moved_json", 1, mover(moved, in_json=True), deterministic=True)
        for table, column, is_json in _text_columns(connection):
            new = f'moved{"_json" if is_json else ""}("{column}")'
            changed += connection.execute(
                f'UPDATE "{table}" SET "{column}" = {new}'  # noqa: S608
                f""" WHERE typeof("{column}") = 'text' AND "{column}" <> {new}"""
            ).rowcount
    return changed


def _text_columns(connection: sqlite3.Connection) -> list[tuple[str, str, bool]]:
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    found = []
    for (table,) in tables:
        for _, column, kind, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
            if kind.upper().startswith(("TEXT", "VARCHAR", "JSON")):
                found.append((table, column, kind.upper() == "JSON"))
    return found


# -- from one kind of database to the other -----------------------------------------------------


@contextlib.contextmanager
def _sqlite(path: Path) -> Iterator[sa.Connection]:
    engine = sa.create_engine(sa.URL.create("sqlite+pysqlite", database=str(path)))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _migrate(connection: sa.Connection, version: str) -> None:
    """Make the tables of a schema version.

    Raises
    ------
    BackupRefused
        This program does not know it.
    """
    if version > schema.head():
        raise BackupRefused(
            f"The data have schema {version}, this version knows {schema.head()} at most",
            hint="Use the version of benchwire that wrote them, or a newer one.",
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def _copy_rows(source: sa.Connection, target: sa.Connection) -> None:
    """Copy all rows; tables that the migrations do not make, as those of plugins, are made here."""
    theirs, ours = sa.MetaData(), sa.MetaData()
    theirs.reflect(source)
    ours.reflect(target)
    missing = [table for table in theirs.sorted_tables if table.name not in ours.tables]
    for table in missing:
        _generic(table, ours).create(target)
    for table in reversed(theirs.sorted_tables):
        target.execute(ours.tables[table.name].delete())
    for table in theirs.sorted_tables:
        _copy_table(source, table, target, ours.tables[table.name])


def _generic(table: sa.Table, metadata: sa.MetaData) -> sa.Table:
    copy = table.to_metadata(metadata)
    for column in copy.columns:
        column.type = column.type.as_generic()
        if column.server_default is not None:
            column.server_default = None
    return copy


def _copy_table(
    source: sa.Connection, table: sa.Table, target: sa.Connection, into: sa.Table
) -> None:
    # JSON goes over as the text it is, which knows null from nothing and keeps every digit.
    texts = {column.name for column in table.columns if isinstance(column.type, sa.JSON)}
    columns = [
        (
            sa.cast(column, sa.Text) if _is_postgresql(source) else sa.type_coerce(column, sa.Text)
        ).label(column.name)
        if column.name in texts
        else column
        for column in table.columns
    ]
    values: dict[str, Any] = {}
    for column in into.columns:
        value: Any = sa.bindparam(f"v_{column.name}", type_=column.type)
        if column.name in texts:
            value = sa.bindparam(f"v_{column.name}", type_=sa.Text)
            if _is_postgresql(target):
                value = sa.cast(value, postgresql.JSON)
            else:
                value = sa.type_coerce(value, sa.Text)
        values[column.name] = value
    insert = into.insert().values(values)
    rows = source.execution_options(yield_per=_ROWS_AT_ONCE).execute(sa.select(*columns))
    for part in rows.mappings().partitions(_ROWS_AT_ONCE):
        target.execute(insert, [{f"v_{key}": row[key] for key in row} for row in part])


def _is_postgresql(connection: sa.Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _numbered(connection: sa.Connection) -> Iterator[tuple[str, str, str]]:
    """Yield table, column and sequence of each key that PostgreSQL counts up."""
    inspector = sa.inspect(connection)
    for table in inspector.get_table_names():
        for column in inspector.get_pk_constraint(table)["constrained_columns"]:
            sequence = connection.scalar(
                sa.text("SELECT pg_get_serial_sequence(:t, :c)"), {"t": f'"{table}"', "c": column}
            )
            if sequence is not None:
                yield table, column, str(sequence)


def _set_postgresql_sequences(source: sa.Connection, target: sa.Connection) -> None:
    """Have PostgreSQL count on from the highest number ever given away."""
    given: dict[str, int] = {}
    if sa.inspect(source).has_table("sqlite_sequence"):
        rows = source.execute(sa.text("SELECT name, seq FROM sqlite_sequence"))
        given = {row.name: row.seq for row in rows}
    for table, column, sequence in _numbered(target):
        highest = target.scalar(sa.text(f'SELECT max("{column}") FROM "{table}"')) or 0  # noqa: S608
        last = max(highest, given.get(table, 0))
        if last:
            target.execute(sa.text("SELECT setval(:s, :v)"), {"s": sequence, "v": last})


def _set_sqlite_sequences(source: sa.Connection, target: sa.Connection) -> None:
    """Have SQLite count on from the highest number ever given away, where it keeps count."""
    counted = target.execute(
        sa.text("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'")
    ).scalars()
    names = set(counted)
    for table, _, sequence in _numbered(source):
        if table not in names:
            continue
        last, is_called = source.execute(
            sa.text(f"SELECT last_value, is_called FROM {sequence}")  # noqa: S608
        ).one()
        if is_called:
            target.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :n"), {"n": table})
            target.execute(
                sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:n, :s)"),
                {"n": table, "s": last},
            )


def _reason(error: sa.exc.SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
