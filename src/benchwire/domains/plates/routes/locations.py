"""Places for plates."""

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from benchwire.domains.plates.requests import record_id, whole
from benchwire.domains.plates.routes.edge import OPENAPI_BODY, Body, Paged, Search, cut, told
from benchwire.domains.plates.service import Locations
from benchwire.foundation.web.injection import service

router = APIRouter(prefix="/locations")

Service = Annotated[Locations, service(Locations)]


def _id(text: str) -> int:
    return record_id(text, "Location")


@router.get("")
def all_locations(
    locations: Service,
    page: Paged,
    name: Search = "",
    carousel_position: str | None = None,
    hotel_position: str | None = None,
) -> Response:
    """Locations that meet all filters, with the plate there."""
    return cut(locations.all(name, whole(carousel_position), whole(hotel_position)), page)


@router.post("", status_code=201, openapi_extra=OPENAPI_BODY)
def create_location(body: Body, locations: Service) -> Response:
    """Make a position of the carousel, or a special place with a name."""
    return told(locations.create(body), "Location created successfully", 201)


@router.get("/carousel")
def carousel(locations: Service, page: Paged) -> Response:
    """Positions of the carousel."""
    return cut(locations.carousel(), page)


@router.get("/special")
def special(locations: Service, page: Paged) -> Response:
    """Places with a name and no position."""
    return cut(locations.special(), page)


@router.get("/grid")
def grid(locations: Service) -> Response:
    """The carousel as rows of hotel levels, holes included."""
    return told(locations.grid())


@router.post("/initialise_carousel", openapi_extra=OPENAPI_BODY)
def initialise(body: Body, locations: Service) -> Response:
    """Make every position of a carousel that is missing."""
    return told(locations.initialise(body), "Carousel initialised successfully")


@router.get("/{location_id}")
def location(location_id: str, locations: Service) -> Response:
    """A location with the plate there."""
    return told(locations.one(_id(location_id)))


@router.put("/{location_id}", openapi_extra=OPENAPI_BODY)
@router.patch("/{location_id}", openapi_extra=OPENAPI_BODY)
def update_location(location_id: str, body: Body, locations: Service) -> Response:
    """Change a location."""
    return told(locations.update(_id(location_id), body), "Location updated successfully")


@router.delete("/{location_id}")
def delete_location(location_id: str, locations: Service) -> Response:
    """Delete a location that is free."""
    locations.delete(_id(location_id))
    return told(None, "Location deleted successfully")


@router.get("/{location_id}/current_plates")
def current_plates(location_id: str, locations: Service) -> Response:
    """The plate at a location."""
    return told(locations.plates_at(_id(location_id)))


@router.get("/{location_id}/history")
def history(location_id: str, locations: Service, page: Paged) -> Response:
    """Plates that came here, newest first."""
    return told(locations.history(_id(location_id), page))


@router.post("/{location_id}/unassign_all_plates")
def clear(location_id: str, locations: Service) -> Response:
    """Take away the plate that is here."""
    answer, message = locations.clear(_id(location_id))
    return told(answer, message)
