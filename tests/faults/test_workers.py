"""Workers that are killed, hang, or ask for more memory than there is: only their part is touched.

What the executor promises piece by piece is in ``tests/foundation/test_workers.py``; here are the
times, the counts, and a whole workflow around it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchwire.domains.microscopy.simulation import write_demo_movie
from benchwire.foundation.workers import (
    ProcessExecutor,
    WorkNeedsMemory,
    WorkStopped,
)
from tests.support import work
from tests.support.analysis import Desk, running
from tests.support.soaking import SoakOr
from tests.support.waiting import until

MEMORY = 700_000_000
FOVS = 3
START = "/processing/workflow/start"


@pytest.fixture
def executor() -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(2, memory=MEMORY)
    yield made
    made.close()


def workers() -> list[psutil.Process]:
    """Worker processes of this one."""
    found = []
    for process in psutil.Process().children():
        try:
            if "benchwire.foundation.workers" in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def kill_workers() -> int:
    killed = workers()
    for process in killed:
        process.kill()
    return len(killed)


# -- the pool ----------------------------------------------------------------------------------


def test_a_killed_worker_is_back_at_once_and_its_work_is_done(
    executor: ProcessExecutor, soak_or: SoakOr
) -> None:
    executor.submit(work.add, 1, 1).result(30)
    worst = 0.0
    for _ in range(soak_or(3, 300)):
        lasting = executor.submit(work.hold, 0.3)
        until(lasting.running)
        time.sleep(0.05)
        began = time.monotonic()
        assert kill_workers() > 0
        assert executor.submit(work.add, 1, 2).result(30) == 3
        worst = max(worst, time.monotonic() - began)
        assert lasting.exception(30) is None, "it was tried once more"
    print(f"the pool worked again within {worst:.2f} s")
    assert worst < soak_or(5.0, 2.0)


def test_a_worker_that_spins_is_stopped_in_time(executor: ProcessExecutor, soak_or: SoakOr) -> None:
    worst = 0.0
    for _ in range(soak_or(2, 100)):
        stop = threading.Event()
        spinning = executor.submit(work.spin, stop=stop)
        until(spinning.running)
        time.sleep(0.3)
        other = executor.submit(work.add, 2, 2)
        stop.set()
        began = time.monotonic()
        assert isinstance(spinning.exception(30), WorkStopped)
        worst = max(worst, time.monotonic() - began)
        assert other.result(30) == 4
    print(f"stopped within {worst:.2f} s")
    assert worst < soak_or(3.0, 2.0)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="memory is limited on Linux")
@pytest.mark.parametrize("piece", [work.fill_memory, work.fill_memory_slowly, work.fill_array])
def test_work_that_fills_the_memory_fails_alone(
    executor: ProcessExecutor, soak_or: SoakOr, piece: Callable[..., int]
) -> None:
    before = psutil.Process().memory_info().rss
    for _ in range(soak_or(2, 100)):
        other = executor.submit(work.hold, 0.1)
        error = executor.submit(piece, 2_000_000_000).exception(60)
        assert isinstance(error, WorkNeedsMemory)
        assert "memory" in error.message
        assert other.exception(30) is None
        assert executor.submit(piece, 50_000_000).result(60) == 50_000_000
    assert psutil.Process().memory_info().rss - before < 50_000_000
    assert all(process.memory_info().rss < MEMORY for process in workers())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="memory is limited on Linux")
def test_the_system_would_end_a_worker_before_the_server(executor: ProcessExecutor) -> None:
    number = executor.submit(work.process_id).result(30)
    own = int(Path("/proc/self/oom_score_adj").read_text("ascii"))
    assert int(Path(f"/proc/{number}/oom_score_adj").read_text("ascii")) > own


# -- a workflow around it ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("workers")
    area = folder / "area"
    area.mkdir()
    write_demo_movie(
        area / "cells.ome.tif", seed=5, n_fovs=FOVS, n_frames=30, size=320, n_cells=4
    )  # fmt: skip
    with running(folder / "data", area, compute_processes=1) as desk:
        yield desk


@pytest.fixture(scope="module")
def undisturbed(desk: Desk) -> dict[str, bytes]:
    """The traces of a workflow that nothing happened to."""
    desk.completed(desk.workflow(desk.area / "cells.ome.tif", desk.area / "undisturbed"))
    return traces_in(desk.area / "undisturbed")


def traces_in(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in folder.rglob("*_traces.csv")}
    assert found
    return found


def start(desk: Desk, name: str) -> str:
    body = desk.workflow(desk.area / "cells.ome.tif", desk.area / name)
    return desk.post(START, body)["job_id"]


def fov_under_way(desk: Desk, job_id: str) -> int | None:
    step = desk.get(f"/processing/workflow/status/{job_id}")["current_step"] or ""
    return int(step.split()[-1].partition("/")[0]) - 1 if step.startswith("Processing") else None


def test_a_workflow_whose_worker_is_killed_goes_on_and_gives_the_same(
    desk: Desk, undisturbed: dict[str, bytes], soak_or: SoakOr
) -> None:
    killed = 0
    for turn in range(soak_or(2, 60)):
        name = f"killed{turn}"
        job_id = start(desk, name)
        fov = turn % FOVS
        until(lambda job_id=job_id, fov=fov: fov_under_way(desk, job_id) == fov, seconds=60)
        killed += kill_workers()
        status = desk.ended(job_id)
        assert status["status"] == "completed", status
        assert traces_in(desk.area / name) == undisturbed
        assert not list((desk.area / name).rglob("*.part"))
    assert killed >= 1


def test_an_fov_whose_worker_always_dies_fails_alone(
    desk: Desk, undisturbed: dict[str, bytes]
) -> None:
    job_id = start(desk, "doomed")
    until(lambda: fov_under_way(desk, job_id) == 1, seconds=60)
    former = {process.pid for process in workers()}
    kill_workers()
    until(lambda: {process.pid for process in workers()} - former, seconds=60)
    kill_workers()
    status = desk.ended(job_id)
    assert status["status"] == "failed"
    assert "1 of 3 FOVs failed. FOV 1: The worker process ended" in status["error"]
    found = traces_in(desk.area / "doomed")
    assert len(found) == FOVS - 1
    assert all(undisturbed[name] == content for name, content in found.items())
    # Asked for again, only the one that lacks is processed.
    assert desk.ended(start(desk, "doomed"))["status"] == "completed"
    assert traces_in(desk.area / "doomed") == undisturbed
