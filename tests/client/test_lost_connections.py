"""Work is followed through restarts, and begun once however often an answer is lost."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchwire.client import AnswerLost, Bench, Unreachable, WorkFailed
from benchwire.client.work import Status
from tests.client.conftest import environment
from tests.support.lines import CutLine
from tests.support.ports import free_port
from tests.support.server import Server
from tests.support.waiting import until


@pytest.fixture
def line(lab: Any) -> Iterator[CutLine]:
    with CutLine(lab.server.port) as found:
        yield found


@pytest.fixture
def far(lab: Any, line: CutLine) -> Iterator[Bench]:
    """The client at the far end of a line that can be cut."""
    with Bench(line.url, api_key=lab.key, patience=20) as bench:
        yield bench


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server of this test's own, to be ended and started."""
    options = ("--emulate", "potentiostat=1")
    with Server(tmp_path / "data", free_port(), *options, environment=environment(None)) as server:
        yield server


# For slots that are named, what is on them is asked before.
@pytest.mark.parametrize(("slots", "lost"), [("all", 1), ("all", 3), ("slot01", 1), ("slot01", 4)])
def test_run_is_started_once_however_often_the_answer_is_lost(
    bench: Bench, far: Bench, line: CutLine, slots: str, lost: int
) -> None:
    before = bench.potentiostats.runs().height
    line.answers_to_lose = lost
    run = far.potentiostats.ocp(duration=0.2, slots=slots, make_plot=False)
    assert len(line.lost) == lost
    assert all(b"200 OK" in answer for answer in line.lost)
    assert bench.potentiostats.runs().height == before + 1
    run.wait(30)
    assert run.data("slot01").height > 1


def test_work_that_cannot_be_started_twice_is_not(
    bench: Bench, far: Bench, line: CutLine, lab: Any
) -> None:
    before = bench.jobs.all(domain="microscopy", limit=None).height
    line.answers_to_lose = 1
    with pytest.raises(AnswerLost, match="carried out all the same"):
        far.microscopy.workflow(
            lab.movie, lab.folder / "lost", phase=0, phase_features=[], fluorescence={},
            min_frames=2,
        )  # fmt: skip
    found = bench.jobs.all(domain="microscopy", limit=None)
    assert found.height == before + 1
    bench.microscopy.get(found["item_id"][0]).wait(60)


def test_readings_are_sent_again_without_harm(bench: Bench, far: Bench, line: CutLine) -> None:
    line.answers_to_lose = 1
    counts = far.battery.post("cut", {"timestamp": "2026-01-01T00:00:00Z", "soc": 50.0})
    assert counts == {"received": 1, "stored": 0, "updated": 0, "duplicates": 1}
    assert bench.battery.rows("cut").height == 1


def test_stream_goes_on_after_a_cut(far: Bench, line: CutLine) -> None:
    stream = far.meters.watch()
    seen = [next(stream) for _ in range(2)]
    line.cut()
    seen += [next(stream) for _ in range(3)]
    stream.close()
    times = [reading.at for reading in seen]
    assert times == sorted(set(times))


def test_download_is_whole_after_a_cut(
    bench: Bench, far: Bench, line: CutLine, tmp_path: Path
) -> None:
    run = bench.potentiostats.ocp(duration=0.5, slots="slot01", make_plot=False).wait(30)
    there = far.potentiostats.get(run.id)
    assert there.files
    line.answers_to_lose = 1
    path = far.crate("run", run.id, tmp_path / "crate.zip")
    assert path.stat().st_size > 1000
    assert [item.name for item in tmp_path.iterdir()] == ["crate.zip"]


def test_run_is_followed_through_a_restart(own: Server) -> None:
    with Bench(own.url, api_key="", patience=60) as bench:
        until(lambda: bench.potentiostats.slots(), seconds=20, what="the slot")
        run = bench.potentiostats.ca(potential=0.3, duration=120, make_plot=False)
        away, seen = threading.Event(), list[Status]()

        def restart() -> None:
            own.kill()
            assert away.wait(30)
            own.start()

        def on_status(status: Status) -> None:
            seen.append(status)
            if len(seen) == 2:
                restarting.start()

        restarting = threading.Thread(target=restart)
        last = run.watch(on_status, lambda _error, _seconds: away.set())
        restarting.join()
        assert last.state == "failed"
        assert "restart" in last.message
        with pytest.raises(WorkFailed, match="restart"):
            run.follow()
        assert run.data().height > 1


def test_start_survives_a_restart(own: Server) -> None:
    with CutLine(own.port) as line, Bench(line.url, api_key="", patience=60) as bench:
        until(lambda: bench.potentiostats.slots(), seconds=20, what="the slot")
        line.answers_to_lose = 1

        def restart() -> None:
            until(lambda: line.lost, seconds=20, what="the lost answer")
            own.kill()
            own.start()

        restarting = threading.Thread(target=restart)
        restarting.start()
        run = bench.potentiostats.ca(potential=0.3, duration=60, make_plot=False)
        restarting.join()
        assert bench.potentiostats.runs()["run_id"].to_list() == [run.id]
        if run.state == "running":
            run.cancel()
        assert run.wait(60, check=False).state in {"cancelled", "failed"}


def test_server_that_stays_away_is_given_up(own: Server) -> None:
    with Bench(own.url, api_key="") as bench:
        until(lambda: bench.potentiostats.slots(), seconds=20, what="the slot")
        run = bench.potentiostats.ca(potential=0.3, duration=60, make_plot=False)
        own.kill()
        with pytest.raises(Unreachable):
            run.follow(patience=0.5)
        own.start()


def test_frozen_server_is_waited_for(own: Server) -> None:
    with Bench(own.url, api_key="", timeout=1, patience=30) as bench:
        until(lambda: bench.potentiostats.slots(), seconds=20, what="the slot")
        run = bench.potentiostats.ocp(duration=0.2, make_plot=False)
        # Frozen while it measures, a server loses samples and says so: that is another test.
        address = f"{own.url}/jobs/{run.id}"
        until(lambda: httpx.get(address).json()["status"] == "done", seconds=20, what="its end")
        paused, late = threading.Event(), list[str]()
        assert own.process is not None
        process = own.process.pid
        os.kill(process, signal.SIGSTOP)

        def on_pause(error: Exception, _seconds: float) -> None:
            late.append(str(error))
            if not paused.is_set():
                os.kill(process, signal.SIGCONT)
                paused.set()

        assert run.watch(lambda _status: None, on_pause).state == "done"
        assert "no answer came in time" in late[0].lower()
