"""Plate types: which wells a new plate gets, and where they are on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from benchwire.domains.plates.errors import RecordNotFound
from benchwire.domains.plates.store.records import Records, Row, is_taken
from benchwire.domains.plates.tables import prototype_wells, prototypes


class PrototypeStore(Records):
    """Plate prototypes and their wells."""

    def all(self) -> list[Row]:
        """Return all prototypes by name, with how many wells they have."""
        count = (
            sa.select(sa.func.count())
            .where(prototype_wells.c.prototype_id == prototypes.c.id)
            .correlate(prototypes)
            .scalar_subquery()
        )
        return self._read(
            sa.select(prototypes, count.label("wells_count")).order_by(prototypes.c.name)
        )

    def one(self, prototype_id: int) -> Row:
        """Return a prototype.

        Raises
        ------
        RecordNotFound
            There is none.
        """
        found = next((row for row in self.all() if row["id"] == prototype_id), None)
        if found is None:
            raise RecordNotFound("PlatePrototype", "id", prototype_id)
        return found

    def wells(self, prototype_id: int) -> list[Row]:
        """Return a prototype's wells in order."""
        columns = prototype_wells.c
        return self._read(
            sa.select(prototype_wells)
            .where(columns.prototype_id == prototype_id)
            .order_by(columns.well_row, columns.well_column, columns.subwell)
        )

    def save(
        self,
        prototype_id: int | None,
        values: Mapping[str, Any],
        places: Sequence[Mapping[str, Any]] | None,
        reasons: Sequence[str],
    ) -> int:
        """Make a prototype, or change it; its wells too where they are given."""
        name = values.get("name")

        def check(connection: sa.Connection) -> list[str]:
            same = prototypes.c.name == name
            is_known = name is not None and is_taken(connection, prototypes, same, prototype_id)
            return ["Name has already been taken"] if is_known else []

        def lay_out(connection: sa.Connection, saved: int) -> None:
            if places is None:
                return
            connection.execute(
                prototype_wells.delete().where(prototype_wells.c.prototype_id == saved)
            )
            connection.execute(
                prototype_wells.insert(), [{**place, "prototype_id": saved} for place in places]
            )

        return self._save(
            "plate prototype", prototypes, prototype_id, values, reasons, check, then=lay_out
        )

    def delete(self, prototype_id: int) -> None:
        """Delete a prototype; plates made from it keep their wells."""
        self._write(
            "delete plate prototype",
            lambda connection: connection.execute(
                prototypes.delete().where(prototypes.c.id == prototype_id)
            ),
        )
