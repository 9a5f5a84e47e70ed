"""What the pages for people who come from another server promise."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.docs.conftest import DOCS, blocks
from tests.docs.test_complete import settings_classes
from tests.support.ports import free_ports
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.paced]
KEY = "a key of the lab"
PORTS = {"powermeter": 5000, "plates": 3000, "battery": 8002}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return dict(zip(["whole", *PORTS], free_ports(4), strict=True))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Server]:
    also = [f"--also={name}={ports[name]}" for name in PORTS]
    with Server(
        tmp_path_factory.mktemp("migration") / "data",
        ports["whole"],
        "--emulate",
        "powermeter=1",
        *also,
        environment={"BENCHWIRE_UI": "true"},
    ) as running:
        until(
            lambda: httpx.get(f"{running.url}/api/data/latest").status_code == 200, seconds=20
        )  # fmt: skip
        yield running


def test_old_names_in_the_environment_are_obeyed() -> None:
    known = set()
    for kind in settings_classes():
        prefix = kind.model_config.get("env_prefix") or ""
        for name, field in kind.model_fields.items():
            choices = getattr(field.validation_alias, "choices", [field.validation_alias])
            known |= {str(choice) for choice in choices if choice} | {f"{prefix}{name}".upper()}
    # What the pages name only as what was there before.
    known |= {"DATA_BASE_PATH", "UVICORN_LOG_LEVEL", "CONFIG", "UPLOAD_DONE"}
    for page in DOCS.glob("migration/*.md"):
        code = " ".join(re.findall(r"`([^`]+)`", page.read_text("utf-8")))
        named = set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]\b", code))
        codes = {"FILE_NOT_FOUND", "JOB_NOT_COMPLETED"}
        assert named - known - codes == set(), page.name


@pytest.mark.parametrize(
    ("domain", "path", "page"),
    [
        ("powermeter", "/api/data/latest", "/ui/powermeter"),
        ("plates", "/api/v1/plates", "/ui/plates"),
        ("battery", "/bms/devices", "/ui/battery"),
    ],
)
def test_old_port_answers_and_shows_the_page(
    server: Server, ports: dict[str, int], domain: str, path: str, page: str
) -> None:
    old = f"http://127.0.0.1:{ports[domain]}"
    assert httpx.get(f"{old}{path}").status_code == 200
    browser = httpx.get(f"{old}/", headers={"Accept": "text/html"})
    assert browser.headers["location"].endswith(page)


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/devices", {"code", "message", "hint"}),
        ("/api/status", {"error", "message", "code"}),
        ("/api/v1/processing/features", {"success", "error", "error_code"}),
        ("/api/v1/analysis/models", {"success", "error", "error_code"}),
        ("/api/v1/plates", {"error", "message"}),
        ("/bms/devices", {"detail"}),
    ],
)
def test_refused_key_has_the_shape_of_the_api(
    tmp_path_factory: pytest.TempPathFactory, locked: Server, path: str, keys: set[str]
) -> None:
    answer = httpx.get(f"{locked.url}{path}")
    assert (answer.status_code, set(answer.json())) == (401, keys)
    assert httpx.get(f"{locked.url}{path}", headers={"X-API-Key": KEY}).status_code == 200


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key and with the old names of the environment."""
    folder = tmp_path_factory.mktemp("locked")
    with Server(
        folder / "data", free_ports(1)[0],
        environment={
            "BOX_API_KEY": KEY, "BOX_ID": "box-7", "RUNS_ROOT": str(folder / "runs"),
            "PYAMA_ALLOWED_PATHS": str(folder),
        },
    ) as running:  # fmt: skip
        yield running


