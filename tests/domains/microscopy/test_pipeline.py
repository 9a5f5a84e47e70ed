"""A whole field of view against the plain pipeline, its table, and what is left when it stops."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchwire.domains.microscopy import features
from benchwire.domains.microscopy.errors import (
    ParametersInvalid,
    PixelsUnsuitable,
    ProcessingFailed,
)
from benchwire.domains.microscopy.pipeline import process_fov
from benchwire.domains.microscopy.plan import FluorescenceChannel, FovTable, MovieInfo, Plan
from benchwire.domains.microscopy.stacks import stacks_of
from tests.domains.microscopy import oracle

OWN = (
    features.Area(), features.AspectRatio(), features.Circularity(),
    features.IntensityTotal(), features.IntensityMean(), features.IntensityVariance(),
)  # fmt: skip
FEATURES = {feature.name: feature for feature in OWN}
LIGHT = ("intensity_mean", "intensity_total", "intensity_variance")
PLAN = Plan(
    0, ("area", "aspect_ratio", "circularity"),
    (FluorescenceChannel(0, LIGHT), FluorescenceChannel(1, LIGHT)),
    background_weight=0.8, erosion_size=3, min_frames=4, border_margin=12,
)  # fmt: skip
BASE = [
    "fov", "cell", "frame", "time", "good", "position_x", "position_y",
    "bbox_x0", "bbox_y0", "bbox_x1", "bbox_y1",
]  # fmt: skip


class MemoryMovie:
    """A movie of arrays, (T, C, H, W), the same in each of two fields of view but for a count."""

    def __init__(self, frames: np.ndarray) -> None:
        n_frames, n_channels, height, width = frames.shape
        self.frames = frames
        self.info = MovieInfo(
            Path("movie.nd2"), "movie", "nd2", height, width, n_frames, 2, n_channels,
            str(frames.dtype), tuple(f"C{c}" for c in range(n_channels)),
            tuple(90_000.0 * t for t in range(n_frames)), True, None,
        )  # fmt: skip

    def frame(self, fov: int, frame: int, *, channel: int) -> np.ndarray:
        return self.frames[frame, channel] + self.frames.dtype.type(fov)

    def close(self) -> None:
        """Nothing to give back."""


def movie(shape: tuple[int, int] = (230, 310), *, n_frames: int = 6, seed: int = 1) -> MemoryMovie:
    """Textured discs that drift: some at the edge, one late, one away for a frame, one short."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    frames = np.empty((n_frames, 2, *shape), np.uint16)
    places = [(60, 60), (60, 160), (150, 70), (150, 170), (60, 250), (20, 110), (160, 296)]
    shown = {1: range(2, n_frames), 2: (0, 1, 3, 4, 5), 3: (0, 1)}
    for t in range(n_frames):
        phase = rng.normal(9_000, 20, shape)
        light = rng.normal(400, 9, shape) + np.linspace(0, 90, shape[1])
        for number, (y, x) in enumerate(places):
            if t in shown.get(number, range(n_frames)):
                disc = (rows - y - t) ** 2 + (columns - x - 2 * t) ** 2 < (17 + number) ** 2
                phase[disc] += rng.normal(0, 400, np.count_nonzero(disc))
                light[disc] += 300 + 20 * number
        frames[t] = phase, light
    return MemoryMovie(frames)


def run(
    given: MemoryMovie,
    plan: Plan,
    folder: Path,
    *,
    fov: int = 0,
    on_frame: Callable[[int], None] = lambda _: None,
) -> FovTable:
    return process_fov(given, plan, fov=fov, folder=folder, features=FEATURES, on_frame=on_frame)


@pytest.mark.parametrize("shape", [(230, 310), (300, 520), (64, 25), (1, 1), (3, 90)])
def test_fov_is_the_plain_pipelines(tmp_path: Path, shape: tuple[int, int]) -> None:
    given = movie(shape)
    table = run(given, PLAN, tmp_path, fov=1)
    stacks, rows = oracle.process_fov(given, PLAN, fov=1)
    assert len(stacks) == len(stacks_of(PLAN)) == len(list(tmp_path.iterdir()))
    for stack in stacks_of(PLAN):
        found = np.load(tmp_path / stack.name("movie", 1), mmap_mode="r")
        expected = np.array(stacks[stack.kind, stack.channel])
        assert found.dtype == stack.dtype
        if stack.kind == "fl_background":
            np.testing.assert_allclose(found, expected, rtol=1e-5)
        else:
            assert np.array_equal(found, expected)
    names = [*BASE, *(f"{name}_ch_0" for name in PLAN.phase_features)]
    names += [f"{name}_ch_{channel}" for channel in (0, 1) for name in LIGHT]
    assert list(table.columns) == names
    rows = oracle.without_dropped(rows, PLAN, given.info)
    assert table.n_rows == len(rows)
    # The background is single precision, so what it is taken from is known to so much.
    floor = {name: 0.5 for name in names if name.startswith("intensity_total")}
    floor |= {name: 1e-2 for name in names if name.startswith("intensity_mean")}
    for name, values in table.columns.items():
        expected = np.array([row[name] for row in rows], float)
        if name in (*BASE, "area_ch_0"):
            np.testing.assert_array_equal(values.astype(float), expected, err_msg=name)
        else:
            np.testing.assert_allclose(
                values, expected, rtol=1e-6, atol=floor.get(name, 0), err_msg=name
            )


