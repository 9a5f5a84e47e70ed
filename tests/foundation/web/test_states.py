"""States and times are written in one way on every page."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.web.job_list import JobList
from benchwire.foundation.web.job_progress import JobProgress
from benchwire.foundation.web.states import badge, minute, second, set_badge
from tests.foundation.web.test_watch import open_page

AT = datetime(2026, 5, 4, 12, 34, 56, 789000, tzinfo=UTC)


@pytest.mark.parametrize(
    "at",
    [
        AT,
        AT.astimezone(timezone(timedelta(hours=5))),
        "2026-05-04T12:34:56.789000Z",
        "2026-05-04T12:34:56Z",
        "2026-05-04T14:34:56+02:00",
    ],
)
def test_a_moment_is_written_in_utc_and_says_so(at: datetime | str) -> None:
    assert minute(at) == "2026-05-04 12:34 UTC"
    assert second(at) == "2026-05-04 12:34:56 UTC"


def test_a_state_has_one_word_whatever_an_api_calls_it() -> None:
    async def work() -> None:
        with open_page() as client, client:
            assert badge("completed").text == badge("done").text == "done"
            shown = badge("pending")
            assert shown.text == "queued"
            set_badge(shown, "completed")
            assert shown.text == "done"
            assert "bw-tone-good" in shown.classes

    asyncio.run(work())


def test_a_list_of_jobs_has_the_words_and_times_of_all_pages() -> None:
    record = JobRecord("j1", "test.work", "A job", JobState.QUEUED, {}, "", AT)
    done = JobRecord("j2", "test.work", "Another", JobState.DONE, {}, "", AT)

    async def work() -> None:
        jobs = JobList(
            lambda: [(record, None), (done, None)],
            page_of=lambda job_id: f"/{job_id}",
            cancel=lambda _: None,
            progress=JobProgress,
        )
        with open_page() as client, client:
            jobs.draw("listed")
            texts = [getattr(element, "text", None) for element in client.elements.values()]
        assert {"queued", "done"} <= set(texts)
        assert not {"pending", "completed"} & set(texts)
        assert texts.count("2026-05-04 12:34 UTC") == 2

    asyncio.run(work())
