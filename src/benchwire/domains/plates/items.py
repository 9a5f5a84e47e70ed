"""Plates, wells, images and stock solutions as lists over all domains show them."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.domains.plates.labels import WellPlace, parse_well, place_label
from benchwire.domains.plates.requests import Page
from benchwire.domains.plates.service import Chemistry, Exchange, Images, Plates, Wells
from benchwire.domains.plates.values import id_of
from benchwire.foundation.catalogue import Bundle, BundledFile, Item
from benchwire.foundation.clock import utc_moment
from benchwire.foundation.exports import write
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.samples.names import SampleInvalid

PLATE, WELL, IMAGE, SOLUTION = "plate", "well", "image", "solution"
PAGE = "/plates"


class PlateItems:
    """The inventory."""

    kinds: tuple[str, ...] = (PLATE, WELL, IMAGE, SOLUTION)
    bundled: tuple[str, ...] = (PLATE,)

    def __init__(
        self, plates: Plates, wells: Wells, images: Images, chemistry: Chemistry, exchange: Exchange
    ) -> None:
        self._plates = plates
        self._wells = wells
        self._images = images
        self._chemistry = chemistry
        self._exchange = exchange

    # -- wells as samples -------------------------------------------------------------------

    def find_well(self, barcode: str, label: str) -> tuple[str, str] | None:
        """Return barcode and label as the inventory writes them, None if the label is none.

        Raises
        ------
        SampleInvalid
            There is no such plate or well.
        """
        place = parse_well(label)
        if place is None:
            return None
        try:
            well_id = self._wells.at(barcode, label)
        except RecordNotFound as error:
            raise SampleInvalid(
                f"There is no plate with the barcode {barcode[:100]}",
                hint="<barcode>/<well> means a well; write other samples without a slash.",
            ) from error
        if well_id is None:
            raise SampleInvalid(f"Plate {barcode[:100]} has no well {label[:20]}")
        return barcode, place_label(place)

    # -- items ------------------------------------------------------------------------------

    def find(self, text: str, limit: int) -> list[Item]:
        """Return plates, wells, images and stock solutions that a text occurs in."""
        plates, _ = self._plates.all(
            Page(0, limit), search=text, sort="created_at", descending=True
        )
        solutions, _ = self._chemistry.solutions(text, Page(0, limit))
        return [
            *self._named_well(text),
            *(_plate_item(item) for item in plates),
            *(_image_item(item) for item in self._images.find(text, limit)),
            *(_solution_item(item) for item in solutions),
        ]

    def item(self, kind: str, item_id: str) -> Item:
        """Return one of them."""
        if kind == PLATE:
            return _plate_item(self._plates.one(item_id))
        if kind == WELL:
            found = self._named_well(item_id)
            if not found:
                raise RecordNotFound("Well", "id", item_id)
            return found[0]
        number = id_of(item_id)
        if number is None:
            raise RecordNotFound(kind.capitalize(), "id", item_id)
        if kind == IMAGE:
            return _image_item(self._images.anywhere(number))
        return _solution_item(self._chemistry.solution(number))

    def of_job(self, _: JobRecord) -> Item | None:
        """Return nothing: the inventory has no jobs."""
        return None

    def _named_well(self, text: str) -> list[Item]:
        """Return the well that ``<barcode>/<label>`` names."""
        barcode, slash, label = text.strip().rpartition("/")
        if not slash:
            return []
        try:
            found = self.find_well(barcode, label)
            well_id = self._wells.at(barcode, label)
        except (RecordNotFound, SampleInvalid):
            return []
        return [] if found is None or well_id is None else [_well_item(*found, well_id)]

    # -- bundles ----------------------------------------------------------------------------

    def bundle(self, _: str, item_id: str) -> Bundle:
        """Return a plate with its wells, contents, scores, points and images as they are now."""
        plate = self._plates.one(item_id)
        overview = {
            **self._plates.overview(item_id),
            "points_of_interest": plate["points_of_interest"],
        }
        record = json.dumps(overview, indent=1, ensure_ascii=False).encode()
        files = [
            BundledFile(
                "plate.json", "The plate, its wells, their newest scores, and points of interest",
                "application/json", make=lambda path: write(path, [record]),
            ),
            BundledFile(
                "contents.csv", "What is in each well, a column per stock solution",
                "text/csv", make=lambda path: self._write_contents(item_id, path),
            ),
        ]  # fmt: skip
        files += [self._bundled_image(image) for image in self._images.of_plate(item_id)]
        return Bundle(
            item=_plate_item(plate),
            files=files,
            parameters={},
            started=utc_moment(plate["created_at"]),
            ended=None,
        )

    def _write_contents(self, barcode: str, path: Path) -> None:
        write(path, (line.encode() for line in self._exchange.contents_sheet(barcode)))

    def _bundled_image(self, image: Mapping[str, Any]) -> BundledFile:
        path, _ = self._images.file(image["well_id"], image["id"])
        suffix = PurePosixPath(image["filename"]).suffix.lower()
        return BundledFile(
            f"images/{_label(image)}/{image['id']}{suffix}",
            f"Image of well {_label(image)}: {image['description'] or image['filename']}",
            image["content_type"],
            path,
        )


def plate_page(barcode: str) -> str:
    """Return the page of a plate."""
    return f"{PAGE}/plate/{quote(barcode, safe='')}"


def _label(record: Mapping[str, Any]) -> str:
    return place_label(WellPlace(record["well_row"], record["well_column"], record["subwell"]))


def _plate_item(plate: Mapping[str, Any]) -> Item:
    place = plate["current_location"]
    where = place["display_name"] if place else "no place"
    return Item(
        kind=PLATE,
        id=plate["barcode"],
        title=plate["display_name"],
        page=plate_page(plate["barcode"]),
        api=f"/api/v1/plates/{quote(plate['barcode'], safe='')}",
        at=utc_moment(plate["created_at"]),
        detail=f"{plate['wells_count']} wells, {where}",
    )


def _well_item(barcode: str, label: str, well_id: int) -> Item:
    return Item(
        kind=WELL,
        id=f"{barcode}/{label}",
        title=f"Well {label} of {barcode}",
        page=f"{PAGE}/well/{well_id}",
        api=f"/api/v1/wells/{well_id}",
    )


def _image_item(image: Mapping[str, Any]) -> Item:
    place = f"{image['plate_barcode']}/{_label(image)}"
    return Item(
        kind=IMAGE,
        id=str(image["id"]),
        title=image["description"] or image["filename"],
        page=f"{PAGE}/well/{image['well_id']}",
        api=f"/api/v1/wells/{image['well_id']}/images/{image['id']}",
        at=image["captured_at"],
        detail=f"{place}, {image['pixel_width']} x {image['pixel_height']} px",
    )


def _solution_item(solution: Mapping[str, Any]) -> Item:
    return Item(
        kind=SOLUTION,
        id=str(solution["id"]),
        title=solution["name"],
        page=f"{PAGE}/solutions",
        api=f"/api/v1/stock_solutions/{solution['id']}",
        at=utc_moment(solution["created_at"]),
        detail=solution.get("component_summary") or "",
    )
