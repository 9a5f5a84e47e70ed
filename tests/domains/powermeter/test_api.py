"""The API row by row: shapes, periods, windows, statistics, configuration, errors."""

import itertools
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.domains.powermeter.conftest import Bench, emulated, serve
from tests.support.waiting import until

POINT = {"timestamp", "voltage", "current", "power"}
EXTRA = {
    "utc", "resistance", "temperature", "mah_g0", "mwh_g0", "mah_g1", "mwh_g1", "d_plus",
    "d_minus",
}  # fmt: skip
STATUS = {
    "running", "data_count", "oldest_data", "newest_data", "retention_minutes",
    "polling_interval",
}  # fmt: skip
ABSENT = "/dev/ttyACM77"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One server for all tests that only ask, or put back what they change."""
    folder = tmp_path_factory.mktemp("api")
    with (
        pytest.MonkeyPatch.context() as environment,
        emulated(folder, 2) as emulators,
        serve(emulators, folder / "data", environment) as opened,
    ):
        opened.until_points(20)
        yield opened


@pytest.fixture
def both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str | None
) -> Iterator[Bench]:
    """A server of the test's own, on SQLite and on PostgreSQL."""
    with (
        emulated(tmp_path) as emulators,
        serve(emulators, tmp_path / "data", monkeypatch, database_url=database_url) as opened,
    ):
        opened.until_points(10)
        yield opened


