"""A server frozen for a while: what it missed is told as missed, and nothing is caught up with.

The instrument has no watchdog of its own: it holds the last potential until the process that holds
it is back or another has taken its place, and its cell is open within a moment of that.
"""

import itertools
import os
import signal
import time
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from benchwire.foundation.companion import SILENCE_SECONDS
from tests.faults.bench import ATTEMPTS, SAMPLE_SECONDS, Bench, open_bench
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced
PERIOD = 0.1
SAFE_SECONDS = 2.0


def freeze(process: int, seconds: float) -> None:
    """Have a process stand still for so long."""
    os.kill(process, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(process, signal.SIGCONT)


def readings(bench: Bench) -> list[dict[str, object]]:
    return list(bench.get("/api/data/24h")["data"])


def test_a_frozen_server_misses_no_reading_and_no_sample(
    tmp_path: Path,
    free_port: int,
    database_url: str | None,
    soak_or: SoakOr,
) -> None:
    """Potentiostats are held by a process of their own, and meters by another."""
    seconds = soak_or(4, 30)
    with open_bench(tmp_path, free_port, slots=2, meters=1, database_url=database_url) as bench:
        until(lambda: len(readings(bench)) > 10, what="readings")
        for _ in range(ATTEMPTS):
            run = bench.start_run("slot01", seconds + 6)
            until(lambda: bench.state("slot01")["ticks"] > 1000, what="samples")
            with httpx.stream("GET", f"{bench.server.url}/api/live", timeout=30) as live:
                events = live.iter_lines()
                next(events)
                freeze(bench.server.pid, seconds)
                assert next(line for line in events if line.startswith("data:"))
            closings = bench.state("slot01")["closings"]
            if not bench.was_starved(run):
                break
        assert bench.get(f"/jobs/{run}")["status"] == "done", bench.get(f"/jobs/{run}")
        assert len(bench.table_from_the_start(run)) == int((seconds + 6) / SAMPLE_SECONDS)
        until(lambda: len(readings(bench)) > 10 * (seconds + 3), what="readings after it")
        assert longest_step(bench)[1] < seconds / 2
        assert bench.get("/api/alarms")["events"] == []
        assert bench.get("/api/stats/24h")["energy"]["gap_s"] == 0
        # Nothing that was due meanwhile is asked for now.
        state = bench.state("slot01")
        assert not state["running"]
        assert not state["cell_closed"]
        assert state["closings"] == closings
        assert bench.server.stop() == 0


def test_a_frozen_holder_leaves_its_instruments_safe(
    tmp_path: Path, free_port: int, soak_or: SoakOr
) -> None:
    """For a while it is waited for; after a longer one another process takes its place."""
    seconds = soak_or(4, 30)
    with open_bench(tmp_path, free_port, slots=1, meters=1) as bench:
        run = bench.start_run("slot01", 600)
        until(lambda: bench.state("slot01")["ticks"] > 1000, what="samples")
        (holder,) = bench.server.holders
        if seconds < SILENCE_SECONDS:
            freeze(holder.pid, seconds)
            back = time.monotonic()
        else:
            holder.send_signal(signal.SIGSTOP)
            back = time.monotonic() + SILENCE_SECONDS + 2
        until(lambda: not bench.state("slot01")["cell_closed"], seconds=30, what="safety")
        assert bench.state("slot01")["opened_at"] - back < SAFE_SECONDS
        until(lambda: bench.get(f"/jobs/{run}")["status"] == "failed", what="the run's end")
        (slot,) = bench.get(f"/jobs/{run}")["slots"]
        # Which of the reasons depends on whether it was frozen with an answer on its way.
        assert any(word in slot["message"] for word in ("lost", "ended")), slot
        bench.table_from_the_start(run)
        until(lambda: len(bench.get("/devices")) == 1, what="the instrument")
        again = bench.start_run("slot01", 1)
        until(lambda: bench.get(f"/jobs/{again}")["status"] == "done", seconds=20, what="a run")


def test_a_frozen_reader_of_meters_leaves_a_gap_and_no_burst(
    tmp_path: Path, free_port: int, soak_or: SoakOr
) -> None:
    """For a while it is waited for; after a longer one another process takes its place."""
    seconds = soak_or(4, 30)
    with open_bench(tmp_path, free_port, slots=1, meters=1) as bench:
        until(lambda: len(readings(bench)) > 10, what="readings")
        (reader,) = bench.server.meter_readers
        reader.send_signal(signal.SIGSTOP)
        if seconds < SILENCE_SECONDS:
            time.sleep(seconds)
            reader.send_signal(signal.SIGCONT)
        else:
            until(lambda: not reader.is_running(), seconds=seconds, what="its end")
        before = len(readings(bench))
        until(lambda: len(readings(bench)) > before + 20, what="readings after it")
        check_gap(bench, min(seconds, SILENCE_SECONDS))


def longest_step(bench: Bench) -> tuple[datetime, float]:
    """Return the longest time (s) between two readings, and when the later one was taken."""
    times = [datetime.fromisoformat(str(point["utc"])) for point in readings(bench)]
    return max(
        ((after, (after - before).total_seconds()) for before, after in itertools.pairwise(times)),
        key=lambda step: step[1],
    )


def check_gap(bench: Bench, seconds: float) -> None:
    """Check that readings have a gap of that length, and neither a burst nor a sum over it."""
    end, longest = longest_step(bench)
    assert seconds - PERIOD <= longest < seconds + 3
    times = [datetime.fromisoformat(str(point["utc"])) for point in readings(bench)]
    after = [at for at in times if 0 <= (at - end).total_seconds() < 1]
    assert len(after) <= 1 / PERIOD + 2, "what was missed is caught up with"
    gap = bench.get("/api/stats/24h")["energy"]["gap_s"]
    assert gap == pytest.approx(longest, abs=1.0)


def test_a_short_freeze_loses_no_sample(tmp_path: Path, free_port: int) -> None:
    """Both buffers of the instrument hold more than half a second."""
    with open_bench(tmp_path, free_port, slots=1, meters=1) as bench:
        for _ in range(ATTEMPTS):
            run = bench.start_run("slot01", 3)
            time.sleep(0.5)
            freeze(bench.server.holders[0].pid, 0.3)
            if not bench.was_starved(run):
                break
        assert bench.get(f"/jobs/{run}")["status"] == "done", bench.get(f"/jobs/{run}")
        assert len(bench.table(run)) == int(3 / SAMPLE_SECONDS)
