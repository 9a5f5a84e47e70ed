"""Files for other programs, and the stream of live events."""

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from benchwire.domains.powermeter.readings import QUANTITIES, Reading
from benchwire.domains.powermeter.store import PowerStore
from benchwire.foundation import schema
from benchwire.foundation.db import open_database
from tests.domains.powermeter.conftest import emulated
from tests.domains.powermeter.test_store import series, single
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.waiting import until

COUNT = 5_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server on two meters, the first with thousands of readings from before."""

    folder = tmp_path_factory.mktemp("exports")
    port = free_port()
    with emulated(folder, 2) as emulators:
        _fill(folder / "data", str(emulators.paths["p1"]))
        paths = json.dumps([str(path) for path in emulators.paths.values()])
        environment = {
            "BENCHWIRE_POWERMETER_PORTS": paths,
            "BENCHWIRE_POWERMETER_POLLING_INTERVAL": "0.05",
        }
        with Server(folder / "data", port, environment=environment) as running:
            running.emulators = emulators
            until(
                lambda: httpx.get(f"{running.url}/api/status").json()["connected"],
                what="the meter",
            )
            yield running


def _fill(data_dir: Path, port: str) -> None:
    data_dir.mkdir()
    database = open_database(data_dir, None)
    schema.upgrade(database)
    store = PowerStore(database)
    meter = store.add_meter(
        "meter1", port, {"port": port, "data_retention_minutes": 600, "polling_interval": 0.05}
    )
    readings = series(COUNT)
    shift = int(time.time() * 1e6) - int(readings.at[-1]) - 10_000_000
    moved = [
        Reading(item.at + shift, item.codes, item.follows_gap, item.totals)
        for item in single(readings)
    ]
    store.append_later(meter.id, moved).result()
    database.close()


def points(server: Server) -> list[dict[str, Any]]:
    return httpx.get(f"{server.url}/api/data/10h", timeout=30).json()["data"]


def test_csv_and_parquet_hold_exactly_the_data(server: Server) -> None:
    expected = points(server)
    assert len(expected) > COUNT
    text = httpx.get(f"{server.url}/api/export/10h.csv", timeout=30)
    assert text.headers["content-type"] == "text/csv; charset=utf-8"
    assert text.headers["content-disposition"] == 'attachment; filename="meter1-10h.csv"'
    rows = list(csv.DictReader(io.StringIO(text.text, newline="")))
    table = pq.read_table(
        io.BytesIO(httpx.get(f"{server.url}/api/export/10h.parquet", timeout=30).content)
    )
    assert len(expected) <= len(rows) <= table.num_rows
    columns = ["time_utc", *(item.column for item in QUANTITIES)]
    assert list(rows[0]) == table.column_names == columns
    for index in (*range(0, len(expected), 97), len(expected) - 1):
        point, row = expected[index], rows[index]
        assert row["time_utc"] == point["utc"]
        for item in QUANTITIES:
            assert float(row[item.column]) == point[item.key]
            assert table.column(item.column)[index].as_py() == point[item.key]
        stamp = table.column("time_utc")[index].as_py()
        assert stamp.isoformat(timespec="microseconds") == point["utc"].replace("Z", "+00:00")


def test_units_are_in_names_and_metadata(server: Server) -> None:
    content = httpx.get(f"{server.url}/api/export/1m.parquet").content
    found = pq.read_schema(io.BytesIO(content))
    assert found.metadata[b"meter"] == b"meter1"
    for item in QUANTITIES:
        assert item.column.endswith(f"_{item.unit}")
        assert found.field(item.column).metadata[b"unit"] == item.unit.encode()
    assert str(found.field("time_utc").type) == "timestamp[us, tz=UTC]"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_export_of_nothing_is_an_empty_table(server: Server, suffix: str) -> None:
    server.emulators.control("p2", "unplug")
    url = f"{server.url}/api/export/1s.{suffix}"
    until(
        lambda: not httpx.get(f"{server.url}/api/status?meter=meter2").json()["connected"],
        what="the unplug",
    )
    time.sleep(1.2)
    content = httpx.get(url, params={"meter": "meter2"}).content
    server.emulators.control("p2", "replug")
    if suffix == "csv":
        assert content.count(b"\r\n") == 1
    else:
        assert pq.read_table(io.BytesIO(content)).num_rows == 0


@pytest.mark.parametrize("path", ["5x.csv", "5x.parquet", "5m.xlsx", ".csv", "5m"])
def test_wrong_exports_are_refused_in_this_apis_shape(server: Server, path: str) -> None:
    answer = httpx.get(f"{server.url}/api/export/{path}")
    assert answer.status_code in {400, 404}
    assert answer.json()["error"]


def events(server: Server, path: str, seconds: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of a stream for a while."""
    deadline = time.monotonic() + seconds
    with httpx.stream("GET", f"{server.url}{path}", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))
            if time.monotonic() > deadline:
                return


def test_the_stream_begins_with_what_is_and_goes_on_with_every_reading(server: Server) -> None:
    found = list(events(server, "/api/live", 2.0))
    assert found[0][0] == "state"
    assert found[0][1]["connected"] is True
    readings = [body for name, body in found if name == "readings"]
    assert len(readings) <= 2.0 / 0.1 + 3
    stamps = [at for body in readings for at in body["at_ms"]]
    assert stamps == sorted(stamps)
    assert np.median(np.diff(stamps)) == pytest.approx(50, abs=5)
    # Every reading of the time is there, though in fewer events than readings.
    assert len(readings) < len(stamps)
    kept = [point for point in points(server)[-200:] if "utc" in point]
    assert {body["latest"]["utc"] for body in readings[:-3]} <= {item["utc"] for item in kept}


def test_one_stream_carries_all_meters(server: Server) -> None:
    names = {body["meter"] for _, body in events(server, "/api/meters/live", 1.5)}
    assert names == {"meter1", "meter2"}


def test_an_unplug_is_an_event(server: Server) -> None:
    stream = events(server, "/api/live?meter=meter2", 8)
    states = (body["connected"] for name, body in stream if name == "state")
    # A state may come more than once in between, as when the reason becomes clearer.
    assert any(states)
    server.emulators.control("p2", "unplug")
    assert not all(states)
    server.emulators.control("p2", "replug")
    assert any(states)
