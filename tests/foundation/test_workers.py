"""The executors: work that may fail, hang or die without hurting anything else.

What holds for processes here holds for those below the workers of a cluster.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from benchwire.foundation import workers
from benchwire.foundation.errors import Failed
from benchwire.foundation.workers import (
    Executor,
    ProcessExecutor,
    WorkerDied,
    WorkStopped,
    WorkTimedOut,
)
from tests.support import work
from tests.support.waiting import until

Make = Callable[[int], Executor]


@pytest.fixture(scope="module")
def on_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Make executors over one cluster of two workers."""
    pytest.importorskip("distributed")
    from benchwire.foundation.cluster.connection import Cluster, Place
    from benchwire.foundation.cluster.executor import ClusterExecutor
    from tests.support.cluster import DaskCluster

    folder = tmp_path_factory.mktemp("cluster")
    with DaskCluster(folder, threads=1) as started:
        started.await_workers(2)
        cluster = Cluster(Place(started.address), data_dir=folder, grace=0.3)
        yield lambda at_once: ClusterExecutor(cluster, at_once)
        cluster.close()


@pytest.fixture(scope="module", params=["processes", "cluster"])
def make(request: pytest.FixtureRequest) -> Make:
    """Make an executor of either kind, for so many pieces of work at once."""
    if request.param == "cluster":
        return request.getfixturevalue("on_cluster")
    return lambda at_once: ProcessExecutor(at_once, grace=0.3)


@pytest.fixture(scope="module")
def executor(make: Make) -> Iterator[Executor]:
    made = make(2)
    yield made
    made.close()


def test_work_returns_its_result(executor: Executor) -> None:
    assert executor.submit(work.add, 1, 2).result(30) == 3


def test_work_runs_elsewhere_and_workers_are_kept(executor: Executor) -> None:
    import os

    found = {executor.submit(work.process_id).result(30) for _ in range(6)}
    assert os.getpid() not in found
    assert len(found) <= 2


def test_progress_comes_through(executor: Executor) -> None:
    seen: list[tuple[float, str]] = []
    future = executor.submit(work.count_to, 4, on_progress=lambda *step: seen.append(step))
    assert future.result(30) == "done"
    assert seen == [(0.25, "step 1"), (0.5, "step 2"), (0.75, "step 3"), (1.0, "step 4")]


def test_errors_keep_their_type_and_hint(executor: Executor) -> None:
    error = executor.submit(work.refuse).exception(30)
    assert isinstance(error, Failed)
    assert (error.message, error.hint) == ("the image is empty", "take another")
    assert isinstance(executor.submit(work.crash).exception(30), ZeroDivisionError)


def test_result_that_cannot_be_sent_is_an_error_and_the_worker_lives(
    executor: Executor,
) -> None:
    assert executor.submit(work.unsendable).exception(30) is not None
    assert executor.submit(work.add, 2, 2).result(30) == 4


@pytest.mark.parametrize("error", [ImportError, AttributeError, MemoryError])
def test_result_that_cannot_be_read_is_an_error_and_another_worker_serves(
    executor: Executor, error: type[Exception]
) -> None:
    found = executor.submit(work.unreadable, error).exception(30)
    assert isinstance(found, Failed)
    assert f"{error.__name__}: no such module here" in found.message
    assert executor.submit(work.add, 2, 2).result(30) == 4


def test_work_that_cannot_be_handed_over_is_an_error(executor: Executor) -> None:
    assert isinstance(executor.submit(lambda _: 1).exception(30), Failed)
    assert isinstance(executor.submit(work.hold, work.Unsendable()).exception(30), Failed)
    assert executor.submit(work.add, 2, 2).result(30) == 4


def test_killed_worker_is_replaced_and_the_part_tried_once_more(
    executor: Executor, tmp_path: Path
) -> None:
    marker = str(tmp_path / "marker")
    assert executor.submit(work.die_once, marker).result(30) == "second try"


def test_part_that_kills_its_worker_twice_fails_alone(executor: Executor) -> None:
    other = executor.submit(work.hold, 0.5)
    assert isinstance(executor.submit(work.die).exception(30), WorkerDied)
    assert other.exception(30) is None
    assert executor.submit(work.add, 1, 1).result(30) == 2


