"""OME-Zarr folders, read back by the reference library and checked against the specification."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from benchwire.domains.microscopy.ome_zarr import ImageChannel, Sampling, Version, write_image
from benchwire.foundation import files

FRAMES, HEIGHT, WIDTH = 4, 33, 41
SAMPLING = Sampling((0.0, 5.0, 10.0, 15.0), 0.65)
VERSIONS: Sequence[Version] = ("0.4", "0.5")


@pytest.fixture
def stacks(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(1)
    shape = (FRAMES, HEIGHT, WIDTH)
    cells = np.zeros(shape, np.uint16)
    cells[:, 5:12, 6:15] = 1
    cells[2:, 20:28, 20:30] = 2
    arrays = {
        "phase": rng.integers(900, 1100, shape, dtype=np.uint16),
        "gfp": rng.integers(0, 65535, shape, dtype=np.uint16),
        "cells": cells,
    }
    paths = {name: tmp_path / f"{name}.npy" for name in arrays}
    for name, array in arrays.items():
        np.save(paths[name], array)
    return paths


def written(folder: Path, stacks: dict[str, Path], version: Version, **changes: Any) -> Path:
    channels = [
        ImageChannel("Phase", stacks["phase"], is_phase=True),
        ImageChannel("GFP", stacks["gfp"]),
    ]
    options = {"labels": stacks["cells"], "sampling": SAMPLING, "version": version, **changes}
    return write_image(folder / "a_fov_000.ome.zarr", channels, **options)


def nodes(folder: Path) -> list[Any]:
    location = parse_url(folder)
    assert location is not None
    return list(Reader(location)())


@pytest.mark.parametrize("version", VERSIONS)
def test_image_read_by_ome_zarr_has_pixels_names_and_scale(
    tmp_path: Path, stacks: dict[str, Path], version: Version
) -> None:
    image = nodes(written(tmp_path, stacks, version))[0]
    pixels = np.asarray(image.data[0])
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels[:, 0, 0], np.load(stacks["phase"]))
    np.testing.assert_array_equal(pixels[:, 1, 0], np.load(stacks["gfp"]))
    assert image.metadata["channel_names"] == ["Phase", "GFP"]
    assert image.metadata["visible"] == [True, True]
    assert image.metadata["coordinateTransformations"] == [
        [{"type": "scale", "scale": [5.0, 1.0, 1.0, 0.65, 0.65]}]
    ]
    assert [axis["name"] for axis in image.metadata["axes"]] == list("tczyx")
    assert [axis.get("unit") for axis in image.metadata["axes"]] == [
        "minute", None, "micrometer", "micrometer", "micrometer",
    ]  # fmt: skip
    (low, high), _ = image.metadata["contrast_limits"]
    assert 899 <= low < 920
    assert 1080 < high <= 1100


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_read_by_ome_zarr_are_the_tracked_cells(
    tmp_path: Path, stacks: dict[str, Path], version: Version
) -> None:
    found = nodes(written(tmp_path, stacks, version))
    labels = [node for node in found if "cells" in str(node.zarr)]
    assert len(labels) == 1
    pixels = np.asarray(labels[0].data[0])
    assert pixels.shape == (FRAMES, 1, 1, HEIGHT, WIDTH)
    np.testing.assert_array_equal(pixels[:, 0, 0], np.load(stacks["cells"]))


def test_metadata_follow_the_specification_0_4(tmp_path: Path, stacks: dict[str, Path]) -> None:
    from ome_zarr_models.v04.image import ImageAttrs
    from ome_zarr_models.v04.image_label import ImageLabelAttrs
    from ome_zarr_models.v04.labels import LabelsAttrs

    folder = written(tmp_path, stacks, "0.4")
    ImageAttrs.model_validate_json((folder / ".zattrs").read_text())
    LabelsAttrs.model_validate_json((folder / "labels/.zattrs").read_text())
    ImageLabelAttrs.model_validate_json((folder / "labels/cells/.zattrs").read_text())
    assert json.loads((folder / "0/.zarray").read_text())["dimension_separator"] == "/"


def test_metadata_follow_the_specification_0_5(tmp_path: Path, stacks: dict[str, Path]) -> None:
    from ome_zarr_models.v05.image import ImageAttrs
    from ome_zarr_models.v05.image_label import ImageLabelAttrs
    from ome_zarr_models.v05.labels import LabelsAttrs

    folder = written(tmp_path, stacks, "0.5")
    models = {".": ImageAttrs, "labels": LabelsAttrs, "labels/cells": ImageLabelAttrs}
    for path, model in models.items():
        group = json.loads((folder / path / "zarr.json").read_text())
        assert group["zarr_format"] == 3
        model.model_validate(group["attributes"]["ome"])
    array = json.loads((folder / "0/zarr.json").read_text())
    assert array["dimension_names"] == list("tczyx")


@pytest.mark.parametrize("version", VERSIONS)
def test_real_times_stand_beside_the_scale(
    tmp_path: Path, stacks: dict[str, Path], version: Version
) -> None:
    uneven = Sampling((0.0, 5.0, 10.0, 60.0), 0.65)
    folder = written(tmp_path, stacks, version, sampling=uneven)
    group = zarr.open_group(folder, mode="r")
    assert group.attrs["benchwire"] == {"times_minutes": [0.0, 5.0, 10.0, 60.0]}
    assert uneven.interval == 5.0


def test_chunks_lie_in_folders_one_for_each_plane(tmp_path: Path, stacks: dict[str, Path]) -> None:
    folder = written(tmp_path, stacks, "0.4")
    assert (folder / "0/3/1/0/0/0").is_file()
    assert len([path for path in (folder / "0").rglob("0/0/0") if path.is_file()]) == 2 * FRAMES


def test_image_without_pixel_size_and_labels_is_in_pixels(
    tmp_path: Path, stacks: dict[str, Path]
) -> None:
    folder = written(tmp_path, stacks, "0.4", labels=None, sampling=Sampling((0.0,), None))
    (image,) = nodes(folder)
    assert image.metadata["coordinateTransformations"][0][0]["scale"] == [1.0] * 5
    assert "unit" not in image.metadata["axes"][3]
    assert not (folder / "labels").exists()


def test_second_writing_replaces_the_first(tmp_path: Path, stacks: dict[str, Path]) -> None:
    folder = written(tmp_path, stacks, "0.5")
    assert written(tmp_path, stacks, "0.4", labels=None) == folder
    assert not (folder / "zarr.json").exists()
    assert not (folder / "labels").exists()
    assert list(tmp_path.glob(".*")) == []


def test_stopped_writing_leaves_the_old_image_and_nothing_else(
    tmp_path: Path, stacks: dict[str, Path]
) -> None:
    folder = written(tmp_path, stacks, "0.4")
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    planes = 0

    def stop_at_the_third() -> None:
        nonlocal planes
        planes += 1
        if planes == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, stacks, "0.5", on_plane=stop_at_the_third)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    assert list(tmp_path.glob(".*")) == []


def test_remains_of_a_killed_process_do_not_get_into_the_image(
    tmp_path: Path, stacks: dict[str, Path]
) -> None:
    remains = tmp_path / ".a_fov_000.ome.zarr.part"
    (remains / "labels/old").mkdir(parents=True)
    folder = written(tmp_path, stacks, "0.4")
    assert not (folder / "labels/old").exists()
    assert not remains.exists()


def test_stacks_of_different_shape_are_refused(tmp_path: Path, stacks: dict[str, Path]) -> None:
    np.save(stacks["cells"], np.zeros((FRAMES, 5, 5), np.uint16))
    with pytest.raises(ValueError, match="differ in shape"):
        written(tmp_path, stacks, "0.4")
    assert not (tmp_path / "a_fov_000.ome.zarr").exists()


def test_constant_image_has_a_window_that_is_open(tmp_path: Path, stacks: dict[str, Path]) -> None:
    np.save(stacks["phase"], np.full((FRAMES, HEIGHT, WIDTH), 7, np.uint16))
    image = nodes(written(tmp_path, stacks, "0.4"))[0]
    assert image.metadata["contrast_limits"][0] == [7.0, 8.0]


@pytest.mark.parametrize("version", VERSIONS)
def test_image_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, stacks: dict[str, Path], version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each file is synchronised by itself."""
    synced: set[int] = set()
    unsynced: list[Path] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def checked_rename(source: Path, target: Path) -> None:
        if Path(target).name == "a_fov_000.ome.zarr":
            below = [Path(source), *Path(source).rglob("*")]
            unsynced.extend(path for path in below if path.stat().st_ino not in synced)
        rename(source, target)

    monkeypatch.setattr(files, "_syncfs", lambda: None)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", checked_rename)
    folder = written(tmp_path, stacks, version)
    assert unsynced == []
    assert folder.stat().st_ino in synced
    assert tmp_path.stat().st_ino in synced


def test_image_is_written_out_with_its_disk_before_it_gets_its_name(
    tmp_path: Path, stacks: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Linux writes out all of a disk at once."""
    seen: list[tuple[bool, set[str]]] = []
    folder = tmp_path / "a_fov_000.ome.zarr"

    def syncfs(descriptor: int) -> int:
        inside = {path.name for path in Path(f"/proc/self/fd/{descriptor}").resolve().iterdir()}
        seen.append((folder.exists(), inside))
        return 0

    monkeypatch.setattr(files, "_syncfs", lambda: syncfs)
    written(tmp_path, stacks, "0.5")
    assert seen == [(False, {"zarr.json", "0", "labels"})]


def test_image_that_the_disk_refuses_is_not_there(
    tmp_path: Path, stacks: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_syncfs", lambda: lambda _: -1)
    with pytest.raises(OSError, match="part"):
        written(tmp_path, stacks, "0.4")
    assert list(tmp_path.glob("*.zarr*")) == []
    assert list(tmp_path.glob(".*")) == []
