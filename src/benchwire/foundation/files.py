"""Files that are whole or absent, names that are safe, and folders nobody gets out of."""

import ctypes
import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from benchwire.foundation.errors import Forbidden, Invalid, NotFound, Unavailable

PARTIAL_SUFFIX = ".part"
_BLOCK_BYTES = 1 << 20
MAX_NAME_LENGTH = 100
# What Windows takes for a device, whatever folder it is in.
_DEVICES = frozenset(
    ("CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10)))
)


class FileNotInFolder(NotFound):
    """There is no such file, or it is not one that may be read; the answer is the same for both."""

    code = "files.not_found"


class PathInvalid(Invalid):
    """The text is no path that can be used here."""

    code = "files.path_invalid"


class PathForbidden(Forbidden):
    """The path leads out of the folders that requests may name; whether it exists is not told."""

    code = "files.path_forbidden"


class PathMissing(NotFound):
    """Nothing is at that path."""

    code = "files.path_missing"


class DiskRefused(Unavailable):
    """The disk did not take or give what it was asked to."""

    code = "files.disk_refused"


class DiskAlmostFull(Unavailable):
    """There is too little free space for what was asked for."""

    code = "files.disk_almost_full"


_FOREIGN = "{} leads outside the folders that may be used"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FAILING = frozenset({errno.EIO, errno.EROFS, errno.EFBIG})


def disk_refusal(error: OSError) -> DiskRefused | None:
    """Return what to tell of an error if it is a disk's that is full, failing or read-only."""
    if error.errno in _FULL:
        return DiskRefused("The disk is full; make room and start again")
    if error.errno in _FAILING:
        return DiskRefused(f"The disk refused: {error.strerror}")
    return None


@contextmanager
def disk_troubles_told() -> Iterator[None]:
    """Turn what the disk refuses within a block into a sentence for people.

    Raises
    ------
    DiskRefused
    """
    try:
        yield
    except OSError as error:
        told = disk_refusal(error) or DiskRefused(f"The disk refused: {error.strerror or error}")
        raise told from error


class BrokenOff(Exception):
    """A file changed or vanished while it was sent; what was sent must not end well."""


class AllowedFolders:
    """The folders in which requests may name paths; none stands for all of them.

    A path counts by what it leads to once every link in it is followed, and of one that does not
    exist yet, by the part that does.

    Parameters
    ----------
    home
        The server's own folder: of what is in it, folders may be named, and no files beside them.
    secret
        Folders in it that may not.
    """

    def __init__(
        self, folders: Sequence[Path] = (), *, home: Path | None = None, secret: Sequence[str] = ()
    ) -> None:
        self.folders = tuple(folder.resolve() for folder in folders)
        self._home = None if home is None else home.resolve()
        self._secret = frozenset(secret)

    def is_allowed(self, path: Path) -> bool:
        """Whether a path leads into the allowed folders."""
        if not self.folders and self._home is None:
            return True
        try:
            resolved = path.resolve()
        except (OSError, ValueError, RuntimeError):
            return False  # a loop of links leads nowhere
        return self._holds(resolved)

    def _holds(self, resolved: Path) -> bool:
        """Whether a path without links is in the allowed folders."""
        if self._is_own(resolved):
            return False
        return not self.folders or any(resolved.is_relative_to(folder) for folder in self.folders)

    def _is_own(self, resolved: Path) -> bool:
        """Whether a path is, or would become, one of the server's keys, settings or databases."""
        if self._home is None or not resolved.is_relative_to(self._home):
            return False
        parts = resolved.relative_to(self._home).parts
        if not parts:
            return False
        top = self._home / parts[0]
        # All of its files there are hidden or have an ending; results may get a folder of any name.
        return parts[0] in self._secret or (not top.is_dir() and (top.exists() or "." in parts[0]))

    def refuse_foreign(self, path: Path) -> None:
        """Raise `PathForbidden` unless a path leads into the allowed folders."""
        if not self.is_allowed(path):
            raise PathForbidden(_FOREIGN.format(path.name))

    def path(self, text: str) -> Path:
        """Return the path that a request names, whether or not anything is there.

        Raises
        ------
        PathInvalid
            It is not absolute, or no file can have that name.
        PathForbidden
            It leads out of the allowed folders.
        """
        return self.paths(text)[0]

    def paths(self, *texts: str) -> list[Path]:
        """Return the paths that a request names: all of a usable form, then all allowed.

        Raises
        ------
        PathInvalid
            One is not absolute, or no file can have that name.
        PathForbidden
            One leads out of the allowed folders.
        """
        paths = [_absolute(text) for text in texts]
        if not all(map(self.is_allowed, paths)):
            raise PathForbidden("The path is outside the folders that may be used")
        return paths

    def real(self, path: Path) -> Path:
        """Return where a path leads once every link in it is followed, for `open_plain`.

        Raises
        ------
        PathForbidden
            It leads out of the allowed folders.
        """
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError) as error:
            raise PathForbidden(f"{path.name} leads nowhere") from error
        if not self._holds(resolved):
            raise PathForbidden(_FOREIGN.format(path.name))
        return resolved

    def file(self, text: str) -> Path:
        """Return the path of a file that is there."""
        path = self.existing(text)
        if not path.is_file():
            raise PathInvalid(f"{path.name} is not a file")
        return path

    def folder(self, text: str) -> Path:
        """Return the path of a folder that is there."""
        path = self.existing(text)
        if not path.is_dir():
            raise PathInvalid(f"{path.name} is not a folder")
        return path

    def existing(self, text: str) -> Path:
        """Return the path of a file or folder that is there."""
        path = self.path(text)
        if not path.exists():
            raise PathMissing(f"There is no {path.name or 'such path'}")
        return path


