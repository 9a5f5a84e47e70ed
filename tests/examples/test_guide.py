"""What the guide to an instrument of one's own says, held against the example and a database."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchwire.backup.database import filling_postgresql, postgresql_url, snapshot_postgresql
from benchwire.foundation import schema
from benchwire.foundation.db import UtcMoment, open_database

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/how-to/add-an-instrument.md").read_text("utf-8")
PACKAGE = ROOT / "examples/benchwire-balance/src/benchwire_balance"
DOMAINS = ROOT / "src/benchwire/domains"
# A value of each type that a poorer one would not keep.
KEPT: dict[str, tuple[Any, Any]] = {
    "Integer": (sa.Integer(), 2**31 - 1),
    "BigInteger": (sa.BigInteger(), 2**63 - 1),
    "Float": (sa.Float(), 0.1),
    "Boolean": (sa.Boolean(), True),
    "String": (sa.String(10), "é 1.20"),
    "Text": (sa.Text(), "é\n1.20"),
    "LargeBinary": (sa.LargeBinary(), b"\0\xff"),
    "JSON": (sa.JSON(), {"é": [1, None, 0.1, False]}),
    "UtcMoment": (UtcMoment(), datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)),
}


def test_rooms_of_the_guide_are_those_of_the_example() -> None:
    table = GUIDE.partition("| file | what is in it |")[2].partition("\n\n")[0]
    rooms = set(re.findall(r"`(\w+\.py)`", table))
    assert rooms == {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}


def test_items_have_the_same_room_in_every_domain() -> None:
    domains = [path.parent for path in DOMAINS.glob("*/wiring.py")]
    assert domains
    assert all((domain / "items.py").is_file() for domain in [PACKAGE, *domains])


def test_types_that_outlive_a_backup_are_those_of_the_guide() -> None:
    sentence = re.search(r"columns of the types ([^.]+) come out", GUIDE)
    assert sentence is not None
    assert set(re.findall(r"`(\w+)`", sentence[1])) == set(KEPT)


def table_of_all(metadata: sa.MetaData) -> sa.Table:
    columns = [sa.Column(name.lower(), kind) for name, (kind, _) in KEPT.items()]
    key = sa.Column("id", sa.Integer, primary_key=True)
    return sa.Table("balance_everything", metadata, key, *columns)


def row_of(url: sa.URL, table: sa.Table) -> dict[str, Any]:
    with connecting(url) as engine, engine.connect() as connection:
        (row,) = connection.execute(table.select()).mappings()
        return dict(row)


def empty(url: sa.URL) -> None:
    with connecting(url) as engine, engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))


@contextmanager
def connecting(url: sa.URL) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


def test_columns_go_from_postgresql_to_sqlite_and_back(tmp_path: Path, postgres_url: str) -> None:
    metadata = sa.MetaData()
    table = table_of_all(metadata)
    row = {"id": 1} | {name.lower(): value for name, (_, value) in KEPT.items()}
    with closing(open_database(tmp_path, postgres_url)) as database:
        schema.upgrade(database)
        schema.add_tables(database, {"balance": metadata})
        with database.migration_engine.begin() as connection:
            connection.execute(table.insert(), row)
    url, snapshot = postgresql_url(postgres_url), tmp_path / "snapshot.db"
    snapshot_postgresql(url, snapshot)
    assert row_of(sa.URL.create("sqlite", database=str(snapshot)), table) == row
    empty(url)
    with filling_postgresql(url, snapshot):
        pass
    assert row_of(url, table) == row
