"""Workflows: every FOV of a movie from images to traces, as a job that outlives a restart."""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path, PurePosixPath
from typing import Any

from benchwire.domains.microscopy import finished, results, work
from benchwire.domains.microscopy.errors import FolderBusy, ProcessingFailed, ResultsReplaced
from benchwire.domains.microscopy.features import Kind, load_features
from benchwire.domains.microscopy.plan import (
    Ending,
)
from benchwire.domains.microscopy.schemas import WorkflowRequest
from benchwire.domains.microscopy.service.checks import (
    check_channels,
    check_output,
    check_room,
    check_times,
    fov_range,
    refuse_file,
)
from benchwire.domains.microscopy.service.movies import Movies
from benchwire.foundation.clock import Clock, utc_text
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.files import AllowedFolders, PathMissing
from benchwire.foundation.jobs.family import JobFamily
from benchwire.foundation.jobs.runner import JobContext, JobNotFound, Jobs
from benchwire.foundation.jobs.states import JobRecord, JobState, StopReason
from benchwire.foundation.run_record import RUN_NAME
from benchwire.foundation.samples.names import SampleInvalid, SampleLink
from benchwire.foundation.samples.store import Given, Samples
from benchwire.foundation.workers import Executor

logger = logging.getLogger(__name__)

KIND = "microscopy.workflow"
WORKFLOW_ITEM = "workflow"
"""What one is called in lists over all domains."""

# The rest is the record of the run, once all FOVs are done.
_FOVS_SHARE = 0.99
_LOOK_SECONDS = 0.2
_MOST_FOVS_TOLD = 2000


