"""Plates: made, named, moved, hidden and brought back."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchwire.domains.plates import answers
from benchwire.domains.plates.errors import MissingParameter, RecordNotFound, Unacceptable
from benchwire.domains.plates.image_files import ImageFiles
from benchwire.domains.plates.requests import Page, flag, optional_root
from benchwire.domains.plates.store.figures import FigureStore
from benchwire.domains.plates.store.images import ImageStore
from benchwire.domains.plates.store.plates import HISTORY, PlateStore
from benchwire.domains.plates.store.prototypes import PrototypeStore
from benchwire.domains.plates.store.wells import WellStore
from benchwire.domains.plates.values import Draft, id_of
from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import Unavailable

Answer = dict[str, Any]
Listing = tuple[list[Answer], int]

_COLUMNS = ("barcode", "name")
_SIZES = {"rows": (8, 26), "columns": (12, 48), "subwells_per_well": (1, 16)}
_GRID = (*_SIZES, "pitch_mm", "origin")
# Names that are paths of their own, or that no client can send as part of a path.
_RESERVED = frozenset({"deleted", "export", "import", ".", ".."})
_SORTS = ("id", "barcode", "created_at", "name")


class Plates:
    """All plates."""

    def __init__(
        self,
        store: PlateStore,
        wells: WellStore,
        images: ImageStore,
        prototypes: PrototypeStore,
        figures: FigureStore,
        files: ImageFiles,
        clock: Clock,
    ) -> None:
        self._store = store
        self._wells = wells
        self._images = images
        self._prototypes = prototypes
        self._figures = figures
        self._files = files
        self._clock = clock

    def all(
        self,
        page: Page = Page(),  # noqa: B008 - frozen
        *,
        assigned: str | None = None,
        search: str = "",
        sort: str = "id",
        descending: bool = False,
        is_deleted: bool = False,
    ) -> Listing:
        """Return plates, and how many there are on all pages."""
        wanted: dict[str, Any] = {
            "assigned": flag(assigned),
            "search": search.strip(),
            "is_deleted": is_deleted,
        }
        found = self._store.page(
            **wanted,
            sort=sort if sort in _SORTS else "id",
            descending=descending,
            offset=page.offset,
            limit=page.limit,
        )
        total = len(found) if page.limit is None else self._store.count(**wanted)
        return [answers.plate(item) for item in found], total

    def one(self, barcode: str) -> Answer:
        """Return a plate with its wells and the points marked on its images."""
        record = self._store.one(barcode)
        points = self._images.points_of_plate(record["id"])
        return answers.plate_details(record, self._wells.page(record["id"]), points)

    def create(self, body: Mapping[str, Any]) -> Answer:
        """Make a plate with its wells; a barcode is made up where none is given.

        Raises
        ------
        Unacceptable
            The barcode is taken, a name is too long, or a size is out of range.
        RecordNotFound, Refused
            The place it is to be put is not there, or not free.
        """
        given = optional_root(body, "plate", _COLUMNS)
        draft = Draft(given)
        barcode = self._barcode(draft)
        name = draft.text("name")
        size = self._size(draft, {**body, **given})
        moved_by = moved_by_of(body)
        made, wells = self._store.create(
            barcode,
            name,
            draft.reasons,
            prototype_id=self._prototype({**body, **given}),
            size=size,
            location_id=self._wanted_location({**body, **given}),
            moved_by=moved_by,
        )
        return answers.plate_details(made, wells, ())

    def update(self, barcode: str, body: Mapping[str, Any]) -> Answer:
        """Change a plate's barcode or name."""
        record = self._store.one(barcode)
        given = optional_root(body, "plate", _COLUMNS)
        draft = Draft(given, record)
        wanted = self._barcode(draft)
        if wanted is None and not draft.reasons:
            draft.refuse("barcode", "can't be blank")
        draft.text("name")
        return self.one(self._store.update(barcode, draft.given, draft.reasons))

    def delete(self, barcode: str, *, for_good: bool = False) -> None:
        """Hide a plate, or delete it for good with all files."""
        if for_good:
            self._files.discard(self._store.purge(barcode))
        else:
            self._store.delete(barcode)

    def restore(self, barcode: str) -> Answer:
        """Bring a hidden plate back with its history, unassigned."""
        self._store.restore(barcode)
        return self.one(barcode)

    def move(self, barcode: str, body: Mapping[str, Any]) -> tuple[Answer, str]:
        """Put a plate to a place, or to none where the id is null; return what to say too.

        Raises
        ------
        MissingParameter
            The body names no ``location_id``; a slip of the pen must not lose a plate.
        RecordNotFound
            There is no such plate or place.
        Refused
            Another plate is there.
        """
        self._store.one(barcode)
        if "location_id" not in body:
            raise MissingParameter("location_id")
        wanted = body["location_id"]
        moved_by = moved_by_of(body)
        if wanted is None or (isinstance(wanted, str) and not wanted.strip()):
            return self.unassign(barcode, moved_by), "Plate unassigned successfully"
        location_id = id_of(wanted)
        if location_id is None:
            raise RecordNotFound("Location", "id", wanted)
        place = self._store.move(barcode, location_id, moved_by)
        assert place is not None  # noqa: S101 - a place was named
        shown = answers.place(place["id"], place)
        text = f"Plate {barcode} moved to {shown and shown['display_name']}"
        moved = answers.plate(self._store.one(barcode))
        return {"plate": moved, "location": shown, "message": text}, "Plate moved successfully"

    def unassign(self, barcode: str, moved_by: str | None = None) -> Answer:
        """Take a plate from wherever it is."""
        self._store.move(barcode, None, moved_by)
        return {
            "plate": answers.plate(self._store.one(barcode)),
            "location": None,
            "message": f"Plate {barcode} unassigned from location",
        }

    def history(self, barcode: str, page: Page = Page()) -> list[Answer]:  # noqa: B008 - frozen
        """Return a plate's movements, newest first."""
        record = self._store.one(barcode)
        found = self._store.history(record["id"], page.offset, page.limit or HISTORY)
        return [answers.movement(item) for item in found]

    def points(self, barcode: str) -> list[Answer]:
        """Return the points marked on all images of a plate."""
        record = self._store.one(barcode)
        return [answers.point_in_plate(item) for item in self._images.points_of_plate(record["id"])]

    def overview(self, barcode: str) -> Answer:
        """Return a plate's wells with newest image, score and whether they are filled."""
        record = self._store.one(barcode)
        scores = self._wells.newest_scores(record["id"])
        images = self._wells.newest_images(record["id"])
        wells = []
        for item in self._wells.page(record["id"]):
            newest = images.get(item["id"])
            wells.append(
                {
                    **answers.well(item),
                    "score": scores.get(item["id"]),
                    "image_id": None if newest is None else newest["id"],
                }
            )
        return {"plate": answers.plate(record), "wells": wells}

    def statistics(self) -> Answer:
        """Return figures of the whole inventory."""
        counts = self._figures.counts()
        share = 100 * counts["placed"] / counts["locations"] if counts["locations"] else 0.0
        mean = counts["wells"] / counts["plates"] if counts["plates"] else 0.0
        return {
            "overview": {
                "total_plates": counts["plates"],
                "total_locations": counts["locations"],
                "total_wells": counts["wells"],
                "occupied_locations": counts["placed"],
                "available_locations": counts["locations"] - counts["placed"],
            },
            "locations": {
                "carousel_locations": counts["carousel"],
                "special_locations": counts["special"],
                "occupancy_rate": round(share, 2),
            },
            "plates": {
                "plates_with_location": counts["placed"],
                "plates_without_location": counts["plates"] - counts["placed"],
                "recent_movements": counts["moved"],
            },
            "wells": {
                "wells_with_content": counts["filled"],
                "wells_without_content": counts["wells"] - counts["filled"],
                "average_wells_per_plate": round(mean, 2),
            },
        }

    def health(self) -> Answer:
        """Return whether the inventory answers; ``database`` says if it does not."""
        answer = {
            "status": "healthy",
            "timestamp": answers.stamp(self._clock.now()),
            "version": "1.0.0",
            "database": "connected",
        }
        try:
            counts = self._figures.counts()
        except Unavailable:
            return {**answer, "status": "unhealthy", "database": "disconnected", "services": {}}
        services = {key: counts[key] for key in ("plates", "locations", "wells")}
        return {**answer, "services": services}

    # -- prototypes -------------------------------------------------------------------------

    def prototypes(self) -> list[Answer]:
        """Return all plate prototypes."""
        return [answers.prototype(item) for item in self._prototypes.all()]

    def prototype(self, prototype_id: int) -> Answer:
        """Return a plate prototype with its wells."""
        record = self._prototypes.one(prototype_id)
        return answers.prototype_details(record, self._prototypes.wells(prototype_id))

    def save_prototype(self, prototype_id: int | None, given: Mapping[str, Any]) -> Answer:
        """Make a prototype, or change it; its wells one by one, or as a grid of a given pitch."""
        now = None if prototype_id is None else self._prototypes.one(prototype_id)
        draft = Draft(given, now)
        draft.text("name", required=True)
        draft.text("description", longest=None)
        places: list[dict[str, Any]] | None = None
        if given.get("wells"):
            places = _listed_places(draft, given["wells"])
        elif now is None or any(key in given for key in _GRID):
            grid = given
            if now is not None and any(given.get(key) in (None, "") for key in _GRID):
                # What the request does not say of the grid stays as it is.
                known = _grid_of(self._prototypes.wells(now["id"]))
                if known is None:
                    draft.refuse("wells", f"are no plain grid, give {', '.join(_GRID)}")
                said = {key: value for key, value in given.items() if value not in (None, "")}
                if known and isinstance(said.get("origin"), Mapping):
                    moved = dict(zip(answers.COORDINATES, _origin(said["origin"]), strict=True))
                    moved = {key: at for key, at in moved.items() if at not in (None, "")}
                    said["origin"] = {**known.get("origin", {}), **moved}
                grid = {**(known or {}), **said}
            places = _grid_places(draft, self._size(draft, grid), grid)
        keys = ("name", "description")
        values = draft.given if now is not None else {key: draft.values.get(key) for key in keys}
        return self.prototype(self._prototypes.save(prototype_id, values, places, draft.reasons))

    def delete_prototype(self, prototype_id: int) -> None:
        """Delete a prototype; plates made from it stay."""
        self._prototypes.one(prototype_id)
        self._prototypes.delete(prototype_id)

    # -- what a request means ---------------------------------------------------------------

    @staticmethod
    def _barcode(draft: Draft) -> str | None:
        barcode = draft.text("barcode")
        if barcode is None or not barcode.strip():
            return None
        if not is_barcode(barcode):
            draft.refuse("barcode", "is invalid")
        return barcode

    @staticmethod
    def _size(draft: Draft, given: Mapping[str, Any]) -> tuple[int, int, int]:
        sizes = []
        for key, (default, most) in _SIZES.items():
            inner = Draft({key: given.get(key, given.get(f"plate_{key}"))})
            number = inner.integer(key, least=1, most=most)
            draft.reasons.extend(inner.reasons)
            sizes.append(default if number is None else number)
        return sizes[0], sizes[1], sizes[2]

    def _prototype(self, given: Mapping[str, Any]) -> int | None:
        return id_of(given.get("plate_prototype_id"))

    @staticmethod
    def _wanted_location(given: Mapping[str, Any]) -> int | None:
        wanted = given.get("location_id")
        if wanted is None or wanted == "":
            return None
        found = id_of(wanted)
        if found is None:
            raise RecordNotFound("Location", "id", wanted)
        return found


