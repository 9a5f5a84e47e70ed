"""Killed at any moment with work in every domain, a server has lost nothing it acknowledged."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from benchwire.foundation.jobs.runner import MAX_ATTEMPTS
from tests.faults.account import Account, Entry
from tests.faults.bench import SAMPLE_SECONDS, SECONDS, Bench, open_bench
from tests.faults.journal import Journal
from tests.faults.load import Load, digest, tables_of
from tests.support.server import Server
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced
SEED = 20261128
HEALTH_SECONDS = 5.0
LONGEST_LIFE_SECONDS = 3.0
COMPUTING_SECONDS = 180.0
WORKFLOWS, FITS = "/api/v1/processing/workflow", "/api/v1/analysis/fitting"
# Samples that are in the instrument, on the line or on their way to the file.
UNDER_WAY_SECONDS = 1.5


class FoldingServer(Server):
    """A server that soon leaves battery readings to files."""

    module = "tests.faults.folding_server"


def start_again(server: Server) -> tuple[float, float]:
    """Start a server and return after how many s it said that it lives, and that it is whole."""
    began = time.monotonic()
    server.spawn()
    server.wait_until_whole("/health")
    alive = time.monotonic() - began
    server.wait_until_whole()
    return alive, time.monotonic() - began


def check_instruments_are_left_alone(bench: Bench) -> None:
    """Check that every cell is open; nobody has asked this life for anything so far."""
    assert not bench.is_any_cell_closed()
    assert not any(bench.state(slot)["running"] for slot in bench.slots)


def begin_computing(bench: Bench, load: Load, number: int) -> dict[str, str]:
    """Have a movie processed and traces fitted; return both jobs by where they are asked for."""
    jobs = {}
    for family, order in ((WORKFLOWS, load.movie_order), (FITS, load.fit_order)):
        path = f"{bench.server.url}{family}/start"
        answer = httpx.post(path, json=order(number), timeout=SECONDS)
        jobs[family] = str(answer.raise_for_status().json()["job_id"])
    return jobs


def compute_undisturbed(bench: Bench, load: Load) -> dict[str, list[str]]:
    """Process and fit once, and return the digests of the tables by where they are asked for."""
    made = {}
    for family, job in begin_computing(bench, load, number=0).items():
        entry = {"family": family, "job": job}
        until(
            lambda entry=entry: status_of(bench, entry)["status"] == "completed",
            seconds=COMPUTING_SECONDS,
            what="the reference",
        )
        made[family] = tables_made(bench, entry)
        assert made[family]
    return made


def check_computing(bench: Bench, journal: Journal, undisturbed: dict[str, list[str]]) -> None:
    """Wait until all computing has ended, and check that it came out as if never killed.

    What was being done when the server was killed is done anew, up to a number of times.
    """
    jobs: dict[str, Entry] = {}
    kills: Counter[str] = Counter()
    for entry in journal.entries():
        if entry["what"] == "job":
            jobs[entry["job"]] = entry
        elif entry["what"] == "killed":
            kills.update(jobs.keys())

    def have_ended() -> bool:
        return all(
            status_of(bench, job)["status"] in {"completed", "failed"} for job in jobs.values()
        )

    until(have_ended, seconds=COMPUTING_SECONDS, what="the end of all computing")
    completed: Counter[str] = Counter()
    for job in jobs.values():
        status = status_of(bench, job)
        if status["status"] == "completed":
            completed[job["family"]] += 1
            assert tables_made(bench, job) == undisturbed[job["family"]], status
        else:
            assert status["message"] == "server restarted", status
            assert kills[job["job"]] >= MAX_ATTEMPTS, status
    print(f"{dict(completed)} of {len(jobs)} were completed, the others given up")
    assert completed.keys() == undisturbed.keys()
    # Also those whose client was never told that they had been taken in.
    for pattern, family in (("*_traces.csv", WORKFLOWS), ("*_fitted_*.csv", FITS)):
        for path in bench.area.rglob(pattern):
            assert digest(path.read_bytes()) in undisturbed[family], f"{path} came out otherwise"


def status_of(bench: Bench, job: Entry) -> Entry:
    status: Entry = bench.get(f"{job['family']}/status/{job['job']}")
    return status


def tables_made(bench: Bench, job: Entry) -> list[str]:
    """Return the digests of a job's tables in the order of their names."""
    return list(tables_of(bench.get(f"{job['family']}/results/{job['job']}")).values())


