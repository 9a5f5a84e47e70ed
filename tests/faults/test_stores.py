"""Copies from an object store and to it, while the server or its workers are killed."""

import os
import random
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.lines import CutLine
from tests.support.ports import free_port
from tests.support.s3 import BUCKET, ObjectStore
from tests.support.server import Server
from tests.support.soaking import SoakOr
from tests.support.waiting import until

FILES, BYTES = 110, 200_000  # three pieces
FINAL = {"completed", "failed", "cancelled"}
GIVEN_UP = "It had failed or was cancelled before the server ended"


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@contextmanager
def serving(folder: Path, store: ObjectStore, url: str | None = None) -> Iterator[Server]:
    environment = {**store.environment(url), "BENCHWIRE_STORES_URLS": f"s3://{BUCKET}"}
    with Server(folder / "data", free_port(), environment=environment) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, store: ObjectStore) -> Iterator[Server]:
    with serving(tmp_path, store) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of many files, each another."""
    folder = tmp_path / "movie.ome.zarr"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number:03}").write_bytes(os.urandom(BYTES))
    return folder


def start(server: Server, source: object, target: object) -> str:
    body = {"source": str(source), "target": str(target)}
    answer = httpx.post(f"{server.url}/stores/copies", json=body, timeout=30)
    assert answer.is_success, answer.text
    return str(answer.json()["job_id"])


def status_of(server: Server, job: str) -> dict[str, Any]:
    return dict(httpx.get(f"{server.url}/stores/copies/{job}", timeout=30).json())


def completed(server: Server, job: str) -> None:
    until(lambda: status_of(server, job)["status"] in FINAL, seconds=120, what="an end")
    assert status_of(server, job)["status"] == "completed", status_of(server, job)


def has_begun(target: Path) -> bool:
    return target.exists() or any(target.parent.glob(f".{target.name}.*.part/[0-9]*"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_a_server_that_is_killed_goes_on_with_its_copies(
    server: Server, store: ObjectStore, folder: Path, soak_or: SoakOr
) -> None:
    """Out and back, killed at a random moment of each; what had arrived is not moved again."""
    chance = random.Random(8)
    for round_number in range(soak_or(1, 20)):
        url = f"s3://{BUCKET}/{round_number}"
        job = start(server, folder, url)
        until(partial(store.names, f"{round_number}/"), what="the first object")
        time.sleep(chance.uniform(0, 0.3))
        server.kill()
        is_whole = f"{round_number}/benchwire-copy.json" in store.names(f"{round_number}/")
        there = store.names(f"{round_number}/")
        assert is_whole == (len(there) == FILES + 1), "a manifest stands for a whole folder"
        server.start()
        completed(server, job)

        back = folder.with_name(f"back-{round_number}")
        job = start(server, url, back)
        until(partial(has_begun, back), what="the first file")
        time.sleep(chance.uniform(0, 0.3))
        server.kill()
        before = {
            path.name: path.stat().st_ino
            for path in folder.parent.glob(f".back-{round_number}.*.part/[0-9]*")
        }
        assert before or back.exists()
        server.start()
        completed(server, job)
        assert contents(back) == contents(folder)
        after = {path.name: path.stat().st_ino for path in back.iterdir()}
        assert before.items() <= after.items()
        assert not list(folder.parent.glob(".back*"))


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_piece_alone(
    server: Server, store: ObjectStore, folder: Path
) -> None:
    job = start(server, folder, f"s3://{BUCKET}/worker")
    until(lambda: store.names("worker/"), what="the first object")
    for child in psutil.Process(server.pid).children():
        if "benchwire.foundation.workers" in " ".join(child.cmdline()):
            child.kill()
    completed(server, job)
    job = start(server, f"s3://{BUCKET}/worker", folder.with_name("back"))
    completed(server, job)
    assert contents(folder.with_name("back")) == contents(folder)


@pytest.mark.parametrize("only", ["", "/a"])
def test_a_copy_that_was_whole_when_the_server_was_killed_is_done(
    server: Server, store: ObjectStore, folder: Path, only: str
) -> None:
    """Killed after what arrived got its name, and before that was noted."""
    store.put("whole/a", b"1")
    back = folder.with_name("back")
    job = start(server, f"s3://{BUCKET}/whole{only}", back)
    completed(server, job)
    server.kill()
    assert cut_short(server, job) == '["begun","arrived"]'
    server.start()
    completed(server, job)
    assert (back.read_bytes() if only else contents(back)) == (b"1" if only else {"a": b"1"})
    assert sorted(path.name for path in folder.parent.glob("*back*")) == ["back"]


def cut_short(server: Server, job: str) -> str:
    """Have a job's end be one that was never stored, and return what it had noted."""
    with closing(sqlite3.connect(server.data_dir / "benchwire.db")) as database, database:
        parts = database.execute("SELECT finished_parts FROM jobs_record WHERE id = ?", [job])
        database.execute(
            "UPDATE jobs_record SET state = 'running', ended_at = NULL WHERE id = ?", [job]
        )
        return str(parts.fetchone()[0])


