"""Plates: wells, what is in them, images, scores, places."""

import io
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchwire.client.connection import Connection
from benchwire.client.errors import BenchError, NotFound
from benchwire.client.frames import iso, table
from benchwire.client.work import quoted

if TYPE_CHECKING:
    import polars as pl

_PATH = "/api/v1"
_PER_PAGE = 500
_UPLOAD_SECONDS = 300.0
_PLATE = ("barcode", "name", "location", "rows", "columns", "subwells_per_well", "wells_count",
    "points_of_interest_count", "best_score", "best_score_name", "created_at", "updated_at",
)  # fmt: skip
_WELL = ("well", "id", "well_row", "well_column", "subwell", "x_mm", "y_mm", "z_mm",
    "contents_count", "images_count", "score", "image_id",
)  # fmt: skip
_IMAGE = ("id", "filename", "description", "captured_at", "pixel_size_x_mm", "pixel_size_y_mm",
    "reference_x_mm", "reference_y_mm", "reference_z_mm", "pixel_width", "pixel_height",
)  # fmt: skip
_SCORE = ("id", "score", "name", "note", "scored_at", "scored_by", "image_id")
_POINT = ("id", "well", "image_id", "point_type", "description", "pixel_x", "pixel_y",
    "real_world_x_mm", "real_world_y_mm", "real_world_z_mm", "marked_at",
)  # fmt: skip
_LOCATION = ("id", "display_name", "name", "carousel_position", "hotel_position",
    "current_plate_barcode",
)  # fmt: skip
_CONTENT = ("well", "stock_solution", "amount", "unit")
_AMOUNT = re.compile(r"([-+0-9.eE]+)\s*(.*)")

Well = str | int
Location = str | int | tuple[int, int] | None


