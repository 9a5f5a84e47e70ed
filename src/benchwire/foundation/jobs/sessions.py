"""What the server remembers of its own lives: when it stopped, and what that interrupted.

While it runs, a lock file in the data folder is held and its time stamp kept fresh. After an
unclean stop the next start finds a life without an end and can say when it was last seen.
"""

import contextlib
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from benchwire.foundation.clock import Clock, microseconds, utc_text
from benchwire.foundation.db import Database
from benchwire.foundation.errors import Unavailable
from benchwire.foundation.jobs.tables import sessions

LOCK_FILE = "benchwire.lock"
# Lies in a data folder from the beginning of a restore until all of it is there.
RESTORE_MARKER = ".restoring"
HEARTBEAT_SECONDS = 2.0


class DataFolderInUse(Unavailable):
    """Another server already works in this data folder."""

    code = "server.data_folder_in_use"


class DataFolderReadOnly(Unavailable):
    """Nothing can be written in the data folder."""

    code = "server.data_folder_read_only"


class RestoreCutShort(Unavailable):
    """The data folder holds a part of a backup, and a server would begin anew beside it."""

    code = "server.restore_cut_short"


class DataFolderLock:
    """Keeps a second server out of a data folder; kill -9 of the holder frees it.

    Raises
    ------
    DataFolderInUse
        Another process holds the lock.
    OSError
        The lock file cannot be made.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / LOCK_FILE
        self.last_seen = self._last_seen()
        self._file: IO[str] = self._path.open("a+")
        try:
            _lock(self._file)
        except OSError as error:
            self._file.close()
            raise DataFolderInUse(
                "Another benchwire server is running on this data folder",
                hint="Stop it first, or give this one another --data-dir.",
            ) from error
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self, *, seen_at: datetime | None = None) -> None:
        """Let the folder go, as last seen now or at another moment."""
        self._stop.set()
        self._thread.join()
        if seen_at is not None:
            at_ns = microseconds(seen_at) * 1000
            os.utime(self._path, ns=(at_ns, at_ns))
        self._file.close()

    def _last_seen(self) -> datetime | None:
        try:
            return datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
        except OSError:
            return None

    def _beat(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                os.utime(self._path)
            if self._stop.wait(HEARTBEAT_SECONDS):
                return


def hold_for_server(data_dir: Path) -> DataFolderLock:
    """Take a data folder for a server.

    Raises
    ------
    DataFolderInUse
        Another process holds the lock.
    DataFolderReadOnly
        Nothing can be written there.
    RestoreCutShort
        The folder is not whole.
    """
    try:
        lock = DataFolderLock(data_dir)
    except OSError as error:
        raise DataFolderReadOnly(
            f"The data folder cannot be written: {error.strerror}",
            hint="Make its disk writable, or choose another folder with --data-dir.",
        ) from error
    if (data_dir / RESTORE_MARKER).exists():
        lock.close()
        raise RestoreCutShort(
            "A restore into this data folder was cut short",
            hint="Run benchwire restore again; it clears away what is left and begins anew.",
        )
    return lock


def _lock(file: IO[str]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True, slots=True)
class AwayReport:
    """What happened while nobody looked: how the server last ended and what it cut short.

    ``unclean`` is true when it did not say goodbye (power cut, kill, crash); ``stopped_at`` then
    is when it was last seen alive.
    """

    session: int
    unclean: bool
    stopped_at: datetime | None
    interrupted_jobs: tuple[str, ...]
    made_safe: tuple[str, ...]
    seen: bool

    @property
    def is_worth_telling(self) -> bool:
        """Whether a person should be told."""
        return not self.seen and (self.unclean or bool(self.interrupted_jobs))

    def as_json(self) -> dict[str, Any]:
        """Return the report for clients."""
        return {
            "unclean": self.unclean,
            "stopped_at": None if self.stopped_at is None else utc_text(self.stopped_at),
            "interrupted_jobs": list(self.interrupted_jobs),
            "made_safe": list(self.made_safe),
            "seen": self.seen,
        }


class Sessions:
    """The record of the server's lives."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._current: int | None = None
        self._before: int | None = None

    def begin(self, version: str, last_seen: datetime | None) -> None:
        """Open this life; a former one without an end is closed as unclean."""
        now = self._clock.now()

        def work(connection: sa.Connection) -> tuple[int | None, int | None]:
            before = connection.execute(
                sessions.select().order_by(sessions.c.id.desc()).limit(1)
            ).first()
            if before is not None and before.stopped_at is None:
                connection.execute(
                    sessions.update()
                    .where(sessions.c.id == before.id)
                    .values(unclean=True, stopped_at=last_seen or before.started_at)
                )
            inserted = connection.execute(
                sessions.insert().values(
                    version=version,
                    started_at=now,
                    unclean=False,
                    interrupted_jobs=[],
                    made_safe=[],
                    seen=False,
                )
            )
            (key,) = inserted.inserted_primary_key or (None,)
            return key, None if before is None else before.id

        self._current, self._before = self._database.write(work)

    def end(self, interrupted_jobs: tuple[str, ...]) -> None:
        """Close this life as clean, with the jobs that the stop cut short."""
        current = self._current
        if current is not None:
            self._set(current, stopped_at=self._clock.now(), interrupted_jobs=interrupted_jobs)

    def add_interrupted(self, job_ids: tuple[str, ...]) -> None:
        """Name jobs that the former life was running when it ended."""
        self._extend("interrupted_jobs", job_ids)

    def add_made_safe(self, facts: tuple[str, ...]) -> None:
        """Note what was made safe after the former life, a sentence each."""
        self._extend("made_safe", facts)

    def away_report(self) -> AwayReport | None:
        """Return what happened before this life began, None on the very first start."""
        if self._before is None:
            return None
        with self._database.read() as connection:
            row = connection.execute(sessions.select().where(sessions.c.id == self._before)).one()
        return AwayReport(
            session=row.id,
            unclean=row.unclean,
            stopped_at=row.stopped_at,
            interrupted_jobs=tuple(row.interrupted_jobs),
            made_safe=tuple(row.made_safe),
            seen=row.seen,
        )

    def mark_seen(self) -> None:
        """Note that a person has read the report."""
        if self._before is not None:
            self._set(self._before, seen=True)

    def _extend(self, column: str, items: tuple[str, ...]) -> None:
        before = self._before
        if before is None or not items:
            return

        def work(connection: sa.Connection) -> None:
            row = (
                connection.execute(sessions.select().where(sessions.c.id == before))
                .mappings()
                .one()
            )
            known = list(row[column])
            known += [item for item in items if item not in known]
            connection.execute(
                sessions.update().where(sessions.c.id == before).values({column: known})
            )

        self._database.write(work)

    def _set(self, session: int, **values: object) -> None:
        self._database.write(
            lambda connection: connection.execute(
                sessions.update().where(sessions.c.id == session).values(**values)
            )
        )
