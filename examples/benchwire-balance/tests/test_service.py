"""The balances of a bench: shown, weighed, kept."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.conftest import NAME, until

from benchwire.foundation import schema
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import Database, open_database
from benchwire.foundation.errors import NotFound
from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.instruments.transport import SerialTransport
from benchwire.foundation.streams import Hub
from benchwire_balance.errors import NotStable
from benchwire_balance.service import Balances
from benchwire_balance.shelf import WeighingShelf
from benchwire_balance.store import WeighingStore
from benchwire_balance.tables import metadata


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path)
    schema.add_tables(opened, {"balance": metadata})
    yield opened
    opened.close()


@pytest.fixture
def balances(database: Database, port: str) -> Iterator[Balances]:
    made = Balances(
        WeighingStore(database),
        SystemClock(),
        Hub(),
        ports=[port],
        open_port=lambda path: SerialTransport(path, 9600),
        interval=0.05,
        stable_seconds=5.0,
    )
    made.start()
    yield made
    made.close()


def shown(balances: Balances) -> str:
    return balances.balance("balance1").shown.state


def test_weigh_waits_for_rest_and_keeps_it(balances: Balances, emulators: EmulatorProcess) -> None:
    until(lambda: shown(balances) == "stable")
    tare = balances.balance("balance1").tare()
    emulators.control(NAME, "load", grams=float(tare) + 2)
    weighing = balances.weigh("balance1", "NaCl")
    assert abs(weighing.grams - 2) < Decimal("0.001")
    assert (weighing.tare_grams, weighing.serial_number) == (tare, "B700101")
    assert balances.store.newest(10) == [weighing]


def test_weigh_gives_up_in_a_draught(
    database: Database, port: str, emulators: EmulatorProcess
) -> None:
    emulators.control(NAME, "draught", on=True)
    impatient = Balances(
        WeighingStore(database), SystemClock(), Hub(), ports=[port],
        open_port=lambda path: SerialTransport(path, 9600), interval=0.05, stable_seconds=0.3,
    )  # fmt: skip
    impatient.start()
    try:
        with pytest.raises(NotStable):
            impatient.weigh("balance1")
        assert impatient.store.newest(10) == []
    finally:
        impatient.close()


def test_unplug_and_overload_are_shown(balances: Balances, emulators: EmulatorProcess) -> None:
    until(lambda: shown(balances) == "stable")
    emulators.control(NAME, "load", grams=300)
    until(lambda: shown(balances) == "overload")
    emulators.control(NAME, "unplug")
    until(lambda: shown(balances) == "offline")
    assert [notice.level for notice in balances.notices()] == ["warning"]
    emulators.control(NAME, "load", grams=1)
    emulators.control(NAME, "replug")
    until(lambda: shown(balances) == "stable")
    assert balances.notices() == []


def test_shelf_finds_by_label(balances: Balances, tmp_path: Path) -> None:
    kept = balances.weigh("balance1", "KCl 100 %")
    shelf = WeighingShelf(balances.store)
    assert [item.title for item in shelf.find("kcl", 10)] == ["KCl 100 %"]
    assert shelf.find("%%", 10) == []
    bundle = shelf.bundle("weighing", str(kept.id))
    target = tmp_path / "weighing.json"
    assert bundle.files[0].make is not None
    bundle.files[0].make(target)
    assert f'"text": "{kept.grams} g"' in target.read_text("utf-8")
    with pytest.raises(NotFound):
        shelf.item("weighing", "99")
    with pytest.raises(NotFound):
        shelf.item("weighing", "²")