class Workflows:
    """Takes workflows in, runs them, and says how they went.

    Parameters
    ----------
    side_by_side
        How many FOVs of one workflow are processed at once at most, whatever it asks for.
    """

    def __init__(
        self,
        jobs: Jobs,
        clock: Clock,
        movies: Movies,
        samples: Samples,
        *,
        allowed: AllowedFolders,
        compute: Executor,
        side_by_side: int,
    ) -> None:
        self._clock = clock
        self._movies = movies
        self._allowed = allowed
        self._compute = compute
        self._side_by_side = side_by_side
        self._family = JobFamily(jobs, samples, kind=KIND, item=WORKFLOW_ITEM, unit="fov")
        self._submitting = threading.Lock()
        self._fractions: dict[str, dict[int, float]] = {}

    def register(self, *, queue: str, concurrency: int, time_limit: float) -> None:
        """Make workflows known to the job engine."""
        self._family.register(
            self._run,
            queue=queue,
            concurrency=concurrency,
            time_limit=time_limit,
            repeat=self._submit,
        )

    # -- what clients do --------------------------------------------------------------------

    def features(self) -> dict[Kind, list[str]]:
        """Return the names of all features, by the kind of channel they are measured in."""
        found = load_features().values()
        return {
            kind: sorted(feature.name for feature in found if feature.kind == kind)
            for kind in ("phase", "fluorescence")
        }

    def start(self, request: WorkflowRequest) -> str:
        """Take a workflow in and return its job's id; whatever can be wrong is found first."""
        output, _ = self._allowed.paths(request.output_dir, request.microscopy_path)
        self._allowed.existing(request.microscopy_path)
        refuse_file(output)
        info = self._movies.info(request.microscopy_path)
        plan = request.plan()
        check_channels(plan, info)
        fovs = fov_range(request.parameters, info)
        named = _samples_of(request, fovs)
        self._family.samples_in(named)
        warnings = check_times(plan, info)
        self._movies.check_pixels(info, channels=plan.channels, fov=fovs.start)
        check_output(output, info, fovs)
        check_room(output, plan, info, fovs)
        params = {
            "microscopy_path": request.microscopy_path,
            "base_name": info.base_name,
            "members": [str(member) for member in info.members],
            "has_times": info.has_times,
            "shape": [info.n_frames, info.height, info.width],
            "output_dir": request.output_dir,
            "plan": plan.as_json(),
            "fov_start": fovs.start,
            "fov_end": fovs.stop - 1,
            "n_workers": request.parameters.n_workers,
            "batch_size": request.parameters.batch_size,
            "ome_zarr": request.parameters.ome_zarr,
            "warnings": warnings,
            **named,
        }
        return self._submit(params, f"Workflow {info.base_name}")

    def _submit(
        self,
        params: Mapping[str, Any],
        title: str,
        requested_by: str = "",
        linked: Given | None = None,
    ) -> str:
        fovs = _fovs_of(params)
        output = self._allowed.path(params["output_dir"])
        with self._submitting:
            self._refuse_busy(output, fovs)
            return self._family.start(
                params, total=len(fovs), title=title, requested_by=requested_by, linked=linked
            )

    def status(self, job_id: str) -> dict[str, Any]:
        """Return how far a workflow is, as a whole and FOV by FOV."""
        record = self._family.get(job_id)
        status = self._family.status(job_id)
        is_told = len(_fovs_of(record.params)) <= _MOST_FOVS_TOLD
        return {**status, "fovs": self._fovs(record) if is_told else []}

    def fovs(self, job_id: str) -> list[dict[str, Any]]:
        """Return how far each FOV of a workflow is, however many there are."""
        return self._fovs(self._family.get(job_id))

    def cancel(self, job_id: str) -> None:
        """Stop a workflow; what is finished of it stays."""
        self._family.cancel(job_id)

    def results(self, job_id: str) -> dict[str, Any]:
        """Return where a completed workflow's results are."""
        record = self._family.done(job_id)
        return {
            "job_id": job_id,
            "output_dir": record.params["output_dir"],
            **(record.result or {}),
        }

    def archive(self, job_id: str) -> list[tuple[PurePosixPath, Path]]:
        """Return the tables and records of a completed workflow, without its image stacks.

        Their names are below the folder of the results, their places have every link followed.

        Raises
        ------
        JobNotDone
            It is in any other state.
        PathForbidden, PathMissing
            Not all of them can be had any more.
        ResultsReplaced
            A later workflow has processed some of its FOVs in another way.
        """
        record = self._family.done(job_id)
        result = record.result or {}
        index = Path(result["results_file"])
        traces = [Path(path) for path in result["traces"]]
        needed = [index, _own_record(index.parent, job_id), *traces]
        for path in needed:
            self._allowed.file(str(path))
        self._refuse_replaced(record, traces)
        beside = [
            *(results.inspected_path(path) for path in traces),
            *(path.with_suffix(".parquet") for path in traces),
        ]
        files = needed + [
            path for path in beside if path.is_file() and self._allowed.is_allowed(path)
        ]
        return [
            (PurePosixPath(path.relative_to(index.parent)), self._allowed.real(path))
            for path in files
        ]

    def record(self, job_id: str) -> JobRecord:
        """Return the record of a workflow's job."""
        return self._family.get(job_id)

    def traces(self, job_id: str, fov: int) -> dict[str, Any]:
        """Return what was measured of each cell of an FOV, also before the workflow's end."""
        params = self._family.get(job_id).params
        if not params["fov_start"] <= fov <= params["fov_end"]:
            raise PathMissing(f"FOV {fov} is not of this workflow")
        path = results.traces_path(Path(params["output_dir"]), fov, base_name=params["base_name"])
        n_frames, height, width = params["shape"]
        return {
            **self._movies.ask(work.traces_of_fov, path, self._allowed),
            "n_frames": n_frames,
            "height": height,
            "width": width,
        }

    def overlay(self, output_dir: str, *, fov: int, frame: int, with_names: bool) -> bytes:
        """Return a processed frame as PNG, its cells outlined and named."""
        folder = self._allowed.folder(output_dir)
        return self._movies.ask(work.draw_overlay, folder, (fov, frame), with_names, self._allowed)

    def known(self, limit: int = 20) -> list[JobRecord]:
        """Return the newest workflows."""
        return self._family.newest(limit)

    def find(self, text: str, limit: int) -> list[JobRecord]:
        """Return the newest workflows in whose title or parameters a text occurs."""
        return self._family.find(text, limit)

    def samples_of(self, job_id: str) -> list[SampleLink]:
        """Return what a workflow's movie shows."""
        return self._family.samples_of(job_id)

    def _refuse_replaced(self, record: JobRecord, traces: Sequence[Path]) -> None:
        """Refuse traces that another workflow has made since."""
        for path in traces:
            maker = str(finished.facts(path.parent).get("job_id", "another workflow"))
            if maker != record.id and not self._was_before(maker, record):
                raise ResultsReplaced(
                    f"The results in {path.parent.name} were replaced by {maker:.80}",
                    hint="Start the workflow again, with an output_dir of its own.",
                )

    def _was_before(self, job_id: str, record: JobRecord) -> bool:
        """Whether a workflow came before another, which has left its FOVs as they were.

        It would have processed them anew, had they not been made in just its own way.
        """
        try:
            return self._family.get(job_id).created_at < record.created_at
        except JobNotFound:
            return False

    def _refuse_busy(self, output: Path, fovs: range) -> None:
        """Refuse to write what another workflow is writing."""
        for record in self._family.unfinished():
            taken = _fovs_of(record.params)
            is_same = Path(record.params["output_dir"]).resolve() == output.resolve()
            if is_same and max(taken.start, fovs.start) < min(taken.stop, fovs.stop):
                raise FolderBusy(
                    f"{record.id} is writing these FOVs in that folder",
                    hint="Wait for it, cancel it, or choose another output_dir.",
                )

    # -- the job ----------------------------------------------------------------------------

    def _run(self, job: JobContext) -> Mapping[str, Any]:
        params, began = job.params, self._clock.now()
        mark = job.result_of(self._compute.submit(work.fingerprint, params, stop=job.stop.event))
        self._fractions[job.id] = {int(part): 1.0 for part in job.finished_parts}
        try:
            failures = self._process(job, mark)
        finally:
            del self._fractions[job.id]

        def ending(state: str) -> Ending:
            ended = utc_text(self._clock.now())
            return Ending(job.id, utc_text(began), ended, state=state, failures=failures)

        reason = job.stop.reason
        if reason is not None:
            if reason is not StopReason.SHUTDOWN:
                self._record_stopped(params, mark, ending(reason.value))
            job.stop.raise_if_asked()
        job.report(_FOVS_SHARE, message="Writing the record of the run")
        recording = self._compute.submit(
            work.record_run,
            params,
            mark,
            ending("failed" if failures else "completed"),
            True,
            self._allowed,
            stop=job.stop.event,
        )
        try:
            found = job.result_of(recording)
        finally:
            if failures:
                job.stop.raise_if_asked()
                raise ProcessingFailed(_told(failures, len(_fovs_of(params))))
        job.stop.raise_if_asked()
        return found

    def _record_stopped(self, params: Mapping[str, Any], mark: str, ending: Ending) -> None:
        """Write the record of a run that was stopped; the FOVs that are finished stay."""
        try:
            self._movies.ask(work.record_run, params, mark, ending, False, self._allowed)
        except BenchwireError as error:
            logger.warning("the record of %s was not written: %s", ending.job_id, error.message)

    def _process(self, job: JobContext, mark: str) -> dict[int, str]:
        """Process all FOVs and return why some could not be."""
        # Those of an earlier run or life are handed out too: the files tell whether they are whole.
        waiting = deque(_fovs_of(job.params))
        running: dict[Future[None], int] = {}
        failures: dict[int, str] = {}
        at_once = min(job.params["n_workers"], self._side_by_side)
        halt = threading.Event()
        job.stop.on_stop(lambda _: halt.set())
        try:
            while waiting or running:
                if halt.is_set():
                    waiting.clear()
                    for future in list(running):
                        if future.cancel():  # not begun
                            del running[future]
                while waiting and len(running) < at_once:
                    fov = waiting.popleft()
                    future = self._compute.submit(
                        work.process_fov,
                        job.params,
                        fov,
                        mark,
                        job.id,
                        self._allowed,
                        stop=halt,
                        on_progress=self._progress_of(job, fov),
                    )
                    running[future] = fov
                for future in wait(running, _LOOK_SECONDS, FIRST_COMPLETED).done:
                    fov = running.pop(future)
                    error = future.exception()
                    if error is None:
                        self._fractions[job.id][fov] = 1.0
                        job.finish_part(str(fov))
                    elif not halt.is_set():
                        failures[fov] = _reason(error)
                        logger.warning("FOV %d of %s failed: %s", fov, job.id, failures[fov])
        finally:
            # Whatever happened here, no work goes on without a job.
            halt.set()
            wait([future for future in running if not future.cancel()])
        return failures

    def _progress_of(self, job: JobContext, fov: int) -> Callable[[float, str], None]:
        fractions, total = self._fractions[job.id], len(_fovs_of(job.params))

        def tell(fraction: float, _: str) -> None:
            fractions[fov] = fraction
            done = sum(list(fractions.values()))
            job.report(
                _FOVS_SHARE * done / total,
                message=f"Processing FOV {min(int(done) + 1, total)}/{total}",
            )

        return tell

    def _fovs(self, record: JobRecord) -> list[dict[str, Any]]:
        fractions = dict(self._fractions.get(record.id, {}))
        fractions |= {int(part): 1.0 for part in record.finished_parts}
        otherwise = "pending" if not record.state.is_final else record.state.value
        if record.state is JobState.DONE:
            otherwise = "completed"
        rows = []
        for fov in _fovs_of(record.params):
            fraction = fractions.get(fov)
            is_running = fraction is not None and record.state is JobState.RUNNING
            state = "completed" if fraction == 1.0 else "running" if is_running else otherwise
            rows.append({"fov": fov, "status": state, "percentage": 100 * (fraction or 0.0)})
        return rows


