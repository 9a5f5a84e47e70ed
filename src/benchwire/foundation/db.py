"""One database for the whole server: read sessions, and one writer with group commit.

SQLite keeps a file in the data folder, in WAL mode at ``synchronous=FULL``: what `Database.write`
has returned is on the disk. All writes go through one thread that takes everything waiting, runs
each piece in its own savepoint and commits once, so many small writers share one fsync. PostgreSQL
is used by URL through the same two calls.
"""

import contextlib
import json
import logging
import math
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from benchwire.foundation import db_files
from benchwire.foundation.clock import Clock, SystemClock, microseconds, moment
from benchwire.foundation.db_files import BUSY_SECONDS, DATABASE_FILE, FolderUnsuitable, is_sound
from benchwire.foundation.errors import Conflict, Invalid, Unavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

RECONNECT_SECONDS = 5.0
RETRY_SECONDS = 0.2
_GROUP_LIMIT = 500
# A computer that has gone without a word must not be waited for as long as TCP would.
_CONNECTION = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "benchwire",
    # Somebody else who locks a table is waited for as long as on SQLite.
    "options": f"-c lock_timeout={BUSY_SECONDS}s -c tcp_keepalives_idle=10"
    " -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
}
# Locks of PostgreSQL are numbers; these two stand for "the server" and "a connection of server n".
_SERVER_LOCK, _OWNER_LOCK = 1_651_338_851, 1_651_338_852
# Who has the first of them, and whether that is a connection of the same server.
_HOLDERS = """
    SELECT one.pid, EXISTS (
        SELECT FROM pg_locks other WHERE other.pid = one.pid AND other.database = one.database
        AND other.locktype = 'advisory' AND other.granted AND other.classid = %s
        AND other.objid = %s
    )
    FROM pg_locks one WHERE one.locktype = 'advisory' AND one.granted AND one.classid = %s
    AND one.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# File systems whose shared-memory maps a write-ahead log cannot rely on.
_NETWORK_FILE_SYSTEMS = frozenset(
    {"cifs", "smb3", "smbfs", "nfs", "nfs4", "9p", "afs", "ncpfs", "fuse.sshfs", "davfs"}
)


def storable(value: Any) -> Any:
    """Return a value with what no database takes replaced: NUL, lone surrogates, NaN."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


class DatabaseUnavailable(Unavailable):
    """The database cannot take or give data at the moment; nothing was half done."""

    code = "database.unavailable"


class ValueRefused(Invalid):
    """A value is none that the database can hold or compare with, such as a text with NUL in it."""

    code = "database.value_refused"


class OutcomeUnknown(DatabaseUnavailable):
    """The connection broke just as the work was being stored, and nobody can say whether it was."""

    code = "database.outcome_unknown"


class _CommitBroken(Exception):
    """A commit whose answer did not come; it is known by its number, and so is what came of it."""

    def __init__(self, transaction: int, outcomes: "list[_Outcome]", cause: DBAPIError) -> None:
        super().__init__(str(cause))
        self.transaction = transaction
        self.outcomes = outcomes
        self.cause = cause


class DatabaseInUse(Conflict):
    """Another server works on the same database."""

    code = "database.in_use"


class NothingWritten(DatabaseUnavailable):
    """A process that only reads was asked to write."""

    code = "database.read_only"


