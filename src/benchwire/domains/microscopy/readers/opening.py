"""Which reader opens which file, and what a damaged file leads to."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from benchwire.domains.microscopy.errors import FileUnreadable, ParametersInvalid, TypeUnsupported
from benchwire.domains.microscopy.plan import Movie, MovieInfo, Pixels
from benchwire.domains.microscopy.readers.sources import Source
from benchwire.foundation.errors import BenchwireError

_SUFFIXES = (".ome.tiff", ".ome.tif", ".ome.zarr", ".nd2", ".czi", ".tiff", ".tif", ".zarr")
_SPLIT = re.compile(r"(.+)_scene(\d+)\.ome\.tiff?", re.IGNORECASE)
# The filters of the warnings belong to the whole process, so one file is opened at a time.
_opening = Lock()


def is_movie(path: Path) -> bool:
    """Return whether a file or folder is a movie, judged by its name alone."""
    return _suffix(path) is not None


def open_movie(path: Path) -> Movie:
    """Return an open movie; close it when done.

    Raises
    ------
    TypeUnsupported
        The name has none of the known suffixes.
    PixelsUnsuitable
        The pixels are colours or complex numbers.
    FileUnreadable
        The file is damaged, names files outside its own folder, or its FOVs are not alike.
    """
    suffix = _suffix(path)
    if suffix is None:
        raise TypeUnsupported(
            f"{path.name} is not a supported kind of image file",
            hint="Known are ND2, CZI, OME-TIFF, TIFF and OME-Zarr.",
        )
    if suffix.endswith("zarr") != path.is_dir():
        kind = "a folder" if suffix.endswith("zarr") else "a file"
        raise FileUnreadable(f"{path.name} is not {kind}")
    with _opening, warnings.catch_warnings(), _damage_reported(path.name):
        warnings.simplefilter("ignore")
        return _CheckedMovie(_source(path, suffix))


@contextmanager
def opened(path: Path) -> Iterator[Movie]:
    """Open a movie for the length of a block."""
    movie = open_movie(path)
    try:
        yield movie
    finally:
        movie.close()


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    suffix = next(filter(name.endswith, _SUFFIXES), None)
    return None if suffix == name else suffix


def _source(path: Path, suffix: str) -> Source:
    # Each library takes a moment and much memory to load: only the one that is needed is.
    base_name = path.name[: -len(suffix)]
    if suffix == ".nd2":
        from benchwire.domains.microscopy.readers.nd2_source import Nd2Source

        return Nd2Source(path, base_name)
    if suffix == ".czi":
        from benchwire.domains.microscopy.readers.czi_source import CziSource

        return CziSource(path, base_name)
    if suffix.endswith("zarr"):
        from benchwire.domains.microscopy.readers.zarr_source import ZarrSource

        return ZarrSource(path, base_name)
    split = _SPLIT.fullmatch(path.name)
    if split:
        from benchwire.domains.microscopy.readers.split_source import SplitSource

        return SplitSource(path, split[1], _members(path, split[1]))
    from benchwire.domains.microscopy.readers.tiff_source import TiffSource

    return TiffSource(path, base_name)


def _members(path: Path, prefix: str) -> list[Path]:
    """Return the files of a split set in the order of their numbers."""
    found: dict[int, Path] = {}
    for sibling in sorted(path.parent.iterdir()):
        name = _SPLIT.fullmatch(sibling.name)
        if name is None or name[1] != prefix or not sibling.is_file():
            continue
        if int(name[2]) in found:
            raise FileUnreadable(f"Scene {int(name[2])} of {prefix} is there twice")
        found[int(name[2])] = sibling
    return [found[scene] for scene in sorted(found)]


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    """Turn whatever a library raises into the one error that says so.

    The libraries meet damage with exceptions of every kind, a recursion or a wanted amount of
    memory among them.
    """
    try:
        yield
    except BenchwireError:
        raise
    except Exception as error:
        raise FileUnreadable(
            f"{name} cannot be read", hint="The file is damaged or not complete."
        ) from error


class _CheckedMovie:
    """A movie of any format."""

    def __init__(self, source: Source) -> None:
        self.info: MovieInfo = source.info
        self._source: Source | None = source

    def frame(self, fov: int, frame: int, *, channel: int) -> Pixels:
        """Return one plane, (H, W) in the file's own number type."""
        info = self.info
        for what, index, count in (
            ("FOV", fov, info.n_fovs),
            ("frame", frame, info.n_frames),
            ("channel", channel, info.n_channels),
        ):
            if not 0 <= index < count:
                raise ParametersInvalid(f"There is no {what} {index}; the file has {count}")
        if self._source is None:
            raise ParametersInvalid(f"{info.path.name} has been closed")
        with _damage_reported(info.path.name):
            pixels = self._source.read(fov, frame, channel)
            if pixels.shape != (info.height, info.width):
                raise ValueError("a plane of another size")
            return pixels.astype(info.dtype, copy=False)

    def close(self) -> None:
        """Give the file back."""
        source, self._source = self._source, None
        if source is not None:
            source.close()
