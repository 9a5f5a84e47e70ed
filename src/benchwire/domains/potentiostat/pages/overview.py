"""Slots, the form, the curve being measured, and all runs so far."""

from typing import Any

from nicegui import run, ui

from benchwire.domains.potentiostat.pages import slots
from benchwire.domains.potentiostat.pages.desk import HISTORY, Desk, run_path
from benchwire.domains.potentiostat.pages.form import RunForm
from benchwire.domains.potentiostat.pages.progress import RunProgress
from benchwire.domains.potentiostat.schemas import JobOverview
from benchwire.foundation.web.shell import act
from benchwire.foundation.web.states import empty, second, section
from benchwire.foundation.web.tables import table

_COLUMNS: list[dict[str, Any]] = [
    {"name": "run_id", "label": "Run", "field": "run_id", "align": "left", "sortable": True},
    {"name": "mode", "label": "Mode", "field": "mode", "align": "left", "sortable": True},
    {"name": "status", "label": "Status", "field": "status", "align": "left", "sortable": True},
    {"name": "devices", "label": "Slots", "field": "devices", "align": "left"},
    {"name": "started", "label": "Begun", "field": "started", "align": "left",
     "sortable": True},
]  # fmt: skip


async def draw(desk: Desk) -> None:
    """Draw the page."""
    potentiostats = desk.potentiostats
    await desk.runs.ready()
    with section("Slots"):
        slots.draw(desk)
        ui.button("Look again", icon="refresh", on_click=lambda: act(potentiostats.rescan)).props(
            "flat dense"
        )
    with ui.element("div").classes("bw-columns"):
        with ui.column().classes("w-full"):
            form = RunForm(desk, lambda run_id: progress.show(run_id))
            form.draw()
        progress = RunProgress(desk)
        progress.draw()
    running = await run.io_bound(lambda: potentiostats.overview(state="incomplete", limit=1))
    if running:
        await progress.show(running[0].run_id)
    _History(desk).draw()


class _History:
    """All runs, or those of one group."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def draw(self) -> None:
        """Draw the list, kept up to date."""
        with section("Runs"):
            with ui.row().classes("w-full gap-3"):
                self._group = ui.input("Experiment group", on_change=self._refresh)
                self._group.props("dense clearable")
                text = ui.input("Filter").props("dense clearable").mark("filter")
            self._table = table(
                _COLUMNS, name="Runs", row_key="run_id", link="run_id", pagination=10
            ).mark("history")
            self._table.bind_filter_from(text, "value", backward=lambda value: value or "")
            with ui.element("div") as self._nothing:
                empty("No run so far.", "Choose a mode above and start one.")
        self._desk.runs.follow(self._show)

    async def _refresh(self) -> None:
        group = self._group.value or None
        found = await run.io_bound(
            lambda: self._desk.potentiostats.overview(group_id=group, limit=HISTORY)
        )
        self._draw_rows(found or [])

    async def _show(self, runs: list[JobOverview]) -> None:
        if self._group.value:
            await self._refresh()
        else:
            self._draw_rows(runs)

    def _draw_rows(self, runs: list[JobOverview]) -> None:
        self._table.rows = [
            {
                "run_id": item.run_id,
                "page": run_path(item.run_id),
                "mode": item.mode,
                "status": item.status,
                "devices": ", ".join(item.devices),
                "started": second(item.started_at),
            }
            for item in runs
        ]
        is_shown = bool(runs) or bool(self._group.value)
        self._table.set_visibility(is_shown)
        self._nothing.set_visibility(not is_shown)