class UtcMoment(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime stored as whole microseconds since 1970, alike on every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: sa.Dialect) -> int | None:
        """Return the moment as microseconds."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, _dialect: sa.Dialect) -> datetime | None:
        """Return the microseconds as a moment."""
        return None if value is None else moment(value)


@dataclass(slots=True)
class _Write:
    work: Callable[[sa.Connection], Any]
    future: Future[Any]


_Outcome = tuple[Any, BaseException | None]


class Database:
    """Reads by anybody, writes by one thread.

    Parameters
    ----------
    url
        SQLAlchemy URL of a SQLite file or of PostgreSQL (driver psycopg).
    set_aside
        Name of a damaged database file that was moved away, now or earlier, and is still here.
        Files that no record names may be known to that one, so nobody removes them.
    is_read_only
        Whether another process writes, and this one never does.
    owner
        The number of a server that PostgreSQL is to keep for itself; None keeps nobody away.
    """

    def __init__(
        self,
        url: sa.URL,
        *,
        set_aside: str | None = None,
        clock: Clock | None = None,
        is_read_only: bool = False,
        owner: int | None = None,
    ) -> None:
        self.url = url
        self.set_aside = set_aside
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._is_read_only = is_read_only
        self._clock = clock or SystemClock()
        if self.is_sqlite:
            self._reader = _sqlite_engine(url, pool_size=8, begin="BEGIN", read_only=True)
            self._writer = _sqlite_engine(url, pool_size=1, begin="BEGIN IMMEDIATE")
        else:
            self._reader = _postgresql_engine(url, pool_size=8, read_only=True)
            self._writer = _postgresql_engine(url, pool_size=1)
            if owner is not None:
                event.listen(self._writer, "connect", _Claim(owner, self._clock).take)
        self._waiting: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._is_commit_begun = False
        self._closed = False
        self._gate = threading.Lock()
        self._thread = threading.Thread(target=self._write_for_ever, name="database", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one consistent state for as long as it is held.

        Raises
        ------
        DatabaseUnavailable
            The database does not answer.
        ValueRefused
            It cannot compare with a value of the query.
        """
        try:
            with self._reader.connect() as connection:
                yield connection
        except (DBAPIError, PoolTimeout) as error:
            told = _told(error)
            if told is error:
                raise
            raise told from error

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run a piece of work in one transaction and return its result once it is on the disk.

        An exception of the work undoes the work alone and is raised here.

        Raises
        ------
        DatabaseUnavailable
            The database is locked, full or gone; the work was not done.
        NothingWritten
            Another process writes.
        ValueRefused
            It cannot hold a value of the work, which was not done.
        """
        return self.write_later(work).result()

    def write_later(self, work: Callable[[sa.Connection], T]) -> Future[T]:
        """Queue a piece of work and return the promise of its durable result.

        Whoever does not wait has other things to settle, so that a refusal is in the promise too.
        """
        future: Future[T] = Future()
        if self._is_read_only:
            future.set_exception(NothingWritten("Only the server that owns the instruments writes"))
            return future
        with self._gate:
            if not self._closed:
                self._waiting.put(_Write(work, future))
                return future
        future.set_exception(
            DatabaseUnavailable("The server is shutting down; nothing more is stored")
        )
        return future

    def renew(self) -> None:
        """Read through new connections from now on, as the file may be another under its name."""
        self._reader.dispose()

    def close(self) -> None:
        """Store what is waiting, then let go of the database."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._waiting.put(None)
        self._thread.join()
        self._reader.dispose()
        self._writer.dispose()

    @property
    def migration_engine(self) -> sa.Engine:
        """The engine for schema changes, used at start before anybody writes."""
        return self._writer

    # -- the writer's thread ----------------------------------------------------------------

    def _write_for_ever(self) -> None:
        while True:
            group, last = self._next_group()
            if group:
                self._commit_group(group)
            if last:
                return

    def _next_group(self) -> tuple[list[_Write], bool]:
        first = self._waiting.get()
        if first is None:
            return [], True
        group = [first]
        while len(group) < _GROUP_LIMIT:
            try:
                following = self._waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return group, True
            group.append(following)
        return group, False

    def _commit_group(self, group: list[_Write]) -> None:
        group = [item for item in group if item.future.set_running_or_notify_cancel()]
        self._is_commit_begun = False
        try:
            self._store(group)
        except BaseException as error:
            # Without this thread nobody would ever write again.
            logger.critical("the writer of the database failed unforeseen", exc_info=error)
            failure = _unknown_outcome() if self._is_commit_begun else unavailable(error)
            self._fail([item for item in group if not item.future.done()], failure, error)
            # Its connection may still be in the midst of a transaction.
            self._writer.dispose()

    def _store(self, group: list[_Write]) -> None:
        deadline = self._clock.monotonic() + RECONNECT_SECONDS
        broken: _CommitBroken | None = None
        while True:
            try:
                if broken is None or not self._was_committed(broken.transaction):
                    broken = None
                    outcomes = self._attempt(group)
                else:
                    outcomes = broken.outcomes
                break
            except _CommitBroken as error:
                broken = error
                # The network may have held the commit itself for as long as is waited for it.
                deadline = self._clock.monotonic() + RECONNECT_SECONDS
            except DBAPIError as error:
                # A connection that was lost before the commit has undone everything: ask again.
                if not self._is_lost(error) or self._clock.monotonic() >= deadline:
                    failure = unavailable(error) if broken is None else _unknown_outcome()
                    self._fail(group, failure, error)
                    return
                self._clock.sleep(RETRY_SECONDS)
            except SQLAlchemyError as error:
                self._fail(group, unavailable(error), error)
                return
            except DatabaseInUse as error:
                refused = DatabaseUnavailable(error.message, hint=error.hint)
                self._fail(group, refused if broken is None else _unknown_outcome(), error)
                return
        for item, (result, failed) in zip(group, outcomes, strict=True):
            if failed is None:
                item.future.set_result(result)
            else:
                item.future.set_exception(failed)

    def _attempt(self, group: list[_Write]) -> "list[_Outcome]":
        outcomes: list[_Outcome] = []
        self._is_commit_begun = False
        with self._writer.connect() as connection:
            for item in group:
                savepoint = connection.begin_nested()
                try:
                    result = item.work(connection)
                    savepoint.commit()
                except Exception as error:
                    if isinstance(error, DBAPIError) and error.connection_invalidated:
                        raise
                    # Where this fails, the database has undone the whole group by itself.
                    savepoint.rollback()
                    outcomes.append((None, _told(error)))
                else:
                    outcomes.append((result, None))
            if self.is_sqlite:
                self._is_commit_begun = True
                connection.commit()
                return outcomes
            number = connection.scalar(sa.text("SELECT txid_current()"))
            self._is_commit_begun = True
            try:
                connection.commit()
            except DBAPIError as error:
                if self._is_lost(error):
                    raise _CommitBroken(int(number), outcomes, error) from error
                raise
        return outcomes

    def _was_committed(self, transaction: int) -> bool:
        """Whether a transaction whose commit was never answered is on the disk.

        The server's own record tells, so nothing is lost and nothing is stored twice.
        """
        query = sa.text("SELECT txid_status(:number)")
        with self._writer.connect() as connection:
            while True:
                try:
                    status = connection.scalar(query, {"number": transaction})
                except DataError:
                    return False  # a number the server has lost in a crash, and all it did
                connection.rollback()
                if status != "in progress":
                    return bool(status == "committed")
                self._clock.sleep(RETRY_SECONDS)

    def _is_lost(self, error: DBAPIError) -> bool:
        return not self.is_sqlite and (error.connection_invalidated or _connection_refused(error))

    @staticmethod
    def _fail(group: list[_Write], failure: Unavailable, cause: BaseException) -> None:
        logger.error("%d writes not stored: %s", len(group), cause)
        failure.__cause__ = cause
        for item in group:
            item.future.set_exception(failure)


