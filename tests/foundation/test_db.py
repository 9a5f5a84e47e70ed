"""The database: durable group commit, isolation between writers, folders and damage."""

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchwire.foundation import schema
from benchwire.foundation.db import (
    DATABASE_FILE,
    Database,
    DatabaseUnavailable,
    FolderUnsuitable,
    OutcomeUnknown,
    ValueRefused,
    ensure_suitable,
    open_database,
)
from tests.support.waiting import until


def add_row(database: Database, text: str) -> None:
    database.write(lambda c: c.execute(sa.text("INSERT INTO note VALUES (:x)"), {"x": text}))


def is_written(database: Database, text: str) -> bool:
    try:
        add_row(database, text)
    except DatabaseUnavailable:
        return False
    return True


def rows(database: Database) -> list[str]:
    with database.read() as connection:
        return sorted(connection.scalars(sa.text("SELECT x FROM note")))


@pytest.fixture
def notes(database: Database) -> Database:
    database.write(lambda c: c.execute(sa.text("CREATE TABLE note (x VARCHAR(20) PRIMARY KEY)")))
    return database


def test_write_returned_is_seen_by_a_reader(notes: Database) -> None:
    add_row(notes, "a")
    assert rows(notes) == ["a"]


def test_failing_write_leaves_its_group_alone(notes: Database) -> None:
    add_row(notes, "taken")
    gate = threading.Event()
    first = notes.write_later(lambda _: gate.wait(5))
    futures = [
        notes.write_later(
            lambda c, x=x: c.execute(sa.text("INSERT INTO note VALUES (:x)"), {"x": x})
        )
        for x in ["b", "taken", "c"]
    ]
    gate.set()
    first.result()
    assert [future.exception() is None for future in futures] == [True, False, True]
    assert isinstance(futures[1].exception(), sa.exc.IntegrityError)
    assert rows(notes) == ["b", "c", "taken"]


def test_what_comes_after_the_end_is_refused_in_its_promise(notes: Database) -> None:
    notes.close()
    assert isinstance(notes.write_later(lambda _: None).exception(5), DatabaseUnavailable)
    with pytest.raises(DatabaseUnavailable):
        add_row(notes, "late")


def test_work_that_raises_is_undone_whole(notes: Database) -> None:
    def half(connection: sa.Connection) -> None:
        connection.execute(sa.text("INSERT INTO note VALUES ('half')"))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        notes.write(half)
    assert rows(notes) == []


def test_unforeseen_failure_of_the_writer_is_told_and_it_goes_on(notes: Database) -> None:
    def fail(_: sa.Connection) -> None:
        raise SystemExit

    begun, gate = threading.Event(), threading.Event()
    first = notes.write_later(lambda _: begun.set() or gate.wait(5))
    assert begun.wait(5)
    futures = [notes.write_later(work) for work in (lambda _: None, fail, lambda _: None)]
    gate.set()
    assert first.result(5)
    for future in futures:
        error = future.exception(5)
        assert isinstance(error, DatabaseUnavailable)
        assert not isinstance(error, OutcomeUnknown)
    add_row(notes, "a")
    assert rows(notes) == ["a"]


def test_unforeseen_failure_of_a_commit_is_told_as_unknown(notes: Database) -> None:
    def fail(_: sa.Connection) -> None:
        raise ZeroDivisionError

    sa.event.listen(notes.migration_engine, "commit", fail)
    with pytest.raises(OutcomeUnknown):
        add_row(notes, "a")
    sa.event.remove(notes.migration_engine, "commit", fail)
    add_row(notes, "b")
    assert "b" in rows(notes)


def test_many_threads_write_without_an_error(notes: Database) -> None:
    def write_some(name: int) -> None:
        for number in range(25):
            add_row(notes, f"{name}-{number}")

    threads = [threading.Thread(target=write_some, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(notes)) == 200


def test_closed_database_refuses_writes(notes: Database) -> None:
    notes.close()
    with pytest.raises(DatabaseUnavailable):
        notes.write(lambda _: None)


def test_sqlite_commits_fully_synchronised_in_wal_mode(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    try:
        mode, synchronous = database.write(
            lambda c: (
                c.scalar(sa.text("PRAGMA journal_mode")),
                c.scalar(sa.text("PRAGMA synchronous")),
            )
        )
    finally:
        database.close()
    assert mode == "wal"
    assert synchronous == 2  # FULL


def test_reader_cannot_write_on_sqlite(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    try:
        with pytest.raises(DatabaseUnavailable), database.read() as connection:
            connection.execute(sa.text("CREATE TABLE sneaky (x INTEGER)"))
    finally:
        database.close()


def test_locked_database_is_refused_clearly(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("benchwire.foundation.db.BUSY_SECONDS", 0.1)
    database = open_database(tmp_path)
    database.write(lambda c: c.execute(sa.text("CREATE TABLE note (x VARCHAR(20))")))
    other = sqlite3.connect(tmp_path / DATABASE_FILE)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        add_row(database, "a")
    other.rollback()
    other.close()
    add_row(database, "b")
    assert rows(database) == ["b"]
    database.close()


def test_damaged_file_is_set_aside_and_said_so(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).write_bytes(b"not a database at all, " * 500)
    database = open_database(tmp_path)
    try:
        schema.upgrade(database)
        assert database.set_aside is not None
        assert (tmp_path / database.set_aside).read_bytes().startswith(b"not a database")
        database.write(lambda _: None)
    finally:
        database.close()


def test_flipped_pages_are_found(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    schema.upgrade(database)
    database.close()
    path = tmp_path / DATABASE_FILE
    content = bytearray(path.read_bytes())
    for place in range(4096, len(content)):
        content[place] ^= 0xFF
    path.write_bytes(content)
    database = open_database(tmp_path)
    assert database.set_aside is not None
    database.close()


def test_sound_file_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        database = open_database(tmp_path)
        assert database.set_aside is None
        schema.upgrade(database)
        database.close()


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("x")
    with pytest.raises(FolderUnsuitable, match="cannot be made"):
        ensure_suitable(blocker / "below")


def test_network_folder_is_refused_by_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("benchwire.foundation.db._file_system", lambda _: "cifs")
    with pytest.raises(FolderUnsuitable, match="network file system"):
        ensure_suitable(tmp_path)


def test_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    ensure_suitable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unknown_database_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderUnsuitable, match="not supported"):
        open_database(tmp_path, "mysql://somewhere/lab")


def test_postgresql_connection_lost_is_taken_up_again(postgres_url: str, tmp_path: Path) -> None:
    database = open_database(tmp_path, postgres_url)
    try:
        database.write(lambda c: c.execute(sa.text("CREATE TABLE note (x VARCHAR(20))")))
        killer = sa.create_engine(database.url)
        with killer.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        killer.dispose()
        add_row(database, "a")
        assert rows(database) == ["a"]
    finally:
        database.close()


def test_postgresql_is_kept_for_one_server(postgres_url: str, tmp_path: Path) -> None:
    """And not from the same server, whose former connection it may hold for alive for long."""
    opened = [open_database(tmp_path, postgres_url, owner=owner) for owner in (7, 8, 7)]
    former, other, again = opened
    try:
        former.write(lambda c: c.execute(sa.text("CREATE TABLE note (x VARCHAR(20))")))
        with pytest.raises(DatabaseUnavailable, match="Another benchwire server"):
            add_row(other, "b")
        assert rows(other) == []
        add_row(again, "c")
        with pytest.raises(DatabaseUnavailable, match="Another benchwire server"):
            add_row(other, "b")
        again.close()
        # PostgreSQL ends a session a moment after it was closed.
        until(lambda: is_written(other, "d"), what="the lock")
        with pytest.raises(DatabaseUnavailable, match="Another benchwire server"):
            add_row(former, "a")
        assert rows(other) == ["c", "d"]
    finally:
        for database in opened:
            database.close()


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("25006", "takes no writes"),
        ("53100", "disk is full"),
        ("53200", "does not answer"),
        ("XX001", "is damaged"),
    ],
)
def test_what_postgresql_refuses_for_reasons_of_its_own_is_told_as_such(
    postgres_url: str, tmp_path: Path, state: str, told: str
) -> None:
    database = open_database(tmp_path, postgres_url)
    refusal = f"DO $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END $$"
    try:
        with pytest.raises(DatabaseUnavailable, match=told):
            database.write(lambda c: c.execute(sa.text(refusal)))
        with pytest.raises(DatabaseUnavailable, match=told), database.read() as connection:
            connection.execute(sa.text(refusal))
    finally:
        database.close()


def test_postgresql_says_in_our_words_that_it_cannot_hold_a_value(
    postgres_url: str, tmp_path: Path
) -> None:
    database = open_database(tmp_path, postgres_url)
    try:
        database.write(lambda c: c.execute(sa.text("CREATE TABLE note (x VARCHAR(20))")))
        for text in ("a\0b", "x" * 21):
            with pytest.raises(ValueRefused):
                add_row(database, text)
        with pytest.raises(ValueRefused), database.read() as connection:
            connection.execute(sa.text("SELECT x FROM note WHERE x = :x"), {"x": "\0"})
        add_row(database, "b")
        assert rows(database) == ["b"]
    finally:
        database.close()


@pytest.mark.parametrize(
    ("text", "search"), [("SÜD", "süd"), ("süd", "SÜD"), ("ΩΜΈΓΑ", "ωμέγα"), ("Ab", "aB")]
)
def test_sqlite_finds_a_text_whatever_the_case_of_its_letters(
    tmp_path: Path, text: str, search: str
) -> None:
    database = open_database(tmp_path)
    try:
        database.write(lambda c: c.execute(sa.text("CREATE TABLE note (x VARCHAR(20))")))
        add_row(database, text)
        database.write(lambda c: c.execute(sa.text("INSERT INTO note VALUES (NULL)")))
        note = sa.table("note", sa.column("x", sa.Text))
        with database.read() as connection:
            query = sa.select(note.c.x).where(note.c.x.icontains(search, autoescape=True))
            assert connection.scalars(query).all() == [text]
            assert connection.scalar(sa.text("SELECT lower(1.5)")) == 1.5
    finally:
        database.close()


def test_schema_of_tables_equals_that_of_migrations(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from benchwire.domains.battery.tables import metadata as battery
    from benchwire.domains.microscopy.tables import metadata as microscopy
    from benchwire.domains.plates.tables import metadata as plates
    from benchwire.domains.potentiostat.tables import metadata as potentiostat
    from benchwire.domains.powermeter.tables import metadata as powermeter
    from benchwire.foundation.audit.tables import metadata as audit
    from benchwire.foundation.jobs.tables import metadata as jobs
    from benchwire.foundation.samples.tables import metadata as samples

    with database.migration_engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, *_: name != "alembic_version"}
        )
        everything = [audit, battery, jobs, microscopy, plates, potentiostat, powermeter, samples]
        assert compare_metadata(context, everything) == []


def test_head_is_the_newest_script() -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory(str(schema.MIGRATIONS)).get_current_head() == schema.head()


def test_newer_schema_is_refused(database: Database) -> None:
    database.write(lambda c: c.execute(sa.text("UPDATE alembic_version SET version_num='9999'")))
    with pytest.raises(schema.SchemaTooNew, match="9999"):
        schema.upgrade(database)
