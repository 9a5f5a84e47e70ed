"""Fittings, how far they are, and the way to stop them."""

from urllib.parse import quote, urlencode

from nicegui import run, ui

from benchwire.domains.traces.service import Fittings
from benchwire.foundation.clock import utc_text
from benchwire.foundation.jobs.family import STATE_WORDS
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.web.shell import act, progress_text

PATH = "/traces"
REFRESH_SECONDS = 1.0
COLOURS = {
    JobState.DONE: "positive",
    JobState.FAILED: "negative",
    JobState.CANCELLED: "warning",
    JobState.RUNNING: "primary",
    JobState.QUEUED: "grey",
}


def csv_path(path: str) -> str:
    """Return the page of a file of traces."""
    return f"{PATH}?{urlencode({'csv': path})}"


def fit_path(job_id: str) -> str:
    """Return the page of a fitting."""
    return f"{PATH}/fit/{quote(job_id, safe='')}"


class FittingList:
    """The newest fittings, kept up to date."""

    def __init__(self, fittings: Fittings) -> None:
        self._fittings = fittings
        self._shown: list[tuple[str, JobState]] = []
        self._progress: dict[str, Progress] = {}

    def draw(self) -> None:
        """Draw the list."""
        with ui.card().classes("w-full"):
            ui.label("Fittings").classes("text-lg font-medium")
            self._rows = ui.column().classes("w-full gap-3").mark("fittings")
        ui.timer(REFRESH_SECONDS, self.refresh)

    async def refresh(self) -> None:
        """Show how things stand now."""
        found = await run.io_bound(self._fittings.known)
        if found is None:
            return  # the server is ending
        state = [(record.id, record.state) for record in found]
        if state != self._shown or not self._rows.default_slot.children:
            self._shown = state
            self._progress.clear()
            self._rows.clear()
            with self._rows:
                if not found:
                    ui.label("None so far.").classes("opacity-70")
                for record in found:
                    self._draw_row(record)
        for record in found:
            if record.id in self._progress:
                self._progress[record.id].show(record)

    def _draw_row(self, record: JobRecord) -> None:
        with ui.column().classes("w-full gap-1"):
            with ui.row().classes("w-full items-center gap-3 no-wrap"):
                ui.badge(STATE_WORDS[record.state], color=COLOURS[record.state]).classes(
                    "w-20 justify-center shrink-0"
                )
                ui.link(record.title, fit_path(record.id)).classes("grow min-w-0 break-words")
                ui.label(utc_text(record.created_at)[:16].replace("T", " ")).classes(
                    "text-xs opacity-70 whitespace-nowrap bw-wide"
                )
                if not record.state.is_final:
                    ui.button(
                        "Cancel", on_click=lambda: act(self._fittings.cancel, record.id)
                    ).props("dense flat color=negative")
            if record.state is JobState.FAILED and record.message:
                ui.label(record.message).classes("text-sm text-negative")
            if not record.state.is_final:
                self._progress[record.id] = Progress()


class Progress:
    """How far a fitting is."""

    def __init__(self) -> None:
        self._bar = ui.linear_progress(0, show_value=False).props("instant-feedback")
        self._text = ui.label("").classes("text-sm opacity-80").mark("fitting-progress")

    def show(self, record: JobRecord) -> None:
        """Show how far it is now."""
        self._bar.set_value(round(record.progress, 3))
        self._text.set_text(progress_text(record))
