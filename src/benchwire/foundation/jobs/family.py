"""Jobs of one kind as the analysis APIs speak of them: states, progress and refusals."""

import math
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from benchwire.foundation.clock import utc_text
from benchwire.foundation.errors import Conflict, Invalid
from benchwire.foundation.jobs.runner import JobContext, JobKind, JobNotFound, Jobs
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.samples.names import SampleLink, by_part, names_of
from benchwire.foundation.samples.store import Given, Samples

STATE_WORDS = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "running",
    JobState.DONE: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
_TOTAL = "total"


class JobAlreadyEnded(Invalid):
    """A job that has ended cannot be cancelled."""

    code = "jobs.already_ended"


class JobNotDone(Conflict):
    """There are no results of a job that is not done."""

    code = "jobs.not_done"


class JobFamily:
    """Jobs of one kind that count their work in pieces.

    Parameters
    ----------
    kind
        Name of the registered kind of job.
    item
        What lists over all domains call one of them.
    unit
        What a piece is, as in ``current_fov`` and ``total_fovs``.
    """

    def __init__(self, jobs: Jobs, samples: Samples, *, kind: str, item: str, unit: str) -> None:
        self._jobs = jobs
        self._samples = samples
        self._kind = kind
        self._item = item
        self._unit = unit

    def register(
        self,
        run: Callable[[JobContext], Mapping[str, Any]],
        *,
        queue: str,
        concurrency: int,
        time_limit: float | None,
        repeat: Callable[[Mapping[str, Any], str, str, Given], str],
    ) -> None:
        """Make the kind known to the engine; its jobs go on after a restart.

        Parameters
        ----------
        repeat
            Takes a job in anew, given the parameters and the title of a former one, who asks for it
            now, and what the former one is linked to now.
        """

        def again(record: JobRecord, requested_by: str) -> str:
            linked = self._samples.linked(self._item, record.id)
            return repeat(record.params, record.title, requested_by, linked)

        self._jobs.register(
            JobKind(
                self._kind,
                run,
                queue=queue,
                concurrency=concurrency,
                time_limit=time_limit,
                resumable=True,
                repeat=again,
            )
        )

    def newest(self, limit: int = 20) -> list[JobRecord]:
        """Return the newest jobs of the kind."""
        return self._jobs.listed(limit, kinds=[self._kind])

    def unfinished(self) -> list[JobRecord]:
        """Return the jobs of the kind that are queued or running."""
        return [record for record in self._jobs.unfinished() if record.kind == self._kind]

    def find(self, text: str, limit: int) -> list[JobRecord]:
        """Return the newest jobs of the kind in whose title or parameters a text occurs."""
        return self._jobs.listed(limit, kinds=[self._kind], text=text)

    def samples_of(self, job_id: str) -> list[SampleLink]:
        """Return what a job's work was measured on."""
        return self._samples.of_item(self._item, job_id)

    def samples_in(self, params: Mapping[str, Any]) -> Given:
        """Return what ``sample`` and ``samples`` among parameters name.

        Raises
        ------
        SampleInvalid
            A sample is named in a way that cannot be used.
        """
        return self._samples.given(by_part(params.get("sample"), params.get("samples")))

    def start(
        self,
        params: Mapping[str, Any],
        *,
        total: int,
        title: str,
        requested_by: str = "",
        linked: Given | None = None,
    ) -> str:
        """Take in a job of so many pieces and return its id; it is on the disk by then.

        Parameters
        ----------
        params
            ``sample`` and ``samples`` among them name what is measured, as a whole and by part.
        linked
            What is measured, as links tell it. Names among ``params`` are not read then: the plate
            they mean may have another barcode by now, or be gone.

        Raises
        ------
        SampleInvalid
            A sample is named in a way that cannot be used.
        """
        if linked is None:
            given = self.samples_in(params)
        else:
            given, params = linked, {**params, **names_of(linked)}
        job_id = f"job_{secrets.token_hex(6)}"
        self._jobs.submit(
            self._kind,
            {**params, _TOTAL: total},
            job_id=job_id,
            title=title,
            requested_by=requested_by,
            also=[self._samples.linker(given, self._item, job_id, requested_by)],
        )
        return job_id

    def get(self, job_id: str) -> JobRecord:
        """Return a job's record.

        Raises
        ------
        JobNotFound
            There is none of that id, or it is of another kind.
        """
        record = self._jobs.get(job_id)
        if record.kind != self._kind:
            raise JobNotFound(f"There is no job {job_id}")
        return record

    def done(self, job_id: str) -> JobRecord:
        """Return the record of a job that is done.

        Raises
        ------
        JobNotDone
            It is in any other state.
        """
        record = self.get(job_id)
        if record.state is not JobState.DONE:
            raise JobNotDone(
                f"The job is {STATE_WORDS[record.state]}",
                hint="Results are there once it is completed.",
            )
        return record

    def cancel(self, job_id: str) -> None:
        """Stop a job, or never begin it.

        Raises
        ------
        JobAlreadyEnded
            There is nothing left to cancel.
        """
        record = self.get(job_id)
        was_over = record.state.is_final
        if not was_over:
            record = self._jobs.cancel(job_id)
        if was_over or record.state in {JobState.DONE, JobState.FAILED}:
            raise JobAlreadyEnded(f"The job is already {STATE_WORDS[record.state]}")

    def status(self, job_id: str) -> dict[str, Any]:
        """Return a job's state and progress in the API's words."""
        record = self.get(job_id)
        total = int(record.params[_TOTAL])
        words = STATE_WORDS[record.state]
        return {
            "success": True,
            "job_id": record.id,
            "status": words,
            "message": record.message or words.capitalize(),
            "progress": {
                f"current_{self._unit}": min(total, int(record.progress * total + 1e-9)),
                f"total_{self._unit}s": total,
                "percentage": percentage(record),
            },
            "error": record.message if record.state is JobState.FAILED else None,
            "current_step": record.message if record.state is JobState.RUNNING else None,
            "started_at": None if record.started_at is None else utc_text(record.started_at),
            "updated_at": utc_text(record.ended_at or record.updated_at or record.created_at),
        }


def percentage(record: JobRecord) -> float:
    """Return how far a job is, rounded down, so that 100 is told of a finished job alone."""
    return math.floor(record.progress * 1000) / 10
