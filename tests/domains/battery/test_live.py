"""New readings: stored, shown at once, kept through everything, and never twice."""

import threading
from pathlib import Path
from typing import Any

import pytest

from benchwire.domains.battery import archive
from benchwire.domains.battery.samples import Reading, iso
from benchwire.domains.battery.service import Telemetry
from benchwire.domains.battery.signals import BMS
from tests.support.battery import DEVICE, Bench, running, write_group, write_signal
from tests.support.waiting import until

READINGS = f"/bms/{DEVICE}/readings"
NEW = "/bms/rack-7/readings"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    write_group(tmp_path / "set", DEVICE, "bms", 10)
    return tmp_path / "set"


def reading(minute: int, **values: Any) -> dict[str, Any]:
    return {"timestamp": f"2026-01-01T{minute // 60:02}:{minute % 60:02}:00Z", **values}


def test_reading_is_in_batches_charts_and_lists_at_once(tmp_path: Path, recorded: Path) -> None:
    with running(tmp_path / "data", recorded) as bench:
        bench.get(f"/bms/{DEVICE}")
        answer = bench.post(READINGS, reading(0, soc=55.5, voltage=820.1))
        assert answer == {
            "device_id": DEVICE,
            "received": 1,
            "stored": 1,
            "updated": 0,
            "duplicates": 0,
        }
        page = bench.get(f"/bms/{DEVICE}", skip=9)
        assert page["total_available"] == 11
        assert page["data"][1]["timestamp"] == "2026-01-01T00:00:00Z"
        assert (page["data"][1]["soc"], page["data"][1]["current"]) == (55.5, None)
        assert bench.get(f"/bms/{DEVICE}/series", metric="soc")["points"][-1]["value"] == 55.5
        assert bench.row(f"/bess/{DEVICE}", 10)["bms_soc"] == 55.5
        device = bench.get("/bms/devices")["devices"][0]
        assert device["total_rows_per_metric"]["soc"] == 11
        assert device["total_rows_per_metric"]["current"] == 10
        assert bench.get("/bess/overview")["devices"][0]["is_live"]


def test_reading_sent_again_is_stored_once(tmp_path: Path, recorded: Path) -> None:
    with running(tmp_path / "data", recorded) as bench:
        bench.get(f"/bms/{DEVICE}")
        bench.post(READINGS, [reading(0, soc=1.0), reading(1, soc=2.0)])
        again = bench.post(READINGS, [reading(1, soc=9.0), reading(0, soc=9.0)], status=200)
        assert (again["stored"], again["duplicates"]) == (0, 2)
        of_file = bench.post(READINGS, {"timestamp": "2024-03-09T00:00:00Z", "soc": 9}, status=200)
        assert of_file["duplicates"] == 1
        assert bench.get(f"/bms/{DEVICE}")["total_available"] == 12
        assert bench.row(f"/bms/{DEVICE}", 0)["soc"] == 0.0
        assert bench.row(f"/bms/{DEVICE}", 11)["soc"] == 2.0


def test_values_of_one_moment_that_come_apart_share_a_row(tmp_path: Path) -> None:
    with running(tmp_path / "data", None) as bench:
        bench.post(NEW, reading(0, soc=1.0))
        more = bench.post(NEW, reading(0, voltage=800.0, soc=7.0), status=200)
        assert (more["stored"], more["updated"], more["duplicates"]) == (0, 1, 0)
        bench.post(
            "/pcs/rack-7/readings", [reading(0, apparent_power=12.5), reading(0, dc_voltage=7.0)]
        )
        row = bench.row("/bms/rack-7", 0)
        assert (row["soc"], row["voltage"]) == (1.0, 800.0)
        whole = bench.row("/bess/rack-7", 0)
        assert (whole["bms_soc"], whole["bms_voltage"]) == (1.0, 800.0)
        assert (whole["pcs_apparent_power"], whole["pcs_dc_voltage"]) == (12.5, 7.0)
    with running(tmp_path / "data", None) as bench:
        assert bench.row("/bms/rack-7", 0) == row
        assert bench.row("/bess/rack-7", 0) == whole


def test_late_reading_takes_its_place_between_recorded_rows(tmp_path: Path, recorded: Path) -> None:
    with running(tmp_path / "data", recorded) as bench:
        bench.post(READINGS, {"timestamp": "2024-03-09T00:04:30Z", "soc": 44})
        rows = bench.get(f"/bms/{DEVICE}")["data"]
        assert [row["timestamp"][14:19] for row in rows[4:7]] == ["04:00", "04:30", "05:00"]
        points = bench.get(f"/bms/{DEVICE}/series", metric="soc")["points"]
        assert [point["value"] for point in points[4:7]] == [0.004, 44.0, 0.005]
        day = bench.get(f"/bms/{DEVICE}", date="2024-03-09")
        assert day["total_available"] == 11


