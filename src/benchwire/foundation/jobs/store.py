"""Every query of the job engine."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import sqlalchemy as sa

from benchwire.foundation.db import Database
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.jobs.tables import jobs

_UNFINISHED = (JobState.QUEUED.value, JobState.RUNNING.value)
# Most database drivers limit the parameters of one statement; ids are asked for in such portions.
_IDS_AT_ONCE = 500


class JobStore:
    """Job records that survive a restart."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, connection: sa.Connection, record: JobRecord) -> None:
        """Add a new job inside a transaction of the caller."""
        connection.execute(jobs.insert().values(**_columns(record)))

    def by_idempotency_key(
        self, connection: sa.Connection, kind: str, key: str
    ) -> JobRecord | None:
        """Return the job that was submitted under that key."""
        row = connection.execute(
            jobs.select().where(jobs.c.kind == kind, jobs.c.idempotency_key == key)
        ).first()
        return None if row is None else _record(row)

    def save(self, record: JobRecord) -> None:
        """Store a record's present state; it is on the disk when this returns."""
        self.save_later(record).result()

    def save_later(self, record: JobRecord) -> Future[None]:
        """Queue a record's present state for storing."""
        values = _columns(record)
        key = values.pop("id")

        def update(connection: sa.Connection) -> None:
            connection.execute(jobs.update().where(jobs.c.id == key).values(**values))

        return self._database.write_later(update)

    def get(self, job_id: str) -> JobRecord | None:
        """Return one job, None if there is none of that id."""
        with self._database.read() as connection:
            row = connection.execute(jobs.select().where(jobs.c.id == job_id)).first()
        return None if row is None else _record(row)

    def get_many(self, job_ids: Iterable[str]) -> dict[str, JobRecord]:
        """Return the known ones of many jobs by id."""
        wanted = list(dict.fromkeys(job_ids))
        found: dict[str, JobRecord] = {}
        with self._database.read() as connection:
            for start in range(0, len(wanted), _IDS_AT_ONCE):
                portion = wanted[start : start + _IDS_AT_ONCE]
                rows = connection.execute(jobs.select().where(jobs.c.id.in_(portion)))
                found |= {row.id: _record(row) for row in rows}
        return found

    def unfinished(self) -> list[JobRecord]:
        """Return the jobs without an end state, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                jobs.select().where(jobs.c.state.in_(_UNFINISHED)).order_by(jobs.c.created_at)
            )
            return [_record(row) for row in rows]

    def newest(
        self,
        limit: int,
        *,
        kinds: Sequence[str] | None = None,
        states: Sequence[JobState] | None = None,
        before: JobRecord | None = None,
        text: str = "",
    ) -> list[JobRecord]:
        """Return the newest jobs, of some kinds and in some states or all.

        ``before`` leaves out that job and all newer ones, ``text`` those it does not occur in.
        """
        query = jobs.select().order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        if kinds is not None:
            query = query.where(jobs.c.kind.in_(kinds))
        if states is not None:
            query = query.where(jobs.c.state.in_([state.value for state in states]))
        if before is not None:
            # Compared part by part, as a row value would leave the moment without its type.
            query = query.where(
                sa.or_(
                    jobs.c.created_at < before.created_at,
                    sa.and_(jobs.c.created_at == before.created_at, jobs.c.id < before.id),
                )
            )
        if text:
            shown = (jobs.c.id, jobs.c.title, sa.cast(jobs.c.params, sa.Text))
            query = query.where(
                sa.or_(*(column.icontains(text, autoescape=True) for column in shown))
            )
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query)]

    def count_by_state(self, kinds: Sequence[str] | None = None) -> dict[str, int]:
        """Return how many jobs are in each state, of some kinds or of all."""
        query = sa.select(jobs.c.state, sa.func.count().label("total")).group_by(jobs.c.state)
        if kinds is not None:
            query = query.where(jobs.c.kind.in_(kinds))
        with self._database.read() as connection:
            return {row.state: row.total for row in connection.execute(query)}


def _columns(record: JobRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "kind": record.kind,
        "title": record.title,
        "state": record.state.value,
        "params": dict(record.params),
        "requested_by": record.requested_by,
        "idempotency_key": record.idempotency_key,
        "created_at": record.created_at,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "progress": record.progress,
        "message": record.message,
        "result": None if record.result is None else dict(record.result),
        "finished_parts": list(record.finished_parts),
        "partial_files": list(record.partial_files),
        "attempts": record.attempts,
        "interrupted": record.interrupted,
    }


def _record(row: sa.Row[Any]) -> JobRecord:
    values = row._asdict()
    return JobRecord(
        **{
            **values,
            "state": JobState(values["state"]),
            "finished_parts": tuple(values["finished_parts"]),
            "partial_files": tuple(values["partial_files"]),
        }
    )
