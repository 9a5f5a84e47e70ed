"""The power meters' pages: live values and charts, charges, configuration."""

from pathlib import Path

from nicegui import app, ui

from benchwire.domains.powermeter.pages import card, one
from benchwire.domains.powermeter.pages.desk import Desk
from benchwire.domains.powermeter.service import PowerMeters
from benchwire.foundation.domain import Dashboard
from benchwire.foundation.web.shell import NavigationEntry, Shell

PATH = "/powermeter"
STATIC = "/powermeter-static"


def register(shell: Shell, meters: PowerMeters) -> Dashboard:
    """Register the pages in the dashboard's frame."""
    app.add_static_files(STATIC, Path(__file__).parent / "static", max_cache_age=0)
    desk = Desk(meters)
    script = f'<script src="{shell.path}{STATIC}/meter.js"></script>'

    @ui.page(PATH)
    async def first() -> None:
        with shell.page("Power meter"):
            ui.add_head_html(script)
            await one.draw(desk, None, PATH)

    @ui.page(PATH + "/{name}")
    async def named(name: str) -> None:
        with shell.page("Power meter"):
            ui.add_head_html(script)
            await one.draw(desk, name, PATH)

    def draw_card() -> None:
        ui.add_head_html(script)
        card.draw(meters, PATH)

    return Dashboard(
        navigation=(NavigationEntry("Power meters", PATH, "speed"),),
        card=draw_card,
    )
