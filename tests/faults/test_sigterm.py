"""Asked to end under full load, a server leaves its instruments safe and says what it cut short."""

import random
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.faults.account import Account
from tests.faults.bench import Bench, open_bench
from tests.faults.journal import Journal
from tests.faults.load import Load
from tests.support.soaking import SoakOr
from tests.support.waiting import until

pytestmark = pytest.mark.paced
SEED = 15
SAFE_SECONDS = 1.0
EXIT_SECONDS = 10.0
STREAMS = ("/events/jobs", "/api/live")


@contextmanager
def open_streams(port: int, count: int) -> Iterator[None]:
    """Have so many clients follow events and read hardly any of them."""
    with ExitStack() as stack:
        for number in range(count):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            path = STREAMS[number % len(STREAMS)]
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert line.recv(100).startswith(b"HTTP/1.1 200"), path
        yield


def end(bench: Bench, slots: list[str]) -> tuple[float, float]:
    """Ask the server to end, and return the s until all cells were open and until it was gone."""
    asked = time.monotonic()
    bench.server.signal(signal.SIGTERM)
    assert bench.server.wait(EXIT_SECONDS) == 0, bench.server.log
    gone = time.monotonic() - asked
    assert not bench.is_any_cell_closed()
    return max(bench.state(slot)["opened_at"] for slot in slots) - asked, gone


def test_a_signal_under_load_leaves_everything_safe(
    tmp_path: Path,
    free_port: int,
    database_url: str | None,
    soak_or: SoakOr,
) -> None:
    chance = random.Random(SEED)
    worst = (0.0, 0.0)
    with (
        Journal(tmp_path / "journal") as journal,
        open_bench(tmp_path, free_port, database_url=database_url) as bench,
    ):
        *held, busy = bench.slots
        load = Load(bench, journal, SEED, slots=[busy], pause=0.02)
        for _ in range(soak_or(2, 100)):
            before = len(journal.entries())
            runs = [bench.start_run(slot, 600) for slot in held]
            with load.running(), open_streams(free_port, soak_or(40, 200)):
                time.sleep(chance.uniform(0.5, 3.0))
                # A machine with too much to do may have starved one before.
                runs = [run for run in runs if bench.get(f"/jobs/{run}")["status"] == "running"]
                assert runs
                seconds = end(bench, list(bench.slots))
            worst = (max(worst[0], seconds[0]), max(worst[1], seconds[1]))
            assert seconds[0] <= SAFE_SECONDS, seconds
            bench.server.start()
            bench.until_ready()
            assert not bench.is_any_cell_closed()
            last = bench.get("/away")["last_stop"]
            assert not last["unclean"]
            assert set(runs) <= set(last["interrupted_jobs"])
            for run in runs:
                (slot,) = bench.get(f"/jobs/{run}")["slots"]
                assert (slot["status"], slot["message"]) == ("failed", "server stopped")
                assert len(bench.table(run)) > 100
            account = Account(bench)
            account.compare(journal.entries()[before:])
            account.check_runs()
            assert not load.failures, load.failures
        print(f"cells open after {worst[0]:.2f} s, gone after {worst[1]:.2f} s at worst")
        assert "Traceback" not in bench.server.log


@pytest.mark.skipif(sys.platform == "win32", reason="there are no sessions of terminals")
def test_the_end_of_a_session_leaves_every_cell_open(tmp_path: Path, free_port: int) -> None:
    """All of the server's processes are told, as when a terminal is closed or a computer stops."""
    with open_bench(tmp_path, free_port) as bench:
        for slot in bench.slots:
            bench.start_run(slot, 600)
        until(lambda: all(bench.state(slot)["cell_closed"] for slot in bench.slots), seconds=20)
        server = psutil.Process(bench.server.pid)
        for process in [*server.children(recursive=True), server]:
            process.send_signal(signal.SIGHUP)
        assert bench.server.wait(EXIT_SECONDS) == 0
        assert not bench.is_any_cell_closed()
