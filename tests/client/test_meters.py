"""Power meters from Python."""

import itertools
import os
from datetime import UTC, datetime

import polars as pl
import pytest

from benchwire.client import Bench, Invalid, NotFound
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _with_readings(bench: Bench) -> None:
    until(lambda: bench.meters.status()["data_count"] > 5, seconds=20, what="some readings")


def test_readings_carry_units_and_utc(bench: Bench) -> None:
    frame = bench.meters.readings("1m")
    assert frame.columns[:4] == ["time_utc", "voltage_V", "current_A", "power_W"]
    assert frame.schema["time_utc"] == pl.Datetime("us", "UTC")
    assert frame["time_utc"].is_sorted()
    latest = bench.meters.latest("meter1")
    assert 4 < latest["voltage"] < 6


def test_figures_of_a_period_agree_with_its_readings(bench: Bench) -> None:
    stats = bench.meters.stats("10m")
    assert stats["quantity"].to_list() == ["voltage", "current", "power"]
    frame = bench.meters.readings("10m")
    assert stats["min"][0] == pytest.approx(frame["voltage_V"].min())
    assert bench.meters.energy("10m")["wh"] > 0
    chart = bench.meters.chart("10m", points=5)
    assert chart["count"].sum() >= frame.height - 1
    assert (chart["power_min"] <= chart["power_max"]).all()


def test_watch_gives_each_reading_once(bench: Bench) -> None:
    found = list(itertools.islice(bench.meters.watch(), 5))
    times = [reading.at for reading in found]
    assert times == sorted(set(times))
    assert all(reading.at.tzinfo is UTC and reading.meter == "meter1" for reading in found)
    assert list(bench.meters.watch("meter1", seconds=0.5))


def test_events_tell_state_first(bench: Bench) -> None:
    assert next(bench.meters.events("meter1")).name == "state"


def test_meter_is_set_up(bench: Bench) -> None:
    before = bench.meters.config()
    changed = bench.meters.configure(alarms={"current": {"high": 4.0, "hysteresis": 0.1}})
    assert changed["alarms"]
    assert changed["port"] == before["port"]
    bench.meters.turn_screen("next")
    assert bench.meters.names() == bench.meters.all()["meter"].to_list() == ["meter1"]
    assert "meter1" in bench.meters.ports()["meter"].to_list()
    assert bench.meters.sessions().columns[:3] == ["id", "start_utc", "end_utc"]
    assert bench.meters.alarms().schema["utc"] == pl.Datetime("us", "UTC")
    assert bench.meters.recording().columns == ["voltage", "current"]


def test_meter_is_added_and_removed(bench: Bench) -> None:
    master, slave = os.openpty()
    try:
        state = bench.meters.add(os.ttyname(slave), "zweiter")
    finally:
        os.close(slave)
        os.close(master)
    assert state["meter"] == "zweiter"
    with pytest.raises(NotFound) as caught:
        bench.meters.latest("zweiter")
    assert caught.value.code == "powermeter.no_readings"
    assert bench.meters.readings("1m", "zweiter").is_empty()
    bench.meters.remove("zweiter")
    assert bench.meters.names() == ["meter1"]


def test_refusals_are_told_in_one_way(bench: Bench) -> None:
    with pytest.raises(Invalid) as caught:
        bench.meters.readings("fünf Minuten")
    assert caught.value.code == "powermeter.period_invalid"
    assert "30s, 5m, 1h" in caught.value.hint
    with pytest.raises(NotFound):
        bench.meters.status("nobody")
    with pytest.raises(Invalid, match="polling_interval"):
        bench.meters.configure(polling_interval=-1)


def test_session_has_moments(bench: Bench) -> None:
    until(lambda: bench.meters.sessions().height > 0, seconds=30, what="a charge")
    session = bench.meters.sessions().row(0, named=True)
    assert isinstance(session["start_utc"], datetime)
    assert session["start_utc"] <= session["end_utc"]
