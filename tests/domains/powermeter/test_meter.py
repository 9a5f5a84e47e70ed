"""What a meter's readings add up to: charges, energy, alarms, through restarts and clock steps."""

import io
import itertools
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchwire.domains.powermeter import service
from benchwire.domains.powermeter.charging import SessionWatch
from benchwire.domains.powermeter.errors import SessionReadingsGone
from benchwire.domains.powermeter.meter import _CATCH_UP_SECONDS, _tolerance
from benchwire.domains.powermeter.pages.desk import Desk
from benchwire.domains.powermeter.periods import LocalTime, Window
from benchwire.domains.powermeter.readings import Reading, Totals
from benchwire.domains.powermeter.stamps import SLEW
from benchwire.foundation.clock import SECOND, microseconds
from tests.domains.powermeter.conftest import Bench, emulated, serve
from tests.support.clock import SteppedClock
from tests.support.waiting import until

LOAD = {"voltage": 5.0, "current": 1.0, "power": 5.0}
REST = {"voltage": 5.1, "current": 0.0, "power": 0.0}


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def stepped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: SteppedClock
) -> Iterator[Bench]:
    """A bench whose clock the test sets."""
    with emulated(tmp_path) as emulators:
        emulators.control("p1", "set", **LOAD)
        with serve(emulators, tmp_path / "data", monkeypatch, clock=clock) as opened:
            opened.until_points(10)
            yield opened


def utc_stamps(bench: Bench, period: str = "9999h") -> list[datetime]:
    return [datetime.fromisoformat(point["utc"]) for point in bench.get(f"data/{period}")["data"]]


# -- clocks ---------------------------------------------------------------------------------------


def test_stamps_ascend_though_the_clock_is_set_back(stepped: Bench, clock: SteppedClock) -> None:
    count = stepped.status()["data_count"]
    clock.offset = -timedelta(hours=1)
    stepped.until_points(count + 20)
    stamps = utc_stamps(stepped)
    assert all(a < b for a, b in itertools.pairwise(stamps))
    assert max((b - a).total_seconds() for a, b in itertools.pairwise(stamps)) < 2
    status = stepped.status()
    assert status["clock_ahead_s"] == pytest.approx(3600, abs=5)
    assert status["age_s"] < 1
    assert status["stale"] is False
    assert stepped.get("data/1s")["count"] > 10
    assert stepped.get("stats/1h")["energy"]["gap_s"] == 0


def test_a_step_forward_is_a_gap_that_nothing_is_integrated_over(
    stepped: Bench, clock: SteppedClock
) -> None:
    stepped.configure(data_retention_minutes=600)
    before = stepped.get("stats/9999h")["energy"]
    clock.offset = timedelta(hours=1)
    stepped.until_points(stepped.status()["data_count"] + 10)
    after = stepped.get("stats/9999h")["energy"]
    assert after["gap_s"] == pytest.approx(3600, abs=2)
    assert after["wh"] - before["wh"] < 5.0 * 10 / 3600


def test_retention_goes_by_the_clock_alone(stepped: Bench, clock: SteppedClock) -> None:
    stepped.control("unplug")
    until(lambda: not stepped.status()["connected"], what="the unplug")
    assert stepped.status()["data_count"] >= 10
    before = stepped.get("data/latest")
    clock.offset = timedelta(minutes=9)
    assert stepped.status()["data_count"] >= 10
    clock.offset = timedelta(minutes=11)
    status = stepped.status()
    assert (status["data_count"], status["oldest_data"], status["newest_data"]) == (0, None, None)
    assert stepped.get("data/9999h")["count"] == 0
    latest = stepped.get("data/latest")
    assert latest["timestamp"] == before["timestamp"]
    assert latest["age_s"] > 11 * 60
    until(lambda: stepped.get("data/latest")["stale"], what="the alarm")
    assert stepped.client.get("/api/stats/9999h").status_code == 404


