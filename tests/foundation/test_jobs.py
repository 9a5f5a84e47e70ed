"""The job engine: nothing lost, every job ends, stop means stop."""

import threading
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import Database, DatabaseUnavailable
from benchwire.foundation.errors import Failed
from benchwire.foundation.jobs import runner
from benchwire.foundation.jobs.runner import (
    JobContext,
    JobKind,
    JobNotFound,
    JobNotRepeatable,
    Jobs,
)
from benchwire.foundation.jobs.sessions import DataFolderInUse, DataFolderLock, Sessions
from benchwire.foundation.jobs.states import Interruption, JobRecord, JobState, JobStopped
from benchwire.foundation.jobs.store import JobStore
from tests.support.waiting import until


class Life:
    """One life of a server: begins on a database, and ends cleanly or not."""

    def __init__(self, database: Database, *kinds: JobKind) -> None:
        self.database = database
        self.seen: list[JobRecord] = []
        self.sessions = Sessions(database, SystemClock())
        self.sessions.begin("test", None)
        self.jobs = Jobs(database, SystemClock(), self.sessions, notify=self.seen.append)
        for kind in kinds:
            self.jobs.register(kind)
        self.jobs.start()

    def end_of(self, job_id: str) -> JobRecord:
        until(lambda: self.jobs.get(job_id).state.is_final, what=f"the end of {job_id}")
        return self.jobs.get(job_id)


def wait_for_stop(job: JobContext) -> None:
    job.stop.event.wait(10)
    job.stop.raise_if_asked()


def submit(life: Life, kind: str, job_id: str = "j1", **more: object) -> JobRecord:
    return life.jobs.submit(kind, {"x": 1}, job_id=job_id, title="a job", **more)


def test_job_runs_to_done_with_its_result(database: Database) -> None:
    life = Life(database, JobKind("test.work", lambda job: {"twice": job.params["x"] * 2}))
    submit(life, "test.work", requested_by="ada")
    record = life.end_of("j1")
    assert record.state is JobState.DONE
    assert record.result == {"twice": 2}
    assert (record.progress, record.requested_by) == (1.0, "ada")
    states = [seen.state for seen in life.seen]
    assert states == sorted(states, key=["queued", "running", "done"].index)
    assert set(states) == {JobState.QUEUED, JobState.RUNNING, JobState.DONE}


def test_failing_job_says_why(database: Database) -> None:
    def fail(_: JobContext) -> None:
        raise Failed("the lamp is off")

    life = Life(database, JobKind("test.work", fail))
    submit(life, "test.work")
    record = life.end_of("j1")
    assert (record.state, record.message) == (JobState.FAILED, "the lamp is off")


def test_unforeseen_error_fails_the_job_without_its_text(database: Database) -> None:
    def fail(_: JobContext) -> None:
        raise ZeroDivisionError("/secret/path")

    life = Life(database, JobKind("test.work", fail))
    submit(life, "test.work")
    record = life.end_of("j1")
    assert record.state is JobState.FAILED
    assert "secret" not in record.message


def test_cancel_stops_a_running_job(database: Database) -> None:
    life = Life(database, JobKind("test.work", wait_for_stop))
    submit(life, "test.work")
    until(lambda: life.jobs.get("j1").state is JobState.RUNNING)
    life.jobs.cancel("j1")
    assert life.end_of("j1").state is JobState.CANCELLED


def test_cancel_of_a_queued_job_is_final_at_once(database: Database) -> None:
    life = Life(database, JobKind("test.work", wait_for_stop, concurrency=1))
    submit(life, "test.work", "first")
    submit(life, "test.work", "second")
    assert life.jobs.cancel("second").state is JobState.CANCELLED
    life.jobs.cancel("first")
    assert life.end_of("first").state is JobState.CANCELLED
    assert life.jobs.get("second").started_at is None


def test_jobs_handed_in_before_the_start_are_done_once(database: Database) -> None:
    done: list[str] = []
    kind = JobKind("test.work", lambda job: done.append(job.id), resumable=True, concurrency=2)
    sessions = Sessions(database, SystemClock())
    sessions.begin("test", None)
    jobs = Jobs(database, SystemClock(), sessions)
    jobs.register(kind)
    for number in range(3):
        jobs.submit("test.work", {}, job_id=f"j{number}", title="Early")
    jobs.start()
    jobs.submit("test.work", {}, job_id="j3", title="Late")
    until(lambda: all(jobs.get(f"j{number}").state is JobState.DONE for number in range(4)))
    assert sorted(done) == ["j0", "j1", "j2", "j3"]
    jobs.close()


