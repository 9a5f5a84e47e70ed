"""Files that are whole or absent, names that are safe, and folders nobody gets out of."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from benchwire.foundation.errors import NotFound

PARTIAL_SUFFIX = ".part"
_BLOCK_BYTES = 1 << 20
MAX_NAME_LENGTH = 100


class FileNotInFolder(NotFound):
    """There is no such file, or it is not one that may be read; the answer is the same for both."""

    code = "files.not_found"


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a crash leaves either the old content or the new, never a part.

    The data reach the disk before the name does: temporary file, fsync, rename, fsync of the
    folder.
    """
    descriptor, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name[:60]}.", suffix=PARTIAL_SUFFIX
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.chmod(temporary, mode)  # noqa: PTH101 - works on the file just made
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the atomic call, by its own name
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


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


def sanitise(text: str, *, max_length: int = MAX_NAME_LENGTH) -> str:
    """Return text as one folder or file name made of ``0-9 A-Z a-z _ -``; may be empty.

    Every run of other characters becomes one underscore, repeats are collapsed and the ends
    trimmed, so the name is the same on Linux and Windows and never a hidden or parent folder.
    """
    name = re.sub(r"[^0-9A-Za-z_-]+", "_", text.strip())
    name = re.sub(r"_{2,}", "_", name)
    name = re.sub(r"-{2,}", "-", name).strip("_-")
    return name[:max_length].strip("_-")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text, read block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def stream_zip(files: Iterable[tuple[PurePosixPath, Path]]) -> Iterator[bytes]:
    """Yield a ZIP archive piece by piece; memory does not grow with its size."""
    from zipstream import ZIP_DEFLATED, ZipStream

    archive = ZipStream(compress_type=ZIP_DEFLATED, compress_level=1)
    for name, path in files:
        archive.add_path(str(path), arcname=str(name))
    yield from archive
