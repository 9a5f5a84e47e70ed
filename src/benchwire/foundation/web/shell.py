"""The dashboard's frame: navigation, theme, connection state, and the jobs under way."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from nicegui import run, ui

from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.jobs.runner import Jobs
from benchwire.foundation.jobs.states import JobRecord

T = TypeVar("T")

PRIMARY = "#0b6e69"
JOBS_SECONDS = 1.0

_HEAD = """
<link rel="icon" href="data:,">
<script src="/static/ui/live.js"></script>
<style>
  body { font-family: system-ui, "Segoe UI", Roboto, sans-serif; }
  .bw-page { max-width: 1280px; margin: 0 auto; width: 100%; padding: 1rem; gap: 1rem; }
  .bw-state { font-size: .8rem; opacity: .9; }
  .bw-state[data-state="offline"] { color: #ffd0d0; font-weight: 600; }
  .bw-grid { display: grid; gap: 1rem; width: 100%;
             grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); }
  .bw-nav, .bw-nav:visited { color: inherit; text-decoration: none; width: 100%; }
  .bw-nav:hover, .bw-nav:focus-visible { background: #0b6e6922; border-radius: 6px; }
  .bw-download { display: inline-flex; align-items: center; gap: .4rem; color: #0b6e69;
                 text-decoration: none; padding: .2rem .4rem; }
  .bw-download:hover, .bw-download:focus-visible { text-decoration: underline; }
  .body--dark .bw-download { color: #5fd3cb; }
  .q-card { border-radius: 10px; }
  .body--dark .q-card, .body--dark .q-table__card { background: #1c2229; }
  .body--dark .q-page-container, .body--dark .q-drawer, .body--dark .q-dialog {
    --q-primary: #2b9a92; }
  @media (max-width: 600px) { .bw-page { padding: .6rem; } .bw-wide { display: none; } }
</style>
"""


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A page's place in the navigation; ``icon`` is a Material icon's name."""

    title: str
    path: str
    icon: str


@dataclass(slots=True)
class Shell:
    """The frame around every page.

    ``path`` is where the dashboard is mounted, ``has_login`` whether there is a session to end.
    """

    jobs: Jobs
    path: str
    has_login: bool
    navigation: list[NavigationEntry] = field(default_factory=list)

    @contextmanager
    def page(self, title: str) -> Iterator[None]:
        """Draw the frame; what is drawn inside is the page."""
        ui.add_head_html(_HEAD)
        ui.page_title(f"{title} · benchwire")
        ui.colors(primary=PRIMARY, secondary="#3d5a80", accent="#b45309")
        dark = ui.dark_mode(value=None)
        with ui.left_drawer(value=None, bordered=True).props("width=220 breakpoint=900") as drawer:
            self._draw_navigation()
        with ui.header().classes("items-center gap-2 px-3"):
            ui.button(icon="menu", on_click=drawer.toggle).props(
                'flat round color=white aria-label="Navigation"'
            )
            ui.label(title).classes("text-lg font-medium")
            ui.space()
            state = ui.label("connecting").classes("bw-state bw-wide").mark("connection")
            ui.run_javascript(f"benchwire.watchConnection('{state.html_id}')")
            _JobsMenu(self.jobs)
            ui.button(icon="contrast", on_click=lambda: _switch_theme(dark)).props(
                'flat round color=white aria-label="Light or dark"'
            )
        ui.timer(0.1, lambda: _restore_theme(dark), once=True)
        with ui.column().classes("bw-page"):
            yield

    def _draw_navigation(self) -> None:
        with ui.link(target="/").classes("no-underline"):
            ui.label("benchwire").classes("text-xl font-semibold text-primary px-2 py-1")
        for entry in self.navigation:
            with (
                ui.link(target=entry.path).classes("bw-nav"),
                ui.row().classes("items-center gap-3 px-2 py-2"),
            ):
                ui.icon(entry.icon, size="sm")
                ui.label(entry.title).classes("text-base")
        ui.separator()
        ui.html('<a class="bw-nav" href="/docs">API documents</a>', sanitize=False).classes("px-2")
        ui.html('<a class="bw-nav" href="/metrics">Metrics</a>', sanitize=False).classes("px-2")
        if self.has_login:
            ui.html(
                '<form method="post" action="/logout"><button>Log out</button></form>',
                sanitize=False,
            ).classes("px-2")


class _JobsMenu:
    """The jobs under way, in the header: how many, how far, and a way to stop each."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._shown: tuple[str, ...] = ()
        self._rows: dict[str, tuple[ui.linear_progress, ui.label]] = {}
        with ui.button(icon="pending_actions").props(
            'flat round color=white aria-label="Jobs under way"'
        ):
            self._badge = ui.badge("0", color="accent").props("floating")
            with ui.menu().classes("p-3"):
                self._list = ui.column().classes("gap-3").style("width: min(22rem, 85vw)")
        ui.timer(JOBS_SECONDS, self._refresh)
        self._refresh()

    def _refresh(self) -> None:
        records = self._jobs.unfinished()
        ids = tuple(record.id for record in records)
        if ids != self._shown or not self._list.default_slot.children:
            self._shown = ids
            self._badge.set_text(str(len(ids)))
            self._badge.set_visibility(bool(ids))
            self._draw(records)
        for record in records:
            bar, label = self._rows[record.id]
            bar.set_value(round(record.progress, 3))
            label.set_text(progress_text(record))

    def _draw(self, records: Sequence[JobRecord]) -> None:
        self._rows.clear()
        self._list.clear()
        with self._list:
            if not records:
                ui.label("Nothing is running.").classes("opacity-70")
            for record in records:
                with ui.column().classes("w-full gap-1"):
                    with ui.row().classes("w-full items-center justify-between no-wrap"):
                        ui.label(record.title).classes("text-sm font-medium")
                        ui.button(
                            "Cancel", on_click=lambda job=record.id: act(self._jobs.cancel, job)
                        ).props("dense flat color=negative")
                    bar = ui.linear_progress(0, show_value=False).props("instant-feedback")
                    self._rows[record.id] = (bar, ui.label("").classes("text-xs opacity-70"))


def progress_text(record: JobRecord) -> str:
    """Return how far a job is, in words."""
    parts = [record.state.value if record.progress == 0 else f"{record.progress:.0%}"]
    if record.remaining is not None:
        parts.append(f"{record.remaining:.0f} s left")
    if record.message:
        parts.append(record.message)
    return " · ".join(parts)


def download(text: str, url: str) -> None:
    """Draw a link that downloads from a path of this server, outside the dashboard's own."""
    with ui.element("a").classes("bw-download") as link:
        ui.icon("download")
        ui.label(text).classes("break-all")
    link.props["href"] = url
    link.props["download"] = ""


def picture(url: str, description: str) -> None:
    """Draw a picture from a path of this server, outside the dashboard's own."""
    image = ui.element("img").classes("w-full bg-white rounded")
    image.props["src"] = url
    image.props["alt"] = description


def describe(error: BenchwireError) -> str:
    """Return what went wrong and what to do about it, in a line or two."""
    return f"{error.message}. {error.hint}".strip()


async def act(
    work: Callable[..., T], *args: object, told: Callable[[BenchwireError], str] = describe
) -> T | None:
    """Do something for the person at the page, beside the event loop; say so if it is refused.

    Parameters
    ----------
    told
        Gives the words for a refusal.
    """
    try:
        return await run.io_bound(work, *args)
    except BenchwireError as error:
        ui.notify(told(error), type="negative", multi_line=True)
        return None


def discard(dialog: ui.dialog) -> None:
    """Remove a dialog that was answered, unless it went with the page it was on."""
    if not dialog.is_deleted:
        dialog.delete()


def _switch_theme(dark: ui.dark_mode) -> None:
    dark.value = not dark.value
    ui.run_javascript(f"benchwire.storeTheme('{'dark' if dark.value else 'light'}')")


async def _restore_theme(dark: ui.dark_mode) -> None:
    try:
        theme = await ui.run_javascript("benchwire.storedTheme()", timeout=3)
    except TimeoutError:
        return
    if theme is not None:
        dark.value = theme == "dark"
