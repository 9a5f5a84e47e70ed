"""ND2 files."""

import math
from pathlib import Path

import nd2
import numpy as np

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.plan import Pixels
from benchwire.domains.microscopy.readers.alike import FovMetadata, refuse_unlike_durations
from benchwire.domains.microscopy.readers.sources import MOST_BYTES, describe, refuse_colours
from benchwire.domains.microscopy.readers.units import number, pixel_size

_PLANE_AXES = ("C", "Y", "X", "S")


class Nd2Source:
    """One ND2 file; a sequence of frames, each with all channels."""

    def __init__(self, path: Path, base_name: str) -> None:
        self._file_size = path.stat().st_size
        self._file = nd2.ND2File(path)
        try:
            self._read_header(path, base_name)
        except BaseException:
            self._file.close()
            raise

    def _read_header(self, path: Path, base_name: str) -> None:
        file = self._file
        if file.is_rgb:
            raise refuse_colours()
        sizes = dict(file.sizes)
        unknown = set(sizes) - {"T", "P", "Z", *_PLANE_AXES}
        if any(sizes[axis] > 1 for axis in unknown):
            raise FileUnreadable(f"The file has an axis {min(unknown)}, which is not known here")
        self._loops = [(axis, n) for axis, n in sizes.items() if axis not in _PLANE_AXES]
        self._offsets: dict[int, int] | None = getattr(file._rdr, "_frame_offsets", None)  # noqa: SLF001
        # Files of the oldest kind hold JPEG 2000 images, and no list of offsets.
        self._whole = self._offsets is not None and file.attributes.compressionType is None
        n_channels = sizes.get("C", 1)
        self._frame_bytes = sizes["Y"] * sizes["X"] * n_channels * file.dtype.itemsize
        if self._frame_bytes > (self._file_size if self._whole else MOST_BYTES):
            raise FileUnreadable("The file claims a size that it cannot have")
        self._drop_unfinished_frames()
        loops = dict(self._loops)
        n_frames = loops.get("T", 1)
        planned = math.prod(n for _, n in self._loops)
        if self._offsets is not None and planned > len(self._offsets):
            raise FileUnreadable("The file has fewer images than it says")
        self.info = describe(
            path,
            base_name=base_name,
            file_type="nd2",
            plane=(sizes["Y"], sizes["X"]),
            counts=(loops.get("P", 1), n_frames, n_channels),
            dtype=file.dtype,
            fovs=[
                FovMetadata(
                    tuple(channel.channel.name for channel in file.metadata.channels or ()),
                    self._times(loops.get("P", 1), n_frames),
                    self._pixel_size(),
                )
            ],
        )
        if self._offsets is not None:
            for index in (0, planned - 1):
                self._check_extent(index)

    def _drop_unfinished_frames(self) -> None:
        """Cut the time axis of an acquisition that was stopped before its planned end."""
        if self._offsets is None or not self._loops or self._loops[0][0] != "T":
            return
        per_frame = math.prod(n for _, n in self._loops[1:])
        taken = (max(self._offsets, default=-1) + 1) // per_frame
        self._loops[0] = ("T", min(self._loops[0][1], taken))

    def _index(self, fov: int, frame: int) -> int:
        """Return the place in the sequence of the first plane in z."""
        wanted = {"T": frame, "P": fov}
        index = 0
        for axis, n in self._loops:
            index = index * n + wanted.get(axis, 0)
        return index

    def _times(self, n_fovs: int, n_frames: int) -> list[float] | None:
        """Return the times of FOV 0, after a look at how long the others lasted."""
        stamps = [self._stamp(0, frame) for frame in range(n_frames)]
        recorded = [stamp for stamp in stamps if stamp is not None]
        if len(recorded) < n_frames:
            planned = self._planned_times(n_frames)
            return planned if planned is not None else recorded or None
        ends = [(self._stamp(fov, 0), self._stamp(fov, n_frames - 1)) for fov in range(n_fovs)]
        refuse_unlike_durations(
            [None if a is None or b is None else b - a for a, b in ends], recorded
        )
        return recorded

    def _stamp(self, fov: int, frame: int) -> float | None:
        try:
            metadata = self._file.frame_metadata(self._index(fov, frame))
            return float(metadata.channels[0].time.relativeTimeMs)  # type: ignore[union-attr]
        except (LookupError, TypeError, ValueError, AttributeError):
            return None

    def _planned_times(self, n_frames: int) -> list[float] | None:
        """Return the times that the acquisition was set to keep."""
        for loop in self._file.experiment:
            if loop.type == "TimeLoop" and loop.parameters.periodMs > 0:
                return [loop.parameters.periodMs * frame for frame in range(n_frames)]
        return None

    def _pixel_size(self) -> float | None:
        channels = self._file.metadata.channels
        if not channels or not channels[0].volume.axesCalibrated[0]:
            return None
        return pixel_size(number(channels[0].volume.axesCalibration[0]), "um")

    def _check_extent(self, index: int) -> None:
        # The library answers zeros for an image that is not there.
        if self._offsets is None:
            return
        start = self._offsets[index]
        if start + (self._frame_bytes if self._whole else 0) > self._file_size:
            raise FileUnreadable("The file ends before its last image")

    def read(self, fov: int, frame: int, channel: int) -> Pixels:
        """Return one plane."""
        index = self._index(fov, frame)
        self._check_extent(index)
        pixels = self._file.read_frame(index)
        # A view of the mapped file would break when the file is closed.
        return np.array(pixels[channel] if pixels.ndim == 3 else pixels)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
