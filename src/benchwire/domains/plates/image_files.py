"""Image files on the disk, named by their content.

A file is written under another name, synced, and renamed, before the record that needs it is made;
it is removed after the last such record is gone. A crash in between leaves at most a file that
nobody needs, and the next start puts those aside. It deletes none: whether a database is the right
one cannot be told from here, and every image is one of a drop at a moment that is over.
"""

import hashlib
import logging
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from benchwire.foundation.files import PARTIAL_SUFFIX, make_folders, sync_folder

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file's content as SHA-256 in hexadecimal, and its size."""

    sha256: str
    byte_size: int


class ImageFiles:
    """The folder of all image files and their previews.

    Parameters
    ----------
    used
        Says which of some contents are still needed.
    """

    def __init__(self, folder: Path, used: Callable[[Sequence[str]], set[str]]) -> None:
        self._files = (folder / "images").resolve()
        self._previews = folder / "previews"
        self._unneeded = folder / "unneeded"
        self._used = used
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    def path(self, sha256: str) -> Path:
        """Return where a content lies."""
        return self._files / sha256[:2] / sha256

    def preview(self, sha256: str, pixels: int) -> Path:
        """Return where a content's preview lies once it is made."""
        return self._previews / sha256[:2] / f"{sha256}-{pixels}.webp"

    @contextmanager
    def kept(self, source: BinaryIO) -> Iterator[StoredFile]:
        """Store a file, and keep it while the record that needs it is made.

        If nothing needs it afterwards it is removed again.
        """
        make_folders(self._files)
        source.seek(0)
        descriptor, temporary = tempfile.mkstemp(dir=self._files, suffix=PARTIAL_SUFFIX)
        digest, size = hashlib.sha256(), 0
        try:
            with os.fdopen(descriptor, "wb") as target:
                while block := source.read(_BLOCK_BYTES):
                    digest.update(block)
                    size += target.write(block)
                target.flush()
                os.fsync(target.fileno())
            stored = StoredFile(digest.hexdigest(), size)
            path = self.path(stored.sha256)
            make_folders(path.parent)
            with self._lock:
                os.replace(temporary, path)  # noqa: PTH105 - the atomic call, by its own name
                self._held[stored.sha256] += 1
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        try:
            sync_folder(path.parent)
            yield stored
        finally:
            with self._lock:
                self._held[stored.sha256] -= 1
            self.discard([stored.sha256])

    def discard(self, contents: Iterable[str]) -> None:
        """Remove those contents that nothing needs any more.

        Where it cannot be told which these are they stay, and the next start puts them aside.
        """
        with self._lock:
            free = [item for item in contents if self._held[item] <= 0]
            for item in free:
                del self._held[item]
            try:
                needed = self._used(free) if free else set()
                for item in free:
                    if item not in needed:
                        self._remove(item)
            except Exception:
                # The records are stored or gone already; nobody is told otherwise.
                logger.exception("image files that nothing needs may be left behind")

    def heal(self, needed: set[str]) -> list[str]:
        """Settle what a crash left behind, and return the contents whose file is missing.

        Files that nothing needs go to ``unneeded`` and come back once something does.
        """
        for path in self._files.glob("*"):
            if path.is_file():
                path.unlink()  # an upload that was cut short
        for path in self._previews.glob("??/*"):
            if path.name.partition("-")[0] not in needed:
                path.unlink()
        there = {path.name: path for path in self._files.glob("??/*")}
        unneeded = there.keys() - needed
        if unneeded:
            make_folders(self._unneeded)
            logger.warning("%d images that nothing needs go to %s", len(unneeded), self._unneeded)
        for content in unneeded:
            there[content].replace(self._unneeded / content)
        missing = sorted(content for content in needed - there.keys() if not self._is_back(content))
        if missing:
            logger.error("%d image files are missing: %s", len(missing), ", ".join(missing[:5]))
        return missing

    def _is_back(self, content: str) -> bool:
        """Bring a content back that was put aside; whether there was one."""
        kept = self._unneeded / content
        if not kept.is_file():
            return False
        make_folders(self.path(content).parent)
        kept.replace(self.path(content))
        return True

    def _remove(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)
        for path in self._previews.glob(f"{sha256[:2]}/{sha256}-*"):
            path.unlink(missing_ok=True)
