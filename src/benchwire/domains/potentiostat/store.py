"""Every query of the potentiostat."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from benchwire.domains.potentiostat.tables import runs, slots
from benchwire.foundation.db import Database

UNFINISHED = ("queued", "running")
FINISHED = ("done", "failed", "cancelled")
_IDS_AT_ONCE = 400


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """One slot's part of a run.

    ``mode_number`` counts the run's modes from 0, ``files`` are paths below the run folder.
    """

    slot: str
    status: str = "queued"
    serial_number: str | None = None
    mode_number: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    message: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run: what was asked for, where its files are, how far it came.

    ``label`` ends the names of its notes where it shares its folder with an earlier run.
    """

    run_id: str
    request: Mapping[str, Any]
    folder: str
    status: str
    started_at: datetime
    slots: tuple[SlotRecord, ...]
    ended_at: datetime | None = None
    files_gone: bool = False
    label: str = ""


class RunStore:
    """Runs and their slots, kept for ever; only their files may go."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, connection: sa.Connection, run: RunRecord) -> None:
        """Add a run inside a transaction of the caller."""
        connection.execute(runs.insert().values(**_run_columns(run)))
        connection.execute(
            slots.insert(), [_slot_columns(run.run_id, record) for record in run.slots]
        )

    def add(self, run: RunRecord) -> None:
        """Add a run."""
        self._database.write(lambda connection: self.insert(connection, run))

    def save_slot_later(self, run_id: str, record: SlotRecord) -> Future[None]:
        """Queue a slot's present state for storing."""
        values = _slot_columns(run_id, record)

        def update(connection: sa.Connection) -> None:
            connection.execute(
                slots.update()
                .where(slots.c.run_id == run_id, slots.c.slot == record.slot)
                .values(**values)
            )

        return self._database.write_later(update)

    def end_run(self, run: RunRecord) -> None:
        """Store a run's end and that of all its slots in one transaction."""

        def work(connection: sa.Connection) -> None:
            connection.execute(
                runs.update().where(runs.c.run_id == run.run_id).values(**_run_columns(run))
            )
            for record in run.slots:
                connection.execute(
                    slots.update()
                    .where(slots.c.run_id == run.run_id, slots.c.slot == record.slot)
                    .values(**_slot_columns(run.run_id, record))
                )

        self._database.write(work)

    def save_run(self, run_id: str, **values: Any) -> None:
        """Store changed columns of a run."""
        self._database.write(
            lambda connection: connection.execute(
                runs.update().where(runs.c.run_id == run_id).values(**values)
            )
        )

    def exists(self, run_id: str) -> bool:
        """Whether a run of that id is known, running or finished."""
        with self._database.read() as connection:
            query = sa.select(sa.literal(1)).where(runs.c.run_id == run_id)
            return connection.execute(query).first() is not None

    def get_many(self, run_ids: Iterable[str]) -> dict[str, RunRecord]:
        """Return the known ones of many runs by id, in two queries per few hundred."""
        wanted = list(dict.fromkeys(run_ids))
        found: dict[str, RunRecord] = {}
        with self._database.read() as connection:
            for start in range(0, len(wanted), _IDS_AT_ONCE):
                portion = wanted[start : start + _IDS_AT_ONCE]
                rows = connection.execute(runs.select().where(runs.c.run_id.in_(portion))).all()
                found |= {run.run_id: run for run in self._with_slots(connection, rows)}
        return found

    def newest(
        self, *, statuses: Sequence[str] | None = None, limit: int | None = None
    ) -> list[RunRecord]:
        """Return runs, newest first, those in some states or all."""
        query = runs.select().order_by(runs.c.started_at.desc(), runs.c.run_id.desc())
        if statuses is not None:
            query = query.where(runs.c.status.in_(statuses))
        if limit is not None:
            query = query.limit(limit)
        with self._database.read() as connection:
            return self._with_slots(connection, connection.execute(query).all())

    def find(self, text: str, limit: int) -> list[RunRecord]:
        """Return the newest runs whose id, request, slots or instruments a text occurs in."""
        on_slots = sa.select(slots.c.run_id).where(
            sa.or_(
                slots.c.slot.icontains(text, autoescape=True),
                slots.c.serial_number.icontains(text, autoescape=True),
            )
        )
        query = (
            runs.select()
            .where(
                sa.or_(
                    runs.c.run_id.icontains(text, autoescape=True),
                    *(
                        runs.c.request[name].as_string().icontains(text, autoescape=True)
                        for name in ("experiment_name", "subdir", "group_id", "modes")
                    ),
                    runs.c.run_id.in_(on_slots),
                )
            )
            .order_by(runs.c.started_at.desc(), runs.c.run_id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return self._with_slots(connection, connection.execute(query).all())

    def slots_in(self, folder: str) -> set[str]:
        """Return the slots of all runs that have, or had, their files in a folder."""
        query = sa.select(slots.c.slot).join(runs, runs.c.run_id == slots.c.run_id)
        with self._database.read() as connection:
            return set(connection.scalars(query.where(runs.c.folder == folder)))

    def known(self) -> set[str]:
        """Return the ids of the runs whose files are here."""
        with self._database.read() as connection:
            return set(connection.scalars(sa.select(runs.c.run_id).where(~runs.c.files_gone)))

    @staticmethod
    def _with_slots(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[RunRecord]:
        by_run: dict[str, list[SlotRecord]] = {row.run_id: [] for row in rows}
        ids = list(by_run)
        for start in range(0, len(ids), _IDS_AT_ONCE):
            query = (
                slots.select()
                .where(slots.c.run_id.in_(ids[start : start + _IDS_AT_ONCE]))
                .order_by(slots.c.slot)
            )
            for row in connection.execute(query):
                values = row._asdict()
                by_run[values.pop("run_id")].append(
                    SlotRecord(**{**values, "files": tuple(values["files"])})
                )
        return [RunRecord(**{**row._asdict(), "slots": tuple(by_run[row.run_id])}) for row in rows]


def _run_columns(run: RunRecord) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "request": dict(run.request),
        "folder": run.folder,
        "label": run.label,
        "status": run.status,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "files_gone": run.files_gone,
    }


def _slot_columns(run_id: str, record: SlotRecord) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "slot": record.slot,
        "serial_number": record.serial_number,
        "status": record.status,
        "mode_number": record.mode_number,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "message": record.message,
        "files": list(record.files),
    }
