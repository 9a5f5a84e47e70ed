"""ND2 files: bytes by our own writer, read by the real library."""

from pathlib import Path

import numpy as np
import pytest

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.readers import open_movie, opened
from tests.domains.microscopy.readers.nd2_writer import write_nd2
from tests.domains.microscopy.readers.support import HEIGHT, WIDTH, assert_pixels, planes, shape

N_FRAMES, N_FOVS, N_CHANNELS = 4, 3, 2
PIXELS = planes(N_FRAMES, N_FOVS, 1, N_CHANNELS)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["TP", "PT"])
def test_every_pixel_is_in_its_place(tmp_path: Path, order: str, compressed: bool) -> None:
    path = tmp_path / "movie.ND2"
    write_nd2(path, PIXELS, order=order, compressed=compressed, names=["Phase", "GFP"])
    info = assert_pixels(path, lambda fov, frame, channel: PIXELS[frame, fov, 0, channel])
    assert shape(info) == (N_FOVS, N_FRAMES, N_CHANNELS, HEIGHT, WIDTH)
    assert (info.file_type, info.base_name, info.dtype) == ("nd2", "movie", "uint16")
    assert info.channel_names == ("Phase", "GFP")
    assert info.pixel_size_um == pytest.approx(0.65)


@pytest.mark.parametrize("counts", [(1, 1, 1), (5, 1, 1), (1, 4, 1), (5, 1, 2), (1, 4, 2)], ids=str)
def test_file_without_some_of_the_loops_is_read(
    tmp_path: Path, counts: tuple[int, int, int]
) -> None:
    n_frames, n_fovs, n_channels = counts
    path = tmp_path / "movie.nd2"
    pixels = planes(n_frames, n_fovs, 1, n_channels)
    write_nd2(path, pixels)
    info = assert_pixels(path, lambda fov, frame, channel: pixels[frame, fov, 0, channel])
    assert shape(info)[:3] == (n_fovs, n_frames, n_channels)
    assert info.channel_names == ("C0", "C1")[:n_channels]


def test_only_the_first_plane_in_z_is_read(tmp_path: Path) -> None:
    path = tmp_path / "movie.nd2"
    pixels = planes(3, 2, 5, 2)
    write_nd2(path, pixels)
    info = assert_pixels(path, lambda fov, frame, channel: pixels[frame, fov, 0, channel])
    assert shape(info)[:3] == (2, 3, 2)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_number_type_is_that_of_the_file(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "movie.nd2"
    pixels = planes(2, 1, 1, 2, dtype=dtype)
    write_nd2(path, pixels)
    assert assert_pixels(path, lambda _, t, c: pixels[t, 0, 0, c]).dtype == dtype


def test_times_are_those_of_the_first_fov(tmp_path: Path) -> None:
    path = tmp_path / "movie.nd2"
    stamps = [1000.0 + 60_000.0 * t + 250.0 * p for t in range(N_FRAMES) for p in range(N_FOVS)]
    write_nd2(path, PIXELS, times_ms=stamps, period_ms=50_000.0)
    with opened(path) as movie:
        assert movie.info.has_times
        assert movie.info.timepoints_ms == (0.0, 60e3, 120e3, 180e3)


def test_planned_period_counts_when_images_have_no_times(tmp_path: Path) -> None:
    path = tmp_path / "movie.nd2"
    write_nd2(path, PIXELS, period_ms=50_000.0)
    with opened(path) as movie:
        assert movie.info.has_times
        assert movie.info.timepoints_ms == (0.0, 50e3, 100e3, 150e3)


def test_file_without_times_is_ten_minutes_apart(tmp_path: Path) -> None:
    path = tmp_path / "movie.nd2"
    write_nd2(path, PIXELS, pixel_size_um=0.0)
    with opened(path) as movie:
        assert not movie.info.has_times
        assert movie.info.timepoints_ms == (0.0, 600e3, 1200e3, 1800e3)
        assert movie.info.pixel_size_um is None


def test_stopped_acquisition_has_the_frames_that_are_complete(tmp_path: Path) -> None:
    path = tmp_path / "movie.nd2"
    write_nd2(path, PIXELS, images=2 * N_FOVS + 1)
    info = assert_pixels(path, lambda fov, frame, channel: PIXELS[frame, fov, 0, channel])
    assert info.n_frames == 2


def test_image_missing_in_the_middle_is_not_read_as_black(tmp_path: Path) -> None:
    path = tmp_path / "movie.nd2"
    write_nd2(path, PIXELS)
    path.write_bytes(path.read_bytes().replace(b"ImageDataSeq|5!", b"ImageDataXeq|5!"))
    with pytest.raises(FileUnreadable):
        open_movie(path)


def test_frame_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "movie.nd2"
    write_nd2(path, PIXELS)
    with opened(path) as movie:
        pixels = movie.frame(1, 2, channel=1)
    assert np.array_equal(pixels, PIXELS[2, 1, 0, 1])
