"""Wells of live plates, and what is in them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.domains.plates.labels import WellPlace
from benchwire.domains.plates.store.contents import set_contents
from benchwire.domains.plates.store.records import (
    Records,
    Row,
    first_row,
    is_taken,
    new_id,
    only_row,
    paged,
)
from benchwire.domains.plates.tables import (
    contents,
    images,
    plates,
    scores,
    solutions,
    units,
    wells,
)

_ORDER = (wells.c.plate_id, wells.c.well_row, wells.c.well_column, wells.c.subwell)


class WellStore(Records):
    """Wells, their contents and their scores."""

    def page(
        self, plate_id: int | None = None, offset: int = 0, limit: int | None = None
    ) -> list[Row]:
        """Return wells with their counts, in the order of plate, row, column, subwell."""
        chosen = _live(wells.c.id).order_by(*_ORDER)
        if plate_id is not None:
            chosen = chosen.where(wells.c.plate_id == plate_id)
        return self._read(_summaries(paged(chosen, offset, limit)))

    def after(self, place: tuple[int, int, int, int], limit: int) -> list[Row]:
        """Return the next wells of all plates, those after plate, row, column, subwell."""
        chosen = _live(wells.c.id).where(sa.tuple_(*_ORDER) > place)
        return self._read(_summaries(chosen.order_by(*_ORDER).limit(limit)))

    def count(self, plate_id: int | None = None) -> int:
        """Return how many wells there are."""
        query = _live(sa.func.count())
        if plate_id is not None:
            query = query.where(wells.c.plate_id == plate_id)
        return int(self._read(query)[0]["count"])

    def one(self, well_id: int, plate_id: int | None = None) -> Row:
        """Return a well of a live plate, of that one if it is named.

        Raises
        ------
        RecordNotFound
            There is none.
        """
        chosen = _live(wells.c.id).where(wells.c.id == well_id)
        if plate_id is not None:
            chosen = chosen.where(wells.c.plate_id == plate_id)
        found = self._read(_summaries(chosen))
        if not found:
            raise RecordNotFound("Well", "id", well_id)
        return found[0]

    def at(self, plate_id: int, place: WellPlace) -> int | None:
        """Return the id of a plate's well by its place."""
        found = self._read(
            sa.select(wells.c.id).where(
                wells.c.plate_id == plate_id,
                wells.c.well_row == place.row,
                wells.c.well_column == place.column,
                wells.c.subwell == place.subwell,
            )
        )
        return int(found[0]["id"]) if found else None

    def beside(self, well: Row) -> tuple[int | None, int | None]:
        """Return the wells before and after one in its plate."""
        here = (well["well_row"], well["well_column"], well["subwell"])
        place = sa.tuple_(*_ORDER[1:])
        same = sa.select(wells.c.id).where(wells.c.plate_id == well["plate_id"])
        before = self._read(
            same.where(place < here).order_by(*(column.desc() for column in _ORDER[1:])).limit(1)
        )
        after = self._read(same.where(place > here).order_by(*_ORDER[1:]).limit(1))
        return (
            int(before[0]["id"]) if before else None,
            int(after[0]["id"]) if after else None,
        )

    def create(self, values: Mapping[str, Any], reasons: Sequence[str]) -> int:
        """Make a well and return its id."""
        return self._save(
            "well", wells, None, values, reasons, lambda c: list(_wrong_well(c, values, None))
        )

    def update(
        self,
        well_id: int,
        values: Mapping[str, Any],
        reasons: Sequence[str],
        only: Collection[str],
    ) -> None:
        """Change a well; what belongs to it follows to another plate."""

        def check(connection: sa.Connection) -> list[str]:
            stored = first_row(connection, sa.select(wells).where(wells.c.id == well_id))
            if stored is None:
                raise RecordNotFound("Well", "id", well_id)
            wanted = {**stored, **{key: values[key] for key in only if key in values}}
            return list(_wrong_well(connection, wanted, well_id))

        def follow(connection: sa.Connection, _: int) -> None:
            plate_id = plate_of(connection, well_id)
            for table in (images, scores):
                connection.execute(
                    table.update().where(table.c.well_id == well_id).values(plate_id=plate_id)
                )

        self._save(
            "well",
            wells,
            well_id,
            values,
            reasons,
            check,
            only=only,
            then=follow,
        )

    def delete(self, well_id: int) -> list[str]:
        """Delete a well with all it holds; return the contents of files it was using."""

        def work(connection: sa.Connection) -> list[str]:
            query = sa.select(images.c.sha256).where(images.c.well_id == well_id).distinct()
            files = list(connection.scalars(query))
            connection.execute(wells.delete().where(wells.c.id == well_id))
            return files

        return self._write("delete well", work)

    # -- contents ---------------------------------------------------------------------------

    def contents(self, well_ids: Sequence[int]) -> list[Row]:
        """Return what is in some wells, by well and in the order it was added."""
        return self._read(
            _contents()
            .where(contents.c.well_id.in_(well_ids))
            .order_by(contents.c.well_id, contents.c.id)
        )

    def contents_of_plate(self, plate_id: int) -> list[Row]:
        """Return what is in all wells of a plate."""
        inside = sa.select(wells.c.id).where(wells.c.plate_id == plate_id)
        return self._read(
            _contents()
            .where(contents.c.well_id.in_(inside))
            .order_by(contents.c.well_id, contents.c.id)
        )

    def content(self, well_id: int, content_id: int) -> Row:
        """Return one content of a well."""
        found = self._read(
            _contents().where(contents.c.id == content_id, contents.c.well_id == well_id)
        )
        if not found:
            raise RecordNotFound("WellContent", "id", content_id)
        return found[0]

    def add_content(self, well_id: int, values: Mapping[str, Any], reasons: Sequence[str]) -> int:
        """Put a stock solution into a well and return the content's id."""
        row = {**values, "well_id": well_id}
        return self._save(
            "well content", contents, None, row, reasons,
            lambda c: list(_wrong_content(c, row, None)),
        )  # fmt: skip

    def add_content_to_many(
        self, well_ids: Sequence[int], values: Mapping[str, Any]
    ) -> tuple[list[int], list[tuple[int, str]]]:
        """Put a stock solution into many wells; return those it is in now, and why not the rest."""

        def work(connection: sa.Connection) -> tuple[list[int], list[tuple[int, str]]]:
            live = set(connection.scalars(_live(wells.c.id).where(wells.c.id.in_(well_ids))))
            full = set(
                connection.scalars(
                    sa.select(contents.c.well_id).where(
                        contents.c.well_id.in_(well_ids),
                        contents.c.stock_solution_id == values["stock_solution_id"],
                    )
                )
            )
            added = [item for item in dict.fromkeys(well_ids) if item in live - full]
            failed = [
                (item, "Stock solution is in this well already" if item in full else
                 "Record not found")
                for item in dict.fromkeys(well_ids)
                if item not in live - full
            ]  # fmt: skip
            if added:
                connection.execute(
                    contents.insert(),
                    [self._stamped({**values, "well_id": item}) for item in added],
                )
            return added, failed

        return self._write("create well content", work)

    def put_contents(self, rows: Sequence[tuple[int, int, float, int]]) -> tuple[int, int]:
        """Set volumes by well, solution, volume, unit; return how many are new and how many not."""
        return self._write(
            "create well content", lambda connection: set_contents(connection, rows, self._stamped)
        )

    def update_content(
        self,
        well_id: int,
        content_id: int,
        values: Mapping[str, Any],
        reasons: Sequence[str],
        only: Collection[str],
    ) -> None:
        """Change a content."""
        row = {**values, "well_id": well_id}
        self._save(
            "well content",
            contents,
            content_id,
            row,
            reasons,
            lambda c: list(_wrong_content(c, row, content_id)),
            only=only,
        )

    def remove_contents(self, well_id: int, content_id: int | None = None) -> int:
        """Remove one content of a well or all; return how many were removed."""
        condition = contents.c.well_id == well_id
        if content_id is not None:
            condition &= contents.c.id == content_id
        return self._write(
            "delete well content",
            lambda connection: connection.execute(contents.delete().where(condition)).rowcount,
        )

    # -- scores -----------------------------------------------------------------------------

    def scores(self, well_id: int) -> list[Row]:
        """Return a well's scores, newest first."""
        return self._read(
            sa.select(scores).where(scores.c.well_id == well_id).order_by(scores.c.id.desc())
        )

    def newest_scores(self, plate_id: int) -> dict[int, int]:
        """Return the newest score of each well of a plate that has any."""
        rows = self._read(
            sa.select(scores.c.well_id, scores.c.score)
            .where(scores.c.plate_id == plate_id)
            .order_by(scores.c.id)
        )
        return {int(row["well_id"]): int(row["score"]) for row in rows}

    def add_score(self, well_id: int, values: Mapping[str, Any]) -> Row:
        """Note a score and return it; earlier ones stay."""

        def work(connection: sa.Connection) -> Row:
            row = {
                **values,
                "well_id": well_id,
                "plate_id": plate_of(connection, well_id),
                "scored_at": self._clock.now(),
            }
            made = new_id(connection, scores, row)
            return only_row(connection, sa.select(scores).where(scores.c.id == made))

        return self._write("create score", work)

    def newest_images(self, plate_id: int) -> dict[int, Row]:
        """Return the newest image of each well of a plate that has any."""
        rows = self._read(
            sa.select(images.c.id, images.c.well_id, images.c.sha256)
            .where(images.c.plate_id == plate_id)
            .order_by(images.c.captured_at, images.c.created_at, images.c.id)
        )
        return {int(row["well_id"]): row for row in rows}


def plate_of(connection: sa.Connection, well_id: int) -> int:
    """Return the plate a well is on now, and keep it there until the transaction is over.

    Raises
    ------
    RecordNotFound
        There is no such well.
    """
    query = sa.select(wells.c.plate_id).where(wells.c.id == well_id)
    # Another server on the same database may be moving it.
    found = connection.scalar(query.with_for_update(read=True))
    if found is None:
        raise RecordNotFound("Well", "id", well_id)
    return int(found)


def _live(column: "sa.ColumnElement[Any]") -> sa.Select[Any]:
    """Return a query of something of the wells of live plates."""
    return sa.select(column).select_from(wells.join(plates)).where(plates.c.deleted_at.is_(None))


def _wrong_well(
    connection: sa.Connection, values: Mapping[str, Any], own_id: int | None
) -> Iterator[str]:
    plate_id = values.get("plate_id")
    live = (plates.c.id == plate_id) & plates.c.deleted_at.is_(None)
    if plate_id is not None and not is_taken(connection, plates, live):
        yield "Plate must exist"
    keys = ("plate_id", "well_row", "well_column", "subwell")
    if all(values.get(key) is not None for key in keys):
        same = sa.and_(*(wells.c[key] == values[key] for key in keys))
        if is_taken(connection, wells, same, own_id):
            yield "Subwell has already been taken"


def _wrong_content(
    connection: sa.Connection, values: Mapping[str, Any], own_id: int | None
) -> Iterator[str]:
    for key, table, word in (
        ("stock_solution_id", solutions, "Stock solution"),
        ("unit_id", units, "Unit"),
    ):
        value = values.get(key)
        if value is not None and not is_taken(connection, table, table.c.id == value):
            yield f"{word} must exist"
    same = (contents.c.well_id == values["well_id"]) & (
        contents.c.stock_solution_id == values.get("stock_solution_id")
    )
    if is_taken(connection, contents, same, own_id):
        yield "Stock solution is in this well already"


def _summaries(chosen: sa.Select[Any]) -> sa.Select[Any]:
    page = chosen.cte("page")
    ids = sa.select(page.c.id)

    def counted(table: sa.Table, name: str) -> Any:
        return (
            sa.select(table.c.well_id, sa.func.count().label(name))
            .where(table.c.well_id.in_(ids))
            .group_by(table.c.well_id)
            .subquery()
        )

    filled, imaged = counted(contents, "contents_count"), counted(images, "images_count")
    return (
        sa.select(
            wells,
            plates.c.barcode.label("plate_barcode"),
            sa.func.coalesce(filled.c.contents_count, 0).label("contents_count"),
            sa.func.coalesce(imaged.c.images_count, 0).label("images_count"),
        )
        .select_from(
            page.join(wells, wells.c.id == page.c.id)
            .join(plates, plates.c.id == wells.c.plate_id)
            .outerjoin(filled, filled.c.well_id == wells.c.id)
            .outerjoin(imaged, imaged.c.well_id == wells.c.id)
        )
        .order_by(*_ORDER)
    )


def _contents() -> sa.Select[Any]:
    return sa.select(
        contents,
        solutions.c.name.label("solution_name"),
        units.c.name.label("unit_name"),
        units.c.symbol.label("unit_symbol"),
    ).select_from(contents.join(solutions).join(units))
