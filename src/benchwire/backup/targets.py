"""The folders that a restore fills: held, marked until all is there, and left empty if it fails."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath

from benchwire.backup.manifest import (
    DATA_FOLDER,
    PERMISSIONS,
    RUNS_FOLDER,
    SNAPSHOT_FILE,
    BackupRefused,
    BackupUnusable,
    Manifest,
)
from benchwire.foundation.db import DATABASE_FILE
from benchwire.foundation.files import (
    PARTIAL_SUFFIX,
    make_folders,
    sync_folder,
    sync_tree,
    write_whole,
)
from benchwire.foundation.jobs.sessions import (
    LOCK_FILE,
    RESTORE_MARKER,
    DataFolderInUse,
    DataFolderLock,
)

_STAGED_NAME = f".restore{PARTIAL_SUFFIX}"
# What an empty folder may hold: what a restore that was killed has left besides files of the
# backup, and what file systems put into theirs.
_NOTHING = frozenset({LOCK_FILE, RESTORE_MARKER, _STAGED_NAME, "lost+found"})


class Target:
    """A folder that a restore fills: everything is made in one folder within it, then moved up.

    It may be a disk of its own or lie in a folder that cannot be written. A marker lies in it from
    the beginning to the end and lists the names that are given there: one of them that is not in
    the folder within any more is the restore's, and any other somebody else's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staged = folder / _STAGED_NAME
        self._marker = folder / RESTORE_MARKER
        self._is_new = not folder.exists()

    def check_free(self) -> None:
        """See that there is nothing but what a restore has left.

        Raises
        ------
        BackupRefused
        """
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            raise BackupRefused(f"{self.folder} is no folder")
        if not self.is_free():
            raise BackupRefused(f"{self.folder} is not empty", hint="Restore into a new folder.")

    def is_free(self) -> bool:
        """Whether there is nothing but what a restore has left."""
        if not self.folder.exists():
            return True
        return {path.name for path in self.folder.iterdir()} <= _NOTHING | self._given()

    def make(self) -> None:
        """Make the folder, closed to others until what comes into it says who may read it."""
        make_folders(self.folder)
        if self._is_new:
            self.folder.chmod(0o700)

    def unmake(self) -> None:
        """Remove the folder if it was made here and nothing is in it."""
        if self._is_new:
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def clear(self) -> None:
        """Remove what a restore has given names here, then what has none yet."""
        for name in self._given():
            _remove(self.folder / name)
        _remove(self.staged)

    def begin(self) -> None:
        """Mark the folder, and make the one within it."""
        self.make()
        self.staged.mkdir(mode=0o700)
        self._mark([])

    def give_names(self) -> None:
        """Have everything appear at its place.

        Raises
        ------
        FileExistsError
            Something is there meanwhile.
        """
        names = sorted(path.name for path in self.staged.iterdir())
        self._mark(names)
        for name in names:
            _move(self.staged / name, self.folder / name)
        self.staged.rmdir()
        sync_folder(self.folder)

    def finish(self, mode: int | None) -> None:
        """Let servers in.

        Parameters
        ----------
        mode
            Permission bits for the folder if it was made here, None where they are not known.
        """
        if self._is_new:
            self.folder.chmod(0o755 if mode is None else usable(mode))
        self._marker.unlink()
        sync_folder(self.folder)

    def undo(self) -> None:
        """Leave nothing; where something cannot be removed, the marker stays."""
        with contextlib.suppress(OSError):
            self.clear()
            self._marker.unlink(missing_ok=True)
            self.unmake()

    def _given(self) -> set[str]:
        try:
            names = json.loads(self._marker.read_text("utf-8"))
        except (OSError, ValueError):
            return set()
        # What is removed by such a list lies in this folder, whoever has written the list.
        return {
            name
            for name in map(str, names if isinstance(names, list) else ())
            if Path(name).name == name and not os.path.lexists(self.staged / name)
        }

    def _mark(self, names: Sequence[str]) -> None:
        made = self.staged / RESTORE_MARKER
        write_whole(made, json.dumps(names).encode())
        made.replace(self._marker)
        sync_folder(self.folder)


