"""Readers beside the server, as processes of their own: what they answer, and what they outlive."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.web.relay import passed_on
from tests.domains.potentiostat.conftest import FACTORY as POTENTIOSTATS
from tests.domains.powermeter.conftest import FACTORY as METERS
from tests.support.browser import CHROMIUM, watched_page
from tests.support.ports import free_ports
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = pytest.mark.paced

AWAY = "does not answer"


class Reader(Server):
    """``benchwire reader`` on a data folder."""

    command = "reader"


class Bench:
    """A server, two readers, and instruments that outlive all of them."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        self.potentiostats = EmulatorProcess(POTENTIOSTATS, ["p1"], folder / "potentiostats")
        self.meters = EmulatorProcess(METERS, ["m1"], folder / "meters")
        self.environment = {
            "BENCHWIRE_POTENTIOSTAT_PORTS": _paths(self.potentiostats),
            "BENCHWIRE_POWERMETER_PORTS": _paths(self.meters),
        }
        self.database_url = database_url
        self.data_dir = folder / "data"
        self.ports = free_ports(4)
        self.owner = self.server(Server, 0)
        self.readers = [self.server(Reader, 1), self.server(Reader, 2)]

    def server(self, kind: type[Server], number: int) -> Server:
        return kind(
            self.data_dir,
            self.ports[number],
            environment=self.environment,
            database_url=self.database_url,
        )

    @property
    def all(self) -> list[Server]:
        return [self.owner, *self.readers]

    def close(self) -> None:
        for server in reversed(self.all):
            server.__exit__(None, None, None)
        self.potentiostats.close()
        self.meters.close()


def _paths(emulators: EmulatorProcess) -> str:
    return json.dumps([str(path) for path in emulators.paths.values()])


@pytest.fixture
def bench(tmp_path: Path, database_url: str | None) -> Iterator[Bench]:
    made = Bench(tmp_path, database_url)
    yield made
    made.close()


def get(server: Server, path: str, **options: Any) -> httpx.Response:
    return httpx.get(f"{server.url}{path}", timeout=30, **options)


def post(server: Server, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=30)


def start_run(server: Server, seconds: float) -> str:
    body = {
        "devices": ["slot01"], "modes": ["CA"],
        "params_by_mode": {"CA": {"potential": 0.5, "duration": seconds}},
        "experiment_name": "Readers", "client_datetime": "2025-11-03T10:15:00",
        "make_plot": False,
    }  # fmt: skip
    return str(post(server, "/jobs", body).raise_for_status().json()["run_id"])


def state_of(server: Server, run_id: str) -> str:
    return str(get(server, f"/jobs/{run_id}").raise_for_status().json()["status"])


def event(server: Server, path: str, name: str) -> str:
    """Return the next event of that name in a stream."""
    with httpx.stream("GET", f"{server.url}{path}", timeout=30) as stream:
        lines = stream.iter_lines()
        for line in lines:
            if line == f"event: {name}":
                return next(lines)
    raise AssertionError(f"no {name} came")


def add_plate(server: Server, barcode: str) -> httpx.Response:
    return post(server, "/api/v1/plates", {"plate": {"barcode": barcode, "name": "Readers"}})


def has_plate(server: Server, barcode: str) -> bool:
    return get(server, f"/api/v1/plates/{barcode}").status_code == 200


def test_work_is_the_same_at_the_server_and_at_readers(bench: Bench) -> None:
    run_id = start_run(bench.owner, 300)
    until(lambda: get(bench.owner, f"/runs/{run_id}/files").json()["files"], seconds=30)
    for server in bench.all:
        assert state_of(server, run_id) == "running"
        assert run_id in [job["run_id"] for job in get(server, "/jobs").json()]
        assert run_id in [job["id"] for job in get(server, "/work").json()["jobs"]]
        assert "slot01" in event(server, f"/runs/{run_id}/live", "curves")
    # Asked of one reader, seen in the other.
    assert post(bench.readers[0], f"/jobs/{run_id}/cancel", {}).status_code == 202
    until(lambda: state_of(bench.readers[1], run_id) == "cancelled", seconds=30)
    files = get(bench.owner, f"/runs/{run_id}/files").json()["files"]
    assert len(files) == 1
    contents = {
        get(server, f"/runs/{run_id}/file", params={"path": files[0]}).content
        for server in bench.all
    }
    assert len(contents) == 1

    assert add_plate(bench.readers[0], "P-1").status_code == 201
    assert all(has_plate(server, "P-1") for server in bench.all)
    until(lambda: get(bench.owner, "/api/data/latest").status_code == 200)
    for server in bench.all:
        assert get(server, "/api/data/latest").json()["age_s"] < 5
        assert "voltage" in event(server, "/api/live", "latest")
        # A refusal is the server's own word.
        assert get(server, "/api/v1/plates/P-2").json()["error"] == "Record not found"
        assert get(server, "/bms/nobody/latest").status_code == 404


def test_where_a_client_is_a_reader_says_and_not_the_client() -> None:
    told = [(b"x-forwarded-for", b"10.0.0.9"), (b"forwarded", b"for=10.0.0.9"), (b"accept", b"*/*")]
    scope = {"type": "http", "method": "GET", "headers": told, "client": ("192.168.1.7", 5000)}
    assert passed_on(Request(scope)) == [("accept", "*/*"), ("x-forwarded-for", "192.168.1.7")]


