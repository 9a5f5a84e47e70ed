"""Making a backup of a data folder whose server works on.

The database is taken first, then the files: a server writes a file before the record that names it
and removes it after, so every record of that moment finds its file. What the server removed in
between is looked for anew, as it may have moved into another file, and told if it is gone.
"""

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

import benchwire
from benchwire.backup import database
from benchwire.backup.files import (
    Found,
    Listing,
    OnBytes,
    Root,
    copy_growing,
    free_bytes,
    list_roots,
)
from benchwire.backup.manifest import (
    DATA_FOLDER,
    MANIFEST_FILE,
    RUNS_FOLDER,
    SNAPSHOT_FILE,
    BackupFailed,
    BackupRefused,
    KeptFile,
    Manifest,
    disk_reason,
    write_manifest,
)
from benchwire.domains.potentiostat.run_index import INDEX_FILE
from benchwire.domains.potentiostat.settings import PotentiostatSettings
from benchwire.foundation.clock import Clock, utc_text
from benchwire.foundation.db import DATABASE_FILE
from benchwire.foundation.files import (
    PARTIAL_SUFFIX,
    make_folders,
    sha256_of,
    sync_folder,
    sync_tree,
)
from benchwire.foundation.jobs.sessions import RESTORE_MARKER, DataFolderInUse, DataFolderLock
from benchwire.foundation.settings import ServerSettings

logger = logging.getLogger(__name__)

_NAME = re.compile(r"benchwire-(?P<second>\d{8}T\d{6}Z)(?:-(?P<number>\d+))?")
# What the copy needs besides the bytes that are copied.
_ROOM_BYTES = 16 << 20
_MOST_LOOKS = 20


