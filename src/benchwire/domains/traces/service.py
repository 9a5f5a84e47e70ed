"""Fitting models to traces, as a job that outlives a restart."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from benchwire.domains.traces import work
from benchwire.domains.traces.errors import CsvInvalid, FittingUnderWay, NameTooLong
from benchwire.domains.traces.models import checked_choice, load_models
from benchwire.domains.traces.schemas import FittingRequest
from benchwire.foundation.clock import Clock, utc_text
from benchwire.foundation.errors import NotFound
from benchwire.foundation.files import AllowedFolders, make_folders, make_usable
from benchwire.foundation.jobs.family import JobFamily
from benchwire.foundation.jobs.runner import JobContext, Jobs
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.samples.names import SampleLink
from benchwire.foundation.samples.store import Given, Samples
from benchwire.foundation.workers import Executor, Turns, ask

T = TypeVar("T")

KIND = "traces.fitting"
FIT_ITEM = "fit"
"""What one is called in lists over all domains."""

READ_SECONDS = 300.0
# With ``.run.json`` at its end it still is a name that file systems take.
_LONGEST_NAME = 240


class Fittings:
    """Takes fittings in, runs them, and says what they found.

    Parameters
    ----------
    kept
        Folder in which the table, answer and record of each completed fitting are kept.
    workers, compute
        For work that somebody waits for, and for fits.
    """

    def __init__(
        self,
        jobs: Jobs,
        clock: Clock,
        samples: Samples,
        *,
        allowed: AllowedFolders,
        kept: Path,
        workers: Executor,
        compute: Executor,
    ) -> None:
        self._clock = clock
        self.allowed = allowed
        self._kept = kept.resolve()
        self._workers = workers
        self._compute = compute
        self._family = JobFamily(jobs, samples, kind=KIND, item=FIT_ITEM, unit="cell")
        self._submitting = threading.Lock()
        # One large file is read at a time, so that the workers have room for what takes a moment.
        self._reading = Turns(at_once=1, waiting=6)

    def register(self, *, queue: str, concurrency: int, time_limit: float) -> None:
        """Make fittings known to the job engine."""
        self._family.register(
            self._run,
            queue=queue,
            concurrency=concurrency,
            time_limit=time_limit,
            repeat=self._submit,
        )

    def models(self) -> list[dict[str, Any]]:
        """Return every model that can be fitted and its parameters."""
        return [
            {
                "name": model.name,
                "description": model.description,
                "equation": model.equation,
                "parameters": [
                    {"name": item.name, "default": item.default, "bounds": [item.low, item.high]}
                    for item in model.parameters
                ],
                "fixed_parameters": dict(model.fixed),
            }
            for model in load_models().values()
        ]

    def describe(self, csv_path: str) -> dict[str, Any]:
        """Return what a file of traces holds."""
        return self._ask(work.describe, self.allowed.file(csv_path))

    def start(self, request: FittingRequest) -> str:
        """Take a fitting in and return its job's id; whatever can be wrong is found first."""
        path = self.allowed.file(request.csv_path)
        choice = checked_choice(request.model_type, request.model_params, request.model_bounds)
        found = self._ask(work.describe, path)
        if found["value_range"] is None:
            raise CsvInvalid(
                "No value of the CSV is a number", hint="Decimals are written with a point."
            )
        results = self.allowed.path(str(work.fitted_path(path, choice.model)))
        make_usable(path.parent)
        if len(os.fsencode(results.name)) > _LONGEST_NAME:
            raise NameTooLong("The name of the CSV is too long for the name of its results")
        params = {
            "csv_path": request.csv_path,
            "results_file": str(results),
            "choice": choice.as_json(),
            "n_cells": found["n_cells"],
            **request.model_dump(include={"sample", "samples"}, exclude_none=True),
        }
        return self._submit(params, f"Fit of {choice.model} to {path.name}")

    def _submit(
        self,
        params: Mapping[str, Any],
        title: str,
        requested_by: str = "",
        linked: Given | None = None,
    ) -> str:
        self.allowed.path(params["csv_path"])
        with self._submitting:
            for record in self._family.unfinished():
                if record.params["results_file"] == params["results_file"]:
                    raise FittingUnderWay(f"{record.id} is fitting this model to these traces")
            return self._family.start(
                params,
                total=params["n_cells"],
                title=title,
                requested_by=requested_by,
                linked=linked,
            )

    def status(self, job_id: str) -> dict[str, Any]:
        """Return how far a fitting is."""
        return self._family.status(job_id)

    def cancel(self, job_id: str) -> None:
        """Stop a fitting."""
        self._family.cancel(job_id)

    def answer_file(self, job_id: str) -> Path:
        """Return the file with the answer for a completed fitting."""
        return self._file(job_id, work.ANSWER_NAME)

    def table_file(self, job_id: str) -> tuple[Path, str]:
        """Return the table of a completed fitting, and the name it has beside the traces."""
        path = self._file(job_id, work.TABLE_NAME)
        return path, Path(self._family.get(job_id).params["results_file"]).name

    def record_file(self, job_id: str) -> Path | None:
        """Return the record of a completed fitting, None where none was kept."""
        self._family.done(job_id)
        path = self._kept / job_id / work.RECORD_NAME
        return path if path.is_file() else None

    def trace(self, job_id: str, fov: int, cell: int) -> dict[str, Any]:
        """Return one trace and the curve fitted to it."""
        params = self._family.done(job_id).params
        table = self._file(job_id, work.TABLE_NAME)
        return self._ask(work.one_trace, params, table.parent, fov, cell)

    def figures(self, job_id: str) -> dict[str, Any]:
        """Return the distribution of every parameter and of R² in a completed fitting."""
        return self._ask(work.figures, self._file(job_id, work.TABLE_NAME).parent)

    def record(self, job_id: str) -> JobRecord:
        """Return the record of a fitting's job."""
        return self._family.get(job_id)

    def known(self, limit: int = 20) -> list[JobRecord]:
        """Return the newest fittings."""
        return self._family.newest(limit)

    def find(self, text: str, limit: int) -> list[JobRecord]:
        """Return the newest fittings in whose title or parameters a text occurs."""
        return self._family.find(text, limit)

    def samples_of(self, job_id: str) -> list[SampleLink]:
        """Return what the traces of a fitting were measured on."""
        return self._family.samples_of(job_id)

    def _file(self, job_id: str, name: str) -> Path:
        self._family.done(job_id)
        path = self._kept / job_id / name
        if not path.is_file():
            raise NotFound("The results of this fitting are not there any more")
        return path

    def _ask(self, task: Callable[..., T], *arguments: Any) -> T:
        with self._reading.take():
            return ask(self._workers, task, *arguments, seconds=READ_SECONDS)

    def _run(self, job: JobContext) -> Mapping[str, Any]:
        kept = self._kept / job.id
        make_folders(kept)
        facts = {"job_id": job.id, "started_at": utc_text(self._clock.now())}
        fitting = self._compute.submit(
            work.fit_file,
            job.params,
            kept,
            facts,
            stop=job.stop.event,
            on_progress=lambda fraction, message: job.report(fraction, message=message),
        )
        found = job.result_of(fitting)
        job.stop.raise_if_asked()
        return found