def _absolute(text: str) -> Path:
    """Return the path of a text that is a whole one."""
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise PathInvalid(
            "A path has to be absolute",
            hint="Copy it from there to here first, and name the copy."
            if "://" in text
            else "Begin it with the root folder.",
        )
    try:
        # Surrogates and names beyond the system's limits end here, not at the first use.
        os.fsencode(text)
        path.is_dir()
    except (OSError, ValueError) as error:
        raise PathInvalid("The path cannot be that of any file") from error
    return path


@contextmanager
def whole_file(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a file for writing so that a crash leaves either the old content or the new.

    The data reach the disk before the name does: temporary file, fsync, rename, fsync of the
    folder. What is raised within leaves the old file and nothing else.
    """
    descriptor, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name[:60]}.", suffix=PARTIAL_SUFFIX
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.chmod(temporary, mode)  # noqa: PTH101 - works on the file just made
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the atomic call, by its own name
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a crash leaves either the old content or the new, never a part."""
    with whole_file(path, mode=mode) as file:
        file.write(content)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable; a no-op where folders cannot be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Windows: a folder cannot be opened, NTFS journals names by itself
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def not_left_out(error: OSError) -> None:
    """Raise what `os.walk` would pass over: a folder left out would be missed by nobody."""
    raise error


def sync_tree(top: Path) -> None:
    """Bring a tree of new files to the disk, what is in them and their names.

    Where that has to be done file by file, what may only be read cannot be opened for it: whoever
    writes such files calls `sync_alone` for each.

    Raises
    ------
    OSError
        Something on that disk could not be written.
    """
    if (syncfs := _syncfs()) is None:
        for folder, _, names in os.walk(top):
            for name in names:
                _sync_file(Path(folder, name))
            sync_folder(Path(folder))
        return
    descriptor = os.open(top, os.O_RDONLY)
    try:
        if syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(top))
    finally:
        os.close(descriptor)


def sync_alone(descriptor: int) -> None:
    """Bring an open file to the disk, unless `sync_tree` does so for all files at once."""
    if _syncfs() is None:
        os.fsync(descriptor)


def _syncfs() -> Callable[[int], int] | None:
    """Return what writes out all of a disk at once, where Linux has it.

    File by file one waits for the disk each time.
    """
    try:
        return cast("Callable[[int], int]", ctypes.CDLL(None, use_errno=True).syncfs)
    except (AttributeError, OSError, TypeError):
        return None


