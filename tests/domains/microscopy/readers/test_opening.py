"""Opening by name, misuse, and files that are damaged in every way."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchwire.domains.microscopy.errors import FileUnreadable, ParametersInvalid, TypeUnsupported
from benchwire.domains.microscopy.readers import is_movie, open_movie, opened
from benchwire.foundation.errors import BenchwireError
from tests.domains.microscopy.readers import test_czi
from tests.domains.microscopy.readers.nd2_writer import write_nd2
from tests.domains.microscopy.readers.support import planes

PIXELS = planes(3, 2, 2)
ATTEMPTS = 120


def _nd2(path: Path) -> None:
    write_nd2(path, PIXELS[:, :, None], times_ms=[1e3 * n for n in range(6)], names=["a", "b"])


def _packed_nd2(path: Path) -> None:
    write_nd2(path, PIXELS[:, :, None], compressed=True)


def _ome_tiff(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        for pixels in PIXELS.swapaxes(0, 1):
            file.write(iter(pixels.reshape(-1, *pixels.shape[2:])), shape=pixels.shape,
                       dtype="uint16", metadata={"axes": "TCYX"})  # fmt: skip


def _packed_ome_tiff(path: Path) -> None:
    tifffile.imwrite(path, PIXELS, metadata={"axes": "TCZYX"}, compression="zlib", tile=(16, 16))


def _tiff(path: Path) -> None:
    tifffile.imwrite(path, PIXELS[:, 0, 0], photometric="minisblack", metadata=None)


def _packed_tiff(path: Path) -> None:
    tifffile.imwrite(path, PIXELS[:, 0, 0], metadata=None, compression="lzw",
                     photometric="minisblack")  # fmt: skip


def _tiled_tiff(path: Path) -> None:
    tifffile.imwrite(path, PIXELS[:, 0, 0], metadata=None, tile=(16, 16),
                     photometric="minisblack")  # fmt: skip


def _imagej(path: Path) -> None:
    tifffile.imwrite(path, PIXELS, imagej=True, metadata={"axes": "TZCYX"})


def _czi(path: Path) -> None:
    test_czi.write(path, PIXELS, compression="zstd1:")


WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "nd2": ("a.nd2", _nd2),
    "packed nd2": ("a.nd2", _packed_nd2),
    "czi": ("a.czi", _czi),
    "ome-tiff": ("a.ome.tif", _ome_tiff),
    "packed ome-tiff": ("a.ome.tif", _packed_ome_tiff),
    "tiff": ("a.tif", _tiff),
    "packed tiff": ("a.tif", _packed_tiff),
    "tiled tiff": ("a.tif", _tiled_tiff),
    "imagej": ("a.tif", _imagej),
}
KINDS = pytest.mark.parametrize("kind", WRITERS)


def written(folder: Path, kind: str) -> Path:
    name, write = WRITERS[kind]
    write(folder / name)
    return folder / name


def read_everything(path: Path) -> None:
    with opened(path) as movie:
        info = movie.info
        for fov, frame, channel in np.ndindex(
            min(info.n_fovs, 4), min(info.n_frames, 6), min(info.n_channels, 4)
        ):
            pixels = movie.frame(fov, frame, channel=channel)
            assert pixels.shape == (info.height, info.width)


@KINDS
def test_file_cut_short_anywhere_is_unreadable(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind)
    read_everything(path)
    content = path.read_bytes()
    # The last bytes hold a resolution of 1, or nothing, where nothing is lost without them.
    end = len(content) - 16
    chance = random.Random(kind)
    lengths = [0, 1, 7, 8, 32, end // 2, end - 1]
    for length in [*lengths, *(chance.randrange(end) for _ in range(ATTEMPTS // 4))]:
        path.write_bytes(content[:length])
        with pytest.raises(FileUnreadable):
            read_everything(path)


@KINDS
def test_changed_bytes_lead_to_pixels_or_to_our_own_error(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind)
    content = path.read_bytes()
    chance = random.Random(kind)
    answers = []
    for _ in range(ATTEMPTS):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 2, 30])):
            near_an_end = chance.randrange(min(4500, len(content)))
            place = chance.choice([near_an_end, -1 - near_an_end, chance.randrange(len(content))])
            damaged[place] = chance.choice([0, 255, damaged[place] ^ 1 << chance.randrange(8)])
        path.write_bytes(damaged)
        try:
            read_everything(path)
        except BenchwireError as error:
            answers.append(error.message)
    assert answers
    assert all(answers)
    assert not any(str(tmp_path) in answer for answer in answers)


@pytest.mark.parametrize("name", ["a.nd2", "a.czi", "a.ome.tif", "a.tif", "a_scene1.ome.tif"])
@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"II*\0", b"not an image" * 999], ids=len)
def test_garbage_is_unreadable(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileUnreadable) as caught:
        open_movie(tmp_path / name)
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("name", ["a.nd2", "a.czi", "a.ome.tif", "a.tif", "a.ome.zarr"])
def test_folder_in_place_of_a_file_and_the_reverse_are_unreadable(
    tmp_path: Path, name: str
) -> None:
    if name.endswith("zarr"):
        (tmp_path / name).write_bytes(b"x")
    else:
        (tmp_path / name).mkdir()
    with pytest.raises(FileUnreadable):
        open_movie(tmp_path / name)
    with pytest.raises(FileUnreadable):
        open_movie(tmp_path / f"absent {name}")


def test_empty_zarr_folder_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(FileUnreadable):
        open_movie(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", ["a.png", "a", "a.nd2.txt", ".nd2", ".ome.tif", "a.zarr.zip"])
def test_unknown_suffix_is_unsupported(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert not is_movie(tmp_path / name)
    with pytest.raises(TypeUnsupported):
        open_movie(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["a.nd2", "A.ND2", "a.Czi", "a.b.tif", "a.TIFF", "a.ome.TIF", "a.zarr", "a.ome.zarr"]
)
def test_movies_are_known_by_their_names(name: str) -> None:
    assert is_movie(Path("/nowhere") / name)


@KINDS
@pytest.mark.parametrize("place", [(-1, 0, 0), (99, 0, 0), (0, -1, 0), (0, 99, 0), (0, 0, 9)])
def test_frame_that_is_not_there_is_refused(
    tmp_path: Path, kind: str, place: tuple[int, int, int]
) -> None:
    fov, frame, channel = place
    with opened(written(tmp_path, kind)) as movie, pytest.raises(ParametersInvalid, match="no "):
        movie.frame(fov, frame, channel=channel)


@KINDS
def test_closing_twice_is_fine_and_reading_afterwards_is_refused(tmp_path: Path, kind: str) -> None:
    movie = open_movie(written(tmp_path, kind))
    movie.close()
    movie.close()
    with pytest.raises(ParametersInvalid, match="closed"):
        movie.frame(0, 0, channel=0)


@KINDS
def test_two_open_movies_do_not_disturb_each_other(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind)
    with opened(path) as first:
        before = first.frame(0, 1, channel=0)
        with opened(path) as second:
            assert np.array_equal(second.frame(0, 1, channel=0), before)
        assert np.array_equal(first.frame(0, 1, channel=0), before)


def test_readers_load_no_library_before_a_file_is_opened() -> None:
    code = (
        "import sys\n"
        "import benchwire.domains.microscopy.readers, benchwire.domains.microscopy.simulation\n"
        "print([m for m in ('nd2', 'zarr', 'tifffile', 'pylibCZIrw', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
