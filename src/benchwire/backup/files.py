"""Files on their way into a backup and out of it: found, copied, and known by their content."""

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchwire.backup.manifest import KeptFile
from benchwire.foundation.files import PARTIAL_SUFFIX, sha256_of, sync_folder

_BLOCK_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16
# What a server makes anew, what belongs to its process, and the database, which goes its own way.
_LEFT_OUT_FILES = frozenset({"benchwire.lock", ".session_key"})
_LEFT_OUT_FOLDERS = frozenset({"emulated", "battery/recorded", "plates/previews"})
_DATABASE_FILES = re.compile(r"benchwire\.db(?:-wal|-shm|-journal|\.damaged-.*)?|\.probe-.*")

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is kept, and what its files are called in a backup.

    Parameters
    ----------
    is_data
        Whether it is the data folder, in which some things are left out.
    """

    path: Path
    name: str
    is_data: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was there: its path, its name in the backup, its size at that moment."""

    path: Path
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What is kept of some roots at one moment.

    Parameters
    ----------
    folders
        Names of all folders; an empty one may be the place of a run that has just begun.
    links
        Names of symbolic links, which are not followed.
    """

    files: tuple[Found, ...]
    folders: tuple[str, ...]
    links: tuple[str, ...]


def list_roots(roots: Iterable[Root]) -> Listing:
    """Look through roots."""
    files: list[Found] = []
    folders: list[str] = []
    links: list[str] = []
    for root, folder, relative in _all_folders(roots):
        folders.append(f"{root.name}/{relative}".rstrip("/"))
        for entry in _entries(folder):
            name = f"{root.name}/{relative}{entry.name}"
            if _is_left_out(root, f"{relative}{entry.name}"):
                continue
            if entry.is_symlink():
                links.append(name)
            elif entry.is_file(follow_symlinks=False) and not name.endswith(PARTIAL_SUFFIX):
                with contextlib.suppress(FileNotFoundError):
                    size = entry.stat(follow_symlinks=False).st_size
                    files.append(Found(Path(entry.path), name, size))
    return Listing(tuple(files), tuple(folders), tuple(links))


def _all_folders(roots: Iterable[Root]) -> Iterator[tuple[Root, Path, str]]:
    waiting = [(root, root.path, "") for root in roots]
    while waiting:
        root, folder, relative = waiting.pop()
        yield root, folder, relative
        waiting += [
            (root, Path(entry.path), f"{relative}{entry.name}/")
            for entry in _entries(folder)
            if entry.is_dir(follow_symlinks=False)
            and not _is_left_out(root, f"{relative}{entry.name}")
        ]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_left_out(root: Root, name: str) -> bool:
    if not root.is_data:
        return False
    if "/" not in name and (name in _LEFT_OUT_FILES or _DATABASE_FILES.fullmatch(name)):
        return True
    return name in _LEFT_OUT_FOLDERS


def copy_growing(found: Found, target: Path, on_bytes: OnBytes) -> KeptFile:
    """Copy a file of a working server and return what was copied.

    It is taken as long as it was when it was opened. A table that grew meanwhile may have been
    opened in the midst of a row, and is taken up to its last whole one.

    Raises
    ------
    FileNotFoundError
        It is not there any more.
    """
    digest = hashlib.sha256()
    copied, last = 0, b""
    with found.path.open("rb", buffering=0) as source:
        status = os.fstat(source.fileno())
        with target.open("xb", buffering=0) as file:
            while block := source.read(min(_BLOCK_BYTES, status.st_size - copied)):
                digest.update(block)
                _write_all(file.fileno(), block)
                copied += len(block)
                last = block[-1:]
                on_bytes(len(block))
            sha256 = digest.hexdigest()
            is_growing = os.fstat(source.fileno()).st_size > found.size
            if is_growing and target.suffix == ".csv" and last != b"\n":
                copied = _cut_to_whole_row(target, copied)
                sha256 = sha256_of(target)
    mode = stat.S_IMODE(status.st_mode)
    target.chmod(mode)
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
    return KeptFile(found.name, copied, sha256, status.st_mtime_ns, mode)


def copy_back(kept: KeptFile, source: Path, target: Path, on_bytes: OnBytes) -> bool:
    """Copy a file out of a backup; whether it was what the backup says it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb", buffering=0) as opened, target.open("xb", buffering=0) as file:
        target.chmod(0o600)
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
            _write_all(file.fileno(), block)
            on_bytes(len(block))
    target.chmod(kept.mode)
    os.utime(target, ns=(kept.mtime_ns, kept.mtime_ns))
    return digest.hexdigest() == kept.sha256


def sync_tree(top: Path) -> None:
    """Bring a tree of new files to the disk."""
    if _sync_file_system(top):
        return
    for folder, _, names in os.walk(top):
        for name in names:
            # Windows synchronises only what is open for writing.
            with (Path(folder) / name).open("r+b") as file:
                os.fsync(file.fileno())
        sync_folder(Path(folder))


def _sync_file_system(folder: Path) -> bool:
    """Write out all of a disk at once, where Linux can; file by file waits for it each time.

    Raises
    ------
    OSError
        Something on that disk could not be written.
    """
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError, TypeError):
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
    return True


def free_bytes(folder: Path) -> int:
    """Return the room on the disk on which a folder is, or would be made."""
    at = folder
    while not at.exists():
        at = at.parent
    return shutil.disk_usage(at).free


def _write_all(descriptor: int, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _cut_to_whole_row(path: Path, size: int) -> int:
    with path.open("r+b") as file:
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        end = start + file.read().rfind(b"\n") + 1
        if end > start:
            file.truncate(end)
            return end
    return size
