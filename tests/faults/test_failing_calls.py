"""The n-th write, sync, rename fails, for every n: the error is told and the next attempt works."""

import errno
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from benchwire.domains.microscopy.simulation import MODEL, write_demo_movie
from benchwire.domains.potentiostat.waveforms import SAMPLE_PERIOD
from tests.faults.disk import SHORT, FailingDisk, build
from tests.faults.meter_journal import MeterJournal
from tests.support.battery import DEVICE, write_group
from tests.support.ports import free_port
from tests.support.postgres import running_postgres
from tests.support.server import Server
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced

FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "short write": SHORT}
REASONS = ("disk", "database", "samples could not be written")
RUN_SECONDS = 0.3


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"))


@dataclass(slots=True)
class Lab:
    """A server on a failing disk, and what its clients ask of it.

    Each piece of work returns None if it succeeded, after looking at all it made, or what was told.
    """

    server: Server
    disk: FailingDisk
    client: httpx.Client
    folder: Path
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    wells: list[int] = field(default_factory=list)
    images: dict[int, str] = field(default_factory=dict)
    plates: dict[str, bool] = field(default_factory=dict)
    """Whether each was told to be there."""
    references: dict[str, bytes] = field(default_factory=dict)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was told of runs and jobs that came to an end, by the paths that tell it."""
    files: dict[str, str] = field(default_factory=dict)
    """Digests of what runs and jobs that are done gave, by the paths that give it."""

    def ask(self, method: str, path: str, **more: Any) -> tuple[Any, str | None]:
        """Return an answer's body, and what is told if it was refused."""
        answer = self.client.request(method, path, **more)
        if answer.is_success:
            return answer.json(), None
        body = answer.json()
        assert answer.status_code == 503, (answer.status_code, body)
        told = body.get("message") or body.get("error") or body.get("detail")
        if path.startswith("/api/v1/"):
            told = body["error"]
        return body, plain(told)

    # -- pieces of work ---------------------------------------------------------------------

    def make_plate(self) -> str | None:
        barcode = f"P{next(self.numbers)}"
        plate = {"plate": {"barcode": barcode}, "rows": 1, "columns": 2}
        made, told = self.ask("POST", "/api/v1/plates", json=plate)
        seen = self.client.get(f"/api/v1/plates/{barcode}")
        assert seen.status_code == (404 if told else 200)
        if told is None:
            assert len(made["data"]["wells"]) == len(seen.json()["data"]["wells"]) > 0
        self.plates[barcode] = told is None
        return told

    def upload_image(self) -> str | None:
        if not self.wells:
            plate = {"plate": {"barcode": "images"}, "rows": 1, "columns": 1}
            made, _ = self.ask("POST", "/api/v1/plates", json=plate)
            self.wells.append(made["data"]["wells"][0]["id"])
        path = f"/api/v1/wells/{self.wells[0]}/images"
        content = io.BytesIO()
        Image.linear_gradient("L").resize((300 + next(self.numbers), 200)).save(content, "PNG")
        form = {f"image[{key}]": "0.002" for key in ("pixel_size_x_mm", "pixel_size_y_mm")}
        form |= {f"image[reference_{axis}_mm]": "0" for axis in "xyz"}
        files = {"image[file]": ("drop.png", content.getvalue())}
        made, told = self.ask("POST", path, data=form, files=files)
        if told is None:
            self.images[made["data"]["id"]] = hashlib.sha256(content.getvalue()).hexdigest()
        listed = {item["id"] for item in self.client.get(path).json()["data"]}
        assert listed == self.images.keys()
        kept = {path for path in (self.folder / "plates/images").rglob("*") if path.is_file()}
        assert {path.name for path in kept} == set(self.images.values())
        assert all(hashlib.sha256(file.read_bytes()).hexdigest() == file.name for file in kept)
        return told

    def measure(self) -> str | None:
        seconds = {"OCP": {"duration": RUN_SECONDS}}
        request = {
            "devices": "all", "modes": ["OCP"], "params_by_mode": seconds, "make_plot": True,
            "experiment_name": "Faults", "client_datetime": "2026-05-04T12:00:00",
        }  # fmt: skip
        until(lambda: self.client.get("/devices").json(), what="a slot")
        begun, told = self.ask("POST", "/jobs", json=request)
        if told is not None:
            return told
        run = begun["run_id"]
        slot = self.until_over(f"/jobs/{run}")["slots"][0]
        # A summary that the disk refused is written once it takes it.
        self.disk.recover()
        until(lambda: self.client.get(f"/runs/{run}/file?path=run.json").is_success, what="summary")
        summary = self.client.get(f"/runs/{run}/file?path=run.json").json()
        assert summary["status"] == slot["status"]
        self.keep(f"/runs/{run}/file?path=run.json")
        for item in summary["files"]:
            path = f"/runs/{run}/file?{httpx.QueryParams(path=item['path'])}"
            content = self.keep(path)
            assert self.files[path] == item["sha256"]
            if item["path"].endswith(".csv"):
                assert content.endswith(b"\r\n")
                if slot["status"] == "done":
                    assert content.count(b"\r\n") == 1 + int(RUN_SECONDS / SAMPLE_PERIOD)
        if slot["status"] == "done":
            assert slot["message"] in {None, "The data are complete; a plot could not be drawn"}
            return None
        assert slot["status"] == "failed"
        return plain(slot["message"])

    def process(self) -> str | None:
        output = self.folder / f"results-{next(self.numbers)}"
        request = {
            "microscopy_path": str(self.folder.parent / "movie.ome.tif"),
            "output_dir": str(output),
            "channels": {
                "phase": {"channel": 0, "features": ["area"]},
                "fluorescence": [{"channel": 1, "features": ["intensity_total"]}],
            },
            "parameters": {"border_margin": 5, "min_frames": 2},
        }
        begun, told = self.ask("POST", "/api/v1/processing/workflow/start", json=request)
        if told is not None:
            return told
        family = "/api/v1/processing/workflow"
        ended = self.until_over(f"{family}/status/{begun['job_id']}")
        made = {
            path.relative_to(output).as_posix(): path.read_bytes()
            for path in output.rglob("*")
            if path.suffix in {".npy", ".csv", ".parquet"}
        }
        if ended["status"] == "completed":
            self.keep(f"{family}/results/{begun['job_id']}")
            assert self.references.setdefault("process", made) == made
            return None
        assert ended["status"] == "failed"
        return plain(ended["message"])

    def fit(self) -> str | None:
        number = next(self.numbers)
        traces = self.folder / f"fits/{number}.csv"
        traces.parent.mkdir(exist_ok=True)
        shutil.copy(self.folder.parent / "traces.csv", traces)
        request = {"csv_path": str(traces), "model_type": MODEL}
        begun, told = self.ask("POST", "/api/v1/analysis/fitting/start", json=request)
        if told is not None:
            return told
        family = "/api/v1/analysis/fitting"
        ended = self.until_over(f"{family}/status/{begun['job_id']}")
        if ended["status"] == "completed":
            self.keep(f"{family}/results/{begun['job_id']}")
            results = next(traces.parent.glob(f"{number}*fitted*.csv")).read_bytes()
            assert self.references.setdefault("fit", results) == results
            return None
        assert ended["status"] == "failed"
        return plain(ended["message"])

    def read_recording(self) -> str | None:
        source = self.folder.parent / "recordings"
        for path in source.rglob("*.csv"):
            path.write_bytes(path.read_bytes())
        time.sleep(0.3)  # how long a look at the recordings is believed
        body, told = self.ask("GET", f"/bms/{DEVICE}", params={"batch_size": 1000})
        if told is not None:
            return told
        rows = json.dumps(body["data"]).encode()
        assert self.references.setdefault("rows", rows) == rows
        return None

    def keep(self, path: str) -> bytes:
        """Return what is at a path, to be compared with what is there after a restart."""
        content = self.client.get(path).raise_for_status().content
        self.files[path] = hashlib.sha256(content).hexdigest()
        return content

    def until_over(self, path: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while True:
            answer = self.client.get(path)
            assert answer.status_code == 200, answer.text
            body: dict[str, Any] = answer.json()
            if body["status"] not in {"queued", "pending", "running"}:
                self.ended[path] = body
                return body
            assert time.monotonic() < deadline, body
            time.sleep(0.02)


def plain(told: str | None) -> str:
    """Return what was told, if it is a sentence on the disk and not on the program."""
    assert told
    assert any(reason in told.lower() for reason in REASONS), told
    return told


@pytest.fixture(scope="module")
def lab(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with open_lab(library, tmp_path_factory.mktemp("failing")) as opened:
        yield opened


@pytest.fixture(scope="module")
def lab_on_postgresql(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Its files fail and its records do not."""
    with (
        running_postgres() as postgres,
        open_lab(library, tmp_path_factory.mktemp("apart"), postgres.url) as opened,
    ):
        yield opened


@contextmanager
def open_lab(library: Path, top: Path, database_url: str | None = None) -> Iterator[Lab]:
    folder = top / "data"
    folder.mkdir()
    write_demo_movie(top / "movie.ome.tif", n_fovs=1, n_frames=4, size=260, n_cells=1)
    write_group(top / "recordings", DEVICE, "bms", 60)
    write_traces(top / "traces.csv")
    disk = FailingDisk(library, folder)
    environment = {**disk.environment, "BENCHWIRE_COMPUTE_PROCESSES": "1"}
    environment["BENCHWIRE_BATTERY_RESCAN_SECONDS"] = "0.2"
    options = ("--emulate", "potentiostat=1", "--battery-data", str(top / "recordings"))
    with (
        Server(
            folder, free_port(), *options, environment=environment, database_url=database_url
        ) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        yield Lab(server, disk, client, folder)


def write_traces(path: Path) -> None:
    """Write a table of two cells' traces."""
    hours = np.arange(30) / 6
    lines = ["time,fov,cell,value"]
    for cell in (1, 2):
        values = 100 * (1 - np.exp(-hours)) * cell + 5
        lines += [f"{h:.4f},0,{cell},{v:.4f}" for h, v in zip(hours, values, strict=True)]
    path.write_text("\n".join(lines) + "\n")


WORK: dict[str, tuple[Callable[[Lab], str | None], int, int]] = {
    "plate": (Lab.make_plate, 6, 1000),
    "image": (Lab.upload_image, 4, 1000),
    "run": (Lab.measure, 2, 1000),
    "workflow": (Lab.process, 1, 1000),
    "fit": (Lab.fit, 1, 1000),
    "recording": (Lab.read_recording, 1, 1000),
}
"""Work, and how many of its calls fail in the short form and at most in the long one."""
NEVER_SILENT: dict[str, tuple[str, ...]] = {
    "plate": ("benchwire.db-wal",),
    "image": ("benchwire.db-wal", "plates/images/"),
    "run": (".csv",),
    "workflow": ("_traces.csv",),
    "fit": ("_fitted",),
    "recording": (),
}
"""What the files are called of whose failed calls somebody has to be told."""


@pytest.mark.parametrize("error", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("name", WORK)
def test_each_failing_call_is_told_and_leaves_nothing_half_done(
    lab: Lab, name: str, error: int, soak_or: SoakOr
) -> None:
    fail_each_call(lab, name, error, soak_or)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("name", ["image", "run", "workflow"])
def test_files_that_fail_leave_no_record_of_them(
    lab_on_postgresql: Lab, name: str, error: int, soak_or: SoakOr
) -> None:
    fail_each_call(lab_on_postgresql, name, error, soak_or)


def fail_each_call(lab: Lab, name: str, error: int, soak_or: SoakOr) -> None:
    work, short, long = WORK[name]
    assert work(lab) is None
    lab.disk.fail(0, error)
    assert work(lab) is None
    calls = range(1, lab.disk.seen + 1)
    chosen = random.Random(f"{name} {error}").sample(calls, min(len(calls), soak_or(short, long)))
    told = []
    for number in sorted(chosen):
        logged = lab.server.log_path.stat().st_size
        lab.disk.fail(number, error)
        told.append((work(lab), lab.disk.failed, lab.disk.what))
        lab.disk.recover()
        if error != SHORT and any(part in lab.disk.what for part in NEVER_SILENT[name]):
            # What was asked for was stored by then, and the entry is made up for.
            log = lab.server.log_path.read_bytes()[logged:]
            assert told[-1][0] or b"not in the audit log as yet" in log, told[-1]
        until(lambda: work(lab) is None, seconds=5.0, what=f"work after {told[-1]}")
    hit = sum(bool(failed) for _, failed, _ in told)
    print(f"{name}: {hit} of {len(told)} calls have failed, {calls[-1]} in all")
    # Not all of them: what the server makes up for, or does a moment later, shifts the count.
    assert error == SHORT or len(told) <= 4 or hit > len(told) / 2
    # Half of a write is no error: the rest is written next.
    assert error != SHORT or not any(text for text, _, _ in told)
    assert lab.server.process is not None
    assert lab.server.process.poll() is None


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_refuses_a_folder_for_results_is_no_fault_of_the_request(
    lab: Lab, error: int
) -> None:
    lab.disk.fail(1, error, only="results-")
    assert lab.process() is not None
    assert lab.disk.what.startswith("mkdir")
    lab.disk.recover()
    assert lab.process() is None


def test_all_of_it_is_there_after_a_restart(lab: Lab) -> None:
    lab.server.kill()
    lab.server.start()
    for barcode, is_made in lab.plates.items():
        found = lab.client.get(f"/api/v1/plates/{barcode}")
        assert found.status_code == (200 if is_made else 404), barcode
    for path, told in lab.ended.items():
        assert lab.client.get(path).json() == told
    for path, content in lab.files.items():
        found = lab.client.get(path).raise_for_status().content
        assert hashlib.sha256(found).hexdigest() == content, path
    for work, _, _ in WORK.values():
        assert work(lab) is None


def test_no_reading_of_a_meter_is_lost(library: Path, tmp_path: Path, soak_or: SoakOr) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    disk = FailingDisk(library, folder)
    with (
        Server(
            folder, free_port(), "--emulate", "powermeter=1", environment=disk.environment
        ) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):

        def status() -> Any:
            return client.get("/api/status").json()

        until(lambda: status()["connected"], what="the meter")
        client.post("/api/config", json={"polling_interval": 0.1}).raise_for_status()
        journal = MeterJournal(server.url)
        for number in range(1, soak_or(3, 300) + 1):
            error = list(FAULTS.values())[number % 3]
            call = 1 + number // 3 % 12
            disk.fail(call, error)
            # Half of a write is no fault of a call that writes nothing.
            until(lambda call=call: disk.seen >= call, what="the call")
            if error != SHORT:
                until(lambda: "held back" in (status()["last_error"] or ""), what="it being told")
            disk.recover()
            until(lambda: status()["last_error"] is None, seconds=5.0, what="recording")
        assert not journal.lost()


def test_a_backup_is_whole_or_absent(library: Path, tmp_path: Path, soak_or: SoakOr) -> None:
    data, shelf = tmp_path / "data", tmp_path / "shelf"
    shelf.mkdir()
    with Server(data, free_port()):
        pass
    disk = FailingDisk(library, shelf)

    def back_up() -> str | None:
        kept = {*shelf.glob("benchwire-*")}
        done = subprocess.run(
            [sys.executable, "-m", "benchwire", "backup", shelf, "--data-dir", data],
            env={**os.environ, **disk.environment}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        disk.recover()
        made = {*shelf.glob("benchwire-*")} - kept
        if done.returncode == 0:
            (folder,) = made
            assert not (folder.parent / f"{folder.name}.part").exists()
            return None
        assert "Traceback" not in done.stderr
        assert not made
        return done.stderr.strip()

    disk.fail(0, 0)
    assert back_up() is None
    calls = range(1, disk.seen + 1)
    chosen = random.Random(4).sample(calls, min(len(calls), soak_or(1, 1000)))
    # The last ones come when all is written and has its name already.
    for number in sorted({*chosen, *calls[-2:]}):
        disk.fail(number, list(FAULTS.values())[number % 3])
        told = back_up()
        assert told is None or told.startswith("benchwire: ")
    assert back_up() is None
    for number, folder in enumerate(shelf.glob("benchwire-*")):
        again = ["restore", folder, "--data-dir", tmp_path / f"restored-{number}"]
        subprocess.run([sys.executable, "-m", "benchwire", *again], check=True, timeout=60)


def test_a_first_start_that_fails_says_why_and_the_next_one_works(
    library: Path, tmp_path: Path, soak_or: SoakOr
) -> None:
    port = free_port()

    def start(folder: Path, call: int, error: int) -> tuple[int, str | None]:
        folder.mkdir(exist_ok=True)
        disk = FailingDisk(library, folder)
        disk.fail(call, error)
        command = [sys.executable, "-m", "benchwire", "serve", "--port", str(port)]
        environment = {**os.environ, **disk.environment, "BENCHWIRE_UI": "false"}
        with (
            subprocess.Popen(
                [*command, "--data-dir", folder], env=environment,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            ) as process
        ):  # fmt: skip
            until(lambda: process.poll() is not None or answers(port), seconds=30, what="the start")
            seen = disk.seen
            process.terminate()
            _, told = process.communicate(timeout=30)
        last = told.strip().splitlines()[-1:] or [""]
        if last[0].startswith("benchwire: "):
            assert process.returncode == 2
            return seen, last[0]
        assert process.returncode in {0, -15}, told
        return seen, None

    calls, told = start(tmp_path / "reference", 0, 0)
    assert told is None
    chosen = random.Random(5).sample(range(1, calls + 1), min(calls, soak_or(1, 1000)))
    for number in chosen:
        folder = tmp_path / f"start-{number}"
        _, told = start(folder, number, list(FAULTS.values())[number % 2])
        assert told is None or any(reason in told for reason in ("disk", "data folder", "database"))
        assert start(folder, 0, 0)[1] is None


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/version", timeout=5).is_success
    except httpx.TransportError:
        return False
