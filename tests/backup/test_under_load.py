"""A backup of a server at work holds one moment of it: all that was acknowledged before it began,
and of what came later nothing without what came before that."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchwire.foundation.instruments.emulation import EmulatorProcess
from tests.backup.commands import backup, restore
from tests.backup.load import Entry, Load
from tests.domains.potentiostat.conftest import FACTORY
from tests.support.server import Server
from tests.support.waiting import until

SLOTS = ["slot01", "slot02"]
pytestmark = [pytest.mark.slow, pytest.mark.paced, pytest.mark.timeout(400)]


class Restored:
    """What a server says that was made of a backup."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.runs = {run["run_id"]: run["status"] for run in self._get("/jobs", limit=10_000)}
        plates = self._get("/api/v1/plates", per_page=1000)
        self.plates = {plate["barcode"] for plate in plates["data"]}
        self.readings = {
            (device, row["soc"]) for device in ("rack0", "rack1") for row in self._rows(device)
        }

    def has(self, entry: Entry) -> bool:
        facts = entry.facts
        if entry.what == "started":
            return facts["run"] in self.runs
        if entry.what == "done":
            return self.runs.get(facts["run"]) == "done" and self._is_whole(facts["status"])
        if entry.what == "plate":
            return facts["barcode"] in self.plates
        if entry.what == "image":
            answer = httpx.get(f"{self._url}{facts['path']}", timeout=30)
            return hashlib.sha256(answer.content).hexdigest() == facts["sha256"]
        return (facts["device"], facts["soc"]) in self.readings

    def _is_whole(self, told: dict[str, Any]) -> bool:
        """A finished run says what it said before, and its table has every row."""
        run = told["run_id"]
        assert self._get(f"/jobs/{run}") == told
        (name,) = told["slots"][0]["files"]
        table = httpx.get(f"{self._url}/runs/{run}/file", params={"path": name}, timeout=30).text
        assert len(table.split("\r\n")) == int(0.3 / 0.00036 + 1e-6) + 2
        return True

    def _rows(self, device: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            page = self._get(f"/bms/{device}", batch_size=1000, skip=len(rows))
            rows += page["data"]
            if len(rows) >= page["total_available"]:
                return rows

    def _get(self, path: str, **query: Any) -> Any:
        answer = httpx.get(f"{self._url}{path}", params=query, timeout=30)
        return answer.raise_for_status().json()


def check_one_moment(entries: list[Entry], restored: Restored) -> None:
    """Nothing is there that was asked for after something was acknowledged that is not.

    But for the end of a run that was under way: what its own folder tells, and holds as a whole, is
    believed, and that was copied after the records.
    """
    missing = [entry for entry in entries if not restored.has(entry)]
    if not missing:
        return
    first = min(missing, key=lambda entry: entry.acknowledged)
    for entry in entries:
        if entry.asked > first.acknowledged and entry.what != "done":
            assert entry in missing, f"{entry} is there and {first} is not"


def test_backup_of_a_server_at_work(tmp_path: Path, free_port: int) -> None:
    data, shelf = tmp_path / "data", tmp_path / "shelf"
    emulators = EmulatorProcess(FACTORY, ["p1", "p2"], tmp_path / "ports")
    ports = json.dumps([str(path) for path in emulators.paths.values()])
    options = ("--emulate", "powermeter=1")
    environment = {"BENCHWIRE_POTENTIOSTAT_PORTS": ports}
    with Server(data, free_port, *options, environment=environment) as server:
        url = f"{server.url}/api"
        httpx.post(f"{url}/config", json={"polling_interval": 0.05}, timeout=30).raise_for_status()
        until(lambda: len(httpx.get(f"{server.url}/devices").json()) == 2, what="the instruments")
        with Load(server.url, SLOTS) as load:
            for what in ("done", "image", "reading"):
                until(lambda what=what: load.count(what) >= 5, seconds=60, what=what)
            moments, made = [], []
            for _ in range(2):
                measured = httpx.get(f"{url}/data/latest", timeout=30).json()["timestamp"]
                moments.append((load.journal.until_now(), measured))
                made.append(backup(data, shelf, TZ="UTC"))
            after = len(load.journal.until_now())
            until(lambda: len(load.journal.until_now()) > after + 20, what="work after it")
        assert not load.failures, load.failures
        server.kill()
    emulators.close()
    everything = load.journal.until_now()
    for number, (folder, (before, measured)) in enumerate(zip(made, moments, strict=True)):
        new = tmp_path / f"restored{number}"
        restore(folder, new)
        with Server(new, free_port, *options) as server:
            restored = Restored(server.url)
            lost = [entry for entry in before if not restored.has(entry)]
            assert not lost, lost[:5]
            check_one_moment(everything, restored)
            assert set(restored.runs.values()) <= {"done", "failed"}
            readings = httpx.get(f"{server.url}/api/data/5m", timeout=30).json()["data"]
            assert measured in {reading["timestamp"] for reading in readings}
            assert "missing" not in server.log
            assert "Traceback" not in server.log
            tables = [path for path in (new / "runs").rglob("*.csv") if path.stat().st_size]
            assert all(path.read_bytes().endswith(b"\n") for path in tables)
            last = httpx.get(f"{server.url}/away").json()["last_stop"]
            manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
            assert (last["unclean"], last["stopped_at"]) == (True, manifest["taken_at"])
            assert server.stop() == 0
