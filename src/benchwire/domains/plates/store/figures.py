"""Figures of the whole inventory."""

from datetime import timedelta

import sqlalchemy as sa

from benchwire.domains.plates.store.records import Records
from benchwire.domains.plates.tables import contents, locations, movements, plates, wells


class FigureStore(Records):
    """Counts over all live plates."""

    def counts(self) -> dict[str, int]:
        """Return plates, locations, wells and movements of the last day as counts."""
        live = plates.c.deleted_at.is_(None)
        placed = plates.c.current_location_id.isnot(None)
        positioned = locations.c.carousel_position.isnot(None) & locations.c.hotel_position.isnot(
            None
        )
        unplaced = locations.c.carousel_position.is_(None) & locations.c.hotel_position.is_(None)
        since = self._clock.now() - timedelta(days=1)

        def of(table: sa.FromClause, *conditions: sa.ColumnElement[bool]) -> "sa.ScalarSelect[int]":
            query = sa.select(sa.func.count()).select_from(table).where(*conditions)
            return query.scalar_subquery()

        filled = sa.select(contents.c.well_id).distinct().subquery()
        of_live = wells.join(plates)
        counted: list[sa.Label[int]] = [
            of(plates, live).label("plates"),
            of(plates, live, placed).label("placed"),
            of(locations).label("locations"),
            of(locations, positioned).label("carousel"),
            of(locations, unplaced).label("special"),
            of(of_live, live).label("wells"),
            of(of_live.join(filled, filled.c.well_id == wells.c.id), live).label("filled"),
            of(movements, movements.c.moved_at >= since).label("moved"),
        ]
        row = self._read(sa.select(*counted))[0]
        return {key: int(row[key]) for key in row}
