"""A bench that measures all the time with its pages open: nothing grows, and no poll is missed."""

import contextlib
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.bench import Bench, open_bench
from tests.support.at_work import AtWork
from tests.support.browser import NEEDS_CHROMIUM, watched_page

pytestmark = [pytest.mark.paced, *NEEDS_CHROMIUM]

PAGES = ("/ui/powermeter", "/ui/potentiostat")
SHORT_SECONDS, SHORT_PERIOD, LONG_PERIOD = 40.0, 2.0, 30.0
RUN_SECONDS, PAUSE_SECONDS, POLLING_SECONDS = 4.0, 1.0, 0.1
SETTLED = 1 / 3
"""The part of the time after which memory is compared with that at the end."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be more at the end than it was once all had settled, as a part of it."""

    memory: float
    heap: float
    missed: float


# An hour and more tells a leak from a cache; a minute tells that it is not a flood.
LONG, SHORT = Bounds(0.05, 0.20, 1e-5), Bounds(0.15, 0.50, 1e-2)


@dataclass(frozen=True, slots=True)
class Look:
    """What a server and its open pages hold at one moment."""

    memory: int
    files: int
    threads: int
    heap: float
    nodes: float


class Cycling(AtWork):
    """Runs on every slot, one after the other, until it is left."""

    def __init__(self, bench: Bench) -> None:
        self.ends: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self._bench = bench
        super().__init__(*(partial(self._cycle, slot) for slot in bench.slots))

    def _cycle(self, slot: str) -> None:
        try:
            while not self._over.wait(PAUSE_SECONDS):
                run = self._bench.start_run(slot, RUN_SECONDS)
                self._over.wait(RUN_SECONDS)
                while (told := self._bench.get(f"/jobs/{run}"))["status"] == "running":
                    time.sleep(0.2)
                self.ends[told["status"]] += 1
        except BaseException as error:
            self.failures.append(error)


class Observed:
    """A bench and its open pages, looked at from outside."""

    def __init__(self, bench: Bench, pages: list[Any]) -> None:
        self._bench = bench
        self._sessions = [page.context.new_cdp_session(page) for page in pages]
        for session in self._sessions:
            session.send("HeapProfiler.enable")

    def look(self) -> Look:
        server = psutil.Process(self._bench.server.pid)
        everyone = [server, *self._bench.server.holders, *self._bench.server.meter_readers]
        heap = nodes = 0.0
        for session in self._sessions:
            session.send("HeapProfiler.collectGarbage")
            heap += session.send("Runtime.getHeapUsage")["usedSize"]
            nodes += session.send("Memory.getDOMCounters")["nodes"]
        return Look(
            memory=sum(process.memory_info().rss for process in everyone),
            files=sum(process.num_fds() for process in everyone),
            threads=sum(process.num_threads() for process in everyone),
            heap=heap,
            nodes=nodes,
        )

    def missed_polls(self) -> int:
        """Return how many polls of all meters were missed so far."""
        names = [meter["meter"] for meter in self._bench.get("/api/meters")]
        return sum(self._bench.get("/api/status", meter=name)["missed_polls"] for name in names)


@contextlib.contextmanager
def observed(bench: Bench, browser: Any) -> Iterator[Observed]:
    """Have pages open that a lab leaves on its screens."""
    with ExitStack() as stack:
        pages = [stack.enter_context(watched_page(browser, bench.server.url)) for _ in PAGES]
        for page, path in zip(pages, PAGES, strict=True):
            page.goto(f"{bench.server.url}{path}")
            page.locator("[data-bw-connection][data-state=connected]").wait_for(state="attached")
        yield Observed(bench, pages)


def growth(values: list[float]) -> float:
    """Return by what part of it a quantity is more in the end than it was once settled."""
    part = max(3, len(values) // 6)
    settled = values[int(len(values) * SETTLED) :]
    return statistics.median(settled[-part:]) / statistics.median(settled[:part]) - 1


@pytest.mark.slow
def test_nothing_grows_and_nothing_is_missed(
    tmp_path: Path, free_port: int, browser: Any, request: pytest.FixtureRequest
) -> None:
    is_soak = request.config.getoption("soak")
    hours = request.config.getoption("hours")
    seconds, period = (hours * 3600, LONG_PERIOD) if is_soak else (SHORT_SECONDS, SHORT_PERIOD)
    bounds = LONG if is_soak else SHORT
    kept = 10 if is_soak else 1
    settings = {
        "BENCHWIRE_UI": "true",
        # Old readings leave memory before all has settled.
        "BENCHWIRE_POWERMETER_DATA_RETENTION_MINUTES": str(kept),
    }
    slots, meters = request.config.getoption("slots") if is_soak else 2, 4
    looks: list[Look] = []
    with (
        open_bench(tmp_path, free_port, slots=slots, meters=meters, **settings) as bench,
        observed(bench, browser) as it,
        Cycling(bench) as runs,
    ):
        began = time.monotonic()
        missed_before = it.missed_polls()
        for number in itertools.count(1):
            time.sleep(max(0.0, began + number * period - time.monotonic()))
            looks.append(it.look())
            assert not runs.failures, runs.failures
            if number % 10 == 0:
                print(f"{number * period:.0f} s: {looks[-1]}, {dict(runs.ends)}", flush=True)
            if number * period >= seconds:
                break
        missed = it.missed_polls() - missed_before
        readings = len(bench.get(f"/api/data/{kept}m")["data"])
    polls = meters * seconds / POLLING_SECONDS
    memory, heap = (growth([getattr(look, what) for look in looks]) for what in ("memory", "heap"))
    nodes = growth([look.nodes for look in looks])
    files, threads = ([getattr(look, what) for look in looks] for what in ("files", "threads"))
    late = len(looks) // 2
    print(f"{seconds:.0f} s, {dict(runs.ends)} runs; memory {looks[-1].memory / 1e6:.0f} MB, "
          f"{memory:+.1%}; heap of the pages {looks[-1].heap / 1e6:.1f} MB, {heap:+.1%}; nodes "
          f"{nodes:+.1%}; files {max(files[:late])}, later {max(files[late:])}; threads "
          f"{max(threads[:late])}, later {max(threads[late:])}; {missed} of {polls:.0f} polls "
          "missed")  # fmt: skip
    # On two cores that emulators and browsers share, some lose samples on the line, and say so.
    assert runs.ends["done"] > 0.9 * runs.ends.total()
    assert memory < bounds.memory
    assert heap < bounds.heap
    assert nodes < bounds.heap
    # One request more or less may be under way.
    assert max(files[late:]) <= max(files[:late]) + 4
    assert max(threads[late:]) <= max(threads[:late]) + 4
    assert missed <= max(1.0, bounds.missed * polls)
    assert readings > min(seconds, kept * 60) / POLLING_SECONDS / 2