def test_readers_and_server_end_and_come_back_in_any_order(bench: Bench) -> None:
    run_id = start_run(bench.owner, 300)
    assert add_plate(bench.owner, "P-1").status_code == 201
    first, second = bench.readers
    first.kill()
    assert_answers_what_is_now(bench.owner, run_id)
    assert_answers_what_is_now(second, run_id)
    first.start()
    assert_answers_what_is_now(first, run_id)

    bench.owner.kill()
    for server in bench.readers:
        assert_answers_what_is_stored(server, run_id)
    second.kill()
    second.start()
    assert_answers_what_is_stored(second, run_id)

    bench.owner = bench.server(Server, 3)
    for server in bench.readers:
        assert_answers_what_is_now(server, run_id)
        assert state_of(server, run_id) == "failed"
        assert add_plate(server, f"P-{server.port}").status_code == 201
    # A server that stands still is not waited for.
    bench.owner.signal(signal.SIGSTOP)
    try:
        # The first to ask is not yet known to ask in vain.
        assert get(first, "/devices").status_code == 503
        assert has_plate(first, "P-1")
    finally:
        bench.owner.signal(signal.SIGCONT)
    until(lambda: get(first, "/devices").status_code == 200)


def assert_answers_what_is_now(server: Server, run_id: str) -> None:
    answer = get(server, f"/jobs/{run_id}")
    assert answer.status_code == 200
    assert "Benchwire-Notice" not in answer.headers
    assert get(server, "/devices").json()[0]["slot"] == "slot01"


def assert_answers_what_is_stored(server: Server, run_id: str) -> None:
    assert has_plate(server, "P-1")
    for path in (f"/jobs/{run_id}", "/jobs", f"/work/{run_id}", "/search?q=Readers"):
        answer = get(server, path)
        assert answer.status_code == 200, answer.text
        assert AWAY in answer.headers["Benchwire-Notice"]
    assert AWAY in get(server, "/notices").json()["notices"][0]["text"]
    assert get(server, "/reader").json()["owner_answers"] is False
    # What only the server knows or does is refused, in each API's own shape.
    flat = assert_refused(post(server, "/jobs", {}))
    assert flat["code"] == "server.owner_away"
    assert set(flat) == {"code", "message", "hint"}
    assert_refused(get(server, "/devices"))
    meter = assert_refused(get(server, "/api/data/latest"))
    assert AWAY in meter["error"]
    assert meter["message"]
    plate = assert_refused(add_plate(server, "P-2"))
    assert AWAY in plate["error"]
    workflow = assert_refused(post(server, "/api/v1/processing/workflow/start", {}))
    assert workflow["success"] is False
    assert workflow["error_code"] == "UNAVAILABLE"
    assert AWAY in assert_refused(get(server, "/bms/devices"))["detail"]
    page = get(server, "/ui/", headers={"Accept": "text/html"})
    assert page.status_code == 503
    assert AWAY in page.text


def assert_refused(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"]
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_schema_of_another_version_is_refused(bench: Bench) -> None:
    assert add_plate(bench.owner, "P-1").status_code == 201
    first, second = bench.readers
    second.stop()
    for version, who in (("9999", "in the version of the server"), ("0001", "server in this")):
        set_schema(bench.data_dir, version)
        until(lambda version=version: version in str(get(first, "/reader").json()["hindrance"]))
        assert get(first, "/reader").json()["reads"] is False
        # The server itself still answers.
        assert has_plate(first, "P-1")
        done = subprocess.run(
            [
                sys.executable, "-m", "benchwire", "reader", "--data-dir", str(bench.data_dir),
                "--port", str(second.port),
            ],
            env=second.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert version in done.stderr
        assert who in done.stderr
        assert "Traceback" not in done.stderr
    bench.owner.kill()
    assert "schema 0001" in get(first, "/api/v1/plates").json()["error"]


def set_schema(data_dir: Path, version: str) -> None:
    with sqlite3.connect(data_dir / "benchwire.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()


def test_reader_wants_a_database_to_read(tmp_path: Path, free_port: int) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "benchwire", "reader", "--data-dir", str(tmp_path),
            "--port", str(free_port),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Start the server there first" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_dashboard_works_through_a_reader(tmp_path: Path, browser: Any) -> None:
    owner_port, reader_port = free_ports(2)
    environment = {"BENCHWIRE_UI": "true", "BENCHWIRE_API_KEY": "right"}
    data_dir = tmp_path / "data"
    options = {"environment": environment}
    with (
        Server(data_dir, owner_port, **options) as owner,
        Reader(data_dir, reader_port, **options) as reader,
    ):
        for server in (owner, reader):
            assert get(server, "/devices").status_code == 401
            assert get(server, "/devices", headers={"X-API-Key": "wrong"}).status_code == 401
            assert get(server, "/devices", headers={"X-API-Key": "right"}).status_code == 200
        with watched_page(browser, reader.url) as page:
            page.goto(f"{reader.url}/ui/")
            page.get_by_label("API key of this server").fill("right")
            page.get_by_role("button", name="Open the dashboard").click()
            page.goto(f"{reader.url}/ui/plates")
            page.wait_for_function("window.socket && window.socket.connected")
