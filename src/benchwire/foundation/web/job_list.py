"""Jobs of one kind in a list: how each stands, how far it is, and a way to stop it."""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from nicegui import ui

from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.web.shell import cancel_button
from benchwire.foundation.web.states import badge, empty, minute
from benchwire.foundation.web.watch import Watch

REFRESH_SECONDS = 1.0

More = TypeVar("More", contravariant=True)
Known = TypeVar("Known")


class ShowsProgress(Protocol[More]):
    """What shows how far a job is, drawn where it is made."""

    def show(self, record: JobRecord, more: More) -> None:
        """Show how far it is now."""


class JobList(Generic[Known]):
    """The newest jobs, kept up to date on every page they are drawn on.

    Made once and drawn many times, it looks once for all open pages.

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
        self.page_of = page_of
        self.cancel = cancel
        self.make_progress = progress
        self._watch = Watch(look, seconds=REFRESH_SECONDS)

    def draw(self, mark: str) -> None:
        """Draw the list here."""
        self._watch.follow(_DrawnList(self, mark).show)

    async def refresh(self) -> None:
        """Have all pages show what a person has just begun."""
        await self._watch.renew()


class _DrawnList(Generic[Known]):
    """The list on one page."""

    def __init__(self, jobs: JobList[Known], mark: str) -> None:
        self._jobs = jobs
        self._shown: list[tuple[str, JobState]] | None = None
        self._progress: dict[str, ShowsProgress[Known]] = {}
        self._rows = ui.element("ul").classes("bw-list").mark(mark)

    def show(self, found: Sequence[tuple[JobRecord, Known]]) -> None:
        state = [(record.id, record.state) for record, _ in found]
        if state != self._shown:
            self._shown = state
            self._progress.clear()
            self._rows.clear()
            with self._rows:
                if not found:
                    with ui.element("li"):
                        empty("None so far.")
                for record, _ in found:
                    self._draw_row(record)
        for record, more in found:
            if record.id in self._progress:
                self._progress[record.id].show(record, more)

    def _draw_row(self, record: JobRecord) -> None:
        with ui.element("li").classes("py-1"):
            with ui.element("div").classes("bw-line"):
                badge(record.state.value)
                ui.link(record.title, self._jobs.page_of(record.id)).classes("bw-line-main")
                ui.label(minute(record.created_at)).classes(
                    "bw-small bw-muted bw-number whitespace-nowrap bw-wide"
                )
                if not record.state.is_final:
                    cancel_button(self._jobs.cancel, record)
            if record.state is JobState.FAILED and record.message:
                ui.label(record.message).classes("bw-small bw-bad break-words")
            if not record.state.is_final:
                self._progress[record.id] = self._jobs.make_progress()
