"""Every device: how it stands and its newest values."""

from nicegui import ui

from benchwire.domains.battery.pages.paths import PATH, slot, start, style
from benchwire.foundation.web.states import loading, section


def draw(base: str) -> None:
    """Draw the fleet's page."""
    style(base)
    with ui.column().classes("w-full gap-4 battery").mark("fleet") as root:
        slot("summary", "w-full bw-muted")
        with slot("loading", "w-full"):
            loading()
        slot("note", "bt-note w-full")
        slot("devices", "bt-fleet w-full")
    start(root, "fleet.js", "open", base)


def draw_card(base: str) -> None:
    """Draw the domain's part of the home page."""
    style(base)
    with section("Battery", link=("Open", PATH)) as root:
        root.classes("battery").mark("battery-card")
        with slot("loading", "w-full"):
            loading()
        slot("note", "bt-note w-full")
        slot("devices", "bt-brief w-full")
    start(root, "fleet.js", "brief", base)
