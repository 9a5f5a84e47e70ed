"""One FOV as OME-Zarr: the channels of the movie and, as labels, its tracked cells.

Layout and keys after the OME-NGFF specification 0.4 (Zarr 2) and 0.5 (Zarr 3),
https://ngff.openmicroscopy.org. Axes are always t, c, z, y, x with one plane in z, the order every
reader knows.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from benchwire.foundation.files import PARTIAL_SUFFIX, sync_folder, sync_tree

Version = Literal["0.4", "0.5"]
ROOT_NAMES: Mapping[str, str] = {"0.4": ".zattrs", "0.5": "zarr.json"}
"""The file in the root of an image by which its version is known."""
LABELS_NAME = "cells"
PHASE_COLOR = "FFFFFF"
FLUORESCENCE_COLORS = ("00FF00", "FF0000", "0000FF", "FFFF00", "FF00FF", "00FFFF")
_WINDOW_FRAMES = 5
_WINDOW_PERCENTILES = (0.1, 99.9)


@dataclass(frozen=True, slots=True)
class ImageChannel:
    """A channel: its name and its stack, a ``.npy`` file (T, H, W)."""

    name: str
    stack: Path
    is_phase: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the movie was taken.

    Parameters
    ----------
    times
        Time of each frame in minutes.
    pixel_size_um
        Side of a pixel; None when it is not known, and lengths are then in px.
    """

    times: tuple[float, ...]
    pixel_size_um: float | None

    @property
    def interval(self) -> float:
        """Median minutes between frames; 1 when there is but one frame."""
        steps = np.diff(self.times)
        step = float(np.median(steps)) if len(steps) else 0.0
        return step if step > 0 else 1.0


def write_image(
    folder: Path,
    channels: Sequence[ImageChannel],
    *,
    labels: Path | None,
    sampling: Sampling,
    version: str = "0.4",
    on_plane: Callable[[], None] = lambda: None,
) -> Path:
    """Write an image folder, or replace it, and return it; it is there when it is whole.

    Planes are read and written one by one. What `on_plane` raises stops the writing and leaves
    nothing behind.

    Raises
    ------
    ValueError
        No channel, or stacks that differ in shape.
    """
    stacks = [item.stack for item in channels]
    shapes = {_mapped(stack).shape for stack in [*stacks, *([labels] if labels else [])]}
    if not stacks or [len(shape) for shape in shapes] != [3]:
        raise ValueError(f"Stacks of one image differ in shape: {sorted(shapes)}")
    # A fixed name, so that what a killed process left is cleared away by the next.
    temporary = folder.with_name(f".{folder.name}{PARTIAL_SUFFIX}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        writer = _Writer(temporary, sampling, cast("Version", version), on_plane)
        writer.image(
            "",
            stacks,
            {"omero": _omero(channels)},
            name=folder.name.removesuffix(".zarr").removesuffix(".ome"),
        )
        if labels:
            source = {"image-label": _label_source(cast("Version", version))}
            writer.group("labels", {"labels": [LABELS_NAME]})
            writer.image(f"labels/{LABELS_NAME}", [labels], source, name=LABELS_NAME)
        _take_place(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


@dataclass(frozen=True, slots=True)
class _Writer:
    root: Path
    sampling: Sampling
    version: Version
    on_plane: Callable[[], None]

    @property
    def zarr_format(self) -> Literal[2, 3]:
        return 2 if self.version == "0.4" else 3

    def group(self, path: str, attributes: dict[str, Any]) -> None:
        import zarr

        if self.zarr_format == 3:
            attributes = {"ome": {"version": self.version, **attributes}}
        own = {"benchwire": {"times_minutes": list(self.sampling.times)}} if not path else {}
        zarr.create_group(
            self.root / path, attributes={**attributes, **own}, zarr_format=self.zarr_format
        )

    def image(self, path: str, stacks: Sequence[Path], more: dict[str, Any], *, name: str) -> None:
        self.group(path, {"multiscales": [self._multiscale(name)], **more})
        array = self._array(f"{path}/0".lstrip("/"), stacks)
        for frame in range(array.shape[0]):
            for channel, stack in enumerate(stacks):
                # Mapped anew for each plane: pages of a map that stays open count as memory.
                array[frame, channel, 0] = np.array(_mapped(stack)[frame])
                self.on_plane()

    def _array(self, path: str, stacks: Sequence[Path]) -> Any:
        import zarr
        import zarr.codecs

        frames, height, width = _mapped(stacks[0]).shape
        dtype = np.result_type(*(_mapped(stack).dtype for stack in stacks))
        if self.zarr_format == 2:
            import numcodecs

            compressor: Any = numcodecs.Blosc(
                cname="zstd", clevel=1, shuffle=numcodecs.blosc.SHUFFLE
            )
            keys: Any = {"name": "v2", "separator": "/"}
        else:
            compressor = zarr.codecs.BloscCodec(
                cname="zstd", clevel=1, shuffle="shuffle", typesize=dtype.itemsize
            )
            keys = {"name": "default", "separator": "/"}
        return zarr.create_array(
            self.root / path,
            shape=(frames, len(stacks), 1, height, width),
            chunks=(1, 1, 1, height, width),
            dtype=dtype,
            compressors=compressor,
            fill_value=0,
            zarr_format=self.zarr_format,
            chunk_key_encoding=keys,
            dimension_names=list("tczyx") if self.zarr_format == 3 else None,
        )

    def _multiscale(self, name: str) -> dict[str, Any]:
        pixel = self.sampling.pixel_size_um
        unit = {"unit": "micrometer"} if pixel else {}
        side = pixel or 1.0
        multiscale: dict[str, Any] = {
            "name": name,
            "axes": [
                {"name": "t", "type": "time", "unit": "minute"},
                {"name": "c", "type": "channel"},
                *({"name": axis, "type": "space", **unit} for axis in "zyx"),
            ],
            "datasets": [
                {
                    "path": "0",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [self.sampling.interval, 1.0, 1.0, side, side]}
                    ],
                }
            ],
        }
        # From 0.5 on the version stands once, beside the other keys.
        return {"version": self.version, **multiscale} if self.zarr_format == 2 else multiscale


