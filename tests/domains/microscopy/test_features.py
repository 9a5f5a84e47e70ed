"""Features against closed forms, a second library and the plain rendering of their definitions."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import regionprops

from benchwire.domains.microscopy import features
from benchwire.domains.microscopy.cells import Cells, Outlines
from benchwire.domains.microscopy.features import Feature, load_features
from tests.domains.microscopy import oracle

OWN: tuple[Feature, ...] = (
    features.Area(), features.AspectRatio(), features.Circularity(),
    features.IntensityTotal(), features.IntensityMean(), features.IntensityVariance(),
)  # fmt: skip


def cells_of(labels: np.ndarray, counts: np.ndarray | None = None, **options: float) -> Cells:
    outlines = Outlines.of(labels.astype(np.uint16))
    surface = options.pop("surface", 0.0) * np.ones(labels.shape)
    counts = np.zeros(labels.shape) if counts is None else counts
    return Cells(outlines, outlines.at(counts), outlines.at(surface), **options)


def blobs(seed: int, shape: tuple[int, int] = (90, 120)) -> np.ndarray:
    """Labels that touch each other and the edge, in no order."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 3)
    labels, count = ndimage.label(smooth > 0.02)
    halves = labels * 2 - (np.arange(shape[1]) > 60) * (labels > 0)
    names = np.concatenate([[0], rng.permutation(np.arange(1, 60_000))[: 2 * count]])
    return names[halves].astype(np.uint16)


@pytest.mark.parametrize("feature", OWN, ids=lambda feature: feature.name)
@pytest.mark.parametrize("erosion_size", [0, 1, 2, 3, 4, 7])
def test_feature_is_the_definitions(feature: Feature, erosion_size: int) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        labels = blobs(seed)
        counts = rng.integers(0, 65_536, labels.shape).astype(np.uint16)
        surface = rng.normal(500, 30, labels.shape)
        cells = cells_of(
            labels, counts, surface=surface, background_weight=0.7, erosion_size=erosion_size
        )
        expected = [
            oracle.measure(
                feature.name, labels == cell, counts,
                surface=surface, weight=0.7, erosion_size=erosion_size,
            )
            for cell in cells.outlines.ids
        ]  # fmt: skip
        assert len(expected) > 10
        np.testing.assert_allclose(feature.measure(cells), expected, rtol=1e-9, atol=1e-6)


def test_outlines_have_the_pixels_of_each_cell_in_raster_order() -> None:
    labels = np.array([[0, 7, 7], [2, 7, 2]], np.uint16)
    outlines = Outlines.of(labels)
    assert outlines.ids.tolist() == [2, 7]
    assert outlines.rows.tolist() == [1, 1, 0, 0, 1]
    assert outlines.columns.tolist() == [0, 2, 1, 2, 1]
    assert outlines.cell.tolist() == [0, 0, 1, 1, 1]
    assert outlines.smallest(outlines.columns).tolist() == [0, 1]
    assert outlines.largest(outlines.rows).tolist() == [1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_shape_is_that_of_a_second_library(seed: int) -> None:
    labels = blobs(seed)
    cells = cells_of(labels)
    regions = [region for region in regionprops(labels) if region.area > 1]
    chosen = np.isin(cells.outlines.ids, [region.label for region in regions])
    assert features.Area().measure(cells)[chosen].tolist() == [region.area for region in regions]
    eigenvalues = np.array([region.inertia_tensor_eigvals for region in regions])
    wide = eigenvalues[:, 1] > 1e-6
    expected = np.sqrt(eigenvalues[wide, 0] / eigenvalues[wide, 1])
    found = features.AspectRatio().measure(cells)[chosen][wide]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rectangle_is_as_many_times_longer_as_its_coordinates_vary() -> None:
    labels = np.zeros((50, 50), np.uint16)
    labels[5:15, 5:45] = 1
    expected = math.sqrt((40**2 - 1) / (10**2 - 1))
    assert features.AspectRatio().measure(cells_of(labels)) == pytest.approx([expected])
    # 100 pixels share a side with the rectangle from outside.
    expected = 4 * math.pi * 400 / 100**2
    assert features.Circularity().measure(cells_of(labels)) == pytest.approx([expected])


@pytest.mark.parametrize("line", [np.s_[3, 2:9], np.s_[2:9, 3], np.s_[4, 4]])
def test_line_and_point_have_no_aspect(line: tuple[slice, slice]) -> None:
    labels = np.zeros((12, 12), np.uint16)
    labels[line] = 3
    assert features.AspectRatio().measure(cells_of(labels)).tolist() == [1.0]


def test_image_full_of_one_cell_counts_as_round() -> None:
    assert features.Circularity().measure(cells_of(np.ones((4, 4)))).tolist() == [1.0]


def test_total_of_a_cell_eroded_away_is_zero() -> None:
    labels = np.zeros((30, 30), np.uint16)
    labels[2:6, 2:6], labels[10:21, 10:21] = 1, 2
    cells = cells_of(labels, np.full(labels.shape, 7), surface=2.0, erosion_size=5)
    assert features.IntensityTotal().measure(cells).tolist() == [0.0, 5.0 * 7 * 7]
    assert features.IntensityMean().measure(cells).tolist() == [0.0, 5.0 * 49 / 121]


def test_variance_keeps_its_digits_at_high_counts() -> None:
    counts = np.array([[65_534, 65_535]], np.uint16)
    cells = cells_of(np.ones((1, 2)), counts)
    assert features.IntensityVariance().measure(cells).tolist() == [0.25]


def install(folder: Path, modules: dict[str, str], points: str) -> None:
    """A package as pip leaves it."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    facts = folder / "lab_features-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-features\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[benchwire.features]\n{points}")


PLUGIN = """
class IntensityMax:
    name = "intensity_max"
    kind = "fluorescence"

    def measure(self, cells):
        return cells.outlines.largest(cells.counts)

class Impostor(IntensityMax):
    name = "area"

class Kindless(IntensityMax):
    kind = "sound"
"""


def test_feature_of_a_plug_in_is_found_and_a_broken_one_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = "benchwire.domains.microscopy.features:Area"
    install(
        tmp_path,
        {"lab_plugin": PLUGIN, "lab_broken": "import a_package_nobody_has"},
        "intensity_max = lab_plugin:IntensityMax\nabsent = lab_plugin:Absent\n"
        f"broken = lab_broken:Any\nkindless = lab_plugin:Kindless\nzz_area = {own}\n"
        "area = lab_plugin:Impostor\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "lab_plugin", raising=False)
    found = load_features()
    assert isinstance(found["area"], features.Area)
    assert {"absent", "broken", "kindless"} <= set(caplog.text.split())
    labels = np.array([[1, 1, 2]])
    values = found["intensity_max"].measure(cells_of(labels, np.array([[3, 9, 4]])))
    assert values.tolist() == [9, 4]


def test_feature_whose_column_could_not_be_read_back_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong, right = ["_max", "größe", "a" * 101], ["a" * 100, "max_2", "max_ch_1"]
    kinds = "".join(
        f"class F{number}:\n    name, kind = {name!r}, 'phase'\n    def measure(self, cells): ...\n"
        for number, name in enumerate([*wrong, *right])
    )
    points = "".join(f"f{number} = lab_names:F{number}\n" for number in range(6))
    install(tmp_path, {"lab_names": kinds}, points)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "lab_names", raising=False)
    found = load_features()
    assert set(right) <= set(found)
    assert not set(wrong) & set(found)
    assert caplog.text.count("has to begin with a letter") == len(wrong)
