"""Setting many volumes at once, whoever asks for it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from benchwire.domains.plates.tables import contents

Stamped = Callable[..., Mapping[str, Any]]


def set_contents(
    connection: sa.Connection, rows: Iterable[tuple[int, int, float, int]], stamped: Stamped
) -> tuple[int, int]:
    """Set volumes by well, solution, volume and unit; return how many are new, how many changed."""
    added = changed = 0
    for well_id, solution_id, volume, unit_id in rows:
        amount = {"volume": volume, "unit_id": unit_id}
        there = (contents.c.well_id == well_id) & (contents.c.stock_solution_id == solution_id)
        done = connection.execute(
            contents.update().where(there).values(**stamped(amount, is_new=False))
        )
        if done.rowcount:
            changed += 1
            continue
        row = {**amount, "well_id": well_id, "stock_solution_id": solution_id}
        connection.execute(contents.insert().values(**stamped(row)))
        added += 1
    return added, changed
