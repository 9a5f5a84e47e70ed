"""The power goes at any moment of real work; what was acknowledged is there at the next start.

All that a server writes is taken down call by call, with a mark in between wherever a client got
its answer. Each moment before something reached the disk for sure is a power cut: a folder is made
of what a disk would hold then, and looked at or started on.
"""

import hashlib
import io
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from benchwire.domains.potentiostat.recording import SYNC_SECONDS
from tests.domains.traces.test_api import write_csv
from tests.faults.disk import Call, Disk, FailingDisk, build, calls
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced

KEPT = ("nothing", "some", "all")
RUN_SECONDS = 3.0
FITS = "fits"
FIRST_ROW = datetime(2026, 1, 1, tzinfo=UTC)
# A sync begins with the first block of rows after the interval.
SLACK_SECONDS = 0.5


@dataclass(slots=True)
class Promised:
    """What clients were told by some moment."""

    plates: set[str] = field(default_factory=set)
    moves: dict[str, int] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    rows: dict[int, float] = field(default_factory=dict)
    """A battery's states of charge, by their moments in us since 1970."""
    readings: set[int] = field(default_factory=set)
    """Moments of a meter's readings, in us since 1970."""
    fits: set[str] = field(default_factory=set)
    results: dict[str, str] = field(default_factory=dict)
    """Digests of the tables of fits that were told as completed, by their paths."""

    def take(self, promise: str) -> None:
        kind, first, second = json.loads(promise)
        kept = getattr(self, kind)
        if isinstance(kept, dict):
            kept[first] = second
        else:
            kept.add(first)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A server's work on a disk, call by call."""

    root: Path
    calls: list[Call]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Work in all domains, and a stop without a word at the end of it."""
    top = tmp_path_factory.mktemp("power")
    root = top / "data"
    (root / FITS).mkdir(parents=True)
    disk = FailingDisk(build(top), root, log=top / "log")
    with (
        Server(
            root, free_port(), "--emulate", "potentiostat=1", "--emulate", "powermeter=1",
            environment=disk.environment,
        ) as it,
        httpx.Client(base_url=it.url, timeout=30) as client,
    ):  # fmt: skip
        work(client, disk)
        it.kill()
    return Recorded(disk.root, list(calls(top / "log")))


def work(client: httpx.Client, disk: FailingDisk) -> None:
    def post(path: str, body: Any = None, **more: Any) -> Any:
        answer = client.post(path, json=body, **more)
        assert answer.is_success, answer.text
        return answer.json()

    def mark(kind: str, first: str | int, second: float | str = 0) -> None:
        disk.mark(json.dumps([kind, first, second]))

    until(lambda: client.get("/devices").json(), what="a slot")
    until(lambda: client.get("/api/status").json()["connected"], what="the meter")
    client.post("/api/config", json={"polling_interval": 0.1}).raise_for_status()
    request = {
        "devices": "all", "modes": ["OCP"], "params_by_mode": {"OCP": {"duration": RUN_SECONDS}},
        "experiment_name": "Power", "client_datetime": "2026-05-04T12:00:00", "make_plot": True,
    }  # fmt: skip
    run = post("/jobs", request)["run_id"]
    mark("runs", run)
    for number in range(6):
        barcode = f"P{number}"
        plate = post("/api/v1/plates", {"plate": {"barcode": barcode}, "rows": 1, "columns": 1})
        mark("plates", barcode)
        shelf = post("/api/v1/locations", {"location": {"name": barcode}})["data"]["id"]
        post(f"/api/v1/plates/{barcode}/move_to_location", {"location_id": shelf})
        mark("moves", barcode, shelf)
        content = io.BytesIO()
        Image.linear_gradient("L").resize((300 + number, 200)).save(content, "PNG")
        form = {f"image[{key}]": "0.002" for key in ("pixel_size_x_mm", "pixel_size_y_mm")}
        form |= {f"image[reference_{axis}_mm]": "0" for axis in "xyz"}
        files = {"image[file]": ("drop.png", content.getvalue())}
        well = plate["data"]["wells"][0]["id"]
        post(f"/api/v1/wells/{well}/images", data=form, files=files)
        mark("images", barcode, hashlib.sha256(content.getvalue()).hexdigest())
        at = FIRST_ROW + timedelta(seconds=number)
        row = {"timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}", "soc": number + 0.5}
        post("/bms/rack/readings", row)
        mark("rows", microseconds(at), number + 0.5)
        latest = client.get("/api/data/latest")
        if latest.is_success:  # 404 before the first is on the disk
            mark("readings", microseconds(datetime.fromisoformat(latest.json()["utc"])))
    table = write_csv(disk.root / FITS / "traces.csv")
    order = {"csv_path": str(table), "model_type": "maturation"}
    fit = post("/api/v1/analysis/fitting/start", order)["job_id"]
    mark("fits", fit)
    until(
        lambda: (
            client.get(f"/api/v1/analysis/fitting/status/{fit}").json()["status"] == "completed"
        ),
        seconds=30,
        what="the fit",
    )
    results = client.get(f"/api/v1/analysis/fitting/results/{fit}").json()["results_file"]
    content = hashlib.sha256(Path(results).read_bytes()).hexdigest()
    mark("results", f"{FITS}/{Path(results).name}", content)
    until(lambda: client.get(f"/jobs/{run}").json()["status"] == "done", seconds=30, what="the end")
    mark("done", run)


def microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def cuts(recorded: Recorded) -> Iterator[tuple[int, Disk, Promised]]:
    """Yield the disk at each moment before something is synced, and what was promised by then."""
    disk, promised = Disk(recorded.root, FITS), Promised()
    for number, call in enumerate(recorded.calls):
        if call.promise is not None:
            promised.take(call.promise)
            continue
        if call.is_sync:
            yield number, disk, promised
        disk.take(call)
    yield len(recorded.calls), disk, promised


def look_at(folder: Path, promised: Promised) -> None:
    """Open what a power cut left as the server would, and compare it with what was promised."""
    path = folder / "benchwire.db"
    if path.exists():
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            if promised.plates or promised.runs:
                look_at_rows(database, folder, promised)
    else:
        assert not promised.plates
        assert not promised.runs
    for name, content in promised.results.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == content
    for image in (folder / "plates/images").glob("??/*"):
        assert hashlib.sha256(image.read_bytes()).hexdigest() == image.name
    for summary in (folder / "runs").rglob("run.json"):
        for item in json.loads(summary.read_bytes())["files"]:
            content = (summary.parent / item["path"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == item["sha256"], item["path"]


def look_at_rows(database: sqlite3.Connection, folder: Path, promised: Promised) -> None:
    plates = dict(
        database.execute("SELECT barcode, current_location_id FROM plates_plate").fetchall()
    )
    assert plates.keys() >= promised.plates
    assert plates.items() >= promised.moves.items()
    images = {name for (name,) in database.execute("SELECT sha256 FROM plates_image")}
    assert images >= set(promised.images.values())
    for name in images:
        assert (folder / "plates/images" / name[:2] / name).is_file()
    runs = dict(database.execute("SELECT run_id, status FROM potentiostat_run").fetchall())
    assert runs.keys() >= promised.runs
    jobs = dict(database.execute("SELECT id, state FROM jobs_record").fetchall())
    assert jobs.keys() >= promised.runs | promised.fits
    # A fit is told as completed before its table is asked for, so one may be done and not promised.
    assert not promised.results or {jobs[fit] for fit in promised.fits} == {"done"}
    rows = {
        at: json.loads(body).get("bms_soc")
        for at, body in database.execute("SELECT at_us, body FROM battery_reading")
    }
    assert rows.items() >= promised.rows.items()
    readings = {at for (at,) in database.execute("SELECT at FROM powermeter_reading")}
    assert readings >= promised.readings
    ended = {run for run, status in runs.items() if status == "done"}
    assert ended >= promised.done
    if ended:
        assert [*(folder / "runs").rglob("run.json")]


@pytest.mark.parametrize("kept", KEPT)
def test_what_was_acknowledged_is_there_at_any_power_cut(
    recorded: Recorded, tmp_path: Path, kept: str, soak_or: SoakOr
) -> None:
    chance = random.Random(kept)
    chosen = set(chance.sample(range(n := len([*cuts(recorded)])), min(n, soak_or(60, 10**9))))
    assert n > 100
    for turn, (number, disk, promised) in enumerate(cuts(recorded)):
        if turn in chosen:
            folder = tmp_path / f"cut-{number}"
            folder.mkdir()
            disk.write_to(folder, kept=kept, chance=chance)
            look_at(folder, promised)
            shutil.rmtree(folder)
    assert promised.done
    assert promised.results
    assert len(promised.images) == len(promised.rows) == 6
    assert len(promised.readings) > 1


def test_at_most_the_samples_of_one_interval_are_lost(recorded: Recorded) -> None:
    csv = next(call.path for call in recorded.calls if call.path.endswith(".csv"))
    disk, longest, now = Disk(recorded.root), 0, 0
    written: list[tuple[int, int]] = []
    for call in recorded.calls:
        if call.is_sync and written:
            size = len(disk.sure(csv) or b"")
            oldest = min((at for at, end in written if end > size), default=now)
            longest = max(longest, now - oldest)
        if call.path == csv and call.content:
            written.append((call.at_ns, call.offset + call.length))
        if call.promise is None:
            disk.take(call)
        now = call.at_ns
    assert 0.1 < longest / 1e9 < SYNC_SECONDS + SLACK_SECONDS


def test_a_server_starts_on_what_a_power_cut_left(
    recorded: Recorded, tmp_path: Path, soak_or: SoakOr
) -> None:
    chance = random.Random(7)
    chosen = set(chance.sample(range(n := len([*cuts(recorded)])), min(n, soak_or(1, 60))))
    for turn, (number, disk, promised) in enumerate(cuts(recorded)):
        if turn not in chosen:
            continue
        folder = tmp_path / f"cut-{number}"
        folder.mkdir()
        disk.write_to(folder, kept=KEPT[turn % 3], chance=chance)
        with (
            Server(folder, free_port()) as server,
            httpx.Client(base_url=server.url, timeout=30) as client,
        ):
            for barcode, content in promised.images.items():
                images = client.get(f"/api/v1/plates/{barcode}")
                assert images.is_success
                assert (folder / "plates/images" / content[:2] / content).is_file()
            for run in promised.runs:
                assert client.get(f"/jobs/{run}").json()["status"] in {"done", "failed"}
            for fit in promised.fits:
                status = client.get(f"/api/v1/analysis/fitting/status/{fit}").json()["status"]
                assert status in {"completed", "failed", "pending", "running"}
            seen = client.get("/bms/rack", params={"batch_size": 100})
            assert seen.is_success or not promised.rows
            assert seen.json().get("total_available", 0) >= len(promised.rows)
            assert not [*folder.rglob("*.damaged-*")]


def test_a_whole_file_syncs_its_content_and_then_its_name(tmp_path: Path) -> None:
    root, log = tmp_path / "data", tmp_path / "log"
    root.mkdir()
    disk = FailingDisk(build(tmp_path), root, log)
    program = f"""
from pathlib import Path
from benchwire.foundation.files import make_folders, write_whole
folder = Path({str(root)!r}) / "one" / "two"
make_folders(folder)
write_whole(folder / "name", b"first")
write_whole(folder / "name", b"second")
"""
    environment = {**os.environ, **disk.environment}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    model, seen = Disk(disk.root), []
    for call in calls(log):
        model.take(call)
        seen.append(model.sure(root / "one/two/name"))
    assert list(dict.fromkeys(seen)) == [None, b"first", b"second"]
    assert seen[-1] == b"second"