def leave_readings_to_files(bench: Bench) -> None:
    """Have every rack get so many readings that the older ones go into a file by now."""
    live = bench.server.data_dir / "battery" / "live"

    def post() -> bool:
        for rack in ("rack0", "rack1"):
            now = datetime.now(UTC).isoformat()
            body = {"timestamp": now, "soc": 50.0}
            answer = httpx.post(f"{bench.server.url}/bms/{rack}/readings", json=body)
            answer.raise_for_status()
        return any(live.rglob("*.parquet"))

    until(post, seconds=60, what="readings in files")


def test_killed_at_any_moment_nothing_acknowledged_is_lost(
    tmp_path: Path,
    free_port: int,
    database_url: str | None,
    soak_or: SoakOr,
) -> None:
    """One data folder grows through all lives; each life is cut short at a random moment."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    starts: list[tuple[float, float]] = []
    with (
        Journal(tmp_path / "journal") as journal,
        open_bench(
            tmp_path, free_port, slots=4, server=FoldingServer, database_url=database_url
        ) as bench,
    ):
        *busy, held = bench.slots
        load = Load(bench, journal, chance.getrandbits(32), slots=busy, pause=0.02)
        undisturbed = compute_undisturbed(bench, load)
        lives = soak_or(3, 200)
        for life in range(lives):
            before = len(journal.entries())
            long_run, begun = bench.start_run(held, 600), time.monotonic()
            with load.running():
                time.sleep(chance.uniform(0.2, LONGEST_LIFE_SECONDS))
                if life == lives - 1:
                    # However busy the others were, something of both kinds is cut short.
                    for family, job in begin_computing(bench, load, number=10_000).items():
                        journal.note("job", family=family, job=job)
                was_running = bench.get(f"/jobs/{long_run}")["status"] == "running"
                measured = time.monotonic() - begun
                bench.server.kill()
            journal.note("killed", life=life)
            starts.append(start_again(bench.server))
            bench.until_ready()
            check_instruments_are_left_alone(bench)
            account = Account(bench)
            account.compare(journal.entries()[before:])
            account.check_runs()
            account.check_files()
            if was_running:
                # What a kill may take is what was under way to the file.
                rows = len(bench.table_from_the_start(long_run))
                assert rows * SAMPLE_SECONDS > measured - UNDER_WAY_SECONDS, rows
            assert not load.failures, load.failures
            print(
                f"life {life}: alive after {starts[-1][0]:.2f} s, whole after {starts[-1][1]:.2f} s"
            )
        check_computing(bench, journal, undisturbed)
        leave_readings_to_files(bench)
        account = Account(bench)
        account.compare(journal.entries())
        account.check_files()
        assert load.count("image")
        worst = [max(seconds) for seconds in zip(*starts, strict=True)]
        print(f"{len(starts)} lives, {len(journal.entries())} acknowledged: alive after "
              f"{worst[0]:.2f} s, whole after {worst[1]:.2f} s at worst")  # fmt: skip
        assert bench.server.stop() == 0
        # Told last, so that a machine with too much to do hides no loss.
        assert worst[0] <= HEALTH_SECONDS


def test_second_server_is_refused_until_the_first_is_killed(tmp_path: Path, free_port: int) -> None:
    data = tmp_path / "data"
    with Server(data, free_port) as first:
        command = [sys.executable, "-m", "benchwire", "serve", "--port=0", f"--data-dir={data}"]
        second = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "BENCHWIRE_UI": "false"},
        )  # fmt: skip
        assert second.returncode == 2
        assert "Another benchwire server is running on this data folder" in second.stderr
        assert "Traceback" not in second.stderr
        assert first.is_running
        first.kill()
        first.start()
        assert httpx.get(f"{first.url}/away").json()["last_stop"]["unclean"]
        assert first.stop() == 0
