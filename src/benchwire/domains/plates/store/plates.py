"""Plates, where they are and were."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa

from benchwire.domains.plates.errors import RecordNotFound, Refused, Unacceptable
from benchwire.domains.plates.labels import location_label
from benchwire.domains.plates.store.contents import set_contents
from benchwire.domains.plates.store.records import (
    Records,
    Row,
    contains,
    first_row,
    is_taken,
    new_id,
    only_row,
    paged,
)
from benchwire.domains.plates.tables import (
    images,
    locations,
    movements,
    plates,
    points,
    prototype_wells,
    scores,
    wells,
)
from benchwire.domains.plates.values import is_storable
from benchwire.foundation.clock import Clock
from benchwire.foundation.db import Database
from benchwire.foundation.samples.store import Samples

HISTORY = 50
_BARCODES = range(60_000_000, 70_000_000)
_ORDERS = {
    "id": plates.c.id,
    "barcode": plates.c.barcode,
    "created_at": plates.c.created_at,
    "name": plates.c.name,
}
# What a plate without wells is said to measure.
_NO_WELLS = {"rows": 8, "columns": 12, "subwells_per_well": 1}


class PlateStore(Records):
    """Plates and their movements.

    What was measured on a plate is linked to its barcode, also while it is hidden. Before another
    plate gets that barcode, the links are given a name of the former plate alone.
    """

    def __init__(self, database: Database, clock: Clock, samples: Samples) -> None:
        super().__init__(database, clock)
        self._samples = samples

    # -- reading ----------------------------------------------------------------------------

    def page(
        self,
        *,
        assigned: bool | None = None,
        is_deleted: bool = False,
        search: str = "",
        sort: str = "id",
        descending: bool = False,
        offset: int = 0,
        limit: int | None = None,
        after: int = 0,
    ) -> list[Row]:
        """Return plates with their counts, in one query whatever their number."""
        order = _ORDERS[sort]
        query = (
            sa.select(plates.c.id)
            .where(_conditions(assigned, is_deleted, search), plates.c.id > after)
            .order_by(order.desc() if descending else order, plates.c.id)
        )
        return self._read(_summaries(paged(query, offset, limit), order, descending))

    def count(
        self, *, assigned: bool | None = None, is_deleted: bool = False, search: str = ""
    ) -> int:
        """Return how many plates there are."""
        query = sa.select(sa.func.count()).where(_conditions(assigned, is_deleted, search))
        return int(self._read(query.select_from(plates))[0]["count"])

    def one(self, barcode: str) -> Row:
        """Return a live plate with its counts.

        Raises
        ------
        RecordNotFound
            There is none.
        """
        query = sa.select(plates.c.id).where(
            plates.c.barcode == barcode, plates.c.deleted_at.is_(None)
        )
        found = self._read(_summaries(query, plates.c.id, False)) if is_storable(barcode) else []
        if not found:
            raise RecordNotFound("Plate", "barcode", barcode)
        return found[0]

    def find(self, barcode: str) -> int | None:
        """Return the id of a live plate."""
        query = sa.select(plates.c.id).where(
            plates.c.barcode == barcode, plates.c.deleted_at.is_(None)
        )
        found = self._read(query) if is_storable(barcode) else []
        return int(found[0]["id"]) if found else None

    def history(self, plate_id: int, offset: int = 0, limit: int = HISTORY) -> list[Row]:
        """Return a plate's movements, newest first; no location means it was taken away."""
        query = (
            sa.select(movements, *_location_columns())
            .select_from(movements.outerjoin(locations))
            .where(movements.c.plate_id == plate_id)
            # In the order in which they were made, also where the clock was set back between them.
            .order_by(movements.c.id.desc())
        )
        return self._read(paged(query, offset, limit))

    # -- changing ---------------------------------------------------------------------------

    def create(
        self,
        barcode: str | None,
        name: str | None,
        reasons: Sequence[str],
        *,
        prototype_id: int | None,
        size: tuple[int, int, int],
        location_id: int | None,
        moved_by: str | None,
    ) -> tuple[Row, list[Row]]:
        """Make a plate, with a free barcode if none is given; return it and all its wells."""

        def work(connection: sa.Connection) -> tuple[Row, list[Row]]:
            chosen = barcode if barcode else _free_barcode(connection)
            told = list(reasons)
            if _live(connection, chosen) is not None:
                told.append("Barcode has already been taken")
            if told:
                raise Unacceptable("create plate", told)
            self._free_links(connection, chosen)
            places = _places_of(connection, prototype_id) if prototype_id is not None else None
            plate_id = new_id(
                connection,
                plates,
                self._stamped(
                    {
                        **_named(chosen, name),
                        "prototype_id": prototype_id if places else None,
                    }
                ),
            )
            rows = [
                self._stamped({"plate_id": plate_id, **place})
                for place in places or _grid_of(*size)
            ]
            connection.execute(wells.insert(), rows)
            if location_id is not None:
                self._place(connection, plate_id, location_id, moved_by)
            return _whole(connection, plate_id)

        return self._write("create plate", work)

    def load(
        self,
        made: Sequence[Mapping[str, Any]],
        others: Sequence[tuple[int, int, float, int]],
    ) -> None:
        """Make plates with wells and contents, and set contents of wells that are there."""

        def work(connection: sa.Connection) -> None:
            for plate in made:
                self._load_one(connection, plate)
            set_contents(connection, others, self._stamped)

        self._write("import plates", work)

    def _load_one(self, connection: sa.Connection, plate: Mapping[str, Any]) -> None:
        if _live(connection, plate["barcode"]) is not None:
            raise Unacceptable("import plates", ["Barcode has already been taken"])
        self._free_links(connection, plate["barcode"])
        values = _named(plate["barcode"], plate["name"])
        plate_id = new_id(connection, plates, self._stamped(values))
        places = plate["wells"] or {
            (item["well_row"], item["well_column"], item["subwell"]): {}
            for item in _grid_of(8, 12, 1)
        }
        ids = {}
        for place, coordinates in sorted(places.items()):
            row = {
                "plate_id": plate_id,
                "well_row": place[0],
                "well_column": place[1],
                "subwell": place[2],
                **coordinates,
            }
            ids[place] = new_id(connection, wells, self._stamped(row))
        rows = [(ids[place], *rest) for place, *rest in plate["contents"]]
        set_contents(connection, rows, self._stamped)
        if plate["location_id"] is not None:
            self._place(connection, plate_id, plate["location_id"], "import")

    def update(self, barcode: str, values: dict[str, Any], reasons: Sequence[str]) -> str:
        """Change barcode or name and return the barcode it now has; its links follow."""

        def work(connection: sa.Connection) -> str:
            plate = _existing(connection, barcode)
            told = list(reasons)
            wanted = values.get("barcode", barcode)
            live = plates.c.deleted_at.is_(None) & (plates.c.barcode == wanted)
            if is_taken(connection, plates, live, plate["id"]):
                told.append("Barcode has already been taken")
            if told:
                raise Unacceptable("update plate", told)
            if wanted != barcode:
                self._free_links(connection, wanted)
                self._samples.rename_plate(connection, barcode, wanted)
            connection.execute(
                plates.update()
                .where(plates.c.id == plate["id"])
                .values(
                    **self._stamped(_named(wanted, values.get("name", plate["name"])), is_new=False)
                )
            )
            return str(wanted)

        return self._write("update plate", work)

    def move(self, barcode: str, location_id: int | None, moved_by: str | None) -> Row | None:
        """Put a plate to a place, or to none; return the place.

        Raises
        ------
        RecordNotFound
            Plate or place are not there.
        Refused
            Another plate is there; nothing has changed.
        """

        def work(connection: sa.Connection) -> Row | None:
            plate = _existing(connection, barcode)
            return self._place(connection, plate["id"], location_id, moved_by)

        return self._write("move plate", work)

    def clear(self, location_id: int) -> list[str]:
        """Take away whatever plate is at a place and return its barcode."""

        def work(connection: sa.Connection) -> list[str]:
            found = connection.execute(
                sa.select(plates).where(plates.c.current_location_id == location_id)
            ).mappings()
            taken = list(found)
            for plate in taken:
                self._place(connection, plate["id"], None, None)
            return [str(plate["barcode"]) for plate in taken]

        return self._write("move plate", work)

    def delete(self, barcode: str) -> None:
        """Hide a plate and free its place and barcode; `restore` undoes it."""

        def work(connection: sa.Connection) -> None:
            plate = _existing(connection, barcode)
            if plate["current_location_id"] is not None:
                self._place(connection, plate["id"], None, None)
            connection.execute(
                plates.update()
                .where(plates.c.id == plate["id"])
                .values(**self._stamped({"deleted_at": self._clock.now()}, is_new=False))
            )

        self._write("delete plate", work)

    def restore(self, barcode: str) -> None:
        """Bring back the plate of a barcode that was deleted last, with its history, unassigned."""

        def work(connection: sa.Connection) -> None:
            found = _deleted(connection, barcode)
            if _live(connection, barcode) is not None:
                raise Unacceptable("restore plate", ["Barcode has already been taken"])
            self._samples.rename_plate(connection, _former_name(found), barcode)
            connection.execute(
                plates.update()
                .where(plates.c.id == found["id"])
                .values(**self._stamped({"deleted_at": None}, is_new=False))
            )

        self._write("restore plate", work)

    def purge(self, barcode: str) -> list[str]:
        """Delete a plate for good, live or hidden; return the contents of files it was using."""

        def work(connection: sa.Connection) -> list[str]:
            plate = _live(connection, barcode) or _deleted(connection, barcode)
            files = connection.scalars(
                sa.select(images.c.sha256).where(images.c.plate_id == plate["id"]).distinct()
            ).all()
            connection.execute(plates.delete().where(plates.c.id == plate["id"]))
            self._samples.rename_plate(connection, barcode, _former_name(plate))
            return list(files)

        return self._write("delete plate", work)

    def _free_links(self, connection: sa.Connection, barcode: str) -> None:
        """Give the links of the hidden plate that had a barcode last its own name."""
        former = _last_deleted(connection, barcode)
        if former is not None:
            self._samples.rename_plate(connection, barcode, _former_name(former))

    def _place(
        self,
        connection: sa.Connection,
        plate_id: int,
        location_id: int | None,
        moved_by: str | None,
    ) -> Row | None:
        location: Row | None = None
        if location_id is not None:
            location = first_row(
                connection, sa.select(locations).where(locations.c.id == location_id)
            )
            if location is None:
                raise RecordNotFound("Location", "id", location_id)
            there = connection.scalar(
                sa.select(plates.c.barcode).where(
                    plates.c.current_location_id == location_id, plates.c.id != plate_id
                )
            )
            if there is not None:
                label = location_label(
                    location_id,
                    location["carousel_position"],
                    location["hotel_position"],
                    location["name"],
                )
                reason = f"Location {label} is already occupied by plate {there}"
                raise Refused(f"Validation failed: {reason}", details=[{"message": reason}])
        now = self._clock.now()
        connection.execute(
            plates.update()
            .where(plates.c.id == plate_id)
            .values(current_location_id=location_id, updated_at=now)
        )
        connection.execute(
            movements.insert().values(
                plate_id=plate_id, location_id=location_id, moved_at=now, moved_by=moved_by
            )
        )
        return location


