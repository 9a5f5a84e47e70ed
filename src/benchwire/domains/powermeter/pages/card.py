"""Every meter on the home page: how it stands, its values, and the last minutes of its power."""

from urllib.parse import quote

from nicegui import ui

from benchwire.domains.powermeter.pages import values
from benchwire.domains.powermeter.service import PowerMeters
from benchwire.foundation.web.states import empty, section

PERIOD = "5m"
LIVE_URL = "/api/meters/live"


def draw(meters: PowerMeters, path: str) -> None:
    """Draw the domain's part of the home page."""
    ui.add_head_html(values.STYLE)
    with section("Power meters", link=("Open", path)):
        known = meters.all()
        if not known:
            empty("No power meter is set up.", "Name its serial port in the settings.")
        with ui.element("div").classes("bw-grid").mark("meters"):
            for meter in known:
                _draw_meter(meter.name, f"{path}/{quote(meter.name)}")


def _draw_meter(name: str, path: str) -> None:
    with ui.card() as root:
        with ui.row().classes("w-full items-center justify-between"):
            ui.link(name, path).classes("font-medium")
            values.chip()
        with ui.row().classes("w-full items-baseline gap-3 no-wrap"):
            for key, unit in (("voltage", "V"), ("current", "A"), ("power", "W")):
                with ui.row().classes("items-baseline gap-1 no-wrap"):
                    values.live(key)
                    ui.label(unit).classes("bw-small bw-muted")
        values.live("alarms", "pm-alarm bw-small bw-bad", "")
        drawn = values.chart("5rem", f"Power of {name} over the last 5 min")
    values.watch(root, name, LIVE_URL, drawn, period=PERIOD, small=True, shown=["power"])
