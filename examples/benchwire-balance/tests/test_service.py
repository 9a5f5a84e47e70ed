"""The balances of a bench: shown, weighed, kept."""

import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.conftest import NAME, until

from benchwire.foundation import schema
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import Database, open_database
from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.instruments.transport import LinkLost, SerialTransport, Transport
from benchwire.foundation.streams import Hub
from benchwire_balance import driver, service
from benchwire_balance.errors import LabelRefused, NotStable, WeighingUnknown
from benchwire_balance.items import WeighingItems
from benchwire_balance.service import Balance, Balances
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


@pytest.fixture
def impatient(database: Database, port: str) -> Iterator[Balances]:
    made = Balances(
        WeighingStore(database), SystemClock(), Hub(), ports=[port],
        open_port=lambda path: SerialTransport(path, 9600), interval=0.05, stable_seconds=0.3,
    )  # fmt: skip
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


def test_weigh_gives_up_in_a_draught(impatient: Balances, emulators: EmulatorProcess) -> None:
    emulators.control(NAME, "draught", on=True)
    with pytest.raises(NotStable):
        impatient.weigh("balance1")
    assert impatient.store.newest(10) == []


@pytest.mark.parametrize("ask", [Balance.weigh, Balance.tare, Balance.zero])
def test_wait_for_rest_is_as_long_as_the_setting_however_patient_the_balance_is(
    impatient: Balances, emulators: EmulatorProcess, ask: Callable[[Balance], object]
) -> None:
    emulators.control(NAME, "load", grams=1)
    until(lambda: shown(impatient) == "stable")
    emulators.control(NAME, "patience", seconds=60)
    emulators.control(NAME, "draught", on=True)
    began = time.monotonic()
    with pytest.raises(NotStable):
        ask(impatient.balance("balance1"))
    assert time.monotonic() - began < 5
    assert shown(impatient) == "moving"
    emulators.control(NAME, "draught", on=False)
    until(lambda: shown(impatient) == "stable")
    ask(impatient.balance("balance1"))


def test_tare_that_was_told_to_have_failed_does_not_happen_later(
    impatient: Balances, emulators: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_EXCHANGE_SECONDS", 0.2)
    until(lambda: shown(impatient) == "stable")
    balance, is_over = impatient.balance("balance1"), threading.Event()
    held = balance._link.run(lambda _: is_over.wait(30))
    with pytest.raises(LinkLost, match="busy with something else"):
        balance.tare()
    is_over.set()
    assert held.result(10)
    balance._link.run(driver.look).result(10)
    state = emulators.control(NAME, "state")
    assert "T" not in state["asked"]
    assert state["tare"] == 0


def test_tare_that_has_begun_is_waited_for(
    impatient: Balances, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_EXCHANGE_SECONDS", 0.7)
    until(lambda: shown(impatient) == "stable")
    has_begun = threading.Event()

    def slow(transport: Transport, _seconds: float) -> Decimal:
        has_begun.set()
        time.sleep(1.5)
        return driver.tare_value(transport)

    monkeypatch.setattr(driver, "tare", slow)
    assert impatient.balance("balance1").tare() == 0
    assert has_begun.is_set()


@pytest.mark.parametrize("label", ["\0", "NaCl\0", "\ud800"])
def test_label_that_no_database_keeps_is_refused(impatient: Balances, label: str) -> None:
    until(lambda: shown(impatient) == "stable")
    with pytest.raises(LabelRefused):
        impatient.weigh("balance1", label)
    assert impatient.store.newest(10) == []


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


def test_items_are_found_by_label(balances: Balances, tmp_path: Path) -> None:
    kept = balances.weigh("balance1", "KCl 100 %")
    items = WeighingItems(balances.store)
    assert [item.title for item in items.find("kcl", 10)] == ["KCl 100 %"]
    assert items.find("%%", 10) == []
    bundle = items.bundle("weighing", str(kept.id))
    target = tmp_path / "weighing.json"
    assert bundle.files[0].make is not None
    bundle.files[0].make(target)
    assert f'"text": "{kept.grams} g"' in target.read_text("utf-8")
    for unknown in ("99", "0", "-1", "²", "", "9" * 18, "9" * 20, "9" * 5000):
        with pytest.raises(WeighingUnknown):
            items.item("weighing", unknown)
