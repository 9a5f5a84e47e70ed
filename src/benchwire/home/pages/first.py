"""The home page: what is wrong, what runs, what has finished, and the domains at a glance."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from nicegui import ui

from benchwire.foundation.web.shell import NavigationEntry
from benchwire.foundation.web.states import badge, empty, failure, section
from benchwire.home.pages import rows
from benchwire.home.pages.attention import Attention, draw_away, draw_set_aside
from benchwire.home.pages.desk import UNDER_WAY_SHOWN, Desk, Lately, Work

logger = logging.getLogger(__name__)


def register(
    desk: Desk, cards: Sequence[Callable[[], None]], entries: Sequence[NavigationEntry]
) -> None:
    """Register the page.

    Parameters
    ----------
    cards
        Draw the domains' parts.
    entries
        The domains' pages, for who is here for the first time.
    """

    @ui.page("/")
    async def home() -> None:
        watches = (desk.shell.unfinished, desk.under_way, desk.lately, desk.notices)
        report, *_ = await asyncio.gather(
            asyncio.to_thread(desk.lab.sessions.away_report), *(one.ready() for one in watches)
        )
        with desk.shell.page("Home"):
            draw_set_aside(desk.lab)
            draw_away(desk.lab, report)
            Attention(desk)
            first_steps = _FirstSteps(desk, entries)
            with ui.element("div").classes("bw-columns") as work:
                _UnderWay(desk)
                _Finished(desk)
            first_steps.stand_for(work)
            with ui.element("div").classes("bw-tiles").mark("domains"):
                for draw in cards:
                    draw_card(draw)


def draw_card(draw: Callable[[], None]) -> None:
    """Draw a domain's part; one that cannot be drawn leaves the others to be seen."""
    try:
        draw()
    except Exception:
        logger.exception("a domain's part of the home page cannot be drawn")
        failure("A part cannot be shown here", "The server's log has the reason.")


class _FirstSteps:
    """What to do on a server that has done nothing yet."""

    def __init__(self, desk: Desk, entries: Sequence[NavigationEntry]) -> None:
        self._desk = desk
        self._entries = entries
        self._place = ui.element("div").classes("bw-stack").mark("first-steps")
        with self._place:
            self._draw()

    def stand_for(self, work: ui.element) -> None:
        """Be shown in place of the lists of work as long as they are empty."""
        has_work = {"under way": False, "ended": False}

        def show(what: str, *, there: bool) -> None:
            has_work[what] = there
            self._place.set_visibility(not any(has_work.values()))
            work.set_visibility(any(has_work.values()))

        self._desk.under_way.follow(lambda works: show("under way", there=bool(works)))
        self._desk.lately.follow(lambda lately: show("ended", there=lately.has_any))

    def _draw(self) -> None:
        with section("Welcome"):
            ui.label(
                "Nothing has been run here yet. Plug in an instrument and it appears below by "
                "itself; begin a measurement or an analysis on one of these pages:"
            )
            with ui.element("div").classes("bw-facts gap-y-1"):
                for entry in self._entries:
                    ui.link(entry.title, entry.path)
            ui.label(
                "No instrument at hand? Start the server with --emulate potentiostat=2 to try it "
                "with emulated ones."
            ).classes("bw-muted bw-small")


class _UnderWay:
    """The jobs under way, with progress and a way to stop each."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rows: dict[str, rows.UnderWay] = {}
        with section("Under way", link=("All jobs", "/jobs")):
            self._list = ui.element("ul").classes("bw-list").mark("under-way")
            self._nothing = ui.element("div")
            with self._nothing:
                empty("Nothing is running.")
            self._more = ui.label("").classes("bw-muted bw-small")
        desk.under_way.follow(self._show)

    def _show(self, works: Sequence[Work]) -> None:
        shown = {record.id: (record, item) for record, item in works[:UNDER_WAY_SHOWN]}
        for job_id in self._rows.keys() - shown.keys():
            self._rows.pop(job_id).remove()
        for job_id, (record, item) in shown.items():
            if job_id in self._rows:
                self._rows[job_id].show(record, item)
            else:
                with self._list:
                    self._rows[job_id] = rows.UnderWay(self._desk.lab.jobs, record, item)
        self._nothing.set_visibility(not works)
        self._more.set_text(f"and {len(works) - len(shown)} more")
        self._more.set_visibility(len(works) > len(shown))


class _Finished:
    """What has finished lately, with links to the results."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with section("Finished lately", link=("All jobs", "/jobs?state=done")):
            self._list = ui.element("ul").classes("bw-list").mark("finished")
        desk.lately.follow(self._show)

    def _show(self, lately: Lately) -> None:
        self._list.clear()
        with self._list:
            if not lately.finished:
                with ui.element("li"):
                    empty(
                        "Nothing has finished yet.", "Results are listed here once they are there."
                    )
            for record, item in lately.finished:
                with ui.element("li").classes("bw-line"):
                    badge(record.state.value)
                    with ui.element("div").classes("bw-line-main"):
                        rows.title(record.title, rows.page_of(item))
                    rows.when(record.ended_at)
