"""The contract's tables: paths, bounds, rows and errors."""

import pytest

from benchwire import __version__
from benchwire.domains.battery.signals import BESS, BMS, GROUPS, PCS
from tests.support.battery import DEVICE, Bench

BATCH = f"/bms/{DEVICE}"


def test_index_alone_names_the_paths(bench: Bench) -> None:
    from starlette.testclient import TestClient

    with_host = {"host": "bench.lan:8002", "accept": "*/*"}
    answer = TestClient(bench.app.alone("battery")).get("/", headers=with_host).json()
    assert answer["version"] == __version__
    assert {"name", "description", "systems", "documentation", "example_urls"} <= set(answer)
    text = str(answer["endpoints"])
    for group in ("bms", "pcs"):
        for path in (
            f"/{group}/devices",
            f"/{group}/{{device_id}}",
            f"/{group}/{{device_id}}/stream",
        ):
            assert path in text
    assert answer["example_urls"]["devices"] == "http://bench.lan:8002/bms/devices"


def test_index_of_the_whole_server_names_the_paths_too(bench: Bench) -> None:
    answer = bench.get("/")
    assert "GET /bms/{device_id}/stream" in answer["endpoints"]["battery"]


def test_devices_are_those_with_rows_of_the_group(bench: Bench) -> None:
    found = bench.get("/bms/devices")["devices"]
    assert [item["device_id"] for item in found] == [DEVICE, "ZHPESS232A230003"]
    assert found[0]["available_metrics"] == list(BMS.fields)
    assert found[0]["total_rows_per_metric"] == dict.fromkeys(BMS.fields, 300)
    assert found[0]["total_rows"] == 300
    assert [item["device_id"] for item in bench.get("/pcs/devices")["devices"]] == [DEVICE]
    whole = [item["device_id"] for item in bench.get("/bess/devices")["devices"]]
    assert whole == [DEVICE, "ZHPESS232A230003", "cooled"]


@pytest.mark.parametrize("group", [BMS, PCS, BESS], ids=lambda group: group.name)
def test_batch_has_every_key_of_the_group_in_order(bench: Bench, group: object) -> None:
    answer = bench.get(f"/{group.name}/{DEVICE}")
    assert set(answer) >= {"device_id", "total_records", "batch_size", "data"}
    assert (answer["device_id"], answer["batch_size"], answer["skip"]) == (DEVICE, 100, 0)
    assert answer["total_records"] == len(answer["data"]) == 100
    assert answer["total_available"] == 300
    assert all(tuple(row) == ("timestamp", *group.fields) for row in answer["data"])


def test_rows_are_those_of_the_files(bench: Bench) -> None:
    row = bench.row(BATCH, 61)
    assert row["timestamp"] == "2024-03-09T01:01:00Z"
    assert row["soc"] == 0.061
    assert row["cell_temp_diff"] == 11.061
    merged = bench.row(f"/bess/{DEVICE}", 61)
    assert merged["bms_soc"] == 0.061
    assert merged["pcs_apparent_power"] == 0.061
    assert merged["safety_smoke_flag"] is None


def test_pages_put_together_equal_one_big_page(bench: Bench) -> None:
    whole = bench.get(BATCH, batch_size=1000)["data"]
    pieces = [
        row
        for skip in range(0, 350, 37)
        for row in bench.get(BATCH, batch_size=37, skip=skip)["data"]
    ]
    assert pieces == whole
    assert len(whole) == 300


@pytest.mark.parametrize("skip", [300, 301, 10**9, 2**62])
def test_batch_past_the_end_is_empty(bench: Bench, skip: int) -> None:
    answer = bench.get(BATCH, skip=skip)
    assert (answer["total_records"], answer["data"]) == (0, [])
    assert answer["total_available"] == 300


def test_last_page_is_short_and_never_wraps(bench: Bench) -> None:
    answer = bench.get(BATCH, skip=295, batch_size=10)
    assert answer["total_records"] == 5
    assert answer["data"][-1]["timestamp"] == "2024-03-09T04:59:00Z"


@pytest.mark.parametrize(
    "query",
    [
        {"batch_size": value}
        for value in ("0", "-1", "1001", "1e9", "1000000000", "text", "", "1.5")
    ]
    + [{"skip": value} for value in ("-1", "text", "1e3", str(2**80))]
    + [
        {"date": value}
        for value in (
            "2024-13", "2024-02-30", "2024-3", "2024", "24-03-09", "2024-03-09T00:00", "0000-01",
            "2024-03-09 ", "2024-00", "x" * 500, "٢٠٢٤-٠٣", "2023-02-29", "2024-01-32",
        )
    ],
    ids=str,
)  # fmt: skip
def test_bad_query_is_422(bench: Bench, query: dict[str, str]) -> None:
    bench.get(BATCH, status=422, **query)


@pytest.mark.parametrize("interval", ["0", "0.09", "10.1", "nan", "inf", "-1", "text", ""])
def test_bad_interval_is_422(bench: Bench, interval: str) -> None:
    bench.get(f"{BATCH}/stream", status=422, interval=interval)


