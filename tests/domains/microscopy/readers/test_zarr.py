"""OME-Zarr folders written by the library of the format's authors."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr
from numcodecs import BZ2, CRC32, LZ4, LZMA, Blosc, Delta, GZip, Zlib, Zstd
from numcodecs.abc import Codec
from ome_zarr.format import FormatV04, FormatV05

from benchwire.domains.microscopy.errors import FileUnreadable, TypeUnsupported
from benchwire.domains.microscopy.readers import open_movie, opened
from tests.domains.microscopy.readers.support import (
    HEIGHT,
    WIDTH,
    assert_pixels,
    one_chunk,
    planes,
    shape,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ome_zarr.writer import write_image

N_FRAMES, N_CHANNELS, N_Z = 4, 2, 3
PIXELS = planes(N_FRAMES, N_CHANNELS, N_Z)
FORMATS = pytest.mark.parametrize("fmt", [FormatV04(), FormatV05()], ids=lambda f: f.version)
SCALE = {"t": 5.0, "c": 1.0, "z": 2.0, "y": 325.0, "x": 325.0}
UNITS = {"t": "minute", "z": "micrometer", "y": "nanometer", "x": "nanometer"}


def write(group: zarr.Group, pixels: np.ndarray, fmt, axes: str = "tczyx", **more) -> None:
    more = {
        "scale": {axis: SCALE[axis] for axis in axes},
        "axes_units": {axis: unit for axis, unit in UNITS.items() if axis in axes},
        **more,
    }
    write_image(pixels, group, axes=axes, fmt=fmt, scale_factors=[2], **more)


def root(path: Path, fmt) -> zarr.Group:
    return zarr.open_group(path, mode="w", zarr_format=fmt.zarr_format)


def name_channels(group: zarr.Group, fmt) -> None:
    omero = {"channels": [{"label": "Phase"}, {"label": "GFP"}]}
    if fmt.version == "0.4":
        group.attrs["omero"] = omero
    else:
        group.attrs["ome"] = {**group.attrs["ome"], "omero": omero}


@FORMATS
@pytest.mark.parametrize("name", ["movie.ome.zarr", "movie.ZARR"])
def test_every_pixel_is_in_its_place(tmp_path: Path, fmt, name: str) -> None:
    group = root(tmp_path / name, fmt)
    write(group, PIXELS, fmt)
    name_channels(group, fmt)
    info = assert_pixels(tmp_path / name, lambda _, frame, channel: PIXELS[frame, channel, 0])
    assert shape(info) == (1, N_FRAMES, N_CHANNELS, HEIGHT, WIDTH)
    assert (info.file_type, info.base_name, info.dtype) == ("ome-zarr", "movie", "uint16")
    assert info.channel_names == ("Phase", "GFP")
    assert info.has_times
    assert info.timepoints_ms == (0.0, 300e3, 600e3, 900e3)
    assert info.pixel_size_um == pytest.approx(0.325)


@FORMATS
@pytest.mark.parametrize("axes", ["yx", "tyx", "cyx", "zyx", "tcyx"])
def test_any_axes_are_read(tmp_path: Path, fmt, axes: str) -> None:
    place = tuple(slice(None) if axis in axes else 0 for axis in "tcz")
    write(root(tmp_path / "a.zarr", fmt), PIXELS[place], fmt, axes)
    info = assert_pixels(tmp_path / "a.zarr", lambda _, t, c: PIXELS[t, c, 0])
    assert info.n_frames == (N_FRAMES if "t" in axes else 1)
    assert info.n_channels == (N_CHANNELS if "c" in axes else 1)


@FORMATS
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_number_type_is_that_of_the_file(tmp_path: Path, fmt, dtype: str) -> None:
    pixels = planes(N_FRAMES, N_CHANNELS, dtype=dtype)
    write(root(tmp_path / "a.zarr", fmt), pixels, fmt, "tcyx")
    assert assert_pixels(tmp_path / "a.zarr", lambda _, t, c: pixels[t, c]).dtype == dtype


@FORMATS
def test_images_in_numbered_folders_are_fovs_in_the_order_of_the_numbers(
    tmp_path: Path, fmt
) -> None:
    group = root(tmp_path / "a.zarr", fmt)
    fovs = {number: planes(2, 2, seed=number) for number in (0, 2, 10)}
    for number, pixels in fovs.items():
        write(group.create_group(str(number)), pixels, fmt, "tcyx")
    info = assert_pixels(tmp_path / "a.zarr", lambda fov, *at: fovs[(0, 2, 10)[fov]][at])
    assert info.n_fovs == 3


@FORMATS
def test_series_named_by_the_folder_are_its_fovs(tmp_path: Path, fmt) -> None:
    group = root(tmp_path / "a.zarr", fmt)
    fovs = {name: planes(2, 2, seed=seed) for seed, name in enumerate("ba")}
    for name, pixels in fovs.items():
        write(group.create_group(name), pixels, fmt, "tcyx")
    series = {"series": ["b", "a"]}
    group.create_group("OME").attrs.update(series if fmt.version == "0.4" else {"ome": series})
    assert assert_pixels(tmp_path / "a.zarr", lambda fov, *at: fovs["ba"[fov]][at]).n_fovs == 2


@FORMATS
def test_scale_without_a_unit_says_nothing(tmp_path: Path, fmt) -> None:
    write(root(tmp_path / "a.zarr", fmt), PIXELS, fmt, axes_units=None)
    with opened(tmp_path / "a.zarr") as movie:
        assert not movie.info.has_times
        assert movie.info.timepoints_ms == (0.0, 600e3, 1200e3, 1800e3)
        assert movie.info.pixel_size_um is None
        assert movie.info.channel_names == ("C0", "C1")


@FORMATS
def test_fovs_of_different_size_are_refused(tmp_path: Path, fmt) -> None:
    group = root(tmp_path / "a.zarr", fmt)
    write(group.create_group("0"), PIXELS, fmt)
    write(group.create_group("1"), PIXELS[:2], fmt)
    with pytest.raises(FileUnreadable, match="differ in size"):
        open_movie(tmp_path / "a.zarr")


def test_plate_is_no_movie(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w").attrs["plate"] = {"wells": []}
    with pytest.raises(TypeUnsupported, match="plate"):
        open_movie(tmp_path / "a.zarr")


@FORMATS
def test_damaged_chunk_is_reported(tmp_path: Path, fmt) -> None:
    path = tmp_path / "a.zarr"
    write(root(path, fmt), PIXELS, fmt, storage_options={"chunks": (1, 1, 1, HEIGHT, WIDTH)})
    chunks = [p for p in path.rglob("*") if p.is_file() and p.name[0] not in "z."]
    for chunk in chunks:
        chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])
    with opened(path) as movie, pytest.raises(FileUnreadable):
        movie.frame(0, 1, channel=1)


@FORMATS
@pytest.mark.parametrize(
    "sizes", [[2**40, 2, 3, 24, 32], [4, 2, 3, 2**31, 2**31], [-1, 2, 3, 4, 5]]
)
def test_size_that_a_file_cannot_have_is_refused(tmp_path: Path, fmt, sizes: list[int]) -> None:
    path = tmp_path / "a.zarr"
    write(root(path, fmt), PIXELS, fmt)
    for described in [*path.glob("*/.zarray"), *path.glob("*/zarr.json")]:
        content = json.loads(described.read_text())
        described.write_text(json.dumps({**content, "shape": sizes}))
    with pytest.raises(FileUnreadable):
        open_movie(path)


@FORMATS
def test_chunks_larger_than_memory_are_refused(tmp_path: Path, fmt) -> None:
    path = tmp_path / "a.zarr"
    write(root(path, fmt), PIXELS, fmt)
    huge = [1, 1, 1, 2**20, 2**20]
    for described in [*path.glob("*/.zarray"), *path.glob("*/zarr.json")]:
        content = json.loads(described.read_text())
        if "chunks" in content:
            content["chunks"] = huge
        else:
            content["chunk_grid"]["configuration"]["chunk_shape"] = huge
        described.write_text(json.dumps(content))
    with pytest.raises(FileUnreadable, match="claims a size"):
        open_movie(path)


NOISE = np.random.default_rng(1).integers(0, 2**16, (700, 500)).astype("u2")
"""It takes more room packed than not."""
BOMB = bytes(20 << 20)


@pytest.mark.parametrize(
    "packer",
    [GZip(1), Zlib(1), BZ2(1), LZMA(), Zstd(1), Blosc(), LZ4(), None],
    ids=lambda p: p.codec_id if p else "none",
)
def test_packed_chunks_are_read(tmp_path: Path, packer: Codec | None) -> None:
    one_chunk(tmp_path / "a.zarr", packer, NOISE)
    with opened(tmp_path / "a.zarr") as movie:
        np.testing.assert_array_equal(movie.frame(0, 0, channel=0), NOISE)


def test_chunks_of_wider_numbers_than_the_pixels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    one_chunk(path, GZip(1), NOISE, filters=[Delta("<u2", astype="<i8"), CRC32()])
    with opened(path) as movie:
        np.testing.assert_array_equal(movie.frame(0, 0, channel=0), NOISE)


def test_shards_of_many_small_chunks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3)
    axes = [{"name": name, "type": "space"} for name in "yx"]
    images = [{"axes": axes, "datasets": [{"path": "0"}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": images}
    plane = np.random.default_rng(2).integers(0, 2**8, (1024, 1024)).astype("u1")
    array = group.create_array(
        "0", shape=plane.shape, shards=plane.shape, chunks=(32, 32), dtype="u1",
        compressors=zarr.codecs.GzipCodec(level=1),
    )  # fmt: skip
    array[:] = plane
    with opened(path) as movie:
        np.testing.assert_array_equal(movie.frame(0, 0, channel=0), plane)


def test_a_chunk_that_cannot_be_read_is_no_dark_one(tmp_path: Path) -> None:
    chunk = one_chunk(tmp_path / "a.zarr", Zstd(1), NOISE)
    chunk.unlink()
    chunk.symlink_to(chunk)
    with opened(tmp_path / "a.zarr") as movie, pytest.raises(FileUnreadable):
        movie.frame(0, 0, channel=0)


@pytest.mark.parametrize(
    ("packer", "content"),
    [
        (GZip(9), GZip(9).encode(BOMB)),
        (Zlib(9), Zlib(9).encode(BOMB)),
        (BZ2(9), BZ2(9).encode(BOMB)),
        (LZMA(), LZMA().encode(BOMB)),
        (GZip(9), GZip(9).encode(BOMB) + GZip(9).encode(bytes(700 * 500 * 2))),
        (GZip(9), GZip(9).encode(b"") + bytes(9) + GZip(9).encode(BOMB)),
        (GZip(9), bytes(10 << 20)),
    ],
    ids=["gzip", "zlib", "bzip2", "xz", "members", "padded", "larger than its pixels"],
)
def test_a_chunk_of_more_than_its_pixels_is_not_unpacked(
    tmp_path: Path, packer: Codec, content: bytes
) -> None:
    path = tmp_path / "a.zarr"
    chunk = one_chunk(path, packer, np.ones((700, 500), "u2"))
    chunk.write_bytes(content)
    with opened(path) as movie, pytest.raises(FileUnreadable, match="A part of the file"):
        movie.frame(0, 0, channel=0)


def test_metadata_without_end_are_not_read(tmp_path: Path) -> None:
    one_chunk(tmp_path / "a.zarr", Zstd(1), np.ones((7, 5), "u2"))
    os.truncate(tmp_path / "a.zarr/.zattrs", 1 << 30)
    with pytest.raises(FileUnreadable, match="A part of the file"):
        open_movie(tmp_path / "a.zarr")


@pytest.mark.parametrize("label", ["\ud800x", 5, None])
def test_odd_channel_labels_are_read_as_text(tmp_path: Path, label: object) -> None:
    fmt = FormatV04()
    folder = tmp_path / "odd.ome.zarr"
    write(root(folder, fmt), PIXELS, fmt)
    path = folder / ".zattrs"
    attributes = json.loads(path.read_text())
    attributes["omero"] = {"channels": [{"label": label}]}
    path.write_text(json.dumps(attributes))
    with opened(folder) as movie:
        for name in movie.info.channel_names:
            assert name.encode()
