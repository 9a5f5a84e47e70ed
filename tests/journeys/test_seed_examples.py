"""The curl examples of the potentiostat's users, typed as they stand: port 8000 and all."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.domains.plates.conftest import picture
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.waiting import until

KEY = "change-me"
START = """curl -X POST http://localhost:8000/jobs \\
  -H "Content-Type: application/json" -H "X-API-Key: $BOX_API_KEY" \\
  -d '{
        "devices":"all",
        "modes":["CV"],
        "params_by_mode":{
          "CV":{"start":-0.2,"vertex1":0.8,"vertex2":-0.2,"end":0.0,"scan_rate":0.1,"cycles":3}
        },
        "experiment_name":"Demo",
        "client_datetime":"2025-11-03T12:00:00",
        "make_plot":true
      }'"""
NAS = """curl -X POST http://localhost:8000/nas/setup \\
  -H "Content-Type: application/json" -H "X-API-Key: $BOX_API_KEY" \\
  -d '{
        "host":"127.0.0.1:9", "share":"experiments",
        "username":"lab", "password":"***",
        "base_subdir":"projectA/line2", "retention_days": 14
      }'"""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8000))
        except OSError:
            pytest.skip("port 8000 is in use")
    folder = tmp_path_factory.mktemp("seed")
    environment = {
        "BOX_API_KEY": KEY,
        "BOX_ID": "lab-box-01",
        "RUNS_ROOT": str(folder / "box/runs"),
        "NAS_CONFIG_PATH": str(folder / "box/nas_smb.json"),
    }
    with Server(
        folder / "data", 8000, "--emulate", "potentiostat=2", environment=environment
    ) as running:
        yield running


def shell(command: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "BOX_API_KEY": KEY},
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=30,
    )
    return done.stdout.decode()


def ask(command: str) -> object:
    return json.loads(shell(command))


HEADER = '-H "X-API-Key: $BOX_API_KEY"'


def test_devices_are_listed(server: Server) -> None:
    devices = ask(f"curl {HEADER} http://localhost:8000/devices")
    assert [device["slot"] for device in devices] == ["slot01", "slot02"]
    assert devices[0].keys() == {"slot", "port", "sn"}


def test_modes_are_listed(server: Server) -> None:
    assert "CV" in ask(f"curl {HEADER} http://localhost:8000/modes")


def test_box_is_named(server: Server) -> None:
    assert ask(f"curl {HEADER} http://localhost:8000/health")["box_id"] == "lab-box-01"


def test_run_is_started_followed_downloaded_and_cancelled(server: Server, tmp_path: Path) -> None:
    run = ask(START)
    assert run["status"] == "running"
    assert re.fullmatch(r"\d{8}T\d{6}_[0-9a-f]{6}", run["run_id"])
    at = f"http://localhost:8000/jobs/{run['run_id']}"
    until(lambda: ask(f"curl {HEADER} {at}")["progress_pct"] > 0, seconds=20)
    busy = ask(START)
    assert busy["code"] == "jobs.slots_busy"
    answer = ask(f"curl -X POST {HEADER} {at}/cancel")
    assert answer == {"run_id": run["run_id"], "status": "cancelled"}
    until(lambda: ask(f"curl {HEADER} {at}")["status"] == "cancelled", seconds=10)
    shell(f"curl {HEADER} -L -o run.zip http://localhost:8000/runs/{run['run_id']}/zip", tmp_path)
    with zipfile.ZipFile(io.BytesIO((tmp_path / "run.zip").read_bytes())) as archive:
        names = archive.namelist()
    stem = "Demo_2025-11-03_12-00-00_slot01_CV.csv"
    assert f"Wells/slot01/CV/{stem}" in names
    folder = server.data_dir.parent / "box/runs/Demo/2025-11-03T12_00_00"
    assert (folder / "Wells/slot02/CV").is_dir()


def test_nas_is_configured_and_checked(server: Server) -> None:
    answer = ask(NAS)
    assert answer["ok"] is False
    health = ask(f"curl {HEADER} http://localhost:8000/nas/health")
    assert health["ok"] is False
    assert health["last_checked"]
    assert oct((server.data_dir.parent / "box/.smbcredentials_nas").stat().st_mode)[-3:] == "600"


def test_upload_of_an_unknown_run_is_refused(server: Server) -> None:
    answer = ask(f"curl -X POST {HEADER} http://localhost:8000/runs/nope/upload")
    assert answer["code"] == "runs.not_found"


def test_without_the_key_nothing_is_told(server: Server) -> None:
    assert ask("curl http://localhost:8000/devices")["code"] == "auth.invalid_api_key"


METER = "http://localhost:5000"
CHANGE = """curl -X POST http://localhost:5000/api/config \\
  -H "Content-Type: application/json" \\
  -d '{"port": "%s", "data_retention_minutes": 30, "polling_interval": 2.0}'"""