def is_barcode(text: str) -> bool:
    """Whether a text can be part of a path, and of no path that means something else."""
    return "/" not in text and text not in _RESERVED


def moved_by_of(body: Mapping[str, Any]) -> str | None:
    """Return who moves a plate.

    Raises
    ------
    Unacceptable
        It is no text that can be kept; a history must not lose who it was.
    """
    draft = Draft(body)
    name = draft.text("moved_by")
    if draft.reasons:
        raise Unacceptable("move plate", draft.reasons)
    return name


def _listed_places(draft: Draft, wells: object) -> list[dict[str, Any]]:
    places = []
    for item in wells if isinstance(wells, list) else []:
        inner = Draft(item if isinstance(item, Mapping) else {})
        inner.integer("well_row", required=True, above=0, most=1000)
        inner.integer("well_column", required=True, above=0, most=1000)
        inner.values.setdefault("subwell", inner.integer("subwell", above=0, most=1000) or 1)
        for key in answers.COORDINATES:
            inner.number(key, places=4, below=1e6)
        inner.values["subwell"] = inner.values["subwell"] or 1
        draft.reasons.extend(inner.reasons)
        places.append(inner.values)
    keys = [(p.get("well_row"), p.get("well_column"), p.get("subwell")) for p in places]
    if len(keys) != len(set(keys)):
        draft.refuse("wells", "name a well twice")
    if not places:
        draft.refuse("wells", "can't be blank")
    return places