def test_cancel_of_a_finished_job_changes_nothing(database: Database) -> None:
    life = Life(database, JobKind("test.work", lambda _: None))
    submit(life, "test.work")
    life.end_of("j1")
    assert life.jobs.cancel("j1").state is JobState.DONE
    assert life.end_of("j1").state is JobState.DONE


def test_time_limit_fails_the_job(database: Database) -> None:
    life = Life(database, JobKind("test.work", wait_for_stop, time_limit=0.05))
    submit(life, "test.work")
    record = life.end_of("j1")
    assert record.state is JobState.FAILED
    assert "time limit" in record.message


def test_concurrency_limit_holds(database: Database) -> None:
    running, most, lock, are_two = 0, 0, threading.Lock(), threading.Event()

    def work(_: JobContext) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 2:
                are_two.set()
        are_two.wait(10)
        threading.Event().wait(0.02)
        with lock:
            running -= 1

    life = Life(database, JobKind("test.work", work, concurrency=2))
    for number in range(8):
        submit(life, "test.work", f"j{number}")
    for number in range(8):
        assert life.end_of(f"j{number}").state is JobState.DONE
    assert most == 2


def test_repeated_submission_under_one_key_is_one_job(database: Database) -> None:
    life = Life(database, JobKind("test.work", lambda _: None))
    first = submit(life, "test.work", "a", idempotency_key="k")
    second = submit(life, "test.work", "b", idempotency_key="k")
    assert second.id == first.id == "a"
    with pytest.raises(JobNotFound):
        life.jobs.get("b")


def test_progress_carries_the_remaining_time(database: Database) -> None:
    half = threading.Event()

    def work(job: JobContext) -> None:
        threading.Event().wait(0.1)
        job.report(0.5, message="halfway")
        half.set()
        wait_for_stop(job)

    life = Life(database, JobKind("test.work", work))
    submit(life, "test.work")
    assert half.wait(5)
    record = life.jobs.get("j1")
    assert (record.progress, record.message) == (0.5, "halfway")
    assert record.remaining == pytest.approx(0.1, abs=0.09)
    life.jobs.cancel("j1")
    life.end_of("j1")


def crash(life: Life) -> None:
    """End a life as kill -9 does: nothing more reaches the database."""
    life.jobs._store.save = lambda _: None
    life.jobs.stop_all()
    for running in life.jobs._snapshot():
        running.thread.join(5)


def test_running_job_is_failed_after_a_crash_with_its_partial_files(database: Database) -> None:
    before = Life(database, JobKind("test.work", wait_for_stop))
    submit(before, "test.work")
    until(lambda: JobStore(database).get("j1").state is JobState.RUNNING)
    crash(before)

    def found(_: JobRecord) -> Interruption:
        return Interruption(partial_files=("a.csv",), made_safe=("slot01: cell opened",))

    after = Life(database, JobKind("test.work", wait_for_stop, on_interrupted=found))
    record = after.jobs.get("j1")
    assert (record.state, record.message) == (JobState.FAILED, "server restarted")
    assert record.partial_files == ("a.csv",)
    report = after.sessions.away_report()
    assert report is not None
    assert report.unclean
    assert report.interrupted_jobs == ("j1",)
    assert report.made_safe == ("slot01: cell opened",)
    assert report.is_worth_telling
    after.sessions.mark_seen()
    assert not after.sessions.away_report().is_worth_telling


def test_instrument_job_is_never_run_again_by_itself(database: Database) -> None:
    before = Life(database, JobKind("test.work", wait_for_stop, concurrency=1))
    submit(before, "test.work", "running")
    submit(before, "test.work", "queued")
    until(lambda: JobStore(database).get("running").state is JobState.RUNNING)
    crash(before)
    runs: list[str] = []
    after = Life(database, JobKind("test.work", lambda job: runs.append(job.id)))
    assert {after.jobs.get(job).state for job in ["running", "queued"]} == {JobState.FAILED}
    assert runs == []


