"""Files and archives on their way to a client, never held in memory."""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from starlette.responses import FileResponse, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from benchwire.foundation.files import BrokenOff, reopened, stream_zip

logger = logging.getLogger(__name__)

STALLED_SECONDS = 60.0
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".png": "image/png",
    ".json": "application/json",
    ".zip": "application/zip",
}


def files_of(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Return what a route says in the documents of the files it answers with."""
    return {200: {"content": {kind: {} for kind in media_types}}}


class _OpenedFile(FileResponse):
    """A file that was opened already, so that nothing can be put in its place any more."""

    def __init__(self, file: BinaryIO, name: str, media_type: str) -> None:
        self._file = file
        super().__init__(reopened(file), media_type=media_type, filename=name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close it whatever comes."""
        with self._file:
            await super().__call__(scope, receive, send)


def file_download(file: BinaryIO, name: str) -> FileResponse:
    """Return an opened file as a download; it is closed afterwards."""
    media_type = _MEDIA_TYPES.get(Path(name).suffix.lower(), "application/octet-stream")
    return _OpenedFile(file, name, media_type)


class PatientDownload(StreamingResponse):
    """Pieces on their way to a client that may be slow, but is dropped once it takes none for long.

    A client that stops reading would otherwise hold its piece, and whatever the pieces come from,
    for as long as it likes.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces until one side ends it."""

        async def patient(message: Message) -> None:
            async with asyncio.timeout(STALLED_SECONDS):
                await send(message)

        # What is left unfinished closes the connection, which tells the client.
        try:
            await super().__call__(scope, receive, patient)
        except TimeoutError:
            pass
        except BrokenOff as error:
            logger.warning("%r broken off: %s", scope["path"], error)


def zip_download(files: Iterable[tuple[PurePosixPath, Path]], filename: str) -> StreamingResponse:
    """Return files as one ZIP archive, made while it is sent."""
    return PatientDownload(
        stream_zip(files),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )
