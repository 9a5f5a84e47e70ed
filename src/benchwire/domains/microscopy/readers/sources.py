"""What the reader of one format gives, and what is the same in all of them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from benchwire.domains.microscopy.errors import FileUnreadable, PixelsUnsuitable
from benchwire.domains.microscopy.plan import MovieInfo, Pixels
from benchwire.domains.microscopy.readers.units import timeline

MOST_BYTES = 1 << 30
"""Memory that one plane, or one chunk of a file, may need; a header asking for more is wrong."""
MOST_FRAMES = 1_000_000


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
    channel_names: Sequence[str | None] = (),
    times_ms: Sequence[float] | None = None,
    pixel_size_um: float | None = None,
) -> MovieInfo:
    """Return what a file says of itself, once it is found to be possible.

    Parameters
    ----------
    plane
        Height and width in px.
    counts
        Numbers of FOVs, frames and channels.
    times_ms
        Time of each frame from any moment on; None when the file gives none.
    """
    n_fovs, n_frames, n_channels = counts
    kind = np.dtype(dtype)
    if min(*plane, *counts) < 1:
        raise FileUnreadable("The file holds no image")
    if math.prod(plane) * kind.itemsize > MOST_BYTES or n_frames > MOST_FRAMES:
        raise FileUnreadable("The file claims a size that it cannot have")
    if kind.kind not in "buif":
        raise PixelsUnsuitable(f"Pixels of type {kind} are not counts")
    given = [name.strip() if name else "" for name in channel_names]
    given += [""] * n_channels
    timepoints, has_times = timeline(times_ms, n_frames)
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
        pixel_size_um=pixel_size_um,
    )


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