def test_resumable_job_goes_on_with_its_unfinished_parts(database: Database) -> None:
    def first_two(job: JobContext) -> None:
        job.finish_part("fov0")
        job.finish_part("fov1")
        wait_for_stop(job)

    before = Life(database, JobKind("test.work", first_two, resumable=True))
    submit(before, "test.work")
    until(lambda: JobStore(database).get("j1").finished_parts == ("fov0", "fov1"))
    crash(before)
    done: list[str] = []

    def the_rest(job: JobContext) -> None:
        for part in ["fov0", "fov1", "fov2"]:
            if part not in job.finished_parts:
                done.append(part)
                job.finish_part(part)

    after = Life(database, JobKind("test.work", the_rest, resumable=True))
    record = after.end_of("j1")
    assert record.state is JobState.DONE
    assert done == ["fov2"]
    assert record.attempts == 2


def test_a_job_that_goes_on_after_a_crash_is_as_far_as_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_STORE_INTERVAL", 0.0)

    def half(job: JobContext) -> None:
        job.report(0.5)
        wait_for_stop(job)

    before = Life(database, JobKind("test.work", half, resumable=True))
    submit(before, "test.work")
    until(lambda: JobStore(database).get("j1").progress == 0.5)
    crash(before)
    begun = threading.Event()

    def again(job: JobContext) -> None:
        job.report(0.1)
        begun.set()
        wait_for_stop(job)

    after = Life(database, JobKind("test.work", again, resumable=True))
    assert begun.wait(5)
    assert after.jobs.get("j1").progress == 0.5
    after.jobs.cancel("j1")
    after.end_of("j1")


def test_progress_is_stored_from_time_to_time_and_never_lowered(database: Database) -> None:
    def work(job: JobContext) -> None:
        for step in range(100):
            job.report(step / 200)
        wait_for_stop(job)

    life = Life(database, JobKind("test.work", work))
    submit(life, "test.work")
    until(lambda: life.jobs.get("j1").progress > 0.49)
    store = JobStore(database)
    assert store.get("j1").progress == 0.0
    for progress in (0.3, 0.2):
        store.raise_progress_later("j1", progress).result(5)
        assert store.get("j1").progress == 0.3
    life.jobs.cancel("j1")
    life.end_of("j1")


def test_job_that_keeps_killing_the_server_is_given_up(database: Database) -> None:
    kind = JobKind("test.work", wait_for_stop, resumable=True)
    life = Life(database, kind)
    submit(life, "test.work")
    for attempt in [1, 2, 3]:
        until(
            lambda life=life, attempt=attempt: (
                (record := JobStore(database).get("j1")).attempts == attempt
                and record.state is JobState.RUNNING
            )
        )
        crash(life)
        life = Life(database, kind)
    assert life.jobs.get("j1").state is JobState.FAILED


def test_a_job_whose_beginning_was_not_stored_is_named_as_cut_short_too(database: Database) -> None:
    """It was taken in, and it will never be done unless somebody hears of it."""
    before = Life(database, JobKind("test.work", wait_for_stop))
    before.jobs._store.save = lambda _: None
    submit(before, "test.work")
    submit(before, "test.work", "j2")
    crash(before)
    after = Life(database, JobKind("test.work", wait_for_stop))
    assert {after.jobs.get(job).state for job in ("j1", "j2")} == {JobState.FAILED}
    report = after.sessions.away_report()
    assert set(report.interrupted_jobs) == {"j1", "j2"}


def test_clean_stop_fails_running_work_and_leaves_a_clean_record(database: Database) -> None:
    before = Life(database, JobKind("test.work", wait_for_stop))
    submit(before, "test.work")
    until(lambda: before.jobs.get("j1").state is JobState.RUNNING)
    before.jobs.close()
    after = Life(database, JobKind("test.work", wait_for_stop))
    record = after.jobs.get("j1")
    assert (record.state, record.message) == (JobState.FAILED, "server stopped")
    report = after.sessions.away_report()
    assert not report.unclean
    assert report.interrupted_jobs == ("j1",)


