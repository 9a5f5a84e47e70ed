"""From a movie to fitted cells through a running server: the users' own examples, and a kill -9."""

import csv
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile

from benchwire.domains.microscopy.simulation import write_demo_movie
from tests.domains.microscopy.readers.nd2_writer import write_nd2
from tests.support import ports
from tests.support.server import Server
from tests.support.waiting import until

FOVS, FRAMES, SIZE = 10, 6, 320
API = "/api/v1/processing"
# The users' Python client; address and folder are this test's, and it looks more often.
PYTHON = """
import time
import requests

# Load metadata
response = requests.post(
    "http://localhost:8000/api/v1/processing/load-metadata",
    json={"file_path": "/data/experiment.nd2"}
)
metadata = response.json()

# Start workflow
response = requests.post(
    "http://localhost:8000/api/v1/processing/workflow/start",
    json={
        "microscopy_path": "/data/experiment.nd2",
        "output_dir": "/data/output",
        "channels": metadata["suggested_channels"],
        "parameters": {"fov_start": 0, "fov_end": 9}
    }
)
job_id = response.json()["job_id"]

# Monitor progress
while True:
    response = requests.get(
        f"http://localhost:8000/api/v1/processing/workflow/status/{job_id}"
    )
    status = response.json()
    print(f"Progress: {status['progress']['percentage']}%")

    if status["status"] in ["completed", "failed"]:
        break

    time.sleep(0.2)

# Get results
response = requests.get(
    f"http://localhost:8000/api/v1/processing/workflow/results/{job_id}"
)
results = response.json()
import json
print(json.dumps(results))
"""
CURL = """
curl -X POST "http://localhost:8000/api/v1/processing/load-metadata" \\
  -H "Content-Type: application/json" \\
  -d '{"file_path": "/data/sample.nd2"}'

curl -X POST "http://localhost:8000/api/v1/processing/list-directory" \\
  -H "Content-Type: application/json" \\
  -d '{"directory_path": "/data", "filter_extensions": [".nd2"]}'

curl -X GET "http://localhost:8000/api/v1/analysis/models"
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The users' /data folder with ND2 files in it, and the same movie as OME-TIFF."""
    folder = tmp_path_factory.mktemp("lab") / "data"
    folder.mkdir()
    movie = folder / "movie.ome.tif"
    write_demo_movie(movie, seed=2, n_fovs=FOVS, n_frames=FRAMES, size=SIZE, n_cells=2)
    series = [tifffile.imread(movie, series=fov) for fov in range(FOVS)]
    pixels = np.stack(series, axis=1)[:, :, None]
    stamps = [1000.0 * 600 * frame for frame in range(FRAMES) for _ in range(FOVS)]
    for name in ("experiment.nd2", "sample.nd2"):
        write_nd2(folder / name, pixels, times_ms=stamps, names=["Phase", "GFP"])
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {"PYAMA_ALLOWED_PATHS": str(folder), "PYAMA_MAX_JOBS": "2"}


@pytest.fixture
def server(tmp_path: Path, lab: Path, free_port: int) -> Iterator[Server]:
    with Server(tmp_path / "data", free_port, environment=environment(lab)) as running:
        yield running


def here(text: str, server: Server, lab: Path) -> str:
    """Return an example with the address and folder of this test."""
    address = text.replace("localhost:8000", f"127.0.0.1:{server.port}")
    return re.sub(r"/data(?=[/\"])", str(lab), address)


def test_the_users_python_client_works_as_it_stands(server: Server, lab: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", here(PYTHON, server, lab)],
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    assert lines[-2] == "Progress: 100.0%"
    results = json.loads(lines[-1])
    assert len(results["traces"]) == FOVS
    header = Path(results["traces"][0]).read_text().splitlines()[0]
    assert header.endswith("area_ch_0,aspect_ratio_ch_0,intensity_total_ch_1")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_users_curl_examples_work_as_they_stand(server: Server, lab: Path) -> None:
    answers = []
    for command in here(CURL, server, lab).strip().split("\n\n"):
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=30)
        answers.append(json.loads(done.stdout))
    metadata, listing, models = answers
    assert (metadata["n_fovs"], metadata["file_type"]) == (FOVS, "nd2")
    assert metadata["timepoints"] == [600_000.0 * frame for frame in range(FRAMES)]
    assert {"experiment.nd2", "sample.nd2"} <= {item["name"] for item in listing["items"]}
    assert "maturation" in {item["name"] for item in models["models"]}


