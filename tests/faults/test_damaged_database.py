"""The database's file is damaged in any place: it is set aside, told, and the server works."""

import contextlib
import logging
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from benchwire.foundation import schema
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import DATABASE_FILE, DatabaseUnavailable, open_database
from benchwire.foundation.db_files import COPIES_KEPT, copies, make_copy
from tests.support.ports import free_port
from tests.support.server import Server

HEADER_BYTES = 100


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


def test_damage_in_any_place_keeps_no_server_from_its_start(
    sound: bytes, tmp_path: Path, soak_or: Callable[[int, int], int]
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
            if database.set_aside is not None:
                seen["set aside"] += 1
                assert (folder / database.set_aside).read_bytes() == content
            schema.upgrade(database)
            # No check sees a letter of a column's name that has become another.
            with contextlib.suppress(DatabaseUnavailable, UnicodeDecodeError):
                with database.read() as connection:
                    for table in sa.inspect(connection).get_table_names():
                        connection.execute(sa.text(f'SELECT * FROM "{table}"')).all()
                seen["readable"] += 1
        finally:
            database.close()
            shutil.rmtree(folder)
    logging.disable(logging.NOTSET)
    print(seen)
    assert seen["set aside"] > 0
    assert seen["readable"] > 0


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
            assert image.exists()
    aside.unlink()
    for left in data.glob("*.damaged-*"):
        left.unlink()
    with Server(data, port):
        assert not image.exists()


def test_only_so_many_copies_stay_and_each_is_whole(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    schema.upgrade(database)
    made = [
        make_copy(tmp_path, SystemClock().now().replace(year=2000 + number))
        for number in range(COPIES_KEPT + 2)
    ]
    assert copies(tmp_path) == made[::-1][:COPIES_KEPT]
    for copy in copies(tmp_path):
        with contextlib.closing(sqlite3.connect(copy)) as found:
            assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert found.execute("SELECT count(*) FROM jobs_session").fetchone() == (0,)
    database.close()
