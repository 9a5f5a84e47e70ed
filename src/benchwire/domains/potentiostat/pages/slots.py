"""Slots and what they do, on the home page and above the form."""

from typing import Any

from nicegui import ui

from benchwire.domains.potentiostat.service import Potentiostats

REFRESH_SECONDS = 0.5
_COLOURS = {"idle": "positive", "running": "primary", "queued": "grey", "unplugged": "negative"}


def draw_card(potentiostats: Potentiostats, path: str) -> None:
    """Draw the domain's part of the home page."""
    with ui.card().classes("w-full"):
        with ui.row().classes("w-full items-center justify-between"):
            ui.label("Potentiostats").classes("text-lg font-medium")
            ui.link("Open", path)
        draw(potentiostats)


def draw(potentiostats: Potentiostats) -> None:
    """Draw every slot, kept up to date."""
    grid = ui.element("div").classes("bw-grid").mark("slots")
    shown: list[Any] = []

    def refresh() -> None:
        slots = [_state(slot) for slot in potentiostats.device_status()]
        if slots == shown and grid.default_slot.children:
            return
        shown[:] = slots
        grid.clear()
        with grid:
            if not slots:
                _draw_empty()
            for slot in slots:
                _draw_slot(potentiostats, *slot)

    refresh()
    ui.timer(REFRESH_SECONDS, refresh)


def _state(slot: dict[str, Any]) -> tuple[str, str, str | None]:
    state = slot["status"] if slot["connected"] else "unplugged"
    return slot["slot"], state, slot["run_id"]


def _draw_empty() -> None:
    with ui.column().classes("items-start gap-1"):
        ui.label("No potentiostat is connected.").classes("font-medium")
        ui.label("Plug one in; it appears here by itself within a few seconds.").classes(
            "opacity-70"
        )


def _draw_slot(potentiostats: Potentiostats, name: str, state: str, run_id: str | None) -> None:
    serial_number = next(
        (slot.serial_number for slot in potentiostats.slots.all() if slot.name == name), None
    )
    with ui.card().props("flat bordered").classes("p-3 gap-1"):
        with ui.row().classes("w-full items-center justify-between"):
            ui.label(name).classes("font-medium")
            ui.badge(state, color=_COLOURS.get(state, "grey"))
        ui.label(f"serial number {serial_number or 'unknown'}").classes("text-xs opacity-70")
        if run_id is not None:
            ui.link(run_id, f"/potentiostat/run/{run_id}").classes("text-xs break-all")
