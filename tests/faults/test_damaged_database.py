"""The database's file is damaged in any place: it is set aside, told, and the server works."""

import contextlib
import errno
import logging
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from benchwire.foundation import db_files, schema
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import DATABASE_FILE, Database, DatabaseUnavailable, open_database
from benchwire.foundation.db_files import COPIES_KEPT, FolderUnsuitable, copies, make_copy
from benchwire.foundation.jobs.sessions import Sessions
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.soaking import SoakOr

HEADER_BYTES = 100
MOST_UNSEEN = 0.02


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with something in it."""
    folder = tmp_path_factory.mktemp("sound")
    with Server(folder / "data", free_port()) as server:
        for number in range(20):
            plate = {"plate": {"barcode": f"P{number}"}, "rows": 8, "columns": 12}
            httpx.post(f"{server.url}/api/v1/plates", json=plate, timeout=30).raise_for_status()
    return (folder / "data" / DATABASE_FILE).read_bytes()


def damaged(sound: bytes, chance: random.Random) -> bytes:
    """Flip a bit, one in three times in the header; or cut the file off."""
    content = bytearray(sound)
    kind = chance.randrange(6)
    if kind == 0:
        return bytes(content[: chance.randrange(len(content))])
    place = chance.randrange(HEADER_BYTES if kind < 3 else len(content))
    content[place] ^= 1 << chance.randrange(8)
    return bytes(content)


def pages_cut_off(sound: bytes, content: bytes) -> bool:
    """Whether a page is missing that the database, whose header counts them, is made of."""
    page_bytes = int.from_bytes(sound[16:18], "big")
    return len(content) < page_bytes * int.from_bytes(sound[28:32], "big")


def test_damage_in_any_place_keeps_no_server_from_its_start(
    sound: bytes, tmp_path: Path, soak_or: SoakOr
) -> None:
    logging.disable(logging.CRITICAL)
    seen = Counter[str]()
    for seed in range(soak_or(30, 1000)):
        content = damaged(sound, random.Random(seed))
        folder = tmp_path / "data"
        folder.mkdir()
        (folder / DATABASE_FILE).write_bytes(content)
        database = open_database(folder)
        try:
            schema.upgrade(database)
            if database.set_aside is not None:
                seen["set aside"] += 1
                assert (folder / database.set_aside).read_bytes() == content
                assert is_readable(database)
            else:
                assert not pages_cut_off(sound, content), f"seed {seed} is cut off and kept"
                # No check sees a letter of a column's name that has become another.
                seen["sound" if is_readable(database) else "neither"] += 1
        finally:
            database.close()
            shutil.rmtree(folder)
    logging.disable(logging.NOTSET)
    print(seen)
    assert seen["set aside"] > 0
    assert seen["sound"] > 0
    assert seen["neither"] <= max(1, MOST_UNSEEN * seen.total())


def is_readable(database: Database) -> bool:
    """Whether every row of every table can be read."""
    try:
        with database.read() as connection:
            for table in sa.inspect(connection).get_table_names():
                connection.execute(sa.text(f'SELECT * FROM "{table}"')).all()
    except (DatabaseUnavailable, UnicodeDecodeError):
        return False
    return True


def test_server_goes_on_with_the_newest_sound_copy(tmp_path: Path) -> None:
    data = tmp_path / "data"
    port = free_port()

    def plates(server: Server) -> set[str]:
        answer = httpx.get(f"{server.url}/api/v1/plates", timeout=30).json()
        return {plate["barcode"] for plate in answer["data"]}

    def make(server: Server, barcode: str) -> None:
        plate = {"plate": {"barcode": barcode}, "rows": 1, "columns": 1}
        httpx.post(f"{server.url}/api/v1/plates", json=plate, timeout=30).raise_for_status()

    image = data / "plates/images/ab/abcd"
    with Server(data, port) as server:
        make(server, "copied")
        copy = make_copy(data, SystemClock().now())
        assert copy is not None
        make(server, "later")
        # A copy that is damaged itself is passed over.
        copy.with_name(f"{DATABASE_FILE}.copy-99990101T000000Z").write_bytes(b"nonsense" * 999)
    image.parent.mkdir(parents=True)
    image.write_bytes(b"known to the damaged database alone")
    path = data / DATABASE_FILE
    content = bytearray(path.read_bytes())
    content[:16] = bytes(16)
    path.write_bytes(content)
    for _ in range(2):  # also at the starts that follow
        with Server(data, port) as server:
            assert plates(server) == {"copied"}
            (aside,) = data.glob("*.damaged-*Z")
            assert aside.read_bytes() == bytes(content)
            assert httpx.get(f"{server.url}/away").json()["database_set_aside"] == aside.name
            notices = httpx.get(f"{server.url}/notices").json()["notices"]
            assert any(aside.name in notice["text"] for notice in notices)
            assert aside.name in server.log_path.read_text()
            kept = data / "plates/unneeded" / image.name
            assert kept.read_bytes() == b"known to the damaged database alone"


def database_of(folder: Path) -> Database:
    database = open_database(folder)
    schema.upgrade(database)
    return database


def has_note(folder: Path) -> bool:
    """Whether a database that is opened there has the note, and is one of ours at all."""
    database = database_of(folder)
    try:
        with database.read() as connection:
            return bool(connection.scalars(sa.text("SELECT id FROM jobs_session")).all())
    finally:
        database.close()


def keep_note(folder: Path) -> None:
    database = database_of(folder)
    Sessions(database, SystemClock()).begin("test", None)
    database.close()


def spoil(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[:16] = bytes(16)
    path.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("what", ["missing", "of no bytes"])
def test_where_the_database_is_missing_its_copy_takes_its_place(tmp_path: Path, what: str) -> None:
    keep_note(tmp_path)
    assert make_copy(tmp_path, SystemClock().now()) is not None
    path = tmp_path / DATABASE_FILE
    path.unlink()
    if what == "of no bytes":
        path.touch()
    assert has_note(tmp_path)


def test_a_copy_that_does_not_fit_leaves_the_damaged_database_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No new database begins, and the next start goes on with the copy."""
    keep_note(tmp_path)
    assert make_copy(tmp_path, SystemClock().now()) is not None
    content = spoil(tmp_path / DATABASE_FILE)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(FolderUnsuitable, match="No space left"):
            open_database(tmp_path)
    assert (tmp_path / DATABASE_FILE).read_bytes() == content
    assert has_note(tmp_path)


