"""Data folders of released versions: this version starts on them, has all of it, and works on."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.server import Server
from tests.support.waiting import until
from tests.upgrades.placing import DATABASE, PLACE, Old, extract, versions

OPTIONS = ("--emulate", "potentiostat=2", "--emulate", "powermeter=1")
pytestmark = [pytest.mark.slow, pytest.mark.paced]


class ServerThen(Server):
    """The server on a clock that goes on from when the folder was made."""

    module = "tests.upgrades.then"


def serve(old: Old, port: int) -> Server:
    return ServerThen(
        old.data, port, *OPTIONS, "--battery-data", str(old.data / "recordings"),
        environment={"UPGRADE_THEN": old.manifest["made_at"], "TZ": "UTC"},
    )  # fmt: skip


@pytest.fixture(params=versions())
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    return extract(request.param, tmp_path)


@pytest.fixture
def server(old: Old, free_port: int) -> Iterator[Server]:
    with serve(old, free_port) as running:
        yield running


class Later:
    """A later server, held to what an earlier one said."""

    def __init__(self, server: Server, old: Old) -> None:
        self.server = server
        self.old = old

    def ask(self, path: str, query: dict[str, Any]) -> httpx.Response:
        answer = httpx.get(f"{self.server.url}{path}", params=self.old.here(query), timeout=60)
        assert answer.status_code == 200, f"{path}: {answer.text[:300]}\n{self.server.log}"
        return answer

    def wait_until_whole(self) -> None:
        def is_whole() -> bool:
            url = self.server.url
            devices = httpx.get(f"{url}/bess/overview", timeout=60).json()["devices"]
            return len(httpx.get(f"{url}/devices", timeout=60).json()) == 2 and all(
                device["progress"] == 1 for device in devices
            )

        until(is_whole, seconds=60, what="the server's start")

    def check_lists(self) -> None:
        for listed in self.old.manifest["lists"]:
            body = self.ask(listed["path"], listed["query"]).json()
            for name in listed["within"]:
                body = body[name] if isinstance(body, dict) else body
            there = {item[listed["key"]] for item in body}
            assert there.issuperset(self.old.here(listed["ids"])), listed["path"]

    def check_answers(self) -> None:
        for noted in self.old.manifest["answers"]:
            answer = self.ask(noted["path"], noted["query"]).json()
            assert_says(answer, self.old.here(noted["body"], self.server.url), noted["path"])

    def check_downloads(self) -> None:
        for noted in self.old.manifest["downloads"]:
            content = self.ask(noted["path"], noted["query"]).content
            content = content.replace(str(self.old.data).encode(), PLACE.encode())
            if noted["grows"]:
                content = content[: noted["size"]]
            assert hashlib.sha256(content).hexdigest() == noted["sha256"], noted["path"]

    def check_unfinished(self) -> None:
        """What was cut short has ended by now: runs for good, computing is done after all."""
        left = self.old.manifest["unfinished"]
        for run in left["runs"]:
            status = self.ask(f"/jobs/{run}", {}).json()
            assert status["status"] == "failed"
            assert status["slots"][0]["message"] == "server restarted"
        for key, family in (
            ("workflows", "processing/workflow"),
            ("fittings", "analysis/fitting"),
        ):
            for job in left[key]:
                path = f"/api/v1/{family}/status/{job}"
                until(
                    lambda path=path: self.ask(path, {}).json()["status"] == "completed",
                    seconds=60,
                    what=f"the end of {path}",
                )

    def check_all(self) -> None:
        self.wait_until_whole()
        self.check_lists()
        self.check_answers()
        self.check_downloads()
        self.check_unfinished()


def assert_says(answer: Any, noted: Any, where: str) -> None:
    """What was noted is said as before; there may be more keys by now."""
    if isinstance(noted, dict):
        assert isinstance(answer, dict), where
        for key, value in noted.items():
            assert key in answer, f"{where}: {key} is not there any more"
            assert_says(answer[key], value, f"{where} {key}")
    elif isinstance(noted, list):
        assert isinstance(answer, list), where
        assert len(answer) == len(noted), where
        for place, (one, other) in enumerate(zip(answer, noted, strict=True)):
            assert_says(one, other, f"{where} {place}")
    else:
        assert answer == noted, where


def work(server: Server) -> str:
    """New work in the old folder: a run, a plate, a reading; the run's id."""

    def post(path: str, body: Any) -> Any:
        return httpx.post(f"{server.url}{path}", json=body, timeout=30).raise_for_status().json()

    run = post(
        "/jobs",
        {
            "devices": ["slot01"], "modes": ["CA"], "experiment_name": "Upgrade",
            "params_by_mode": {"CA": {"potential": 0.1, "duration": 0.2}},
            "client_datetime": "2027-01-01T00:00:00", "make_plot": False,
        },
    )["run_id"]  # fmt: skip
    url = f"{server.url}/jobs/{run}"
    until(lambda: httpx.get(url).json()["status"] == "done", what="the new run")
    post("/api/v1/plates", {"plate": {"name": "After the upgrade"}})
    post("/bms/rack/readings", {"timestamp": "2027-01-01T00:00:00Z", "soc": 50.0})
    before = httpx.get(f"{server.url}/api/status").json()["data_count"]
    until(
        lambda: httpx.get(f"{server.url}/api/status").json()["data_count"] > before,
        what="a new reading of the meter",
    )
    return str(run)


def test_everything_is_there_and_new_work_is_done(server: Server, old: Old) -> None:
    later = Later(server, old)
    later.check_all()
    run = work(server)
    assert server.stop() == 0
    server.start()
    assert httpx.get(f"{server.url}/jobs/{run}", timeout=30).json()["status"] == "done"
    later.wait_until_whole()
    later.check_lists()
    later.check_downloads()
    assert not list(old.data.glob(f"{DATABASE}.damaged-*"))


def test_damaged_database_is_set_aside_and_runs_are_found_by_their_folders(
    old: Old, free_port: int
) -> None:
    path = old.data / DATABASE
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, 2 * len(content) // 3):
        content[place] ^= 0x5A
    path.write_bytes(content)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    with serve(old, free_port) as server:
        kept = list(old.data.glob(f"{DATABASE}.damaged-*"))
        assert [item.read_bytes() for item in kept] == [bytes(content)]
        assert "damaged" in server.log
        assert kept[0].name in server.log
        (runs,) = (item for item in old.manifest["lists"] if item["path"] == "/jobs")
        Later(server, old).wait_until_whole()
        there = {run["run_id"] for run in httpx.get(f"{server.url}/jobs", timeout=30).json()}
        assert there.issuperset(runs["ids"])
        work(server)
