"""Slots, the form, the curve being measured, and all runs so far."""

from typing import Any

from nicegui import run, ui

from benchwire.domains.potentiostat.pages import slots
from benchwire.domains.potentiostat.pages.form import RunForm
from benchwire.domains.potentiostat.pages.progress import RunProgress
from benchwire.domains.potentiostat.service import Potentiostats
from benchwire.foundation.web.shell import act

HISTORY = 200
REFRESH_SECONDS = 1.0
_COLUMNS: list[dict[Any, Any]] = [
    {"name": "run_id", "label": "Run", "field": "run_id", "align": "left", "sortable": True},
    {"name": "mode", "label": "Mode", "field": "mode", "align": "left", "sortable": True},
    {"name": "status", "label": "Status", "field": "status", "align": "left", "sortable": True},
    {"name": "devices", "label": "Slots", "field": "devices", "align": "left"},
    {"name": "started", "label": "Started (UTC)", "field": "started", "align": "left",
     "sortable": True},
]  # fmt: skip


def draw(potentiostats: Potentiostats) -> None:
    """Draw the page."""
    with ui.card().classes("w-full"):
        with ui.row().classes("w-full items-center justify-between"):
            ui.label("Slots").classes("text-lg font-medium")
            ui.button(
                "Look again", icon="refresh", on_click=lambda: act(potentiostats.rescan)
            ).props("flat")
        slots.draw(potentiostats)
    with ui.element("div").classes("w-full grid grid-cols-1 lg:grid-cols-2 gap-4 items-start"):
        with ui.column().classes("w-full"):
            form = RunForm(potentiostats, potentiostats.clock, lambda run: progress.show(run))
            form.draw()
        progress = RunProgress(potentiostats)
        progress.draw()
    running = potentiostats.overview(state="incomplete", limit=1)
    if running:
        progress.show(running[0].run_id)
    _draw_history(potentiostats)


def _draw_history(potentiostats: Potentiostats) -> None:
    with ui.card().classes("w-full"):
        with ui.row().classes("w-full items-center justify-between"):
            ui.label("Runs").classes("text-lg font-medium")
            group = ui.input("Experiment group").props("dense clearable")
            text = ui.input("Filter").props("dense clearable").mark("filter")
        table = ui.table(columns=_COLUMNS, rows=[], row_key="run_id", pagination=10)
        table.classes("w-full").props("flat").mark("history")
        table.bind_filter_from(text, "value", backward=lambda value: value or "")
        table.on(
            "rowClick",
            lambda event: ui.navigate.to(f"/potentiostat/run/{event.args[1]['run_id']}"),
        )

        async def refresh() -> None:
            found = await run.io_bound(
                lambda: potentiostats.overview(group_id=group.value or None, limit=HISTORY)
            )
            rows = [
                {
                    "run_id": item.run_id,
                    "mode": item.mode,
                    "status": item.status,
                    "devices": ", ".join(item.devices),
                    "started": item.started_at[:19].replace("T", " "),
                }
                for item in found or []
            ]
            if rows != table.rows:
                table.rows = rows

        ui.timer(REFRESH_SECONDS, refresh)
