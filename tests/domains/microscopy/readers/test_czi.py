"""CZI files written by the vendor's library."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from pylibCZIrw import czi

from benchwire.domains.microscopy.errors import FileUnreadable, PixelsUnsuitable
from benchwire.domains.microscopy.readers import open_movie, opened
from tests.domains.microscopy.readers.support import HEIGHT, WIDTH, assert_pixels, planes, shape

N_FOVS, N_FRAMES, N_CHANNELS = 3, 4, 2
PIXELS = planes(N_FOVS, N_FRAMES, N_CHANNELS)
INTERVAL = (
    "<T><Positions><Interval><Start>0</Start><Increment>{}</Increment></Interval></Positions></T>"
)


def write(path: Path, pixels: np.ndarray = PIXELS, *, compression: str | None = None) -> None:
    with czi.create_czi(str(path), compression_options=compression) as file:
        for fov, frame, channel in np.ndindex(pixels.shape[:3]):
            file.write(
                pixels[fov, frame, channel],
                plane={"T": frame, "C": channel, "Z": 0},
                scene=fov,
                location=(-500 + 300 * fov, 7 * fov),
            )
        names = {0: "Phase", 1: "GFP"}
        file.write_metadata("movie", channel_names=names, scale_x=0.65e-6, scale_y=0.65e-6)


def rewrite_xml(path: Path, old: str, new: str) -> None:
    with czi.edit_czi(str(path)) as file, file.edit_session() as builder:
        builder.set_xml(re.sub(old, new, file.read_metadata_xml()))


@pytest.mark.parametrize("compression", [None, "zstd1:ExplicitLevel=2", "zstd0:"])
def test_every_pixel_is_in_its_place(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "movie.CZI"
    write(path, compression=compression)
    info = assert_pixels(path, lambda *at: PIXELS[at])
    assert shape(info) == (N_FOVS, N_FRAMES, N_CHANNELS, HEIGHT, WIDTH)
    assert (info.file_type, info.base_name, info.dtype) == ("czi", "movie", "uint16")
    assert info.channel_names == ("Phase", "GFP")
    assert info.pixel_size_um == pytest.approx(0.65)
    assert not info.has_times
    assert info.timepoints_ms == (0.0, 600e3, 1200e3, 1800e3)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_number_type_is_that_of_the_file(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "movie.czi"
    pixels = planes(2, 2, 2, dtype=dtype)
    write(path, pixels)
    assert assert_pixels(path, lambda *at: pixels[at]).dtype == dtype


def test_scenes_that_the_xml_does_not_name_are_fovs(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    write(path)
    rewrite_xml(path, "<SizeS>3</SizeS>", "")
    assert assert_pixels(path, lambda *at: PIXELS[at]).n_fovs == N_FOVS


def test_file_without_xml_about_itself_is_read(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    with czi.create_czi(str(path)) as file:
        file.write(PIXELS[0, 0, 0])
        file.write_metadata("movie")
    info = assert_pixels(path, lambda *_: PIXELS[0, 0, 0])
    assert shape(info) == (1, 1, 1, HEIGHT, WIDTH)
    assert info.pixel_size_um is None


def test_only_the_first_plane_in_z_is_read(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    with czi.create_czi(str(path)) as file:
        for z in range(3):
            for frame in range(2):
                file.write(PIXELS[z, frame, 0], plane={"T": frame, "Z": z, "C": 0})
        file.write_metadata("movie")
    assert assert_pixels(path, lambda _, t, __: PIXELS[0, t, 0]).n_frames == 2


def test_scenes_frames_and_channels_need_not_begin_with_zero(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    with czi.create_czi(str(path)) as file:
        for fov, frame, channel in np.ndindex(2, 3, 2):
            file.write(
                PIXELS[fov, frame, channel],
                plane={"T": frame + 4, "C": channel + 1},
                scene=5 * fov + 3,
                location=(300 * fov, 0),
            )
        file.write_metadata("movie")
    assert shape(assert_pixels(path, lambda *at: PIXELS[at]))[:3] == (2, 3, 2)


def test_tiles_of_one_scene_make_one_image(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    left, right = planes(2)
    with czi.create_czi(str(path)) as file:
        file.write(left, location=(100, 50))
        file.write(right, location=(100 + WIDTH, 50))
        file.write_metadata("movie")
    info = assert_pixels(path, lambda *_: np.hstack([left, right]))
    assert (info.height, info.width) == (HEIGHT, 2 * WIDTH)


def test_interval_in_the_xml_gives_the_times(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    write(path)
    rewrite_xml(path, "<Channels>", INTERVAL.format("90.5") + "<Channels>")
    with opened(path) as movie:
        assert movie.info.has_times
        assert movie.info.timepoints_ms == (0.0, 90.5e3, 181e3, 271.5e3)


def test_acquisition_times_of_the_images_win_over_the_interval(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    write(path)
    rewrite_xml(path, "<Channels>", INTERVAL.format("90.5") + "<Channels>")
    number = iter(range(N_FOVS * N_FRAMES * N_CHANNELS))

    def stamped(_: re.Match) -> bytes:
        fov, frame, channel = np.unravel_index(next(number), PIXELS.shape[:3])
        moment = f"2024-02-03T10:{12 * frame + fov:02d}:{channel:02d}.12300Z"
        return f"<AcquisitionTime>{moment}</AcquisitionTime>".encode()

    content = re.sub(rb"<RetilingId>.{36}</RetilingId>", stamped, path.read_bytes())
    path.write_bytes(content)
    info = assert_pixels(path, lambda *at: PIXELS[at])
    assert info.has_times
    assert info.timepoints_ms == (0.0, 720e3, 1440e3, 2160e3)


def test_time_stamps_attached_to_the_file_are_its_times(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    write(path)
    attach_times(path, [3.5, 10.0, 20.25, 31.0])
    info = assert_pixels(path, lambda *at: PIXELS[at])
    assert info.has_times
    assert info.timepoints_ms == (0.0, 6.5e3, 16.75e3, 27.5e3)


def attach_times(path: Path, seconds: list[float]) -> None:
    """Append the two segments of an attachment, and name them in the header of the file."""
    content = bytearray(path.read_bytes())
    attachment = len(content)
    entry = struct.pack("<2s10xqi16s8s80s", b"A1", attachment, 0, b"", b"CZTIMS", b"TimeStamps")
    data = struct.pack(f"<ii{len(seconds)}d", 8 + 8 * len(seconds), len(seconds), *seconds)
    body = struct.pack("<q8x", len(data)) + entry + bytes(112) + data
    content += struct.pack("<16sqq", b"ZISRAWATTACH", len(body), len(body)) + body
    directory = len(content)
    body = struct.pack("<i252x", 1) + entry
    content += struct.pack("<16sqq", b"ZISRAWATTDIR", len(body), len(body)) + body
    content[104:112] = struct.pack("<q", directory)
    path.write_bytes(content)


def test_fovs_of_different_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    with czi.create_czi(str(path)) as file:
        file.write(PIXELS[0, 0, 0], scene=0)
        file.write(PIXELS[0, 0, 0, :-2], scene=1, location=(900, 0))
        file.write_metadata("movie")
    with pytest.raises(FileUnreadable, match="differ in size"):
        open_movie(path)


def test_image_that_is_not_there_is_not_read_as_black(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    with czi.create_czi(str(path)) as file:
        for frame, channel in ((0, 0), (0, 1), (1, 0)):
            file.write(PIXELS[0, frame, channel], plane={"T": frame, "C": channel})
        file.write_metadata("movie")
    with opened(path) as movie:
        assert np.array_equal(movie.frame(0, 1, channel=0), PIXELS[0, 1, 0])
        with pytest.raises(FileUnreadable, match="missing"):
            movie.frame(0, 1, channel=1)


def test_colour_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "movie.czi"
    with czi.create_czi(str(path)) as file:
        file.write(np.zeros((HEIGHT, WIDTH, 3), "uint8"))
        file.write_metadata("movie")
    with pytest.raises(PixelsUnsuitable, match="colour"):
        open_movie(path)