def refusal(answer: Any, *, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert isinstance(body["error"], str)
    assert body["error"]
    assert isinstance(body["message"], str)
    assert body["message"]
    return body


def stamp(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    assert parsed.tzinfo is None
    assert len(text) == len("2026-01-19T14:25:00.000000")
    return parsed


# -- 1.1 endpoints --------------------------------------------------------------------------------


def test_every_endpoint_has_its_keys(shared: Bench) -> None:
    assert set(shared.get("data/latest")) >= POINT | EXTRA | {"age_s", "stale"}
    assert set(shared.get("data/5m")) == {"period", "count", "start_time", "end_time", "data"}
    assert set(shared.get("stats/5m")) >= {
        "period", "sample_count", "voltage", "current", "power",
    }  # fmt: skip
    assert set(shared.get("status")) >= STATUS | {
        "connected", "last_error", "port", "product", "version", "serial", "runs", "reconnects",
        "frame_errors", "last_read_ms", "age_s",
    }  # fmt: skip
    assert set(shared.get("config")) >= {"port", "polling_interval", "data_retention_minutes"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/data/5m", 405),
        ("DELETE", "/api/status", 405),
        ("PUT", "/api/config", 405),
        ("GET", "/api/data/", 404),
        ("GET", "/api/data", 404),
        ("GET", "/api/stats/", 404),
        ("GET", "/api/status/more", 404),
        ("GET", "/api/data/5m/more", 404),
    ],
)
def test_wrong_methods_and_paths(shared: Bench, method: str, path: str, status: int) -> None:
    refusal(shared.client.request(method, path, follow_redirects=False), status=status)


# -- 1.2 a point ----------------------------------------------------------------------------------


def test_points_are_exact_and_ascending(shared: Bench) -> None:
    answer = shared.get("data/5m")
    points = answer["data"]
    assert answer["count"] == len(points) >= 20
    for point in points:
        assert set(point) >= POINT | EXTRA
        for key, digits in (("voltage", 4), ("current", 5), ("power", 4)):
            assert point[key] == round(point[key], digits)
        assert point["power"] == pytest.approx(point["voltage"] * point["current"], abs=2e-4)
        local = stamp(point["timestamp"])
        utc = datetime.fromisoformat(point["utc"])
        assert local.astimezone() == utc
    stamps = [stamp(point["timestamp"]) for point in points]
    assert stamps == sorted(set(stamps))


@pytest.mark.parametrize("code", [50001, 51234, 49999, 3, 120001])
def test_values_carry_no_binary_noise(shared: Bench, code: int) -> None:
    shared.control("set", voltage=code / 1e4, current=code / 1e5, power=code / 1e4)
    try:
        until(lambda: shared.get("data/latest")["voltage"] == code / 10_000, what="the new value")
        point = shared.get("data/latest")
        assert (point["voltage"], point["current"]) == (code / 10_000, code / 100_000)
        text = shared.client.get("/api/data/2s").text
        assert f'"voltage":{code / 10_000!r},' in text
    finally:
        shared.control("free")


# -- 1.3 periods ----------------------------------------------------------------------------------

BAD_PERIODS = [
    "5x", "abc", "-5m", "+5m", "5", "m", "5M", "1.5m", "5 m", "5m5m", "5m\n", "\n5m", " 5m", "5m ",
    "\u0665m", "\uff15m", "5\u043c", "\u00e9", "5ms", "0x5m", "5e1m", "0s", "0m", "0h", "000m",
    "%", "null", "1d",
]  # fmt: skip
GOOD_PERIODS = ["30s", "5m", "1h", "05m", "0000000005m", "9999999h"]
HUGE_PERIODS = ["99999999h", "99999999999h", "9" * 300 + "s", "9" * 4299 + "h"]


@pytest.mark.parametrize("room", ["data", "stats", "chart"])
@pytest.mark.parametrize("period", BAD_PERIODS)
def test_bad_periods_are_refused(shared: Bench, room: str, period: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in period.encode())
    body = refusal(shared.client.get(f"/api/{room}/{encoded}"))
    assert "period" in body["error"]


@pytest.mark.parametrize("period", GOOD_PERIODS + HUGE_PERIODS)
def test_good_and_huge_periods_are_answered(shared: Bench, period: str) -> None:
    answer = shared.get(f"data/{period}")
    assert answer["period"] == period
    assert answer["count"] > 0
    assert shared.get(f"stats/{period}")["period"] == period
    assert stamp(answer["start_time"]) < stamp(answer["end_time"])


@pytest.mark.parametrize("digits", [4301, 10_000, 60_000])
def test_absurdly_long_periods_are_refused(shared: Bench, digits: int) -> None:
    refusal(shared.client.get(f"/api/data/{'9' * digits}m"))


def test_latest_wins_over_a_period(shared: Bench) -> None:
    assert "voltage" in shared.get("data/latest")
    refusal(shared.client.get("/api/stats/latest"))


# -- 1.4 and 1.5 data -----------------------------------------------------------------------------


@pytest.mark.parametrize(("period", "seconds"), [("1s", 1), ("30s", 30), ("5m", 300), ("2h", 7200)])
def test_a_window_is_as_long_as_asked(shared: Bench, period: str, seconds: int) -> None:
    before = datetime.now(UTC).astimezone().replace(tzinfo=None)
    answer = shared.get(f"data/{period}")
    start, end = stamp(answer["start_time"]), stamp(answer["end_time"])
    assert end - start == timedelta(seconds=seconds)
    assert abs(end - before) < timedelta(seconds=5)
    assert all(start <= stamp(point["timestamp"]) <= end for point in answer["data"])


def test_a_longer_period_never_has_fewer_points(shared: Bench) -> None:
    counts = [shared.get(f"data/{period}")["count"] for period in ("1s", "2s", "5s", "1m", "1h")]
    assert counts == sorted(counts)


def test_latest_is_the_last_of_data(shared: Bench) -> None:
    for _ in range(50):
        latest = shared.get("data/latest")
        window = shared.get("data/10s")["data"]
        same = [point for point in window if point["timestamp"] == latest["timestamp"]]
        assert len(same) == 1
        assert {key: latest[key] for key in same[0]} == same[0]


def test_polling_keeps_its_rhythm(shared: Bench) -> None:
    until(lambda: shared.get("data/3s")["count"] >= 45, what="three full seconds")
    stamps = [stamp(point["timestamp"]) for point in shared.get("data/3s")["data"]]
    seconds = [(item - stamps[0]).total_seconds() for item in stamps]
    # Each stamp is near a whole multiple of the interval: nothing drifts, whatever a read takes.
    phases = sorted((item + 0.025) % 0.05 for item in seconds)
    assert phases[len(phases) // 2] == pytest.approx(0.025, abs=0.012)
    assert 40 <= len(stamps) <= 62


# -- 1.6 statistics -------------------------------------------------------------------------------


def test_statistics_are_what_a_client_computes(both: Bench) -> None:
    both.configure(polling_interval=3600)
    both.until_at_rest()
    points = both.get("data/5m")["data"]
    found = both.get("stats/5m")
    assert found["sample_count"] == len(points)
    for key in ("voltage", "current", "power"):
        values = [point[key] for point in points]
        assert found[key]["min"] == min(values)
        assert found[key]["max"] == max(values)
        assert found[key]["avg"] == pytest.approx(sum(values) / len(values), abs=6e-5)
        assert found[key]["min"] <= found[key]["avg"] <= found[key]["max"]
    times = [datetime.fromisoformat(point["utc"]) for point in points]
    energy = sum(
        (a["power"] + b["power"]) / 2 * (u - t).total_seconds()
        for a, b, t, u in zip(points, points[1:], times, times[1:], strict=False)
    )
    assert found["energy"]["wh"] == pytest.approx(energy / 3600, rel=1e-9, abs=1e-12)


# -- 1.7 status -----------------------------------------------------------------------------------


def test_status_tells_the_meter_and_what_is_kept(both: Bench) -> None:
    status = both.status()
    assert status["running"] is True
    assert status["connected"] is True
    assert status["last_error"] is None
    assert (status["product"], status["version"], status["serial"]) == ("TC66", "1.18", 4242)
    assert status["retention_minutes"] == both.get("config")["data_retention_minutes"] == 10
    assert status["polling_interval"] == both.get("config")["polling_interval"] == 0.05
    assert stamp(status["oldest_data"]) < stamp(status["newest_data"])
    assert status["data_count"] <= both.get("data/1h")["count"]
    assert status["age_s"] < 1
    assert status["last_read_ms"] > 0


def test_nothing_stored_is_said_in_each_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str | None
) -> None:
    with emulated(tmp_path) as emulators:
        emulators.control("p1", "unplug")
        with serve(emulators, tmp_path / "data", monkeypatch, database_url=database_url) as opened:
            until(lambda: opened.status()["last_error"], what="the error")
            status = opened.status()
            assert (status["data_count"], status["oldest_data"], status["newest_data"]) == (
                0, None, None,
            )  # fmt: skip
            assert status["running"] is True
            assert status["connected"] is False
            assert "There is no port" in status["last_error"]
            assert opened.get("data/5m")["count"] == 0
            assert opened.get("data/5m")["data"] == []
            refusal(opened.client.get("/api/data/latest"), status=404)
            refusal(opened.client.get("/api/stats/5m"), status=404)
            emulators.control("p1", "replug")
            opened.until_points(3, seconds=7)
            assert opened.status()["connected"] is True


# -- 1.8 configuration ----------------------------------------------------------------------------

WRONG = [
    ("polling_interval", value)
    for value in (0, -1, -0.001, 0.01, 3601, 1e300, True, None, [], {}, "abc", math.nan,
                  math.inf, -math.inf)
] + [
    ("data_retention_minutes", value)
    for value in (0, -1, 525_601, 10**300, 1e300, 2.5, True, None, [1], {"a": 1}, "many", math.nan)
] + [
    ("port", value)
    for value in ("", None, 5, True, [], {}, ABSENT, "/dev/null", "/tmp", "/etc/passwd", "x" * 300,
                  "../../dev/tty", "\x00", "C:\\x")
] + [
    ("session_threshold_a", -1), ("session_end_delay_s", "x"), ("alarms", []),
    ("alarms", {"voltage": 5}), ("alarms", {"colour": {}}),
    ("alarms", {"voltage": {"low": 5, "high": 4}}),
    ("alarms", {"current": {"high": math.inf}}),
    ("alarms", {"current": {"high": 2, "hysteresis": -1}}),
    ("no_such_key", 1),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WRONG, ids=lambda value: repr(value)[:30])
def test_a_wrong_value_changes_nothing_and_is_named(shared: Bench, key: str, value: Any) -> None:
    before = shared.get("config")
    # Python's own JSON, since a strict encoder would not send NaN at all.
    body = json.dumps({"data_retention_minutes": 77, "polling_interval": 0.5, key: value})
    answer = shared.client.post(
        "/api/config", content=body, headers={"content-type": "application/json"}
    )
    assert key in refusal(answer)["error"]
    assert shared.get("config") == before
    assert shared.status()["polling_interval"] == before["polling_interval"]


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "[1]", "5", '"x"', "{}", "{", '{"polling_interval":', "\x00", "[" * 100_000,
     '{"a":' * 5000],
    ids=lambda body: body[:12],
)  # fmt: skip
def test_what_is_no_configuration_is_refused(shared: Bench, body: str) -> None:
    before = shared.get("config")
    refusal(
        shared.client.post(
            "/api/config", content=body, headers={"content-type": "application/json"}
        )
    )
    assert shared.get("config") == before


