"""The audit log on both databases: a chain that shows what was changed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from benchwire.foundation.audit.log import BEGINNING, AuditLog, Deed
from benchwire.foundation.audit.tables import entries
from benchwire.foundation.db import Database
from tests.support.clock import ManualClock

DEED = Deed("ada", "operator", "192.168.1.7", "POST", "/jobs", 202)


@pytest.fixture
def log(database: Database) -> AuditLog:
    return AuditLog(database, ManualClock())


def fill(log: AuditLog, count: int) -> None:
    for future in [log.add(replace(DEED, path=f"/jobs/{n}")) for n in range(count)]:
        future.result()


def test_entries_are_numbered_and_read_page_by_page(log: AuditLog) -> None:
    assert log.page(10) == []
    assert log.newest() is None
    fill(log, 25)
    newest = log.page(10)
    assert [entry.id for entry in newest] == list(range(25, 15, -1))
    assert [entry.id for entry in log.page(10, before=6)] == [5, 4, 3, 2, 1]
    assert newest[0].deed == replace(DEED, path="/jobs/24")
    assert newest[0].as_json()["at"] == "2026-01-02T03:04:05.000000Z"
    assert log.first_broken() is None


def test_many_hands_make_one_chain(log: AuditLog) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: fill(log, 25), range(8)))
    assert [entry.id for entry in log.page(1000)] == list(range(200, 0, -1))
    assert log.first_broken() is None


def test_two_servers_on_one_database_make_one_chain(log: AuditLog, database: Database) -> None:
    beside = Database(database.url)
    try:
        with ThreadPoolExecutor(2) as pool:
            both = (log, AuditLog(beside, ManualClock()))
            list(pool.map(lambda one: fill(one, 50), both))
    finally:
        beside.close()
    assert len(log.page(1000)) == 100
    assert log.first_broken() is None


FORGERIES = {
    "a name": (sa.update(entries).where(entries.c.id == 40).values(who="bob"), 40),
    "a status": (sa.update(entries).where(entries.c.id == 40).values(status=403), 40),
    "a time": (sa.update(entries).where(entries.c.id == 40).values(at=sa.text("at + 1")), 40),
    "a hash": (sa.update(entries).where(entries.c.id == 40).values(hash=BEGINNING), 40),
    "taken out": (sa.delete(entries).where(entries.c.id == 40), 40),
    "the first": (sa.delete(entries).where(entries.c.id == 1), 1),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_is_changed_behind_its_back_shows(
    log: AuditLog, database: Database, forgery: str
) -> None:
    fill(log, 60)
    change, broken = FORGERIES[forgery]
    database.write(lambda connection: connection.execute(change))
    assert log.first_broken() == broken


def test_nothing_in_a_request_can_forge_an_entry_or_hide_in_one(log: AuditLog) -> None:
    path = "/x\r\n7  2026  the key  admin\x00\x1b[2J\u202egnp\u2066\ud800\\n é"
    log.add(replace(DEED, path=path, address="10.0.0.1\n8", method="PO\x07ST")).result()
    log.add(replace(DEED, path="/" + "\n" * 100_000)).result()
    long, entry = log.page(2)
    assert entry.deed.path == (
        "/x\\r\\n7  2026  the key  admin\\x00\\x1b[2J\\u202egnp\\u2066\\ud800\\\\n é"
    )
    assert (entry.deed.address, entry.deed.method) == ("10.0.0.1\\n8", "PO\\x07ST")
    assert len(long.deed.path) == 1000
    assert all(text.isprintable() for text in (long.deed.path, entry.deed.path))
    assert log.first_broken() is None
