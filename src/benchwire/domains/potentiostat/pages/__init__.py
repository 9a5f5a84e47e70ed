"""The potentiostat's pages: slots and form, live curve, history, one run."""

from nicegui import ui

from benchwire.domains.potentiostat.pages import overview, run, slots
from benchwire.domains.potentiostat.service import Potentiostats
from benchwire.foundation.domain import Dashboard
from benchwire.foundation.web.shell import NavigationEntry, Shell

PATH = "/potentiostat"


def register(shell: Shell, potentiostats: Potentiostats) -> Dashboard:
    """Register the pages in the dashboard's frame."""

    @ui.page(PATH)
    def overview_page() -> None:
        with shell.page("Potentiostats"):
            overview.draw(potentiostats)

    @ui.page(PATH + "/run/{run_id}")
    def run_page(run_id: str) -> None:
        with shell.page("Run"):
            run.draw(potentiostats, run_id)

    return Dashboard(
        navigation=(NavigationEntry("Potentiostats", PATH, "electric_bolt"),),
        card=lambda: slots.draw_card(potentiostats, PATH),
    )
