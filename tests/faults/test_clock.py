"""The computer's clock is set while everything works: nothing is lost, torn or out of order."""

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.account import Account
from tests.faults.bench import ATTEMPTS, Bench, open_bench
from tests.faults.journal import Journal
from tests.faults.load import Load
from tests.support.server import Server
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced
CLOCK = "clock"
HOUR = 3600.0
STEPS = (HOUR, -HOUR, -10.0)
RUN_SECONDS = 3.0
# On cores that other tests use as well.
MOST_LATE_SECONDS = 3.0
LONGEST_SILENCE_SECONDS = 2.0
"""On a stream that tells each reading ten times a second and its age once."""


class ClockServer(Server):
    """A server whose clock somebody else sets."""

    module = "tests.faults.clock_server"

    @property
    def _clock(self) -> Path:
        return self.data_dir.parent / CLOCK

    def set_clock(self, seconds: float) -> None:
        """Set its clock so many s ahead of the machine's."""
        self._clock.write_text(str(seconds))
        self.signal(signal.SIGUSR1)

    def set_clock_by(self, seconds: float) -> None:
        """Set its clock forward or back."""
        self.set_clock(float(self._clock.read_text()) + seconds)


@contextmanager
def open_clock_bench(
    folder: Path, port: int, slots: int, ahead: float = 0.0, database_url: str | None = None
) -> Iterator[Bench]:
    """Give a bench in Berlin whose clock is so many s ahead of the machine's."""
    (folder / CLOCK).write_text(str(ahead))
    with open_bench(
        folder, port, slots=slots, meters=1, server=ClockServer, database_url=database_url,
        TZ="Europe/Berlin", CLOCK_FILE=str(folder / CLOCK),
    ) as bench:  # fmt: skip
        yield bench


class Listener:
    """A client that follows a stream and notes for how long it was silent at most."""

    def __init__(self, url: str) -> None:
        self.longest = 0.0
        self.count = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(url,))
        self._thread.start()

    def _listen(self, url: str) -> None:
        last = time.monotonic()
        with httpx.stream("GET", url, timeout=30) as answer:
            for _ in answer.iter_lines():
                now = time.monotonic()
                self.longest, self.count, last = max(self.longest, now - last), self.count + 1, now
                if self._over.is_set():
                    return

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def to_summer(seconds: float) -> float:
    """Return by how many s to set the clock for the hour that Berlin skips to be so far ahead."""
    skipped = datetime(2026, 3, 29, 1, tzinfo=UTC)
    return (skipped - datetime.now(UTC)).total_seconds() - seconds


def points_of(bench: Bench) -> list[dict[str, Any]]:
    return list(bench.get("/api/data/24h")["data"])


def check_run(bench: Bench, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Check that a run lasts as long as it should while something else is done.

    Its own times are counted from its samples, so it is timed from outside as well.
    """
    for _ in range(ATTEMPTS):
        asked = time.monotonic()
        run = bench.start_run("slot01", RUN_SECONDS)
        begun = time.monotonic()
        meanwhile()
        is_starved = bench.was_starved(run)
        ended = time.monotonic()
        if not is_starved:
            break
    assert bench.get(f"/jobs/{run}")["status"] == "done", bench.get(f"/jobs/{run}")
    # The first sample is seen a moment after it was taken, the end a moment after it came.
    assert ended - asked > RUN_SECONDS
    assert ended - begun < RUN_SECONDS + MOST_LATE_SECONDS
    times = [row[0] for row in bench.table(run)]
    assert times[-1] == pytest.approx(RUN_SECONDS, rel=0.01)
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_a_clock_that_is_set_harms_nothing(
    tmp_path: Path,
    free_port: int,
    database_url: str | None,
    soak_or: SoakOr,
) -> None:
    """Forward and back by an hour, back by 10 s, and over the hour that a summer skips."""
    with (
        Journal(tmp_path / "journal") as journal,
        open_clock_bench(tmp_path, free_port, slots=2, database_url=database_url) as bench,
    ):
        load = Load(bench, journal, seed=9, slots=["slot02"], pause=0.1)
        listener = Listener(f"{bench.server.url}/api/live")
        jobs = Listener(f"{bench.server.url}/events/jobs")
        with load.running():
            until(lambda: load.count("reading") > 5, seconds=30, what="readings")
            for step in STEPS * soak_or(1, 20):
                check_run(bench, lambda step=step: bench.server.set_clock_by(step))
            # While there are events, as each listener waits for one more.
            jobs.end()
        listener.end()
        print(f"silent for {listener.longest:.2f} s, of jobs for {jobs.longest:.2f} s at most")
        assert not load.failures, load.failures
        assert not load.refusals, [answer.text for answer in load.refusals]
        assert listener.count > 50
        assert jobs.count > 3 * len(STEPS)
        # They are told as fast as there is work, and without any every 15 s.
        assert jobs.longest < 3 * LONGEST_SILENCE_SECONDS
        assert listener.longest < LONGEST_SILENCE_SECONDS
        # The clients have left without waiting for their last run.
        until(lambda: all(run["ended_at"] for run in bench.get("/jobs")), what="the last run")
        account = Account(bench)
        account.compare(journal.entries())
        account.check_runs()
        stamps = [point["utc"] for point in points_of(bench)]
        assert stamps == sorted(set(stamps))
        assert "Traceback" not in bench.server.log
        # A new life begins while the clock is behind what the last one has stored.
        assert bench.server.stop() == 0
        bench.server.start()
        bench.until_ready()
        check_run(bench)
        account = Account(bench)
        account.compare(journal.entries())
        until(lambda: len(points_of(bench)) > len(stamps) + 5, what="new readings")
        stamps = [point["utc"] for point in points_of(bench)]
        assert stamps == sorted(set(stamps))


def test_the_hour_that_summer_skips_is_none_in_the_data(tmp_path: Path, free_port: int) -> None:
    with open_clock_bench(tmp_path, free_port, slots=1, ahead=to_summer(600)) as bench:
        until(lambda: points_of(bench), what="a reading")
        bench.server.set_clock(to_summer(4))
        check_run(bench)
        until(
            lambda: points_of(bench)[-1]["utc"] > "2026-03-29T01:00:02", seconds=60, what="summer"
        )
        points = [point for point in points_of(bench) if point["utc"] > "2026-03-29T00:59:55"]
        times = [datetime.fromisoformat(point["utc"]) for point in points]
        steps = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
        assert points[0]["utc"] < "2026-03-29T01:00:00"
        assert max(steps) < LONGEST_SILENCE_SECONDS
        # Within one answer all local times are those of the present season.
        local = [point["timestamp"] for point in points]
        assert local == sorted(local)
        assert local[-1] > "2026-03-29T03:00:00"
