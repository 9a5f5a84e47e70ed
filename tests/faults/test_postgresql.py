"""PostgreSQL restarted, frozen and crowded out under load: nothing acknowledged is lost."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from benchwire.foundation import db, schema
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import Database, DatabaseUnavailable, OutcomeUnknown, open_database
from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.jobs.runner import JobKind, Jobs
from benchwire.foundation.jobs.sessions import Sessions
from benchwire.foundation.jobs.states import JobState
from tests.domains.potentiostat.conftest import FACTORY as POTENTIOSTATS
from tests.domains.powermeter.conftest import FACTORY as METERS
from tests.faults.disk import fill, small_disk
from tests.support.at_work import AtWork
from tests.support.ports import free_port
from tests.support.postgres import Postgres, running_postgres
from tests.support.server import Server
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced

WRITERS = 4
FROZEN_SECONDS = 4.0
DATABASE_MEGABYTES = 160
# Longer than the server itself tries again, and than a mode of a run.
CROWDED_SECONDS = 8.0
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as running:
        yield running


@pytest.fixture(scope="module")
def server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with _server(tmp_path_factory.mktemp("postgres"), postgres.url) as running:
        yield running


@contextmanager
def _server(folder: Path, database_url: str) -> Iterator[Server]:
    potentiostats = EmulatorProcess(POTENTIOSTATS, ["p1"], folder / "potentiostats")
    meters = EmulatorProcess(METERS, ["m1"], folder / "meters")
    environment = {
        "BENCHWIRE_POTENTIOSTAT_PORTS": _paths(potentiostats),
        "BENCHWIRE_POWERMETER_PORTS": _paths(meters),
        "BENCHWIRE_POWERMETER_POLLING_INTERVAL": "0.2",
        "BENCHWIRE_POWERMETER_DATA_RETENTION_MINUTES": "1000",
    }
    with (
        closing(potentiostats),
        closing(meters),
        Server(
            folder / "data", free_port(), environment=environment, database_url=database_url
        ) as running,
    ):
        yield running


def _paths(emulators: EmulatorProcess) -> str:
    return json.dumps([str(path) for path in emulators.paths.values()])


@pytest.fixture
def recovery_seconds(soak_or: SoakOr) -> float:
    """How soon writes are answered once the database is back, with time for slow cores or not."""
    return soak_or(10.0, 5.0)


class Load(AtWork):
    """Clients that write, and note outside what was acknowledged and what was refused."""

    def __init__(self, server: Server, name: str) -> None:
        self.url = server.url
        self.name = name
        self.plates: list[str] = []
        self.rows: list[datetime] = []
        self.shown: list[float] = []
        self.runs: list[tuple[str, Any]] = []
        self.refusals: list[tuple[str, int, Any]] = []
        self.answered_at = 0.0
        super().__init__(
            *(partial(self._write_plates, number) for number in range(WRITERS)),
            self._write_rows,
            self._read,
            self._watch_meter,
            self._measure,
        )

    def _write_plates(self, writer: int) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            number = 0
            while not self._over.is_set():
                number += 1
                barcode = f"{self.name}-{writer}-{number}"
                body = {"plate": {"barcode": barcode, "name": "Load", "empty": True}}
                if self._insist(client, "/api/v1/plates", body, taken="taken"):
                    self.plates.append(barcode)
                    self.answered_at = time.monotonic()

    def _write_rows(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            at = BEGIN
            while not self._over.is_set():
                at += timedelta(seconds=1)
                body = {"timestamp": at.isoformat(), "soc": 50.0}
                if self._insist(client, f"/bms/{self.name}/readings", body):
                    self.rows.append(at)

    def _insist(self, client: httpx.Client, path: str, body: Any, *, taken: str = "") -> bool:
        """Send a thing until it is stored, as a client would that is told to come again."""
        is_again = False
        while True:
            answer = client.post(path, json=body)
            if answer.is_success:
                return True
            if taken and is_again and taken in answer.text:
                return True  # it was told that nobody knew, and it was stored
            self.refusals.append((path, answer.status_code, answer.json()))
            is_again = True
            if self._over.wait(0.2):
                return False

    def _read(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self._over.wait(0.1):
                for path in ("/api/v1/plates?limit=5", "/jobs", "/api/stats/1m", "/work?limit=5"):
                    answer = client.get(path)
                    if not answer.is_success:
                        self.refusals.append((path, answer.status_code, answer.json()))

    def _watch_meter(self) -> None:
        with httpx.stream("GET", f"{self.url}/api/live", timeout=60) as stream:
            lines = stream.iter_lines()
            for line in lines:
                if line == "event: readings":
                    self.shown += json.loads(next(lines).removeprefix("data: "))["at_ms"]
                if self._over.is_set():
                    return

    def _measure(self) -> None:
        """Run two modes after one another, again and again, each run to its end."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self._over.is_set():
                key = f"{self.name}-{len(self.runs)}"
                body = {
                    "devices": ["slot01"], "modes": ["CA", "CV"], "make_plot": False,
                    "params_by_mode": {"CA": {"potential": 0.5, "duration": 1.5}, "CV": _CV},
                    "experiment_name": key, "client_datetime": "2025-11-03T10:15:00",
                }  # fmt: skip
                while not (
                    answer := client.post("/jobs", json=body, headers={"Idempotency-Key": key})
                ).is_success:
                    self.refusals.append(("/jobs", answer.status_code, answer.json()))
                    if self._over.wait(0.2):
                        return
                run_id = answer.json()["run_id"]
                while True:
                    answer = client.get(f"/jobs/{run_id}")
                    if not answer.is_success:
                        self.refusals.append(("/jobs", answer.status_code, answer.json()))
                    elif answer.json()["status"] not in {"queued", "running"}:
                        self.runs.append((answer.json()["status"], answer.json()["slots"]))
                        break
                    time.sleep(0.1)


