"""The ZIP of a crate, made while it is sent: what is packed is what is hashed."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchwire.foundation.catalogue import Bundle, BundledFile
from benchwire.foundation.clock import Clock
from benchwire.foundation.errors import NotFound
from benchwire.foundation.files import BrokenOff, disk_troubles_told, open_plain
from benchwire.foundation.run_record import RUN_NAME
from benchwire.foundation.samples.names import SampleLink
from benchwire.foundation.workers import TooBusy
from benchwire.home.crates import metadata, preview
from benchwire.home.crates.metadata import METADATA_NAME, PREVIEW_NAME, Described, Terms
from benchwire.home.crates.names import Names
from benchwire.home.crates.record import encoded, run_content
from benchwire.home.crates.software import applications, recorded_versions

CHECKSUMS_NAME = "manifest-sha256.txt"
SCRATCH_PREFIX = ".crate-"
_MOST_FOLDERS = 8
# The folder belongs to a preview of several pages, and the last is the name of old metadata.
_RESERVED = (
    METADATA_NAME, PREVIEW_NAME, CHECKSUMS_NAME, "ro-crate-preview_files",
    "ro-crate-metadata.jsonld",
)  # fmt: skip
_READ_BYTES = 1 << 20
# Each piece goes through a thread and the event loop, which small ones would keep busy.
_PIECE_BYTES = 1 << 16
# Packing these once more takes time and gains nothing.
_PACKED = frozenset(
    [
        "application/gzip", "application/vnd.apache.parquet", "application/zip", "image/jpeg",
        "image/png", "image/webp", "video/mp4",
    ]
)  # fmt: skip


class CrateIncomplete(NotFound):
    """A file of the work is not there any more."""

    code = "crates.incomplete"


class ScratchFolder:
    """A temporary folder that is there once it is needed; there are only so many at a time.

    Somebody who asks for the crates of everything at once would otherwise fill the disk that
    measurements are written to.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._path: Path | None = None

    def new_file(self, number: int) -> Path:
        """Return the path of a file to be made.

        Raises
        ------
        TooBusy
            So many crates are under way already that no more files are made.
        """
        if self._path is None:
            if sum(1 for _ in self._scratch.glob(f"{SCRATCH_PREFIX}*")) >= _MOST_FOLDERS:
                raise TooBusy("Too many crates are being made; try again later")
            self._path = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=self._scratch))
        return self._path / str(number)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Source:
    """A file on its way into the crate, as it was when the download began."""

    name: str
    file: BundledFile
    path: Path
    mark: tuple[int, ...]
    size: int