@pytest.mark.parametrize("piece", [work.listen_for_stop, work.hang, work.chatter])
def test_stop_ends_work_that_listens_and_work_that_does_not(
    executor: Executor, piece: object
) -> None:
    stop = threading.Event()
    future = executor.submit(piece, stop=stop)
    until(future.running, seconds=30)
    time.sleep(0.2)
    stop.set()
    asked = time.monotonic()
    assert isinstance(future.exception(30), WorkStopped)
    assert time.monotonic() - asked < 2.0
    assert executor.submit(work.add, 1, 1).result(30) == 2


def test_time_limit_ends_work(executor: Executor) -> None:
    assert isinstance(executor.submit(work.hang, time_limit=0.2).exception(30), WorkTimedOut)


def test_work_leaves_the_processor_to_everything_else(executor: Executor) -> None:
    process, session = executor.submit(work.niceness).result(30)
    assert process == 10
    assert session.endswith("nice 10\n") or not session


def test_worker_loads_neither_pages_nor_web(executor: Executor) -> None:
    loaded = executor.submit(work.loaded_modules).result(30)
    assert not {"nicegui", "fastapi", "uvicorn", "sqlalchemy"} & set(loaded)


def test_close_ends_everything_and_refuses_more(make: Make) -> None:
    executor = make(1)
    running = executor.submit(work.hang)
    until(running.running, seconds=30)
    waiting = executor.submit(work.add, 1, 1)
    executor.close()
    assert isinstance(running.exception(5), WorkStopped)
    assert isinstance(waiting.exception(5), WorkStopped)
    assert isinstance(executor.submit(work.add, 1, 1).exception(5), WorkStopped)


def test_idle_worker_ends_and_a_new_one_is_made() -> None:
    executor = ProcessExecutor(1, idle_seconds=0.1)
    first = executor.submit(work.process_id).result(30)
    until(lambda: not executor._threads)
    assert executor.submit(work.process_id).result(30) != first
    executor.close()


def test_work_handed_in_at_once_runs_side_by_side() -> None:
    all_in = threading.Event()

    class Tasks(queue.SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            task = super().get(block, timeout)
            all_in.wait(30)  # a thread that is slow to wake
            return task

    executor = ProcessExecutor(3)
    executor._tasks = Tasks()
    all_in.set()
    assert executor.submit(work.add, 1, 1).result(30) == 2
    until(lambda: executor._spare == 1)
    all_in.clear()
    first = executor.submit(work.hold, 0.1)
    assert len(executor._threads) == 1
    others = [executor.submit(work.hold, 0.1) for _ in range(4)]
    assert len(executor._threads) == 3
    all_in.set()
    assert [future.exception(30) for future in (first, *others)] == [None] * 5
    until(lambda: executor._spare == 3)
    executor.close()


def test_work_handed_in_while_an_idle_worker_leaves_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executor = ProcessExecutor(1, idle_seconds=0.1)
    late: list[Future[int]] = []
    end = workers._Worker.end

    def end_meanwhile(worker: workers._Worker) -> None:
        if not late:
            late.append(executor.submit(work.add, 1, 2))
        end(worker)

    monkeypatch.setattr(workers._Worker, "end", end_meanwhile)
    assert executor.submit(work.add, 1, 1).result(30) == 2
    until(lambda: late)
    assert late[0].result(30) == 3
    executor.close()


def test_work_handed_in_at_the_last_moment_of_an_idle_worker_is_done() -> None:
    late: list[Future[int]] = []

    class Tasks(queue.SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            try:
                return super().get(block, timeout)
            except queue.Empty:
                if not late:
                    late.append(executor.submit(work.add, 1, 2))
                raise

    executor = ProcessExecutor(1, idle_seconds=0.1)
    executor._tasks = Tasks()
    assert executor.submit(work.add, 1, 1).result(30) == 2
    until(lambda: late)
    assert late[0].result(30) == 3
    executor.close()
