"""The generated movie: what it shows is what its truth says."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from benchwire.domains.microscopy.errors import ParametersInvalid
from benchwire.domains.microscopy.readers import opened
from benchwire.domains.microscopy.simulation import Truth, illumination, matured, write_demo_movie

N_FOVS, N_FRAMES, N_CELLS, SIZE = 2, 40, 12, 512


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    path = tmp_path_factory.mktemp("simulation") / "demo.ome.tif"
    truth = write_demo_movie(
        path, seed=3, n_fovs=N_FOVS, n_frames=N_FRAMES, size=SIZE, n_cells=N_CELLS, with_truth=True
    )
    return path, truth


def found_cells(phase: np.ndarray) -> np.ndarray:
    """Labels of what stands out by its local variance, with a 19 x 19 square, plainly."""
    image = phase.astype(np.float64) - phase.mean()
    mean = ndimage.uniform_filter(image, 3, mode="reflect")
    variance = ndimage.uniform_filter(image**2, 3, mode="reflect") - mean**2
    log = 0.5 * np.log(variance, where=variance > 0, out=np.zeros_like(variance))
    counts, edges = np.histogram(log, 200)
    fullest = counts.argmax()
    mode = 0.5 * (edges[fullest] + edges[fullest + 1])
    mask = ndimage.binary_fill_holes(log > mode + 3 * log[log <= mode].std())

    def erode(image: np.ndarray) -> np.ndarray:
        return ndimage.minimum_filter(image, 19, mode="constant", cval=0)

    def dilate(image: np.ndarray) -> np.ndarray:
        return ndimage.maximum_filter(image, 19, mode="constant", cval=0)

    return ndimage.label(erode(dilate(dilate(erode(mask.astype(np.uint8))))))[0]


def shown(truth: Truth, fov: int, frame: int) -> list:
    return [c for c in truth.cells if c.fov == fov and c.first_frame <= frame]


def test_every_cell_is_found_alone_at_its_place_in_every_frame(movie: tuple[Path, Truth]) -> None:
    path, truth = movie
    with opened(path) as file:
        for fov in range(N_FOVS):
            for frame in range(0, N_FRAMES, 3):
                labels = found_cells(file.frame(fov, frame, channel=0))
                cells = shown(truth, fov, frame)
                centres = ndimage.center_of_mass(labels > 0, labels, range(1, labels.max() + 1))
                assert len(centres) == len(cells)
                for cell in cells:
                    distances = np.hypot(
                        *(np.array(centres) - cell.centres[frame - cell.first_frame]).T
                    )
                    assert (distances < 2).sum() == 1


def test_found_area_is_near_the_true_one(movie: tuple[Path, Truth]) -> None:
    path, truth = movie
    with opened(path) as file:
        labels = found_cells(file.frame(1, 7, channel=0))
    for cell in shown(truth, 1, 7):
        y, x = np.rint(cell.centres[7]).astype(int)
        assert (labels == labels[y, x]).sum() == pytest.approx(cell.areas[7], rel=0.15)


def test_light_above_the_background_within_a_cell_is_its_true_intensity(
    movie: tuple[Path, Truth],
) -> None:
    path, truth = movie
    background = illumination(SIZE)
    with opened(path) as file:
        for fov, frame in ((0, 0), (0, 20), (1, 39)):
            labels = found_cells(file.frame(fov, frame, channel=0))
            light = file.frame(fov, frame, channel=1) - background
            for cell in shown(truth, fov, frame):
                age = frame - cell.first_frame
                y, x = np.rint(cell.centres[age]).astype(int)
                total = light[labels == labels[y, x]].sum()
                noise = 5 * 4.0 * np.sqrt(cell.areas[age])
                assert abs(total - cell.intensities[age]) < noise + 0.003 * cell.intensities[age]


def test_intensities_follow_the_model_of_each_cell(movie: tuple[Path, Truth]) -> None:
    for cell in movie[1].cells:
        hours = np.array(movie[1].minutes)[cell.first_frame :] / 60.0
        assert cell.model == "maturation_kinetic"
        assert matured(hours, cell.parameters).tolist() == list(cell.intensities)
        assert len(cell.centres) == len(cell.areas) == N_FRAMES - cell.first_frame


def test_maturation_solves_its_rate_equations() -> None:
    parameters = {"t0": 0.5, "ktl": 1000.0, "delta": 0.2, "offset": 7.0}
    times = np.linspace(0.0, 6.0, 60_001)
    step, rna, dark, bright = times[1], 1.0, 0.0, 0.0
    totals = []
    for time in times:
        totals.append(bright + 7.0)
        if time >= 0.5:
            rna, dark, bright = (
                rna - step * 0.2 * rna,
                dark + step * (1000.0 * rna - (1.28 + 5.22e-3) * dark),
                bright + step * (1.28 * dark - 5.22e-3 * bright),
            )
    np.testing.assert_allclose(matured(times, parameters), totals, rtol=2e-3)


def test_cells_move_slowly_keep_apart_and_clear_of_the_border(movie: tuple[Path, Truth]) -> None:
    cells = [c for c in movie[1].cells if c.fov == 0]
    for cell in cells:
        centres = np.array(cell.centres)
        assert 0 < np.hypot(*np.diff(centres, axis=0).T).max() < 3
        assert centres.min() > 50 + 26
        assert centres.max() < SIZE - 50 - 26
    for frame in range(N_FRAMES):
        at = np.array([c.centres[frame - c.first_frame] for c in cells if c.first_frame <= frame])
        distances = np.hypot(*(at[:, None] - at[None]).T) + 1e6 * np.eye(len(at))
        assert distances.min() > 2 * 26 + 25


def test_a_division_halves_the_area_and_adds_a_cell(movie: tuple[Path, Truth]) -> None:
    cells = [c for c in movie[1].cells if c.fov == 0]
    sisters = [c for c in cells if c.first_frame > 0]
    assert len(sisters) == N_CELLS // 6
    for sister in sisters:
        mother = next(
            c for c in cells if c.parameters == sister.parameters and c.cell != sister.cell
        )
        at = sister.first_frame
        assert mother.areas[at] == pytest.approx(mother.areas[at - 1] / 2, rel=0.2)
        assert sister.areas[0] == pytest.approx(mother.areas[at], rel=0.02)


def test_file_has_names_times_and_pixel_size(movie: tuple[Path, Truth]) -> None:
    with opened(movie[0]) as file:
        info = file.info
    assert (info.n_fovs, info.n_frames, info.n_channels) == (N_FOVS, N_FRAMES, 2)
    assert (info.height, info.width, info.dtype) == (SIZE, SIZE, "uint16")
    assert info.channel_names == ("Phase", "GFP")
    assert info.has_times
    assert info.timepoints_ms == tuple(600_000.0 * frame for frame in range(N_FRAMES))
    assert info.pixel_size_um == 0.65


def test_truth_is_written_beside_the_movie(movie: tuple[Path, Truth]) -> None:
    path, truth = movie
    written = json.loads(path.with_name("demo.ome.tif.truth.json").read_text())
    assert written == json.loads(json.dumps(truth.as_json()))
    assert len(written["cells"]) == len(truth.cells)


def test_same_seed_gives_the_same_movie(tmp_path: Path) -> None:
    first, second, other = (tmp_path / f"{name}.ome.tif" for name in "abc")
    sizes = {"n_fovs": 1, "n_frames": 2, "size": 300, "n_cells": 4}
    assert write_demo_movie(first, seed=1, **sizes) == write_demo_movie(second, seed=1, **sizes)
    write_demo_movie(other, seed=2, **sizes)
    with opened(first) as a, opened(second) as b, opened(other) as c:
        assert np.array_equal(a.frame(0, 1, channel=0), b.frame(0, 1, channel=0))
        assert not np.array_equal(a.frame(0, 1, channel=0), c.frame(0, 1, channel=0))


def test_more_cells_than_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParametersInvalid, match="do not fit"):
        write_demo_movie(tmp_path / "x.ome.tif", n_cells=100)