_CV = {"start": 0.0, "vertex1": 0.2, "vertex2": -0.2, "end": 0.0, "scan_rate": 1.0, "cycles": 1}


def check(server: Server, load: Load) -> None:
    """Compare the journal with what is stored, and look at every refusal."""
    for path, status, body in load.refusals:
        assert status == 503, (path, status, body)
        key = "message" if path == "/jobs" else "error" if path.startswith("/api") else "detail"
        assert body[key], (path, body)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert len(load.plates) > 10
        lost = [name for name in load.plates if not client.get(f"/api/v1/plates/{name}").is_success]
        assert lost == []

        assert len(load.rows) > 5
        table = client.get(f"/bms/{load.name}/export").raise_for_status().text.splitlines()[1:]
        stored = sorted(round(float(line.split(",")[0])) for line in table)
        assert len(stored) == len(set(stored))
        assert {(at - load.rows[0]).total_seconds() for at in load.rows} <= set(stored)

        assert len(load.shown) > 5
        points = client.get("/api/data/24h").raise_for_status().json()["data"]
        kept = [round(datetime.fromisoformat(point["utc"]).timestamp() * 1000) for point in points]
        assert len(kept) == len(set(kept))
        assert {round(at) for at in load.shown} <= set(kept)
        assert client.get("/api/status").json()["dropped_readings"] == 0

        # A run is done only if every point of every mode has reached its file.
        assert load.runs
        assert [run for run in load.runs if run[0] != "done"] == []


@contextmanager
def recovery_from(
    fault: AbstractContextManager[None], load: Load, seconds: float
) -> Iterator[None]:
    """Have a fault for the length of a block, then wait until writes are answered again."""
    with fault:
        yield
    back = time.monotonic()
    until(lambda: load.answered_at > back, seconds=seconds)


def test_restarted_under_load(
    server: Server, postgres: Postgres, soak_or: SoakOr, recovery_seconds: float
) -> None:
    took = []
    with Load(server, "restart") as load:
        for number in range(soak_or(2, 20)):
            time.sleep(2)
            back = postgres.restart("immediate" if number % 2 else "fast")
            until(lambda back=back: load.answered_at > back, seconds=60)
            took.append(load.answered_at - back)
    print(f"back after {max(took):.2f} s at most, of {len(took)} restarts; "
          f"{len(load.plates)} plates, {len(load.rows)} rows, {len(load.shown)} readings, "
          f"{len(load.runs)} runs, {len(load.refusals)} refusals")  # fmt: skip
    check(server, load)
    assert max(took) < recovery_seconds