def test_date_keeps_the_rows_of_a_day_or_month(bench: Bench) -> None:
    for date in ("2024-03-09", "2024-03"):
        answer = bench.get(BATCH, date=date, skip=299)
        assert answer["total_available"] == 300
        assert answer["data"][0]["timestamp"] == "2024-03-09T04:59:00Z"
    for date in ("2024-03-08", "2024-03-10", "2024-02", "2024-04", "9999-12", "1969-12-31"):
        assert bench.get(BATCH, date=date)["total_available"] == 0


@pytest.mark.parametrize(
    "device",
    [
        "nope", DEVICE.lower(), f"{DEVICE} ", "empty", "silent", "cooled", "notes.csv",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5c", "..%5c..%5cetc", "%00", f"{DEVICE}%00",
        "a%0d%0ab", "%ff", "é", "x" * 3000, "devices%2f..", "%252e%252e", "BESS", "~", "$HOME", "*",
    ],
)  # fmt: skip
@pytest.mark.parametrize("tail", ["", "/stream", "/series?metric=soc", "/report", "/anomalies"])
def test_unknown_device_is_404_and_tells_no_path(bench: Bench, device: str, tail: str) -> None:
    answer = bench.client.get(f"/bms/{device}{tail}")
    assert answer.status_code == 404, answer.text
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert "/tmp" not in detail


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/bms/devices", BATCH, f"{BATCH}/stream", "/dashboard"])
def test_other_methods_are_405(bench: Bench, method: str, path: str) -> None:
    assert bench.client.request(method, path).status_code == 405


def test_any_origin_may_read_without_credentials(bench: Bench) -> None:
    answer = bench.client.get(BATCH, headers={"origin": "http://elsewhere.example"})
    assert answer.headers["access-control-allow-origin"] in {"*", "http://elsewhere.example"}
    assert "access-control-allow-credentials" not in answer.headers


def test_documents_have_every_path_of_every_group(bench: Bench) -> None:
    paths = bench.get("/openapi.json")["paths"]
    for group in GROUPS:
        for path in ("devices", "{device_id}", "{device_id}/stream", "{device_id}/series"):
            assert "get" in paths[f"/{group}/{path}"]
    assert "post" in paths["/bms/{device_id}/readings"]


def test_dashboard_asks_nothing_of_others(bench: Bench) -> None:
    answer = bench.client.get("/dashboard")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "://" not in answer.text.replace("http://www.w3.org/", "")


def test_series_gives_the_lowest_and_highest_of_each_step(bench: Bench) -> None:
    path = f"{BATCH}/series"
    whole = bench.get(path, metric="soc", points=300)
    assert whole["total_points"] == len(whole["points"]) == 300
    assert (whole["unit"], whole["method"]) == ("%", "minmax")
    few = bench.get(path, metric="soc", points=10)["points"]
    assert len(few) <= 10
    values = [point["value"] for point in few]
    assert (min(values), max(values)) == (0.0, 0.299)


def test_series_of_a_range_and_as_columns(bench: Bench) -> None:
    span = {"start": "2024-03-09T01:00:00Z", "end": "2024-03-09T03:00:00+01:00"}
    found = bench.get(f"{BATCH}/series", metric="soc", **span)
    assert found["total_points"] == 60
    assert found["points"][0] == {"timestamp": "2024-03-09T01:00:00Z", "value": 0.06}
    columns = bench.get(f"{BATCH}/series", metric="soc", form="columns", **span)
    assert columns["value"] == [point["value"] for point in found["points"]]
    assert columns["at_ms"][0] == 1709946000000.0
    nothing = bench.get(f"{BATCH}/series", metric="soc", start="2030-01-01")
    assert (nothing["total_points"], nothing["points"]) == (0, [])


def test_series_of_a_signal_in_no_group(bench: Bench) -> None:
    found = bench.get("/bess/cooled/series", metric="my_own")
    assert [point["value"] for point in found["points"]] == [1.0, 2.0]
    assert found["unit"] is None


@pytest.mark.parametrize(
    "query",
    [
        {"metric": "nope"}, {}, {"metric": "../soc"}, {"metric": "soc", "points": 9},
        {"metric": "soc", "points": 5001}, {"metric": "soc", "method": "mean"},
        {"metric": "soc", "start": "yesterday"}, {"metric": "soc", "end": "2024-13-01"},
        {"metric": "soc", "start": "2024-03-09", "end": "2024-03-08"},
        {"metric": "bms1_soc\x00"},
    ],
    ids=str,
)  # fmt: skip
def test_bad_series_query_is_422(bench: Bench, query: dict[str, object]) -> None:
    bench.get(f"{BATCH}/series", status=422, **query)


def test_report_counts_every_signal(bench: Bench) -> None:
    report = bench.get(f"{BATCH}/report")
    assert report["total_rows"] == 300
    assert report["timeline_metric"] == "soc"
    assert report["signals"]["soc"]["rows"] == 300
    assert report["signals"]["soc"]["first"] == "2024-03-09T00:00:00Z"
    assert report["live_rows"] == 0


def test_overview_waits_for_nothing_and_knows_what_is_read(bench: Bench) -> None:
    bench.get("/bms/devices")
    bench.get("/pcs/devices")
    found = {item["device_id"]: item for item in bench.get("/bess/overview")["devices"]}
    device = found[DEVICE]
    assert device["groups"]["bms"]["rows"] == 300
    assert device["latest"]["soc"] == 0.299
    assert device["latest"]["apparent_power"] == 0.299
    assert (device["state"], device["is_live"]) == ("ready", False)
