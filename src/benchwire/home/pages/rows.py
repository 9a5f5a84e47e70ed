"""Jobs and items as lines of a list."""

from datetime import datetime

from nicegui import ui

from benchwire.foundation.catalogue import Item
from benchwire.foundation.jobs.runner import Jobs
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.web.item_links import crate_url
from benchwire.foundation.web.job_progress import JobProgress, duration
from benchwire.foundation.web.shell import act, cancel_button, download
from benchwire.foundation.web.states import badge, minute, set_badge
from benchwire.home.catalogue import Catalogue

_PLURALS = {"copy": "copies", "fit": "fits", "session": "charging sessions", "slot": "slots"}


def plural(kind: str) -> str:
    """Return the word for many items of a kind, as a heading."""
    return _PLURALS.get(kind, f"{kind}s").capitalize()


def page_of(item: Item | None) -> str | None:
    """Return the page of what a job works on, where there is one."""
    return None if item is None else item.page


def title(text: str, page: str | None) -> ui.element:
    """Draw a title, as a link where there is a page."""
    shown = ui.link(text, page) if page else ui.label(text)
    return shown.classes("bw-line-title")


def when(at: datetime | None) -> None:
    """Draw a moment, if there is one."""
    if at is not None:
        ui.label(minute(at)).classes("bw-small bw-muted bw-number whitespace-nowrap")


def crate_link(catalogue: Catalogue, item: Item) -> None:
    """Draw a link that downloads everything of an item, where that can be had by now."""
    if catalogue.can_export(item):
        link = download("RO-Crate", crate_url(item.kind, item.id))
        link.props["aria-label"] = f"Download {item.title} as RO-Crate"


def retry_button(jobs: Jobs, record: JobRecord, text: str = "Retry") -> None:
    """Draw a button that does a job's work once more, where that can be done."""
    if not jobs.can_repeat(record):
        return

    async def retry() -> None:
        page = ui.context.client
        if await act(jobs.repeat, record.id, "dashboard") is not None:
            # The line is drawn anew as soon as the new job is there.
            with page:
                ui.notify("Started again with the same parameters", type="positive")

    button = ui.button(text, icon="replay", on_click=retry, color=None).props("dense flat")
    button.props["aria-label"] = f"{text}: {record.title}"


class UnderWay:
    """An unfinished job's line: how it stands, how far it is, a way to stop it.

    It is changed where it stands, as whoever is on one of its parts would lose their place.
    """

    def __init__(self, jobs: Jobs, record: JobRecord, item: Item | None) -> None:
        self._item = item
        with ui.element("li").classes("py-1") as self._line:
            with ui.element("div").classes("bw-line"):
                self._badge = badge(record.state.value)
                self._place = ui.element("div").classes("bw-line-main")
                with self._place:
                    title(record.title, page_of(item))
                cancel_button(jobs.cancel, record, jobs.ask_to_stop)
            self._progress = JobProgress()
        self._progress.show(record)

    def show(self, record: JobRecord, item: Item | None) -> None:
        """Show how it stands now."""
        set_badge(self._badge, record.state.value)
        self._progress.show(record)
        if page_of(item) != page_of(self._item):
            self._item = item
            self._place.clear()
            with self._place:
                title(record.title, page_of(item))

    def remove(self) -> None:
        """Take the line away."""
        self._line.delete()


def facts(record: JobRecord, domain: str) -> list[str]:
    """Return what is worth knowing of a job beside its title and state."""
    found = [domain, f"requested at {minute(record.created_at)}"]
    if record.requested_by:
        found.append(f"by {record.requested_by}")
    if record.started_at is not None and record.ended_at is not None:
        found.append(f"took {duration((record.ended_at - record.started_at).total_seconds())}")
    if record.interrupted:
        found.append("interrupted when the server stopped")
    return found


def item_line(catalogue: Catalogue, item: Item) -> None:
    """Draw an item: what it is, when, and how it stands."""
    with ui.element("li").classes("bw-line"):
        with ui.element("div").classes("bw-line-main"):
            title(item.title, item.page)
            if item.detail:
                ui.label(item.detail).classes("bw-small bw-muted break-words")
        with ui.element("div").classes("bw-line-side"):
            if item.state:
                badge(item.state)
            when(item.at)
            crate_link(catalogue, item)
