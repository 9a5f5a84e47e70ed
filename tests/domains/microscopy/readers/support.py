"""Pixels that tell where they belong, and the comparison of a whole movie with them."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from numcodecs.abc import Codec

from benchwire.domains.microscopy.plan import MovieInfo
from benchwire.domains.microscopy.readers import opened

HEIGHT, WIDTH = 24, 32


def planes(*counts: int, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    """Random planes of the shape (*counts, HEIGHT, WIDTH), over the whole range of the type."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1e3, (*counts, HEIGHT, WIDTH)).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (*counts, HEIGHT, WIDTH), dtype, endpoint=True)


def assert_pixels(path: Path, expected: Callable[[int, int, int], np.ndarray]) -> MovieInfo:
    """Compare every plane, in a random order, with ``expected(fov, frame, channel)``."""
    with opened(path) as movie:
        info = movie.info
        places = [
            (fov, frame, channel)
            for fov in range(info.n_fovs)
            for frame in range(info.n_frames)
            for channel in range(info.n_channels)
        ]
        random.Random(1).shuffle(places)
        kept = {}
        for fov, frame, channel in places:
            kept[fov, frame, channel] = movie.frame(fov, frame, channel=channel)
    for place, pixels in kept.items():
        assert pixels.dtype == np.dtype(info.dtype)
        assert np.array_equal(pixels, expected(*place)), place
    assert len(info.timepoints_ms) == info.n_frames
    assert len(info.channel_names) == info.n_channels
    return info


def shape(info: MovieInfo) -> tuple[int, int, int, int, int]:
    return (info.n_fovs, info.n_frames, info.n_channels, info.height, info.width)


def one_chunk(path: Path, packer: Codec | None, plane: np.ndarray, **more) -> Path:
    """Write one plane as one chunk, and return the file that it is in."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    axes = [{"name": name, "type": "space"} for name in "yx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    array = group.create_array(
        "0", shape=plane.shape, chunks=plane.shape, dtype=plane.dtype, compressors=packer, **more
    )
    array[:] = plane
    (chunk,) = (item for item in (path / "0").iterdir() if not item.name.startswith("."))
    return chunk
