"""Emulated potentiostats in a process of their own, and a server on them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from benchwire.app import create_app
from benchwire.domains.potentiostat.service import Potentiostats
from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.settings import load_server_settings
from tests.support.waiting import until

FACTORY = "benchwire.domains.potentiostat.emulator:emulated"
CA = {"potential": 0.5, "duration": 0.3}


class Bench:
    """A server on emulated instruments, as a client and as somebody with hands sees it."""

    def __init__(self, client: TestClient, emulators: EmulatorProcess, data_dir: Path) -> None:
        self.client = client
        self.emulators = emulators
        self.data_dir = data_dir
        self.runs_root = data_dir / "runs"

    @property
    def potentiostats(self) -> Potentiostats:
        """The service behind the API, for what no client may do."""
        domains = self.client.app.domains
        return next(domain.services[0] for domain in domains if domain.name == "potentiostat")

    def start(self, *modes: str, **fields: Any) -> dict[str, Any]:
        answer = self.post_job(*modes, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post_job(self, *modes: str, **fields: Any) -> Any:
        body = {
            "devices": "all",
            "modes": list(modes or ["CA"]),
            "params_by_mode": dict.fromkeys(modes or ["CA"], CA),
            "experiment_name": "Test",
            "client_datetime": "2025-11-03T10:15:00",
            "make_plot": False,
            **fields,
        }
        return self.client.post("/jobs", json=body)

    def status(self, run_id: str) -> dict[str, Any]:
        return self.client.get(f"/jobs/{run_id}").json()

    def end_of(self, run_id: str, seconds: float = 30.0) -> dict[str, Any]:
        until(
            lambda: self.status(run_id)["status"] != "running",
            seconds=seconds,
            what=f"the end of {run_id}",
        )
        return self.status(run_id)

    def true_state(self, slot: str = "slot01") -> dict[str, Any]:
        return self.emulators.control(f"p{int(slot[-2:])}", "state")

    def rows(self, run: dict[str, Any], slot: str = "slot01", mode: str = "CA") -> list[str]:
        status = next(item for item in run["slots"] if item["slot"] == slot)
        name = next(n for n in status["files"] if f"/{mode}/" in n and n.endswith(".csv"))
        answer = self.client.get(f"/runs/{run['run_id']}/file", params={"path": name})
        assert answer.status_code == 200
        return answer.text.split("\r\n")[:-1]


@contextmanager
def open_bench(
    folder: Path,
    environment: pytest.MonkeyPatch,
    *,
    count: int = 2,
    database_url: str | None = None,
    key: str | None = None,
    factory: str = FACTORY,
) -> Iterator[Bench]:
    emulators = EmulatorProcess(factory, [f"p{n}" for n in range(1, count + 1)], folder / "ports")
    paths = json.dumps([str(path) for path in emulators.paths.values()])
    environment.setenv("BENCHWIRE_POTENTIOSTAT_PORTS", paths)
    environment.setenv("BENCHWIRE_POTENTIOSTAT_RESCAN_SECONDS", "0.3")
    settings = load_server_settings(
        {"data_dir": folder / "data", "ui": False, "api_key": key, "database_url": database_url}
    )
    try:
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            yield Bench(client, emulators, folder / "data")
    finally:
        emulators.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A server of this test's own with two potentiostats."""
    with open_bench(tmp_path, monkeypatch) as opened:
        yield opened
