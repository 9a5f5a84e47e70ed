"""Making a data folder of a backup, whole or not at all."""

import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchwire.backup import database
from benchwire.backup.files import copy_back, free_bytes, sync_tree
from benchwire.backup.manifest import (
    RUNS_FOLDER,
    SNAPSHOT_FILE,
    BackupFailed,
    BackupRefused,
    BackupUnusable,
    Manifest,
    read_manifest,
)
from benchwire.backup.taking import Progress
from benchwire.foundation import schema
from benchwire.foundation.clock import microseconds, utc_moment
from benchwire.foundation.db import DATABASE_FILE
from benchwire.foundation.files import PARTIAL_SUFFIX, make_folders, sha256_of, sync_folder
from benchwire.foundation.jobs.sessions import LOCK_FILE

_ROOM_BYTES = 16 << 20
_STAGED_NAME = f".restore{PARTIAL_SUFFIX}"
# What an empty folder may hold: a restore that was killed, and what file systems put into theirs.
_NOTHING = frozenset({_STAGED_NAME, "lost+found"})


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has made.

    Parameters
    ----------
    runs_root
        Where runs lie that had a folder of their own.
    moved
        How many entries of the database name their files at the new place now.
    """

    manifest: Manifest
    data_dir: Path
    runs_root: Path | None
    moved: int


def restore_backup(
    backup: Path,
    data_dir: Path,
    *,
    runs_root: Path | None = None,
    database_url: str | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Make a data folder of a backup.

    Every file is checked before anything is made. The folder appears when all of it is there; a
    PostgreSQL database gets its tables in one transaction.

    Parameters
    ----------
    data_dir
        A folder that is empty or not there.
    runs_root
        Where runs go that had a folder of their own; into the data folder unless given.
    database_url
        An empty PostgreSQL database to fill; without it the data folder gets a SQLite file.

    Raises
    ------
    BackupUnusable
        The backup is damaged, not whole, or newer than this version.
    BackupRefused
        The target is in use, or there is no room.
    BackupFailed
        The disk did not take it; nothing is left of it.
    """
    progress = progress or Progress()
    manifest = read_manifest(backup)
    if manifest.schema > schema.head():
        raise BackupUnusable(
            f"The backup has schema {manifest.schema}, this version knows {schema.head()} at most",
            hint=f"It was made by version {manifest.version}; use that, or a newer one.",
        )
    data_dir = data_dir.absolute()
    apart = None if manifest.runs_root is None else runs_root and runs_root.absolute()
    for folder in filter(None, (data_dir, apart)):
        _check_free(folder)
    free = free_bytes(data_dir)
    if manifest.size + _ROOM_BYTES > free:
        raise BackupRefused(
            f"The data need {manifest.size / 1e9:.2f} GB and {free / 1e9:.2f} GB are free there"
        )
    url = database.postgresql_url(database_url) if database_url else None
    progress.expect(2 * manifest.size)
    _verify(backup, manifest, progress)
    staged = _Staged(data_dir, apart)
    try:
        staged.clear()
        for name in manifest.folders:
            staged.place(name).mkdir(parents=True, exist_ok=True)
        for kept in manifest.files:
            if not copy_back(kept, backup / kept.name, staged.place(kept.name), progress.advance):
                raise BackupUnusable(f"{kept.name} changed while it was read")
        _note_last_seen(staged.data, manifest)
        snapshot = staged.data / DATABASE_FILE
        moved = database.move_paths(snapshot, _moves(manifest, data_dir, apart))
        if url is None:
            staged.sync()
            staged.give_names()
        else:
            with database.filling_postgresql(url, snapshot):
                snapshot.unlink()
                staged.sync()
                staged.give_names()
    except (OSError, sqlite3.Error) as error:
        staged.undo()
        reason = getattr(error, "strerror", None) or error
        raise BackupFailed(
            f"The restore broke off: {reason}", hint="Nothing of it is left."
        ) from error
    except BaseException:
        staged.undo()
        raise
    return Restored(manifest, data_dir, apart, moved)


def _check_free(folder: Path) -> None:
    if (folder / LOCK_FILE).exists():
        raise BackupRefused(
            f"{folder} is or was a server's data folder", hint="Restore into a new folder."
        )
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise BackupRefused(f"{folder} is no folder")
    if folder.exists() and any(path.name not in _NOTHING for path in folder.iterdir()):
        raise BackupRefused(f"{folder} is not empty", hint="Restore into a new folder.")


def _verify(backup: Path, manifest: Manifest, progress: Progress) -> None:
    for kept in manifest.files:
        path = backup / kept.name
        try:
            is_same = path.stat().st_size == kept.size and not path.is_symlink()
            is_same = is_same and sha256_of(path, progress.advance) == kept.sha256
        except OSError as error:
            raise BackupUnusable(
                f"{kept.name} of the backup cannot be read: {error.strerror}",
                hint="Nothing was restored. Use another backup.",
            ) from error
        if not is_same:
            raise BackupUnusable(
                f"{kept.name} of the backup is damaged",
                hint="Nothing was restored. Use another backup.",
            )


def _note_last_seen(data: Path, manifest: Manifest) -> None:
    """Have the next start say that the server was last seen at the moment of the backup."""
    lock = data / LOCK_FILE
    lock.touch()
    at_ns = microseconds(utc_moment(manifest.taken_at)) * 1000
    os.utime(lock, ns=(at_ns, at_ns))


def _moves(manifest: Manifest, data_dir: Path, apart: Path | None) -> dict[Path, Path]:
    moves = {Path(manifest.data_dir): data_dir}
    if manifest.runs_root is not None:
        moves[Path(manifest.runs_root)] = apart or data_dir / RUNS_FOLDER
    return moves


class _Staged:
    """The folders of a restore, under other names until all is there.

    A folder that is there already may be a disk of its own or in one that cannot be written, so
    what comes into it is made inside it and moved up.
    """

    def __init__(self, data_dir: Path, apart: Path | None) -> None:
        self._named = {_staged_for(target): target for target in (apart, data_dir) if target}
        self.data = _staged_for(data_dir)
        self._runs = None if apart is None else _staged_for(apart)
        self._given: list[Path] = []

    def clear(self) -> None:
        """Make the folders, without what a restore that was killed left in them."""
        for staged in self._named:
            shutil.rmtree(staged, ignore_errors=True)
            make_folders(staged.parent)
            staged.mkdir()

    def place(self, name: str) -> Path:
        """Return where a file of the backup goes."""
        if name == SNAPSHOT_FILE:
            return self.data / DATABASE_FILE
        first, *rest = PurePosixPath(name).parts
        if first != RUNS_FOLDER:
            return self.data.joinpath(*rest)
        return (self._runs or self.data / RUNS_FOLDER).joinpath(*rest)

    def sync(self) -> None:
        """Bring everything to the disk."""
        for staged in self._named:
            sync_tree(staged)

    def give_names(self) -> None:
        """Have everything appear, the data folder last and its database last of all."""
        for staged, target in self._named.items():
            if staged.parent == target:
                for path in sorted(staged.iterdir(), key=lambda path: path.name == DATABASE_FILE):
                    self._move(path, target / path.name)
                staged.rmdir()
            else:
                self._move(staged, target)
            sync_folder(target.parent)
            sync_folder(target)

    def undo(self) -> None:
        """Leave nothing."""
        for path in (*self._named, *self._given):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _move(self, path: Path, target: Path) -> None:
        path.rename(target)
        self._given.append(target)


def _staged_for(target: Path) -> Path:
    if target.exists():
        return target / _STAGED_NAME
    return target.with_name(f"{target.name}{_STAGED_NAME}")