@pytest.mark.parametrize(
    "body",
    [
        None, [], {}, "text", 5, [[]], {"readings": []}, {"readings": "x"}, {"soc": 5},
        {"timestamp": "yesterday", "soc": 5}, {"timestamp": "2026-01-01T00:00:00Z"},
        {"timestamp": "2026-01-01T00:00:00Z", "power": 5},
        {"timestamp": "2026-01-01T00:00:00Z", "soc": "5"},
        {"timestamp": "2026-01-01T00:00:00Z", "soc": True},
        {"timestamp": "2026-01-01T00:00:00Z", "soc": {}},
        {"timestamp": "1960-01-01T00:00:00Z", "soc": 5}, {"timestamp": 1700000000, "soc": 5},
        {"timestamp": "1700000000", "soc": 5}, {"timestamp": "2026-01-01", "soc": 5},
        {"timestamp": "2026-01-01T23:59:60Z", "soc": 5},
        {"timestamp": "2500-01-01T00:00:00Z", "soc": 5},
        [{"timestamp": "2026-01-01T00:00:00Z", "soc": 5}, {"timestamp": "2026-01-01T00:00:00Z"}],
        [{"timestamp": "2026-01-01T00:00:00Z", "soc": 5}] * 10_001,
    ],
    ids=lambda body: str(body)[:60],
)  # fmt: skip
def test_bad_readings_are_refused_whole(tmp_path: Path, body: Any) -> None:
    with running(tmp_path / "data", None) as bench:
        answer = bench.client.post(NEW, json=body)
        assert answer.status_code == 422, answer.text
        assert isinstance(answer.json()["detail"], str)
        bench.get("/bms/rack-7", status=404)


@pytest.mark.parametrize(
    "text", [b'{"timestamp": "2026-01-01T00:00:00Z", "soc": NaN}', b"{", b"\xff"]
)
def test_body_that_is_no_strict_json_is_refused(tmp_path: Path, text: bytes) -> None:
    with running(tmp_path / "data", None) as bench:
        answer = bench.client.post(NEW, content=text, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}
        assert bench.get("/bms/devices") == {"devices": []}


@pytest.mark.parametrize(
    "device", ["..", ".hidden", "a b", "a%2fb", "x" * 65, "-", "%00", "a%0a", "devices", "sources"]
)
def test_new_device_needs_a_plain_name(tmp_path: Path, device: str) -> None:
    with running(tmp_path / "data", None) as bench:
        answer = bench.client.post(f"/bms/{device}/readings", json=reading(0, soc=1.0))
        assert answer.status_code in {404, 405, 422}
        assert bench.get("/bms/devices") == {"devices": []}


def test_readings_survive_a_restart_and_become_a_file(tmp_path: Path, recorded: Path) -> None:
    data = tmp_path / "data"
    count = 2 * archive.KEPT_ROWS + 500
    with running(data, recorded) as bench:
        telemetry = service_of(bench)
        telemetry._archive._fold_rows = archive.KEPT_ROWS
        readings = [
            Reading(1_800_000_000_000_000 + n * 1_000_000, {"soc": n / 100}) for n in range(count)
        ]
        for begin in range(0, count, 500):
            telemetry.append(DEVICE, "bms", readings[begin : begin + 500])
            page = bench.get(f"/bms/{DEVICE}", skip=10 + begin, batch_size=1000)
            assert page["total_available"] == 10 + begin + 500
            assert [row["soc"] for row in page["data"]] == [
                n / 100 for n in range(begin, begin + 500)
            ]
        until(lambda: list((data / "battery/live" / DEVICE / "bms").glob("*.parquet")))
        before = bench.get(f"/bms/{DEVICE}", skip=count - 700, batch_size=1000)
    with running(data, recorded) as bench:
        assert bench.get(f"/bms/{DEVICE}", skip=count - 700, batch_size=1000) == before
        series = bench.get(f"/bms/{DEVICE}/series", metric="soc", points=5000)
        assert [point["value"] for point in series["points"][10:]] == [
            n / 100 for n in range(count)
        ]
        device = bench.get("/bms/devices")["devices"][0]
        assert device["total_rows_per_metric"]["soc"] == count + 10
        late = {"timestamp": iso(1_800_000_000_500_000), "soc": 77.0}
        assert bench.post(READINGS, late)["stored"] == 1
        assert bench.row(f"/bms/{DEVICE}", 11)["soc"] == 77.0
        again = {"timestamp": iso(1_800_000_000_000_000), "soc": 77.0}
        assert bench.post(READINGS, again, status=200)["duplicates"] == 1