def test_a_partial_change_is_answered_with_the_whole(both: Bench) -> None:
    answer = both.configure(data_retention_minutes=30)
    assert answer.status_code == 200
    body = answer.json()
    assert body["message"]
    assert body["config"] == both.get("config")
    assert body["config"]["data_retention_minutes"] == 30
    assert body["config"]["polling_interval"] == 0.05
    assert both.status()["retention_minutes"] == 30


@pytest.mark.parametrize(
    "change",
    [{"polling_interval": 0.05}, {"polling_interval": 3600}, {"polling_interval": 2},
     {"data_retention_minutes": 1}, {"data_retention_minutes": 525_600}],
    ids=str,
)  # fmt: skip
def test_both_ends_of_the_ranges_are_accepted(bench: Bench, change: dict[str, Any]) -> None:
    answer = bench.configure(**change)
    assert answer.status_code == 200, answer.text
    assert bench.get("config").items() >= change.items()


def test_a_new_interval_is_in_force_at_once(bench: Bench) -> None:
    bench.configure(polling_interval=3600)
    until(lambda: bench.status()["age_s"] > 1, what="the long pause")
    before = bench.get("data/latest")["timestamp"]
    bench.configure(polling_interval=0.1)
    until(lambda: bench.get("data/latest")["timestamp"] > before, seconds=1, what="the next poll")
    until(lambda: bench.get("data/1s")["count"] in (9, 10, 11), what="the new rhythm")


