"""OME-Zarr folders, versions 0.4 and 0.5."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchwire.domains.microscopy.errors import FileUnreadable, TypeUnsupported
from benchwire.domains.microscopy.plan import Pixels
from benchwire.domains.microscopy.readers.alike import FovMetadata
from benchwire.domains.microscopy.readers.bounded_store import BoundedStore
from benchwire.domains.microscopy.readers.sources import MOST_BYTES, describe, same_for_all
from benchwire.domains.microscopy.readers.units import (
    duration,
    ms_per,
    number,
    pixel_size,
    regular,
)

_FULL_SIZE = 0


class ZarrSource:
    """One folder with one image, or with several numbered ones that are the FOVs."""

    def __init__(self, path: Path, base_name: str) -> None:
        store = BoundedStore(path)
        group = zarr.open_group(store, mode="r")
        images = _images(group)
        self._arrays = [_array(image) for image in images]
        metadata = [_metadata(image) for image in images]
        axes = [tuple(_axes(item)) for item in metadata]
        same_for_all(axes, "axes")
        same_for_all([array.shape for array in self._arrays], "size")
        same_for_all([str(array.dtype) for array in self._arrays], "number type")
        self._axes, shape = axes[0], self._arrays[0].shape
        sizes = dict(zip(self._axes, shape, strict=True))
        if set(sizes) - set("tczyx"):
            raise FileUnreadable("The images are laid out in a way that is not known here")
        store.chunk_bytes = max(_chunk_bytes(array) for array in self._arrays)
        if store.chunk_bytes > MOST_BYTES:
            raise FileUnreadable("The file claims a size that it cannot have")
        n_frames = sizes.get("t", 1)
        # The size goes through `describe` before a list as long as it says is made.
        info = describe(
            path,
            base_name=base_name,
            file_type="ome-zarr",
            plane=(sizes["y"], sizes["x"]),
            counts=(len(images), n_frames, sizes.get("c", 1)),
            dtype=self._arrays[0].dtype,
        )
        self.info = describe(
            path,
            base_name=base_name,
            file_type="ome-zarr",
            plane=(info.height, info.width),
            counts=(info.n_fovs, n_frames, info.n_channels),
            dtype=self._arrays[0].dtype,
            fovs=[_fov_metadata(image, n_frames) for image in images],
        )

    def read(self, fov: int, frame: int, channel: int) -> Pixels:
        """Return one plane."""
        wanted = {"t": frame, "c": channel, "y": slice(None), "x": slice(None)}
        place = tuple(wanted.get(axis, 0) for axis in self._axes)
        pixels = np.asarray(self._arrays[fov][place])
        return pixels if self._axes.index("y") < self._axes.index("x") else pixels.T

    def close(self) -> None:
        """Give the file back; chunks are opened one by one, so nothing is held."""


def _ome(group: Any) -> Mapping[str, Any]:
    """Return the metadata of OME, wherever the version keeps it."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    nested = attributes.get("ome")
    return nested if isinstance(nested, Mapping) else attributes


def _images(group: Any) -> list[Any]:
    ome = _ome(group)
    if "plate" in ome or "well" in ome:
        raise TypeUnsupported(
            "A plate of OME-Zarr is not one movie", hint="Open one of the images within."
        )
    if "multiscales" in ome:
        return [group]
    named = _ome(group["OME"]).get("series") if "OME" in group else None
    if named:
        return [group[str(name)] for name in named]
    members = sorted(group.groups(), key=lambda item: _by_number(item[0]))
    images = [image for _, image in members if "multiscales" in _ome(image)]
    if not images:
        raise FileUnreadable("The folder holds no OME-Zarr image")
    return images


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _metadata(image: Any) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = _ome(image)["multiscales"][0]
    return metadata


def _array(image: Any) -> Any:
    array = image[_metadata(image)["datasets"][_FULL_SIZE]["path"]]
    if not isinstance(array, zarr.Array):
        raise FileUnreadable("An image of the folder has no pixels")
    return array


def _chunk_bytes(array: Any) -> int:
    n_pixels: int = math.prod(array.shards or array.chunks)
    return n_pixels * int(array.dtype.itemsize)


def _axes(metadata: Mapping[str, Any]) -> list[str]:
    return [axis["name"] for axis in metadata["axes"]]


def _units(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {axis["name"]: str(axis.get("unit") or "") for axis in metadata["axes"]}


def _fov_metadata(image: Any, n_frames: int) -> FovMetadata:
    metadata = _metadata(image)
    axes, units = _axes(metadata), _units(metadata)
    steps = dict(zip(axes, _scales(metadata, len(axes)), strict=True))
    # A step without a unit of time is that of the frame numbers.
    known = "t" in steps and ms_per(units["t"]) is not None
    return FovMetadata(
        channel_names=tuple(_channel_names(image)),
        times_ms=regular(duration(steps["t"], units["t"]), n_frames) if known else None,
        pixel_size_um=pixel_size(steps.get("x"), units.get("x", "")),
    )


def _scales(metadata: Mapping[str, Any], n_axes: int) -> list[float]:
    """Return the step along each axis: that of the full-size image times that of all images.

    A step that is no finite number is NaN.
    """
    steps = [1.0] * n_axes
    for owner in (metadata["datasets"][_FULL_SIZE], metadata):
        for transformation in owner.get("coordinateTransformations", ()):
            if transformation.get("type") == "scale":
                factors = [number(value) for value in transformation["scale"]]
                pairs = zip(steps, factors, strict=True)
                steps = [math.nan if b is None else a * b for a, b in pairs]
    return steps


def _channel_names(image: Any) -> list[str | None]:
    omero = _ome(image).get("omero") or {}
    labels = (channel.get("label") for channel in omero.get("channels", ()))
    return [None if label is None else str(label) for label in labels]
