"""The inventory to and from files."""

import itertools
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from benchwire.domains.plates import sheets
from benchwire.domains.plates.errors import MissingParameter
from benchwire.domains.plates.requests import flag
from benchwire.domains.plates.routes.edge import OPENAPI_BODY, Body, told
from benchwire.domains.plates.service import Exchange
from benchwire.domains.plates.service.exchange import rows_of
from benchwire.domains.plates.values import is_storable
from benchwire.foundation.web.bodies import BodyUnreadable, uploaded
from benchwire.foundation.web.downloads import files_of
from benchwire.foundation.web.injection import service

router = APIRouter()

Service = Annotated[Exchange, service(Exchange)]


@router.get(
    "/plates/{barcode}/contents_csv", response_class=Response, responses=files_of("text/csv")
)
def contents_csv(barcode: str, exchange: Service) -> Response:
    """What is in a plate's wells as CSV: a row per well, a column per stock solution."""
    pieces = exchange.contents_sheet(barcode)
    return _csv(pieces, "contents.csv")


@router.post("/plates/{barcode}/contents_csv", openapi_extra=OPENAPI_BODY)
def put_contents_csv(
    barcode: str, body: Body, exchange: Service, dry_run: str | None = None
) -> Response:
    """Set what is in a plate's wells from such a CSV, all of it or nothing."""
    answer = exchange.put_contents(barcode, _text(body), is_dry=flag(dry_run) is True)
    return told(answer, "Contents checked" if answer["dry_run"] else "Contents imported")


@router.get("/export", response_class=Response, responses=files_of("text/csv", "application/json"))
def export(exchange: Service, format: Literal["csv", "json"] = "csv") -> Response:  # noqa: A002
    """Every plate with wells and contents, as CSV or JSON."""
    if format == "csv":
        return _csv(exchange.export_csv(), "plates.csv")
    return StreamingResponse(
        _json(exchange.export_json()),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="plates.json"'},
    )


@router.post("/import", openapi_extra=OPENAPI_BODY)
def load(body: Body, exchange: Service, dry_run: str | None = None) -> Response:
    """Make plates from such a file, or from the same as JSON, all of them or none."""
    if "plates" in body:
        rows, problems = rows_of(body["plates"])
    else:
        rows, problems = sheets.read_inventory(_text(body))
    answer = exchange.load(rows, problems, is_dry=flag(dry_run) is True)
    return told(answer, "Plates checked" if answer["dry_run"] else "Plates imported")


def _text(body: dict[str, Any]) -> str:
    file = uploaded(body.get("file"))
    if file is None:
        text = body.get("csv")
        if not isinstance(text, str):
            raise MissingParameter("file")
        return _plain(text)
    try:
        text = file.file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BodyUnreadable("The file is not UTF-8 text") from error
    return _plain(text)


def _plain(text: str) -> str:
    if not is_storable(text):
        raise BodyUnreadable("The text contains characters that cannot be stored")
    return text


def _csv(pieces: Iterator[str], name: str) -> Response:
    begun = itertools.chain(list(itertools.islice(pieces, 2)), pieces)
    return StreamingResponse(
        begun,
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _json(plates: Iterator[dict[str, Any]]) -> Iterator[str]:
    yield '{"plates":['
    for number, plate in enumerate(plates):
        yield ("," if number else "") + json.dumps(plate)
    yield "]}"
