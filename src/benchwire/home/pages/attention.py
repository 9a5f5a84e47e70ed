"""What a person should look at: notices, jobs that failed, and what happened meanwhile."""

from collections.abc import Sequence

from nicegui import ui

from benchwire.foundation.catalogue import Notice
from benchwire.foundation.jobs.sessions import AwayReport
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.lab import Lab
from benchwire.foundation.web.shell import act
from benchwire.foundation.web.states import badge, heading, second
from benchwire.home.pages import rows
from benchwire.home.pages.desk import Desk, Lately, Work

_SIGNS = {"error": ("error", "bw-bad"), "warning": ("warning", "bw-warn")}


class Attention:
    """The top of the home page: what is wrong, or that nothing is."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._notices: Sequence[Notice] = ()
        self._lately = Lately((), (), more_failed=False, has_any=False)
        self._drawn: object = None
        self._place = ui.element("div").classes("bw-stack").mark("attention")
        desk.notices.follow(self._show_notices)
        desk.lately.follow(self._show_lately)

    def _show_notices(self, notices: Sequence[Notice]) -> None:
        self._notices = notices
        self._draw()

    def _show_lately(self, lately: Lately) -> None:
        self._lately = lately
        self._draw()

    def _draw(self) -> None:
        failed = self._lately.failed
        # Whoever is on one of the lines keeps their place while nothing of it changes.
        state = (list(self._notices), failed, self._lately.more_failed)
        if state == self._drawn:
            return
        self._drawn = state
        self._place.clear()
        with self._place:
            if not self._notices and not failed:
                with ui.element("div").classes("bw-allright").props("role=status"):
                    ui.icon("check_circle").classes("bw-good")
                    ui.label("Nothing needs attention.")
                return
            is_bad = bool(failed) or any(notice.level == "error" for notice in self._notices)
            card = ui.card().classes("bw-section bw-notice").props("tag=section")
            card.classes("bw-notice-error" if is_bad else "bw-notice-warning")
            with card:
                heading("Needs attention")
                with ui.element("ul").classes("bw-list"):
                    for notice in self._notices:
                        _draw_notice(notice)
                    for work in failed:
                        _draw_failed(self._desk, work)
                if self._lately.more_failed:
                    ui.link("All failed jobs", "/jobs?state=failed")


def _draw_notice(notice: Notice) -> None:
    icon, colour = _SIGNS[notice.level]
    with ui.element("li").classes("bw-line"):
        ui.icon(icon, size="sm").classes(colour).props(f'role=img aria-label="{notice.level}"')
        with ui.element("div").classes("bw-line-main"):
            rows.title(notice.text, notice.page)


def _draw_failed(desk: Desk, work: Work) -> None:
    record, item = work
    with ui.element("li").classes("bw-line"):
        badge(record.state.value)
        with ui.element("div").classes("bw-line-main"):
            rows.title(record.title, rows.page_of(item))
            if record.message:
                ui.label(record.message).classes("bw-small bw-bad break-words")
        with ui.element("div").classes("bw-line-side"):
            rows.when(record.ended_at)
            rows.retry_button(desk.lab.jobs, record)


def draw_away(lab: Lab, report: AwayReport | None) -> None:
    """Tell once what happened since the server last ended."""
    if report is None or not report.is_worth_telling:
        return
    with ui.card().classes("bw-section bw-notice bw-notice-warning").mark("away") as card:
        heading("While you were away")
        ui.label(_away_text(report))
        for fact in report.made_safe:
            with ui.row().classes("items-center gap-2 no-wrap"):
                ui.icon("verified_user").classes("bw-good")
                ui.label(fact)
        for record in lab.jobs.newest_of(report.interrupted_jobs).values():
            _draw_interrupted(lab, record)

        async def dismiss() -> None:
            await act(lab.sessions.mark_seen)
            card.delete()

        ui.button("Understood", on_click=dismiss).props("outline")


def _away_text(report: AwayReport) -> str:
    when = "" if report.stopped_at is None else f" at {second(report.stopped_at)}"
    if report.unclean:
        return f"The server stopped unexpectedly; it was last seen running{when}."
    return f"The server was stopped{when} while work was under way."


def _draw_interrupted(lab: Lab, record: JobRecord) -> None:
    with ui.element("div").classes("w-full"):
        with ui.element("div").classes("bw-line"):
            badge(record.state.value)
            ui.label(record.title).classes("bw-line-main font-medium")
            rows.retry_button(lab.jobs, record, "Repeat with the same parameters")
        if record.partial_files:
            with ui.expansion(f"{len(record.partial_files)} partial files kept").props("dense"):
                for name in record.partial_files:
                    ui.label(name).classes("bw-small break-all")


def draw_set_aside(lab: Lab) -> None:
    """Tell that the database was damaged and what took its place."""
    if lab.database.set_aside is not None:
        with ui.card().classes("bw-section bw-notice bw-notice-error").props("role=alert"):
            heading("The database was damaged")
            ui.label(
                f"It is kept as {lab.database.set_aside}. Its newest daily copy took its place, or "
                "a new database where there was none. Runs were found again from their folders."
            ).classes("break-words")
