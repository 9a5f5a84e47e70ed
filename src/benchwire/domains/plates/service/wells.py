"""Wells, what is in them, and what their drops look like."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchwire.domains.plates import answers
from benchwire.domains.plates.errors import MissingParameter, Refused, Unacceptable
from benchwire.domains.plates.image_files import ImageFiles
from benchwire.domains.plates.labels import parse_well
from benchwire.domains.plates.requests import Page, root
from benchwire.domains.plates.scores import SCORES
from benchwire.domains.plates.service.amounts import Measures
from benchwire.domains.plates.store.chemistry import ChemistryStore
from benchwire.domains.plates.store.images import ImageStore
from benchwire.domains.plates.store.plates import PlateStore
from benchwire.domains.plates.store.wells import WellStore
from benchwire.domains.plates.values import Draft, id_of

Answer = dict[str, Any]
UrlOf = Callable[[Mapping[str, Any]], str]

_COLUMNS = ("plate_id", "well_row", "well_column", "subwell", *answers.COORDINATES)
_PLACES = ("well_row", "well_column", "subwell")
_CONTENT_COLUMNS = ("stock_solution_id", "volume", "unit_id", "volume_with_unit")
_ROWS_AT_ONCE = 5000


class Wells:
    """All wells of live plates."""

    def __init__(
        self,
        store: WellStore,
        plates: PlateStore,
        images: ImageStore,
        chemistry: ChemistryStore,
        files: ImageFiles,
    ) -> None:
        self._store = store
        self._plates = plates
        self._images = images
        self._chemistry = chemistry
        self._measures = Measures(chemistry)
        self._files = files

    def plate_id(self, barcode: str | None) -> int | None:
        """Return a plate's id by its barcode; None for no barcode."""
        return None if barcode is None else int(self._plates.one(barcode)["id"])

    def all(self, barcode: str | None, page: Page) -> tuple[list[Answer], int]:
        """Return wells of a plate or of all, and how many there are on all pages."""
        plate_id = self.plate_id(barcode)
        found = self._store.page(plate_id, page.offset, page.limit)
        total = len(found) if page.limit is None else self._store.count(plate_id)
        return [answers.well(item) for item in found], total

    def walk(self) -> Iterator[list[Answer]]:
        """Yield the wells of all plates piece by piece; a million do not fit into an answer."""
        place = (0, 0, 0, 0)
        while found := self._store.after(place, _ROWS_AT_ONCE):
            yield [answers.well(item) for item in found]
            last = found[-1]
            place = (last["plate_id"], last["well_row"], last["well_column"], last["subwell"])

    def one(self, well_id: int, barcode: str | None, url_of: UrlOf) -> Answer:
        """Return a well with its contents, images, scores and neighbours."""
        record = self._store.one(well_id, self.plate_id(barcode))
        before, after = self._store.beside(record)
        details = answers.well_details(
            record, self._store.contents([well_id]), self._images.of_wells([well_id]), url_of
        )
        scores = [answers.score(item) for item in self._store.scores(well_id)]
        return {**details, "scores": scores, "previous_well_id": before, "next_well_id": after}

    def at(self, barcode: str, label: str) -> int | None:
        """Return the id of a plate's well by a label in any usual notation."""
        place = parse_well(label)
        plate_id = self.plate_id(barcode)
        return None if place is None or plate_id is None else self._store.at(plate_id, place)

    def create(self, body: Mapping[str, Any], barcode: str | None, url_of: UrlOf) -> Answer:
        """Make a well; the plate is that of the path, or named in the body."""
        plate_id = self.plate_id(barcode)
        given = root(body, "well", _COLUMNS)
        if plate_id is None and "plate_barcode" in given:
            plate_id = self.plate_id(str(given["plate_barcode"]))
        if plate_id is not None:
            given["plate_id"] = plate_id
        draft = Draft(given)
        values = _checked(draft)
        return self.one(self._store.create(values, draft.reasons), None, url_of)

    def update(
        self, well_id: int, body: Mapping[str, Any], barcode: str | None, url_of: UrlOf
    ) -> Answer:
        """Change a well."""
        record = self._store.one(well_id, self.plate_id(barcode))
        given = root(body, "well", _COLUMNS)
        if barcode is not None:
            given.pop("plate_id", None)
        draft = Draft(given, record)
        values = _checked(draft)
        self._store.update(well_id, values, draft.reasons, draft.given.keys())
        return self.one(well_id, None, url_of)

    def delete(self, well_id: int, barcode: str | None) -> None:
        """Delete a well with contents, images, files and points."""
        self._store.one(well_id, self.plate_id(barcode))
        self._files.discard(self._store.delete(well_id))

    # -- contents ---------------------------------------------------------------------------

    def contents(self, well_id: int) -> list[Answer]:
        """Return what is in a well."""
        self._store.one(well_id)
        return [answers.content(item) for item in self._store.contents([well_id])]

    def content(self, well_id: int, content_id: int) -> Answer:
        """Return one content of a well."""
        self._store.one(well_id)
        return answers.content(self._store.content(well_id, content_id))

    def add_content(self, well_id: int, body: Mapping[str, Any]) -> Answer:
        """Put a stock solution into a well."""
        self._store.one(well_id)
        draft = Draft(root(body, "well_content", _CONTENT_COLUMNS))
        values = self._content_of(draft, "volume_with_unit" in body.get("well_content", body))
        made = self._store.add_content(well_id, values, draft.reasons)
        return answers.content(self._store.content(well_id, made))

    def update_content(self, well_id: int, content_id: int, body: Mapping[str, Any]) -> Answer:
        """Change a content of a well."""
        self._store.one(well_id)
        record = self._store.content(well_id, content_id)
        draft = Draft(root(body, "well_content", _CONTENT_COLUMNS), record)
        has_text = draft.is_given("volume_with_unit")
        values = self._content_of(draft, has_text)
        only = {*draft.given, *(("volume", "unit_id") if has_text else ())}
        self._store.update_content(well_id, content_id, values, draft.reasons, only)
        return answers.content(self._store.content(well_id, content_id))

    def remove_content(self, well_id: int, content_id: int | None) -> int:
        """Remove one content of a well or all; return how many were removed."""
        self._store.one(well_id)
        if content_id is not None:
            self._store.content(well_id, content_id)
        return self._store.remove_contents(well_id, content_id)

    def add_to_many(self, body: Mapping[str, Any]) -> tuple[Answer, str]:
        """Put a stock solution into many wells at once; return what to say too.

        Raises
        ------
        MissingParameter
            No wells or no solution are named.
        Refused
            It could be put into none of them.
        """
        wells = body.get("well_ids")
        if not isinstance(wells, list) or not wells:
            raise MissingParameter("well_ids")
        if body.get("stock_solution_id") in (None, ""):
            raise MissingParameter("stock_solution_id")
        draft = Draft(body)
        solution = draft.identifier("stock_solution_id")
        self._chemistry.solution(-1 if solution is None else solution)
        values = self._content_of(draft, "volume_with_unit" in body)
        if draft.reasons:
            raise Unacceptable("create well content", draft.reasons)
        ids = [item for item in map(id_of, wells) if item is not None]
        strangers = [item for item in wells if id_of(item) is None]
        added, failed = self._store.add_content_to_many(ids, values)
        answer = {
            "added": len(added),
            "failed": [
                *({"well_id": item, "error": why} for item, why in failed),
                *({"well_id": item, "error": "Record not found"} for item in strangers),
            ],
        }
        if not added:
            raise Refused(
                "Failed to add content to any well",
                details=[
                    {"message": f"Well {item['well_id']}: {item['error']}"}
                    for item in answer["failed"]  # type: ignore[attr-defined]
                ],
            )
        return answer, f"Content added to {len(added)} wells"

    def _content_of(self, draft: Draft, has_text: bool) -> Answer:
        solution = draft.identifier("stock_solution_id")
        volume, unit = self._measures.take(draft, "volume", has_text=has_text)
        return {"stock_solution_id": solution, "volume": volume, "unit_id": unit}

    # -- scores -----------------------------------------------------------------------------

    def scores(self, well_id: int) -> list[Answer]:
        """Return a well's scores, newest first."""
        self._store.one(well_id)
        return [answers.score(item) for item in self._store.scores(well_id)]

    def add_score(self, well_id: int, body: Mapping[str, Any]) -> Answer:
        """Note what a well's drop looks like now."""
        self._store.one(well_id)
        draft = Draft(root(body, "score", ("score",)) if "score" not in body else _loose(body))
        draft.integer("score", required=True, least=min(SCORES), most=max(SCORES))
        draft.text("note", longest=None)
        draft.text("scored_by")
        image_id = draft.identifier("image_id") if draft.is_given("image_id") else None
        if image_id is not None:
            self._images.one(well_id, image_id)
        if draft.reasons:
            raise Unacceptable("create score", draft.reasons)
        return answers.score(self._store.add_score(well_id, draft.values))

    def timeline(self, well_id: int, url_of: UrlOf) -> Answer:
        """Return a well's images and scores in the order of time, with what is in it."""
        record = self._store.one(well_id)
        images = reversed(self._images.of_wells([well_id]))
        return {
            "well": answers.well(record),
            "contents": [answers.content(item) for item in self._store.contents([well_id])],
            "images": [
                {
                    **answers.image(item, url_of),
                    "points_of_interest": [
                        answers.point(point) for point in self._images.points_of(item["id"])
                    ],
                }
                for item in images
            ],
            "scores": [answers.score(item) for item in reversed(self._store.scores(well_id))],
        }


def _loose(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a score given at the root, as a number or as an object."""
    found = body["score"]
    return dict(found) if isinstance(found, Mapping) else dict(body)


def _checked(draft: Draft) -> Answer:
    """Take a well's values, and note what is wrong with them."""
    draft.identifier("plate_id")
    for key in _PLACES[:2]:
        draft.integer(key, required=True, above=0)
    if draft.integer("subwell", above=0) is None and not any(
        reason.startswith("Subwell") for reason in draft.reasons
    ):
        draft.values["subwell"] = 1
    for key in answers.COORDINATES:
        draft.number(key, places=4, below=1e6)
    return draft.values
