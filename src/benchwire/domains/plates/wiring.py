"""Put the plates domain together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchwire.domains.plates import seeding
from benchwire.domains.plates.errors import PlatesRefusal, render_error
from benchwire.domains.plates.image_files import ImageFiles
from benchwire.domains.plates.items import PlateItems
from benchwire.domains.plates.routes import router
from benchwire.domains.plates.routes.edge import SHEET_BYTES
from benchwire.domains.plates.service import (
    Chemistry,
    Exchange,
    Images,
    Locations,
    Plates,
    Wells,
)
from benchwire.domains.plates.settings import PlatesSettings
from benchwire.domains.plates.store.chemistry import ChemistryStore
from benchwire.domains.plates.store.figures import FigureStore
from benchwire.domains.plates.store.images import ImageStore
from benchwire.domains.plates.store.locations import LocationStore
from benchwire.domains.plates.store.plates import PlateStore
from benchwire.domains.plates.store.prototypes import PrototypeStore
from benchwire.domains.plates.store.seeds import SeedStore
from benchwire.domains.plates.store.wells import WellStore
from benchwire.foundation.domain import Dashboard, Domain
from benchwire.foundation.lab import Lab
from benchwire.foundation.web.roles import Need, Role

if TYPE_CHECKING:
    from benchwire.foundation.web.shell import Shell

NAME = "plates"

# Parts of an experiment that are taken back again; plates, places and images need an admin.
NEEDS = tuple(
    Need("DELETE", path, Role.OPERATOR)
    for path in (
        "/api/v1/wells/{well_id}/well_contents",
        "/api/v1/wells/{well_id}/well_contents/{content_id}",
        "/api/v1/points_of_interest/{point_id}",
        "/api/v1/wells/{well_id}/images/{image_id}/points_of_interest/{point_id}",
        "/api/v1/plates/{barcode}/wells/{well_id}/images/{image_id}/points_of_interest/{point_id}",
        "/api/v1/stock_solutions/{solution_id}/components/{component_id}",
    )
)


def build(lab: Lab) -> Domain:
    """Make the domain's objects; files are looked at in its lifespan."""
    settings = lab.settings(PlatesSettings)
    source = (lab.database, lab.clock)
    plate_store, well_store, image_store = (
        PlateStore(*source, lab.samples),
        WellStore(*source),
        ImageStore(*source),
    )
    location_store, chemistry_store = LocationStore(*source), ChemistryStore(*source)
    files = ImageFiles(lab.data_dir / "plates", image_store.used)
    plates = Plates(
        plate_store,
        well_store,
        image_store,
        PrototypeStore(*source),
        FigureStore(*source),
        files,
        lab.clock,
    )
    locations = Locations(location_store, plate_store)
    wells = Wells(well_store, plate_store, image_store, chemistry_store, files)
    images = Images(image_store, well_store, plate_store, files, lab.workers, settings, lab.clock)
    chemistry = Chemistry(chemistry_store)
    exchange = Exchange(plate_store, well_store, location_store, chemistry_store)
    seeds = SeedStore(*source)
    items = PlateItems(plates, wells, images, chemistry, exchange)
    lab.samples.find_wells_by(items.find_well)

    def begin() -> None:
        seeds.plant(seeding.UNITS, seeding.prototype_wells())
        files.heal(image_store.all_files())

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await asyncio.to_thread(begin)
        yield

    def dashboard(shell: "Shell") -> Dashboard:
        from benchwire.domains.plates import pages

        return pages.register(shell, plates, locations, wells, images, chemistry, lab.samples)

    return Domain(
        name=NAME,
        title="Plates",
        claims=("/api/v1",),
        needs=NEEDS,
        routers=(router,),
        services=(plates, locations, wells, images, chemistry, exchange),
        render_error=render_error,
        refusal=PlatesRefusal,
        body_bytes=max(SHEET_BYTES, images.most_bytes),
        lifespan=lifespan,
        dashboard=dashboard,
        front_page="/plates",
        shelf=items,
        stored=("/api/v1",),
    )