@pytest.fixture(scope="module")
def meter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The power meters alone on the port their users know."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 5000))
            probe.listen()
        except OSError:
            pytest.skip("port 5000 is in use")
    main = free_port()
    folder = tmp_path_factory.mktemp("meter")
    with Server(
        folder / "data", main, "--emulate", "powermeter=1", "--also", "powermeter=5000",
        environment={"BENCHWIRE_POWERMETER_POLLING_INTERVAL": "0.2"},
    ) as running:  # fmt: skip
        until(lambda: ask(f"curl {METER}/api/status")["data_count"] > 5, seconds=20)
        yield running


@pytest.mark.usefixtures("meter")
def test_a_period_of_the_meter_is_asked_for() -> None:
    answer = ask(f"curl {METER}/api/data/5m")
    assert answer["period"] == "5m"
    assert answer["count"] == len(answer["data"]) > 5
    assert answer["data"][0].keys() >= {"timestamp", "voltage", "current", "power"}
    assert ask(f"curl {METER}/api/data/latest")["voltage"] > 4


@pytest.mark.usefixtures("meter")
def test_the_meters_statistics_and_state_are_asked_for() -> None:
    statistics = ask(f"curl {METER}/api/stats/1h")
    assert statistics["sample_count"] > 5
    assert statistics["voltage"].keys() == {"min", "max", "avg"}
    assert ask(f"curl {METER}/api/status")["running"] is True


def test_the_meters_configuration_is_shown_and_changed(meter: Server) -> None:
    config = ask(f"curl {METER}/api/config")
    changed = ask(CHANGE % config["port"])["config"]
    assert (changed["data_retention_minutes"], changed["polling_interval"]) == (30, 2.0)
    refused = ask(CHANGE % "/dev/ttyACM1")
    assert "/dev/ttyACM1" in refused["error"]
    assert ask(f"curl {METER}/api/config") == changed
    assert meter.process is not None
    assert meter.process.poll() is None


INVENTORY = "http://localhost:3000/api/v1"


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The plates alone on the port their users know."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 3000))
            probe.listen()
        except OSError:
            pytest.skip("port 3000 is in use")
    main = free_port()
    folder = tmp_path_factory.mktemp("plates")
    with Server(folder / "data", main, "--also", "plates=3000") as running:
        yield running


@pytest.mark.usefixtures("inventory")
def test_a_stock_solution_is_made_and_found() -> None:
    made = ask(f"""curl -X POST {INVENTORY}/stock_solutions \\
  -H "Content-Type: application/json" \\
  -d '{{"stock_solution": {{"name": "Buffer A", "description": "Tris-HCl pH 7.4"}}}}'""")
    assert made["name"] == "Buffer A"
    assert ask(f'curl "{INVENTORY}/stock_solutions?search=buffer"')[0]["id"] == made["id"]
    assert ask(f'curl "{INVENTORY}/chemicals/search?q=tris"') == []


@pytest.mark.usefixtures("inventory")
def test_a_plate_is_made_moved_imaged_and_its_place_cleared(tmp_path: Path) -> None:
    plate = ask(f"""curl -X POST {INVENTORY}/plates \\
  -H "Content-Type: application/json" \\
  -d '{{"plate": {{"barcode": "TEST001"}}}}'""")["data"]
    assert plate["wells_count"] == 96
    place = ask(f"""curl -X POST {INVENTORY}/locations \\
  -H "Content-Type: application/json" \\
  -d '{{"location": {{"carousel_position": 1, "hotel_position": 1}}, "location_type": "carousel"}}'
""")["data"]
    assert place["id"] == 1
    moved = ask(f"""curl -X POST {INVENTORY}/plates/TEST001/move_to_location \\
  -H "Content-Type: application/json" \\
  -d '{{"location_id": 1, "moved_by": "api_test"}}'""")
    assert moved["message"] == "Plate moved successfully"
    assert ask(f"curl {INVENTORY}/locations/grid")["data"]["grid"][0][0]["occupied"] is True
    assert ask(f"curl {INVENTORY}/stats")["data"]["overview"]["total_wells"] == 96
    (tmp_path / "image.png").write_bytes(picture("PNG"))
    well = plate["wells"][0]["id"]
    image = ask(f"""curl -X POST {INVENTORY}/wells/{well}/images \\
  -F "image[file]=@{tmp_path}/image.png" \\
  -F "image[pixel_size_x_mm]=0.1" \\
  -F "image[pixel_size_y_mm]=0.1" \\
  -F "image[reference_x_mm]=0" \\
  -F "image[reference_y_mm]=0" \\
  -F "image[reference_z_mm]=5.0" \\
  -F "image[description]=Crystal formation at 24 hours\"""")["data"]
    assert image["pixel_width"] == 1000
    (listed,) = ask(f"curl {INVENTORY}/wells/{well}/images")["data"]
    assert listed["description"] == "Crystal formation at 24 hours"
    cleared = ask(f"""curl -X POST "{INVENTORY}/locations/1/unassign_all_plates" \\
  -H "Content-Type: application/json\"""")
    assert cleared["data"]["plates_unassigned"] == [{"barcode": "TEST001", "status": "success"}]
