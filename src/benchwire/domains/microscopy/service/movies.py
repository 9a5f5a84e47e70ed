"""Movies as files: what they say of themselves, how they look, which were opened lately."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from benchwire.domains.microscopy import work
from benchwire.domains.microscopy.channels import suggest_channels
from benchwire.domains.microscopy.errors import FileUnreadable, ParametersInvalid
from benchwire.domains.microscopy.explorer import endings, file_item, has_ending
from benchwire.domains.microscopy.plan import MovieInfo
from benchwire.domains.microscopy.readers import is_movie
from benchwire.domains.microscopy.store import OpenedFiles
from benchwire.foundation.clock import utc_text
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.files import AllowedFolders
from benchwire.foundation.workers import Executor, Turns, ask

T = TypeVar("T")

OPEN_SECONDS = 120.0
_REMEMBERED = 64
_COUNT_TYPES = frozenset({"uint8", "uint16"})


class Movies:
    """Image files that a server reads where they lie.

    They are opened in worker processes: a damaged file that ends its reader must not end the
    server.
    """

    def __init__(self, allowed: AllowedFolders, opened: OpenedFiles, workers: Executor) -> None:
        self.allowed = allowed
        self._opened = opened
        self._workers = workers
        # Each request that waits holds a thread of the server, which others need as well.
        self._turns = Turns(at_once=16)
        self._infos: OrderedDict[tuple[str, int, int], MovieInfo] = OrderedDict()
        self._lock = threading.Lock()

    def info(self, file_path: str) -> MovieInfo:
        """Return what a movie says of itself, and remember that it was opened.

        Raises
        ------
        TypeUnsupported
            It is no kind of file that is known.
        FileUnreadable
            It is of a known kind and cannot be read.
        """
        info = self.look_at(self.allowed.existing(file_path))
        self._opened.note(Path(file_path))
        return info

    def look_at(self, path: Path) -> MovieInfo:
        """Return what a movie says of itself; a file that has not changed is read once."""
        is_folder_movie = is_movie(path) and _is_folder_name(path)
        if not (path.is_dir() if is_folder_movie else path.is_file()):
            kind = "folder" if is_folder_movie else "file"
            raise ParametersInvalid(f"{path.name} is not a {kind}")
        try:
            seen = path.stat()
        except OSError as error:
            raise FileUnreadable(f"{path.name} cannot be read: {error.strerror}") from error
        key = (str(path), seen.st_mtime_ns, seen.st_size)
        with self._lock:
            known = self._infos.get(key)
            if known is not None:
                self._infos.move_to_end(key)
                return known
        info = self.ask(work.read_info, path, self.allowed)
        # Of a movie of several files, or of a set that may get more, one file says too little.
        if info.members == (path,) and path.is_file() and "_scene" not in path.name:
            with self._lock:
                self._infos[key] = info
                while len(self._infos) > _REMEMBERED:
                    self._infos.popitem(last=False)
        return info

    def describe(self, file_path: str) -> dict[str, Any]:
        """Return what a file is, with a movie's own words if it is one that can be read."""
        path = self.allowed.existing(file_path)
        is_microscopy_file = is_movie(path) and path.is_dir() == _is_folder_name(path)
        if path.is_dir() and not is_microscopy_file:
            raise ParametersInvalid(f"{path.name} is not a file")
        preview = None
        if is_microscopy_file:
            try:
                preview = described(self.look_at(path))
            except BenchwireError:
                preview = None  # unreadable is an answer here
        return {
            "file_info": file_item(path),
            "is_microscopy_file": is_microscopy_file,
            "metadata_preview": preview,
        }

    def recent(self, limit: int, extensions: Sequence[str]) -> list[dict[str, Any]]:
        """Return the files opened last, newest first, those that are still there."""
        wanted = endings(extensions)
        found: list[dict[str, Any]] = []
        for item in self._still_there():
            if len(found) >= limit:
                break
            if not wanted or has_ending(item["name"], wanted):
                found.append(item)
        return found

    def opened(self) -> Iterator[tuple[Path, datetime]]:
        """Yield the files opened last and when, newest first, also those that have gone since."""
        for path, at in self._opened.newest():
            if self.allowed.is_allowed(path):
                yield path, at

    def _still_there(self) -> Iterator[dict[str, Any]]:
        told: set[str] = set()
        for path, at in self.opened():
            # One file may have been named in several ways.
            real = os.path.realpath(path)
            if real not in told and (item := file_item(path)) is not None:
                told.add(real)
                yield {**item, "accessed_at": utc_text(at)}

    def preview(
        self,
        file_path: str,
        *,
        fov: int,
        frame: int,
        channel: int,
        low: float | None,
        high: float | None,
    ) -> bytes:
        """Return one plane as PNG, its counts from ``low`` to ``high`` as black to white."""
        path, place = self._plane(file_path, (fov, frame, channel))
        return self.ask(work.draw_plane, path, place, low, high, self.allowed)

    def levels(self, file_path: str, *, fov: int, frame: int, channel: int) -> dict[str, float]:
        """Return the range of one plane's counts, and of that part `preview` draws by itself."""
        path, place = self._plane(file_path, (fov, frame, channel))
        return self.ask(work.levels, path, place, self.allowed)

    def _plane(
        self, file_path: str, place: tuple[int, int, int]
    ) -> tuple[Path, tuple[int, int, int]]:
        path = self.allowed.existing(file_path)
        info = self.look_at(path)
        counts = (info.n_fovs, info.n_frames, info.n_channels)
        for name, value, count in zip(("fov", "frame", "channel"), place, counts, strict=True):
            if not 0 <= value < count:
                raise ParametersInvalid(f"{name} has to be within 0 and {count - 1}")
        return path, place

    def check_pixels(self, info: MovieInfo, *, channels: Sequence[int], fov: int) -> None:
        """Refuse a movie whose first frame already is not made of 16-bit counts.

        Raises
        ------
        PixelsUnsuitable
            It would have to be scaled, which is not ours to choose.
        """
        if info.dtype not in _COUNT_TYPES:
            self.ask(work.check_pixels, info.path, channels, fov, self.allowed)

    def ask(self, task: Callable[..., T], *arguments: Any) -> T:
        """Have something done in a worker process and return what came of it.

        Raises
        ------
        TooBusy
            The workers were busy for too long.
        """
        with self._turns.take():
            return ask(self._workers, task, *arguments, seconds=OPEN_SECONDS)


def _is_folder_name(path: Path) -> bool:
    """Whether a movie of that name is a folder."""
    return path.name.lower().endswith("zarr")


def described(info: MovieInfo) -> dict[str, Any]:
    """Return what a movie says of itself, in the API's words."""
    facts: dict[str, Any] = {
        "file_path": str(info.path),
        "base_name": info.base_name,
        "file_type": info.file_type,
        "height": info.height,
        "width": info.width,
        "n_frames": info.n_frames,
        "n_fovs": info.n_fovs,
        "n_channels": info.n_channels,
        "timepoints": list(info.timepoints_ms),
        "has_times": info.has_times,
        "channel_names": list(info.channel_names),
        "dtype": info.dtype,
        "pixel_size_um": info.pixel_size_um,
        "suggested_channels": suggest_channels(info.channel_names),
    }
    return {**facts, "metadata": facts}
