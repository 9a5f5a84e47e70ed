"""The disk, or one folder of it, does not answer any more, and the server is asked to end."""

import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.faults.account import Account
from tests.faults.bench import open_bench
from tests.faults.disk import FailingDisk, build
from tests.faults.journal import Journal
from tests.faults.load import Load
from tests.support.waiting import until

pytestmark = pytest.mark.paced

SAFE_SECONDS = 1.0
EXIT_SECONDS = 10.0
PLACES = {"runs": "/runs/", "everything": ""}


@pytest.mark.parametrize("place", PLACES)
def test_a_server_whose_disk_hangs_ends_in_time_with_its_cells_open(
    tmp_path: Path, free_port: int, place: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    disk = FailingDisk(build(tmp_path), data)
    with (
        Journal(tmp_path / "journal") as journal,
        open_bench(tmp_path, free_port, **disk.environment) as bench,
    ):
        held, *busy = bench.slots
        load = Load(bench, journal, seed=8, slots=busy, pause=0.02)
        with load.running():
            run = bench.start_run(held, 600)
            until(lambda: load.count("measured") > 1, seconds=30, what="work")
            with disk.hanging(PLACES[place]):
                until(lambda: disk.failed, seconds=60, what="a call that hangs")
                print(f"{place}: {disk.what}")
                time.sleep(1.0)
                # Whoever looks whether the server lives asks no disk.
                assert httpx.get(f"{bench.server.url}/health", timeout=2.0).is_success
                assert not load.failures, load.failures
                load.end()
                asked = time.monotonic()
                bench.server.signal(signal.SIGTERM)
                bench.server.wait(EXIT_SECONDS + 20)
                gone = time.monotonic() - asked
                opened = max(bench.state(slot)["opened_at"] for slot in bench.slots) - asked
                print(f"{place}: cells open after {opened:.2f} s, gone after {gone:.2f} s")
        assert not bench.is_any_cell_closed()
        assert opened < SAFE_SECONDS
        assert gone < EXIT_SECONDS
        bench.server.start()
        bench.until_ready()
        (slot,) = bench.get(f"/jobs/{run}")["slots"]
        assert slot["status"] == "failed"
        account = Account(bench)
        account.compare(journal.entries())
        account.check_runs()
        account.check_files()
