"""Every query of the job engine."""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Any

import sqlalchemy as sa

from benchwire.foundation.db import Database
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.jobs.tables import jobs

_UNFINISHED = (JobState.QUEUED.value, JobState.RUNNING.value)
# Most database drivers limit the parameters of one statement; ids are asked for in such portions.
_IDS_AT_ONCE = 500
# Rows of a search that are held in memory at a time.
_ROWS_AT_ONCE = 100


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

    def raise_progress_later(self, job_id: str, progress: float) -> Future[None]:
        """Queue how far a job is for storing, unless more is stored by then."""
        behind = (jobs.c.id == job_id) & (jobs.c.progress < progress)

        def update(connection: sa.Connection) -> None:
            connection.execute(jobs.update().where(behind).values(progress=progress))

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

        ``before`` leaves out that job and all newer ones, ``text`` those in whose id, title and
        parameters it does not occur.
        """
        newest_first = jobs.c.created_at.desc(), jobs.c.id.desc()
        wanted: list[sa.ColumnElement[bool]] = []
        if kinds is not None:
            wanted.append(jobs.c.kind.in_(kinds))
        if states is not None:
            wanted.append(jobs.c.state.in_([state.value for state in states]))
        if before is not None:
            # Compared part by part, as a row value would leave the moment without its type.
            wanted.append(
                sa.or_(
                    jobs.c.created_at < before.created_at,
                    sa.and_(jobs.c.created_at == before.created_at, jobs.c.id < before.id),
                )
            )
        if text:
            query = jobs.select().where(*wanted, _may_have(text)).order_by(*newest_first)
        else:
            # Ten thousand ids are sorted in no time, as many whole records are not.
            ids = sa.select(jobs.c.id).where(*wanted).order_by(*newest_first).limit(limit)
            query = jobs.select().where(jobs.c.id.in_(ids)).order_by(*newest_first)
        with (
            self._database.read() as connection,
            connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}) as rows,
        ):
            found = (record for record in map(_record, rows) if not text or _has(record, text))
            return list(islice(found, limit))

    def ended_last(self, limit: int, states: Sequence[JobState]) -> list[JobRecord]:
        """Return the jobs in some final states, those that ended last first."""
        query = (
            jobs.select()
            .where(
                jobs.c.state.in_([state.value for state in states]), jobs.c.ended_at.is_not(None)
            )
            .order_by(jobs.c.ended_at.desc(), jobs.c.id.desc())
            .limit(limit)
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


def _may_have(text: str) -> sa.ColumnElement[bool]:
    """Return what is true of all jobs that have a text, and of some that have it as a key only."""
    as_written = json.dumps(text, ensure_ascii=False)[1:-1]
    return sa.or_(
        jobs.c.id.icontains(text, autoescape=True),
        jobs.c.title.icontains(text, autoescape=True),
        sa.cast(jobs.c.params, sa.Text).icontains(as_written, autoescape=True),
    )


def _has(record: JobRecord, text: str) -> bool:
    return _occurs_in(text.lower(), [record.id, record.title, record.params])


def _occurs_in(text: str, value: object) -> bool:
    """Whether a text of small letters occurs in a value or in one of those within it."""
    if isinstance(value, str):
        return text in value.lower()
    if isinstance(value, Mapping):
        return any(_occurs_in(text, one) for one in value.values())
    return isinstance(value, list) and any(_occurs_in(text, one) for one in value)


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