def test_work_that_its_domain_stops_before_the_end_is_named_as_well(database: Database) -> None:
    """Instruments are made safe first; by the time the life ends, their runs have long ended."""
    made_safe = threading.Event()

    def work(_: JobContext) -> None:
        made_safe.wait(10)
        raise JobStopped("server stopped")

    before = Life(database, JobKind("test.work", work))
    submit(before, "test.work")
    until(lambda: before.jobs.get("j1").state is JobState.RUNNING)
    before.jobs.refuse()
    made_safe.set()
    record = before.end_of("j1")
    assert (record.state, record.message) == (JobState.FAILED, "server stopped")
    before.jobs.close()
    report = Life(database).sessions.away_report()
    assert not report.unclean
    assert report.interrupted_jobs == ("j1",)


def test_first_start_has_nothing_to_tell(database: Database) -> None:
    assert Life(database).sessions.away_report() is None


def test_repeat_submits_the_same_work_again(database: Database) -> None:
    def again(record: JobRecord, requested_by: str) -> str:
        return submit(life, "test.work", f"{record.id}-again", requested_by=requested_by).id

    life = Life(database, JobKind("test.work", lambda _: None, repeat=again))
    submit(life, "test.work")
    life.end_of("j1")
    new = life.jobs.repeat("j1", "grace")
    assert life.end_of(new).requested_by == "grace"


def test_kind_that_vanished_leaves_its_jobs_failed(database: Database) -> None:
    before = Life(database, JobKind("test.work", wait_for_stop))
    submit(before, "test.work")
    until(lambda: JobStore(database).get("j1").state is JobState.RUNNING)
    crash(before)
    assert Life(database).jobs.get("j1").state is JobState.FAILED


@pytest.fixture
def two_thousand(database: Database) -> Database:
    template = JobRecord(
        id="",
        kind="test.work",
        title="",
        state=JobState.QUEUED,
        params={},
        requested_by="",
        created_at=SystemClock().now(),
    )
    store = JobStore(database)

    def insert(connection: object) -> None:
        for number in range(2_000):
            store.insert(connection, replace(template, id=f"j{number:05}"))

    database.write(insert)
    return database


@pytest.mark.slow
def test_two_thousand_queued_jobs_all_run(two_thousand: Database) -> None:
    count = 0
    lock = threading.Lock()

    def work(_: JobContext) -> None:
        nonlocal count
        with lock:
            count += 1

    life = Life(two_thousand, JobKind("test.work", work, concurrency=16, resumable=True))
    until(lambda: not life.jobs.unfinished(), seconds=120)
    assert count == 2_000


def test_second_server_on_one_folder_is_refused(tmp_path: Path) -> None:
    first = DataFolderLock(tmp_path)
    with pytest.raises(DataFolderInUse):
        DataFolderLock(tmp_path)
    first.close()
    DataFolderLock(tmp_path).close()


def test_stop_is_told_to_late_listeners(database: Database) -> None:
    reasons: list[str] = []

    def work(job: JobContext) -> None:
        job.stop.event.wait(10)
        job.stop.on_stop(lambda reason: reasons.append(reason.value))
        raise JobStopped("as asked")

    life = Life(database, JobKind("test.work", work))
    submit(life, "test.work")
    until(lambda: life.jobs.get("j1").state is JobState.RUNNING)
    life.jobs.cancel("j1")
    record = life.end_of("j1")
    assert reasons == ["cancelled"]
    assert record.message == "as asked"


