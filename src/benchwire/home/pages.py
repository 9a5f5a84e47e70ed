"""The dashboard's home page, and the mounting of all pages."""

from collections.abc import Callable, Sequence

from fastapi import FastAPI
from nicegui import run, ui

from benchwire.foundation.clock import utc_text
from benchwire.foundation.domain import Domain
from benchwire.foundation.jobs.sessions import AwayReport
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.lab import Lab
from benchwire.foundation.web.auth import KeyRing
from benchwire.foundation.web.shell import NavigationEntry, Shell, act

RECENT_JOBS = 12
RECONNECT_SECONDS = 30.0
_COLOURS = {
    JobState.DONE: "positive",
    JobState.FAILED: "negative",
    JobState.CANCELLED: "warning",
    JobState.RUNNING: "primary",
    JobState.QUEUED: "grey",
}


def mount(host: FastAPI, lab: Lab, domains: Sequence[Domain], *, keys: KeyRing, path: str) -> None:
    """Register every page and mount the dashboard on an application."""
    shell = Shell(lab.jobs, path, has_login=not keys.is_open)
    shell.navigation.append(NavigationEntry("Home", "/", "home"))
    cards: list[Callable[[], None]] = []
    for domain in domains:
        if domain.dashboard is not None:
            dashboard = domain.dashboard(shell)
            shell.navigation.extend(dashboard.navigation)
            if dashboard.card is not None:
                cards.append(dashboard.card)

    @ui.page("/")
    def home() -> None:
        with shell.page("Home"):
            _draw_away(lab)
            _draw_set_aside(lab)
            for draw in cards:
                draw()
            _draw_recent(lab)

    ui.run_with(
        host,
        mount_path=path,
        title="benchwire",
        reconnect_timeout=RECONNECT_SECONDS,
        show_welcome_message=False,
    )


def _draw_away(lab: Lab) -> None:
    """Tell once what happened since the server last ended."""
    report = lab.sessions.away_report()
    if report is None or not report.is_worth_telling:
        return
    with ui.card().classes("w-full border-l-4 border-amber-500").mark("away") as card:
        ui.label("While you were away").classes("text-lg font-medium")
        ui.label(_away_text(report))
        for fact in report.made_safe:
            with ui.row().classes("items-center gap-2 no-wrap"):
                ui.icon("verified_user", color="positive")
                ui.label(fact)
        for job_id in report.interrupted_jobs:
            _draw_interrupted(lab, job_id)

        async def dismiss() -> None:
            await act(lab.sessions.mark_seen)
            card.delete()

        ui.button("Understood", on_click=dismiss).props("flat")


def _away_text(report: AwayReport) -> str:
    when = "" if report.stopped_at is None else f" at {utc_text(report.stopped_at)[:19]} UTC"
    if report.unclean:
        return f"The server ended without warning{when} (it was last seen alive then)."
    return f"The server was stopped{when} while work was under way."


def _draw_interrupted(lab: Lab, job_id: str) -> None:
    record = lab.jobs.newest_of([job_id]).get(job_id)
    if record is None:
        return
    with ui.column().classes("gap-0 w-full"):
        with ui.row().classes("items-center gap-2"):
            ui.label(f"{record.title}: {record.state.value}").classes("font-medium")
            if lab.jobs.can_repeat(record):

                async def repeat() -> None:
                    new = await act(lab.jobs.repeat, record.id, "dashboard")
                    if new is not None:
                        ui.notify("Started again with the same parameters", type="positive")

                ui.button("Repeat with the same parameters", on_click=repeat).props("dense outline")
        if record.partial_files:
            with ui.expansion(f"{len(record.partial_files)} partial files kept").props("dense"):
                for name in record.partial_files:
                    ui.label(name).classes("text-xs break-all")


def _draw_set_aside(lab: Lab) -> None:
    if lab.database.set_aside is not None:
        with ui.card().classes("w-full border-l-4 border-red-600"):
            ui.label("The database was damaged").classes("text-lg font-medium")
            ui.label(
                f"It is kept as {lab.database.set_aside} and a new one was begun. "
                "Runs were found again from their folders."
            )


def _draw_recent(lab: Lab) -> None:
    with ui.card().classes("w-full"):
        ui.label("Recent work").classes("text-lg font-medium")
        rows = ui.column().classes("w-full gap-1")
        shown: list[tuple[str, str]] = []

        async def refresh() -> None:
            records = await run.io_bound(lab.jobs.newest, RECENT_JOBS) or []
            state = [(record.id, record.state.value) for record in records]
            if state == shown and rows.default_slot.children:
                return
            shown[:] = state
            rows.clear()
            with rows:
                if not records:
                    ui.label("Nothing has been run yet.").classes("opacity-70")
                for record in records:
                    _draw_job(record)

        ui.timer(1.0, refresh)


def _draw_job(record: JobRecord) -> None:
    with ui.row().classes("w-full items-center gap-3 no-wrap"):
        ui.badge(record.state.value, color=_COLOURS[record.state]).classes("w-20 justify-center")
        ui.label(record.title).classes("grow truncate")
        if record.message:
            ui.label(record.message).classes("text-xs opacity-70 truncate bw-wide")
        ui.label(utc_text(record.created_at)[:19].replace("T", " ")).classes(
            "text-xs opacity-70 whitespace-nowrap bw-wide"
        )