def test_recording_that_grows_keeps_the_live_readings(tmp_path: Path, recorded: Path) -> None:
    with running(tmp_path / "data", recorded) as bench:
        bench.post(READINGS, reading(0, soc=55.5))
        assert bench.get(f"/bms/{DEVICE}")["total_available"] == 11
        write_group(recorded, DEVICE, "bms", 12)
        until(lambda: bench.get(f"/bms/{DEVICE}")["total_available"] == 13)
        assert bench.row(f"/bms/{DEVICE}", 12)["soc"] == 55.5
        write_signal(recorded, "newcomer", "bms1_soc", [("2024-03-09 00:00:00", 3)])
        until(lambda: len(bench.get("/bms/devices")["devices"]) == 2)


def test_many_senders_at_once_lose_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "data", None) as bench:
        telemetry = service_of(bench)

        def send(sender: int) -> None:
            for number in range(40):
                at = 1_800_000_000_000_000 + (number * 8 + sender) * 1_000_000
                telemetry.append("rack-7", "bms", [Reading(at, {"soc": float(sender)})])

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = bench.get("/bms/rack-7", batch_size=1000)["data"]
        assert [row["soc"] for row in rows] == [float(n % 8) for n in range(320)]


def test_export_has_the_formats_own_names_and_all_rows(tmp_path: Path, recorded: Path) -> None:
    import io

    import pyarrow.csv
    import pyarrow.parquet

    with running(tmp_path / "data", recorded) as bench:
        bench.post(READINGS, reading(0, soc=55.5))
        answer = bench.client.get(f"/bms/{DEVICE}/export")
        assert answer.headers["content-disposition"].endswith(f'"{DEVICE}_bms.bdf.csv"')
        table = pyarrow.csv.read_csv(io.BytesIO(answer.content))
        assert table.column_names[:2] == ["Test Time / s", "Unix Time / s"]
        assert {"Voltage / V", "Current / A", "State Of Charge / %"} <= set(table.column_names)
        assert len(table.column_names) == 2 + len(BMS.fields)
        assert table["Test Time / s"].to_pylist()[:3] == [0.0, 60.0, 120.0]
        assert table["Unix Time / s"][0].as_py() == 1709942400.0
        assert table["Voltage / V"].to_pylist()[:2] == [2.0, 2.001]
        assert table["Voltage / V"].to_pylist()[10] is None
        span = {"format": "parquet", "start": "2024-03-09T00:03:00Z", "end": "2024-03-09T00:06:00Z"}
        content = bench.client.get(f"/bms/{DEVICE}/export", params=span).content
        part = pyarrow.parquet.read_table(io.BytesIO(content))
        assert part.column_names == table.column_names
        assert part["Test Time / s"].to_pylist() == [0.0, 60.0, 120.0]


def test_client_is_told_rightly_what_was_new_before_anything_was_read(
    tmp_path: Path, recorded: Path
) -> None:
    with running(tmp_path / "data", recorded) as bench:
        known = {"timestamp": "2024-03-09T00:00:00Z", "soc": 9.0}
        answer = bench.post(READINGS, [known, reading(0, soc=1.0)])
        assert (answer["stored"], answer["duplicates"]) == (1, 1)


def test_watchers_see_what_was_stored_and_a_history_does_not_drown_them(tmp_path: Path) -> None:
    with running(tmp_path / "data", None) as bench:
        telemetry, seen = service_of(bench), []

        def publish(topic: str, data: bytes) -> None:
            # The hub is that of all domains.
            if topic.startswith("battery."):
                seen.append((topic, data))

        telemetry.hub.publish = publish
        bench.post(NEW, reading(0, soc=50.0))
        assert [topic for topic, _ in seen] == ["battery.bms.rack-7", "battery.both.rack-7"]
        seen.clear()
        bench.post(NEW, reading(0, soc=99.0), status=200)
        assert seen == []
        bench.post(NEW, reading(0, soc=99.0, voltage=800.0), status=200)
        assert b'"soc":50.0' in seen[0][1]
        assert b'"voltage":800.0' in seen[0][1]
        seen.clear()
        bench.post(NEW, [reading(minute, soc=1.0) for minute in range(1, 1400)])
        assert len(seen) == 2
        assert seen[0][1].count(b"event: row") == 200


def service_of(bench: Bench) -> Telemetry:
    domain = next(item for item in bench.app.domains if item.name == "battery")
    return next(item for item in domain.services if isinstance(item, Telemetry))