def test_a_smaller_retention_shows_in_the_next_answer(stepped: Bench, clock: SteppedClock) -> None:
    old = stepped.status()["data_count"]
    clock.offset = timedelta(minutes=5)
    stepped.until_points(old + 5)
    assert stepped.configure(data_retention_minutes=2).status_code == 200
    oldest = datetime.fromisoformat(stepped.get("data/1h")["data"][0]["utc"])
    assert stepped.status()["data_count"] < old + 200
    assert clock.now() - oldest < timedelta(minutes=2)
    assert stepped.get("stats/1h")["energy"]["gap_s"] == 0


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_local_stamps_ascend_through_the_change_to_winter_time() -> None:
    change = datetime(2025, 10, 26, 1, 0, tzinfo=UTC)
    moments = [change + timedelta(minutes=minutes) for minutes in range(-90, 91, 10)]
    for answered_at in (moments[0], moments[-1]):
        local = LocalTime.at(microseconds(answered_at))
        texts = [local.text(microseconds(moment)) for moment in moments]
        assert texts == sorted(set(texts))
    assert (
        LocalTime.at(microseconds(moments[0]))
        .text(microseconds(change))
        .startswith("2025-10-26T03:00:00.000000")
    )
    assert (
        LocalTime.at(microseconds(moments[-1]))
        .text(microseconds(change))
        .startswith("2025-10-26T02:00:00.000000")
    )


# -- charges --------------------------------------------------------------------------------------


def sessions(bench: Bench) -> list[dict[str, Any]]:
    return bench.get("sessions")


def test_a_charge_goes_on_through_a_restart_and_ends_after_the_delay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str | None
) -> None:
    with emulated(tmp_path) as emulators:
        emulators.control("p1", "set", **LOAD, mah_g0=100, mwh_g0=500)
        with serve(emulators, tmp_path / "data", monkeypatch, database_url=database_url) as opened:
            opened.configure(session_end_delay_s=1.0)
            opened.until_points(30)
            (first,) = sessions(opened)
            assert first["reason"] is None
        time.sleep(2.5)
        # The meter counted on while the server was away.
        emulators.control("p1", "set", mah_g0=101, mwh_g0=505)
        with serve(emulators, tmp_path / "data", monkeypatch, database_url=database_url) as opened:
            opened.until_points(60)
            (second,) = sessions(opened)
            assert second["start_utc"] == first["start_utc"]
            emulators.control("p1", "set", **REST)
            until(lambda: sessions(opened)[0]["reason"], what="the end of the charge")
            (ended,) = sessions(opened)
            points = opened.get("data/1h")["data"]
            # That the server was away is a gap, but nothing of the charge is gone.
            assert opened.crate(ended).status_code == 200
    assert ended["reason"] == "current below threshold"
    charging = [point for point in points if point["current"] > 0]
    assert ended["start_utc"] == charging[0]["utc"]
    assert ended["end_utc"] == charging[-1]["utc"]
    known = ended["duration_s"] - ended["gap_s"]
    assert ended["gap_s"] > 2
    assert ended["wh"] == pytest.approx(5.0 * known / 3600, rel=1e-6)
    assert ended["mah"] == pytest.approx(1000 * known / 3600, rel=1e-6)
    assert (ended["meter_mah"], ended["meter_wh"]) == (1, pytest.approx(0.005))


def ended_session(bench: Bench) -> dict[str, Any]:
    bench.configure(session_end_delay_s=0.3)
    bench.control("set", **REST)
    until(lambda: sessions(bench)[0]["reason"], what="the end of the charge")
    return sessions(bench)[0]


def test_a_crate_is_refused_once_readings_of_its_charge_are_gone(stepped: Bench) -> None:
    session = ended_session(stepped)
    assert stepped.crate(session).status_code == 200
    meters = stepped.meters()
    meter, stored = meters.session(session["id"])
    offered = Desk(meters).sessions(meter.name)
    assert offered[0] == (stored, True)
    being_made = meters.session_readings(meter, stored)
    meters.store.purge_later(meter.id, stored.started_at + 1).result(5)
    assert len(meters.store.window(meter.id, Window(stored.started_at, stored.active_at)))
    answer = stepped.crate(session)
    assert answer.status_code == 404
    assert "no longer here" in answer.json()["detail"]
    assert Desk(meters).sessions(meter.name)[0] == (stored, False)
    with pytest.raises(SessionReadingsGone):
        list(being_made)


