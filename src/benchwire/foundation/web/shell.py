"""The dashboard's frame: landmarks, navigation, search, connection, and the jobs under way."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import TypeVar

from nicegui import run, ui

from benchwire.foundation.catalogue import Item
from benchwire.foundation.errors import BenchwireError, Forbidden
from benchwire.foundation.jobs.runner import Jobs
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.web.auth import caller_of
from benchwire.foundation.web.job_progress import JobProgress
from benchwire.foundation.web.keys import KeyRing
from benchwire.foundation.web.roles import Role
from benchwire.foundation.web.states import heading
from benchwire.foundation.web.watch import Watch

T = TypeVar("T")

STATIC_URL = "/static/ui"
_JOBS_IN_MENU = 30


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A page's place in the navigation; ``icon`` is a Material icon's name."""

    title: str
    path: str
    icon: str


@dataclass(slots=True)
class Shell:
    """The frame around every page.

    Parameters
    ----------
    path
        Where the dashboard is mounted.
    unfinished
        The jobs that are queued or running, oldest first, for all pages.
    keys
        Says whether there is a session to end.
    look_up
        Gives an item of any domain by kind and id, None if it is not here any more.
    """

    jobs: Jobs
    path: str
    unfinished: Watch[list[JobRecord]]
    keys: KeyRing
    look_up: Callable[[str, str], Item | None] = lambda *_: None
    navigation: list[NavigationEntry] = field(default_factory=list)
    _head: str = field(init=False, default_factory=lambda: _head_html())

    @contextmanager
    def page(self, title: str, *, wide: bool = False) -> Iterator[None]:
        """Draw the frame; what is drawn inside is the page.

        Parameters
        ----------
        wide
            Let the page use the whole width of the window.
        """
        ui.add_head_html(self._head)
        ui.page_title(f"{title} · benchwire")
        with ui.left_drawer(value=None, bordered=True).props("width=232 breakpoint=900") as drawer:
            self._draw_navigation()
        with ui.header(wrap=False).classes("bw-header"):
            ui.button(icon="menu", on_click=drawer.toggle, color=None).props(
                'flat round aria-label="Navigation"'
            )
            _external("benchwire", f"{self.path}/", "bw-brand").props["aria-label"] = (
                "benchwire, home"
            )
            self._draw_search()
            ui.space()
            self._draw_search_link()
            state = ui.label("").classes("bw-connection").mark("connection")
            state.props("data-bw-connection role=status")
            JobsMenu(self.jobs, self.unfinished)
            ui.button(icon="contrast", color=None).on(
                "click", js_handler="() => benchwire.switchTheme()"
            ).props('flat round aria-label="Light or dark"')
        content = ui.context.client.content
        # The page library makes the main landmark around the content.
        main = content.parent_slot.parent if content.parent_slot else content
        ui.skip_link("Skip to the content", target=main).classes("bw-skip")
        with ui.element("div").classes("bw-page bw-page-wide" if wide else "bw-page"):
            heading(title, level=1)
            yield

    def _draw_search(self) -> None:
        with ui.element("form").classes("bw-search bw-wide") as form:
            form.props["action"] = f"{self.path}/search"
            form.props["role"] = "search"
            entry = ui.element("input").props("type=search name=q autocomplete=off data-bw-search")
            entry.props["aria-label"] = "Search everything"
            entry.props["placeholder"] = "Search  ( / )"

    def _draw_search_link(self) -> None:
        """Draw what stands for the field on narrow screens."""
        link = _external("", f"{self.path}/search", "bw-narrow bw-icon-link")
        link.props["aria-label"] = "Search"
        with link:
            ui.icon("search")

    def _draw_navigation(self) -> None:
        current = self._current_entry()
        with ui.element("nav").classes("bw-navigation").props('aria-label="Pages"'):
            for entry in self.navigation:
                with _external("", f"{self.path}{entry.path}", "bw-nav") as link:
                    if entry is current:
                        link.props["aria-current"] = "page"
                    ui.icon(entry.icon)
                    ui.label(entry.title)
            ui.separator()
            _external("API documents", "/docs", "bw-nav bw-nav-small")
            _external("Metrics", "/metrics", "bw-nav bw-nav-small")
            if not self.keys.is_open:
                ui.label(_signed_in()).classes("bw-nav-small bw-muted").mark("signed-in")
                with ui.element("form").props("method=post action=/logout"):
                    button = ui.element("button").classes("bw-nav bw-nav-small")
                    with button:
                        ui.label("Log out")

    def _current_entry(self) -> NavigationEntry | None:
        """Return the entry whose pages the present one is among."""
        path = ui.context.client.request.url.path.removeprefix(self.path).rstrip("/") or "/"
        matching = [
            entry
            for entry in self.navigation
            if path == entry.path or (entry.path != "/" and path.startswith(f"{entry.path}/"))
        ]
        return max(matching, key=lambda entry: len(entry.path), default=None)