class Plates:
    """The inventory of a server: ``bench.plates``.

    Plates are named by barcode. A well is named by its label, ``"A1"``, with the subwell where it
    is not the first, ``"A1-2"``, or by its id.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- plates ------------------------------------------------------------------------------

    def all(self, search: str = "", *, is_placed: bool | None = None) -> "pl.DataFrame":
        """Return the plates whose barcode or name contains a text.

        Parameters
        ----------
        is_placed
            Only those that are somewhere, or only those that are nowhere.
        """
        assigned = None if is_placed is None else str(is_placed).lower()
        rows = self._pages("/plates", search=search or None, assigned=assigned)
        return table(
            [_plate_row(row) for row in rows], columns=_PLATE, moments={"created_at", "updated_at"}
        )

    def search(self, text: str) -> "pl.DataFrame":
        """Return the plates whose barcode or name contains a text."""
        return self.all(text)

    def plate(self, barcode: str) -> dict[str, Any]:
        """Return a plate with its place, its wells and the points marked on its images.

        Raises
        ------
        NotFound
            There is none.
        """
        return self._data("GET", f"/plates/{quoted(barcode)}")

    def create(
        self,
        barcode: str | None = None,
        name: str | None = None,
        *,
        rows: int | None = None,
        columns: int | None = None,
        subwells: int | None = None,
        prototype: int | None = None,
    ) -> str:
        """Make a plate with all its wells and return its barcode, made up where none is given.

        Parameters
        ----------
        rows, columns, subwells
            Its size; 8 by 12 wells if not given.
        prototype
            Id of a plate prototype whose wells it gets instead.

        Raises
        ------
        Invalid
            The barcode is taken, or something of it cannot be used.
        """
        given = {
            "barcode": barcode, "name": name, "rows": rows, "columns": columns,
            "subwells_per_well": subwells, "plate_prototype_id": prototype,
        }  # fmt: skip
        body = {"plate": {key: value for key, value in given.items() if value is not None}}
        return str(self._data("POST", "/plates", body)["barcode"])

    def update(
        self, barcode: str, *, name: str | None = None, new_barcode: str | None = None
    ) -> None:
        """Change a plate's name or barcode."""
        given = {"name": name, "barcode": new_barcode}
        body = {"plate": {key: value for key, value in given.items() if value is not None}}
        self._data("PATCH", f"/plates/{quoted(barcode)}", body)

    def delete(self, barcode: str, *, for_good: bool = False) -> None:
        """Delete a plate; unless ``for_good`` it can be restored."""
        query = {"permanent": "true"} if for_good else None
        self._connection.send("DELETE", f"{_PATH}/plates/{quoted(barcode)}", query=query)

    def restore(self, barcode: str) -> None:
        """Bring a deleted plate back."""
        self._data("POST", f"/plates/{quoted(barcode)}/restore")

    # -- wells -------------------------------------------------------------------------------

    def wells(self, barcode: str) -> "pl.DataFrame":
        """Return a plate's wells: label, id, place (mm), counts, newest score and image."""
        rows = self._overview(barcode)
        return table(
            [{**row, "well": _label(row), "score": _score_of(row["score"])} for row in rows],
            columns=_WELL,
        )

    def well(self, barcode: str, well: Well) -> dict[str, Any]:
        """Return a well with contents, images and scores."""
        return self._data("GET", f"/wells/{self._id(barcode, well)}")

    def contents(self, barcode: str) -> "pl.DataFrame":
        """Return what is in a plate's wells.

        Returns
        -------
        pl.DataFrame
            A row per well and stock solution: ``well``, ``stock_solution``, ``amount``, ``unit``.
        """
        import polars as pl

        content = self._connection.content(f"{_PATH}/plates/{quoted(barcode)}/contents_csv")
        sheet = pl.read_csv(io.BytesIO(content), infer_schema=False)
        rows = []
        for row in sheet.iter_rows(named=True):
            for solution, text in list(row.items())[1:]:
                found = _AMOUNT.fullmatch(text or "")
                if found is not None:
                    amount, unit = float(found[1]), found[2]
                    # A cell that a spreadsheet would take for a formula has a mark before it.
                    name = solution.removeprefix("'")
                    rows.append(
                        {
                            "well": _short(row["well"]),
                            "stock_solution": name,
                            "amount": amount,
                            "unit": unit,
                        }
                    )
        return table(rows, columns=_CONTENT)

    def add_content(
        self, barcode: str, wells: Sequence[Well] | Literal["all"], solution: str | int, volume: str
    ) -> int:
        """Put a stock solution into wells and return into how many.

        Parameters
        ----------
        solution
            Its name or id.
        volume
            With its unit, such as ``"2 ul"``.

        Raises
        ------
        BenchError
            It could not be put into some of them; ``details`` says which and why.
        """
        labels = self._ids(barcode)
        ids = (
            list(labels.values())
            if wells == "all"
            else [self._id(barcode, well, labels) for well in wells]
        )
        body = {
            "well_ids": ids,
            "stock_solution_id": self._solution_id(solution),
            "volume_with_unit": volume,
        }
        answer = self._data("POST", "/wells/bulk_add_content", body)
        if answer["failed"]:
            names = {well_id: label for label, well_id in labels.items()}
            raise BenchError(
                f"The solution was put into {answer['added']} of {len(ids)} wells",
                code="plates.partly",
                details=[
                    f"{names.get(item['well_id'], item['well_id'])}: {item['error']}"
                    for item in answer["failed"]
                ],
            )
        return int(answer["added"])

    # -- images and scores -------------------------------------------------------------------

    def upload_image(
        self,
        barcode: str,
        well: Well,
        file: str | Path | bytes,
        *,
        pixel_size_mm: float | tuple[float, float],
        reference_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
        description: str | None = None,
        captured_at: datetime | str | None = None,
        filename: str | None = None,
    ) -> dict[str, Any]:
        """Upload an image of a well and return what is known of it.

        Parameters
        ----------
        file
            A path on this computer, or the file's bytes.
        pixel_size_mm
            Length of a pixel in mm, or width and height.
        reference_mm
            Where on the plate its upper left corner is: x, y, z in mm.
        """
        if isinstance(file, bytes):
            content, name = file, filename or "image"
        else:
            content, name = Path(file).read_bytes(), filename or Path(file).name
        width, height = (
            pixel_size_mm if isinstance(pixel_size_mm, tuple) else (pixel_size_mm, pixel_size_mm)
        )
        values: dict[str, object] = {
            "pixel_size_x_mm": width, "pixel_size_y_mm": height,
            "reference_x_mm": reference_mm[0], "reference_y_mm": reference_mm[1],
            "reference_z_mm": reference_mm[2], "description": description,
            "captured_at": iso(captured_at),
        }  # fmt: skip
        form = {f"image[{key}]": str(value) for key, value in values.items() if value is not None}
        answer = self._connection.send(
            "POST",
            f"{_PATH}/wells/{self._id(barcode, well)}/images",
            timeout=_UPLOAD_SECONDS,
            data=form,
            files={"image[file]": (name, content)},
        )
        return dict(answer["data"])

    def images(self, barcode: str, well: Well) -> "pl.DataFrame":
        """Return the images of a well, newest first."""
        rows = self._pages(f"/wells/{self._id(barcode, well)}/images")
        return table(rows, columns=_IMAGE, moments={"captured_at"})

    def image(self, barcode: str, well: Well, image_id: int | None = None) -> bytes:
        """Return an image's file byte for byte; the newest of the well if none is named."""
        well_id = self._id(barcode, well)
        if image_id is None:
            found = self._data("GET", f"/wells/{well_id}")["images"]
            if not found:
                raise NotFound(f"There is no image of {barcode}/{well}", code="plates.no_image")
            image_id = found[0]["id"]
        return self._connection.content(f"{_PATH}/wells/{well_id}/images/{image_id}/file")

    def score_words(self) -> dict[int, str]:
        """Return the scores there are, and what each means."""
        found = self._data("GET", "/scores")["scores"]
        return {item["score"]: item["name"] for item in found}

    def score(
        self,
        barcode: str,
        well: Well,
        score: int,
        *,
        note: str | None = None,
        by: str | None = None,
        image_id: int | None = None,
    ) -> dict[str, Any]:
        """Note what a well's drop looks like, from 1 (clear) to 9; earlier scores stay."""
        given = {"score": score, "note": note, "scored_by": by, "image_id": image_id}
        body = {"score": {key: value for key, value in given.items() if value is not None}}
        return self._data("POST", f"/wells/{self._id(barcode, well)}/scores", body)

    def scores(self, barcode: str, well: Well) -> "pl.DataFrame":
        """Return a well's scores, newest first."""
        rows = self._connection.get(f"{_PATH}/wells/{self._id(barcode, well)}/scores")["data"]
        return table(rows, columns=_SCORE, moments={"scored_at"})

    def mark(
        self,
        barcode: str,
        well: Well,
        image_id: int,
        *,
        x: int,
        y: int,
        kind: Literal["crystal", "particle", "droplet", "other"] = "crystal",
        description: str | None = None,
    ) -> dict[str, Any]:
        """Mark a point on an image, in pixels from its upper left corner."""
        given = {"pixel_x": x, "pixel_y": y, "point_type": kind, "description": description}
        path = f"/wells/{self._id(barcode, well)}/images/{image_id}/points_of_interest"
        return self._data("POST", path, {"point_of_interest": given})

    def points(self, barcode: str) -> "pl.DataFrame":
        """Return the points marked on all images of a plate, in pixels and in mm on the plate."""
        rows = self._connection.get(f"{_PATH}/plates/{quoted(barcode)}/points_of_interest")["data"]
        shown = [{**row, "well": row["well"]["position"]} for row in rows]
        return table(shown, columns=_POINT, moments={"marked_at"})

    # -- places ------------------------------------------------------------------------------

    def locations(self) -> "pl.DataFrame":
        """Return all places, with the plate that is there."""
        return table(self._pages("/locations"), columns=_LOCATION)

    def move(self, barcode: str, location: Location, *, by: str | None = None) -> None:
        """Put a plate to a place.

        Parameters
        ----------
        location
            Its id, its name as `locations` shows it, carousel and hotel position, or None to take
            the plate away.

        Raises
        ------
        NotFound
            There is no such place.
        Invalid
            Another plate is there.
        """
        body = {"location_id": self._location_id(location), "moved_by": by}
        self._data("POST", f"/plates/{quoted(barcode)}/move_to_location", body)

    def history(self, barcode: str) -> "pl.DataFrame":
        """Return where a plate was, newest first: location, moved_at, moved_by."""
        rows = self._pages(f"/plates/{quoted(barcode)}/location_history")
        shown = [{**row, "location": _place(row["location"])} for row in rows]
        return table(shown, columns=("location", "moved_at", "moved_by"), moments={"moved_at"})

    def create_location(
        self, name: str | None = None, *, carousel: int | None = None, hotel: int | None = None
    ) -> int:
        """Make a place with a name, or a position of the carousel, and return its id."""
        given = {"name": name, "carousel_position": carousel, "hotel_position": hotel}
        body = {"location": {key: value for key, value in given.items() if value is not None}}
        return int(self._data("POST", "/locations", body)["id"])

    # -- chemistry ---------------------------------------------------------------------------

    def solutions(self, search: str = "") -> "pl.DataFrame":
        """Return stock solutions by name."""
        columns = ("id", "name", "description", "component_summary", "used_in_wells_count")
        return table(self._pages("/stock_solutions", search=search or None), columns=columns)

    def create_solution(self, name: str, description: str | None = None) -> int:
        """Make a stock solution and return its id."""
        given = {"name": name, "description": description}
        body = {"stock_solution": {key: value for key, value in given.items() if value is not None}}
        return int(self._connection.send("POST", f"{_PATH}/stock_solutions", body)["id"])

    def chemicals(self, search: str = "") -> "pl.DataFrame":
        """Return chemicals whose name, CAS number or barcode contains a text."""
        columns = ("id", "name", "cas", "barcode", "smiles", "amount", "storage")
        return table(self._pages("/chemicals", search=search or None), columns=columns)

    # -- files -------------------------------------------------------------------------------

    def export(self, path: str | Path, *, format: Literal["csv", "json"] = "csv") -> Path:  # noqa: A002
        """Write every plate with wells and contents to a file."""
        return self._connection.download(f"{_PATH}/export", Path(path), format=format)

    # -- parts -------------------------------------------------------------------------------

    def _data(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        if method == "GET":
            return dict(self._connection.get(f"{_PATH}{path}")["data"])
        return dict(self._connection.send(method, f"{_PATH}{path}", body)["data"] or {})

    def _pages(self, path: str, **query: object) -> list[dict[str, Any]]:
        """Return a whole list, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            page = len(found) // _PER_PAGE + 1
            answer, total = self._connection.page(
                f"{_PATH}{path}", page=page, per_page=_PER_PAGE, **query
            )
            rows = answer["data"] if isinstance(answer, dict) else answer
            found += rows
            if len(rows) < _PER_PAGE or (total is not None and len(found) >= total):
                return found

    def _overview(self, barcode: str) -> list[dict[str, Any]]:
        return list(self._data("GET", f"/plates/{quoted(barcode)}/overview")["wells"])

    def _ids(self, barcode: str) -> dict[str, int]:
        return {_label(row): row["id"] for row in self._overview(barcode)}

    def _id(self, barcode: str, well: Well, known: Mapping[str, int] | None = None) -> int:
        if isinstance(well, int):
            return well
        ids = self._ids(barcode) if known is None else known
        label = _short(well.strip().upper())
        if label not in ids:
            raise NotFound(
                f"Plate {barcode} has no well {well!r}",
                code="plates.not_found",
                hint="Wells are named like A1, a second subwell like A1-2.",
            )
        return ids[label]

    def _location_id(self, location: Location) -> int | None:
        if location is None or isinstance(location, int):
            return location
        for row in self._pages("/locations"):
            position = (row["carousel_position"], row["hotel_position"])
            if location in (row["name"], row["display_name"], position):
                return int(row["id"])
        raise NotFound(
            f"There is no place {location!r}",
            code="plates.not_found",
            hint="bench.plates.locations() lists them.",
        )

    def _solution_id(self, solution: str | int) -> int:
        if isinstance(solution, int):
            return solution
        for row in self._pages("/stock_solutions", search=solution):
            if row["name"] == solution:
                return int(row["id"])
        raise NotFound(
            f"There is no stock solution {solution!r}",
            code="plates.not_found",
            hint="create_solution() makes one.",
        )


def _plate_row(row: Mapping[str, Any]) -> dict[str, Any]:
    best = row["best_score"] or {}
    return {
        **row,
        "location": _place(row["current_location"]),
        "best_score": best.get("score"),
        "best_score_name": best.get("name"),
    }


def _place(location: Mapping[str, Any] | None) -> str | None:
    return None if location is None else str(location["display_name"])


def _label(row: Mapping[str, Any]) -> str:
    return _short(row["well_label_with_subwell"])


def _short(label: str) -> str:
    """Return a label without the subwell where that is the first."""
    return label.removesuffix("-1")


def _score_of(found: object) -> int | None:
    """Return the number of a score given as a number or as a record."""
    if isinstance(found, Mapping):
        found = found.get("score")
    return found if isinstance(found, int) else None
