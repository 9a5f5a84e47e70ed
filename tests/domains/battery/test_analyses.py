"""Anomalies, forecasts and battery figures as the API gives them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from benchwire.domains.battery.signals import BMS
from benchwire.domains.battery.simulation import Truth, make_fleet
from tests.support.battery import DEVICE, Bench, minutes, running, write_signal
from tests.support.waiting import until

DAYS = 10
TYPES = {"out_of_range", "spike", "stuck", "step", "imbalance", "drift", "gap"}
TOLERANCE = timedelta(minutes=5)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    folder = tmp_path_factory.mktemp("fleet")
    truth = make_fleet(folder, devices=1, days=DAYS, seed=404, faults_per_device_day=2, cells=2)
    make_fleet(folder / "sound", devices=1, days=30, seed=405)
    (folder / "sound/BESS" / DEVICE).rename(folder / "BESS/sound")
    for signal, value in (("bms1_soc", 50), ("bms1_soh", 99), ("pcs1_ap", 0)):
        write_signal(folder, "resting", signal, [(at, value) for at in minutes(600)])
    write_signal(folder, "single", "bms1_soc", [("2024-03-09 00:00:00", 50)])
    write_signal(folder, "nulls", "bms1_soc", [(at, None) for at in minutes(100)])
    return folder, truth


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, fleet: tuple[Path, Truth]) -> Iterator[Bench]:
    with running(tmp_path_factory.mktemp("data"), fleet[0]) as found:
        yield found


def test_injected_faults_are_among_the_anomalies(bench: Bench, fleet: tuple[Path, Truth]) -> None:
    for group in ("bms", "pcs"):
        answer = bench.get(f"/{group}/{DEVICE}/anomalies", limit=1000)
        assert set(answer) >= {"device_id", "method", "samples_analyzed", "total_anomalies"}
        events = answer["anomalies"]
        assert answer["total_anomalies"] == len(events)
        assert [event["start"] for event in events] == sorted(event["start"] for event in events)
        for event in events:
            assert event["type"] in TYPES
            assert event["severity"] in {"info", "warning", "critical"}
            assert event["start"] <= event["end"]
            assert event["message"]
        labels = [label for label in fleet[1].labels if label.group == group]
        found = sum(
            any(
                event["metric"] == label.field
                and moment(event["start"]) <= at(label.end_us) + TOLERANCE
                and moment(event["end"]) >= at(label.start_us) - TOLERANCE
                for event in events
            )
            for label in labels
        )
        assert found >= 0.8 * len(labels)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def at(at_us: int) -> datetime:
    return datetime.fromisoformat("1970-01-01T00:00:00Z") + timedelta(microseconds=at_us)


def test_anomalies_come_in_pages_and_of_one_metric(bench: Bench) -> None:
    path = f"/pcs/{DEVICE}/anomalies"
    whole = bench.get(path, limit=1000)["anomalies"]
    assert len(whole) > 3
    pages = [bench.get(path, limit=2, skip=skip)["anomalies"] for skip in (0, 2)]
    assert pages[0] + pages[1] == whole[:4]
    assert bench.get(path, skip=10**6)["anomalies"] == []
    metric = whole[0]["metric"]
    of_one = bench.get(path, metric=metric, limit=1000)
    assert of_one["anomalies"] == [event for event in whole if event["metric"] == metric]


def test_anomalies_of_a_range_look_at_it_alone(bench: Bench) -> None:
    path = f"/bms/{DEVICE}/anomalies"
    whole = bench.get(path)["samples_analyzed"]
    day = bench.get(path, start="2023-09-20", end="2023-09-21", method="limits")
    assert 0 < day["samples_analyzed"] < whole / 5
    nothing = bench.get(path, start="2030-01-01")
    assert (nothing["samples_analyzed"], nothing["anomalies"]) == (0, [])


@pytest.mark.parametrize(
    "query",
    [
        {"method": "guess"}, {"method": ""}, {"metric": "power"}, {"limit": 0}, {"limit": 1001},
        {"skip": -1}, {"start": "then"}, {"start": "2024-01-02", "end": "2024-01-01"},
    ],
    ids=str,
)  # fmt: skip
def test_bad_anomaly_query_is_422(bench: Bench, query: dict[str, object]) -> None:
    bench.get(f"/bms/{DEVICE}/anomalies", status=422, **query)


@pytest.mark.parametrize("device", ["resting", "single", "nulls"])
@pytest.mark.parametrize("method", ["auto", "iforest"])
def test_quiet_devices_have_no_anomalies(bench: Bench, device: str, method: str) -> None:
    assert bench.get(f"/bms/{device}/anomalies", method=method)["anomalies"] == []


@pytest.mark.parametrize("method", ["auto", "seasonal_naive", "ets", "gbdt"])
def test_forecast_keeps_to_the_contract(bench: Bench, method: str) -> None:
    answer = bench.get(f"/bms/{DEVICE}/forecast", metric="soc", method=method)
    assert set(answer) >= {
        "device_id", "metric", "method", "trained_on", "forecast", "backtest",
    }  # fmt: skip
    assert set(answer["backtest"]) >= {"mae", "rmse", "baseline_mae", "coverage", "origins"}
    assert answer["metric"] == "soc"
    points = answer["forecast"]
    assert len(points) == 96
    assert points[0]["timestamp"] == "2023-09-29T00:00:00Z"
    assert points[1]["timestamp"] == "2023-09-29T00:15:00Z"
    for point in points:
        assert 0 <= point["lower"] <= point["value"] <= point["upper"] <= 100


def test_forecast_as_of_a_moment_knows_nothing_after_it(bench: Bench) -> None:
    query = {"metric": "cell_avg_temp", "as_of": "2023-09-27T12:07:00Z", "horizon": 6, "step": 30}
    answer = bench.get(f"/bms/{DEVICE}/forecast", **query)
    assert answer["forecast"][0]["timestamp"] == "2023-09-27T12:30:00Z"
    assert len(answer["forecast"]) == 12
    assert answer["trained_on"]["end"] <= "2023-09-27T12:07:00Z"


@pytest.mark.parametrize(
    "query",
    [
        {}, {"metric": "nope"}, {"metric": "soc", "horizon": 0}, {"metric": "soc", "horizon": 169},
        {"metric": "soc", "horizon": "nan"}, {"metric": "soc", "step": 0.5},
        {"metric": "soc", "step": 121}, {"metric": "soc", "method": "oracle"},
        {"metric": "soc", "as_of": "tomorrow"}, {"metric": "soc", "as_of": "1990-01-01"},
    ],
    ids=str,
)  # fmt: skip
def test_bad_forecast_query_is_422(bench: Bench, query: dict[str, object]) -> None:
    bench.get(f"/bms/{DEVICE}/forecast", status=422, **query)


def test_forecast_of_nothing_is_refused_and_of_little_is_humble(bench: Bench) -> None:
    bench.get("/bms/nulls/forecast", status=422, metric="soc")
    bench.get("/bms/resting/forecast", status=422, metric="current")
    little = bench.get("/bms/resting/forecast", metric="soc")
    assert little["method"] in {"last_value", "seasonal_naive"}
    assert little["forecast"][0]["value"] == 50


def test_cycles_and_throughput_are_of_the_same_flow(bench: Bench) -> None:
    cycles = bench.get(f"/bms/{DEVICE}/cycles")
    throughput = bench.get(f"/bms/{DEVICE}/throughput")
    assert cycles["sign"] == throughput["sign"]
    assert cycles["sign"]["source"] == "soc"
    total = throughput["total"]
    capacity = throughput["capacity"]["ah"]
    assert cycles["total"]["full_cycles"] == pytest.approx(total["discharged_ah"] / capacity)
    assert len(throughput["days"]) == DAYS
    assert sum(day["charged_ah"] for day in throughput["days"]) == pytest.approx(
        total["charged_ah"]
    )
    given = bench.get(f"/bms/{DEVICE}/cycles", capacity_ah=100.0)
    assert given["total"]["full_cycles"] == pytest.approx(total["discharged_ah"] / 100)


def test_efficiency_of_both_sides_is_below_one_and_less_behind_the_converter(bench: Bench) -> None:
    of_battery = bench.get("/bms/sound/efficiency")["efficiency"]
    of_system = bench.get("/pcs/sound/efficiency")["efficiency"]
    assert 0.8 < of_system < of_battery < 1.0


def test_health_has_its_interval(bench: Bench) -> None:
    trend = bench.get("/bms/sound/soh")["trend"]
    assert trend["lower"] <= trend["percent_per_month"] <= trend["upper"]
    assert trend["days"] == 30
    bench.get("/bms/single/soh", status=422)


def test_cells_are_ranked_the_worst_first(bench: Bench) -> None:
    answer = bench.get(f"/bms/{DEVICE}/imbalance", limit=4)
    assert answer["total_cells"] == 10
    means = [abs(cell["mean_mv"]) for cell in answer["cells"]]
    assert len(means) == 4
    assert means == sorted(means, reverse=True)
    assert answer["cells"][0]["cell"].startswith("bms1_p")
    bench.get("/bms/single/imbalance", status=422)


@pytest.mark.parametrize("path", ["cycles", "throughput", "soh", "imbalance", "efficiency"])
def test_figures_of_a_range_and_of_odd_devices(bench: Bench, path: str) -> None:
    bench.get(f"/bms/sound/{path}", start="2023-09-20", end="2023-10-12")
    bench.get(f"/bms/{DEVICE}/{path}", status=422, start="x")
    bench.get(f"/bms/nope/{path}", status=404)
    for device in ("resting", "single", "nulls"):
        answer = bench.client.get(f"/bms/{device}/{path}")
        assert answer.status_code in {200, 422}, answer.text


def test_values_beyond_reason_break_nothing(bench: Bench) -> None:
    body = [
        {"timestamp": f"2026-01-{1 + n // 1440:02}T{n // 60 % 24:02}:{n % 60:02}:00Z",
         "voltage": 1e308 * (-1) ** n, "current": -1e308, "soc": 1e300, "soh": 5e-324}
        for n in range(9_000)
    ]  # fmt: skip
    bench.post("/bms/huge/readings", body)
    paths = ["cycles", "throughput", "efficiency", "soh", "imbalance", "anomalies"]
    paths += [f"forecast?metric=voltage&method={name}" for name in ("gbdt", "ets", "auto")]
    for path in paths:
        answer = bench.client.get(f"/bms/huge/{path}")
        assert answer.status_code in {200, 422}, f"{path}: {answer.text}"


def test_many_who_ask_the_same_get_the_same(bench: Bench) -> None:
    def ask(_: int) -> object:
        return bench.get(f"/bms/{DEVICE}/anomalies", start="2023-09-22", end="2023-09-24")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(16)))
    assert all(answer == answers[0] for answer in answers)


def test_cells_that_change_are_ranked_anew(bench: Bench, fleet: tuple[Path, Truth]) -> None:
    device = "swapped"
    for cell, value in ((1, 3.3), (2, 3.3), (3, 3.4)):
        write_signal(fleet[0], device, f"bms1_p1_v{cell}", [(at, value) for at in minutes(600)])
    write_signal(fleet[0], device, "bms1_soc", [(at, 50) for at in minutes(600)])

    def worst() -> str:
        return str(bench.get(f"/bms/{device}/imbalance")["cells"][0]["cell"])

    until(lambda: any(item["device_id"] == device for item in bench.get("/bms/devices")["devices"]))
    assert worst() == "bms1_p1_v3", bench.get(f"/bms/{device}/imbalance")
    for cell, value in ((1, 3.6), (3, 3.3)):
        write_signal(fleet[0], device, f"bms1_p1_v{cell}", [(at, value) for at in minutes(600)])
    until(lambda: worst() == "bms1_p1_v1")


def test_new_reading_changes_what_was_worked_out(bench: Bench) -> None:
    path = "/bms/rack/anomalies"
    stamps = [f"2026-01-01T00:{minute:02}:00Z" for minute in range(60)]
    first = [{"timestamp": at, "soc": 50.0} for at in stamps]
    bench.post("/bms/rack/readings", first)
    assert bench.get(path, method="limits")["anomalies"] == []
    bench.post("/bms/rack/readings", {"timestamp": "2026-01-01T01:00:00Z", "soc": 180.0})
    (found,) = bench.get(path, method="limits")["anomalies"]
    assert (found["metric"], found["type"], found["value"]) == ("soc", "out_of_range", 180.0)
    assert len(BMS.fields) == 12
