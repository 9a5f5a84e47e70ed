"""The disk is full, or takes nothing any more, while everything works on it."""

import contextlib
import errno
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from benchwire.domains.microscopy.simulation import write_demo_movie
from benchwire.foundation.instruments.emulation import EmulatorProcess
from tests.faults.disk import FailingDisk, build, fill, small_disk
from tests.faults.meter_journal import MeterJournal
from tests.support.battery import DEVICE, write_group
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced

EMULATED = "benchwire.domains.potentiostat.emulator:emulated"
MEGABYTES = 64
BACK_SECONDS = 5.0


@dataclass(slots=True)
class Lab:
    """A server, its potentiostat, and what clients ask of it."""

    server: Server
    client: httpx.Client
    emulators: EmulatorProcess
    recordings: Path

    def start_run(self, seconds: float) -> httpx.Response:
        until(lambda: self.client.get("/devices").json(), what="a slot")
        parameters = {
            "start": 0.0, "vertex1": 0.5, "vertex2": -0.5, "end": 0.0,
            "scan_rate": 2.0 / seconds, "cycles": 1,
        }  # fmt: skip
        request = {
            "devices": "all", "modes": ["CV"], "params_by_mode": {"CV": parameters},
            "experiment_name": "Full", "client_datetime": "2026-05-04T12:00:00",
            "make_plot": False,
        }  # fmt: skip
        return self.client.post("/jobs", json=request)

    def is_cell_closed(self) -> bool:
        return bool(self.emulators.control("p1", "state")["cell_closed"])

    def make_plate(self, barcode: str) -> httpx.Response:
        plate = {"plate": {"barcode": barcode}, "rows": 1, "columns": 1}
        return self.client.post("/api/v1/plates", json=plate)

    def upload(self, well: int) -> httpx.Response:
        content = io.BytesIO()
        Image.effect_noise((700, 500), 90).save(content, "PNG")
        form = {f"image[{key}]": "0.002" for key in ("pixel_size_x_mm", "pixel_size_y_mm")}
        form |= {f"image[reference_{axis}_mm]": "0" for axis in "xyz"}
        files = {"image[file]": ("drop.png", content.getvalue())}
        return self.client.post(f"/api/v1/wells/{well}/images", data=form, files=files)

    def follow_meter(self) -> MeterJournal:
        until(lambda: self.client.get("/api/status").json()["connected"], what="the meter")
        often = {"polling_interval": 0.1}
        self.client.post("/api/config", json=often).raise_for_status()
        return MeterJournal(self.server.url)

    def read_battery(self, *, rows: int = 0) -> httpx.Response:
        """Read the recording, of which there are as many rows now as are named."""
        if rows:
            write_group(self.recordings, DEVICE, "bms", rows)
            time.sleep(0.3)  # how long a look at the recordings is believed
        return self.client.get(f"/bms/{DEVICE}", params={"batch_size": 10})

    def process(self, movie: Path, output: Path) -> httpx.Response:
        request = {
            "microscopy_path": str(movie), "output_dir": str(output),
            "channels": {
                "phase": {"channel": 0, "features": ["area"]},
                "fluorescence": [{"channel": 1, "features": ["intensity_total"]}],
            },
        }  # fmt: skip
        return self.client.post("/api/v1/processing/workflow/start", json=request)

    def workflow_end(self, job: str) -> dict[str, Any]:
        path = f"/api/v1/processing/workflow/status/{job}"
        until(
            lambda: self.client.get(path).json()["status"] in {"completed", "failed"},
            seconds=90,
            what="the end of the workflow",
        )
        body: dict[str, Any] = self.client.get(path).json()
        return body