def test_frozen_under_load(
    server: Server, postgres: Postgres, soak_or: SoakOr, recovery_seconds: float
) -> None:
    with Load(server, "freeze") as load:
        for _ in range(soak_or(1, 10)):
            time.sleep(2)
            with recovery_from(postgres.frozen(), load, recovery_seconds):
                time.sleep(FROZEN_SECONDS)
                # What needs no database answers meanwhile.
                assert httpx.get(f"{server.url}/health", timeout=5).is_success
    check(server, load)


def test_without_a_free_connection(
    server: Server, postgres: Postgres, soak_or: SoakOr, recovery_seconds: float
) -> None:
    with Load(server, "crowd") as load:
        for _ in range(soak_or(1, 10)):
            time.sleep(2)
            with recovery_from(postgres.crowded(), load, recovery_seconds):
                time.sleep(CROWDED_SECONDS)
    assert load.refusals
    check(server, load)


@pytest.fixture
def notes(postgres: Postgres, tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, postgres.url)
    database.write(lambda c: c.execute(sa.text("CREATE TABLE IF NOT EXISTS note (x VARCHAR(20))")))
    database.write(lambda c: c.execute(sa.text("DELETE FROM note")))
    yield database
    database.close()


def add(database: Database, text: str) -> None:
    database.write(lambda c: c.execute(sa.text("INSERT INTO note VALUES (:x)"), {"x": text}))


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.scalar(sa.text("SELECT count(*) FROM note")))


