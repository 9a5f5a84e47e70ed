"""The potentiostat's pages: slots and form, live curve, history, one run."""

from nicegui import ui

from benchwire.domains.potentiostat.pages import overview, run, slots
from benchwire.domains.potentiostat.pages.desk import PATH, Desk
from benchwire.domains.potentiostat.service import Potentiostats
from benchwire.foundation.domain import Dashboard
from benchwire.foundation.web.shell import NavigationEntry, Shell


def register(shell: Shell, potentiostats: Potentiostats) -> Dashboard:
    """Register the pages in the dashboard's frame."""
    desk = Desk(potentiostats)

    @ui.page(PATH)
    async def overview_page() -> None:
        with shell.page("Potentiostats"):
            await overview.draw(desk)

    @ui.page(PATH + "/run/{run_id}")
    async def run_page(run_id: str) -> None:
        with shell.page("Run"):
            await run.draw(desk, run_id)

    return Dashboard(
        navigation=(NavigationEntry("Potentiostats", PATH, "electric_bolt"),),
        card=lambda: slots.draw_card(desk, PATH),
    )