def test_a_crate_names_meter_and_threshold_of_its_charge(stepped: Bench) -> None:
    stepped.configure(session_threshold_a=0.2)
    ended_session(stepped)
    stepped.control("set", **LOAD)
    until(lambda: len(sessions(stepped)) == 2, what="another charge")
    session = ended_session(stepped)
    stepped.configure(session_threshold_a=0.5, session_end_delay_s=30.0)
    stepped.control("unplug")
    until(lambda: not stepped.status()["connected"], what="the unplug")
    meters = stepped.meters()
    meter, stored = meters.session(session["id"])
    serial = meter.identity.serial
    meter.identity = replace(meter.identity, serial=serial + 1)
    record = record_of(stepped, session)
    assert record["parameters"] == {"session_threshold_a": 0.2, "session_end_delay_s": 0.3}
    (instrument,) = record["instruments"]
    assert (instrument["serial_number"], instrument["model"]) == (str(serial), "TC66")

    meters.store.append_later(meter.id, [], [replace(stored, setup=None)]).result(5)
    of_earlier_version = record_of(stepped, session)
    assert of_earlier_version["parameters"] == {}
    assert of_earlier_version["instruments"][0]["name"] == f"Power meter {meter.name}"
    assert not of_earlier_version["instruments"][0].get("serial_number")


def record_of(bench: Bench, session: dict[str, Any]) -> dict[str, Any]:
    answer = bench.crate(session)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        record: dict[str, Any] = json.loads(archive.read("run.json"))
    return record


def test_a_second_charge_is_one_of_its_own(bench: Bench) -> None:
    bench.configure(session_end_delay_s=0.3)
    for _ in range(2):
        bench.control("set", **LOAD)
        until(lambda: sessions(bench) and not sessions(bench)[0]["reason"], what="a charge")
        bench.control("set", **REST)
        until(lambda: sessions(bench)[0]["reason"], what="its end")
    assert len(sessions(bench)) == 2


@pytest.mark.parametrize(("current", "is_charge"), [(0.09999, False), (0.1, True)])
def test_the_threshold_is_a_tenth_of_an_ampere(
    bench: Bench, current: float, is_charge: bool
) -> None:
    bench.control("set", voltage=5.0, current=current, power=5 * current)
    until(lambda: bench.get("data/latest")["current"] == current, what="the current")
    bench.until_points(bench.status()["data_count"] + 5)
    assert bool([item for item in sessions(bench) if item["reason"] is None]) is is_charge


def test_a_power_up_of_the_meter_is_a_gap(bench: Bench) -> None:
    bench.control("set", **LOAD)
    bench.until_points(bench.status()["data_count"] + 5)
    before = bench.get("stats/1h")["energy"]["gap_s"]
    bench.control("power_cycle")
    until(lambda: bench.status()["runs"] == 18, what="the new run")
    bench.until_points(bench.status()["data_count"] + 5)
    assert bench.get("stats/1h")["energy"]["gap_s"] == pytest.approx(before + 0.05, abs=0.04)


# -- alarms ---------------------------------------------------------------------------------------


def alarm_kinds(bench: Bench) -> list[str]:
    return bench.status()["alarms"]


def test_a_limit_raises_an_alarm_that_clears_well_inside(bench: Bench) -> None:
    bench.control("set", **LOAD)
    bench.configure(alarms={"current": {"high": 2.0, "hysteresis": 0.2}})
    for current, expected in ((2.0, []), (2.1, ["current_high"]), (1.9, ["current_high"]),
                              (1.8, [])):  # fmt: skip
        bench.control("set", current=current)
        until(lambda wanted=current: bench.get("data/latest")["current"] == wanted, what="it")
        bench.until_points(bench.status()["data_count"] + 2)
        assert alarm_kinds(bench) == expected
    events = [event for event in bench.get("alarms")["events"] if event["kind"] == "current_high"]
    assert [(event["kind"], event["raised"], event["value"], event["threshold"])
            for event in events] == [
        ("current_high", False, 1.8, 2.0), ("current_high", True, 2.1, 2.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("quantity", "inside", "beyond", "kind", "limits"),
    [
        ("voltage", 5.0, 4.2, "voltage_low", {"low": 4.5}),
        ("voltage", 5.0, 9.0, "voltage_high", {"high": 5.5}),
        ("power", 5.0, 30.0, "power_high", {"high": 20}),
        ("temperature", 25, 61, "temperature_high", {"high": 60}),
        ("temperature", 5, -8, "temperature_low", {"low": -7}),
    ],
)
def test_every_watched_quantity_has_both_sides(
    bench: Bench, quantity: str, inside: float, beyond: float, kind: str, limits: dict[str, float]
) -> None:
    bench.control("set", **{quantity: inside})
    until(lambda: bench.get("data/latest")[quantity] == inside, what="the value")
    bench.configure(alarms={quantity: limits})
    bench.control("set", **{quantity: beyond})
    until(lambda: alarm_kinds(bench) == [kind], what="the alarm")
    bench.control("set", **{quantity: inside})
    until(lambda: alarm_kinds(bench) == [], what="its end")


def test_a_standing_alarm_stands_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str | None
) -> None:
    with emulated(tmp_path) as emulators:
        emulators.control("p1", "set", **LOAD)
        for life in range(2):
            with serve(
                emulators, tmp_path / "data", monkeypatch, database_url=database_url
            ) as opened:
                if life == 0:
                    opened.configure(alarms={"current": {"high": 0.5}})
                until(lambda: alarm_kinds(opened) == ["current_high"], what="the alarm")
                opened.until_points(5)
                until(lambda: opened.get("alarms")["events"], what="the event")
                assert len(opened.get("alarms")["events"]) == 1
                assert len(opened.get("alarms")["standing"]) == 1