# -- queries -----------------------------------------------------------------------------------


def _conditions(assigned: bool | None, is_deleted: bool, search: str) -> sa.ColumnElement[bool]:
    found: list[sa.ColumnElement[bool]] = [
        plates.c.deleted_at.isnot(None) if is_deleted else plates.c.deleted_at.is_(None)
    ]
    if assigned is not None:
        here = plates.c.current_location_id
        found.append(here.isnot(None) if assigned else here.is_(None))
    if search:
        found.append(contains(plates.c.search_key, search))
    return sa.and_(*found)


def _location_columns() -> list[sa.ColumnElement[Any]]:
    return [
        locations.c.carousel_position,
        locations.c.hotel_position,
        locations.c.name.label("location_name"),
    ]


def _summaries(
    chosen: sa.Select[Any], order: sa.ColumnElement[Any], descending: bool
) -> sa.Select[Any]:
    """Return plates with location, size and counts, in one query.

    The counts are taken for the chosen plates alone, each from one index.
    """
    page = chosen.cte("page")
    ids = sa.select(page.c.id)
    size = (
        sa.select(
            wells.c.plate_id,
            sa.func.count().label("wells_count"),
            sa.func.max(wells.c.well_row).label("rows"),
            sa.func.max(wells.c.well_column).label("columns"),
            sa.func.max(wells.c.subwell).label("subwells_per_well"),
        )
        .where(wells.c.plate_id.in_(ids))
        .group_by(wells.c.plate_id)
        .subquery()
    )
    marked = (
        sa.select(images.c.plate_id, sa.func.count().label("points_count"))
        .select_from(images.join(points))
        .where(images.c.plate_id.in_(ids))
        .group_by(images.c.plate_id)
        .subquery()
    )
    later = scores.alias()
    best = (
        sa.select(scores.c.plate_id, sa.func.max(scores.c.score).label("best_score"))
        .where(
            scores.c.plate_id.in_(ids),
            ~sa.exists().where(later.c.well_id == scores.c.well_id, later.c.id > scores.c.id),
        )
        .group_by(scores.c.plate_id)
        .subquery()
    )
    return (
        sa.select(
            plates,
            *_location_columns(),
            sa.func.coalesce(size.c.wells_count, 0).label("wells_count"),
            *(sa.func.coalesce(size.c[key], least).label(key) for key, least in _NO_WELLS.items()),
            sa.func.coalesce(marked.c.points_count, 0).label("points_count"),
            best.c.best_score,
        )
        .select_from(
            page.join(plates, plates.c.id == page.c.id)
            .outerjoin(locations, locations.c.id == plates.c.current_location_id)
            .outerjoin(size, size.c.plate_id == plates.c.id)
            .outerjoin(marked, marked.c.plate_id == plates.c.id)
            .outerjoin(best, best.c.plate_id == plates.c.id)
        )
        .order_by(order.desc() if descending else order, plates.c.id)
    )


