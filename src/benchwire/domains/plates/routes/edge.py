"""What all routes share: bodies, envelopes, pages and addresses."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.responses import JSONResponse, Response

from benchwire.domains.plates.errors import RecordNotFound, Unacceptable
from benchwire.domains.plates.requests import Page
from benchwire.foundation.web.bodies import opened_body

BODY_BYTES = 8_000_000
SHEET_BYTES = 64_000_000
OPENAPI_BODY = {
    "requestBody": {
        "content": {
            "application/json": {"schema": {"type": ["object", "null"]}},
            "application/x-www-form-urlencoded": {"schema": {"type": "object"}},
            "multipart/form-data": {"schema": {"type": "object"}},
        }
    }
}


async def _body(request: Request) -> AsyncIterator[dict[str, Any]]:
    async with opened_body(request, limit=BODY_BYTES, file_limit=SHEET_BYTES) as body:
        yield body


async def _page(page: str | None = None, per_page: str | None = None) -> Page:
    return Page.of(page, per_page)


Body = Annotated[dict[str, Any], Depends(_body)]
Paged = Annotated[Page, Depends(_page)]
Search = Annotated[str, Query(max_length=1000)]


def told(data: object, message: str | None = None, status: int = 200) -> Response:
    """Return data in this API's envelope."""
    content = {"data": data} if message is None else {"data": data, "message": message}
    return bare(content, status)


def bare(content: object, status: int = 200) -> Response:
    """Return content as it is."""
    return JSONResponse(content, status)


def listed(data: list[dict[str, Any]], total: int, *, is_bare: bool = False) -> Response:
    """Return a page of a list; how many there are in all is in a header."""
    answer = bare(data) if is_bare else told(data)
    answer.headers["X-Total-Count"] = str(total)
    return answer


def cut(data: list[dict[str, Any]], page: Page) -> Response:
    """Return a page of a list that is whole, and how long that is."""
    return listed(list(page.cut(data)), len(data))


def base_url(request: Request) -> str:
    """Return this server's address as the client wrote it, also through a proxy."""
    headers = request.headers
    scheme = headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0].strip()
    host = headers.get("x-forwarded-host", headers.get("host", "")).partition(",")[0].strip()
    return f"{scheme if scheme in ('http', 'https') else 'http'}://{host}"


async def refuse_nul(request: Request) -> None:
    """Refuse a path or query with a NUL, which no text in the inventory can contain."""
    path = request.scope["path"]
    if "\0" in path:
        raise RecordNotFound("Plate" if "/plates/" in path else "Record", "path", "with a NUL")
    if any("\0" in value for value in request.query_params.values()):
        raise Unacceptable("search", ["Text contains characters that cannot be stored"])


class ImageUrls:
    """Addresses of images' files, below a server's address."""

    def __init__(self, base: str) -> None:
        self._base = base

    def __call__(self, record: Mapping[str, Any]) -> str:
        """Return where an image's file is fetched."""
        return f"{self._base}/api/v1/wells/{record['well_id']}/images/{record['id']}/file"


async def _urls(request: Request) -> ImageUrls:
    return ImageUrls(base_url(request))


Urls = Annotated[ImageUrls, Depends(_urls)]
