"""A server that may use one folder and most of one bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support import analysis
from tests.support.s3 import BUCKET, ObjectStore
from tests.support.waiting import until

OPEN = f"s3://{BUCKET}/open"
FINAL = {"completed", "failed", "cancelled"}


class Desk:
    """The API as a client sees it, a folder, and the store beside it."""

    def __init__(self, client: TestClient, area: Path, store: ObjectStore) -> None:
        self.client = client
        self.area = area
        self.store = store

    def ask(self, source: object, target: object) -> Any:
        body = {"source": str(source), "target": str(target)}
        return self.client.post("/stores/copies", json=body)

    def start(self, source: object, target: object) -> str:
        answer = self.ask(source, target)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["job_id"])

    def refused(self, source: object, target: object) -> tuple[int, str]:
        answer = self.ask(source, target)
        assert set(answer.json()) == {"success", "error", "error_code"}
        return answer.status_code, answer.json()["error"]

    def status(self, job_id: str) -> Any:
        return self.client.get(f"/stores/copies/{job_id}").json()

    def ended(self, job_id: str) -> Any:
        until(lambda: self.status(job_id)["status"] in FINAL, seconds=60, what="an end")
        return self.status(job_id)

    def copied(self, source: object, target: object) -> Any:
        status = self.ended(self.start(source, target))
        assert status["status"] == "completed", status
        return status

    def left(self) -> list[str]:
        """Return what there is in the folder, hidden or not."""
        return sorted(path.relative_to(self.area).as_posix() for path in self.area.rglob("*"))


@pytest.fixture(scope="session")
def store() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@contextmanager
def serving(folder: Path, store: ObjectStore) -> Iterator[Desk]:
    """A server that may use a folder; where the store is it learns from the environment."""
    area = folder / "area"
    area.mkdir()
    with analysis.running(folder / "data", area) as running:
        yield Desk(running.client, area, store)


@pytest.fixture
def known_store(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The store, empty, with all that a server is to know of it in the environment."""
    store.empty()
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BENCHWIRE_STORES_URLS", OPEN)
    return store


@pytest.fixture
def desk(tmp_path: Path, known_store: ObjectStore) -> Iterator[Desk]:
    """A server of its own for each test, beside the store."""
    with serving(tmp_path, known_store) as desk:
        yield desk
