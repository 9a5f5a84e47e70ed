"""Files and archives on their way to a client, never held in memory."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from starlette.responses import FileResponse, StreamingResponse

from benchwire.foundation.files import stream_zip

_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".png": "image/png",
    ".json": "application/json",
    ".zip": "application/zip",
}


def file_download(path: Path) -> FileResponse:
    """Return a file as a download under its own name."""
    media_type = _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
    return FileResponse(path, media_type=media_type, filename=path.name)


def zip_download(files: Iterable[tuple[PurePosixPath, Path]], filename: str) -> StreamingResponse:
    """Return files as one ZIP archive, made while it is sent."""
    return StreamingResponse(
        stream_zip(files),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )
