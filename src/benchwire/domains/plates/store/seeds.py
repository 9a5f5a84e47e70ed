"""Filling an inventory that is empty."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from benchwire.domains.plates.store.records import Records, is_taken, new_id
from benchwire.domains.plates.tables import prototype_wells, prototypes, units


class SeedStore(Records):
    """Units and plate types of a new inventory."""

    def plant(
        self,
        new_units: Sequence[tuple[str, str, float]],
        new_prototypes: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> None:
        """Add units and plate types, unless there are any already."""

        def work(connection: sa.Connection) -> None:
            if any(is_taken(connection, table, sa.true()) for table in (units, prototypes)):
                return
            for name, symbol, factor in new_units:
                row = {"name": name, "symbol": symbol, "conversion_to_base": factor}
                new_id(connection, units, self._stamped(row))
            for name, wells in new_prototypes.items():
                made = new_id(connection, prototypes, self._stamped({"name": name}))
                connection.execute(
                    prototype_wells.insert(), [{**well, "prototype_id": made} for well in wells]
                )

        self._write("fill the inventory", work)