class JobsMenu:
    """The jobs under way, in the header: how many, how far, and a way to stop each."""

    def __init__(self, jobs: Jobs, unfinished: Watch[list[JobRecord]]) -> None:
        self._jobs = jobs
        self._records: list[JobRecord] = []
        self._shown: tuple[str, ...] | None = None
        self._rows: dict[str, JobProgress] = {}
        with ui.button(icon="pending_actions", color=None).props("flat round") as self._button:
            self._badge = ui.badge("0", color="primary").props("floating")
            with ui.menu().classes("p-4") as self._menu:
                with ui.element("div").classes("bw-section-head"):
                    heading("Under way")
                    ui.link("All jobs", "/jobs")
                self._list = ui.column().classes("gap-3 w-80 max-w-full").mark("jobs-menu")
        self._menu.on_value_change(self._draw_if_open)
        unfinished.follow(self._show)

    def _show(self, records: list[JobRecord]) -> None:
        self._records = records
        self._badge.set_text(str(len(records)))
        self._badge.set_visibility(bool(records))
        self._button.props["aria-label"] = f"Jobs under way: {len(records)}"
        self._draw_if_open()

    def _draw_if_open(self) -> None:
        """Draw only what is looked at: a closed menu costs nothing while jobs go on."""
        if not self._menu.value:
            return
        shown = self._records[:_JOBS_IN_MENU]
        ids = tuple(record.id for record in shown)
        if ids != self._shown:
            self._shown = ids
            self._draw(shown)
        for record in shown:
            self._rows[record.id].show(record)

    def _draw(self, records: Sequence[JobRecord]) -> None:
        self._rows.clear()
        self._list.clear()
        with self._list:
            if not records:
                ui.label("Nothing is running.").classes("bw-muted")
            for record in records:
                with ui.column().classes("w-full gap-1"):
                    with ui.row().classes("w-full items-center justify-between no-wrap"):
                        ui.label(record.title).classes("font-medium break-words min-w-0")
                        cancel_button(self._jobs.cancel, record, self._jobs.ask_to_stop)
                    self._rows[record.id] = JobProgress()
            more = len(self._records) - len(records)
            if more > 0:
                ui.label(f"and {more} more").classes("bw-muted")


def cancel_button(
    cancel: Callable[[str], object],
    record: JobRecord,
    first: Callable[[str], object] = lambda _: None,
) -> None:
    """Draw a button that stops a job; ``first`` is what must not wait for a thread."""

    async def stop() -> None:
        await act(cancel, record.id, first=lambda: first(record.id))

    button = ui.button("Cancel", on_click=stop, color="negative")
    button.props("dense flat")
    button.props["aria-label"] = f"Cancel {record.title}"


def _external(text: str, url: str, classes: str) -> ui.element:
    """Draw a link whose address is not taken as below the dashboard."""
    link = ui.element("a").classes(classes)
    link.props["href"] = url
    if text:
        with link:
            ui.label(text)
    return link


def _head_html() -> str:
    """Return what every page loads first; addresses change with the files, so caches may keep."""
    folder = files("benchwire.foundation.web") / "static"

    def address(name: str) -> str:
        content = (folder / name).read_bytes()
        return f"{STATIC_URL}/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"

    return (
        '<link rel="icon" href="data:,">'
        f'<script src="{address("live.js")}"></script>'
        f'<script src="{address("plots.js")}"></script>'
        f'<link rel="stylesheet" href="{address("benchwire.css")}">'
    )


def download(text: str, url: str) -> ui.element:
    """Draw a link that downloads from a path of this server, outside the dashboard's own."""
    with ui.element("a").classes("bw-download") as link:
        ui.icon("download")
        ui.label(text).classes("break-all")
    link.props["href"] = url
    link.props["download"] = ""
    return link


def picture(url: str, description: str) -> None:
    """Draw a picture from a path of this server, outside the dashboard's own."""
    image = ui.element("img").classes("w-full bg-white rounded")
    image.props["src"] = url
    image.props["alt"] = description


def describe(error: BenchwireError) -> str:
    """Return what went wrong and what to do about it, in a line or two."""
    return f"{error.message}. {error.hint}".strip()


class RoleLacking(Forbidden):
    """The person at the page may not do that."""

    code = "auth.role"


async def act(
    work: Callable[..., T],
    *args: object,
    needs: Role = Role.OPERATOR,
    first: Callable[[], object] = lambda: None,
    told: Callable[[BenchwireError], str] = describe,
) -> T | None:
    """Do something for the person at the page, beside the event loop; say so if it is refused.

    Everything a page changes goes through here: the person's role is looked at, and the audit log
    has the deed, under the name of the function that does it, before the page shows it done.

    Parameters
    ----------
    needs
        The role it takes.
    first
        What must not wait for a thread, done on the event loop before the rest.
    told
        Gives the words for a refusal.
    """
    # What was pressed may be drawn anew meanwhile; the page it was on stays.
    page = ui.context.client
    caller = caller_of(page.request.scope)
    status = 500
    try:
        if not caller.may(needs):
            raise RoleLacking(
                f"Your key does not allow that: it takes the role {needs}",
                hint="Ask whoever runs the server for another key.",
            )
        first()
        done = await run.io_bound(work, *args)
        status = 200
    except BenchwireError as error:
        status = error.status
        with page:
            ui.notify(told(error), type="negative", multi_line=True)
        return None
    finally:
        await caller.note("PAGE", page.request.url.path, status, action_of(work))
    return done


async def ask(
    work: Callable[..., T], *args: object, told: Callable[[BenchwireError], str] = describe
) -> T | None:
    """Look something up for the person at the page, beside the event loop; say why it fails."""
    page = ui.context.client
    try:
        return await run.io_bound(work, *args)
    except BenchwireError as error:
        with page:
            ui.notify(told(error), type="negative", multi_line=True)
        return None


def action_of(work: Callable[..., object]) -> str:
    """Return what a function does in words: ``Plates.move`` is "plates: move"."""
    inner = work.func if isinstance(work, partial) else work
    *_, owner, name = ["", *inner.__qualname__.replace("<locals>.", "").split(".")]
    words = name.strip("_").replace("_", " ")
    return f"{owner.strip('_').lower()}: {words}" if owner else words


def _signed_in() -> str:
    holder = caller_of(ui.context.client.request.scope).holder
    return "" if holder is None else f"{holder.name}, {holder.role}"


def discard(dialog: ui.dialog) -> None:
    """Remove a dialog that was answered, unless it went with the page it was on."""
    if not dialog.is_deleted:
        dialog.delete()
