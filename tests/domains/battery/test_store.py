"""Live readings in the database, SQLite and PostgreSQL."""

import pytest

from benchwire.domains.battery.samples import Reading
from benchwire.domains.battery.store import ReadingStore
from benchwire.foundation.db import Database


@pytest.fixture
def store(database: Database) -> ReadingStore:
    return ReadingStore(database)


def test_readings_come_back_in_order_by_device_and_group(store: ReadingStore) -> None:
    readings = [Reading(at, {"soc": at / 10, "soh": None}) for at in (30, 10, 20)]
    store.add("one", {"bms": readings, "bess": [Reading(10, {"bms_soc": 1.0})]})
    store.add("two", {"pcs": [Reading(2**60, {"apparent_power": -1.5e-300})]})
    assert [(item.at_us, item.values["soc"]) for item in store.all("one", "bms")] == [
        (10, 1.0), (20, 2.0), (30, 3.0),
    ]  # fmt: skip
    assert sorted(store.devices()) == [("one", "bess"), ("one", "bms"), ("two", "pcs")]
    assert list(store.all("two", "bms")) == []
    assert next(store.all("two", "pcs")).values == {"apparent_power": -1.5e-300}


def test_time_that_is_known_gets_only_what_it_lacks(store: ReadingStore) -> None:
    store.add("one", {"bms": [Reading(10, {"soc": 1.0, "soh": None})]})
    store.add(
        "one", {"bms": [Reading(10, {"soc": 9.0, "soh": 98.0}), Reading(10, {"voltage": 7.0})]}
    )
    (found,) = store.all("one", "bms")
    assert found.values == {"soc": 1.0, "soh": 98.0, "voltage": 7.0}


def test_many_readings_are_stored_all_or_none(store: ReadingStore) -> None:
    many = [Reading(at, {"soc": 1.0}) for at in range(2_345)]
    store.add("one", {"bms": many})
    assert len(list(store.all("one", "bms"))) == 2_345
    bad = [Reading(-1, {"soc": 1.0}), Reading(-2, {"soc": object()})]
    with pytest.raises(TypeError):
        store.add("one", {"bms": bad})
    assert len(list(store.all("one", "bms"))) == 2_345


def test_only_what_is_in_a_file_is_forgotten(store: ReadingStore) -> None:
    for device in ("one", "two"):
        store.add(device, {"bms": [Reading(at, {"soc": 1.0}) for at in range(10)]})
    store.forget("one", "bms", up_to_us=6)
    assert [item.at_us for item in store.all("one", "bms")] == [7, 8, 9]
    assert len(list(store.all("two", "bms"))) == 10
