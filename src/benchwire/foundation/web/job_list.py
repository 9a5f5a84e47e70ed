"""Jobs of one kind in a list: how each stands, how far it is, and a way to stop it."""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from nicegui import run, ui

from benchwire.foundation.clock import utc_text
from benchwire.foundation.jobs.family import STATE_WORDS
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.web.shell import act, progress_text

REFRESH_SECONDS = 1.0
STATE_COLOURS = {
    JobState.DONE: "positive",
    JobState.FAILED: "negative",
    JobState.CANCELLED: "warning",
    JobState.RUNNING: "primary",
    JobState.QUEUED: "grey",
}

More = TypeVar("More", contravariant=True)
Known = TypeVar("Known")


class ShowsProgress(Protocol[More]):
    """What shows how far a job is, drawn where it is made."""

    def show(self, record: JobRecord, more: More) -> None:
        """Show how far it is now."""


class JobProgress:
    """How far a job is, as a bar and in words."""

    def __init__(self) -> None:
        self._bar = ui.linear_progress(0, show_value=False).props("instant-feedback")
        self._text = ui.label("").classes("text-sm opacity-80").mark("job-progress")

    def show(self, record: JobRecord, _: object = None) -> None:
        """Show how far it is now."""
        self._bar.set_value(round(record.progress, 3))
        self._text.set_text(progress_text(record))


class JobList(Generic[Known]):
    """The newest jobs, kept up to date.

    Parameters
    ----------
    look
        Gives the jobs, newest first, each with what is shown of it beside its record; it is called
        in a thread.
    page_of
        Gives the address of a job's page.
    cancel
        Stops a job.
    progress
        Makes what shows how far an unfinished job is.
    """

    def __init__(
        self,
        look: Callable[[], Sequence[tuple[JobRecord, Known]]],
        *,
        page_of: Callable[[str], str],
        cancel: Callable[[str], None],
        progress: Callable[[], ShowsProgress[Known]],
    ) -> None:
        self._look = look
        self._page_of = page_of
        self._cancel = cancel
        self._make_progress = progress
        self._shown: list[tuple[str, JobState]] = []
        self._progress: dict[str, ShowsProgress[Known]] = {}

    def draw(self, mark: str) -> None:
        """Draw the list."""
        self._rows = ui.column().classes("w-full gap-3").mark(mark)
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
        for record, more in found:
            if record.id in self._progress:
                self._progress[record.id].show(record, more)

    def _draw_row(self, record: JobRecord) -> None:
        with ui.column().classes("w-full gap-1"):
            with ui.row().classes("w-full items-center gap-3 no-wrap"):
                ui.badge(STATE_WORDS[record.state], color=STATE_COLOURS[record.state]).classes(
                    "w-20 justify-center shrink-0"
                )
                ui.link(record.title, self._page_of(record.id)).classes("grow min-w-0 break-words")
                ui.label(utc_text(record.created_at)[:16].replace("T", " ")).classes(
                    "text-xs opacity-70 whitespace-nowrap bw-wide"
                )
                if not record.state.is_final:
                    ui.button("Cancel", on_click=lambda: act(self._cancel, record.id)).props(
                        "dense flat color=negative"
                    )
            if record.state is JobState.FAILED and record.message:
                ui.label(record.message).classes("text-sm text-negative")
            if not record.state.is_final:
                self._progress[record.id] = self._make_progress()