def _own_record(folder: Path, job_id: str) -> Path:
    """Return where the record of a run is; that of a later run of the folder moves it aside."""
    path = folder / RUN_NAME
    try:
        is_own = json.loads(path.read_text("utf-8"))["job_id"] == job_id
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        is_own = False
    return path if is_own else path.with_name(f"{path.stem}_{job_id}{path.suffix}")


def _samples_of(request: WorkflowRequest, fovs: range) -> dict[str, Any]:
    """Return the samples that a request names, as a job keeps them."""
    given = request.model_dump(include={"sample", "samples"}, exclude_none=True)
    strange = [int(fov) for fov in given.get("samples", ()) if int(fov) not in fovs]
    if strange:
        raise SampleInvalid(f"samples names FOV {strange[0]}, which is not of this workflow")
    return given


def _fovs_of(params: Mapping[str, Any]) -> range:
    return range(params["fov_start"], params["fov_end"] + 1)


def _reason(error: BaseException) -> str:
    if isinstance(error, BenchwireError):
        return error.message
    logger.error("unforeseen error in a worker", exc_info=error)
    return "an unforeseen error; the log has it"


def _told(failures: Mapping[int, str], total: int) -> str:
    """Return which FOVs failed and why, those of one reason together."""
    by_reason: dict[str, list[int]] = {}
    for fov in sorted(failures):
        by_reason.setdefault(failures[fov], []).append(fov)
    told = [f"FOV {_spans(fovs)}: {reason}" for reason, fovs in by_reason.items()]
    return f"{len(failures)} of {total} FOVs failed. {'; '.join(told)}"


def _spans(numbers: Sequence[int]) -> str:
    """Return ascending numbers as ``1-3, 5``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