def test_the_same_port_again_leaves_no_gap(bench: Bench) -> None:
    reconnects = bench.status()["reconnects"]
    assert bench.configure(port=bench.port()).status_code == 200
    assert bench.status()["reconnects"] == reconnects
    count = bench.status()["data_count"]
    bench.until_points(count + 20)
    stamps = [stamp(point["timestamp"]) for point in bench.get("data/1s")["data"]]
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(stamps)]
    assert max(gaps) < 1


def test_another_port_is_taken_up_and_the_old_one_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(tmp_path / "a") as emulators, emulated(tmp_path / "b", 2) as spare:
        other = spare.paths["p2"]
        with serve(emulators, tmp_path / "data", monkeypatch) as opened:
            opened.until_points(3)
            assert opened.configure(port=str(other)).status_code == 200
            assert opened.get("config")["port"] == str(other)
            until(lambda: opened.status()["serial"] == 4243, seconds=7, what="the other meter")
            assert opened.status()["connected"] is True
            assert opened.configure(port=opened.port()).status_code == 200
            until(lambda: opened.status()["serial"] == 4242, seconds=7, what="the first meter")
            before = opened.status()["data_count"]
            opened.until_points(before + 3, seconds=7)


def test_a_port_that_is_no_meter_is_shown_and_the_way_back_works(
    bench: Bench, tmp_path: Path
) -> None:
    with emulated(tmp_path / "other") as spare:
        spare.control("p1", "bootloader", on=True)
        stored = bench.status()["data_count"]
        assert bench.configure(port=str(spare.paths["p1"])).status_code == 200
        until(lambda: not bench.status()["connected"], seconds=3, what="the refusal")
        until(lambda: "bootloader" in (bench.status()["last_error"] or ""), what="the reason")
        assert bench.status()["condition"] == "no meter"
        assert bench.get("data/1h")["count"] >= stored
        assert bench.configure(port=bench.port()).status_code == 200
        bench.until_connected(seconds=7)


def test_two_meters_never_share_a_port(bench: Bench) -> None:
    body = refusal(bench.configure("meter2", port=bench.port(1)), status=409)
    assert "port" in body["error"]
    assert bench.get("config", meter="meter2")["port"] == bench.port(2)


def test_the_configuration_survives_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str | None
) -> None:
    wanted = {
        "polling_interval": 0.25,
        "data_retention_minutes": 99,
        "session_threshold_a": 0.2,
        "alarms": {"voltage": {"low": 4.5, "high": 5.5, "hysteresis": 0.1}},
    }
    with emulated(tmp_path) as emulators:
        for life in range(2):
            with serve(
                emulators, tmp_path / "data", monkeypatch, database_url=database_url
            ) as opened:
                if life == 0:
                    assert opened.configure(**wanted).status_code == 200
                assert opened.get("config").items() >= wanted.items()