@pytest.mark.parametrize("step", range(6))
def test_a_start_killed_while_it_replaces_a_database_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    keep_note(tmp_path)
    assert make_copy(tmp_path, SystemClock().now()) is not None
    content = spoil(tmp_path / DATABASE_FILE)
    log = tmp_path / f"{DATABASE_FILE}-wal"
    log.write_bytes(b"the last commits")
    done = count()

    class Killed(BaseException):
        pass

    def until_then(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def moved(path: Path, target: Path) -> Path:
            if next(done) == step:
                raise Killed
            return move(path, target)

        return moved

    # The check itself would have SQLite throw away a log that is not one.
    monkeypatch.setattr(db_files, "is_sound", lambda path: any(path.read_bytes()[:16]))
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        for name in ("rename", "replace"):
            patch.setattr(Path, name, until_then(getattr(Path, name)))
        open_database(tmp_path).close()
    assert has_note(tmp_path)
    kept = [path.read_bytes() for path in tmp_path.glob("*.damaged-*")]
    assert content in kept
    assert b"the last commits" in kept


def test_a_copy_of_a_time_to_come_neither_counts_as_new_nor_stays(tmp_path: Path) -> None:
    keep_note(tmp_path)
    now = SystemClock().now()
    ahead = make_copy(tmp_path, now + timedelta(days=400))
    assert db_files._is_copy_due(tmp_path, now)
    made = [make_copy(tmp_path, now + timedelta(days=number)) for number in range(COPIES_KEPT)]
    assert not db_files._is_copy_due(tmp_path, now + timedelta(days=COPIES_KEPT - 0.9))
    assert copies(tmp_path, now + timedelta(days=COPIES_KEPT)) == made[::-1]
    assert ahead is not None
    assert not ahead.exists()


def test_only_so_many_copies_stay_and_each_is_whole(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    schema.upgrade(database)
    made = [
        make_copy(tmp_path, SystemClock().now().replace(year=2000 + number))
        for number in range(COPIES_KEPT + 2)
    ]
    assert copies(tmp_path, SystemClock().now()) == made[::-1][:COPIES_KEPT]
    for copy in copies(tmp_path, SystemClock().now()):
        with contextlib.closing(sqlite3.connect(copy)) as found:
            assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert found.execute("SELECT count(*) FROM jobs_session").fetchone() == (0,)
    database.close()