class _Claim:
    """Keeps every other server away from a PostgreSQL database, for as long as its writer lives.

    The lock is one of the writer's own session, so whoever writes has it. It is taken again with
    each new connection. What an earlier connection of the same server has left, which PostgreSQL
    may hold for alive long after a network or a computer broke, is ended.
    """

    def __init__(self, owner: int, clock: Clock) -> None:
        self._owner = owner
        self._clock = clock

    def take(self, connection: Any, _record: object) -> None:
        """Take the lock for a new connection.

        Raises
        ------
        DatabaseInUse
            Another server has it.
        """
        until = self._clock.monotonic() + RECONNECT_SECONDS
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", (_OWNER_LOCK, self._owner))
            while not self._is_taken(cursor):
                cursor.execute(_HOLDERS, (_OWNER_LOCK, self._owner, _SERVER_LOCK))
                holders = cursor.fetchall()
                for pid, is_own in holders:
                    if is_own:
                        cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
                connection.commit()
                is_anothers = not all(is_own for _, is_own in holders)
                if is_anothers or self._clock.monotonic() > until:
                    connection.close()
                    raise DatabaseInUse(
                        "Another benchwire server works on this database",
                        hint="Stop it first, or give this one a database_url of its own.",
                    )
                # It was let go in this moment, or will be soon.
                self._clock.sleep(RETRY_SECONDS)
        connection.commit()

    @staticmethod
    def _is_taken(cursor: Any) -> bool:
        return bool(
            cursor.execute("SELECT pg_try_advisory_lock(%s, 0)", (_SERVER_LOCK,)).fetchone()[0]
        )


