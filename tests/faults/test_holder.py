"""A process that holds instruments dies without the server, and the server without it."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.bench import Bench, open_bench
from tests.faults.meter_journal import MeterJournal
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced
SAFE_SECONDS = 2.0
END_SECONDS = 10.0
READ_AGAIN_SECONDS = 5.0
STEADY_SECONDS = 5.5


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended, though perhaps nobody has asked how."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def start_long_runs(bench: Bench) -> list[str]:
    """Begin a run on every slot and wait for a second of samples of each."""
    before = {slot: bench.state(slot)["ticks"] for slot in bench.slots}
    runs = [bench.start_run(slot, 600) for slot in bench.slots]
    until(
        lambda: all(bench.state(slot)["ticks"] > before[slot] + 3000 for slot in bench.slots),
        what="samples",
    )
    return runs


def check_that_it_works(bench: Bench, slot: str) -> None:
    again = bench.start_run(slot, 1)
    until(lambda: bench.get(f"/jobs/{again}")["status"] != "running", seconds=30, what="a run")
    assert bench.get(f"/jobs/{again}")["status"] == "done" or bench.was_starved(again)


def test_a_server_that_is_killed_leaves_every_cell_open(
    tmp_path: Path,
    free_port: int,
    database_url: str | None,
    soak_or: SoakOr,
) -> None:
    with open_bench(tmp_path, free_port, slots=2, meters=1, database_url=database_url) as bench:
        for _ in range(soak_or(2, 20)):
            runs = start_long_runs(bench)
            (holder,) = bench.server.holders
            bench.server.kill_alone()
            killed = time.monotonic()
            until(lambda: not bench.is_any_cell_closed(), seconds=20, what="safety")
            for slot in bench.slots:
                assert bench.state(slot)["opened_at"] - killed < SAFE_SECONDS
            until(lambda holder=holder: has_ended(holder), what="the holder's end")
            assert not any(bench.state(slot)["running"] for slot in bench.slots)
            bench.server.start()
            bench.until_ready()
            for run in runs:
                assert bench.get(f"/jobs/{run}")["status"] == "failed"
                assert len(bench.table_from_the_start(run)) > 1000
        check_that_it_works(bench, "slot01")


def test_another_takes_the_place_of_a_holder_that_is_killed(
    tmp_path: Path, free_port: int, soak_or: SoakOr
) -> None:
    with open_bench(tmp_path, free_port, slots=2, meters=1) as bench:
        for _ in range(soak_or(3, 20)):
            runs = start_long_runs(bench)
            (holder,) = bench.server.holders
            holder.kill()
            killed = time.monotonic()
            until(lambda: not bench.is_any_cell_closed(), seconds=30, what="safety")
            opened = max(bench.state(slot)["opened_at"] for slot in bench.slots)
            print(f"open {opened - killed:.2f} s after the holder was killed")
            assert opened - killed < SAFE_SECONDS
            for run in runs:
                until(lambda run=run: bench.get(f"/jobs/{run}")["status"] == "failed", what="end")
                (slot,) = bench.get(f"/jobs/{run}")["slots"]
                assert "ended" in slot["message"]
                assert len(bench.table_from_the_start(run)) > 1000
            bench.until_ready()
        check_that_it_works(bench, "slot02")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_ends_without_its_holder_has_opened_every_cell(
    tmp_path: Path, free_port: int, number: signal.Signals, soak_or: SoakOr
) -> None:
    """Nobody is left who could do it later: another holder does it before the server goes."""
    with open_bench(tmp_path, free_port, slots=2, meters=1) as bench:
        for _ in range(soak_or(1, 20)):
            runs = start_long_runs(bench)
            (holder,) = bench.server.holders
            holder.send_signal(number)
            begun = time.monotonic()
            assert bench.server.stop() == 0
            took = time.monotonic() - begun
            print(f"ended after {took:.2f} s")
            assert not bench.is_any_cell_closed()
            assert took < END_SECONDS
            assert has_ended(holder)
            bench.server.start()
            bench.until_ready()
            for run in runs:
                assert bench.get(f"/jobs/{run}")["status"] == "failed"
                assert len(bench.table_from_the_start(run)) > 1000


def test_another_takes_the_place_of_a_reader_of_meters(
    tmp_path: Path, free_port: int, soak_or: SoakOr
) -> None:
    """The gap is told, what was shown is stored, and no count begins anew."""
    with open_bench(tmp_path, free_port, slots=1, meters=2) as bench:
        run = bench.start_run("slot01", 600)
        journal = MeterJournal(bench.server.url)
        for turn in range(soak_or(2, 20)):
            bench.meters.control("p1", "unplug")
            until(lambda: not bench.get("/api/status")["connected"], what="the unplug")
            bench.meters.control("p1", "replug")
            until(lambda: bench.get("/api/status")["connected"], what="the meter")
            # One that has lasted so long is not waited for longer than the one before.
            time.sleep(STEADY_SECONDS if turn else 0)
            missed = bench.get("/api/status")["missed_polls"]
            (reader,) = bench.server.meter_readers
            reader.kill()
            killed = time.monotonic()
            until(lambda: not bench.get("/api/status")["connected"], what="the loss")
            until(lambda: bench.get("/api/status")["connected"], what="the meter")
            took = time.monotonic() - killed
            print(f"read again after {took:.2f} s")
            assert took < READ_AGAIN_SECONDS
            assert bench.get("/api/status")["reconnects"] == turn + 1
            # Ten were due in each second.
            until(
                lambda missed=missed: bench.get("/api/status")["missed_polls"] >= missed + 5,
                what="the count",
            )
        until(lambda: bench.get("/api/meters")[1]["connected"], what="the other meter")
        assert journal.lost() == set()
        assert bench.get(f"/jobs/{run}")["status"] == "running"
        bench.server.meter_readers[0].kill()
        begun = time.monotonic()
        assert bench.server.stop() == 0
        assert time.monotonic() - begun < END_SECONDS


def test_a_reader_of_meters_ends_with_its_server(tmp_path: Path, free_port: int) -> None:
    with open_bench(tmp_path, free_port, slots=1, meters=1) as bench:
        (reader,) = bench.server.meter_readers
        bench.server.kill_alone()
        until(lambda: has_ended(reader), what="its end")
        bench.server.start()
        bench.until_ready()
