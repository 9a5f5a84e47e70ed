"""A backup moves a lab between SQLite and PostgreSQL: every row as it was, and numbers go on."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchwire.backup.restoring import restore_backup
from benchwire.backup.targets import Targets
from benchwire.foundation import schema
from benchwire.foundation.db import Database, open_database
from benchwire.foundation.jobs.sessions import RestoreCutShort, hold_for_server
from tests.backup.commands import backup, refused, restore, restore_killed, run
from tests.upgrades.placing import Old, extract
from tests.upgrades.test_migrations import content, fill
from tests.upgrades.test_upgrades import OPTIONS, Later, ServerThen


@pytest.fixture
def two_urls(postgres_server: Any, postgres_url: str) -> Iterator[tuple[str, str]]:
    """Addresses of two empty PostgreSQL databases."""
    postgres_server.psql('CREATE DATABASE "second";')
    yield postgres_url, postgres_server.get_uri("second")
    postgres_server.psql('DROP DATABASE IF EXISTS "second" WITH (FORCE);')


def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    with database.migration_engine.connect() as connection:
        return content(connection)


def add_chemical(database: Database, name: str) -> int:
    with database.migration_engine.begin() as connection:
        statement = sa.text(
            "INSERT INTO plates_chemical (name, search_key, created_at, updated_at)"
            " VALUES (:name, :name, 1, 1) RETURNING id"
        )
        return int(connection.execute(statement, {"name": name}).scalar_one())


def prepared(folder: Path, url: str | None) -> Database:
    """A full database whose highest number was given away and taken back, and a plugin's table."""
    folder.mkdir(exist_ok=True)
    database = open_database(folder, url)
    schema.upgrade(database)
    with database.migration_engine.begin() as connection:
        fill(connection)
        plugin = sa.Table(
            "pump_stroke",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("at", sa.BigInteger, nullable=False),
            sa.Column("facts", sa.JSON),
            sa.Column("raw", sa.LargeBinary),
        )
        plugin.create(connection)
        connection.execute(plugin.insert().values(id=1, at=2**60, facts={"ml": 0.1}, raw=b"\0\xff"))
        connection.execute(plugin.insert().values(id=2, at=1, facts=sa.null()))
        connection.execute(
            sa.text(
                "INSERT INTO jobs_record (id, kind, title, state, params, requested_by, created_at,"
                " progress, result, finished_parts, partial_files, attempts, interrupted)"
                " VALUES ('null', 'k', 't', 'done', '{\"a\": 1.10, \"a\" : null}', '', 1, 0,"
                " 'null', '[]', '[]', 0, :no)"
            ),
            {"no": False},
        )
        if url is not None:
            connection.execute(sa.text("SELECT setval('plates_chemical_id_seq', 3)"))
    taken_back = add_chemical(database, "taken back")
    with database.migration_engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM plates_chemical WHERE id = :i"), {"i": taken_back})
    return database


def test_postgresql_to_sqlite_and_back(tmp_path: Path, two_urls: tuple[str, str]) -> None:
    first, second = two_urls
    database = prepared(tmp_path / "a", first)
    before = everything(database)
    assert len(before["pump_stroke"]) == 2
    made = backup(tmp_path / "a", tmp_path / "shelf", BENCHWIRE_DATABASE_URL=first)
    database.close()

    restore(made, tmp_path / "b")
    middle = open_database(tmp_path / "b")
    assert everything(middle) == before
    middle.close()

    again = backup(tmp_path / "b", tmp_path / "shelf")
    restore(again, tmp_path / "c", BENCHWIRE_DATABASE_URL=second)
    assert not (tmp_path / "c/benchwire.db").exists()
    last = open_database(tmp_path / "c", second)
    assert everything(last) == before
    middle = open_database(tmp_path / "b")
    for moved in (middle, last):
        assert add_chemical(moved, "new") == 5, "4 was given away once"
        schema.upgrade(moved)
        assert schema.current(moved) == schema.head()
        moved.close()


def test_json_goes_over_digit_by_digit(tmp_path: Path, postgres_url: str) -> None:
    database = prepared(tmp_path / "a", postgres_url)
    database.close()
    made = backup(tmp_path / "a", tmp_path / "shelf", BENCHWIRE_DATABASE_URL=postgres_url)
    restore(made, tmp_path / "b")
    moved = open_database(tmp_path / "b")
    with moved.read() as connection:
        query = sa.text("SELECT params, result FROM jobs_record WHERE id = 'null'")
        assert tuple(connection.execute(query).one()) == (
            '{"a": 1.10, "a" : null}', "null",
        )  # fmt: skip
        empty = sa.text("SELECT count(*) FROM pump_stroke WHERE facts IS NULL")
        assert connection.scalar(empty) == 1
    moved.close()


