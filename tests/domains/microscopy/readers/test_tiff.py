"""TIFF files of several writers."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchwire.domains.microscopy.errors import FileUnreadable, PixelsUnsuitable
from benchwire.domains.microscopy.readers import open_movie, opened
from tests.domains.microscopy.readers.support import HEIGHT, WIDTH, assert_pixels, planes, shape

N_FRAMES, N_CHANNELS, N_Z = 4, 2, 3
PIXELS = planes(N_FRAMES, N_CHANNELS, N_Z)


def ome(axes: str = "TCZYX", times: list[float] | None = None, unit: str = "min", **more) -> dict:
    metadata = {
        "axes": axes,
        "Channel": {"Name": ["Phase", "GFP"]},
        "PhysicalSizeX": 650.0,
        "PhysicalSizeXUnit": "nm",
        **more,
    }
    if times is not None:
        metadata["Plane"] = {"DeltaT": times, "DeltaTUnit": [unit] * len(times)}
    return metadata


def each_plane(times: list[float], per_frame: int = N_CHANNELS * N_Z) -> list[float]:
    return [time for time in times for _ in range(per_frame)]


def first_in_z(_fov: int, frame: int, channel: int) -> np.ndarray:
    return PIXELS[frame, channel, 0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"compression": "zlib"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zstd", "tile": (16, 16)},
        {"tile": (16, 16)},
        {"rowsperstrip": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("axes", ["TCZYX", "CTZYX", "ZCTYX", "TZCYX"])
def test_ome_tiff_of_any_layout_has_every_pixel_in_its_place(
    tmp_path: Path, options: dict, axes: str
) -> None:
    path = tmp_path / "movie.OME.tif"
    ordered = PIXELS.transpose(*("TCZYX".index(axis) for axis in axes))
    tifffile.imwrite(path, ordered, metadata=ome(axes), **options)
    info = assert_pixels(path, first_in_z)
    assert shape(info) == (1, N_FRAMES, N_CHANNELS, HEIGHT, WIDTH)
    assert (info.file_type, info.base_name, info.dtype) == ("ome-tiff", "movie", "uint16")
    assert info.channel_names == ("Phase", "GFP")
    assert info.pixel_size_um == pytest.approx(0.65)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=str)
def test_image_series_are_fovs(tmp_path: Path, options: dict) -> None:
    path = tmp_path / "movie.ome.tiff"
    fovs = [planes(N_FRAMES, N_CHANNELS, seed=seed) for seed in range(3)]
    with tifffile.TiffWriter(path) as file:
        for pixels in fovs:
            file.write(pixels, metadata=ome("TCYX"), **options)
    info = assert_pixels(path, lambda fov, frame, channel: fovs[fov][frame, channel])
    assert shape(info) == (3, N_FRAMES, N_CHANNELS, HEIGHT, WIDTH)


def test_planes_written_one_by_one_are_found(tmp_path: Path) -> None:
    path = tmp_path / "movie.ome.tif"
    fovs = [planes(N_FRAMES, N_CHANNELS, seed=seed) for seed in range(2)]
    with tifffile.TiffWriter(path) as file:
        for pixels in fovs:
            file.write(
                iter(pixels.reshape(-1, HEIGHT, WIDTH)),
                shape=pixels.shape,
                dtype="uint16",
                metadata=ome("TCYX"),
            )
    assert_pixels(path, lambda fov, frame, channel: fovs[fov][frame, channel])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=str)
def test_number_type_is_that_of_the_file(tmp_path: Path, dtype: str, options: dict) -> None:
    path = tmp_path / "movie.ome.tif"
    pixels = planes(N_FRAMES, N_CHANNELS, dtype=dtype)
    tifffile.imwrite(path, pixels, metadata=ome("TCYX"), **options)
    info = assert_pixels(path, lambda _fov, frame, channel: pixels[frame, channel])
    assert info.dtype == dtype


@pytest.mark.parametrize(
    ("unit", "ms"),
    [
        ("s", 1e3),
        ("ms", 1.0),
        ("µs", 1e-3),
        ("ns", 1e-6),
        ("min", 6e4),
        ("h", 3.6e6),
        ("d", 8.64e7),
    ],
)
def test_times_are_ms_from_the_first_frame_whatever_the_unit(
    tmp_path: Path, unit: str, ms: float
) -> None:
    path = tmp_path / "movie.ome.tif"
    tifffile.imwrite(
        path, PIXELS, metadata=ome(times=each_plane([7.0, 9.5, 12.0, 20.0]), unit=unit)
    )
    with opened(path) as movie:
        assert movie.info.has_times
        assert movie.info.timepoints_ms == pytest.approx([0.0, 2.5 * ms, 5.0 * ms, 13.0 * ms])


def test_delta_t_without_a_unit_is_in_seconds(tmp_path: Path) -> None:
    path = tmp_path / "movie.ome.tif"
    times = each_plane([0.0, 900.0, 1800.0, 2700.0])
    tifffile.imwrite(path, PIXELS, metadata=ome(Plane={"DeltaT": times}))
    with opened(path) as movie:
        assert movie.info.timepoints_ms == (0.0, 900e3, 1800e3, 2700e3)


def test_time_increment_counts_when_planes_have_no_times(tmp_path: Path) -> None:
    path = tmp_path / "movie.ome.tif"
    tifffile.imwrite(path, PIXELS, metadata=ome(TimeIncrement=15.0, TimeIncrementUnit="min"))
    with opened(path) as movie:
        assert movie.info.has_times
        assert movie.info.timepoints_ms == (0.0, 900e3, 1800e3, 2700e3)


@pytest.mark.parametrize("times", [[0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 1.0, 3.0], None])
def test_times_that_do_not_ascend_are_none(tmp_path: Path, times: list[float] | None) -> None:
    path = tmp_path / "movie.ome.tif"
    tifffile.imwrite(path, PIXELS, metadata=ome(times=times and each_plane(times)))
    with opened(path) as movie:
        assert not movie.info.has_times
        assert movie.info.timepoints_ms == (0.0, 600e3, 1200e3, 1800e3)


def test_channels_without_names_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "movie.ome.tif"
    tifffile.imwrite(path, PIXELS, metadata={"axes": "TCZYX"})
    with opened(path) as movie:
        assert movie.info.channel_names == ("C0", "C1")
        assert movie.info.pixel_size_um is None


def test_imagej_hyperstack_has_interval_and_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    metadata = {"axes": "TZCYX", "finterval": 30.0, "unit": "um"}
    stack = PIXELS.transpose(0, 2, 1, 3, 4)
    tifffile.imwrite(path, stack, imagej=True, resolution=(2.0, 2.0), metadata=metadata)
    info = assert_pixels(path, first_in_z)
    assert info.file_type == "tiff"
    assert info.timepoints_ms == (0.0, 30e3, 60e3, 90e3)
    assert info.pixel_size_um == pytest.approx(0.5)


@pytest.mark.parametrize("options", [{}, {"compression": "lzw", "rowsperstrip": 7}], ids=str)
@pytest.mark.parametrize("metadata", [None, {"axes": "TYX"}], ids=str)
def test_pages_of_a_plain_tiff_are_frames(
    tmp_path: Path, options: dict, metadata: dict | None
) -> None:
    path = tmp_path / "movie.TIF"
    pixels = planes(5)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=metadata, **options)
    info = assert_pixels(path, lambda _fov, frame, _channel: pixels[frame])
    assert shape(info) == (1, 5, 1, HEIGHT, WIDTH)
    assert info.file_type == "tiff"
    assert not info.has_times


def test_single_image_is_a_movie_of_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    pixels = planes()
    tifffile.imwrite(path, pixels)
    assert shape(assert_pixels(path, lambda *_: pixels)) == (1, 1, 1, HEIGHT, WIDTH)


@pytest.mark.parametrize("named", ["well_scene1.ome.tif", "well_scene10.ome.TIFF"])
def test_split_set_is_one_movie_sorted_by_number(tmp_path: Path, named: str) -> None:
    fovs = {scene: planes(N_FRAMES, N_CHANNELS, seed=scene) for scene in (1, 2, 10)}
    for scene, pixels in fovs.items():
        suffix = "TIFF" if scene == 10 else "tif"
        path = tmp_path / f"well_scene{scene}.ome.{suffix}"
        tifffile.imwrite(path, pixels, ome=True, metadata=ome("TCYX"))
    tifffile.imwrite(tmp_path / "other_scene3.ome.tif", planes(2), metadata=ome("TYX"))
    info = assert_pixels(tmp_path / named, lambda fov, *at: fovs[(1, 2, 10)[fov]][at])
    assert (info.n_fovs, info.base_name) == (3, "well")
    assert info.path == tmp_path / named


def test_split_set_of_different_lengths_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_scene0.ome.tif", PIXELS, metadata=ome())
    tifffile.imwrite(tmp_path / "a_scene1.ome.tif", PIXELS[:2], metadata=ome())
    with pytest.raises(FileUnreadable, match="differ in size"):
        open_movie(tmp_path / "a_scene0.ome.tif")


def test_fovs_of_different_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "movie.ome.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(PIXELS, metadata=ome())
        file.write(PIXELS[:, :, :, :-2], metadata=ome())
    with pytest.raises(FileUnreadable, match="differ in size"):
        open_movie(path)


@pytest.mark.parametrize("name", ["colours.tif", "colours.ome.tif"])
def test_colour_images_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    tifffile.imwrite(path, np.zeros((HEIGHT, WIDTH, 3), "uint8"), photometric="rgb")
    with pytest.raises(PixelsUnsuitable, match="colour"):
        open_movie(path)


def test_ome_xml_that_promises_more_than_there_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "movie.ome.tif"
    tifffile.imwrite(path, PIXELS, metadata=ome())
    path.write_bytes(path.read_bytes().replace(b'SizeT="4"', b'SizeT="9"'))
    with pytest.raises(FileUnreadable):
        open_movie(path)


def test_width_that_the_file_cannot_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, planes(), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages[0].tags[tag].overwrite(2**31)
    with pytest.raises(FileUnreadable):
        open_movie(path)


def test_strip_without_bytes_is_not_read_as_black(tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, planes(), compression="zlib", metadata=None, rowsperstrip=8)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["StripByteCounts"].overwrite((0, 0, 0))
    with pytest.raises(FileUnreadable):
        open_movie(path)