def test_box_keeps_its_name_and_pyama_its_limits(locked: Server) -> None:
    header = {"X-API-Key": KEY}
    assert httpx.get(f"{locked.url}/health", headers=header).json()["box_id"] == "box-7"
    forbidden = httpx.post(
        f"{locked.url}/api/v1/processing/load-metadata",
        json={"file_path": "/etc/nowhere.nd2"},
        headers=header,
    )
    assert (forbidden.status_code, forbidden.json()["error_code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "/jobs", '{"devices": "all", "modes": ["XX"], "params_by_mode": {"XX": {}}, '
         '"experiment_name": "x", "client_datetime": "2026"}', 422, "jobs.invalid_request"),
        ("POST", "/modes/CV/validate", '{"start": 0, "vertex1": 1, "vertex2": 0, "end": 0, '
         '"scan_rate": 1, "cycles": 1.5}', 200, "not_an_integer"),
        ("POST", "/runs/nobody/upload", None, 404, "runs.not_found"),
        ("GET", "/api/data/0s", None, 400, "error"),
        ("GET", "/api/data/9999999999h", None, 200, '"count"'),
        ("POST", "/api/config", '{"port": "/dev/null"}', 400, "no serial port"),
        ("POST", "/api/v1/processing/merge", '{"sample_yaml": "a", "input_dir": "b", '
         '"output_dir": "c"}', 400, "INVALID_PARAMETERS"),
        ("GET", "/api/v1/analysis/fitting/results/job_0", None, 404, "JOB_NOT_FOUND"),
        ("GET", "/api/v1/nothing", None, 404, "error"),
        ("GET", "/bms/nobody", None, 404, "detail"),
        ("GET", "/bms/nobody/stream?interval=0.5", None, 404, "detail"),
        ("GET", "/health", None, 200, '"status":"healthy"'),
        ("GET", "/api/v1/health", None, 200, '"status":"healthy"'),
    ],
)  # fmt: skip
def test_departures_are_as_told(
    server: Server, method: str, path: str, body: str | None, status: int, told: str
) -> None:
    answer = httpx.request(method, f"{server.url}{path}", content=body, headers=JSON)
    assert (answer.status_code, told in answer.text) == (status, True), answer.text


def test_place_of_a_plate_is_not_lost_by_a_missing_key(server: Server) -> None:
    api = f"{server.url}/api/v1"
    assert httpx.post(f"{api}/plates", json={"plate": {"barcode": "LOST"}}).status_code == 201
    answer = httpx.post(f"{api}/plates/LOST/move_to_location", json={})
    assert (answer.status_code, answer.json()["error"]) == (400, "Missing parameter")
    assert httpx.delete(f"{api}/plates/LOST").status_code == 200
    again = httpx.post(f"{api}/plates", json={"plate": {"barcode": "LOST"}})
    assert again.status_code == 201


def test_old_inventory_is_taken_along_by_the_script(
    tmp_path_factory: pytest.TempPathFactory, server: Server
) -> None:
    folder = tmp_path_factory.mktemp("old")
    with Server(folder / "old", free_ports(1)[0]) as old:
        fill(f"{old.url}/api/v1")
        script = blocks("migration/plates.md", "Take the old inventory along")[0].text
        script = script.replace("http://localhost:3000", old.url)
        script = script.replace("http://localhost:8000", server.url)
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=100
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("200"), done.stdout
        api = f"{server.url}/api/v1"
        plate = httpx.get(f"{api}/plates/SCREEN%207").json()["data"]
        assert plate["name"] == "Lysozyme"
        assert plate["current_location"]["display_name"] == "Carousel 2, Hotel 3"
        well = httpx.get(f"{api}/wells/{plate['wells'][0]['id']}").json()["data"]
        assert [item["stock_solution"] for item in well["well_contents"]] == ["PEG 8000"]
        assert (well["x_mm"], well["well_contents"][0]["amount"]) == (1.5, 2.0)


def fill(api: str) -> None:
    """Make an inventory as the old server may have it."""

    def send(path: str, body: dict[str, Any], method: str = "POST") -> Any:
        answer = httpx.request(method, f"{api}{path}", json=body)
        assert answer.status_code < 300, answer.text
        found = answer.json()
        return found.get("data", found)

    send("/locations", {"location": {"name": "Fridge"}})
    place = send("/locations", {"location": {"carousel_position": 2, "hotel_position": 3}})
    solution = send("/stock_solutions", {"stock_solution": {"name": "PEG 8000"}})
    plate = send("/plates", {"plate": {"barcode": "SCREEN 7", "name": "Lysozyme"}})
    first = plate["wells"][0]["id"]
    send(f"/wells/{first}", {"well": {"x_mm": 1.5, "y_mm": 2, "z_mm": 0}}, "PATCH")
    content = {"stock_solution_id": solution["id"], "volume_with_unit": "2 ul"}
    send(f"/wells/{first}/well_contents", {"well_content": content})
    send("/plates/SCREEN%207/move_to_location", {"location_id": place["id"]})
