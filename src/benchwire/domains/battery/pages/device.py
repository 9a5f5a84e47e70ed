"""One device: its curves over any time range, what is odd about them, and what comes next."""

from typing import Any

from nicegui import ui

from benchwire.domains.battery.pages.paths import slot, start, style
from benchwire.domains.battery.signals import BMS, PCS
from benchwire.foundation.web.states import loading, section

PANELS: tuple[dict[str, Any], ...] = (
    {"title": "State of charge", "signals": ["bms.soc"], "holds": [0, 100]},
    {"title": "Apparent power", "signals": ["pcs.apparent_power"]},
    {"title": "Pack current", "signals": ["bms.current"]},
    {
        "title": "Temperatures",
        "signals": ["bms.cell_max_temp", "bms.cell_avg_temp", "bms.cell_min_temp", "pcs.temp_igbt"],
    },
    {"title": "Cell voltages", "signals": ["bms.cell_max_voltage", "bms.cell_min_voltage"]},
    {"title": "Cell voltage spread", "signals": ["bms.cell_voltage_diff"]},
)
"""The chart's panels from top to bottom; ``holds`` is what the value axis shows at least."""


def draw(device_id: str, base: str) -> None:
    """Draw the page of a device."""
    style(base)
    with ui.column().classes("w-full gap-4 battery").mark("device") as root:
        slot("head", "w-full")
        with slot("loading", "w-full"):
            loading()
        slot("note", "bt-note w-full")
        slot("tiles", "bt-tiles w-full")
        with section("Curves"):
            slot("toolbar", "w-full")
            slot("trouble", "bt-trouble w-full").props("role=alert")
            slot("chart", "bt-chart w-full")
            slot("chart-foot", "w-full")
        for title, name in (("Anomalies", "anomalies"), ("Forecast", "forecast")):
            with section(title):
                slot(name, "w-full")
        slot("figures", "bt-pair w-full")
        with section("What was read"):
            slot("report", "w-full")
    start(root, "device.js", "open", base, device=device_id, panels=PANELS, signals=_signals())


def _signals() -> list[dict[str, str]]:
    return [
        {
            "key": f"{group.name}.{signal.field}",
            "group": group.name,
            "field": signal.field,
            "title": signal.title,
            "unit": signal.unit,
        }
        for group in (BMS, PCS)
        for signal in group.signals
    ]
