"""Slots and what they do, on the home page and above the form."""

from nicegui import ui

from benchwire.domains.potentiostat.pages.desk import Desk, SlotView, run_path
from benchwire.foundation.web.states import badge, empty, section


def draw_card(desk: Desk, path: str) -> None:
    """Draw the domain's part of the home page."""
    with section("Potentiostats", link=("Open", path)):
        draw(desk)


def draw(desk: Desk) -> None:
    """Draw every slot, kept up to date."""
    grid = ui.element("div").classes("bw-grid").mark("slots")

    def show(slots: list[SlotView]) -> None:
        grid.clear()
        with grid:
            if not slots:
                empty(
                    "No potentiostat is connected.",
                    "Plug one in; it appears here by itself within a few seconds.",
                )
            for slot in slots:
                _draw_slot(slot)

    desk.slots.follow(show)


def _draw_slot(slot: SlotView) -> None:
    with ui.card():
        with ui.row().classes("w-full items-center justify-between"):
            ui.label(slot.name).classes("font-medium")
            badge(slot.state)
        number = slot.serial_number or "unknown"
        ui.label(f"serial number {number}").classes("bw-small bw-muted")
        if slot.run_id is not None:
            ui.link(slot.run_id, run_path(slot.run_id)).classes("bw-small break-all")
