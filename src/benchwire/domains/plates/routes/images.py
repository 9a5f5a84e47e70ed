"""Images of wells, and points of interest on them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse, Response

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.domains.plates.image_header import CONTENT_TYPES, SHOWN_BY_BROWSERS
from benchwire.domains.plates.requests import Page, record_id
from benchwire.domains.plates.routes.edge import (
    BODY_BYTES,
    OPENAPI_BODY,
    Body,
    Paged,
    Urls,
    cut,
    told,
)
from benchwire.domains.plates.service import Images, Wells
from benchwire.foundation.web.bodies import opened_body, uploaded
from benchwire.foundation.web.downloads import files_of
from benchwire.foundation.web.injection import service

router = APIRouter()

Service = Annotated[Images, service(Images)]
AllWells = Annotated[Wells, service(Wells)]
_BASES = ("/wells/{well_id}/images", "/plates/{barcode}/wells/{well_id}/images")
_POINTS = "/{image_id}/points_of_interest"
_STANDALONE = "/points_of_interest"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",
}


async def _form(request: Request, images: Service) -> AsyncIterator[dict[str, Any]]:
    async with opened_body(request, limit=BODY_BYTES, file_limit=images.most_bytes) as form:
        yield form


Form = Annotated[dict[str, Any], Depends(_form)]


def _well(text: str) -> int:
    return record_id(text, "Well")


def _image(text: str) -> int:
    return record_id(text, "Image")


def _point(text: str) -> int:
    return record_id(text, "PointOfInterest")


def images_of_well(
    well_id: str, images: Service, urls: Urls, page: Paged, barcode: str | None = None
) -> Response:
    """Images of a well, newest first."""
    return cut(images.of_well(_well(well_id), barcode, urls), page)


def upload_image(
    well_id: str, form: Form, images: Service, urls: Urls, barcode: str | None = None
) -> Response:
    """Upload an image with its place on the plate."""
    made = _uploaded(images, _well(well_id), form, urls, barcode)
    return told(made, "Image created successfully", 201)


def _uploaded(
    images: Images, well_id: int, form: dict[str, Any], urls: Urls, barcode: str | None
) -> dict[str, Any]:
    part = form.get("image")
    file = uploaded(part.get("file")) if isinstance(part, dict) else None
    opened, name = (None, "") if file is None else (file.file, file.filename or "")
    return images.create(well_id, form, opened, name, barcode, urls)


def image(
    well_id: str, image_id: str, images: Service, urls: Urls, barcode: str | None = None
) -> Response:
    """An image with size and place in mm."""
    return told(images.one(_well(well_id), _image(image_id), barcode, urls))


def update_image(
    well_id: str, image_id: str, form: Form, images: Service, urls: Urls, barcode: str | None = None
) -> Response:
    """Change what is said of an image; the file stays."""
    changed = images.update(_well(well_id), _image(image_id), form, barcode, urls)
    return told(changed, "Image updated successfully")


def delete_image(
    well_id: str, image_id: str, images: Service, barcode: str | None = None
) -> Response:
    """Delete an image with its points and file."""
    images.delete(_well(well_id), _image(image_id), barcode)
    return told(None, "Image deleted successfully")


def image_file(
    well_id: str, image_id: str, images: Service, request: Request, barcode: str | None = None
) -> Response:
    """The image file, byte for byte as it was uploaded."""
    path, record = images.file(_well(well_id), _image(image_id), barcode)
    etag = f'"{record["sha256"]}"'
    headers = {**_HEADERS, "ETag": etag}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return FileResponse(
        path,
        media_type=record["content_type"],
        filename=record["filename"],
        content_disposition_type="inline",
        headers=headers,
    )


async def image_preview(
    well_id: str,
    image_id: str,
    images: Service,
    pixels: Annotated[int, Query(ge=1, le=10_000)] = 256,
    barcode: str | None = None,
) -> Response:
    """A smaller version of an image that any browser shows."""
    promise = await asyncio.to_thread(
        images.preview, _well(well_id), _image(image_id), pixels, barcode
    )
    path, media_type = await asyncio.wrap_future(promise)
    headers = {**_HEADERS, "Cache-Control": "private, max-age=86400"}
    return FileResponse(path, media_type=media_type, headers=headers)


def points_of_image(
    well_id: str, image_id: str, images: Service, barcode: str | None = None
) -> Response:
    """Points marked on an image, newest first."""
    return told(images.points(_well(well_id), _image(image_id), barcode))


def create_point(
    well_id: str, image_id: str, body: Body, images: Service, barcode: str | None = None
) -> Response:
    """Mark a point on an image."""
    made = images.create_point(_well(well_id), _image(image_id), body, barcode)
    return told(made, "Point of interest created successfully", 201)


def point_of_image(
    well_id: str, image_id: str, point_id: str, images: Service, barcode: str | None = None
) -> Response:
    """A point marked on an image."""
    place = (_well(well_id), _image(image_id))
    return told(images.point(_point(point_id), place, barcode))


def update_point_of_image(
    well_id: str,
    image_id: str,
    point_id: str,
    body: Body,
    images: Service,
    barcode: str | None = None,
) -> Response:
    """Change a point."""
    place = (_well(well_id), _image(image_id))
    changed = images.update_point(_point(point_id), body, place, barcode)
    return told(changed, "Point of interest updated successfully")


def delete_point_of_image(
    well_id: str, image_id: str, point_id: str, images: Service, barcode: str | None = None
) -> Response:
    """Remove a point."""
    images.delete_point(_point(point_id), (_well(well_id), _image(image_id)), barcode)
    return told(None, "Point of interest deleted successfully")


_ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("GET", "", images_of_well),
    ("POST", "", upload_image),
    ("GET", "/{image_id}", image),
    ("PUT", "/{image_id}", update_image),
    ("PATCH", "/{image_id}", update_image),
    ("DELETE", "/{image_id}", delete_image),
    ("GET", "/{image_id}/file", image_file),
    ("GET", "/{image_id}/preview", image_preview),
    ("GET", _POINTS, points_of_image),
    ("POST", _POINTS, create_point),
    ("GET", _POINTS + "/{point_id}", point_of_image),
    ("PUT", _POINTS + "/{point_id}", update_point_of_image),
    ("PATCH", _POINTS + "/{point_id}", update_point_of_image),
    ("DELETE", _POINTS + "/{point_id}", delete_point_of_image),
)
_AS_FILES: dict[str, Any] = {
    "/{image_id}/file": {
        "response_class": Response,
        "responses": {
            **files_of(*CONTENT_TYPES.values()),
            304: {"description": "The client has it already, as its ETag says."},
        },
    },
    "/{image_id}/preview": {
        "response_class": Response,
        "responses": files_of(*sorted(SHOWN_BY_BROWSERS)),
    },
}
for _base in _BASES:
    for _method, _path, _route in _ROUTES:
        router.add_api_route(
            _base + _path,
            _route,
            methods=[_method],
            status_code=201 if _method == "POST" else 200,
            openapi_extra=OPENAPI_BODY if _method in {"POST", "PUT", "PATCH"} else None,
            **_AS_FILES.get(_path, {}),
        )


@router.post(
    "/images/plate/{barcode}/well/{well_string}", status_code=201, openapi_extra=OPENAPI_BODY
)
def upload_by_label(
    barcode: str, well_string: str, form: Form, images: Service, wells: AllWells, urls: Urls
) -> Response:
    """Upload an image to the well of a label such as A1 or B2_3."""
    well_id = wells.at(barcode, well_string)
    if well_id is None:
        raise RecordNotFound("Well", "label", well_string)
    made = _uploaded(images, well_id, form, urls, barcode)
    return told(made, "Image uploaded successfully", 201)


@router.get(_STANDALONE)
def all_points(images: Service, page: Paged) -> Response:
    """Points on all plates, newest first."""
    return cut(images.points_everywhere(), page)


@router.get(_STANDALONE + "/by_type")
def points_by_type(images: Service, page: Paged, type: str = "crystal") -> Response:  # noqa: A002
    """Points of one type on all plates."""
    return cut(images.points_everywhere((type,)), page)


@router.get(_STANDALONE + "/recent")
def recent_points(images: Service, limit: str = "50") -> Response:
    """The newest points on all plates."""
    size = Page.of("1", limit, default=50).limit
    return told(images.points_everywhere((), size))


@router.get(_STANDALONE + "/crystals")
def crystals(images: Service) -> Response:
    """Crystals on all plates."""
    return told(images.points_everywhere(("crystal",)))


@router.get(_STANDALONE + "/particles")
def particles(images: Service) -> Response:
    """Particles on all plates."""
    return told(images.points_everywhere(("particle",)))


@router.get(_STANDALONE + "/{point_id}")
def point(point_id: str, images: Service) -> Response:
    """A point."""
    return told(images.point(_point(point_id)))


@router.put(_STANDALONE + "/{point_id}", openapi_extra=OPENAPI_BODY)
@router.patch(_STANDALONE + "/{point_id}", openapi_extra=OPENAPI_BODY)
def update_point(point_id: str, body: Body, images: Service) -> Response:
    """Change a point."""
    changed = images.update_point(_point(point_id), body)
    return told(changed, "Point of interest updated successfully")


@router.delete(_STANDALONE + "/{point_id}")
def delete_point(point_id: str, images: Service) -> Response:
    """Remove a point."""
    images.delete_point(_point(point_id))
    return told(None, "Point of interest deleted successfully")