def _grid_places(
    draft: Draft, size: tuple[int, int, int], given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return a grid's wells; with a pitch (mm) each at its place from the origin (mm)."""
    origin = given.get("origin")
    inner = Draft(
        {
            "pitch_mm": given.get("pitch_mm"),
            **dict(zip(answers.COORDINATES, _origin(origin), strict=True)),
        }
    )
    pitch = inner.number("pitch_mm", above=0, below=1e3)
    x, y, z = (inner.number(key, places=4, below=1e6) or 0.0 for key in answers.COORDINATES)
    draft.reasons.extend(inner.reasons)
    return [
        {
            "well_row": row,
            "well_column": column,
            "subwell": subwell,
            "x_mm": None if pitch is None else round(x + pitch * (column - 1), 4),
            "y_mm": None if pitch is None else round(y + pitch * (row - 1), 4),
            "z_mm": None if pitch is None else z,
        }
        for row in range(1, size[0] + 1)
        for column in range(1, size[1] + 1)
        for subwell in range(1, size[2] + 1)
    ]


def _grid_of(wells: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the sizes, pitch (mm) and origin (mm) that make just these wells, None if none do."""
    columns = ("well_row", "well_column", "subwell")
    rows, across, subwells = (max(well[key] for well in wells) for key in columns)
    grid: dict[str, Any] = dict(zip(_SIZES, (rows, across, subwells), strict=True))
    first, last = wells[0], wells[-1]
    placed = all(well[key] is not None for well in (first, last) for key in answers.COORDINATES)
    if placed and max(rows, across) > 1:
        pitch = (
            (last["x_mm"] - first["x_mm"]) / (across - 1)
            if across > 1
            else (last["y_mm"] - first["y_mm"]) / (rows - 1)
        )
        grid["pitch_mm"] = round(pitch, 4)
        grid["origin"] = {key: first[key] for key in answers.COORDINATES}
    made = _grid_places(Draft({}), (rows, across, subwells), grid)
    there = [{key: well[key] for key in (*columns, *answers.COORDINATES)} for well in wells]
    return grid if made == there else None


def _origin(origin: object) -> list[Any]:
    if isinstance(origin, Mapping):
        return [origin.get(key, origin.get(key[0])) for key in answers.COORDINATES]
    if isinstance(origin, list):
        return [*origin, 0, 0, 0][:3]
    return [0, 0, 0]
