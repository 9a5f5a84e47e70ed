"""Workflows, how far they are, and the way to stop them."""

from typing import Any

from nicegui import run, ui

from benchwire.domains.microscopy.pages.desk import PATH, STYLE, Desk, run_path
from benchwire.foundation.clock import utc_text
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.jobs.family import STATE_WORDS
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.web.shell import act, progress_text

REFRESH_SECONDS = 1.0
SHOWN, SHOWN_ON_CARD = 20, 3
COLOURS = {
    JobState.DONE: "positive",
    JobState.FAILED: "negative",
    JobState.CANCELLED: "warning",
    JobState.RUNNING: "primary",
    JobState.QUEUED: "grey",
}


def draw_card(desk: Desk) -> None:
    """Draw the domain's part of the home page."""
    with ui.card().classes("w-full"):
        with ui.row().classes("w-full items-center justify-between"):
            ui.label("Microscopy").classes("text-lg font-medium")
            ui.link("Open", PATH)
        ui.add_head_html(STYLE)
        WorkflowList(desk, limit=SHOWN_ON_CARD).draw_rows()


class WorkflowList:
    """The newest workflows, kept up to date."""

    def __init__(self, desk: Desk, *, limit: int = SHOWN) -> None:
        self._desk = desk
        self._limit = limit
        self._shown: list[tuple[str, JobState]] = []
        self._progress: dict[str, Progress] = {}

    def draw(self) -> None:
        """Draw the list in a card of its own."""
        with ui.card().classes("w-full"):
            ui.label("Workflows").classes("text-lg font-medium")
            self.draw_rows()

    def draw_rows(self) -> None:
        """Draw the list."""
        self._rows = ui.column().classes("w-full gap-3").mark("workflows")
        ui.timer(REFRESH_SECONDS, self.refresh)

    async def refresh(self) -> None:
        """Show how things stand now."""
        found = await run.io_bound(self._look)
        if found is None:
            return  # the server is ending
        state = [(record.id, record.state) for record, _ in found]
        if state != self._shown or not self._rows.default_slot.children:
            self._shown = state
            self._progress.clear()
            self._rows.clear()
            with self._rows:
                if not found:
                    ui.label("None so far.").classes("opacity-70")
                for record, _ in found:
                    self._draw_row(record)
        for record, fovs in found:
            if record.id in self._progress:
                self._progress[record.id].show(record, fovs)

    def _look(self) -> list[tuple[JobRecord, list[dict[str, Any]]]]:
        return [
            (record, [] if record.state.is_final else self._fovs(record.id))
            for record in self._desk.workflows.known(self._limit)
        ]

    def _fovs(self, job_id: str) -> list[dict[str, Any]]:
        try:
            return self._desk.workflows.fovs(job_id)
        except BenchwireError:
            return []  # forgotten since it was listed

    def _draw_row(self, record: JobRecord) -> None:
        with ui.column().classes("w-full gap-1"):
            with ui.row().classes("w-full items-center gap-3 no-wrap"):
                ui.badge(STATE_WORDS[record.state], color=COLOURS[record.state]).classes(
                    "w-20 justify-center shrink-0"
                )
                ui.link(record.title, run_path(record.id)).classes("grow min-w-0 break-words")
                ui.label(utc_text(record.created_at)[:16].replace("T", " ")).classes(
                    "text-xs opacity-70 whitespace-nowrap bw-wide"
                )
                if not record.state.is_final:
                    ui.button(
                        "Cancel", on_click=lambda: act(self._desk.workflows.cancel, record.id)
                    ).props("dense flat color=negative")
            if record.state is JobState.FAILED and record.message:
                ui.label(record.message).classes("text-sm text-negative")
            if not record.state.is_final:
                self._progress[record.id] = Progress()


class Progress:
    """How far a workflow is, as a whole and FOV by FOV."""

    def __init__(self) -> None:
        self._bar = ui.linear_progress(0, show_value=False).props("instant-feedback")
        self._text = ui.label("").classes("text-sm opacity-80").mark("workflow-progress")
        self._fovs = ui.html("", sanitize=False).classes("w-full").mark("workflow-fovs")

    def show(self, record: JobRecord, fovs: list[dict[str, Any]]) -> None:
        """Show how far it is now."""
        self._bar.set_value(round(record.progress, 3))
        self._text.set_text(progress_text(record))
        self._fovs.set_content(_fovs_html(fovs))


def _fovs_html(fovs: list[dict[str, Any]]) -> str:
    """Return the FOVs as a grid of bars; it holds numbers and words of our own alone."""
    cells = []
    for item in fovs:
        number, done = int(item["fov"]), float(item["percentage"])
        words = f"FOV {number}: {item['status']}, {done:.0f} %"
        cells.append(
            f'<div class="mc-fov" role="progressbar" aria-label="FOV {number}" title="{words}" '
            f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{done:.0f}" '
            f'data-state="{item["status"]}" style="--done: {done:.0f}%">{number}</div>'
        )
    return f'<div class="mc-fovs">{"".join(cells)}</div>'