def open_database(
    data_dir: Path,
    url: str | None = None,
    clock: Clock | None = None,
    *,
    owner: int | None = None,
) -> Database:
    """Open the server's database, SQLite in the data folder unless a URL names PostgreSQL.

    A damaged SQLite file is set aside with its log beside it, and the newest sound copy takes its
    place, or a new database; so it does where the file is missing. `Database.set_aside` names what
    lies aside.

    Raises
    ------
    FolderUnsuitable
        The folder cannot be written, or cannot hold a write-ahead log.
    DatabaseInUse
        Told at the first use: PostgreSQL keeps the database for another server.
    """
    clock = clock or SystemClock()
    if url:
        return Database(_postgresql_url(url), clock=clock, owner=owner)
    ensure_suitable(data_dir)
    db_files.take_copy_if_unusable(data_dir, clock)
    sqlite_url = sa.URL.create("sqlite+pysqlite", database=str(data_dir / DATABASE_FILE))
    return Database(sqlite_url, set_aside=db_files.kept_aside(data_dir), clock=clock)


def open_for_reading(data_dir: Path, url: str | None = None) -> Database:
    """Open the database of a server that runs elsewhere; nothing is made, mended or written.

    Raises
    ------
    FolderUnsuitable
        There is no database yet.
    """
    if url:
        return Database(_postgresql_url(url), is_read_only=True)
    path = data_dir / DATABASE_FILE
    if not path.is_file():
        raise FolderUnsuitable(
            "There is no database in the data folder", hint="Start the server there first."
        )
    # The mode keeps SQLite itself from writing, whatever it is asked.
    sqlite_url = sa.URL.create(
        "sqlite+pysqlite", database=path.absolute().as_uri(), query={"mode": "ro", "uri": "true"}
    )
    return Database(sqlite_url, is_read_only=True)


def _postgresql_url(url: str) -> sa.URL:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "postgresql":
        raise FolderUnsuitable(
            f"'{parsed.drivername}' is not supported as a database",
            hint="Give a postgresql:// address, or none for a SQLite file in the data folder.",
        )
    return parsed.set(drivername="postgresql+psycopg")


def ensure_suitable(folder: Path) -> None:
    """Check by a real write that a folder can hold a write-ahead log.

    Some network folders agree to WAL mode and fail at the first write, so the mode's name is not
    believed: a probe database is written through one connection and read through another.

    Raises
    ------
    FolderUnsuitable
        With the reason and what to do.
    """
    hint = "Choose a folder on a local disk with --data-dir; results can be copied to a NAS."
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderUnsuitable(f"The data folder cannot be made: {error.strerror}") from error
    kind = _file_system(folder)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise FolderUnsuitable(
            f"The data folder is on a network file system ({kind}), which cannot hold the "
            "database's write-ahead log safely",
            hint=hint,
        )
    probe = folder / f".probe-{os.getpid()}-{threading.get_ident()}.db"
    try:
        with contextlib.closing(sqlite3.connect(probe)) as one:
            mode = one.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            one.execute("CREATE TABLE probe (x)")
            one.execute("INSERT INTO probe VALUES (1)")
            one.commit()
            with contextlib.closing(sqlite3.connect(probe)) as other:
                seen = other.execute("SELECT count(*) FROM probe").fetchone()[0]
        if mode != "wal" or seen != 1:
            raise FolderUnsuitable("The data folder cannot hold a write-ahead log", hint=hint)
    except sqlite3.Error as error:
        raise FolderUnsuitable(
            f"The data folder cannot hold the database: {error}", hint=hint
        ) from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(OSError):
                Path(f"{probe}{suffix}").unlink()


def _file_system(folder: Path) -> str | None:
    """Return the kind of file system a folder is on, None where the system does not say."""
    try:
        mounts = Path("/proc/mounts").read_text("utf-8").splitlines()
    except OSError:
        return None
    resolved = folder.resolve()
    best: tuple[int, str] | None = None
    for line in mounts:
        _, mounted_at, kind, *_ = line.split(" ")
        point = Path(mounted_at.replace("\\040", " "))
        if resolved.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = (len(point.parts), kind)
    return best[1] if best else None


