"""Plates, their movements, and plate prototypes."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from benchwire.domains.plates.requests import flag, record_id, root
from benchwire.domains.plates.routes.edge import (
    OPENAPI_BODY,
    Body,
    Paged,
    Search,
    cut,
    listed,
    told,
)
from benchwire.domains.plates.service import Plates
from benchwire.domains.plates.service.plates import moved_by_of
from benchwire.foundation.web.injection import service

router = APIRouter()

Service = Annotated[Plates, service(Plates)]
_PROTOTYPE = ("name", "description", "wells", "rows", "columns", "subwells_per_well", "pitch_mm",
    "origin",
)  # fmt: skip


@router.get("/plates")
def all_plates(
    plates: Service,
    page: Paged,
    assigned: str | None = None,
    search: Search = "",
    sort: str = "id",
    direction: str = "asc",
) -> Response:
    """Plates with their place and counts."""
    found, total = plates.all(
        page, assigned=assigned, search=search, sort=sort, descending=direction == "desc"
    )
    return listed(found, total)


@router.get("/plates/deleted")
def deleted_plates(plates: Service, page: Paged) -> Response:
    """Plates that were deleted and can be restored."""
    found, total = plates.all(page, is_deleted=True)
    return listed(found, total)


@router.post("/plates", status_code=201, openapi_extra=OPENAPI_BODY)
def create_plate(body: Body, plates: Service) -> Response:
    """Make a plate with all its wells; without a barcode it gets one."""
    return told(plates.create(body), "Plate created successfully", 201)


@router.get("/plates/{barcode}")
def plate(barcode: str, plates: Service) -> Response:
    """A plate with its wells and points of interest."""
    return told(plates.one(barcode))


@router.put("/plates/{barcode}", openapi_extra=OPENAPI_BODY)
@router.patch("/plates/{barcode}", openapi_extra=OPENAPI_BODY)
def update_plate(barcode: str, body: Body, plates: Service) -> Response:
    """Change a plate's barcode or name."""
    return told(plates.update(barcode, body), "Plate updated successfully")


@router.delete("/plates/{barcode}")
def delete_plate(barcode: str, plates: Service, permanent: str | None = None) -> Response:
    """Delete a plate; it can be restored unless ``permanent=true``."""
    plates.delete(barcode, for_good=flag(permanent) is True)
    return told(None, "Plate deleted successfully")


@router.post("/plates/{barcode}/restore")
def restore_plate(barcode: str, plates: Service) -> Response:
    """Bring a deleted plate back with its history, unassigned."""
    return told(plates.restore(barcode), "Plate restored successfully")


@router.post("/plates/{barcode}/move_to_location", openapi_extra=OPENAPI_BODY)
def move_plate(barcode: str, body: Body, plates: Service) -> Response:
    """Put a plate to a place, or to none where ``location_id`` is null."""
    answer, message = plates.move(barcode, body)
    return told(answer, message)


@router.post("/plates/{barcode}/unassign_location", openapi_extra=OPENAPI_BODY)
def unassign_plate(barcode: str, body: Body, plates: Service) -> Response:
    """Take a plate from wherever it is."""
    answer = plates.unassign(barcode, moved_by_of(body))
    return told(answer, "Plate unassigned successfully")


@router.get("/plates/{barcode}/location_history")
def plate_history(barcode: str, plates: Service, page: Paged) -> Response:
    """Where a plate was, newest first."""
    return told(plates.history(barcode, page))


@router.get("/plates/{barcode}/points_of_interest")
def plate_points(barcode: str, plates: Service) -> Response:
    """Points marked on all images of a plate, newest first."""
    return told(plates.points(barcode))


@router.get("/plates/{barcode}/overview")
def plate_overview(barcode: str, plates: Service) -> Response:
    """A plate's wells with newest image and score, as a grid shows them."""
    return told(plates.overview(barcode))


@router.get("/plate_prototypes")
def prototypes(plates: Service, page: Paged) -> Response:
    """Plate prototypes."""
    return cut(plates.prototypes(), page)


@router.post("/plate_prototypes", status_code=201, openapi_extra=OPENAPI_BODY)
def create_prototype(body: Body, plates: Service) -> Response:
    """Make a plate prototype, from its wells or as a grid."""
    given = root(body, "plate_prototype", _PROTOTYPE)
    return told(plates.save_prototype(None, given), "Plate prototype created successfully", 201)


@router.get("/plate_prototypes/{prototype_id}")
def prototype(prototype_id: str, plates: Service) -> Response:
    """A plate prototype with its wells."""
    return told(plates.prototype(record_id(prototype_id, "PlatePrototype")))


@router.put("/plate_prototypes/{prototype_id}", openapi_extra=OPENAPI_BODY)
@router.patch("/plate_prototypes/{prototype_id}", openapi_extra=OPENAPI_BODY)
def update_prototype(prototype_id: str, body: Body, plates: Service) -> Response:
    """Change a plate prototype."""
    number = record_id(prototype_id, "PlatePrototype")
    given = root(body, "plate_prototype", _PROTOTYPE)
    return told(plates.save_prototype(number, given), "Plate prototype updated successfully")


@router.delete("/plate_prototypes/{prototype_id}")
def delete_prototype(prototype_id: str, plates: Service) -> Response:
    """Delete a plate prototype; plates made from it stay."""
    plates.delete_prototype(record_id(prototype_id, "PlatePrototype"))
    return told(None, "Plate prototype deleted successfully")
