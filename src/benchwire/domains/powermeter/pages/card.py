"""Every meter on the home page: how it stands, its values, and the last minutes of its power."""

from urllib.parse import quote

from nicegui import ui

from benchwire.domains.powermeter.pages import values
from benchwire.domains.powermeter.service import PowerMeters

PERIOD = "5m"
LIVE_URL = "/api/meters/live"


def draw(meters: PowerMeters, path: str) -> None:
    """Draw the domain's part of the home page."""
    ui.add_head_html(values.STYLE)
    with ui.card().classes("w-full"):
        with ui.row().classes("w-full items-center justify-between"):
            ui.label("Power meters").classes("text-lg font-medium")
            ui.link("Open", path)
        with ui.element("div").classes("bw-grid").mark("meters"):
            for meter in meters.all():
                _draw_meter(meter.name, f"{path}/{quote(meter.name)}")


def _draw_meter(name: str, path: str) -> None:
    with ui.card().props("flat bordered").classes("p-3 gap-1") as root:
        with ui.row().classes("w-full items-center justify-between"):
            ui.link(name, path).classes("font-medium")
            values.chip()
        with ui.row().classes("w-full items-baseline gap-3 no-wrap"):
            for key, unit in (("voltage", "V"), ("current", "A"), ("power", "W")):
                with ui.row().classes("items-baseline gap-1 no-wrap"):
                    values.live(key)
                    ui.label(unit).classes("text-xs opacity-70")
        values.live("alarms", "pm-alarm text-xs text-negative", "")
        drawn = values.chart("5rem")
    values.watch(root, name, LIVE_URL, drawn, period=PERIOD, small=True, shown=["power"])
