"""What is to be done with a movie, and what a movie is, in values.

All numbering begins with 0, that of cells with 1.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
"""(H, W) counts in the file's own number type."""

DEFAULT_INTERVAL_MINUTES = 10.0
MS_PER_MINUTE = 60_000.0
PACKAGES = (
    "numpy", "scipy", "opencv-python-headless", "nd2", "pylibCZIrw", "tifffile", "zarr", "pyarrow",
)  # fmt: skip
"""Those that the results of a workflow depend on."""


@dataclass(frozen=True, slots=True)
class MovieInfo:
    """What a file says of itself.

    Parameters
    ----------
    base_name
        File name without its suffix; ``x`` of ``x.ome.tif``.
    file_type
        ``nd2``, ``czi``, ``ome-tiff``, ``tiff`` or ``ome-zarr``.
    dtype
        Number type of the pixels, as ``uint16``.
    timepoints_ms
        Time of each frame from the first one, in ms.
    has_times
        Whether the file gives times; `DEFAULT_INTERVAL_MINUTES` apart otherwise.
    pixel_size_um
        Side of a pixel; None when the file does not say.
    members
        Every file or folder that the movie is read from, the one at `path` first.
    has_unusable_times
        Whether the file gives times that are not finite, do not ascend, or are not one for each
        frame; `has_times` is False then.
    """

    path: Path
    base_name: str
    file_type: str
    height: int
    width: int
    n_frames: int
    n_fovs: int
    n_channels: int
    dtype: str
    channel_names: tuple[str, ...]
    timepoints_ms: tuple[float, ...]
    has_times: bool
    pixel_size_um: float | None
    members: tuple[Path, ...] = ()
    has_unusable_times: bool = False


class Movie(Protocol):
    """An open file; frames are read one by one, when asked for."""

    info: MovieInfo

    def frame(self, fov: int, frame: int, *, channel: int) -> Pixels:
        """Return one plane, (H, W) in the file's own number type; of a stack in z the first."""

    def close(self) -> None:
        """Give the file back."""


@dataclass(frozen=True, slots=True)
class FluorescenceChannel:
    """A fluorescence channel and the features measured in it."""

    channel: int
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How each FOV of a movie is processed.

    Parameters
    ----------
    background_weight
        Share of the background that is subtracted, 0 to 1.
    erosion_size
        Side in px of the square by which a cell is eroded before its total intensity is taken.
    min_frames
        Cells seen in fewer frames are dropped; never more than the movie has.
    border_margin
        Cells that come nearer to the edge than this, in px, are dropped.
    min_size, max_size
        Area limits of an object in px, inclusive; None for none.
    min_iou
        Least overlap of the boxes of one cell in two frames.
    frame_interval
        Minutes between frames, in place of the file's own times.
    """

    phase: int
    phase_features: tuple[str, ...] = ()
    fluorescence: tuple[FluorescenceChannel, ...] = ()
    background_weight: float = 1.0
    erosion_size: int = 0
    min_frames: int = 30
    border_margin: int = 50
    min_size: int | None = None
    max_size: int | None = None
    min_iou: float = 0.1
    frame_interval: float | None = None

    @property
    def channels(self) -> tuple[int, ...]:
        """All channels that are read, each once."""
        return tuple(sorted({self.phase, *(item.channel for item in self.fluorescence)}))

    def minutes(self, info: MovieInfo) -> tuple[float, ...]:
        """Return the time of each frame in minutes."""
        if self.frame_interval is not None:
            return tuple(self.frame_interval * frame for frame in range(info.n_frames))
        return tuple(time / MS_PER_MINUTE for time in info.timepoints_ms)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the plan that `as_json` wrote."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        known["phase_features"] = tuple(values["phase_features"])
        known["fluorescence"] = tuple(
            FluorescenceChannel(item["channel"], tuple(item["features"]))
            for item in values["fluorescence"]
        )
        return cls(**known)


@dataclass(frozen=True, slots=True)
class FovTable:
    """Cells of one FOV over time, a row for each cell and frame, sorted by cell, then frame.

    Parameters
    ----------
    columns
        Arrays of equal length in the order of the file: ``fov``, ``cell``, ``frame``, ``time`` in
        minutes, ``good``, ``position_x``, ``position_y``, ``bbox_x0``, ``bbox_y0``, ``bbox_x1``,
        ``bbox_y1`` in px, then ``<feature>_ch_<channel>``.
    """

    columns: Mapping[str, NDArray[Any]]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.columns["cell"])

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(np.unique(self.columns["cell"]))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run went.

    Parameters
    ----------
    began, ended
        As ISO 8601 text in UTC.
    state
        ``completed``, ``failed`` or ``cancelled``.
    failures
        Why FOVs could not be processed.
    """

    job_id: str
    began: str
    ended: str
    state: str
    failures: Mapping[int, str]