def _live(connection: sa.Connection, barcode: str) -> Row | None:
    query = sa.select(plates).where(plates.c.barcode == barcode, plates.c.deleted_at.is_(None))
    return first_row(connection, query)


def _whole(connection: sa.Connection, plate_id: int) -> tuple[Row, list[Row]]:
    """Return a plate with its counts, and its wells in order."""
    chosen = sa.select(plates.c.id).where(plates.c.id == plate_id)
    inside = (
        sa.select(wells)
        .where(wells.c.plate_id == plate_id)
        .order_by(wells.c.well_row, wells.c.well_column, wells.c.subwell)
    )
    return (
        only_row(connection, _summaries(chosen, plates.c.id, False)),
        cast("list[Row]", connection.execute(inside).mappings().all()),
    )


def _existing(connection: sa.Connection, barcode: str) -> Row:
    found = _live(connection, barcode)
    if found is None:
        raise RecordNotFound("Plate", "barcode", barcode)
    return found


def _last_deleted(connection: sa.Connection, barcode: str) -> Row | None:
    return first_row(
        connection,
        sa.select(plates)
        .where(plates.c.barcode == barcode, plates.c.deleted_at.isnot(None))
        .order_by(plates.c.deleted_at.desc(), plates.c.id.desc()),
    )


