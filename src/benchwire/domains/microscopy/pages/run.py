"""One workflow: how far it is, its cells over the frames, their traces, and merging them."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from nicegui import run, ui

from benchwire.domains.microscopy.pages.cells import FovView
from benchwire.domains.microscopy.pages.desk import PATH, STYLE, Desk, Fovs, movie_path
from benchwire.domains.microscopy.pages.merge import MergeForm
from benchwire.domains.microscopy.pages.workflows import Progress
from benchwire.domains.microscopy.service.workflows import WORKFLOW_ITEM
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.web.item_links import NamedSample, draw_crate, draw_samples
from benchwire.foundation.web.shell import act, download
from benchwire.foundation.web.states import badge, empty, failure, section, set_badge
from benchwire.foundation.web.watch import Watch


async def draw(desk: Desk, job_id: str) -> None:
    """Draw the page."""
    ui.add_head_html(STYLE)
    try:
        record = await run.io_bound(desk.workflows.record, job_id)
    except BenchwireError as error:
        failure(error.message, error.hint)
        ui.link("All workflows", PATH)
        return
    if record is None:
        return  # the server is ending
    watch = desk.runs.of(job_id)
    samples = await run.io_bound(desk.workflows.samples_of, job_id) or ()
    view = _View(desk, record)
    view.draw(samples)
    await view.show(await run.io_bound(view.look))
    await watch.ready()
    view.follow(watch)


class _View:
    """The workflow; FOVs can be looked at as soon as they are finished."""

    def __init__(self, desk: Desk, record: JobRecord) -> None:
        self._desk = desk
        self._record = record
        self._finished: list[int] = []
        self._fov: FovView | None = None
        self._following: ui.element | None = None
        self._has_merge = False

    def draw(self, samples: Sequence[NamedSample]) -> None:
        """Draw the page without any FOV."""
        record = self._record
        output = str(record.params["output_dir"])
        movie = str(record.params["microscopy_path"])
        with section(record.title) as card:
            card.mark("run")
            with ui.row().classes("w-full items-center gap-3"):
                self._state = badge(record.state.value).mark("run-state")
                self._cancel = ui.button(
                    "Cancel", on_click=lambda: act(self._desk.workflows.cancel, record.id)
                ).props("dense flat color=negative")
            with ui.row().classes("gap-x-6 gap-y-1"):
                with ui.column().classes("gap-0"):
                    ui.label("Movie").classes("bw-small bw-muted")
                    ui.link(Path(movie).name, movie_path(movie)).classes("break-all")
                with ui.column().classes("gap-0"):
                    ui.label("Results").classes("bw-small bw-muted")
                    ui.label(output).classes("break-all")
            draw_samples(samples)
            self._message = ui.label("").classes("text-negative bw-failure").mark("run-message")
            self._warnings = ui.label("").classes("text-warning").mark("run-warnings")
            with ui.column().classes("w-full gap-1") as self._going_on:
                self._progress = Progress()
            self._downloads = ui.row().classes("gap-2")
        with ui.element("div").classes("w-full") as self._waiting:
            empty("No FOV is finished yet.", "Each is shown here as soon as it is.")
        self._results = ui.column().classes("w-full gap-4")

    def look(self) -> tuple[JobRecord, Fovs]:
        """Find how things stand now."""
        job_id = self._record.id
        return self._desk.workflows.record(job_id), self._desk.workflows.fovs(job_id)

    def follow(self, watch: Watch[tuple[JobRecord, Fovs]]) -> None:
        """Show how things stand until the workflow is over."""
        if not self._record.state.is_final:
            self._following = ui.element("div").classes("hidden")
            with self._following:
                watch.follow(self.show)

    async def show(self, found: tuple[JobRecord, Fovs] | None) -> None:
        """Show how things stand."""
        if found is None:
            return  # the server is ending
        record, fovs = found
        self._record = record
        set_badge(self._state, record.state.value)
        is_over = record.state.is_final
        self._cancel.set_visibility(not is_over)
        self._going_on.set_visibility(not is_over)
        self._progress.show(record, fovs)
        self._message.set_text(record.message or "" if record.state is JobState.FAILED else "")
        self._message.set_visibility(record.state is JobState.FAILED)
        warnings = (record.result or record.params)["warnings"]
        self._warnings.set_text(". ".join(warnings))
        self._warnings.set_visibility(bool(warnings))
        if is_over and self._following is not None:
            self._following.delete()
            self._following = None
        if record.state is JobState.DONE and not self._downloads.default_slot.children:
            with self._downloads:
                url = f"/api/v1/processing/workflow/results/{quote(record.id)}/download"
                download("Tables and records as ZIP", url)
                draw_crate(WORKFLOW_ITEM, record.id)
        await self._show_finished([item["fov"] for item in fovs if item["status"] == "completed"])

    async def _show_finished(self, finished: list[int]) -> None:
        self._waiting.set_visibility(not finished)
        is_new = finished != self._finished
        self._finished = finished
        if is_new and self._fov is not None:
            self._fov.offer(finished)
        elif is_new:
            with self._results:
                self._fov = FovView(self._desk, self._record, finished)
                self._fov.draw()
            await self._fov.load()
        if finished and self._record.state.is_final and not self._has_merge:
            self._has_merge = True
            with self._results:
                MergeForm(self._desk, str(self._record.params["output_dir"]), finished).draw()