def test_end_that_the_disk_refused_is_told_and_stored_later(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SAVE_AGAIN_SECONDS", 0.05)
    begun, refuse, go = threading.Event(), threading.Event(), threading.Event()

    def work(_: JobContext) -> None:
        begun.set()
        go.wait(10)

    life = Life(database, JobKind("test.work", work))
    save = life.jobs._store.save

    def sometimes(record: JobRecord) -> None:
        if refuse.is_set():
            raise Failed("the disk is full")
        save(record)

    monkeypatch.setattr(life.jobs._store, "save", sometimes)
    submit(life, "test.work")
    assert begun.wait(10)
    until(lambda: JobStore(database).get("j1").state is JobState.RUNNING)
    refuse.set()
    go.set()
    assert life.end_of("j1").state is JobState.DONE
    until(lambda: not life.jobs.unfinished())
    assert life.jobs.get("j1").state is JobState.DONE
    assert life.jobs.listed(1)[0].state is JobState.DONE
    stored = JobStore(database)
    assert stored.get("j1").state is JobState.RUNNING
    refuse.clear()
    until(lambda: stored.get("j1").state is JobState.DONE, what="the stored end")


def test_nobody_is_told_of_an_end_before_it_is_stored(database: Database) -> None:
    begun, go, free = threading.Event(), threading.Event(), threading.Event()
    outlived: list[JobContext] = []

    def work(job: JobContext) -> None:
        outlived.append(job)
        begun.set()
        go.wait(10)

    life = Life(database, JobKind("test.work", work, concurrency=1))
    submit(life, "test.work")
    assert begun.wait(10)
    until(lambda: JobStore(database).get("j1").state is JobState.RUNNING)
    held = database.write_later(lambda _: free.wait(10))
    go.set()
    until(lambda: life.jobs._running["j1"].has_ended, what="an end that waits to be stored")
    # What is left of the work says more, too late.
    outlived[0].report(0.5, message="still here")
    outlived[0].finish_part("late")
    assert life.jobs.get("j1").state is JobState.RUNNING
    assert [record.id for record in life.jobs.unfinished()] == ["j1"]
    assert not any(seen.state.is_final for seen in life.seen)
    free.set()
    assert held.result(10)
    assert life.end_of("j1").state is JobState.DONE
    stored = JobStore(database).get("j1")
    assert (stored.state, stored.progress, stored.finished_parts) == (JobState.DONE, 1.0, ())
    until(lambda: life.seen[-1].state is JobState.DONE, what="the word of the end")


def test_a_job_ends_whatever_is_in_its_last_words(database: Database) -> None:
    """A file's name that is no text, or a number that is none, keeps nobody in the queue."""

    def work(job: JobContext) -> dict[str, object]:
        if job.id == "j1":
            raise Failed("lead\udcffs outside\0")
        return {"mean": float("nan"), "names": ["\udcff"]}

    life = Life(database, JobKind("test.work", work, concurrency=1))
    for job_id in ("j1", "j2"):
        submit(life, "test.work", job_id)
    assert life.end_of("j1").message == "lead?s outside"
    assert life.end_of("j2").result == {"mean": None, "names": ["?"]}
    until(lambda: JobStore(database).get("j2").state is JobState.DONE, what="the stored end")


def test_one_end_that_is_refused_keeps_no_other_off_the_disk(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SAVE_AGAIN_SECONDS", 0.05)
    go = threading.Event()
    life = Life(database, JobKind("test.work", lambda _: go.wait(10) and None))
    save, refused = life.jobs._store.save, {"j1", "j2"}

    def sometimes(record: JobRecord) -> None:
        if record.id in refused and record.state.is_final:
            raise DatabaseUnavailable("the disk is full")
        save(record)

    monkeypatch.setattr(life.jobs._store, "save", sometimes)
    for job_id in ("j1", "j2"):
        submit(life, "test.work", job_id)
    go.set()
    until(lambda: len(life.jobs._unsaved) == 2, what="both ends")
    refused.remove("j2")
    until(lambda: JobStore(database).get("j2").state is JobState.DONE, what="the other's end")
    refused.clear()
    until(lambda: JobStore(database).get("j1").state is JobState.DONE, what="its end")


class Refusing:
    """A store whose disk refuses records while ``refuses`` is true."""

    def __init__(self, life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuses = False
        self._save = life.jobs._store.save
        monkeypatch.setattr(life.jobs._store, "save", self._save_unless_refused)

    def _save_unless_refused(self, record: JobRecord) -> None:
        if self.refuses:
            raise DatabaseUnavailable("the disk is full")
        self._save(record)


def test_cancel_that_the_disk_refused_leaves_the_job_in_its_place(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, go = [], threading.Event()

    def work(job: JobContext) -> None:
        order.append(job.id)
        go.wait(10)

    life = Life(database, JobKind("test.work", work, concurrency=1))
    disk = Refusing(life, monkeypatch)
    for job_id in ("j1", "j2", "j3"):
        submit(life, "test.work", job_id)
    until(lambda: order, what="the first job")
    disk.refuses = True
    with pytest.raises(DatabaseUnavailable):
        life.jobs.cancel("j2")
    assert life.jobs.get("j2").state is JobState.QUEUED
    disk.refuses = False
    go.set()
    assert life.end_of("j3").state is JobState.DONE
    assert order == ["j1", "j2", "j3"]


def test_part_that_the_disk_refused_is_stored_with_the_next_change(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(job: JobContext) -> None:
        disk.refuses = True
        job.finish_part("one")
        disk.refuses = False
        job.finish_part("two")

    life = Life(database, JobKind("test.work", work))
    disk = Refusing(life, monkeypatch)
    submit(life, "test.work")
    assert life.end_of("j1").state is JobState.DONE
    stored = JobStore(database)
    until(lambda: stored.get("j1").state is JobState.DONE, what="the stored end")
    assert stored.get("j1").finished_parts == ("one", "two")


def test_job_that_waits_for_work_not_begun_is_cancelled_at_once(database: Database) -> None:
    never: Future[int] = Future()
    life = Life(database, JobKind("test.work", lambda job: {"x": job.result_of(never)}))
    submit(life, "test.work")
    until(lambda: life.jobs.get("j1").state is JobState.RUNNING)
    life.jobs.cancel("j1")
    assert life.end_of("j1").state is JobState.CANCELLED
    assert never.cancelled()


def test_job_under_way_is_not_repeated(database: Database) -> None:
    kind = JobKind("test.work", wait_for_stop, repeat=lambda record, _: record.id)
    life = Life(database, kind)
    submit(life, "test.work")
    assert not life.jobs.can_repeat(life.jobs.get("j1"))
    with pytest.raises(JobNotRepeatable):
        life.jobs.repeat("j1")
    life.jobs.cancel("j1")
    assert life.jobs.can_repeat(life.end_of("j1"))


# -- lists -----------------------------------------------------------------------------------

BEGAN = datetime(2026, 5, 4, tzinfo=UTC)


def keep(database: Database, job_id: str, **facts: object) -> None:
    record = JobRecord(
        id=job_id, kind="test.work", title="a job", state=JobState.DONE, params={},
        requested_by="", created_at=BEGAN,
    )  # fmt: skip
    store = JobStore(database)
    database.write(lambda connection: store.insert(connection, replace(record, **facts)))


def test_a_long_job_that_ends_now_is_before_younger_ones_that_ended_earlier(
    database: Database,
) -> None:
    for hour in range(1, 9):
        at = BEGAN + timedelta(hours=hour)
        keep(database, f"short-{hour}", created_at=at, ended_at=at + timedelta(minutes=1))
    keep(database, "long", ended_at=BEGAN + timedelta(hours=10))
    keep(database, "going on", state=JobState.RUNNING)
    keep(database, "lost", state=JobState.FAILED, ended_at=BEGAN + timedelta(hours=11))
    found = Life(database).jobs.ended_last(3, [JobState.DONE, JobState.CANCELLED])
    assert [record.id for record in found] == ["long", "short-8", "short-7"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("csv_path", False), ("PATH", False), ("name", False), ("slot9", False), ("77", False),
        ('": "', False),
        ("C:\\data", True), ("c:\\DATA\\t", True), ('say "a"', True), ("line\nfeed", True),
        ("süd", True), ("p1/a1", True), ("100%", True), ("a_b", False), ("a j", True),
        ("fit-7", True),
    ],
)  # fmt: skip
def test_a_text_is_found_in_values_as_they_are_and_in_no_name(
    database: Database, text: str, found: bool
) -> None:
    params = {
        "csv_path": "C:\\data\\traces.csv", "samples": {"slot9": "P1/A1"},
        "notes": ["SÜD", "100% a-b"],
        "more": {"name": 'say "a"', "lines": "line\nfeed"}, "cells": 77,
    }  # fmt: skip
    if text == "süd" and not database.is_sqlite:
        params["notes"].append("süd")  # the letters it knows are its own locale's business
    keep(database, "fit-7", params=params)
    keep(database, "other", title="else")
    listed = JobStore(database).newest(10, text=text)
    assert [record.id for record in listed] == (["fit-7"] if found else [])


def test_the_newest_jobs_with_a_text_are_as_many_as_asked_for(database: Database) -> None:
    for number in range(5):
        at = BEGAN + timedelta(hours=number)
        params = {"csv_path": "x", "note": "traces" if number != 3 else ""}
        keep(database, f"{number}", created_at=at, params=params)
    keep(database, "traces", created_at=BEGAN - timedelta(hours=1))
    store = JobStore(database)
    assert [one.id for one in store.newest(2, text="traces")] == ["4", "2"]
    after = store.newest(9, text="Traces", before=store.get("2"))
    assert [one.id for one in after] == ["1", "0", "traces"]
