"""Make the data folder of the installed version, for later versions to be tried on.

::

    python tests/upgrades/make.py

leaves ``<version>.tar.gz`` and ``<version>.json`` beside this file: the folder as ``kill -9`` left
it with work of every domain in it, and what its own server said was there. Run it at each release
and keep both for good.

The movie, the recordings and all results lie inside the folder, yet the database and some results
name them by absolute paths. The folder is therefore made at a place whose name occurs nowhere else,
and whoever extracts it elsewhere writes the new place over the old one (`placing.extract`). In the
manifest that place reads ``{data}``, and the server's address ``{server}``.

A version that is still being made has no folder, and a folder that is there is never made again: it
is what that version left, and nothing else can tell what that was.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from packaging.version import Version
from PIL import Image, ImageDraw

import benchwire
from benchwire.foundation import schema
from benchwire.foundation.instruments.emulation import EmulatorProcess

HERE = Path(__file__).parent
PLACE, ADDRESS = "{data}", "{server}"
POTENTIOSTAT = "benchwire.domains.potentiostat.emulator:emulated"
RECORDINGS = "recordings"
BATTERY = "UPGRADE0001"
WAIT_SECONDS = 120.0
# Rows of a meter become a block when there are so many.
METER_READINGS = 1100
RUN = {
    "params_by_mode": {
        "CV": {
            "start": 0.0, "vertex1": 0.2, "vertex2": -0.2, "end": 0.0, "scan_rate": 2.0,
            "cycles": 1,
        },
        "CA": {"potential": 0.3, "duration": 0.5},
        "EIS": {
            "start_freq": 100.0, "end_freq": 20.0, "points_per_decade": 3, "cycles_per_freq": 2,
            "spacing": "log", "bias": 0.1,
        },
    },
    "experiment_name": "Upgrade",
    "sampling_interval": 0.01,
}  # fmt: skip


class Server:
    """The installed version's server."""

    def __init__(self, data: Path, instruments: EmulatorProcess) -> None:
        self.data = data
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        clean = {key: value for key, value in os.environ.items() if "BENCHWIRE" not in key}
        paths = json.dumps([str(path) for path in instruments.paths.values()])
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "benchwire", "serve", "--port", str(port), "--data-dir",
                str(data), "--emulate", "powermeter=1", "--battery-data", str(data / RECORDINGS),
            ],
            env={
                **clean, "BENCHWIRE_UI": "false", "BENCHWIRE_MAX_JOBS": "1", "TZ": "UTC",
                "BENCHWIRE_POTENTIOSTAT_PORTS": paths,
            },
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._is_whole, "the server did not start")

    def _is_whole(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/devices").is_success and bool(self.get("/devices"))
        return False

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(path, params=query).raise_for_status().json()

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return self.client.post(path, json=body, **more).raise_for_status().json()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.client.close()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(what)
        time.sleep(0.05)


# -- work of every domain -------------------------------------------------------------------


def start_run(server: Server, slots: list[str], modes: list[str], **more: Any) -> str:
    stamp = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    body = {"devices": slots, "modes": modes, "client_datetime": stamp, **RUN, **more}
    return str(server.post("/jobs", body)["run_id"])


def ended(server: Server, run_id: str) -> str:
    until(lambda: server.get(f"/jobs/{run_id}")["status"] != "running", f"{run_id} did not end")
    return str(server.get(f"/jobs/{run_id}")["status"])


def do_runs(server: Server, instruments: EmulatorProcess) -> None:
    """A finished run, one that was cancelled, one whose instrument was pulled out."""
    long = {"CA": {"potential": 0.3, "duration": 60.0}}
    both = ["slot01", "slot02"]
    for modes, is_drawn in ((["CV"], True), (["CA", "EIS"], False)):
        done = start_run(server, both, modes, subdir="good", group_id="u", make_plot=is_drawn)
        assert ended(server, done) == "done", server.get(f"/jobs/{done}")
    cancelled = start_run(server, ["slot01"], ["CA"], params_by_mode=long, make_plot=False)
    until(lambda: instruments.control("p1", "state")["cell_closed"], "the run did not begin")
    server.post(f"/jobs/{cancelled}/cancel")
    assert ended(server, cancelled) == "cancelled"
    failed = start_run(server, ["slot02"], ["CA"], params_by_mode=long, make_plot=False)
    until(lambda: instruments.control("p2", "state")["cell_closed"], "the run did not begin")
    instruments.control("p2", "unplug")
    assert ended(server, failed) == "failed"
    instruments.control("p2", "replug")
    until(lambda: len(server.get("/devices")) == 2, "the instrument did not come back")


def measure_power(server: Server) -> None:
    """Enough readings for blocks, a charge that has ended, an alarm."""
    server.post(
        "/api/config",
        {
            "polling_interval": 0.05,
            "data_retention_minutes": 525_600,
            "session_end_delay_s": 1.0,
            "alarms": {"current": {"high": 0.2}},
        },
    )
    until(lambda: server.get("/api/sessions"), "no charge began")
    until(lambda: server.get("/api/alarms")["events"], "no alarm was raised")
    server.post("/api/config", {"session_threshold_a": 9.0})
    until(lambda: server.get("/api/sessions")[0]["reason"], "the charge did not end")
    server.post("/api/config", {"session_threshold_a": 0.1})
    until(lambda: server.get("/api/status")["data_count"] > METER_READINGS, "the meter is too slow")


def fill_plates(server: Server) -> None:
    """Chemistry, a plate with contents, an image, points, scores and moves; a deleted plate."""

    def post(path: str, body: Any = None, **more: Any) -> Any:
        answer = server.post(f"/api/v1{path}", body, **more)
        return answer.get("data", answer)

    post("/locations/initialise_carousel", {"carousel_positions": 2, "hotel_positions": 3})
    chemical = post("/chemicals", {"chemical": {"name": "Sodium chloride", "cas": "7647-14-5"}})
    units = items(server.get("/api/v1/units"))
    component = {
        "chemical_id": chemical["id"], "unit_id": units[0]["id"], "amount": 1.5,
    }  # fmt: skip
    solution = post("/stock_solutions", {"stock_solution": {"name": "Salt é"}})
    post(f"/stock_solutions/{solution['id']}/components", {"component": component})
    plate = post("/plates", {"plate": {"name": "Upgrade screen", "barcode": "UP000001"}})
    wells = [well["id"] for well in plate["wells"]]
    body = {
        "well_ids": wells[:12], "stock_solution_id": solution["id"], "volume_with_unit": "2 ul",
    }  # fmt: skip
    post("/wells/bulk_add_content", body)
    for number, well in enumerate(wells[:2]):
        form = {f"image[{key}]": "0.002" for key in ("pixel_size_x_mm", "pixel_size_y_mm")}
        form |= {f"image[reference_{axis}_mm]": "0" for axis in "xyz"}
        files = {"image[file]": (f"drop{number}.png", drop(number))}
        image = post(f"/wells/{well}/images", data=form, files=files)
        point = {"pixel_x": 60, "pixel_y": 40 + number, "point_type": "crystal"}
        path = f"/wells/{well}/images/{image['id']}/points_of_interest"
        post(path, {"point_of_interest": point})
        post(f"/wells/{well}/scores", {"score": {"score": 5 + number, "note": "clear"}})
    for place in items(server.get("/api/v1/locations/carousel"))[:2]:
        path = f"/plates/{plate['barcode']}/move_to_location"
        post(path, {"location_id": place["id"], "moved_by": "upgrade"})
    post("/plates", {"plate": {"name": "Thrown away", "barcode": "UP000002"}})
    server.client.delete("/api/v1/plates/UP000002").raise_for_status()


def drop(number: int) -> bytes:
    image = Image.new("RGB", (120, 90), "#b9c4c9")
    ImageDraw.Draw(image).ellipse((20, 10, 100, 60 + number), fill="#dfe7ea")
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def write_movie(folder: Path) -> Path:
    from benchwire.domains.microscopy.simulation import write_demo_movie

    folder.mkdir(parents=True)
    movie = folder / "cells.ome.tif"
    write_demo_movie(movie, n_fovs=1, n_frames=7, size=200, n_cells=1)
    return steady(movie)


def steady(path: Path) -> Path:
    """Give a file a time that every archive can keep, as its time tells whether it was changed."""
    os.utime(path, (path.stat().st_mtime // 1,) * 2)
    return path


def start_workflow(server: Server, movie: Path, output: Path) -> str:
    body = {
        "microscopy_path": str(movie),
        "output_dir": str(output),
        "channels": {
            "phase": {"channel": 0, "features": ["area"]},
            "fluorescence": [{"channel": 1, "features": ["intensity_total"]}],
        },
        "parameters": {"border_margin": 2, "min_frames": 2},
    }
    return str(server.post("/api/v1/processing/workflow/start", body)["job_id"])


def analysed(server: Server, family: str, job_id: str) -> str:
    path = f"/api/v1/{family}/status/{job_id}"
    until(lambda: server.get(path)["status"] not in {"pending", "running"}, f"{job_id} runs on")
    return str(server.get(path)["status"])


def process_movie(server: Server, folder: Path, movie: Path) -> Path:
    """A workflow, its merged traces, a fit of them, and a fit that cannot be; the traces."""
    output, merged = folder / "results", folder / "merged"
    server.post("/api/v1/processing/load-metadata", {"file_path": str(movie)})
    job = start_workflow(server, movie, output)
    assert analysed(server, "processing/workflow", job) == "completed"
    samples = folder / "samples.yaml"
    samples.write_text("samples:\n  - name: upgrade\n    fovs: 0\n")
    body = {"sample_yaml": str(samples), "input_dir": str(output), "output_dir": str(merged)}
    files = server.post("/api/v1/processing/merge", body)["merged_files"]
    traces = steady(next(Path(path) for path in files if "intensity_total" in path))
    job = start_fit(server, traces)
    assert analysed(server, "analysis/fitting", job) == "completed"
    return traces


def start_fit(server: Server, traces: Path, model: str = "maturation") -> str:
    body = {"csv_path": str(traces), "model_type": model}
    return str(server.post("/api/v1/analysis/fitting/start", body)["job_id"])


def write_recordings(folder: Path) -> None:
    from benchwire.domains.battery.signals import GROUPS

    place = folder / "BESS" / BATTERY
    place.mkdir(parents=True)
    for offset, signal_ in enumerate(GROUPS["bms"].signals):
        with (place / f"{signal_.name}.csv").open("w") as file:
            file.write(f"ts,{signal_.name}\n")
            for minute in range(60):
                file.write(f"2024-03-09 00:{minute:02}:00,{offset + minute / 100}\n")


def post_readings(server: Server) -> None:
    for minute in range(20):
        body = {"timestamp": f"2026-01-01T00:{minute:02}:00Z", "soc": minute / 2}
        server.post("/bms/rack/readings", body)
    until(
        lambda: all(d["progress"] == 1 for d in server.get("/bess/overview")["devices"]),
        "the recordings were not read",
    )


# -- what is there afterwards -----------------------------------------------------------------


class Manifest:
    """What a server says of its data, noted so that a later one can be held to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answers: list[dict[str, Any]] = []
        self.lists: list[dict[str, Any]] = []
        self.downloads: list[dict[str, Any]] = []

    def everything(self) -> dict[str, Any]:
        """Return it without the names of this place and server."""
        noted = {"lists": self.lists, "answers": self.answers, "downloads": self.downloads}
        address = str(self.server.client.base_url).rstrip("/")
        text = json.dumps(noted).replace(str(self.server.data), PLACE).replace(address, ADDRESS)
        return dict(json.loads(text))

    def answer(self, path: str, /, **query: Any) -> Any:
        """Note an answer; a later one may say more, never something else."""
        body = self.server.get(path, **query)
        self.answers.append({"path": path, "query": query, "body": body})
        return body

    def listed(self, path: str, key: str, /, *within: str, **query: Any) -> list[Any]:
        """Note the ids in a list; a later one may be longer."""
        body = self.server.get(path, **query)
        for name in within:
            body = body[name] if isinstance(body, dict) else body
        ids = [item[key] for item in body]
        assert ids, path
        self.lists.append({"path": path, "query": query, "within": within, "key": key, "ids": ids})
        return ids

    def download(self, path: str, /, *, grows: bool = False, **query: Any) -> None:
        """Note a file by its content; one that grows still has to begin with it."""
        content = self.server.client.get(path, params=query).raise_for_status().content
        content = content.replace(str(self.server.data).encode(), PLACE.encode())
        self.downloads.append(
            {
                "path": path, "query": query, "size": len(content), "grows": grows,
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )  # fmt: skip


def ask(server: Server) -> Manifest:
    noted = Manifest(server)
    ask_potentiostats(noted)
    ask_power_meters(noted)
    ask_plates(noted)
    ask_analyses(noted)
    ask_batteries(noted)
    return noted


def ask_potentiostats(noted: Manifest) -> None:
    states = set()
    for run_id in noted.listed("/jobs", "run_id"):
        states.add(noted.answer(f"/jobs/{run_id}")["status"])
        for name in noted.answer(f"/runs/{run_id}/files")["files"]:
            noted.download(f"/runs/{run_id}/file", path=name)
        noted.download(f"/runs/{run_id}/file", path="run.json")
    assert states == {"done", "cancelled", "failed"}, states


def ask_power_meters(noted: Manifest) -> None:
    noted.listed("/api/meters", "meter")
    noted.answer("/api/config")
    noted.listed("/api/sessions", "start_utc")
    noted.listed("/api/alarms", "utc", "events")
    noted.download("/api/export/9h.csv", grows=True)


def items(body: Any) -> list[Any]:
    """Return a list, whether or not it comes in an envelope."""
    return list(body["data"] if isinstance(body, dict) else body)


def ask_plates(noted: Manifest) -> None:
    base = "/api/v1"
    (barcode,) = noted.listed(f"{base}/plates", "barcode", "data")
    noted.listed(f"{base}/plates/deleted", "barcode", "data")
    for name in ("", "/overview", "/points_of_interest", "/location_history"):
        noted.answer(f"{base}/plates/{barcode}{name}")
    noted.download(f"{base}/plates/{barcode}/contents_csv")
    for name in ("chemicals", "units", "locations", "plate_prototypes"):
        noted.listed(f"{base}/{name}", "id", "data")
    for solution in noted.listed(f"{base}/stock_solutions", "id", "data"):
        noted.answer(f"{base}/stock_solutions/{solution}")
    for well in items(noted.answer(f"{base}/plates/{barcode}/wells"))[:3]:
        for name in ("well_contents", "scores", "timeline"):
            noted.answer(f"{base}/wells/{well['id']}/{name}")
        for image in items(noted.answer(f"{base}/wells/{well['id']}/images")):
            noted.download(f"{base}/wells/{well['id']}/images/{image['id']}/file")


def ask_analyses(noted: Manifest) -> None:
    base = "/api/v1"
    noted.listed(f"{base}/processing/recent-files", "path", "recent_files")
    noted.listed(f"{base}/jobs", "job_id", "jobs")
    families = {"fitting": "analysis/fitting", "workflow": "processing/workflow"}
    for known in noted.server.get(f"{base}/jobs")["jobs"]:
        job, family = known["job_id"], families[known["type"]]
        if (noted.answer(f"{base}/{family}/status/{job}"))["status"] != "completed":
            continue
        found = noted.answer(f"{base}/{family}/results/{job}")
        if family == "analysis/fitting":
            noted.download(f"{base}/{family}/results/{job}/download")
            fit = found["results"][0]
            noted.answer(f"{base}/{family}/results/{job}/traces/{fit['fov']}/{fit['cell']}")
        else:
            noted.download(f"{base}/processing/overlay", output_dir=found["output_dir"])


def ask_batteries(noted: Manifest) -> None:
    noted.listed("/bms/devices", "device_id", "devices")
    noted.answer("/bms/rack", batch_size=1000)
    noted.answer(f"/bms/{BATTERY}", batch_size=1000)


# -- packing ----------------------------------------------------------------------------------


def make(target: Path) -> None:
    """Make the folder and pack it."""
    version = benchwire.__version__
    archive, told = target / f"{version}.tar.gz", target / f"{version}.json"
    if Version(version).is_devrelease:
        raise SystemExit(f"{version} is no release")
    if archive.exists() or told.exists():
        raise SystemExit(f"{version} has its folder already, which is kept as it is")
    with contextlib.ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="benchwire-upgrade-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        data = root / "data"
        instruments = EmulatorProcess(POTENTIOSTAT, ["p1", "p2"], root / "instruments")
        stack.callback(instruments.close)
        folder = data / "movies"
        movie = write_movie(folder)
        write_recordings(data / RECORDINGS)
        with Server(data, instruments) as server:
            do_runs(server, instruments)
            fill_plates(server)
            traces = process_movie(server, folder, movie)
            post_readings(server)
            measure_power(server)
            interrupt_run(server, instruments)
        with Server(data, instruments) as server:
            noted = ask(server)
            made_at = datetime.now(UTC)
            unfinished = leave_unfinished(server, instruments, folder, movie, traces)
        manifest = {
            "version": version,
            "schema": schema.head(),
            "made_at": made_at.isoformat(),
            "place": str(data),
            "unfinished": unfinished,
        }
        text = json.dumps({**noted.everything(), **manifest}, indent=1, ensure_ascii=False)
        told.write_text(text + "\n", "utf-8")
        pack(data, archive)


def interrupt_run(server: Server, instruments: EmulatorProcess) -> None:
    long = {"CA": {"potential": 0.3, "duration": 60.0}}
    start_run(server, ["slot01"], ["CA"], params_by_mode=long, sampling_interval=0.001)
    until(lambda: instruments.control("p1", "state")["ticks"] > 6000, "the run did not begin")


def leave_unfinished(
    server: Server, instruments: EmulatorProcess, folder: Path, movie: Path, traces: Path
) -> dict[str, list[str]]:
    """Begin a run and a workflow with a fit waiting behind it; the server is killed amidst them."""
    long = {"CA": {"potential": 0.3, "duration": 60.0}}
    closings = instruments.control("p1", "state")["closings"]
    run = start_run(server, ["slot01"], ["CA"], params_by_mode=long, make_plot=False)
    until(
        lambda: instruments.control("p1", "state")["closings"] > closings, "the run did not begin"
    )
    workflow = start_workflow(server, movie, folder / "more")
    fit = start_fit(server, traces, "trivial")
    return {"runs": [run], "workflows": [workflow], "fittings": [fit]}


def pack(data: Path, archive: Path) -> None:
    """Pack what a server keeps; pseudo-terminals and the lock are not kept."""

    def kept(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = item.name.removeprefix("data/")
        if name == "benchwire.lock" or name.split("/")[0] == "emulated":
            return None
        item.uid = item.gid = 0
        item.uname = item.gname = ""
        return item

    with tarfile.open(archive, "w:gz", format=tarfile.PAX_FORMAT) as file:
        file.add(data, "data", filter=kept)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=HERE, help="where both files are put")
    make(parser.parse_args().to)