def test_database_that_is_not_empty_is_no_target(tmp_path: Path, postgres_url: str) -> None:
    sqlite = prepared(tmp_path / "a", None)
    sqlite.close()
    made = backup(tmp_path / "a", tmp_path / "shelf")
    taken = open_database(tmp_path / "other", postgres_url)
    taken.write(lambda c: c.execute(sa.text("CREATE TABLE mine (x INTEGER)")))
    words = ("restore", made, "--data-dir", tmp_path / "b")
    assert "not empty" in refused(run(*words, BENCHWIRE_DATABASE_URL=postgres_url))
    assert not (tmp_path / "b").exists()
    with taken.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["mine"]
    taken.close()
    nobody = "postgresql://nobody@127.0.0.1:1/nothing"
    refused(run(*words, BENCHWIRE_DATABASE_URL=nobody))
    refused(
        run("backup", tmp_path / "s", "--data-dir", tmp_path / "a", BENCHWIRE_DATABASE_URL=nobody)
    )
    assert not (tmp_path / "b").exists()
    assert not list((tmp_path / "s").glob("benchwire-*"))


def test_row_that_does_not_fit_leaves_nothing(tmp_path: Path, postgres_url: str) -> None:
    """SQLite takes longer texts than its columns say; PostgreSQL does not."""
    database = prepared(tmp_path / "a", None)
    with database.migration_engine.begin() as connection:
        connection.execute(sa.text("UPDATE jobs_record SET kind = :t"), {"t": "x" * 500})
    database.close()
    made = backup(tmp_path / "a", tmp_path / "shelf")
    words = ("restore", made, "--data-dir", tmp_path / "b")
    assert "PostgreSQL refused" in refused(run(*words, BENCHWIRE_DATABASE_URL=postgres_url))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "shelf"]
    left = open_database(tmp_path / "other", postgres_url)
    with left.read() as connection:
        assert sa.inspect(connection).get_table_names() == []
    left.close()


def test_database_that_cannot_be_read_is_refused(tmp_path: Path, postgres_url: str) -> None:
    database = open_database(tmp_path / "a", postgres_url)
    database.write(lambda c: c.execute(sa.text("CREATE TABLE alembic_version (other INTEGER)")))
    database.close()
    (tmp_path / "a").mkdir()
    words = ("backup", tmp_path / "shelf", "--data-dir", tmp_path / "a")
    assert "cannot be read" in refused(run(*words, BENCHWIRE_DATABASE_URL=postgres_url))
    assert not list((tmp_path / "shelf").glob("benchwire-*"))


def test_postgresql_has_everything_before_a_server_may_start(
    small_backup: Path, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def finish(targets: Targets, modes: dict[str, int]) -> None:
        seen.append((tmp_path / "new/.restoring").exists() and count_jobs(postgres_url))
        real(targets, modes)

    real = Targets.finish
    monkeypatch.setattr(Targets, "finish", finish)
    restore_backup(small_backup, tmp_path / "new", database_url=postgres_url)
    assert seen == [1]


def count_jobs(url: str) -> int:
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        count = connection.scalar(sa.text("SELECT count(*) FROM jobs_record"))
    engine.dispose()
    return int(count or 0)


@pytest.mark.slow
def test_restore_killed_while_names_are_given_leaves_postgresql_empty(
    small_backup: Path, tmp_path: Path, postgres_url: str
) -> None:
    manifest = json.loads((small_backup / "manifest.json").read_text("utf-8"))
    first_name = len(manifest["files"]) + 1
    new = tmp_path / "new"
    new.mkdir()
    assert restore_killed(first_name, small_backup, new, None, postgres_url)
    assert (new / "battery").exists()
    with pytest.raises(RestoreCutShort):
        hold_for_server(new)
    restore_backup(small_backup, new, database_url=postgres_url)
    assert count_jobs(postgres_url) == 1
    assert not (new / "benchwire.db").exists()
    hold_for_server(new).close()


@pytest.mark.slow
@pytest.mark.paced
def test_lab_moves_to_postgresql_and_has_everything(
    tmp_path: Path, postgres_url: str, free_port: int
) -> None:
    old = extract("0.1.0", tmp_path)
    made = backup(old.data, tmp_path / "shelf")
    moved = Old(tmp_path / "new/data", old.manifest)
    restore(made, moved.data, BENCHWIRE_DATABASE_URL=postgres_url)
    # Whatever still names the old place leads nowhere.
    shutil.rmtree(old.data)
    with ServerThen(
        moved.data, free_port, *OPTIONS, "--battery-data", str(moved.data / "recordings"),
        environment={
            "UPGRADE_THEN": old.manifest["made_at"], "TZ": "UTC",
            "BENCHWIRE_DATABASE_URL": postgres_url,
        },
    ) as server:  # fmt: skip
        later = Later(server, moved)
        later.wait_until_whole()
        later.check_lists()
        later.check_answers()
        later.check_unfinished()
        assert server.stop() == 0