def test_late_and_hidden_cells_are_kept_short_and_marginal_ones_dropped(tmp_path: Path) -> None:
    table = run(movie(), PLAN, tmp_path)
    columns = table.columns
    cells, n_rows = np.unique(columns["cell"], return_counts=True)
    # At the edge are those at (20, 110) and (160, 296); that at (150, 170) has two frames.
    assert sorted(n_rows) == [4, 5, 6, 6]
    late = cells[n_rows == 4][0]
    assert columns["frame"][columns["cell"] == late].tolist() == [2, 3, 4, 5]
    hidden = cells[n_rows == 5][0]
    assert columns["time"][columns["cell"] == hidden].tolist() == [0.0, 1.5, 4.5, 6.0, 7.5]
    assert np.array_equal(np.lexsort((columns["frame"], columns["cell"])), range(table.n_rows))
    assert columns["good"].all()


def test_min_frames_is_capped_at_the_length_of_the_movie(tmp_path: Path) -> None:
    plan = replace(PLAN, min_frames=30)
    table = run(movie(), plan, tmp_path)
    assert np.unique(table.columns["cell"], return_counts=True)[1].tolist() == [6, 6]


def test_margin_is_inclusive_as_written(tmp_path: Path) -> None:
    given = movie(n_frames=1)
    table = run(given, replace(PLAN, min_frames=1, border_margin=0), tmp_path)
    columns = {name: table.columns[name] for name in BASE}
    clear = min(
        *columns["bbox_x0"], *columns["bbox_y0"],
        *(given.info.width - columns["bbox_x1"]), *(given.info.height - columns["bbox_y1"]),
    )  # fmt: skip
    for margin, lost in ((clear, 0), (clear + 1, 1)):
        plan = replace(PLAN, min_frames=1, border_margin=int(margin))
        assert run(given, plan, tmp_path).n_cells == table.n_cells - lost


def test_frame_interval_takes_the_place_of_the_files_times(tmp_path: Path) -> None:
    table = run(movie(), replace(PLAN, frame_interval=2.0), tmp_path)
    assert np.array_equal(table.columns["time"], 2.0 * table.columns["frame"])


def test_movie_without_cells_has_an_empty_table(tmp_path: Path) -> None:
    given = MemoryMovie(np.full((3, 2, 40, 50), 7, np.uint16))
    table = run(given, PLAN, tmp_path)
    assert (table.n_rows, table.n_cells) == (0, 0)
    assert len(list(tmp_path.iterdir())) == 7


def test_phase_alone_needs_no_fluorescence(tmp_path: Path) -> None:
    plan = Plan(1, min_frames=1, border_margin=0)
    assert list(run(movie(), plan, tmp_path).columns) == BASE
    assert {path.name.split("_", 3)[3] for path in tmp_path.iterdir()} == {
        "pc_ch_1.npy", "seg_ch_1.npy", "seg_labeled_ch_1.npy",
    }  # fmt: skip


def test_each_frame_is_told_once_in_order(tmp_path: Path) -> None:
    seen: list[int] = []
    run(movie(), PLAN, tmp_path, on_frame=seen.append)
    assert seen == [0, 1, 2, 3, 4, 5]


def test_stop_in_the_middle_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    during: list[set[str]] = []

    def stop(frame: int) -> None:
        during.append({path.suffix for path in tmp_path.iterdir()})
        if frame == 2:
            raise Stopped

    with pytest.raises(Stopped):
        run(movie(), PLAN, tmp_path, on_frame=stop)
    assert during == [{".part"}] * 3
    assert not list(tmp_path.iterdir())


def test_pixels_that_are_no_counts_leave_nothing(tmp_path: Path) -> None:
    frames = movie().frames.astype(np.float64)
    frames[3, 1, 5, 5] = 0.25
    with pytest.raises(PixelsUnsuitable):
        run(MemoryMovie(frames), PLAN, tmp_path)
    assert not list(tmp_path.iterdir())


def test_counts_in_another_type_give_the_same(tmp_path: Path) -> None:
    given = movie()
    first = run(given, PLAN, tmp_path)
    second = run(MemoryMovie(given.frames.astype(">i4")), PLAN, tmp_path)
    for name, values in first.columns.items():
        assert np.array_equal(values, second.columns[name])


@pytest.mark.parametrize("name", ["no_such_feature", "area"])
def test_feature_that_is_unknown_or_of_the_other_kind_is_refused(tmp_path: Path, name: str) -> None:
    plan = Plan(0, fluorescence=(FluorescenceChannel(1, (name,)),))
    with pytest.raises(ParametersInvalid, match=name):
        run(movie(), plan, tmp_path)
    assert not list(tmp_path.iterdir())


class Clumsy:
    """Somebody's feature, with a mistake."""

    name = "clumsy"
    kind: features.Kind = "phase"

    def measure(self, cells: features.Cells) -> np.ndarray:
        return np.zeros(len(cells.outlines.ids) + 1)


class Failing(Clumsy):
    """Another one."""

    def measure(self, cells: features.Cells) -> np.ndarray:
        raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("feature", "reason"),
    [(Clumsy(), "one value for each cell"), (Failing(), "clumsy failed: division by zero")],
)
def test_mistake_of_a_feature_is_named(
    tmp_path: Path, feature: features.Feature, reason: str
) -> None:
    with pytest.raises(ProcessingFailed, match=reason):
        process_fov(
            movie(), Plan(0, ("clumsy",)), fov=0, folder=tmp_path,
            features={"clumsy": feature}, on_frame=lambda _: None,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_opencv_is_held_to_one_core_only_meanwhile(tmp_path: Path) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        during: list[int] = []
        run(movie(), PLAN, tmp_path, on_frame=lambda _: during.append(cv2.getNumThreads()))
        assert set(during) == {1}
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