class Archive:
    """A crate being made: `collect` first, then `pieces`, once each."""

    def __init__(
        self, bundle: Bundle, links: Sequence[SampleLink], terms: Terms, clock: Clock
    ) -> None:
        self.bundle = bundle
        self._links = links
        self._terms = terms
        self._clock = clock
        self._sources: list[_Source] = []
        self._described: list[Described] = []
        self._names = Names(_RESERVED)
        self._recorded: dict[str, str] = {}

    # -- before the first byte ----------------------------------------------------------------

    def collect(self, folder: ScratchFolder) -> None:
        """Make the files that have to be made, and see that all others are there.

        Raises
        ------
        CrateIncomplete, DiskRefused, TooBusy
        """
        for number, file in enumerate(self.bundle.files):
            path = file.path
            if file.make is not None:
                path = folder.new_file(number)
                with disk_troubles_told():
                    file.make(path)
            source = self._source(file, path)
            self._sources.append(source)
            if source.name == RUN_NAME:
                self._recorded = recorded_versions(source.path)

    def _source(self, file: BundledFile, path: Path | None) -> _Source:
        with contextlib.suppress(OSError):
            if path is not None:
                with open_plain(path) as opened:
                    found = os.fstat(opened.fileno())
                name = self._names.give(file.name)
                return _Source(name, file, path, _mark(found), found.st_size)
        raise CrateIncomplete(
            f"A file of this work is not there any more: {file.name!r:.120}",
            hint="It may have been moved or deleted by hand.",
        )

    # -- the archive --------------------------------------------------------------------------

    def pieces(self) -> Generator[bytes]:
        """Yield the archive piece by piece; memory does not grow with its size."""
        return _gathered(self._entries())

    def _entries(self) -> Iterator[bytes]:
        from zipstream import ZIP_DEFLATED, ZipStream

        archive = ZipStream()
        deflated = {"compress_type": ZIP_DEFLATED, "compress_level": 1}
        for source in self._sources:
            packing = {} if source.file.media_type in _PACKED else deflated
            archive.add(self._blocks(source), source.name, size=source.size, **packing)
            yield from archive.all_files()
        for name, content in self._documents():
            archive.add(content, name, **deflated)
        yield from archive.finalize()

    def _documents(self) -> Iterator[tuple[str, bytes]]:
        """Yield what tells of the data, once all of these are described."""
        if RUN_NAME not in self._names:
            name = self._names.give(RUN_NAME)
            run = encoded(run_content(self.bundle, self._links))
            about = BundledFile(
                name,
                "How the work was done, with which versions",
                "application/json",
                role="record",
            )
            self._describe(name, about, len(run), hashlib.sha256(run).hexdigest())
            yield name, run
        checksums = {file.name: file.sha256 or "" for file in self._described}
        listed = [*checksums, PREVIEW_NAME, METADATA_NAME]
        files = [*self._described, _checksums_described(listed)]
        software = list(applications(self.bundle.packages, self._recorded))
        page = preview.page(self.bundle, self._links, files, terms=self._terms, software=software)
        graph = metadata.document(
            self.bundle,
            self._links,
            files,
            terms=self._terms,
            made_at=self._clock.now(),
            software=software,
        )
        described = encoded(graph)
        checksums[PREVIEW_NAME] = hashlib.sha256(page).hexdigest()
        checksums[METADATA_NAME] = hashlib.sha256(described).hexdigest()
        yield PREVIEW_NAME, page
        yield METADATA_NAME, described
        yield CHECKSUMS_NAME, "".join(_line(x, name) for name, x in checksums.items()).encode()

    def _blocks(self, source: _Source) -> Iterator[bytes]:
        """Yield a file's content and note what it was."""
        digest = hashlib.sha256()
        size = 0
        try:
            with open_plain(source.path) as file:
                while block := file.read(_READ_BYTES):
                    digest.update(block)
                    size += len(block)
                    if size > source.size:
                        break  # it still grows
                    yield block
                # Asked of the path and not of what is open: another file may lie there by now.
                is_same = _mark(source.path.stat()) == source.mark == _mark(os.fstat(file.fileno()))
        except OSError as error:
            raise BrokenOff(f"{source.name} cannot be read: {error.strerror}") from error
        if not is_same or size != source.size:
            raise BrokenOff(f"{source.name} changed")
        self._describe(source.name, source.file, size, digest.hexdigest())

    def _describe(self, name: str, file: BundledFile, size: int, sha256: str) -> None:
        self._described.append(
            Described(
                name=name,
                original=file.name,
                description=file.description,
                media_type=file.media_type,
                role=file.role,
                size=size,
                sha256=sha256,
            )
        )


def _checksums_described(names: Sequence[str]) -> Described:
    """Return what is known of the list of checksums before it is written."""
    return Described(
        name=CHECKSUMS_NAME,
        original=CHECKSUMS_NAME,
        description="Checksums of all other files, for sha256sum",
        media_type="text/plain",
        role="checksums",
        size=sum(len(_line("0" * 64, name).encode()) for name in names),
        sha256=None,
    )


def _line(sha256: str, name: str) -> str:
    return f"{sha256}  {name}\n"


def _mark(found: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file is written or replaced."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _gathered(pieces: Iterable[bytes]) -> Generator[bytes]:
    """Yield pieces joined to ones worth sending."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
