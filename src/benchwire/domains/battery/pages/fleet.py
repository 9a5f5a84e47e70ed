"""Every device: how it stands and its newest values."""

from nicegui import ui

from benchwire.domains.battery.pages.paths import PATH, slot, start, style


def draw(base: str) -> None:
    """Draw the fleet's page."""
    style(base)
    with ui.column().classes("w-full gap-4 battery").mark("fleet") as root:
        slot("summary", "w-full")
        slot("note", "bt-note w-full")
        slot("devices", "bt-fleet w-full")
    start(root, "fleet.js", "open", base)


def draw_card(base: str) -> None:
    """Draw the domain's part of the home page."""
    style(base)
    with ui.card().classes("w-full battery").mark("battery-card") as root:
        with ui.row().classes("w-full items-center justify-between"):
            ui.label("Battery").classes("text-lg font-medium")
            ui.link("Open", PATH)
        slot("note", "bt-note w-full")
        slot("devices", "bt-brief w-full")
    start(root, "fleet.js", "brief", base)