def _sqlite_engine(
    url: sa.URL, *, pool_size: int, begin: str, read_only: bool = False
) -> sa.Engine:
    engine = sa.create_engine(
        url,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0 if pool_size == 1 else 8,
        json_serializer=_json,
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
    )

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own transaction handling knows no BEGIN IMMEDIATE and no read snapshot.
        connection.isolation_level = None
        if "mode" not in url.query:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # SQLite's own knows the letters of ASCII alone, and a search is for any case of any letter.
        connection.create_function("lower", 1, _lower, deterministic=True)
        if read_only:
            connection.execute("PRAGMA query_only=ON")

    def begin_transaction(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin_transaction)
    return engine


def _postgresql_engine(url: sa.URL, *, pool_size: int, read_only: bool = False) -> sa.Engine:
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        pool_size=pool_size,
        max_overflow=0 if pool_size == 1 else 8,
        pool_timeout=BUSY_SECONDS,
        # The one returned last is used first, so that those of a busy moment can be let go.
        pool_use_lifo=True,
        json_serializer=_json,
        # As a reader is promised one state; a writer's statements see what is there now.
        isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
        connect_args=_without(url.query, _CONNECTION),
    )
    return engine.execution_options(postgresql_readonly=True) if read_only else engine


def _without(query: Mapping[str, object], defaults: Mapping[str, object]) -> dict[str, object]:
    """Return the defaults that an address does not set otherwise."""
    return {name: value for name, value in defaults.items() if name not in query}


def _lower(value: str | float | None) -> str | float | None:
    return value.lower() if isinstance(value, str) else value


def _connection_refused(error: DBAPIError) -> bool:
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) in {
        None, "53300", "57P01", "57P02", "57P03", "08000", "08001", "08003", "08006",
    }  # fmt: skip


def _told(error: Exception) -> Exception:
    """Return what to tell of an error: one of ours where the database gave it, else itself."""
    if isinstance(error, DataError):
        return ValueRefused(
            "The request has a value that the database cannot hold",
            hint="No text may have the character NUL in it.",
        )
    is_away = isinstance(error, OperationalError | PoolTimeout) or (
        isinstance(error, DBAPIError)
        and (error.connection_invalidated or _is_damage(error) or _is_states(error, "25006", "53"))
    )
    return unavailable(error) if is_away else error


def _is_damage(error: BaseException) -> bool:
    """Whether the database says that its files are not what it wrote."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if not isinstance(cause, sqlite3.DatabaseError):
        return _is_states(error, "XX001", "XX002")
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _is_states(error: BaseException, *states: str) -> bool:
    """Whether PostgreSQL gives one of these states, or of these classes of them."""
    found = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    return found.startswith(states)


def _unknown_outcome() -> OutcomeUnknown:
    return OutcomeUnknown(
        "The connection to the database broke; whether this was stored is not known",
        hint="Look whether it is there before it is sent again.",
    )


def unavailable(error: BaseException) -> DatabaseUnavailable:
    """Return what to tell of a database that refuses."""
    if isinstance(error, PoolTimeout):
        return DatabaseUnavailable(
            "Too many requests wait for the database", hint="Try again in a moment."
        )
    if _is_states(error, "XX001", "XX002"):
        return DatabaseUnavailable(
            "The database is damaged", hint="Its own log says where; restore it from a backup."
        )
    if _is_damage(error):
        return DatabaseUnavailable(
            "The database is damaged",
            hint="Restart the server: it sets the file aside and works on its newest copy.",
        )
    if _is_states(error, "25006"):
        return DatabaseUnavailable(
            "The database takes no writes at the moment",
            hint="It is set to read only, as after a failover; its own log says why.",
        )
    text = str(getattr(error, "orig", None) or error)
    if "locked" in text or "lock timeout" in text:
        return DatabaseUnavailable(
            "Another program holds the database locked", hint="Close it and try again."
        )
    if "full" in text or "disk I/O" in text or _is_states(error, "53100"):
        return DatabaseUnavailable(
            "The disk is full or failing; nothing was stored", hint="Free space and try again."
        )
    if "readonly" in text or "read-only" in text:
        return DatabaseUnavailable(
            "The database's folder cannot be written", hint="Make its disk writable again."
        )
    return DatabaseUnavailable("The database does not answer", hint="Try again in a moment.")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


__all__ = [
    "BUSY_SECONDS",
    "DATABASE_FILE",
    "Database",
    "DatabaseUnavailable",
    "FolderUnsuitable",
    "UtcMoment",
    "ValueRefused",
    "ensure_suitable",
    "is_sound",
    "open_database",
    "unavailable",
]
