"""Making a data folder of a backup, whole or not at all."""

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchwire.backup import database
from benchwire.backup.files import copy_back, disk_of, free_bytes
from benchwire.backup.manifest import (
    DATA_FOLDER,
    PERMISSIONS,
    RUNS_FOLDER,
    BackupFailed,
    BackupRefused,
    BackupUnusable,
    Manifest,
    disk_reason,
    read_manifest,
)
from benchwire.backup.places import mover
from benchwire.backup.taking import Progress
from benchwire.backup.targets import Target, Targets, alone_in, usable
from benchwire.foundation import schema
from benchwire.foundation.clock import utc_moment
from benchwire.foundation.db import DATABASE_FILE
from benchwire.foundation.files import sha256_of, write_whole

_ROOM_BYTES = 16 << 20
# They name their table by the place at which it was written, and are given out as they are.
_ANSWERS_OF_FITTINGS = "traces/*/answer.json"


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

    Every file is checked before anything is made. Until all of it is there no server starts in the
    folder; if it is cut short, the next restore clears away what it left. A PostgreSQL database
    gets its tables in one transaction.

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
        The target is in use, there is no room, or it has to be said where the runs go.
    BackupFailed
        The disk did not take it; nothing is left of it.
    """
    progress = progress or Progress()
    manifest = _known_manifest(backup)
    data_dir = data_dir.absolute()
    apart = _place_of_runs(manifest, data_dir, runs_root)
    url = database.postgresql_url(database_url) if database_url else None
    targets = Targets(Target(data_dir), None if apart is None else Target(apart))
    targets.check_free()
    progress.expect(2 * manifest.size)
    try:
        with alone_in(targets.data, utc_moment(manifest.taken_at)):
            try:
                moved = _fill(targets, backup, manifest, url, progress)
            except BaseException:
                targets.undo()
                raise
            targets.finish(manifest.folder_modes)
    except (OSError, sqlite3.Error) as error:
        reason = disk_reason(error) if isinstance(error, OSError) else error
        raise BackupFailed(
            f"The restore broke off: {reason}", hint="Nothing of it is left."
        ) from error
    return Restored(manifest, data_dir, apart, moved)


def _known_manifest(backup: Path) -> Manifest:
    manifest = read_manifest(backup)
    if manifest.schema > schema.head():
        raise BackupUnusable(
            f"The backup has schema {manifest.schema}, this version knows {schema.head()} at most",
            hint=f"It was made by version {manifest.version}; use that, or a newer one.",
        )
    return manifest


def _place_of_runs(manifest: Manifest, data_dir: Path, runs_root: Path | None) -> Path | None:
    """Return where runs get a folder of their own, None where they go into the data folder."""
    if manifest.runs_root is None:
        return None
    if runs_root is None:
        if any(file.name.startswith(f"{DATA_FOLDER}/{RUNS_FOLDER}/") for file in manifest.files):
            raise BackupRefused(
                "The backup has runs in the data folder and others in a folder of their own",
                hint="Say with --runs-root where the others go.",
            )
        return None
    apart = runs_root.absolute()
    if apart == data_dir / RUNS_FOLDER:
        return _place_of_runs(manifest, data_dir, None)
    if apart.is_relative_to(data_dir) or data_dir.is_relative_to(apart):
        raise BackupRefused(
            "The data folder and the folder of the runs lie in each other",
            hint="Choose folders beside each other.",
        )
    return apart


def _check_room(needed: Mapping[Path, int]) -> None:
    """Refuse where a disk has no room for all that comes onto it."""
    for disk in {disk_of(folder) for folder in needed}:
        folders = [folder for folder in needed if disk_of(folder) == disk]
        size, free = sum(needed[folder] for folder in folders), free_bytes(folders[0])
        if size + _ROOM_BYTES > free:
            raise BackupRefused(
                f"The data need {size / 1e9:.2f} GB and {free / 1e9:.2f} GB are free"
                f" at {folders[0]}"
            )


def _fill(
    targets: Targets,
    backup: Path,
    manifest: Manifest,
    url: sa.URL | None,
    progress: Progress,
) -> int:
    """Have a backup appear in folders that are held; return how many entries name new places."""
    # Again, as a server may have come and gone before the folder was held.
    targets.check_free()
    targets.clear()
    _check_room(targets.needed(manifest))
    _verify(backup, manifest, progress)
    targets.begin()
    _copy_all(backup, manifest, targets, progress)
    moves = targets.moves(manifest)
    snapshot = targets.data.staged / DATABASE_FILE
    moved = database.move_paths(snapshot, moves)
    _move_in_answers(targets.data.staged, moves)
    if url is None:
        targets.give_names()
    else:
        # What is not committed is undone by PostgreSQL, so it comes after all that can fail here.
        with database.filling_postgresql(url, snapshot):
            snapshot.unlink()
            targets.give_names()
    return moved


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


def _copy_all(backup: Path, manifest: Manifest, targets: Targets, progress: Progress) -> None:
    for name in manifest.folders:
        targets.place(name).mkdir(parents=True, exist_ok=True)
    for kept in manifest.files:
        if not copy_back(kept, backup / kept.name, targets.place(kept.name), progress.advance):
            raise BackupUnusable(f"{kept.name} changed while it was read")
    for name, mode in manifest.folder_modes.items():
        if name in manifest.folders and name not in {DATA_FOLDER, RUNS_FOLDER}:
            targets.place(name).chmod(usable(mode))


def _move_in_answers(data: Path, moves: Mapping[Path, Path]) -> None:
    move = mover(moves, in_json=True)
    for path in data.glob(_ANSWERS_OF_FITTINGS):
        status = path.stat()
        content = path.read_bytes().decode("utf-8", "surrogateescape")
        written = move(content)
        if written != content:
            body = written.encode("utf-8", "surrogateescape")
            write_whole(path, body, mode=status.st_mode & PERMISSIONS)
            os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
