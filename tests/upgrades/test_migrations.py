"""Every earlier schema, full of rows, brought up to this one: no row is lost or changed."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

import benchwire
from benchwire.foundation import schema
from benchwire.foundation.db import Database, open_database

ROWS = 3
EARLIER = sorted(path.name[:4] for path in (schema.MIGRATIONS / "versions").glob("[0-9]*.py"))[:-1]


@pytest.fixture
def empty(tmp_path: Path, database_url: str | None) -> Iterator[Database]:
    opened = open_database(tmp_path, database_url)
    yield opened
    opened.close()


def upgrade_to(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with database.migration_engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def all_metadata() -> list[sa.MetaData]:
    """The tables of every part of the server, wherever they are declared."""
    names = [
        module.name
        for module in pkgutil.walk_packages(benchwire.__path__, "benchwire.")
        if module.name.endswith(".tables")
    ]
    modules = [importlib.import_module(name) for name in names]
    return [module.metadata for module in modules if hasattr(module, "metadata")]


def reflected(connection: sa.Connection) -> sa.MetaData:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return metadata


def value_of(column: sa.Column[Any], number: int) -> Any:
    """A value that differs from row to row; a column that may be empty is so in the last row."""
    kind = column.type
    is_single = column.primary_key or column.foreign_keys or column.unique
    if column.nullable and number == ROWS and not is_single:
        return None
    if isinstance(kind, sa.Boolean):
        return number % 2 == 0
    if isinstance(kind, sa.BigInteger):
        return 1_760_000_000_000_000 + number
    if isinstance(kind, sa.Integer):
        return number
    if isinstance(kind, sa.Float):
        return number + 0.25
    if isinstance(kind, sa.JSON):
        return {"Größe": [number, None, 0.1], "of": column.name}
    if isinstance(kind, sa.LargeBinary):
        return bytes([0, 255, number])
    if column.foreign_keys:
        (key,) = column.foreign_keys
        return value_of(key.column, number)
    return f"é{number}"


def fill(connection: sa.Connection) -> None:
    for table in reflected(connection).sorted_tables:
        if table.name == "alembic_version" or connection.scalar(
            sa.select(sa.func.count()).select_from(table)
        ):
            continue
        rows = [
            {column.name: value_of(column, number) for column in table.columns}
            for number in range(1, ROWS + 1)
        ]
        connection.execute(table.insert(), rows)


def content(connection: sa.Connection) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for table in reflected(connection).sorted_tables:
        if table.name != "alembic_version":
            keys = list(table.primary_key.columns)
            rows = connection.execute(table.select().order_by(*keys)).mappings()
            found[table.name] = [dict(row) for row in rows]
    return found


@pytest.mark.parametrize("revision", EARLIER)
def test_rows_of_every_earlier_schema_outlive_the_upgrade(empty: Database, revision: str) -> None:
    upgrade_to(empty, revision)
    with empty.migration_engine.begin() as connection:
        fill(connection)
        before = content(connection)
    assert before
    assert all(before.values())
    schema.upgrade(empty)
    assert schema.current(empty) == schema.head()
    with empty.migration_engine.connect() as connection:
        after = content(connection)
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, *_: name != "alembic_version"}
        )
        assert compare_metadata(context, all_metadata()) == []
    for table, rows in before.items():
        kept = [
            {key: value for key, value in row.items() if key in rows[0]} for row in after[table]
        ]
        assert kept == rows, table


def test_rows_can_be_added_after_the_upgrade(empty: Database) -> None:
    """Keys that the database counts up do not meet those that were there."""
    upgrade_to(empty, EARLIER[-1])
    with empty.migration_engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO plates_chemical (name, search_key, created_at, updated_at)"
                    " VALUES ('one', 'one', 1, 1)")
        )  # fmt: skip
    schema.upgrade(empty)
    with empty.migration_engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO plates_chemical (name, search_key, created_at, updated_at)"
                    " VALUES ('two', 'two', 1, 1)")
        )  # fmt: skip
        ids = connection.scalars(sa.text("SELECT id FROM plates_chemical ORDER BY id")).all()
    assert len(set(ids)) == 2
