"""A meter that is unplugged, deaf, cut short or garbled, and a server that is killed."""

import itertools
import sqlite3
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from benchwire.domains.powermeter import meter, wiring
from benchwire.domains.powermeter.meter import Meter
from benchwire.domains.powermeter.store import PowerStore
from benchwire.domains.powermeter.tables import alarm_events, blocks, readings, sessions, spans
from benchwire.foundation.db import DATABASE_FILE, DatabaseUnavailable
from tests.domains.powermeter.conftest import Bench, emulated, serve
from tests.support.server import Server, children_named
from tests.support.waiting import until

IMPOSSIBLE = 5.3


@pytest.fixture
def steady(bench: Bench) -> Bench:
    """A bench whose first meter measures the same all the time."""
    bench.control("set", voltage=5.0, current=1.0, power=5.0)
    until(lambda: bench.get("data/latest")["voltage"] == 5.0, what="the fixed value")
    return bench


def new_points(bench: Bench, count: int, *, seconds: float = 7.0) -> None:
    bench.until_points(bench.status()["data_count"] + count, seconds=seconds)


def test_a_meter_that_nobody_has_named_is_read_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it is no fault, and costs no process."""
    with emulated(tmp_path) as emulators:
        emulators.control("p1", "unplug")
        monkeypatch.setattr(wiring, "DEFAULT_PORT", str(emulators.paths["p1"]))
        with serve(emulators, tmp_path / "data", monkeypatch, ports="[]") as opened:
            time.sleep(1.5)
            status = opened.status()
            assert (status["connected"], status["condition"]) == (False, "unplugged")
            assert "There is no port" in status["last_error"]
            assert opened.get("alarms")["events"] == []
            assert reading_processes() == []
            emulators.control("p1", "replug")
            opened.until_points(3)
            assert len(reading_processes()) == 1
            assert opened.status()["last_error"] is None
        assert reading_processes() == []


def test_a_port_that_nobody_has_named_is_not_opened_while_a_potentiostat_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(tmp_path) as emulators:
        path = str(emulators.paths["p1"])
        there = ListPortInfo(path)
        there.vid, there.pid = 2022, 22099
        monkeypatch.setattr(list_ports, "comports", lambda: [there])
        monkeypatch.setattr(wiring, "DEFAULT_PORT", path)
        monkeypatch.setattr(meter, "_LOOK_AGAIN_SECONDS", 0.5)
        # The potentiostats look at another place.
        monkeypatch.setenv("BENCHWIRE_POTENTIOSTAT_PORTS", '["/dev/none"]')
        with serve(emulators, tmp_path / "data", monkeypatch, ports="[]") as opened:
            until(lambda: opened.status()["condition"] == "no meter", what="a look at the port")
            assert "potentiostat" in opened.status()["last_error"]
            time.sleep(1.5)
            assert reading_processes() == []
            assert opened.get("alarms")["events"] == []
            there.pid = 1
            opened.until_points(3)
            assert opened.status()["last_error"] is None
            # The meter goes, and a potentiostat comes to the same port.
            emulators.control("p1", "unplug")
            until(lambda: not opened.status()["connected"], what="the unplug")
            there.pid = 22099
            emulators.control("p1", "replug")
            until(lambda: "potentiostat" in (opened.status()["last_error"] or ""), what="a look")
            time.sleep(1.5)
            assert not opened.status()["connected"]
            there.pid = 1
            until(lambda: opened.status()["connected"], what="the meter")


def reading_processes() -> list[psutil.Process]:
    """The processes that this one has started to read meters."""
    return children_named(psutil.Process(), "powermeter.holding")


def test_an_unplug_shows_and_the_replug_heals(steady: Bench) -> None:
    reconnects = steady.status()["reconnects"]
    steady.control("unplug")
    until(lambda: not steady.status()["connected"], seconds=3, what="the unplug")
    status = steady.status()
    assert status["condition"] == "unplugged"
    assert status["last_error"]
    assert status["running"] is True
    newest = status["newest_data"]
    latest = steady.get("data/latest")
    assert latest["timestamp"] == newest
    assert steady.get("data/1h")["count"] == status["data_count"]
    until(lambda: steady.status()["stale"], seconds=5, what="the alarm")
    assert steady.get("data/latest")["stale"] is True
    assert steady.get("data/latest")["age_s"] > 1
    assert steady.status("meter2")["connected"] is True

    steady.control("replug")
    until(lambda: steady.status()["newest_data"] > newest, seconds=7, what="new points")
    until(lambda: not steady.status()["stale"], seconds=3, what="the end of the alarm")
    status = steady.status()
    assert status["connected"] is True
    assert status["last_error"] is None
    assert status["reconnects"] == reconnects + 1
    assert status["missed_polls"] > 0
    kinds = [(event["kind"], event["raised"]) for event in steady.get("alarms")["events"]]
    assert kinds[:2] == [("no_reading", False), ("no_reading", True)]


def test_many_unplugs_in_a_row(steady: Bench) -> None:
    for _ in range(5):
        steady.control("unplug")
        until(lambda: not steady.status()["connected"], seconds=3, what="the unplug")
        steady.control("replug")
        new_points(steady, 2)
    stamps = [datetime.fromisoformat(p["utc"]) for p in steady.get("data/1h")["data"]]
    assert all(a < b for a, b in itertools.pairwise(stamps))


def test_an_unplug_is_seen_between_two_rare_polls(bench: Bench) -> None:
    bench.configure(polling_interval=3600)
    bench.control("unplug")
    until(lambda: not bench.status()["connected"], seconds=3, what="the unplug")
    bench.control("replug")
    bench.until_connected()


@pytest.mark.parametrize(("fault", "count"), [("flip", 1), ("stray", 7), ("stray", 16),
                                              ("cut", 100)])  # fmt: skip
def test_a_damaged_answer_is_dropped_and_counted(steady: Bench, fault: str, count: int) -> None:
    before = steady.status()["frame_errors"]
    steady.control(fault, count=count)
    until(lambda: steady.status()["frame_errors"] == before + 1, what="the count")
    new_points(steady, 5)
    assert steady.status()["connected"] is True
    assert steady.status()["reconnects"] == 0
    for point in steady.get("data/2s")["data"][-5:]:
        assert (point["voltage"], point["current"], point["power"]) == (5.0, 1.0, 5.0)
    assert all(point["voltage"] < IMPOSSIBLE for point in steady.get("data/1h")["data"])


def test_a_line_that_only_garbles_is_told(steady: Bench) -> None:
    steady.control("flip", count=1_000_000)
    until(lambda: not steady.status()["connected"], seconds=3, what="the damage")
    status = steady.status()
    assert status["condition"] == "damaged answers"
    assert "checksum" in status["last_error"]
    until(lambda: not steady.status()["waiting_readings"], what="what was read before on the disk")
    count = steady.status()["data_count"]
    time.sleep(0.5)
    assert steady.status()["data_count"] == count
    steady.control("flip", count=0)
    new_points(steady, 3)
    assert steady.status()["last_error"] is None


def test_a_deaf_meter_is_told_from_a_missing_port(steady: Bench) -> None:
    steady.control("deaf")
    until(lambda: not steady.status()["connected"], seconds=4, what="the silence")
    status = steady.status()
    assert status["condition"] == "no answer"
    assert "does not answer" in status["last_error"]
    steady.control("hear")
    new_points(steady, 3, seconds=14)
    assert steady.status()["condition"] == "connected"


def test_a_port_another_program_holds_is_taken_up_once_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import serial

    with emulated(tmp_path) as emulators:
        holder = serial.Serial(str(emulators.paths["p1"]), exclusive=True)
        with serve(emulators, tmp_path / "data", monkeypatch) as opened:
            until(lambda: opened.status()["condition"] == "port held", what="the reason")
            holder.close()
            opened.until_points(3, seconds=7)


def test_the_recording_is_read_between_polls(steady: Bench) -> None:
    steady.control("record", pairs=[[5.0, 1.0]] * 1440)
    answer = steady.get("recording")
    assert answer["count"] == len(answer["records"]) == 1440
    assert answer["records"][0] == {"voltage": 5.0, "current": 1.0}
    text = steady.client.get("/api/recording", params={"format": "csv"})
    assert text.headers["content-disposition"] == 'attachment; filename="meter1-recording.csv"'
    lines = text.text.split("\r\n")
    assert lines[0] == "record,voltage_V,current_A"
    assert len(lines) == 1442
    assert steady.status()["reconnects"] == 0
    assert steady.status()["frame_errors"] == 0
    new_points(steady, 3)
    steady.control("record", pairs=[])
    assert steady.get("recording") == {"count": 0, "records": []}


def test_the_screen_is_turned_and_nothing_else_is_sent(steady: Bench) -> None:
    for action in ("next", "next", "previous", "rotate"):
        answer = steady.client.post("/api/screen", json={"action": action})
        assert answer.status_code == 200
    assert steady.client.post("/api/screen", json={"action": "update"}).status_code == 400
    assert steady.client.post("/api/screen", json={}).status_code == 400
    until(lambda: steady.control("state")["rotation"] == 90, what="the rotation")
    state = steady.control("state")
    assert state["screen"] == 1
    assert "update" not in state["asked"]


def test_an_unplugged_meter_refuses_orders_with_a_reason(bench: Bench) -> None:
    bench.control("unplug")
    until(lambda: not bench.status()["connected"], what="the unplug")
    for answer in (
        bench.client.get("/api/recording"),
        bench.client.post("/api/screen", json={"action": "next"}),
    ):
        assert answer.status_code == 503
        assert "no port" in answer.json()["error"]


def test_any_number_of_readers_cost_one_poll(bench: Bench) -> None:
    began = bench.control("state")["asked"]["getva"]
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            bench.client.get("/api/data/latest")
            bench.client.get("/api/status")

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    time.sleep(1.5)
    asked = bench.control("state")["asked"]["getva"] - began
    over.set()
    for reader in readers:
        reader.join()
    assert asked <= 35


def test_a_kill_loses_nothing_that_was_seen(tmp_path: Path, free_port: int) -> None:
    with emulated(tmp_path) as emulators:
        environment = {
            "BENCHWIRE_POWERMETER_PORTS": f'["{emulators.paths["p1"]}"]',
            "BENCHWIRE_POWERMETER_POLLING_INTERVAL": "0.05",
        }
        emulators.control("p1", "set", voltage=5.0, current=1.0, power=5.0)
        with Server(tmp_path / "data", free_port, environment=environment) as server:
            seen: list[str] = []
            for life in range(3):
                until(
                    lambda wanted=20 * (life + 1): (
                        httpx.get(f"{server.url}/api/status").json()["data_count"] >= wanted
                    ),
                    what="points",
                )
                points = httpx.get(f"{server.url}/api/data/1h").json()["data"]
                assert [point["utc"] for point in points][: len(seen)] == seen
                seen = [point["utc"] for point in points]
                server.kill()
                server.start()
            sessions = httpx.get(f"{server.url}/api/sessions").json()
            until(
                lambda: httpx.get(f"{server.url}/api/status").json()["data_count"] > len(seen),
                what="points of the next life",
            )
            kept = httpx.get(f"{server.url}/api/data/1h").json()["data"]
        assert [point["utc"] for point in kept][: len(seen)] == seen
        assert len({point["utc"] for point in kept}) == len(kept)
        # One charge, through three kills.
        assert len(sessions) == 1
        assert sessions[0]["reason"] is None


def test_a_locked_database_holds_back_one_change_and_nobody_else(steady: Bench) -> None:
    """The lock is another program's; readings wait and are all there afterwards."""
    with sqlite3.connect(steady.data_dir / DATABASE_FILE, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        changing = threading.Thread(target=steady.configure, kwargs={"data_retention_minutes": 9})
        changing.start()
        until(lambda: steady.status()["waiting_readings"] > 20, what="readings that wait")
        began = time.monotonic()
        assert steady.status()["connected"] is True
        assert steady.get("meters")
        assert time.monotonic() - began < 1
        other.execute("ROLLBACK")
        changing.join()
    other.close()
    until(lambda: steady.status()["waiting_readings"] <= 1, what="the backlog")
    stamps = [datetime.fromisoformat(p["utc"]) for p in steady.get("data/5s")["data"]]
    assert max((b - a).total_seconds() for a, b in itertools.pairwise(stamps)) < 1


def test_a_meter_that_never_came_raises_the_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(tmp_path) as emulators:
        emulators.control("p1", "unplug")
        with serve(emulators, tmp_path / "data", monkeypatch) as opened:
            until(lambda: opened.status()["alarms"] == ["no_reading"], seconds=4, what="it")
            emulators.control("p1", "replug")
            until(lambda: opened.status()["alarms"] == [], seconds=7, what="its end")


def test_the_recording_is_read_for_one_at_a_time(steady: Bench) -> None:
    steady.control("record", pairs=[[5.0, 1.0]] * 1440)
    found: list[int] = []
    readers = [
        threading.Thread(
            target=lambda: found.append(steady.client.get("/api/recording").status_code)
        )
        for _ in range(6)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert found.count(200) >= 1
    assert set(found) <= {200, 409}
    assert found.count(409) >= 4
    until(lambda: not steady.status()["stale"], seconds=3, what="readings after the recording")


def test_the_recording_of_a_deaf_meter_is_no_empty_one(steady: Bench) -> None:
    steady.control("deaf")
    assert steady.client.get("/api/recording").status_code == 503
    steady.control("hear")


def test_a_meter_that_left_the_settings_rests_and_is_removed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(tmp_path / "a") as first, emulated(tmp_path / "b") as second:
        with serve(first, tmp_path / "data", monkeypatch) as opened:
            opened.until_points(3)
        with serve(second, tmp_path / "data", monkeypatch) as opened:
            assert [meter["meter"] for meter in opened.get("meters")] == ["meter2"]
            assert opened.client.delete("/api/meters/meter1").status_code == 200
            assert opened.client.delete("/api/meters/meter1").status_code == 404


def test_a_port_that_was_added_and_is_then_declared_stays_the_same_meter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(tmp_path / "a") as first, emulated(tmp_path / "b") as second:
        with serve(first, tmp_path / "data", monkeypatch) as opened:
            port = str(second.paths["p1"])
            opened.client.post("/api/meters", json={"port": port, "name": "desk"})
            opened.until_points(5, "desk")
        with serve(second, tmp_path / "data", monkeypatch) as opened:
            assert [meter["meter"] for meter in opened.get("meters")] == ["desk"]
            opened.until_points(10, "desk")


def away(*_: Any, **__: Any) -> Any:
    raise DatabaseUnavailable("The database does not answer")


def test_a_meter_that_the_database_does_not_let_go_is_read_on(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(tmp_path / "more") as spare:
        port = str(spare.paths["p1"])
        bench.client.post("/api/meters", json={"port": port, "name": "desk"})
        bench.until_points(3, "desk")
        number = bench.meter("desk").id
        with monkeypatch.context() as patches:
            patches.setattr(PowerStore, "remove_meter", away)
            assert bench.client.delete("/api/meters/desk").status_code == 503
        assert "desk" in [meter["meter"] for meter in bench.get("meters")]
        bench.until_points(bench.status("desk")["data_count"] + 3, "desk")
        assert bench.client.delete("/api/meters/desk").status_code == 200
        with bench.client.app.lab.database.read() as connection:
            for table in (readings, blocks, spans, sessions, alarm_events):
                query = sa.select(sa.func.count()).where(table.c.meter_id == number)
                assert connection.scalar(query) == 0, table.name


def test_a_meter_that_was_added_is_answered_though_nothing_can_be_read_any_more(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(tmp_path / "more") as spare:
        wanted = {"port": str(spare.paths["p1"]), "name": "desk"}
        with monkeypatch.context() as patches:
            for reading in ("newest", "open_session", "standing_alarms"):
                patches.setattr(PowerStore, reading, away)
            assert bench.client.post("/api/meters", json=wanted).status_code == 201
        bench.until_points(3, "desk")


def test_a_port_has_one_meter_though_that_was_never_taken_up(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(tmp_path / "more") as spare:
        port = str(spare.paths["p1"])
        with monkeypatch.context() as patches:
            patches.setattr(Meter, "start", away)
            assert bench.client.post("/api/meters", json={"port": port}).status_code == 503
        assert bench.client.post("/api/meters", json={"port": port}).status_code == 409
