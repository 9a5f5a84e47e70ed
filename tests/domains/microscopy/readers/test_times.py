"""Times that a file gives and that cannot be used, in contrast to none."""

from pathlib import Path

import pytest
import tifffile
from ome_zarr.format import FormatV05

from benchwire.domains.microscopy.plan import MovieInfo
from benchwire.domains.microscopy.readers import opened
from tests.domains.microscopy.readers import test_alike, test_czi, test_zarr
from tests.domains.microscopy.readers.nd2_writer import write_nd2
from tests.domains.microscopy.readers.support import planes

PIXELS = test_alike.PIXELS


def times_of(path: Path) -> tuple[bool, bool]:
    """Whether there are times, and whether there are some that cannot be used."""
    with opened(path) as movie:
        info: MovieInfo = movie.info
    if not info.has_times:
        assert info.timepoints_ms == (0.0, 600e3, 1200e3, 1800e3)
    return info.has_times, info.has_unusable_times


@pytest.mark.parametrize(
    "minutes",
    [
        [0.0, 10.0, 10.0, 30.0],
        [0.0, 20.0, 10.0, 30.0],
        [0.0, 0.0, 0.0, 0.0],
        [0.0, 10.0, float("nan"), 30.0],
        [0.0, 10.0, 20.0, float("inf")],
    ],
    ids=str,
)
@pytest.mark.parametrize("write", [test_alike.one_file, test_alike.split_set])
def test_recorded_times_that_do_not_ascend_cannot_be_used(
    tmp_path: Path, write: test_alike.Writer, minutes: list[float]
) -> None:
    path = write(tmp_path, [test_alike.described(minutes)] * 2)
    assert times_of(path) == (False, True)


@pytest.mark.parametrize(
    ("planned", "expected"),
    [({}, (False, True)), ({"TimeIncrement": 5.0}, (True, False))],
    ids=str,
)
def test_frame_without_its_time_leaves_only_the_planned_interval(
    tmp_path: Path, planned: dict, expected: tuple[bool, bool]
) -> None:
    path = test_alike.one_file(tmp_path, [test_alike.described([0.0, 10.0, 20.0, 30.0], **planned)])
    path.write_bytes(path.read_bytes().replace(b'DeltaT="20.0"', b'DeltaX="20.0"'))
    assert times_of(path) == expected


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan")])
def test_interval_that_does_not_advance_cannot_be_used(tmp_path: Path, step: float) -> None:
    metadata = test_alike.described(TimeIncrement=step)
    assert times_of(test_alike.one_file(tmp_path, [metadata])) == (False, True)


def test_ome_tiff_that_says_nothing_has_no_times(tmp_path: Path) -> None:
    path = test_alike.one_file(tmp_path, [test_alike.described()])
    assert times_of(path) == (False, False)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, (False, False)),
        ({"finterval": 30.0}, (True, False)),
        ({"finterval": 0.0}, (False, True)),
        ({"finterval": 30.0, "tunit": "frame"}, (False, True)),
    ],
    ids=str,
)
def test_interval_of_imagej(tmp_path: Path, metadata: dict, expected: tuple[bool, bool]) -> None:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, PIXELS, imagej=True, metadata={"axes": "TCYX", **metadata})
    assert times_of(path) == expected


@pytest.mark.parametrize(
    ("step", "unit", "expected"),
    [
        (5.0, "minute", (True, False)),
        (0.0, "minute", (False, True)),
        (5.0, None, (False, False)),
    ],
)
def test_step_in_time_of_an_ome_zarr(
    tmp_path: Path, step: float, unit: str | None, expected: tuple[bool, bool]
) -> None:
    test_zarr.write(
        test_zarr.root(tmp_path / "a.zarr", FormatV05()),
        test_zarr.PIXELS,
        FormatV05(),
        scale={**test_zarr.SCALE, "t": step},
        axes_units={"t": unit} if unit else None,
    )
    assert times_of(tmp_path / "a.zarr") == expected


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (None, (False, False)),
        ([0.0, 5.0, 7.0, 9.0], (True, False)),
        ([0.0, 5.0, 5.0, 9.0], (False, True)),
        ([0.0, 5.0, float("nan"), 9.0], (False, True)),
        ([0.0, 5.0, 7.0], (False, True)),
    ],
    ids=str,
)
def test_stamps_of_an_nd2(
    tmp_path: Path, stamps: list[float] | None, expected: tuple[bool, bool]
) -> None:
    path = tmp_path / "a.nd2"
    whole = stamps and [*stamps, 0.0][:4]
    write_nd2(path, planes(4, 1, 1, 1), times_ms=whole)
    if stamps is not None and len(stamps) < 4:
        name = b"CustomData|AcqTimesCache!"
        path.write_bytes(shortened(path.read_bytes(), name, 8 * len(stamps)))
    assert times_of(path) == expected


def shortened(content: bytes, name: bytes, n_bytes: int) -> bytes:
    """Return an ND2 file with fewer bytes in one of its chunks."""
    start = content.index(name) - 16
    length = n_bytes.to_bytes(8, "little")
    return content[: start + 8] + length + content[start + 16 :]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, (False, False)),
        ([0.0, 5.0, 7.0, 9.0], (True, False)),
        ([0.0, 5.0, 5.0, 9.0], (False, True)),
        ([0.0, 5.0, 7.0], (False, True)),
    ],
    ids=str,
)
def test_stamps_attached_to_a_czi(
    tmp_path: Path, seconds: list[float] | None, expected: tuple[bool, bool]
) -> None:
    path = tmp_path / "movie.czi"
    test_czi.write(path)
    if seconds is not None:
        test_czi.attach_times(path, seconds)
    assert times_of(path) == expected
