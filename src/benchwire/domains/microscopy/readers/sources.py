"""What the reader of one format gives, and what is the same in all of them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from benchwire.domains.microscopy.errors import FileUnreadable, PixelsUnsuitable
from benchwire.domains.microscopy.plan import MovieInfo, Pixels
from benchwire.domains.microscopy.readers.alike import FovMetadata, refuse_unlike
from benchwire.domains.microscopy.readers.units import timeline

MOST_BYTES = 1 << 30
"""Memory that one plane, or one chunk of a file, may need; a header asking for more is wrong."""
MOST_FRAMES, MOST_FOVS, MOST_CHANNELS = 1_000_000, 100_000, 1_000


class Source(Protocol):
    """An open file of one format; indices are checked before they come here."""

    info: MovieInfo

    def read(self, fov: int, frame: int, channel: int) -> Pixels:
        """Return one plane; any exception means that the file is damaged."""

    def close(self) -> None:
        """Give the file back."""


def describe(
    path: Path,
    *,
    base_name: str,
    file_type: str,
    plane: tuple[int, int],
    counts: tuple[int, int, int],
    dtype: DTypeLike,
    fovs: Sequence[FovMetadata] = (FovMetadata(),),
    others: Sequence[Path] = (),
) -> MovieInfo:
    """Return what a file says of itself, once it is found to be possible and its FOVs alike.

    Parameters
    ----------
    plane
        Height and width in px.
    counts
        Numbers of FOVs, frames and channels.
    fovs
        What the file says of each FOV, or only of the first where it holds for all.
    others
        Files that the movie is read from besides the one at ``path``.
    """
    n_fovs, n_frames, n_channels = counts
    kind = np.dtype(dtype)
    if min(*plane, *counts) < 1:
        raise FileUnreadable("The file holds no image")
    is_too_many = n_frames > MOST_FRAMES or n_fovs > MOST_FOVS or n_channels > MOST_CHANNELS
    if math.prod(plane) * kind.itemsize > MOST_BYTES or is_too_many:
        raise FileUnreadable("The file claims a size that it cannot have")
    if kind.kind not in "buif":
        raise PixelsUnsuitable(f"Pixels of type {kind} are not counts")
    refuse_unlike(fovs, n_frames)
    first = fovs[0]
    given = [_as_text(name) for name in first.channel_names]
    given += [""] * n_channels
    timepoints, has_times = timeline(first.times_ms, n_frames)
    return MovieInfo(
        path=path,
        base_name=base_name,
        file_type=file_type,
        height=plane[0],
        width=plane[1],
        n_frames=n_frames,
        n_fovs=n_fovs,
        n_channels=n_channels,
        dtype=kind.newbyteorder("=").name,
        channel_names=tuple(given[c] or f"C{c}" for c in range(n_channels)),
        timepoints_ms=timepoints,
        has_times=has_times,
        pixel_size_um=first.pixel_size_um,
        members=(path, *others),
        has_unusable_times=first.times_ms is not None and not has_times,
    )


def _as_text(name: object) -> str:
    """Return a channel's name as text that can be written, whatever stands in the file."""
    return str(name or "").encode("utf-8", "replace").decode().strip()


def same_for_all(shapes: Sequence[object], what: str) -> None:
    """Refuse a file whose FOVs are not alike."""
    if len(set(shapes)) > 1:
        raise FileUnreadable(f"The fields of view differ in {what}; they must be alike")


def refuse_colours() -> PixelsUnsuitable:
    """Return the answer to a colour image."""
    return PixelsUnsuitable(
        "This is a colour (RGB) image, whose pixels are not counts of one channel",
        hint="Export each channel as a grey image.",
    )
