"""Battery telemetry from Python."""

import itertools
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from benchwire.client import Bench, BenchError, IncompleteWarning, Invalid, NotFound

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def device(lab: Any) -> str:
    return lab.device


def readings(count: int, first: datetime = START) -> Iterator[dict[str, Any]]:
    for number in range(count):
        at = first + timedelta(seconds=number)
        yield {"timestamp": at, "soc": 50.0 + number % 40, "voltage": 800.0}


def test_rows_are_all_there(bench: Bench, device: str) -> None:
    devices = bench.battery.devices()
    total = devices.filter(devices["device_id"] == device)["total_rows"].item()
    frame = bench.battery.rows(device)
    assert frame.height == total > 1000
    assert frame.columns[:3] == ["timestamp", "soc", "soh"]
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert frame["timestamp"].is_sorted()
    page = bench._connection.get(f"/bms/{device}", batch_size=5, skip=2000)["data"]
    assert frame["soc"][2000:2005].to_list() == [row["soc"] for row in page]
    assert frame["cell_temp_diff"][2000:2005].to_list() == [row["cell_temp_diff"] for row in page]
    first = datetime.fromisoformat(page[0]["timestamp"])
    assert frame["timestamp"][2000] == first


def test_rows_of_a_range_and_of_other_groups(bench: Bench, device: str) -> None:
    frame = bench.battery.rows(device, datetime(2023, 9, 20, tzinfo=UTC), "2023-09-20T01:00:00Z")
    assert 0 < frame.height < 200
    assert frame["timestamp"].min() >= datetime(2023, 9, 20, tzinfo=UTC)
    assert frame["timestamp"].max() < datetime(2023, 9, 20, 1, tzinfo=UTC)
    assert bench.battery.rows(device, "2030-01-01").is_empty()
    whole = bench.battery.rows(device, "2023-09-20", "2023-09-20T00:10:00", group="bess")
    assert whole.schema["safety_smoke_flag"] == pl.Boolean
    assert "apparent_power" in bench.battery.rows(device, "2023-09-21", group="pcs").columns


def test_curve_and_judgements(bench: Bench, device: str) -> None:
    curve = bench.battery.curve(device, "soc", points=100)
    assert 10 < curve.height <= 110
    assert curve["timestamp"].is_sorted()
    found = bench.battery.anomalies(device)
    assert {"metric", "type", "start", "end", "message"} <= set(found.columns)
    assert found.schema["start"] == pl.Datetime("us", "UTC")
    assert bench.battery.anomalies(device, metric="soh", method="gap").columns == found.columns


def test_forecast_has_a_band(bench: Bench, device: str) -> None:
    forecast = bench.battery.forecast(
        device, "soc", horizon_hours=3, step_minutes=30, as_of="2023-09-21T12:00:00Z"
    )
    points = forecast.points
    assert points.height == 6
    assert (points["lower"] <= points["value"]).all()
    assert points["timestamp"].min() >= datetime(2023, 9, 21, 12, tzinfo=UTC)
    assert "mae" in forecast.backtest


def test_figures_per_day(bench: Bench, device: str) -> None:
    cycles = bench.battery.cycles(device, capacity_ah=200.0)
    assert cycles.days.height == 3
    assert cycles.total["full_cycles"] > 0
    assert cycles.facts["capacity"]["ah"] == 200.0
    assert bench.battery.throughput(device).days["charged_kwh"].sum() > 0
    assert bench.battery.efficiency(device).total["efficiency"] > 0
    with pytest.raises(Invalid, match="too few days") as caught:
        bench.battery.health(device)
    assert caught.value.status == 422
    assert bench.battery.imbalance(device).height == 5
    with pytest.warns(IncompleteWarning, match="2 of 5"):
        bench.battery.imbalance(device, limit=2)
    assert bench.battery.report(device)["total_rows"] > 0
    assert bench.battery.overview()
    assert "inverters" in bench.battery.sources()


def test_readings_are_stored_once_however_many(bench: Bench) -> None:
    given = list(readings(12_000))
    assert bench.battery.post("viele", given) == {
        "received": 12_000, "stored": 12_000, "updated": 0, "duplicates": 0,
    }  # fmt: skip
    assert bench.battery.post("viele", given)["duplicates"] == 12_000
    assert bench.battery.rows("viele").height == 12_000
    with pytest.raises(Invalid, match="reading 0"):
        bench.battery.post("viele", {"timestamp": "gestern", "soc": 1.0})


def test_new_readings_are_seen_live(bench: Bench) -> None:
    bench.battery.post("live", list(readings(1)))
    stream = bench.battery.live("live")
    assert next(stream)["timestamp"] == START
    bench.battery.post("live", list(readings(3, START + timedelta(hours=1))))
    seen = list(itertools.islice(stream, 3))
    assert [row["soc"] for row in seen] == [50.0, 51.0, 52.0]
    stream.close()


def test_rows_are_replayed_in_order(bench: Bench, device: str) -> None:
    stream = bench.battery.replay(device, interval=0.1, skip=10)
    seen = [row["timestamp"] for row in itertools.islice(stream, 3)]
    stream.close()
    assert seen == bench.battery.rows(device)["timestamp"][10:13].to_list()


def test_refusals_are_told_in_one_way(bench: Bench, device: str) -> None:
    with pytest.raises(NotFound) as caught:
        bench.battery.rows("../etc")
    assert caught.value.status == 404
    with pytest.raises(Invalid) as caught:
        bench.battery.curve(device, "nobody's")
    assert caught.value.status == 422
    with pytest.raises(BenchError):
        bench.battery.forecast(device, "soc", horizon_hours=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bench.battery.imbalance(device)
