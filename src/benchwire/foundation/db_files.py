"""The files of the SQLite database: whether one is sound, what is set aside, and daily copies.

A damaged file is never written to again: it gets a name that says so and stays until a person
removes it. The newest sound copy takes its place, or a new database where there is none.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import threading
from datetime import datetime, timedelta
from pathlib import Path

from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import Unavailable
from benchwire.foundation.files import sync_folder

logger = logging.getLogger(__name__)

DATABASE_FILE = "benchwire.db"
BUSY_SECONDS = 10
COPIES_KEPT = 7
COPY_EVERY = timedelta(days=1)
_LOOK_SECONDS = 60.0
# Copies are for comfort; room on the disk is for measurements.
_FREE_PART, _FREE_BYTES = 0.2, 5_000_000_000
_STAMP = "%Y%m%dT%H%M%SZ"
_FORMAT_VERSIONS = slice(18, 20)


class FolderUnsuitable(Unavailable):
    """The data folder cannot hold a database that survives a crash."""

    code = "database.folder_unsuitable"


def is_sound(path: Path) -> bool:
    """Whether a SQLite file passes the database's own quick check, and could be written."""
    try:
        with path.open("rb") as file:
            head = file.read(_FORMAT_VERSIONS.stop)
        # A file of a version yet to come is opened, but never written.
        if len(head) == _FORMAT_VERSIONS.stop and max(head[_FORMAT_VERSIONS]) > 2:
            logger.warning("database check: unknown file format")
            return False
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except OSError as error:
        raise FolderUnsuitable(f"The database cannot be opened: {error.strerror}") from error
    except sqlite3.DatabaseError as error:
        is_about_file = error.sqlite_errorcode == sqlite3.SQLITE_ERROR
        if isinstance(error, sqlite3.OperationalError) and not is_about_file:
            raise FolderUnsuitable(f"The database cannot be opened: {error}") from error
        logger.warning("database check: %s", error)
        return False
    except UnicodeDecodeError:  # damage in what SQLite's own message quotes
        logger.warning("database check: its schema is no text")
        return False
    if answer != "ok":
        logger.warning("database check: %s", answer)
    return bool(answer == "ok")


def take_copy_if_unusable(data_dir: Path, clock: Clock) -> None:
    """Have a sound database in its place, or none where there is neither it nor a sound copy.

    A damaged one is set aside with its log, and the newest sound copy takes its place, as it does
    where a database is missing. A start that is cut short in the midst of this is gone on with by
    the next one; what does not fit on the disk leaves everything as it was.

    Raises
    ------
    FolderUnsuitable
        There is no room for the copy.
    """
    path = data_dir / DATABASE_FILE
    # SQLite begins anew in a file of no bytes, as if it were not there.
    is_there = path.exists() and path.stat().st_size > 0
    if is_there and is_sound(path):
        return
    copy = _prepared_copy(data_dir, clock.now())
    name = set_aside(path, clock)
    if copy is not None:
        _partial(data_dir).replace(path)
    elif name is None:
        return
    sync_folder(data_dir)
    trouble = "missing" if name is None else f"damaged; it is kept as {name}"
    begun = "a new one begins" if copy is None else f"{copy.name} takes its place"
    logger.error("the database was %s and %s", trouble, begun)


def set_aside(path: Path, clock: Clock) -> str | None:
    """Give a damaged database and its log another name and return that; None if there is nothing.

    The database goes first: a log without one is known to be left behind, and never taken for that
    of the next database.
    """
    parts = {suffix: Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm")}
    left = {suffix: part for suffix, part in parts.items() if part.exists() and part.stat().st_size}
    if not left:
        return None
    name = f"{path.name}.damaged-{clock.now():{_STAMP}}"
    for suffix, part in left.items():
        part.rename(part.with_name(f"{name}{suffix}"))
    return name


def kept_aside(data_dir: Path) -> str | None:
    """Return the name of the damaged database that was set aside last and is still here."""
    names = [
        path.name
        for path in data_dir.glob(f"{DATABASE_FILE}.damaged-*")
        if not path.name.endswith(("-wal", "-shm"))
    ]
    return max(names, default=None)


def copies(data_dir: Path, now: datetime) -> list[Path]:
    """Return the copies of the database, newest first.

    Those of a time to come were made under a clock that was wrong: nobody knows how old they are.
    """
    found = data_dir.glob(f"{DATABASE_FILE}.copy-*Z")
    latest = _copy_name(now)
    return sorted(found, key=lambda path: (path.name <= latest, path.name), reverse=True)


def _copy_name(made_at: datetime) -> str:
    return f"{DATABASE_FILE}.copy-{made_at:{_STAMP}}"


def _prepared_copy(data_dir: Path, now: datetime) -> Path | None:
    """Write the newest sound copy beside the database, and return that; None without one."""
    for copy in copies(data_dir, now):
        if not is_sound(copy):
            continue
        partial = _partial(data_dir)
        try:
            shutil.copyfile(copy, partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise FolderUnsuitable(
                f"The database is unusable and its copy cannot be put back: {error.strerror}",
                hint="Free space on the disk of the data folder.",
            ) from error
        return copy
    return None


def _partial(data_dir: Path) -> Path:
    return data_dir / f"{DATABASE_FILE}.copy.part"


def make_copy(data_dir: Path, now: datetime) -> Path | None:
    """Copy the database of a working server; nobody waits for it.

    Only the newest `COPIES_KEPT` stay. None is made where too little room would be left.
    """
    source = data_dir / DATABASE_FILE
    disk = shutil.disk_usage(data_dir)
    if disk.free - source.stat().st_size < min(_FREE_PART * disk.total, _FREE_BYTES):
        logger.warning("the database is not copied, as the disk has little room")
        return None
    copy = data_dir / _copy_name(now)
    partial = _partial(data_dir)
    partial.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(source, timeout=BUSY_SECONDS)) as old,
        contextlib.closing(sqlite3.connect(partial)) as new,
    ):
        old.execute("PRAGMA query_only=ON")
        # In one step: a copy in many begins anew whenever somebody writes.
        old.backup(new, pages=-1)
        new.execute("PRAGMA journal_mode=DELETE")
    if not is_sound(partial):
        partial.unlink()
        logger.error("the database is damaged: its copy is not kept; restart to set it aside")
        return None
    partial.replace(copy)
    # The oldest is not given up for one whose name a power cut may take.
    sync_folder(data_dir)
    for old_copy in copies(data_dir, now)[COPIES_KEPT:]:
        old_copy.unlink()
    return copy


def copy_daily(data_dir: Path, clock: Clock, over: threading.Event) -> None:
    """Copy the database of a working server once a day until it is over."""
    while not over.wait(_LOOK_SECONDS):
        try:
            if _is_copy_due(data_dir, clock.now()):
                make_copy(data_dir, clock.now())
        except (OSError, sqlite3.Error) as error:
            logger.error("the database could not be copied: %s", error)


def _is_copy_due(data_dir: Path, now: datetime) -> bool:
    newest = next(iter(copies(data_dir, now)), None)
    return newest is None or not _copy_name(now - COPY_EVERY) < newest.name <= _copy_name(now)