def test_a_copy_that_failed_as_its_target_was_taken_is_not_done_after_a_kill(
    server: Server, store: ObjectStore, folder: Path
) -> None:
    store.put("failed", b"1" * 30_000_000)
    back = folder.with_name("back")
    job = start(server, f"s3://{BUCKET}/failed", back)
    back.write_bytes(b"a colleague's")
    until(lambda: status_of(server, job)["status"] in FINAL, seconds=60, what="an end")
    assert status_of(server, job)["error"] == "back is there by now"
    server.kill()
    assert cut_short(server, job) == '["begun","arrived","given up"]'
    server.start()
    until(lambda: status_of(server, job)["status"] in FINAL, seconds=60, what="an end")
    assert status_of(server, job)["error"] == GIVEN_UP
    assert back.read_bytes() == b"a colleague's"
    assert not list(folder.parent.glob(".copy-*"))


@pytest.mark.slow
def test_a_cancelled_copy_stays_cancelled_whatever_happens(
    tmp_path: Path, store: ObjectStore, folder: Path
) -> None:
    """The store is away as it is cancelled, and the server is killed before it is back."""
    with CutLine(store.port) as line, serving(tmp_path, store, line.url) as server:
        job = start(server, folder, f"s3://{BUCKET}/cancelled")
        until(partial(store.names, "cancelled/"), what="the first object")
        line.answers_to_lose = 1_000_000
        httpx.post(f"{server.url}/stores/copies/{job}/cancel", timeout=30).raise_for_status()
        until(partial(has_noted, server, job, "given up"), what="a note of it")
        assert store.names("cancelled/")
        server.kill()
        line.answers_to_lose = 0
        server.start()
        until(lambda: status_of(server, job)["status"] in FINAL, seconds=60, what="an end")
        assert status_of(server, job)["error"] == GIVEN_UP
        assert store.names("cancelled/") == []


def has_noted(server: Server, job: str, what: str) -> bool:
    with closing(sqlite3.connect(server.data_dir / "benchwire.db", timeout=10)) as database:
        found = database.execute("SELECT finished_parts FROM jobs_record WHERE id = ?", [job])
        return what in found.fetchone()[0]


@pytest.mark.slow
def test_a_store_that_hangs_holds_up_nobody_else(tmp_path: Path, store: ObjectStore) -> None:
    """It takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with serving(tmp_path, store, url) as server:
            answers: list[int] = []

            def ask(number: int) -> None:
                body = {"source": f"s3://{BUCKET}/x", "target": str(tmp_path / f"{number}")}
                with suppress(httpx.TimeoutException):  # of a few that have their turn
                    answer = httpx.post(f"{server.url}/stores/copies", json=body, timeout=12)
                    answers.append(answer.status_code)

            asking = [threading.Thread(target=ask, args=(number,)) for number in range(45)]
            for thread in asking:
                thread.start()
            time.sleep(1)
            took = []
            while any(thread.is_alive() for thread in asking):
                began = time.monotonic()
                assert httpx.get(f"{server.url}/version", timeout=10).is_success
                assert httpx.get(f"{server.url}/stores", timeout=10).is_success
                took.append(time.monotonic() - began)
                time.sleep(0.2)
            assert max(took) < 3
            assert set(answers) == {503}