def test_an_nd2_gives_the_same_cells_as_the_ome_tiff_it_was_made_of(
    server: Server, lab: Path
) -> None:
    tables = []
    for name in ("experiment.nd2", "movie.ome.tif"):
        out = lab / f"same-{name}"
        job = start(server, lab / name, out, fov_start=3, fov_end=3)
        assert ended(server, job)["status"] == "completed"
        (path,) = out.glob("fov_003/*_traces.csv")
        rows = csv.DictReader(path.read_text().splitlines())
        tables.append([row for row in rows if row.pop("time")])
    assert tables[0] == tables[1]
    assert tables[0]


def start(server: Server, movie: Path, out: Path, **parameters: Any) -> str:
    body = {
        "microscopy_path": str(movie),
        "output_dir": str(out),
        "channels": {
            "phase": {"channel": 0, "features": ["area"]},
            "fluorescence": [{"channel": 1, "features": ["intensity_total"]}],
        },
        "parameters": {"border_margin": 5, "n_workers": 1, **parameters},
    }
    answer = httpx.post(f"{server.url}{API}/workflow/start", json=body, timeout=30)
    return str(answer.raise_for_status().json()["job_id"])


def status_of(server: Server, job: str) -> dict[str, Any]:
    found = httpx.get(f"{server.url}{API}/workflow/status/{job}", timeout=30)
    return dict(found.raise_for_status().json())


def ended(server: Server, job: str) -> dict[str, Any]:
    until(
        lambda: status_of(server, job)["status"] in {"completed", "failed", "cancelled"},
        seconds=120,
        what="the end of the workflow",
    )
    return status_of(server, job)


def marks(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.glob("fov_*/finished.json")}


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_workflow_goes_on_where_the_server_was_killed(
    server: Server, lab: Path, way: str
) -> None:
    out = lab / f"out-{way}"
    job = start(server, lab / "movie.ome.tif", out)
    until(lambda: len(marks(out)) >= 3, seconds=60)
    getattr(server, way)()
    finished = marks(out)
    assert 3 <= len(finished) < FOVS
    seen = {
        path: path.stat().st_mtime_ns for mark in finished for path in Path(mark).parent.iterdir()
    }
    server.start()
    last = ended(server, job)
    assert last["status"] == "completed", last
    # What was finished has not been touched again, and the rest is there and whole.
    assert {path: path.stat().st_mtime_ns for path in seen} == seen
    whole = lab / f"whole-{way}"
    assert ended(server, start(server, lab / "movie.ome.tif", whole))["status"] == "completed"
    for fov in range(FOVS):
        names = sorted(path.name for path in (whole / f"fov_{fov:03d}").iterdir())
        assert sorted(path.name for path in (out / f"fov_{fov:03d}").iterdir()) == names
        for name in names:
            if name.endswith((".npy", ".csv")):
                expected = (whole / f"fov_{fov:03d}" / name).read_bytes()
                assert (out / f"fov_{fov:03d}" / name).read_bytes() == expected, name


def test_cancel_ends_a_workflow_within_two_seconds(server: Server, lab: Path) -> None:
    job = start(server, lab / "movie.ome.tif", lab / "cancelled", n_workers=2)
    until(lambda: status_of(server, job)["progress"]["percentage"] > 0, seconds=60)
    began = time.monotonic()
    httpx.post(f"{server.url}{API}/workflow/cancel/{job}").raise_for_status()
    until(lambda: status_of(server, job)["status"] == "cancelled", what="the cancelled state")
    took = time.monotonic() - began
    print(f"cancelled after {took:.2f} s")
    assert not list((lab / "cancelled").rglob("*.part"))


def test_microscopy_alone_serves_its_whole_api(tmp_path: Path, lab: Path, free_port: int) -> None:

    other = ports.free_port()
    with Server(
        tmp_path / "data", free_port, "--also", f"microscopy={other}",
        environment={**environment(lab), "BENCHWIRE_UI": "true"},
    ):  # fmt: skip
        alone = f"http://127.0.0.1:{other}"
        for path, key in (
            ("/health", "status"), ("/jobs", "jobs"), ("/metrics", "jobs"),
            ("/api/v1/health", "status"), ("/api/v1/analysis/models", "models"),
            ("/api/v1/processing/features", "phase_features"),
        ):  # fmt: skip
            answer = httpx.get(f"{alone}{path}", timeout=10)
            assert answer.status_code == 200, path
            assert key in answer.json()
        page = httpx.get(f"{alone}/", headers={"accept": "text/html"})
        assert page.headers["location"].endswith("/microscopy")
        for path in ("/ui/microscopy", "/docs"):
            assert httpx.get(f"{alone}{path}", timeout=30).status_code == 200
        missing = httpx.get(f"{alone}/nothing")
        assert missing.status_code == 404
        assert missing.json()["success"] is False
