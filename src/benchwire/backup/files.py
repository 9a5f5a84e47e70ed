"""Files on their way into a backup and out of it: found, copied, and known by their content."""

import contextlib
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from benchwire.backup.manifest import DATA_FOLDER, PERMISSIONS, KeptFile
from benchwire.foundation.files import PARTIAL_SUFFIX, sha256_of, sync_alone

_BLOCK_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16
# What a server makes anew, what belongs to its process, and the database, which goes its own way.
_LEFT_OUT_FILES = frozenset({"benchwire.lock", "owner.json", ".session_key", ".cluster-probe"})
_LEFT_OUT_FOLDERS = frozenset({"emulated", "battery/recorded", "plates/previews"})
# What file systems put into the top of theirs.
_LOST_AND_FOUND = "lost+found"
_DATABASE_FILES = re.compile(
    r"benchwire\.db(?:-wal|-shm|-journal|\.damaged-.*|\.copy.*)?|\.probe-.*"
)

# What a server has not yet given its name: hidden files, stacks of images, and uploads of images.
# A person's own files, such as those of a browser, may end in .part as well.
_HALF_WRITTEN = re.compile(
    rf"(?:.*/)?(?:\.[^/]+|[^/]+\.npy){re.escape(PARTIAL_SUFFIX)}"
    rf"|{DATA_FOLDER}/plates/images/[^/]+{re.escape(PARTIAL_SUFFIX)}",
    re.DOTALL,
)

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is kept, and what its files are called in a backup.

    Parameters
    ----------
    is_data
        Whether it is the data folder, in which some things are left out.
    without
        A folder within it that is a root of its own.
    """

    path: Path
    name: str
    is_data: bool = True
    without: Path | None = None


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
        Permission bits of all folders by name; an empty one may be the place of a run that has just
        begun.
    links
        Names of symbolic links, which are not followed.
    """

    files: tuple[Found, ...]
    folders: dict[str, int]
    links: tuple[str, ...]


def list_roots(roots: Iterable[Root]) -> Listing:
    """Look through roots."""
    files: list[Found] = []
    folders: dict[str, int] = {}
    links: list[str] = []
    for root, folder, relative in _all_folders(roots):
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(folder.stat().st_mode) & PERMISSIONS
            folders[f"{root.name}/{relative}".rstrip("/")] = mode
        for entry in _entries(folder):
            name = f"{root.name}/{relative}{entry.name}"
            if _is_left_out(root, f"{relative}{entry.name}"):
                continue
            if entry.is_symlink():
                links.append(name)
            elif entry.is_file(follow_symlinks=False) and not _HALF_WRITTEN.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):
                    size = entry.stat(follow_symlinks=False).st_size
                    files.append(Found(Path(entry.path), name, size))
    return Listing(tuple(files), folders, tuple(links))


def _all_folders(roots: Iterable[Root]) -> Iterator[tuple[Root, Path, str]]:
    waiting = [(root, root.path, "") for root in roots]
    while waiting:
        root, folder, relative = waiting.pop()
        yield root, folder, relative
        waiting += [
            (root, Path(entry.path), f"{relative}{entry.name}/")
            for entry in _entries(folder)
            if entry.is_dir(follow_symlinks=False)
            and Path(entry.path) != root.without
            and not _is_left_out(root, f"{relative}{entry.name}")
        ]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_left_out(root: Root, name: str) -> bool:
    if name == _LOST_AND_FOUND:
        return True
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
        with _naming(target), target.open("x+b", buffering=0) as file:
            while block := _read(source, found.path, status.st_size - copied):
                digest.update(block)
                _write_all(file.fileno(), block)
                copied += len(block)
                last = block[-1:]
                on_bytes(len(block))
            sha256 = digest.hexdigest()
            is_growing = os.fstat(source.fileno()).st_size > found.size
            if is_growing and target.suffix == ".csv" and last != b"\n":
                copied = _cut_to_whole_row(file, copied)
                sha256 = sha256_of(target)
            sync_alone(file.fileno())
    mode = stat.S_IMODE(status.st_mode) & PERMISSIONS
    target.chmod(mode)
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
    return KeptFile(found.name, copied, sha256, status.st_mtime_ns, mode)


def copy_back(kept: KeptFile, source: Path, target: Path, on_bytes: OnBytes) -> bool:
    """Copy a file out of a backup; whether it was what the backup says it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with (
        source.open("rb", buffering=0) as opened,
        _naming(target),
        target.open("xb", buffering=0) as file,
    ):
        target.chmod(0o600)
        while block := _read(opened, source, _BLOCK_BYTES):
            digest.update(block)
            _write_all(file.fileno(), block)
            on_bytes(len(block))
        sync_alone(file.fileno())
    target.chmod(kept.mode & PERMISSIONS)
    os.utime(target, ns=(kept.mtime_ns, kept.mtime_ns))
    return digest.hexdigest() == kept.sha256


def free_bytes(folder: Path) -> int:
    """Return the room on the disk on which a folder is, or would be made."""
    return shutil.disk_usage(_nearest(folder)).free


def disk_of(folder: Path) -> int:
    """Return a number that is the same for folders on the same disk, made or not."""
    return _nearest(folder).stat().st_dev


def _nearest(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have errors of an open file say which it is."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _read(file: FileIO, path: Path, most: int) -> bytes:
    with _naming(path):
        return file.read(min(_BLOCK_BYTES, most))


def _write_all(descriptor: int, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _cut_to_whole_row(file: FileIO, size: int) -> int:
    start = max(0, size - _TAIL_BYTES)
    file.seek(start)
    end = start + file.read().rfind(b"\n") + 1
    if end > start:
        file.truncate(end)
        return end
    return size
