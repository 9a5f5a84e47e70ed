"""FOVs of one movie that are alike, or not, in channel names, pixel size and times."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr.format import FormatV05

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.plan import MovieInfo
from benchwire.domains.microscopy.readers import opened
from benchwire.domains.microscopy.readers.alike import FovMetadata, refuse_unlike
from tests.domains.microscopy.readers import test_czi, test_zarr
from tests.domains.microscopy.readers.nd2_writer import write_nd2
from tests.domains.microscopy.readers.support import planes

N_FRAMES, N_CHANNELS = 4, 2
PIXELS = planes(N_FRAMES, N_CHANNELS)
MINUTES = [0.0, 10.0, 20.0, 30.0]


def described(minutes: list[float] | None = None, **more) -> dict:
    """OME metadata of one FOV with the time of each frame."""
    metadata = {
        "axes": "TCYX",
        "Channel": {"Name": ["Phase", "GFP"]},
        "PhysicalSizeX": 0.65,
        "PhysicalSizeXUnit": "um",
        **more,
    }
    if minutes is not None:
        times = [minute for minute in minutes for _ in range(N_CHANNELS)]
        metadata["Plane"] = {"DeltaT": times, "DeltaTUnit": ["min"] * len(times)}
    return metadata


def one_file(folder: Path, fovs: list[dict]) -> Path:
    with tifffile.TiffWriter(folder / "movie.ome.tif") as file:
        for metadata in fovs:
            file.write(PIXELS, metadata=metadata)
    return folder / "movie.ome.tif"


def split_set(folder: Path, fovs: list[dict]) -> Path:
    for scene, metadata in enumerate(fovs):
        tifffile.imwrite(folder / f"movie_scene{scene}.ome.tif", PIXELS, metadata=metadata)
    return folder / "movie_scene0.ome.tif"


Writer = Callable[[Path, list[dict]], Path]
LAYOUTS = pytest.mark.parametrize("write", [one_file, split_set])


def info_of(path: Path) -> MovieInfo:
    with opened(path) as movie:
        return movie.info


@LAYOUTS
def test_fovs_that_say_the_same_are_one_movie(tmp_path: Path, write: Writer) -> None:
    info = info_of(write(tmp_path, [described(MINUTES)] * 3))
    assert info.n_fovs == 3
    assert info.timepoints_ms == (0.0, 600e3, 1200e3, 1800e3)


@LAYOUTS
def test_scene_every_two_minutes_beside_one_every_ten_is_refused(
    tmp_path: Path, write: Writer
) -> None:
    path = write(tmp_path, [described(MINUTES), described([0.0, 2.0, 4.0, 6.0])])
    with pytest.raises(FileUnreadable, match="FOV 1 differs from FOV 0 in its times"):
        info_of(path)


@LAYOUTS
def test_planned_intervals_that_differ_are_refused(tmp_path: Path, write: Writer) -> None:
    fovs = [described(TimeIncrement=step, TimeIncrementUnit="min") for step in (10.0, 10.0, 2.0)]
    with pytest.raises(FileUnreadable, match="FOV 2 differs from FOV 0 in its times"):
        info_of(write(tmp_path, fovs))


@LAYOUTS
def test_jitter_and_a_later_start_are_no_difference(tmp_path: Path, write: Writer) -> None:
    fovs = [described(MINUTES), described([100.0, 105.0, 124.9, 130.0])]
    assert info_of(write(tmp_path, fovs)).timepoints_ms == (0.0, 600e3, 1200e3, 1800e3)


@LAYOUTS
def test_times_further_apart_than_half_the_interval_are_refused(
    tmp_path: Path, write: Writer
) -> None:
    path = write(tmp_path, [described(MINUTES), described([0.0, 10.0, 25.1, 30.0])])
    with pytest.raises(FileUnreadable, match="in its times"):
        info_of(path)


@LAYOUTS
@pytest.mark.parametrize("other", [None, [0.0, 10.0, 10.0, 30.0]])
def test_fov_without_times_that_can_be_used_is_unlike_one_with(
    tmp_path: Path, write: Writer, other: list[float] | None
) -> None:
    with pytest.raises(FileUnreadable, match="in its times"):
        info_of(write(tmp_path, [described(MINUTES), described(other)]))


@LAYOUTS
def test_swapped_channel_names_are_refused(tmp_path: Path, write: Writer) -> None:
    fovs = [described(), described(Channel={"Name": ["GFP", "Phase"]})]
    with pytest.raises(FileUnreadable, match="FOV 1 differs from FOV 0 in its channel names"):
        info_of(write(tmp_path, fovs))


@LAYOUTS
def test_fov_that_names_no_channels_is_like_any_other(tmp_path: Path, write: Writer) -> None:
    unnamed = described()
    del unnamed["Channel"]
    info = info_of(write(tmp_path, [described(), unnamed]))
    assert (info.n_fovs, info.channel_names) == (2, ("Phase", "GFP"))


def test_unnamed_fov_does_not_hide_that_two_others_contradict() -> None:
    fovs = [FovMetadata(), FovMetadata(("Phase", "GFP")), FovMetadata(("GFP", "Phase"))]
    with pytest.raises(FileUnreadable, match="FOV 2 differs from FOV 1 in its channel names"):
        refuse_unlike(fovs, N_FRAMES)


@LAYOUTS
@pytest.mark.parametrize("side", [0.66, None])
def test_other_pixel_size_is_refused(tmp_path: Path, write: Writer, side: float | None) -> None:
    other = described(PhysicalSizeX=side)
    if side is None:
        del other["PhysicalSizeX"]
    with pytest.raises(FileUnreadable, match="FOV 1 differs from FOV 0 in its pixel size"):
        info_of(write(tmp_path, [described(), other]))


@LAYOUTS
def test_rounded_pixel_size_is_the_same(tmp_path: Path, write: Writer) -> None:
    info = info_of(write(tmp_path, [described(), described(PhysicalSizeX=0.6500001)]))
    assert info.pixel_size_um == pytest.approx(0.65)


@pytest.mark.parametrize(
    ("changes", "labels", "what"),
    [
        ({"scale": {**test_zarr.SCALE, "t": 1.0}}, ["Phase", "GFP"], "times"),
        ({"axes_units": {"x": "nanometer"}}, ["Phase", "GFP"], "times"),
        ({"scale": {**test_zarr.SCALE, "x": 330.0}}, ["Phase", "GFP"], "pixel size"),
        ({}, ["GFP", "Phase"], "channel names"),
    ],
    ids=["interval", "unit", "pixel size", "names"],
)
def test_images_of_an_ome_zarr_that_differ_are_refused(
    tmp_path: Path, changes: dict, labels: list[str], what: str
) -> None:
    group = test_zarr.root(tmp_path / "a.zarr", FormatV05())
    for name, more, names in (("0", {}, ["Phase", "GFP"]), ("1", changes, labels)):
        image = group.create_group(name)
        test_zarr.write(image, test_zarr.PIXELS, FormatV05(), **more)
        omero = {"channels": [{"label": label} for label in names]}
        image.attrs["ome"] = {**image.attrs["ome"], "omero": omero}
    with pytest.raises(FileUnreadable, match=f"FOV 1 differs from FOV 0 in its {what}"):
        info_of(tmp_path / "a.zarr")


@pytest.mark.parametrize("order", ["TP", "PT"])
def test_position_of_an_nd2_that_lasted_longer_is_refused(tmp_path: Path, order: str) -> None:
    write_nd2(
        tmp_path / "a.nd2",
        planes(N_FRAMES, 2, 1, 1),
        order=order,
        times_ms=stamps(order, [600e3, 120e3]),
    )
    with pytest.raises(FileUnreadable, match="FOV 1 differs from FOV 0 in its times"):
        info_of(tmp_path / "a.nd2")


@pytest.mark.parametrize("order", ["TP", "PT"])
def test_positions_of_an_nd2_taken_one_after_the_other_are_one_movie(
    tmp_path: Path, order: str
) -> None:
    write_nd2(
        tmp_path / "a.nd2",
        planes(N_FRAMES, 2, 1, 1),
        order=order,
        times_ms=stamps(order, [600e3, 601e3]),
    )
    assert info_of(tmp_path / "a.nd2").timepoints_ms == (0.0, 600e3, 1200e3, 1800e3)


def stamps(order: str, intervals_ms: list[float]) -> list[float]:
    """The time of every image, the second position a day after the first."""
    table = np.array([[86.4e6 * p + step * t for t in range(N_FRAMES)]
                      for p, step in enumerate(intervals_ms)])  # fmt: skip
    return list((table if order == "PT" else table.T).ravel())


@pytest.mark.parametrize(("minutes", "alike"), [(2, False), (10, True)])
def test_scenes_of_a_czi_must_have_lasted_equally_long(
    tmp_path: Path, minutes: int, alike: bool
) -> None:
    path = tmp_path / "movie.czi"
    test_czi.write(path)
    number = iter(range(test_czi.PIXELS[..., 0, 0].size))

    def stamped(_: re.Match) -> bytes:
        fov, frame, _ = np.unravel_index(next(number), test_czi.PIXELS.shape[:3])
        minute = frame * (minutes if fov == 2 else 10) + fov
        return f"<AcquisitionTime>2024-02-03T10:{minute:02d}:00.12300Z</AcquisitionTime>".encode()

    path.write_bytes(re.sub(rb"<RetilingId>.{36}</RetilingId>", stamped, path.read_bytes()))
    if alike:
        assert info_of(path).timepoints_ms == (0.0, 600e3, 1200e3, 1800e3)
    else:
        with pytest.raises(FileUnreadable, match="FOV 2 differs from FOV 0 in its times"):
            info_of(path)


def test_images_of_an_ome_zarr_that_say_the_same_are_one_movie(tmp_path: Path) -> None:
    group: zarr.Group = test_zarr.root(tmp_path / "a.zarr", FormatV05())
    for name in "01":
        test_zarr.write(group.create_group(name), test_zarr.PIXELS, FormatV05())
    assert info_of(tmp_path / "a.zarr").n_fovs == 2
