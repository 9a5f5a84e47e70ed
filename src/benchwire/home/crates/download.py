"""A finished piece of work as an RO-Crate: one ZIP with the data and what is known of them."""

import contextlib
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path

import anyio.to_thread
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from benchwire.foundation.catalogue import Bundle
from benchwire.foundation.clock import Clock
from benchwire.foundation.files import sanitise
from benchwire.foundation.samples.names import SampleLink
from benchwire.foundation.web.downloads import PatientDownload
from benchwire.home.crates.archive import SCRATCH_PREFIX, Archive, ScratchFolder
from benchwire.home.crates.metadata import Terms


def crate_download(
    bundle: Bundle,
    links: Sequence[SampleLink],
    *,
    scratch: Path,
    clock: Clock,
    terms: Terms | None = None,
) -> Response:
    """Return a piece of work as an RO-Crate ZIP, made while it is sent.

    Files that have to be made come first, into a folder of their own below ``scratch`` that goes
    when the answer ends. Only then do the answer's headers leave, so what cannot be made or is
    missing is told as an error. Data are read once: what is packed is what is hashed, and the
    metadata follow the data. A file that changes meanwhile breaks off the download.

    Parameters
    ----------
    links
        The samples it was measured on.
    scratch
        A folder on the disk of the data, not on one in memory.
    """
    return _CrateDownload(Archive(bundle, links, terms or Terms(), clock), scratch)


def clear_leftovers(scratch: Path) -> None:
    """Remove what a killed server has left of crates; to be called before any is made."""
    for folder in scratch.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


class _CrateDownload(PatientDownload):
    """The answer, which owns the temporary folder."""

    def __init__(self, archive: Archive, scratch: Path) -> None:
        item = archive.bundle.item
        name = sanitise(f"{item.kind}-{item.id}") or "crate"
        super().__init__(
            (),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}.crate.zip"'},
        )
        self._archive = archive
        self._scratch = scratch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make what has to be made, and send it all."""
        folder = ScratchFolder(self._scratch)
        pieces: Generator[bytes] | None = None
        try:
            await anyio.to_thread.run_sync(self._archive.collect, folder)
            pieces = self._archive.pieces()
            self.body_iterator = iterate_in_threadpool(pieces)
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_end, pieces, folder)


def _end(pieces: Generator[bytes] | None, folder: ScratchFolder) -> None:
    # Closed first: where a file is open, some systems keep it.
    if pieces is not None:
        with contextlib.suppress(ValueError):  # a thread the server's end left behind still reads
            pieces.close()
    folder.remove()