def _deleted(connection: sa.Connection, barcode: str) -> Row:
    found = _last_deleted(connection, barcode)
    if found is None:
        raise RecordNotFound("Plate", "barcode", barcode)
    return found


def _former_name(plate: Row) -> str:
    """Return what links call a plate whose barcode is free for others; ids are given once."""
    return f"{plate['barcode']} (former plate {plate['id']})"


def _free_barcode(connection: sa.Connection) -> str:
    draw: Callable[[], str] = lambda: str(random.choice(_BARCODES))  # noqa: S311, E731 - no secret
    chosen = draw()
    while is_taken(connection, plates, plates.c.barcode == chosen):
        chosen = draw()
    return chosen


def _named(barcode: str, name: str | None) -> dict[str, Any]:
    """Return a plate's names, and what they are found by."""
    return {"barcode": barcode, "name": name, "search_key": f"{barcode}\n{name or ''}".casefold()}


def _places_of(connection: sa.Connection, prototype_id: int) -> list[dict[str, Any]]:
    columns = [
        prototype_wells.c[key]
        for key in ("well_row", "well_column", "subwell", "x_mm", "y_mm", "z_mm")
    ]
    query = (
        sa.select(*columns)
        .where(prototype_wells.c.prototype_id == prototype_id)
        .order_by(*columns[:3])
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _grid_of(rows: int, columns: int, subwells: int) -> list[dict[str, Any]]:
    return [
        {"well_row": row, "well_column": column, "subwell": subwell}
        for row in range(1, rows + 1)
        for column in range(1, columns + 1)
        for subwell in range(1, subwells + 1)
    ]
