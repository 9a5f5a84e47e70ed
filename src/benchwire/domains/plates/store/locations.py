"""Places for plates: positions of a carousel of hotels, and special ones with a name."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from benchwire.domains.plates.errors import RecordNotFound, Refused
from benchwire.domains.plates.store.records import (
    Records,
    Row,
    is_taken,
    paged,
)
from benchwire.domains.plates.tables import locations, movements, plates, wells

HISTORY = 50
_HAS_POSITION = locations.c.carousel_position.isnot(None) & locations.c.hotel_position.isnot(None)
_HAS_NONE = locations.c.carousel_position.is_(None) & locations.c.hotel_position.is_(None)


class LocationStore(Records):
    """Locations, and who is there."""

    def all(
        self, condition: "sa.ColumnElement[bool] | None" = None, *, with_counts: bool = False
    ) -> list[Row]:
        """Return locations with the barcode of the plate there, carousel positions first."""
        query = _with_plates(with_counts).order_by(
            sa.func.coalesce(locations.c.name, "").collate(self._by_code_point),
            locations.c.carousel_position,
            locations.c.hotel_position,
            locations.c.id,
        )
        return self._read(query if condition is None else query.where(condition))

    @property
    def _by_code_point(self) -> str:
        return "BINARY" if self._database.is_sqlite else "C"

    def matching(self, name: str, carousel: int | None, hotel: int | None) -> list[Row]:
        """Return the locations that meet all filters; an empty or missing one counts as met."""
        conditions: list[sa.ColumnElement[bool]] = []
        if carousel is not None:
            conditions.append(locations.c.carousel_position == carousel)
        if hotel is not None:
            conditions.append(locations.c.hotel_position == hotel)
        found = self.all(sa.and_(*conditions)) if conditions else self.all()
        # Folded here, as databases disagree on the case of letters beyond ASCII.
        return [
            row for row in found if not name or name.casefold() in (row["name"] or "").casefold()
        ]

    def carousel(self, *, with_counts: bool = False) -> list[Row]:
        """Return the positions of the carousel in order."""
        rows = self.all(_HAS_POSITION, with_counts=with_counts)
        return sorted(rows, key=lambda row: (row["carousel_position"], row["hotel_position"]))

    def special(self) -> list[Row]:
        """Return the places without a position, by name."""
        return self.all(_HAS_NONE)

    def one(self, location_id: int) -> Row:
        """Return a location with the plate there and how many wells that has.

        Raises
        ------
        RecordNotFound
            There is none.
        """
        found = self._read(_with_plates(True).where(locations.c.id == location_id))
        if not found:
            raise RecordNotFound("Location", "id", location_id)
        return found[0]

    def at(self, carousel: int, hotel: int) -> int | None:
        """Return the id of a position of the carousel."""
        found = self._read(
            sa.select(locations.c.id).where(
                locations.c.carousel_position == carousel, locations.c.hotel_position == hotel
            )
        )
        return int(found[0]["id"]) if found else None

    def history(self, location_id: int, offset: int = 0, limit: int = HISTORY) -> list[Row]:
        """Return the arrivals at a place, newest first, those of deleted plates too."""
        count = (
            sa.select(sa.func.count())
            .where(wells.c.plate_id == plates.c.id)
            .correlate(plates)
            .scalar_subquery()
        )
        query = (
            sa.select(plates.c.barcode, count.label("wells_count"), movements)
            .select_from(movements.join(plates))
            .where(movements.c.location_id == location_id)
            # In the order in which they were made, also where the clock was set back between them.
            .order_by(movements.c.id.desc())
        )
        return self._read(paged(query, offset, limit))

    def save(
        self,
        location_id: int | None,
        values: Mapping[str, Any],
        reasons: Sequence[str],
        only: Collection[str] | None = None,
    ) -> int:
        """Make a location, or change one; return its id."""

        def check(connection: sa.Connection) -> Iterator[str]:
            carousel, hotel = values["carousel_position"], values["hotel_position"]
            here = (locations.c.carousel_position == carousel) & (
                locations.c.hotel_position == hotel
            )
            is_placed = carousel is not None and hotel is not None
            if is_placed and is_taken(connection, locations, here, location_id):
                yield "Carousel position has already been taken"
            key = values["special_key"]
            same = locations.c.special_key == key
            if key is not None and is_taken(connection, locations, same, location_id):
                yield "Name has already been taken"

        return self._save(
            "location",
            locations,
            location_id,
            values,
            reasons,
            lambda c: list(check(c)),
            only=only,
        )

    def delete(self, location_id: int) -> None:
        """Delete a location that is free; plates that were there keep their history."""

        def work(connection: sa.Connection) -> None:
            if is_taken(connection, plates, plates.c.current_location_id == location_id):
                raise Refused("Cannot delete location that currently contains plates")
            connection.execute(locations.delete().where(locations.c.id == location_id))

        self._write("delete location", work)

    def initialise(self, carousel: int, hotel: int) -> tuple[int, int]:
        """Make every position of a carousel that is missing; return how many, and how many were."""

        def work(connection: sa.Connection) -> tuple[int, int]:
            there = {
                (row.carousel_position, row.hotel_position)
                for row in connection.execute(sa.select(locations).where(_HAS_POSITION))
            }
            wanted = [(c, h) for c in range(1, carousel + 1) for h in range(1, hotel + 1)]
            rows = [
                self._stamped({"carousel_position": c, "hotel_position": h})
                for c, h in wanted
                if (c, h) not in there
            ]
            if rows:
                connection.execute(locations.insert(), rows)
            return len(rows), len(wanted) - len(rows)

        return self._write("create location", work)


def _with_plates(with_counts: bool) -> sa.Select[Any]:
    columns: list[Any] = [locations, plates.c.barcode]
    if with_counts:
        columns.append(
            sa.select(sa.func.count())
            .where(wells.c.plate_id == plates.c.id)
            .correlate(plates)
            .scalar_subquery()
            .label("wells_count")
        )
    return sa.select(*columns).select_from(
        locations.outerjoin(plates, plates.c.current_location_id == locations.c.id)
    )
