"""The first steps of each domain's page work, block by block, against one server."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchwire.domains.microscopy.simulation import write_demo_movie
from tests.docs.conftest import blocks
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.paced,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    with Server(
        tmp_path_factory.mktemp("first-steps") / "data", port,
        "--emulate", "potentiostat=1", "--emulate", "powermeter=1",
    ) as running:  # fmt: skip
        until(lambda: httpx.get(f"{running.url}/devices").json(), seconds=20)
        until(
            lambda: httpx.get(f"{running.url}/api/data/latest").status_code == 200, seconds=20
        )  # fmt: skip
        yield running


def type_all(server: Server, folder: Path, page: str, **instead: str) -> str:
    """Type the blocks of a page's first steps in one terminal; return what was answered."""
    steps = [block.text for block in blocks(page, "First steps") if block.language == "bash"]
    assert steps
    script = "\n".join(steps).replace("http://127.0.0.1:8000", server.url)
    for old, new in instead.items():
        assert f"\n{old}=" in f"\n{script}"
        script = "\n".join(
            f"{old}={new}" if line.startswith(f"{old}=") else line for line in script.splitlines()
        )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log}"
    return done.stdout


def test_potentiostat(server: Server, tmp_path: Path) -> None:
    told = type_all(server, tmp_path, "domains/potentiostat.md")
    assert '"run_id":"rest-1"' in told
    until(
        lambda: httpx.get(f"{server.url}/jobs/rest-1").json()["status"] == "done", seconds=30
    )  # fmt: skip


def test_power_meter(server: Server, tmp_path: Path) -> None:
    told = type_all(server, tmp_path, "domains/powermeter.md")
    assert '"data_retention_minutes":43200' in told
    assert (tmp_path / "hour.csv").read_text("utf-8").count("\n") > 1


def test_plates(server: Server, tmp_path: Path) -> None:
    told = type_all(server, tmp_path, "domains/plates.md")
    assert "Score created successfully" in told
    plate = httpx.get(f"{server.url}/api/v1/plates/SCREEN1").json()["data"]
    assert plate["current_location"]["id"] == 1


def test_battery(server: Server, tmp_path: Path) -> None:
    told = type_all(server, tmp_path, "domains/battery.md")
    assert '"total_available":2' in told


def test_microscopy_and_traces(server: Server, tmp_path: Path) -> None:
    movie, output = tmp_path / "cells.ome.tif", tmp_path / "results"
    write_demo_movie(movie, n_fovs=1, n_frames=32, size=320, n_cells=4)
    told = type_all(
        server, tmp_path, "domains/microscopy.md", MOVIE=str(movie), OUTPUT=str(output)
    )  # fmt: skip
    assert '"suggested_channels"' in told
    until(lambda: (output / "fov_000/finished.json").exists(), seconds=90, what="the workflow")
    traces = tmp_path / "traces.csv"
    traces.write_text(
        "time,fov,cell,value\n"
        + "".join(f"{hour},0,1,{100 * (1 - 2.718 ** (-0.3 * hour)):.3f}\n" for hour in range(20)),
        "utf-8",
    )
    told = type_all(server, tmp_path, "domains/traces.md", CSV=str(traces))
    assert re.search(r'"successful_fits": ?1', told), told
