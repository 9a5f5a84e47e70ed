"""The plates API's paths, one file per kind of record."""

from fastapi import APIRouter, Depends

from benchwire.domains.plates.routes import (
    chemistry,
    exchange,
    images,
    inventory,
    locations,
    plates,
    wells,
)
from benchwire.domains.plates.routes.edge import refuse_nul

router = APIRouter(prefix="/api/v1", dependencies=[Depends(refuse_nul)])
# Fixed paths come before those with a name in the same place.
for part in (inventory, exchange, locations, plates, wells, images, chemistry):
    router.include_router(part.router)