@contextmanager
def lab(
    data: Path, top: Path, database_url: str | None = None, **environment: str
) -> Iterator[Lab]:
    write_group(top / "recordings", DEVICE, "bms", 60)
    emulators = EmulatorProcess(EMULATED, ["p1"], top / "ports")
    environment = {
        "BENCHWIRE_POTENTIOSTAT_PORTS": json.dumps([str(emulators.paths["p1"])]),
        "BENCHWIRE_POTENTIOSTAT_MIN_FREE_MB": "5",
        "BENCHWIRE_COMPUTE_PROCESSES": "1",
        "BENCHWIRE_BATTERY_RESCAN_SECONDS": "0.2",
        **environment,
    }
    options = ("--emulate", "powermeter=1", "--battery-data", str(top / "recordings"))
    with (
        contextlib.closing(emulators),
        Server(
            data, free_port(), *options, environment=environment, database_url=database_url
        ) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield Lab(server, client, emulators, top / "recordings")


def is_told(answer: httpx.Response, *words: str) -> bool:
    """Whether an answer says in its API's own shape that the disk is the reason."""
    assert answer.status_code == 503, (answer.status_code, answer.text)
    body = answer.json()
    text = json.dumps(body).lower()
    assert "unforeseen" not in text
    return any(word in text for word in words)


def check_plate(answer: httpx.Response, database_url: str | None, *words: str) -> None:
    """Look whether a plate, which is a record and no file, was refused where its disk was."""
    if database_url is None:
        assert is_told(answer, *words)
    else:
        assert answer.status_code == 201


@pytest.fixture
def safe_seconds(soak_or: SoakOr) -> float:
    """How long a cell may stay closed; other tests have the same cores in the short form."""
    return soak_or(1.0, 0.3)


def test_everything_goes_on_once_a_full_disk_has_room_again(
    tmp_path: Path, database_url: str | None, safe_seconds: float
) -> None:
    """Records that have a disk of their own are taken meanwhile."""
    movie = tmp_path / "movie.ome.tif"
    write_demo_movie(movie, n_fovs=1, n_frames=30, size=400, n_cells=4)
    figures = {}
    with (
        small_disk(tmp_path / "disk", MEGABYTES) as disk,
        lab(disk, tmp_path, database_url) as it,
    ):
        well = it.make_plate("first").json()["data"]["wells"][0]["id"]
        journal = it.follow_meter()

        run = it.start_run(60.0).json()["run_id"]
        until(it.is_cell_closed, what="the measurement")
        job = it.process(movie, disk / "results").json()["job_id"]
        ballast = fill(disk)
        began = time.monotonic()
        until(lambda: not it.is_cell_closed(), seconds=safe_seconds, what="the cell being opened")
        figures["safe"] = time.monotonic() - began

        until(lambda: it.client.get(f"/jobs/{run}").json()["status"] == "failed", what="the end")
        (slot,) = it.client.get(f"/jobs/{run}").json()["slots"]
        assert "No space left" in slot["message"]
        ended = it.workflow_end(job)
        assert ended["status"] == "failed"
        assert "disk is full" in ended["message"]

        check_plate(it.make_plate("second"), database_url, "disk is full")
        assert is_told(it.upload(well), "disk is full")
        assert is_told(it.read_battery(rows=90), "disk is full")
        assert is_told(it.start_run(1.0), "free for runs")
        for path in ("/health", "/jobs", f"/runs/{run}/files", "/api/data/5m", "/api/v1/plates"):
            assert it.client.get(path).status_code == 200
        held_back = it.client.get("/api/status").json()["last_error"]
        assert "disk is full" in held_back if database_url is None else held_back is None
        warned = it.client.get("/notices").json()["notices"]
        assert any("free on the disk" in notice["text"] for notice in warned)

        ballast.unlink()
        began = time.monotonic()
        until(lambda: it.make_plate("third").status_code == 201, what="plates")
        until(lambda: it.read_battery().is_success, what="recordings")
        until(lambda: it.client.get("/api/status").json()["last_error"] is None, what="readings")
        assert it.upload(well).status_code == 201
        again = it.start_run(1.0)
        assert again.status_code == 200
        figures["back"] = time.monotonic() - began
        until(
            lambda: it.client.get(f"/jobs/{again.json()['run_id']}").json()["status"] == "done",
            seconds=20,
            what="a run",
        )
        assert not journal.lost()
        csv = next((disk / "runs").rglob("*.csv")).read_bytes()
        assert csv.endswith(b"\r\n")
    print(figures)
    assert figures["back"] < BACK_SECONDS


def test_a_run_that_would_not_fit_is_refused(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", MEGABYTES) as disk, lab(disk, tmp_path) as it:
        hours = it.start_run(3600.0)
        assert is_told(hours, "free for runs")
        movie = tmp_path / "movie.ome.tif"
        write_demo_movie(movie, n_fovs=2, n_frames=20, size=400, n_cells=1)
        assert is_told(it.process(movie, disk / "results"), "free on the disk")
        assert not it.client.get("/jobs").json()


def test_a_disk_that_became_read_only_is_told_at_every_writer(
    tmp_path: Path, database_url: str | None, safe_seconds: float
) -> None:
    movie = tmp_path / "movie.ome.tif"
    write_demo_movie(movie, n_fovs=1, n_frames=4, size=260, n_cells=1)
    data = tmp_path / "data"
    data.mkdir()
    disk = FailingDisk(build(tmp_path), data)
    with lab(data, tmp_path, database_url, **disk.environment) as it:
        well = it.make_plate("first").json()["data"]["wells"][0]["id"]
        journal = it.follow_meter()
        run = it.start_run(60.0).json()["run_id"]
        until(it.is_cell_closed, what="the measurement")

        disk.fail(1, errno.EROFS, for_good=True)
        until(lambda: not it.is_cell_closed(), seconds=safe_seconds, what="the cell being opened")
        until(lambda: it.client.get(f"/jobs/{run}").json()["status"] == "failed", what="the end")
        told = ("disk", "cannot be written", "read-only")
        check_plate(it.make_plate("second"), database_url, *told)
        assert is_told(it.upload(well), *told)
        assert is_told(it.read_battery(rows=90), *told)
        assert is_told(it.start_run(1.0), *told)
        refused = it.process(movie, data / "results")
        if database_url is None:
            assert is_told(refused, *told)
        else:  # its record could be stored; the request names a folder on this disk
            assert refused.status_code == 400
            assert "cannot be written" in refused.json()["error"]
        for path in ("/health", "/jobs", "/api/data/5m", "/api/v1/plates"):
            assert it.client.get(path).status_code == 200

        disk.recover()
        began = time.monotonic()
        until(lambda: it.make_plate("third").status_code == 201, what="plates")
        until(lambda: it.read_battery().is_success, what="recordings")
        assert it.start_run(1.0).status_code == 200
        assert time.monotonic() - began < BACK_SECONDS
        assert not journal.lost()


def test_a_start_on_a_read_only_folder_says_so_in_a_sentence(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", MEGABYTES) as disk:
        with Server(disk, free_port()):
            pass
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for command in ("serve", "check"):
            port = ["--port", str(free_port())] if command == "serve" else []
            done = subprocess.run(
                [sys.executable, "-m", "benchwire", command, "--data-dir", disk, *port],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert "Traceback" not in done.stderr
            told = done.stderr.strip().splitlines()[-1] if command == "serve" else done.stdout
            assert "data folder" in told
            assert "Read-only file system" in told or "cannot hold the database" in told
            assert done.returncode != 0