@dataclass(frozen=True, slots=True)
class Progress:
    """Shows how far a backup or restore is: what is expected in bytes, and every piece of it."""

    expect: OnBytes = field(default=lambda _: None)
    advance: OnBytes = field(default=lambda _: None)


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that was made, and the older ones that gave way to it."""

    folder: Path
    manifest: Manifest
    deleted: tuple[str, ...]


def runs_root_of(settings: ServerSettings) -> Path | None:
    """Return the folder of the runs where it is not in the data folder."""
    chosen = PotentiostatSettings.load(settings.data_dir).runs_root
    root = (chosen or settings.data_dir / "runs").resolve()
    return None if root.is_relative_to(settings.data_dir.resolve()) else root


def take_backup(
    settings: ServerSettings,
    shelf: Path,
    clock: Clock,
    *,
    keep: int | None = None,
    progress: Progress | None = None,
) -> Taken:
    """Make a backup in a folder of backups; the server may run.

    Parameters
    ----------
    shelf
        Folder in which the backup gets a folder of its own, named by the time.
    keep
        How many backups of this server may stay in that folder; the oldest are deleted. All if
        None.

    Raises
    ------
    BackupRefused
        There is nothing to keep, a part of it is not there, there is no room, or another backup is
        under way there.
    BackupFailed
        The disk did not take it; nothing is left of it.
    """
    progress = progress or Progress()
    data_dir = settings.data_dir
    runs_root = runs_root_of(settings)
    if not data_dir.is_dir() or not (settings.database_url or (data_dir / DATABASE_FILE).exists()):
        raise BackupRefused(
            f"There is nothing to keep in {data_dir}", hint="Name the folder with --data-dir."
        )
    if (data_dir / RESTORE_MARKER).exists():
        raise BackupRefused(
            f"A restore into {data_dir} was cut short", hint="Run benchwire restore again first."
        )
    if runs_root is not None and not runs_root.is_dir():
        raise BackupRefused(
            f"The runs root {runs_root} is not there",
            hint="Mount its disk; without the runs a backup would not be whole.",
        )
    shelf = shelf.absolute()
    for root in filter(None, (data_dir, runs_root)):
        if shelf.resolve().is_relative_to(root.resolve()):
            raise BackupRefused(
                "A backup inside the folder it is made of would be lost with it",
                hint="Choose a folder on another disk.",
            )
    roots = [Root(data_dir, DATA_FOLDER)]
    if runs_root is not None:
        roots.append(Root(runs_root, RUNS_FOLDER, is_data=False, without=data_dir.resolve()))
    try:
        make_folders(shelf)
        with _alone_on(shelf):
            folder = _free_name(shelf, clock.now())
            part = folder.with_name(folder.name + PARTIAL_SUFFIX)
            try:
                manifest = _fill(part, settings, roots, clock, progress)
                part.rename(folder)
                sync_folder(shelf)
            except BaseException:
                # Under its first name again: what is being deleted is no backup.
                with contextlib.suppress(OSError):
                    folder.rename(part)
                shutil.rmtree(part, ignore_errors=True)
                raise
            deleted = _thin_out(folder, manifest, keep) if keep else ()
    except OSError as error:
        raise BackupFailed(
            f"The backup broke off: {disk_reason(error)}",
            hint="Nothing of it is left; earlier backups are as they were.",
        ) from error
    return Taken(folder, manifest, deleted)


def _fill(
    part: Path, settings: ServerSettings, roots: list[Root], clock: Clock, progress: Progress
) -> Manifest:
    listed = list_roots(roots)
    url = settings.database_url and database.postgresql_url(settings.database_url)
    source = settings.data_dir / DATABASE_FILE
    database_bytes = 0 if url else _size_with_log(source)
    needed = database_bytes + sum(found.size for found in listed.files)
    free = free_bytes(part.parent)
    if needed + _ROOM_BYTES > free:
        raise BackupRefused(
            f"The backup needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free",
            hint="Free space there, or choose another disk.",
        )
    progress.expect(needed)
    part.mkdir(mode=0o700)
    kept, vanished = _Copies(part, progress.advance), set[str]()
    _make_folders(part, listed)
    # The lists of runs are taken before the database, so that they name none which it lacks.
    _copy(kept, [found for found in listed.files if found.path.name == INDEX_FILE], vanished)
    taken_at = clock.now()
    kept.add(_snapshot(source, url or None, part / SNAPSHOT_FILE))
    progress.advance(database_bytes)
    for _ in range(_MOST_LOOKS):
        listed = list_roots(roots)
        _make_folders(part, listed)
        waiting = [
            found
            for found in listed.files
            if found.name not in kept.files and found.path.name != INDEX_FILE
        ]
        if not _copy(kept, waiting, vanished):
            break
    manifest = Manifest(
        version=benchwire.__version__,
        schema=database.schema_of(part / SNAPSHOT_FILE),
        taken_at=utc_text(taken_at),
        database="postgresql" if url else "sqlite",
        data_dir=str(settings.data_dir),
        runs_root=None if len(roots) == 1 else str(roots[1].path),
        files=tuple(kept.files[name] for name in sorted(kept.files)),
        vanished=tuple(sorted(vanished - kept.files.keys())),
        folders=tuple(listed.folders),
        folder_modes=listed.folders,
        links=listed.links,
    )
    write_manifest(part, manifest)
    sync_tree(part)
    return manifest


@dataclass(slots=True)
class _Copies:
    part: Path
    on_bytes: OnBytes
    files: dict[str, KeptFile] = field(default_factory=dict)

    def add(self, file: KeptFile) -> None:
        self.files[file.name] = file

    def take(self, found: Found) -> None:
        self.add(copy_growing(found, self.part / found.name, self.on_bytes))


def _make_folders(part: Path, listed: Listing) -> None:
    for name in listed.folders:
        (part / name).mkdir(parents=True, exist_ok=True)


def _copy(copies: _Copies, waiting: list[Found], vanished: set[str]) -> bool:
    """Copy files; whether any was gone when its turn came."""
    gone = set()
    for found in waiting:
        try:
            copies.take(found)
        except (FileNotFoundError, NotADirectoryError):
            gone.add(found.name)
    vanished |= gone
    return bool(gone)


def _size_with_log(source: Path) -> int:
    size = source.stat().st_size
    with contextlib.suppress(FileNotFoundError):
        size += source.with_name(f"{source.name}-wal").stat().st_size
    return size


def _snapshot(source: Path, url: sa.URL | None, target: Path) -> KeptFile:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    if url is not None:
        database.snapshot_postgresql(url, target)
    else:
        database.snapshot_sqlite(source, target)
    status = target.stat()
    return KeptFile(SNAPSHOT_FILE, status.st_size, sha256_of(target), status.st_mtime_ns, 0o600)


# -- the folder of backups --------------------------------------------------------------------


@contextlib.contextmanager
def _alone_on(shelf: Path) -> Iterator[None]:
    """Keep other backups out of a folder, and clear away what killed ones left."""
    try:
        lock = DataFolderLock(shelf)
    except DataFolderInUse as error:
        raise BackupRefused(
            f"Another backup is being made in {shelf}, or it is a server's data folder"
        ) from error
    try:
        for path in shelf.glob(f"*{PARTIAL_SUFFIX}"):
            if _NAME.fullmatch(path.name.removesuffix(PARTIAL_SUFFIX)) and path.is_dir():
                shutil.rmtree(path)
        yield
    finally:
        lock.close()


def _free_name(shelf: Path, now: datetime) -> Path:
    """Return the next name of this second; one that was deleted is not given again."""
    second = f"{now:%Y%m%dT%H%M%SZ}"
    taken = [number for at, number in map(_age, shelf.iterdir()) if at == second]
    number = max(taken, default=0) + 1
    return shelf / (f"benchwire-{second}" if number == 1 else f"benchwire-{second}-{number}")


def _age(backup: Path) -> tuple[str, int]:
    """Return the second a backup was begun in, and which of that second it is, from its name."""
    match = _NAME.fullmatch(backup.name)
    return (match["second"], int(match["number"] or 1)) if match else ("", 0)


def _thin_out(newest: Path, manifest: Manifest, keep: int) -> tuple[str, ...]:
    """Delete the oldest whole backups of a server but so many; whatever else lies there stays.

    Those of a time to come were made under a clock that was wrong: they count as the oldest, and
    the newest stays even where a clock that was set back makes it look old.
    """
    now = _age(newest)
    older = sorted(
        (path for path in newest.parent.iterdir() if path != newest and _is_like(manifest, path)),
        key=lambda path: (_age(path) <= now, _age(path)),
    )
    deleted = []
    for path in older[: max(0, len(older) + 1 - keep)]:
        # Under another name first: what is being deleted is no backup any more.
        going = path.with_name(path.name + PARTIAL_SUFFIX)
        try:
            path.rename(going)
            shutil.rmtree(going)
        except OSError as error:
            logger.warning("the old backup %s is not deleted: %s", path.name, error.strerror)
        else:
            deleted.append(path.name)
    return tuple(deleted)


def _is_like(manifest: Manifest, path: Path) -> bool:
    """Whether something on the shelf is a whole backup of the same places as another one.

    One that was made without the settings of the server, of no runs or another kind of database,
    would else push out all that are whole.
    """
    if not _NAME.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    try:
        found = json.loads((path / MANIFEST_FILE).read_text("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and all(
        found.get(name) == getattr(manifest, name) for name in ("data_dir", "database", "runs_root")
    )
