"""A database that another program holds locked: what is measured is kept, writers are told."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchwire.foundation.db import BUSY_SECONDS, DATABASE_FILE
from tests.faults.account import Account
from tests.faults.bench import ATTEMPTS, open_bench
from tests.faults.journal import Journal
from tests.faults.load import Load
from tests.faults.test_kill import COMPUTING_SECONDS, status_of
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced
HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""
HOLD_POSTGRESQL = """
import psycopg, sys, time
with psycopg.connect(sys.argv[1]) as connection:
    found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    tables = ", ".join(f'"{name}"' for name, in found)
    while True:
        try:
            # As SQLite has it: who reads may go on. Two that wait for each other would be told so.
            connection.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE NOWAIT")
            break
        except psycopg.errors.LockNotAvailable:
            connection.rollback()
            time.sleep(0.02)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
TELLING = {
    "/jobs": {"code", "message", "hint"},
    "/api/v1/plates": {"error", "message"},
    "/api/v1/wells": {"error", "message"},
    "/api/v1/locations": {"error", "message"},
    "/api/v1/processing": {"success", "error", "error_code"},
    "/api/v1/analysis": {"success", "error", "error_code"},
    "/api/config": {"error", "message", "code"},
    "/bms": {"detail"},
}
"""The shape of an error in each API, by the beginning of its paths."""


@contextmanager
def locked(data_dir: Path, database_url: str | None, seconds: float) -> Iterator[None]:
    """Have another process hold the database for so long; leave when it has let go."""
    if database_url is None:
        command = [sys.executable, "-c", HOLD, str(data_dir / DATABASE_FILE), str(seconds)]
    else:
        command = [sys.executable, "-c", HOLD_POSTGRESQL, database_url, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield
        assert other.wait(seconds + 30) == 0


def check_is_told(answer: httpx.Response) -> None:
    """Check that a refusal says what to do, in the shape of its API."""
    path = answer.request.url.path
    shape = next(keys for start, keys in TELLING.items() if path.startswith(start))
    assert set(answer.json()) == shape, path
    assert "Another program holds the database locked" in answer.text, path
    assert "Close it and try again" in answer.text, path


def test_a_locked_database_loses_no_sample_and_no_work(
    tmp_path: Path,
    free_port: int,
    database_url: str | None,
    soak_or: SoakOr,
) -> None:
    seconds = soak_or(int(BUSY_SECONDS) + 2, 30)
    with (
        Journal(tmp_path / "journal") as journal,
        open_bench(tmp_path, free_port, database_url=database_url) as bench,
    ):
        busy = list(bench.slots)[-1]
        load = Load(bench, journal, seed=14, slots=[busy], pause=0.2)
        with load.running():
            until(lambda: load.count("computed") > 0, seconds=60, what="work")
            for _ in range(ATTEMPTS):
                began = bench.get("/api/data/latest")["utc"]
                one = bench.start_run("slot01", seconds / 2, "CA", "PSTEP")
                other = bench.start_run("slot02", seconds + 2)
                with locked(bench.server.data_dir, database_url, seconds):
                    time.sleep(1)
                    asked = time.monotonic()
                    assert bench.get("/health")["ok"]
                    assert bench.get(f"/jobs/{one}")["status"] == "running"
                    print(f"read in {time.monotonic() - asked:.2f} s while writers wait")
                if bench.was_starved(one) is bench.was_starved(other) is False:
                    break
            for run in (one, other):
                assert bench.get(f"/jobs/{run}")["status"] == "done", bench.get(f"/jobs/{run}")
        assert not load.failures, load.failures
        # Whoever asks while another already waits is told only after twice that time.
        assert load.refusals or seconds < 2 * BUSY_SECONDS
        for answer in load.refusals:
            check_is_told(answer)
        assert len(bench.table(one)) == int(seconds / 2 / 0.00036)
        assert len(bench.table(other)) == int((seconds + 2) / 0.00036)
        for meter in bench.get("/api/meters"):
            points = bench.get("/api/data/24h", meter=meter["meter"])["data"]
            came = [point["utc"] for point in points if point["utc"] > began]
            status = bench.get("/api/status", meter=meter["meter"])
            assert status["dropped_readings"] == 0
            assert len(came) >= seconds * 10 - status["missed_polls"] - 1
        jobs = [entry for entry in journal.entries() if entry["what"] == "job"]
        until(
            lambda: all(status_of(bench, job)["status"] == "completed" for job in jobs),
            seconds=COMPUTING_SECONDS,
            what="the end of all computing",
        )
        Account(bench).compare(journal.entries())
        assert bench.server.stop() == 0
        assert "Traceback" not in bench.server.log