class Targets:
    """The data folder and, where they have one, the folder of the runs."""

    def __init__(self, data: Target, runs: Target | None) -> None:
        self.data = data
        self.runs = runs
        self._all = (data,) if runs is None else (data, runs)

    def check_free(self) -> None:
        """See that there is nothing but what a restore has left.

        Raises
        ------
        BackupRefused
        """
        for target in self._all:
            target.check_free()

    def clear(self) -> None:
        """Remove what a restore has left."""
        for target in self._all:
            target.clear()

    def begin(self) -> None:
        """Mark the folders, and make those within them."""
        for target in self._all:
            target.begin()

    def needed(self, manifest: Manifest) -> dict[Path, int]:
        """Return how many bytes go into each folder."""
        if self.runs is None:
            return {self.data.folder: manifest.size}
        runs = sum(file.size for file in manifest.files if file.name.startswith(f"{RUNS_FOLDER}/"))
        return {self.data.folder: manifest.size - runs, self.runs.folder: runs}

    def moves(self, manifest: Manifest) -> dict[Path, Path]:
        """Return the new place of each folder by its old one."""
        moves = {Path(manifest.data_dir): self.data.folder}
        if manifest.runs_root is not None:
            new = self.runs.folder if self.runs else self.data.folder / RUNS_FOLDER
            moves[Path(manifest.runs_root)] = new
        return moves

    def place(self, name: str) -> Path:
        """Return where a file of the backup is made.

        Raises
        ------
        BackupUnusable
            The name leads elsewhere.
        """
        if name == SNAPSHOT_FILE:
            return self.data.staged / DATABASE_FILE
        first, *rest = PurePosixPath(name).parts
        top = self.data.staged
        if first == RUNS_FOLDER:
            top = self.runs.staged if self.runs else top / RUNS_FOLDER
        path = top.joinpath(*rest)
        if not path.is_relative_to(top):
            raise BackupUnusable(f"The backup names a file that cannot be: {name[:80]}")
        return path

    def give_names(self) -> None:
        """Bring everything to the disk and have it appear."""
        for target in self._all:
            sync_tree(target.staged)
        for target in self._all:
            target.give_names()

    def finish(self, modes: Mapping[str, int]) -> None:
        """Let servers in; the data folder, which they look at, comes last."""
        if self.runs is not None:
            self.runs.finish(modes.get(RUNS_FOLDER))
        self.data.finish(modes.get(DATA_FOLDER))

    def undo(self) -> None:
        """Leave nothing."""
        for target in self._all:
            target.undo()


@contextlib.contextmanager
def alone_in(target: Target, seen_at: datetime) -> Iterator[None]:
    """Keep servers and other restores out of a folder; one that was made for it goes if all fails.

    Parameters
    ----------
    seen_at
        When the next start is to say that the server was last seen.
    """
    target.make()
    try:
        lock = DataFolderLock(target.folder)
    except DataFolderInUse as error:
        raise BackupRefused(
            f"A server or another restore is at work in {target.folder}",
            hint="Restore into a new folder.",
        ) from error
    try:
        yield
    except BaseException:
        if target.is_free():
            # Before it is let go: afterwards it may be another's. Windows keeps what is open.
            with contextlib.suppress(OSError):
                (target.folder / LOCK_FILE).unlink()
        lock.close()
        target.unmake()
        raise
    lock.close(seen_at=seen_at)


def usable(mode: int) -> int:
    """Return the permission bits of a folder, whose owner has to be able to write into it."""
    return (mode & PERMISSIONS) | 0o700


def _move(path: Path, target: Path) -> None:
    # A rename takes the place of a file or an empty folder without a word; a link that leads
    # nowhere is something too.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    path.rename(target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
