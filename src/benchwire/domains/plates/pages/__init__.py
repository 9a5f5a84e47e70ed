"""The plates' pages: carousel and plates, one plate, one well, stock solutions."""

from nicegui import ui

from benchwire.domains.plates.pages import overview, plate, solutions, well
from benchwire.domains.plates.pages.desk import Desk
from benchwire.domains.plates.service import Chemistry, Images, Locations, Plates, Wells
from benchwire.foundation.domain import Dashboard
from benchwire.foundation.samples.store import Samples
from benchwire.foundation.web.shell import NavigationEntry, Shell

PATH = "/plates"


def register(
    shell: Shell,
    plates: Plates,
    locations: Locations,
    wells: Wells,
    images: Images,
    chemistry: Chemistry,
    samples: Samples,
) -> Dashboard:
    """Register the pages in the dashboard's frame."""
    desk = Desk(plates, locations, wells, images, chemistry, samples, shell.look_up)

    @ui.page(PATH)
    async def all_plates() -> None:
        with shell.page("Plates"):
            await overview.draw(desk)

    @ui.page(PATH + "/solutions")
    async def all_solutions() -> None:
        with shell.page("Stock solutions"):
            await solutions.draw(desk)

    @ui.page(PATH + "/plate/{barcode}")
    async def one_plate(barcode: str) -> None:
        with shell.page("Plate"):
            await plate.draw(desk, barcode)

    @ui.page(PATH + "/well/{well_id}")
    async def one_well(well_id: int) -> None:
        with shell.page("Well"):
            await well.draw(desk, well_id)

    return Dashboard(
        navigation=(
            NavigationEntry("Plates", PATH, "grid_on"),
            NavigationEntry("Stock solutions", PATH + "/solutions", "science"),
        ),
        card=lambda: overview.draw_card(desk, PATH),
    )
