"""Jobs in the words of the analysis APIs, and kinds that share a queue."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from benchwire.foundation.clock import SystemClock
from benchwire.foundation.db import Database
from benchwire.foundation.errors import Failed
from benchwire.foundation.jobs.family import JobAlreadyEnded, JobFamily, JobNotDone
from benchwire.foundation.jobs.overview import JobsOverview
from benchwire.foundation.jobs.runner import JobContext, JobKind, JobNotFound
from benchwire.foundation.samples.names import Sample, SampleInvalid
from benchwire.foundation.samples.store import Given, Samples
from tests.foundation.test_jobs import Life, wait_for_stop
from tests.support.waiting import until


def fail(_: JobContext) -> None:
    raise Failed("the lamp is off")


def families(life: Life) -> tuple[JobFamily, JobFamily]:
    samples = Samples(life.database, SystemClock())
    return (
        JobFamily(life.jobs, samples, kind="test.page", item="page", unit="page"),
        JobFamily(life.jobs, samples, kind="test.line", item="line", unit="line"),
    )


def ended(life: Life, family: JobFamily, job_id: str) -> dict[str, object]:
    life.end_of(job_id)
    return family.status(job_id)


def test_progress_is_an_object_from_the_first_poll_on(database: Database) -> None:
    go, half = threading.Event(), threading.Event()

    def work(job: JobContext) -> dict[str, int]:
        go.wait(10)
        job.report(0.4567, message="page 5 of 10")
        job.report(0.3)
        half.wait(10)
        return {"pages": 10}

    life = Life(
        database,
        JobKind("test.page", work, queue="q", concurrency=1),
        JobKind("test.line", wait_for_stop, queue="q", concurrency=1),
    )
    pages, lines = families(life)
    job_id = pages.start({}, total=10, title="t")
    behind = lines.start({}, total=3, title="t")
    first = pages.status(job_id)
    assert first["progress"] == {"current_page": 0, "total_pages": 10, "percentage": 0.0}
    assert first["status"] in {"pending", "running"}
    go.set()
    until(lambda: pages.status(job_id)["progress"]["percentage"] > 0)
    assert pages.status(job_id)["progress"] == {
        "current_page": 4, "total_pages": 10, "percentage": 45.6,
    }  # fmt: skip
    # Both kinds share the one place of their queue.
    assert lines.status(behind)["status"] == "pending"
    with pytest.raises(JobNotDone):
        pages.done(job_id)
    half.set()
    last = ended(life, pages, job_id)
    assert last["status"] == "completed"
    assert last["progress"] == {"current_page": 10, "total_pages": 10, "percentage": 100.0}
    assert pages.done(job_id).result == {"pages": 10}
    until(lambda: lines.status(behind)["status"] == "running")
    lines.cancel(behind)
    assert ended(life, lines, behind)["status"] == "cancelled"
    overview = JobsOverview(life.jobs, "q")
    assert [(item["type"], item["status"]) for item in overview.newest(10)] == [
        ("line", "cancelled"), ("page", "completed"),
    ]  # fmt: skip
    expected = {"pending": 0, "running": 0, "completed": 1, "failed": 0, "cancelled": 1}
    # It counts what is stored, which an end is a moment after it is told.
    until(lambda: overview.counts() == expected, what="the counts")


def test_a_failure_carries_its_reason(database: Database) -> None:
    life = Life(database, JobKind("test.page", fail), JobKind("test.line", wait_for_stop))
    pages, _ = families(life)
    status = ended(life, pages, pages.start({}, total=1, title="t"))
    assert (status["status"], status["error"]) == ("failed", "the lamp is off")
    assert status["message"] == "the lamp is off"


def test_no_family_knows_the_other_s_jobs(database: Database) -> None:
    life = Life(database, JobKind("test.page", fail), JobKind("test.line", wait_for_stop))
    pages, lines = families(life)
    job_id = lines.start({}, total=1, title="t")
    for ask in (pages.status, pages.cancel, pages.done):
        with pytest.raises(JobNotFound):
            ask(job_id)
        with pytest.raises(JobNotFound):
            ask("job_none")
    lines.cancel(job_id)
    life.end_of(job_id)
    with pytest.raises(JobAlreadyEnded):
        lines.cancel(job_id)


def test_a_repeated_job_is_measured_on_what_the_former_is_linked_to_now(
    database: Database,
) -> None:
    samples = Samples(database, SystemClock())
    life = Life(database)
    pages = JobFamily(life.jobs, samples, kind="test.page", item="page", unit="page")

    def repeat(params: Mapping[str, Any], title: str, requested_by: str, linked: Given) -> str:
        return pages.start(params, total=1, title=title, requested_by=requested_by, linked=linked)

    pages.register(lambda _: {}, queue="q", concurrency=1, time_limit=10, repeat=repeat)
    job_id = pages.start({"sample": "wrong", "samples": {"0": "kept"}}, total=1, title="t")
    life.end_of(job_id)
    (wrong,) = [link for link in pages.samples_of(job_id) if link.sample == "wrong"]
    samples.unlink(wrong.id)
    samples.link(Sample("Gone/A1", "Gone", "A1"), "page", job_id, part="1")

    def no_such_well(plate: str, label: str) -> None:
        raise SampleInvalid("There is no such well")

    samples.find_wells_by(no_such_well)
    again = life.end_of(life.jobs.repeat(job_id, "ada"))
    assert [
        (link.part, link.sample, link.plate, link.named_by) for link in pages.samples_of(again.id)
    ] == [("0", "kept", None, "ada"), ("1", "Gone/A1", "Gone", "ada")]
    assert again.requested_by == "ada"
    assert again.params["sample"] is None
    assert again.params["samples"] == {"0": "kept", "1": "Gone/A1"}
