"""The battery's pages: the fleet, and one device with its curves, anomalies and forecast.

They ask the server's own HTTP API from within the browser, so they show what any client is told.
"""

from pathlib import Path

from nicegui import app, ui

from benchwire.domains.battery.pages import device, fleet
from benchwire.domains.battery.pages.paths import PATH, STATIC
from benchwire.foundation.domain import Dashboard
from benchwire.foundation.web.shell import NavigationEntry, Shell


def register(shell: Shell) -> Dashboard:
    """Register the pages in the dashboard's frame."""
    app.add_static_files(STATIC, Path(__file__).parent / "static", max_cache_age=0)
    base = shell.path

    @ui.page(PATH)
    def whole_fleet() -> None:
        with shell.page("Battery"):
            fleet.draw(base)

    @ui.page(PATH + "/{device_id}")
    def one_device(device_id: str) -> None:
        with shell.page(device_id):
            device.draw(device_id, base)

    return Dashboard(
        navigation=(NavigationEntry("Battery", PATH, "battery_charging_full"),),
        card=lambda: fleet.draw_card(base),
    )
