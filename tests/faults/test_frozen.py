"""A server frozen for a while: what it missed is told as missed, and nothing is caught up with.

The instrument has no watchdog of its own: it holds the last potential until the server is back,
and its cell is open within a moment of that.
"""

import itertools
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from tests.faults.bench import ATTEMPTS, Bench, open_bench
from tests.support.waiting import until

pytestmark = pytest.mark.paced
PERIOD = 0.1
SAFE_SECONDS = 2.0
SAMPLE_SECONDS = 0.00036


def freeze(bench: Bench, seconds: float) -> None:
    """Have the server's process stand still for so long."""
    bench.server.signal(signal.SIGSTOP)
    time.sleep(seconds)
    bench.server.signal(signal.SIGCONT)


def readings(bench: Bench) -> list[dict[str, object]]:
    return list(bench.get("/api/data/24h")["data"])


def test_what_a_frozen_server_missed_is_a_gap(
    tmp_path: Path, free_port: int, soak_or: Callable[[int, int], int]
) -> None:
    seconds = soak_or(4, 30)
    with open_bench(tmp_path, free_port, slots=2, meters=1) as bench:
        until(lambda: len(readings(bench)) > 10, what="readings")
        run = bench.start_run("slot01", 600)
        until(lambda: bench.state("slot01")["ticks"] > 1000, what="samples")
        with httpx.stream("GET", f"{bench.server.url}/api/live", timeout=30) as live:
            events = live.iter_lines()
            next(events)
            closings = bench.state("slot01")["closings"]
            freeze(bench, seconds)
            back = time.monotonic()
            until(lambda: not bench.state("slot01")["cell_closed"], seconds=10, what="safety")
            assert bench.state("slot01")["opened_at"] - back < SAFE_SECONDS
            until(lambda: bench.get(f"/jobs/{run}")["status"] == "failed", what="the run's end")
            assert next(line for line in events if line.startswith("data:"))
        (slot,) = bench.get(f"/jobs/{run}")["slots"]
        # Which of the reasons depends on whether it was frozen with an answer on its way.
        assert "samples" in slot["message"], slot
        assert "lost" in slot["message"], slot
        rows = bench.table(run)
        assert [row[0] for row in rows] == pytest.approx(
            [number * SAMPLE_SECONDS for number in range(len(rows))], abs=1e-6
        )
        until(lambda: len(readings(bench)) > 30, what="readings after it")
        check_gap(bench, seconds)
        # Nothing that was due meanwhile is asked for now.
        time.sleep(1)
        state = bench.state("slot01")
        assert not state["running"]
        assert not state["cell_closed"]
        assert state["closings"] == closings
        again = bench.start_run("slot01", 1)
        until(lambda: bench.get(f"/jobs/{again}")["status"] == "done", seconds=20, what="a run")
        assert bench.server.stop() == 0


def check_gap(bench: Bench, seconds: float) -> None:
    """Check that readings have a gap of that length, and neither a burst nor a sum over it."""
    times = [datetime.fromisoformat(str(point["utc"])) for point in readings(bench)]
    steps = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
    longest = max(range(len(steps)), key=steps.__getitem__)
    assert seconds - PERIOD <= steps[longest] < seconds + 2
    after = [at for at in times if 0 <= (at - times[longest + 1]).total_seconds() < 1]
    assert len(after) <= 1 / PERIOD + 2, "what was missed is caught up with"
    gap = bench.get("/api/stats/24h")["energy"]["gap_s"]
    assert gap == pytest.approx(steps[longest], abs=1.0)


def test_a_short_freeze_loses_no_sample(tmp_path: Path, free_port: int) -> None:
    """Both buffers of the instrument hold more than half a second."""
    with open_bench(tmp_path, free_port, slots=1, meters=1) as bench:
        for _ in range(ATTEMPTS):
            run = bench.start_run("slot01", 3)
            time.sleep(0.5)
            freeze(bench, 0.3)
            if not bench.was_starved(run):
                break
        assert bench.get(f"/jobs/{run}")["status"] == "done", bench.get(f"/jobs/{run}")
        assert len(bench.table(run)) == int(3 / SAMPLE_SECONDS)
