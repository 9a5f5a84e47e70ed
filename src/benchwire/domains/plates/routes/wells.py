"""Wells, their contents and scores; under their own path and under their plate's."""

import json
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from benchwire.domains.plates.requests import record_id
from benchwire.domains.plates.routes.edge import OPENAPI_BODY, Body, Paged, Urls, listed, told
from benchwire.domains.plates.service import Wells
from benchwire.foundation.web.injection import service

router = APIRouter()

Service = Annotated[Wells, service(Wells)]
_ONE = "/wells/{well_id}"
_OF_PLATE = "/plates/{barcode}/wells"


def _id(text: str) -> int:
    return record_id(text, "Well")


@router.get("/wells")
def all_wells(wells: Service, page: Paged) -> Response:
    """Wells of all plates; without a page all of them, streamed."""
    if page.limit is not None:
        return listed(*wells.all(None, page))
    return StreamingResponse(_streamed(wells), media_type="application/json")


def _streamed(wells: Wells) -> Iterator[str]:
    yield '{"data":['
    separator = ""
    for part in wells.walk():
        yield separator + json.dumps(part, separators=(",", ":"))[1:-1]
        separator = ","
    yield "]}"


@router.post("/wells/bulk_add_content", openapi_extra=OPENAPI_BODY)
def add_to_many(body: Body, wells: Service) -> Response:
    """Put a stock solution into many wells at once."""
    answer, message = wells.add_to_many(body)
    return told(answer, message)


@router.get(_OF_PLATE)
def wells_of_plate(barcode: str, wells: Service, page: Paged) -> Response:
    """Wells of a plate with counts."""
    return listed(*wells.all(barcode, page))


@router.post("/wells", status_code=201, openapi_extra=OPENAPI_BODY)
@router.post(_OF_PLATE, status_code=201, openapi_extra=OPENAPI_BODY)
def create_well(body: Body, wells: Service, urls: Urls, barcode: str | None = None) -> Response:
    """Make a well."""
    return told(wells.create(body, barcode, urls), "Well created successfully", 201)


@router.get(_ONE)
@router.get(_OF_PLATE + "/{well_id}")
def well(well_id: str, wells: Service, urls: Urls, barcode: str | None = None) -> Response:
    """A well with contents, images and scores."""
    return told(wells.one(_id(well_id), barcode, urls))


@router.put(_ONE, openapi_extra=OPENAPI_BODY)
@router.patch(_ONE, openapi_extra=OPENAPI_BODY)
@router.put(_OF_PLATE + "/{well_id}", openapi_extra=OPENAPI_BODY)
@router.patch(_OF_PLATE + "/{well_id}", openapi_extra=OPENAPI_BODY)
def update_well(
    well_id: str, body: Body, wells: Service, urls: Urls, barcode: str | None = None
) -> Response:
    """Change a well."""
    return told(wells.update(_id(well_id), body, barcode, urls), "Well updated successfully")


@router.delete(_ONE)
@router.delete(_OF_PLATE + "/{well_id}")
def delete_well(well_id: str, wells: Service, barcode: str | None = None) -> Response:
    """Delete a well with its contents, images, files and points."""
    wells.delete(_id(well_id), barcode)
    return told(None, "Well deleted successfully")


@router.get("/wells/{well_id}/well_contents")
def contents(well_id: str, wells: Service) -> Response:
    """What is in a well."""
    return told(wells.contents(_id(well_id)))


@router.post("/wells/{well_id}/well_contents", status_code=201, openapi_extra=OPENAPI_BODY)
def add_content(well_id: str, body: Body, wells: Service) -> Response:
    """Put a stock solution into a well."""
    return told(wells.add_content(_id(well_id), body), "Well content created successfully", 201)


@router.delete("/wells/{well_id}/well_contents")
def remove_contents(well_id: str, wells: Service) -> Response:
    """Empty a well."""
    count = wells.remove_content(_id(well_id), None)
    return told(None, f"{count} well contents deleted successfully")


@router.get("/wells/{well_id}/well_contents/{content_id}")
def content(well_id: str, content_id: str, wells: Service) -> Response:
    """One content of a well."""
    return told(wells.content(_id(well_id), record_id(content_id, "WellContent")))


@router.put("/wells/{well_id}/well_contents/{content_id}", openapi_extra=OPENAPI_BODY)
@router.patch("/wells/{well_id}/well_contents/{content_id}", openapi_extra=OPENAPI_BODY)
def update_content(well_id: str, content_id: str, body: Body, wells: Service) -> Response:
    """Change a content of a well."""
    number = record_id(content_id, "WellContent")
    changed = wells.update_content(_id(well_id), number, body)
    return told(changed, "Well content updated successfully")


@router.delete("/wells/{well_id}/well_contents/{content_id}")
def remove_content(well_id: str, content_id: str, wells: Service) -> Response:
    """Remove a content from a well."""
    wells.remove_content(_id(well_id), record_id(content_id, "WellContent"))
    return told(None, "Well content deleted successfully")


@router.get("/wells/{well_id}/scores")
def scores(well_id: str, wells: Service) -> Response:
    """What a well's drop looked like, newest first."""
    return told(wells.scores(_id(well_id)))


@router.post("/wells/{well_id}/scores", status_code=201, openapi_extra=OPENAPI_BODY)
def add_score(well_id: str, body: Body, wells: Service) -> Response:
    """Note what a well's drop looks like; earlier scores stay."""
    return told(wells.add_score(_id(well_id), body), "Score created successfully", 201)


@router.get("/wells/{well_id}/timeline")
def timeline(well_id: str, wells: Service, urls: Urls) -> Response:
    """A well's images, points and scores in the order of time."""
    return told(wells.timeline(_id(well_id), urls))
