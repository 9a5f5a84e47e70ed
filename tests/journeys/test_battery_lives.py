"""What was acknowledged outlives kill -9; a reading that is cut short begins anew."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from tests.support.battery import DEVICE, write_group, write_signal
from tests.support.server import Server

LONG = 150_000


def test_acknowledged_readings_outlive_kill(tmp_path: Path, free_port: int) -> None:
    data = tmp_path / "data"
    acknowledged: list[float] = []
    for _ in range(3):
        with Server(data, free_port) as server, httpx.Client(base_url=server.url) as client:
            for _ in range(40):
                number = len(acknowledged)
                at = f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"
                body = {"timestamp": at, "soc": number / 10}
                client.post("/bms/rack/readings", json=body).raise_for_status()
                acknowledged.append(number / 10)
            server.kill()
    with Server(data, free_port) as server:
        rows = httpx.get(f"{server.url}/bms/rack", params={"batch_size": 1000}).json()["data"]
        assert [row["soc"] for row in rows] == acknowledged


def test_reading_of_recordings_cut_short_begins_anew(tmp_path: Path, free_port: int) -> None:
    write_group(tmp_path / "set", DEVICE, "bms", 1000)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    stamps = [f"{start + timedelta(minutes=number):%Y-%m-%d %H:%M:%S}" for number in range(LONG)]
    write_signal(tmp_path / "set", DEVICE, "bms1_soc", list(zip(stamps, range(LONG), strict=True)))
    options = ("--battery-data", str(tmp_path / "set"))
    for seconds in (0.0, 0.5, 1.0):
        with Server(tmp_path / "data", free_port, *options) as server:
            time.sleep(seconds)  # any moment of the reading is as good as another
            server.kill()
    with Server(tmp_path / "data", free_port, *options) as server:
        for group, soc in (("bms", "soc"), ("bess", "bms_soc")):
            url = f"{server.url}/{group}/{DEVICE}"
            answer = httpx.get(url, params={"skip": LONG - 1}, timeout=60).json()
            assert answer["total_available"] == LONG
            assert answer["data"][0][soc] == LONG - 1
        assert not list((tmp_path / "data/battery").rglob("*.part"))