@pytest.mark.parametrize("is_reached", [True, False])
def test_commit_whose_answer_is_lost_is_stored_once(
    notes: Database, postgres: Postgres, is_reached: bool
) -> None:
    """The connection breaks after the database has heard of the commit, or just before."""
    broken: list[int] = []

    def break_once(connection: sa.Connection) -> None:
        if broken:
            return
        driver = connection.connection.dbapi_connection
        broken.append(driver.info.backend_pid)
        if is_reached:
            driver.commit()
            driver.execute("SELECT 1")
        with psycopg.connect(postgres.url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", broken)

    event.listen(notes.migration_engine, "commit", break_once)
    add(notes, "once")
    assert broken
    assert count(notes) == 1


def test_a_commit_held_by_the_network_is_looked_up_once_the_database_is_back(
    notes: Database, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time it was held for is not part of the wait for the database."""

    class Late(SystemClock):
        held = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.held

    clock, look, looks = Late(), notes._was_committed, []
    monkeypatch.setattr(notes, "_clock", clock)

    def looked_up(transaction: int) -> bool:
        looks.append(transaction)
        if len(looks) == 1:
            raise OperationalError("", {}, Exception("away"), connection_invalidated=True)
        return look(transaction)

    def hold_and_break(connection: sa.Connection) -> None:
        if not looks and not clock.held:
            clock.held = 60.0
            driver = connection.connection.dbapi_connection
            number = driver.info.backend_pid
            driver.commit()
            driver.execute("SELECT 1")
            with psycopg.connect(postgres.url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [number])

    monkeypatch.setattr(notes, "_was_committed", looked_up)
    event.listen(notes.migration_engine, "commit", hold_and_break)
    add(notes, "once")
    assert len(looks) == 2
    assert count(notes) == 1


def test_transaction_that_a_crash_has_undone_was_not_committed(notes: Database) -> None:
    assert not notes._was_committed(10**15)


def test_table_that_somebody_locks_is_told_and_free_again(
    notes: Database, postgres: Postgres
) -> None:
    with psycopg.connect(postgres.url) as other:
        other.execute("LOCK TABLE note")
        with pytest.raises(DatabaseUnavailable, match="locked"):
            add(notes, "no")
    add(notes, "yes")
    assert count(notes) == 1


def test_read_only_under_load(
    server: Server, postgres: Postgres, soak_or: SoakOr, recovery_seconds: float
) -> None:
    """As after a failover, or where whoever looks after it stops all writes to a full disk."""
    with Load(server, "readonly") as load:
        for _ in range(soak_or(1, 10)):
            time.sleep(2)
            with recovery_from(postgres.read_only(), load, recovery_seconds):
                time.sleep(FROZEN_SECONDS)
    assert any("no writes" in str(body) for *_, body in load.refusals)
    check(server, load)


def test_a_full_disk_below_the_database(
    tmp_path: Path, soak_or: SoakOr, recovery_seconds: float
) -> None:
    """It refuses what needs room; where there is none for its log either, it ends.

    Whoever makes room starts it again then.
    """
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchwire-disk-")))
        top.chmod(0o755)  # as root PostgreSQL runs under a user of its own
        disk = stack.enter_context(small_disk(top / "disk", DATABASE_MEGABYTES))
        postgres = stack.enter_context(running_postgres(disk / "database"))
        server = stack.enter_context(_server(tmp_path, postgres.url))
        with Load(server, "full") as load:
            for number in range(soak_or(2, 10)):
                time.sleep(2)
                before = len(load.refusals)
                ballast = fill(disk)
                if number % 2:
                    postgres.need_room_for_the_log()
                until(lambda n=before: len(load.refusals) > n, seconds=60, what="a refusal")
                time.sleep(FROZEN_SECONDS)
                assert httpx.get(f"{server.url}/health", timeout=5).is_success
                ballast.unlink()
                if not postgres.is_up:
                    postgres.restart("immediate")
                    print("it had ended", end=", ")
                back = time.monotonic()
                until(lambda back=back: load.answered_at > back, seconds=60, what="an answer")
                print(f"back after {load.answered_at - back:.2f} s")
                assert load.answered_at - back < recovery_seconds
        print({str(body)[:300] for *_, body in load.refusals})
        check(server, load)


def test_a_second_server_on_the_database_is_refused(
    server: Server, postgres: Postgres, tmp_path: Path
) -> None:
    """Its data folder is another; it would take the runs of the first for its own, cut short."""
    command = [sys.executable, "-m", "benchwire", "serve", "--port=0"]
    with Load(server, "second") as load:
        time.sleep(2)
        second = subprocess.run(
            [*command, f"--data-dir={tmp_path / 'other'}"],
            capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "BENCHWIRE_UI": "false", "BENCHWIRE_DATABASE_URL": postgres.url},
        )  # fmt: skip
        assert second.returncode == 2
        assert "Another benchwire server works on this database" in second.stderr
        assert "Traceback" not in second.stderr
        # The first takes the database again after it was away.
        back = postgres.restart("fast")
        until(lambda: load.answered_at > back, seconds=60)
    check(server, load)


@pytest.mark.parametrize("is_resumable", [True, False])
def test_a_job_stored_while_nobody_could_tell_comes_to_an_end(
    notes: Database, monkeypatch: pytest.MonkeyPatch, is_resumable: bool
) -> None:
    """The database is away for longer than its return is waited for; then it has the job."""
    clock, is_away, job_id = SystemClock(), threading.Event(), f"unknown-{is_resumable}"

    def away(_: int) -> bool:
        raise OperationalError("", {}, Exception("away"), connection_invalidated=True)

    def commit_and_go(connection: sa.Connection) -> None:
        if is_away.is_set():
            connection.connection.dbapi_connection.commit()
            raise OperationalError("", {}, Exception("gone"), connection_invalidated=True)

    schema.upgrade(notes)
    jobs = Jobs(notes, clock, Sessions(notes, clock))
    jobs.register(JobKind("test.work", lambda _: {"done": True}, resumable=is_resumable))
    jobs.start()
    monkeypatch.setattr(db, "RECONNECT_SECONDS", 0.5)
    monkeypatch.setattr(notes, "_was_committed", away)
    event.listen(notes.migration_engine, "commit", commit_and_go)
    is_away.set()
    with pytest.raises(OutcomeUnknown):
        jobs.submit("test.work", {}, job_id=job_id, title="Work")
    is_away.clear()
    monkeypatch.undo()
    until(lambda: jobs.get(job_id).state.is_final, seconds=10, what="its end")
    record = jobs.get(job_id)
    if is_resumable:
        assert (record.state, record.result) == (JobState.DONE, {"done": True})
    else:
        assert record.state is JobState.FAILED
        assert "the database was away" in str(record.message)
    jobs.close()