def test_a_clock_that_leaps_forward_deletes_nothing_on_its_word(
    stepped: Bench, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PURGE_SECONDS", 0.2)
    stamps = utc_stamps(stepped)
    clock.offset = timedelta(days=1)
    stepped.until_points(3)
    time.sleep(1.0)
    clock.offset = timedelta(0)
    stepped.configure(data_retention_minutes=6000)
    assert utc_stamps(stepped)[: len(stamps)] == stamps
    assert "set back" in stepped.status()["last_error"]


def test_totals_go_on_from_a_reading_older_than_the_retention(
    stepped: Bench, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PURGE_SECONDS", 0.2)
    monkeypatch.setattr(service, "PURGE_STEADY_SECONDS", 0.5)
    before = sessions(stepped)[0]
    stepped.control("unplug")
    until(lambda: not stepped.status()["connected"], what="the unplug")
    clock.offset = timedelta(minutes=20)
    time.sleep(1.5)
    assert stepped.status()["data_count"] == 0
    stepped.control("replug")
    stepped.until_points(5)
    until(lambda: sessions(stepped)[0]["gap_s"] > 1100, what="the gap")
    after = sessions(stepped)[0]
    assert after["start_utc"] == before["start_utc"]
    assert after["wh"] >= before["wh"]


def test_an_hourly_poll_is_one_charge() -> None:
    watch = SessionWatch(0.1, 60.0, interval=3600.0)
    codes = (50_000, 100_000, 50_000, *(0,) * 8)
    ended = []
    for hour in range(24):
        reading = Reading(hour * 3600 * SECOND + hour, codes, False, Totals(number=hour))
        ended += [item for item in watch.see(reading) if item.reason]
        assert watch.settle(reading.at + 3599 * SECOND) is None
    assert ended == []
    assert watch.open is not None


def test_long_intervals_lose_nothing_while_the_stamps_catch_up(
    stepped: Bench, clock: SteppedClock
) -> None:
    meter = stepped.meter()
    stepped.configure(polling_interval=3600)
    stepped.until_at_rest()
    clock.offset = -timedelta(minutes=10)
    assert _tolerance(300) > 300 * SLEW
    last = meter.latest
    before = last.totals
    clock.elapsed = 300.0
    stepped.configure(polling_interval=3599)
    until(lambda: meter.latest is not last, what="a reading in the new rhythm")
    gained = meter.latest.totals.since(before)
    assert gained.gap_s == 0
    assert gained.charge_as == pytest.approx(300, rel=0.02)


def test_what_began_in_a_slow_rhythm_is_no_gap_of_a_faster_one(
    stepped: Bench, clock: SteppedClock
) -> None:
    meter = stepped.meter()
    stepped.configure(polling_interval=60)
    stepped.until_at_rest()
    last = meter.latest
    clock.elapsed = 40.0
    # So long it waits after a leap for readings that may have come meanwhile.
    time.sleep(_CATCH_UP_SECONDS + 0.5)
    assert meter.latest is last
    stepped.configure(polling_interval=1)
    until(lambda: meter.recorder.newest is not last, what="a reading in the new rhythm")
    gained = meter.latest.totals.since(last.totals)
    assert gained.gap_s == 0
    assert gained.charge_as == pytest.approx(40, rel=0.2)
    assert stepped.get("alarms")["events"] == []
