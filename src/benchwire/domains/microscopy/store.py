"""What the microscopy keeps in the database: which files were opened lately."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from benchwire.domains.microscopy.tables import opened_files
from benchwire.foundation.clock import Clock, microseconds, moment
from benchwire.foundation.db import Database

KEPT = 500


class OpenedFiles:
    """The files that were opened last, each once."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def note(self, path: Path) -> None:
        """Remember that a file was opened now; the oldest beyond `KEPT` are forgotten."""
        values = {"path": str(path), "opened_at": microseconds(self._clock.now())}
        at = opened_files.c.opened_at

        def work(connection: sa.Connection) -> None:
            connection.execute(opened_files.delete().where(opened_files.c.path == values["path"]))
            connection.execute(opened_files.insert().values(**values))
            last_kept = connection.scalar(
                sa.select(at).order_by(at.desc()).offset(KEPT - 1).limit(1)
            )
            if last_kept is not None:
                connection.execute(opened_files.delete().where(at < last_kept))

        self._database.write(work)

    def newest(self) -> Iterator[tuple[Path, datetime]]:
        """Yield all that are remembered and when each was opened, newest first."""
        query = opened_files.select().order_by(opened_files.c.opened_at.desc())
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            yield Path(row.path), moment(row.opened_at)