def _label_source(version: Version) -> dict[str, Any]:
    source: dict[str, Any] = {"source": {"image": "../../"}}
    return {"version": version, **source} if version == "0.4" else source


def _mapped(stack: Path) -> NDArray[Any]:
    mapped: NDArray[Any] = np.load(stack, mmap_mode="r")
    return mapped


def _omero(channels: Sequence[ImageChannel]) -> dict[str, Any]:
    colors = iter(FLUORESCENCE_COLORS * (1 + len(channels) // len(FLUORESCENCE_COLORS)))
    return {
        "channels": [
            {
                "label": item.name,
                "color": PHASE_COLOR if item.is_phase else next(colors),
                "active": True,
                "coefficient": 1,
                "family": "linear",
                "inverted": False,
                "window": _window(_mapped(item.stack)),
            }
            for item in channels
        ],
        "rdefs": {"defaultT": 0, "defaultZ": 0, "model": "color"},
    }


def _window(stack: NDArray[Any]) -> dict[str, float]:
    """Return the contrast window, from a thinned selection of frames spread over the movie."""
    frames = np.unique(np.linspace(0, len(stack) - 1, _WINDOW_FRAMES).round().astype(int))
    thinned = np.concatenate([stack[frame][::4, ::4].ravel() for frame in frames])
    low, high = (float(x) for x in np.percentile(thinned, _WINDOW_PERCENTILES))
    limits = np.iinfo(stack.dtype)
    return {
        "min": float(limits.min),
        "max": float(limits.max),
        "start": low,
        "end": high if high > low else low + 1.0,
    }


def _take_place(whole: Path, folder: Path) -> None:
    # Zarr leaves its files to the system, and a chunk that is lost is read as zeros.
    sync_tree(whole)
    if folder.exists():
        replaced = whole.with_name(f"{whole.name}.old")
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(folder, replaced)  # noqa: PTH104 - a folder with content cannot be replaced
        os.rename(whole, folder)  # noqa: PTH104 - the atomic call, by its own name
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        os.rename(whole, folder)  # noqa: PTH104 - the atomic call, by its own name
    sync_folder(folder.parent)