def test_alarm_limits_change_by_quantity(bench: Bench) -> None:
    bench.configure(alarms={"voltage": {"high": 9.0}})
    bench.configure(alarms={"current": {"high": 4.0}})
    assert set(bench.get("config")["alarms"]) == {"voltage", "current"}
    bench.configure(alarms={"voltage": {}})
    assert bench.get("config")["alarms"]["voltage"]["high"] is None
    assert bench.get("config")["alarms"]["current"]["high"] == 4.0


# -- several meters, the key, hosts ---------------------------------------------------------------


def test_several_meters_side_by_side(shared: Bench) -> None:
    names = [meter["meter"] for meter in shared.get("meters")]
    assert names == ["meter1", "meter2"]
    assert shared.status()["meter"] == "meter1"
    assert shared.status("meter2")["serial"] == 4243
    shared.until_points(3, "meter2")
    for path in ("data/1m", "stats/1m", "data/latest", "config", "chart/1m", "sessions", "alarms"):
        shared.get(path, meter="meter2")
        refusal(shared.client.get(f"/api/{path}", params={"meter": "other"}), status=404)


def test_a_meter_is_added_and_removed(bench: Bench, tmp_path: Path) -> None:
    with emulated(tmp_path / "more") as spare:
        port = str(spare.paths["p1"])
        added = bench.client.post("/api/meters", json={"port": port, "name": "desk"})
        assert added.status_code == 201
        bench.until_points(3, "desk")
        taken = bench.client.post("/api/meters", json={"port": port, "name": "other"})
        refusal(taken, status=409)
        refusal(bench.client.post("/api/meters", json={"port": ABSENT}))
        refusal(bench.client.post("/api/meters", json={"port": port, "name": "desk"}))
        refusal(bench.client.post("/api/meters", json={"port": port, "name": "<b>"}))
        refusal(bench.client.delete("/api/meters/meter1"), status=409)
        refusal(bench.client.delete("/api/meters/nobody"), status=404)
        assert bench.client.delete("/api/meters/desk").status_code == 200
        refusal(bench.client.get("/api/status", params={"meter": "desk"}), status=404)
        assert [meter["meter"] for meter in bench.get("meters")] == ["meter1", "meter2"]


def test_an_added_meter_is_there_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(tmp_path) as emulators, emulated(tmp_path / "more") as spare:
        port = str(spare.paths["p1"])
        with serve(emulators, tmp_path / "data", monkeypatch) as opened:
            opened.client.post("/api/meters", json={"port": port, "name": "desk"})
            opened.until_points(5, "desk")
            stored = opened.status("desk")["data_count"]
        with serve(emulators, tmp_path / "data", monkeypatch) as opened:
            assert opened.status("desk")["data_count"] >= stored
            opened.until_points(stored + 5, "desk")


def test_ports_are_listed_with_who_is_read_there(shared: Bench) -> None:
    ports = {item["port"]: item["meter"] for item in shared.get("ports")}
    assert ports[shared.port(1)] == "meter1"
    assert ports[shared.port(2)] == "meter2"


def test_the_key_guards_every_path_in_this_apis_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        emulated(tmp_path) as emulators,
        serve(emulators, tmp_path / "data", monkeypatch, key="secret") as opened,
    ):
        for path in ("data/latest", "data/5m", "stats/5m", "status", "config", "meters", "live"):
            refusal(opened.client.get(f"/api/{path}"), status=401)
        with_key = opened.client.get("/api/status", headers={"X-API-Key": "secret"})
        assert with_key.status_code == 200


def test_the_meter_appears_in_metrics(shared: Bench) -> None:
    text = shared.client.get("/metrics").text
    for name in ("connected", "age_seconds", "stale", "frame_errors_total", "voltage_volts"):
        assert f'benchwire_powermeter_{name}{{meter="meter1"}}' in text


def test_a_chart_holds_the_extremes_of_the_data(shared: Bench) -> None:
    # Long enough for no point to leave the window between the two requests.
    points = shared.get("data/1h")["data"]
    chart = shared.get("chart/1h", buckets=20)
    assert len(chart["at_ms"]) <= 21
    assert sum(chart["count"]) >= len(points)
    for key in ("voltage", "current", "power"):
        values = [point[key] for point in points]
        assert min(chart[key]["min"]) <= min(values)
        assert max(chart[key]["max"]) >= max(values)
    refusal(shared.client.get("/api/chart/10s", params={"buckets": 0}))
    refusal(shared.client.get("/api/chart/10s", params={"buckets": "x"}))