def _sync_file(path: Path) -> None:
    try:
        # Windows brings only what is open for writing to the disk.
        descriptor = os.open(path, os.O_RDWR)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep others who ask likewise from changing what is in a folder between reading and writing.

    Not to be asked for again within the block.
    """
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks on folders
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Make a folder and its parents durably."""
    missing = []
    at = folder
    while not at.exists():
        missing.append(at)
        at = at.parent
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def make_usable(folder: Path) -> None:
    """Make a folder that a request names for output, and see that files can be made in it.

    Raises
    ------
    PathInvalid
        It cannot be made or written.
    DiskRefused
        The disk is full or failing, which is no fault of the request.
    """
    try:
        make_folders(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno != errno.EROFS and (refusal := disk_refusal(error)) is not None:
            raise refusal from error
        raise PathInvalid(
            f"The folder {folder.name} cannot be written: {error.strerror}"
        ) from error


def refuse_too_large(folder: Path, needed: int, what: str) -> None:
    """Refuse what would not fit on the disk of a folder.

    Parameters
    ----------
    needed
        In bytes.
    what
        What it is for, as ``the copy``.

    Raises
    ------
    DiskAlmostFull
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        asked, there = f"{needed / 1e9:.2f} GB", f"{free / 1e9:.2f} GB"
        raise DiskAlmostFull(
            f"{asked} are needed for {what}, and {there} are free on the disk",
            hint="Free space on that disk, or choose a folder on another.",
        )


def file_inside(folder: Path, relative: str) -> Path:
    """Return a regular file inside a folder, links resolved.

    Raises
    ------
    FileNotInFolder
        Empty, missing, a folder, outside, or a name that no file can have.
    """
    try:
        root = folder.resolve(strict=True)
        path = (root / relative).resolve(strict=True)
        if relative and path.is_relative_to(root) and path.is_file():
            return path
    except (OSError, ValueError, RuntimeError):
        pass  # NUL byte, over-long name, link loop: none of them is a file of this folder
    raise FileNotInFolder("There is no such file here")


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file for reading, by a path without links; the caller closes it.

    A link that somebody puts in the place of the file or of a folder above it, after that was
    looked at, is not followed; on Windows, which opens by whole paths alone, it is.

    Parameters
    ----------
    path
        As `Path.resolve` returns it.

    Raises
    ------
    OSError
        There is no such file, or a link on the way to it.
    """
    if os.open not in os.supports_dir_fd:
        return path.open("rb")
    *folders, name = path.relative_to(path.anchor).parts
    # Folders on the way need to be passed, not read.
    passing = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY
    at = os.open(path.anchor, passing)
    try:
        steps = [*((part, passing) for part in folders), (name, os.O_RDONLY | os.O_NONBLOCK)]
        for part, flags in steps:
            opened = os.open(part, flags | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = opened
        if not stat.S_ISREG(os.fstat(at).st_mode):
            raise FileNotFoundError(errno.ENOENT, "Not a regular file", str(path))
        return os.fdopen(at, "rb")
    except BaseException:
        os.close(at)
        raise


def reopened(file: BinaryIO) -> str:
    """Return a path of a file that is open already; on Linux nothing can be put in its place."""
    return f"/dev/fd/{file.fileno()}" if Path("/dev/fd").is_dir() else file.name


def sanitise(text: str) -> str:
    """Return text as one folder or file name made of ``0-9 A-Z a-z _ -``; may be empty.

    Every run of other characters becomes one underscore, repeats are collapsed and the ends
    trimmed, so the name is the same on Linux and Windows and never a hidden or parent folder.
    """
    name = re.sub(r"[^0-9A-Za-z_-]+", "_", text.strip())
    name = re.sub(r"_{2,}", "_", name)
    name = re.sub(r"-{2,}", "-", name).strip("_-")
    name = name[:MAX_NAME_LENGTH].strip("_-")
    return f"{name}_0" if name.upper() in _DEVICES else name


def is_text(name: str) -> bool:
    """Whether a name can be said in an answer; Linux allows any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def sha256_of(path: Path, on_block: Callable[[int], None] = lambda _: None) -> str:
    """Return the SHA-256 of a file as hexadecimal text, read block by block.

    Parameters
    ----------
    on_block
        Called with the number of bytes of each block; what it raises stops the reading.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            on_block(len(block))
    return digest.hexdigest()


def stream_zip(files: Iterable[tuple[PurePosixPath, Path]]) -> Iterator[bytes]:
    """Yield a ZIP archive piece by piece; memory does not grow with its size.

    Parameters
    ----------
    files
        Names in the archive, and where they lie, as `open_plain` takes it.

    Raises
    ------
    BrokenOff
        A file cannot be read any more.
    """
    from zipstream import ZIP_DEFLATED, ZipStream

    archive = ZipStream(compress_type=ZIP_DEFLATED, compress_level=1)
    for name, path in files:
        try:
            with open_plain(path) as file:
                archive.add_path(reopened(file), arcname=str(name))
                yield from archive.all_files()
        except OSError as error:
            raise BrokenOff(f"{name} cannot be read: {error.strerror}") from error
    yield from archive.finalize()
