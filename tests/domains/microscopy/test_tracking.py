"""Cell numbers against the plain rendering of their definition, and in scenes made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from benchwire.domains.microscopy.errors import ProcessingFailed
from benchwire.domains.microscopy.tracking import Objects, Tracker, find_objects, match, overlaps
from tests.domains.microscopy import oracle

Box = tuple[int, int, int, int]


def scene(*boxes: Box, side: int = 120) -> np.ndarray:
    """A mask of filled boxes: first row, first column, height, width."""
    mask = np.zeros((side, side), bool)
    for y, x, height, width in boxes:
        mask[y : y + height, x : x + width] = True
    return mask


def cells_at(labels: np.ndarray, *places: tuple[int, int]) -> list[int]:
    return [int(labels[place]) for place in places]


def crowd(seed: int, *, n_frames: int = 10, side: int = 160) -> list[np.ndarray]:
    """Many boxes that wander, come, go and miss frames, on so few pixels that ties are common."""
    rng = np.random.default_rng(seed)
    boxes = rng.integers((0, 0, 6, 6), (side - 20, side - 20, 20, 20), (rng.integers(5, 60), 4))
    frames = []
    for _ in range(n_frames):
        boxes[:, :2] = (boxes[:, :2] + rng.integers(-4, 5, (len(boxes), 2))).clip(0, side - 20)
        shown = boxes[rng.random(len(boxes)) < 0.85]
        frames.append(scene(*shown, side=side) if rng.random() < 0.9 else scene(side=side))
    return frames


@pytest.mark.parametrize("seed", range(40))
def test_labels_are_the_definitions_in_a_crowd(seed: int) -> None:
    limits = {"min_iou": (0.1, 0.3, 0.01)[seed % 3], "min_size": (None, 60)[seed % 2]}
    limits["max_size"] = (None, 400, None, None)[seed % 4]
    ours, plain = Tracker(**limits), oracle.Tracker(**limits)
    for mask in crowd(seed):
        labels = ours.add(mask)
        assert labels.dtype == np.uint16
        assert np.array_equal(labels, plain.add(mask))


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
        lambda shape: st.lists(hnp.arrays(np.bool_, shape), min_size=1, max_size=7)
    )
)
def test_labels_are_the_definitions_for_any_masks(masks: list[np.ndarray]) -> None:
    ours, plain = Tracker(min_iou=0.1), oracle.Tracker()
    for mask in masks:
        assert np.array_equal(ours.add(mask), plain.add(mask))


@pytest.mark.parametrize("seed", range(20))
def test_groups_together_reach_the_optimum_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def objects(count: int) -> Objects:
        starts, sizes = rng.integers(0, 60, (count, 2)), rng.integers(5, 25, (count, 2))
        boxes = np.concatenate([starts, starts + sizes], axis=1)
        return Objects(np.arange(count), boxes, starts + sizes / 2)

    first, second = objects(30), objects(25)
    overlap = overlaps(first, second)
    chosen, found = match(first, second, overlap, min_iou=0.1)
    assert len(np.unique(chosen)) == len(np.unique(found)) == len(chosen) > 5
    cost = np.where(overlap >= 0.1, 1 - overlap, 1.0)
    best = cost[linear_sum_assignment(cost)].sum()
    unmatched = min(overlap.shape) - len(chosen)
    assert cost[chosen, found].sum() + unmatched == pytest.approx(best, abs=1e-7)


def test_first_frame_is_numbered_in_raster_order() -> None:
    labels = Tracker(min_iou=0.1).add(scene((40, 5, 20, 20), (5, 60, 20, 20), (6, 10, 20, 20)))
    assert cells_at(labels, (5, 60), (6, 10), (40, 5)) == [1, 2, 3]


def test_corners_that_touch_are_two_cells() -> None:
    labels = Tracker(min_iou=0.1).add(scene((10, 10, 10, 10), (20, 20, 10, 10)))
    assert cells_at(labels, (10, 10), (20, 20)) == [1, 2]


def test_late_cell_gets_a_number_of_its_own() -> None:
    tracker = Tracker(min_iou=0.1)
    tracker.add(scene((50, 50, 20, 20)))
    labels = tracker.add(scene((5, 5, 20, 20), (50, 52, 20, 20)))
    assert cells_at(labels, (5, 5), (60, 60)) == [2, 1]


@pytest.mark.parametrize(("gap", "expected"), [(0, 1), (1, 1), (2, 1), (3, 3)])
def test_lost_cell_is_taken_up_after_two_frames_at_most(gap: int, expected: int) -> None:
    tracker = Tracker(min_iou=0.1)
    tracker.add(scene((10, 10, 20, 20), (70, 70, 20, 20)))
    for _ in range(gap):
        tracker.add(scene((70, 70, 20, 20)))
    labels = tracker.add(scene((12, 12, 20, 20), (70, 70, 20, 20)))
    assert cells_at(labels, (20, 20), (80, 80)) == [expected, 2]


@pytest.mark.parametrize("n_missing", [1, 2])
def test_missing_frames_cost_no_number(n_missing: int) -> None:
    tracker = Tracker(min_iou=0.1)
    boxes = [(10, 10, 20, 20), (10, 40, 20, 20), (60, 20, 20, 20)]
    tracker.add(scene(*boxes))
    for _ in range(n_missing):
        assert not tracker.add(scene()).any()
    moved = [(y + 3, x + 5, height, width) for y, x, height, width in boxes]
    assert cells_at(tracker.add(scene(*moved)), (15, 20), (15, 50), (65, 30)) == [1, 2, 3]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n_missing", [1, 2])
def test_missing_frames_change_no_number_in_a_crowd(seed: int, n_missing: int) -> None:
    full = [mask for mask in crowd(seed, n_frames=8) if mask.any()][:2]
    seamless, broken = Tracker(min_iou=0.1), Tracker(min_iou=0.1)
    seamless.add(full[0])
    broken.add(full[0])
    for _ in range(n_missing):
        broken.add(np.zeros_like(full[0]))
    assert np.array_equal(broken.add(full[1]), seamless.add(full[1]))


def test_number_of_a_vanished_cell_is_never_given_to_another() -> None:
    tracker = Tracker(min_iou=0.1)
    tracker.add(scene((10, 10, 20, 20)))
    assert cells_at(tracker.add(scene((60, 60, 20, 20))), (60, 60)) == [2]


def test_neighbours_that_move_together_are_not_swapped() -> None:
    # Each cell moves most of the way to where its neighbour was; nearest alone would go wrong.
    tracker = Tracker(min_iou=0.1)
    tracker.add(scene((10, 10, 20, 20), (10, 32, 20, 20), (10, 54, 20, 20)))
    labels = tracker.add(scene((10, 20, 20, 20), (10, 42, 20, 20), (10, 64, 20, 20)))
    assert cells_at(labels, (15, 21), (15, 43), (15, 65)) == [1, 2, 3]


def test_cells_that_met_part_with_their_numbers_or_new_ones() -> None:
    # The two fuse; the fused object keeps the number of the larger, 1. They part again.
    tracker = Tracker(min_iou=0.1)
    tracker.add(scene((10, 10, 20, 30), (10, 44, 20, 20)))
    assert cells_at(tracker.add(scene((10, 12, 20, 50))), (15, 20)) == [1]
    parted = tracker.add(scene((10, 10, 20, 30), (10, 44, 20, 20)))
    assert cells_at(parted, (15, 20), (15, 50)) == [1, 2]


def test_cell_whose_place_is_taken_by_another_is_not_taken_up_elsewhere() -> None:
    # Cell 2 is hidden for a frame; after it the fused object's number 1 goes to the object at the
    # place of 2, as it is the larger. Giving 2 to what is left, where 1 was, would swap the two.
    tracker = Tracker(min_iou=0.1)
    tracker.add(scene((10, 10, 20, 28), (10, 40, 20, 24)))
    assert cells_at(tracker.add(scene((10, 10, 20, 54))), (15, 20)) == [1]
    labels = tracker.add(scene((10, 10, 20, 21), (10, 33, 20, 31)))
    assert cells_at(labels, (15, 50)) == [1]
    assert cells_at(labels, (15, 15)) == [3]


def test_equal_overlaps_are_decided_by_the_nearer_centre_of_mass() -> None:
    # Both boxes overlap the old one by nine rows; the mass of the lower is nearer to it.
    tracker = Tracker(min_iou=0.1)
    tracker.add(scene((40, 40, 20, 20)))
    labels = tracker.add(scene((29, 40, 20, 20), (51, 40, 9, 20), (60, 40, 11, 1)))
    assert cells_at(labels, (30, 45), (52, 45)) == [2, 1]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"min_size": 100}, [0, 1, 2]),
        ({"max_size": 100}, [1, 2, 0]),
        ({"min_size": 100, "max_size": 100}, [0, 1, 0]),
        ({}, [1, 2, 3]),
    ],
)
def test_size_limits_are_inclusive(limits: dict[str, int], kept: list[int]) -> None:
    mask = scene((10, 10, 9, 11), (40, 10, 10, 10), (70, 10, 101, 1), side=180)
    labels = Tracker(min_iou=0.1, **limits).add(mask)
    assert cells_at(labels, (10, 10), (40, 10), (70, 10)) == kept


def test_boxes_that_do_not_touch_never_match() -> None:
    tracker = Tracker(min_iou=0.0)
    tracker.add(scene((10, 10, 20, 20)))
    assert cells_at(tracker.add(scene((10, 30, 20, 20))), (10, 30)) == [2]


def test_least_overlap_is_inclusive() -> None:
    tracker = Tracker(min_iou=0.25)
    tracker.add(scene((10, 10, 10, 10)))
    # 10 x 10 and 10 x 10 with 40 px in common: 40 / 160.
    assert cells_at(tracker.add(scene((10, 16, 10, 10))), (10, 16)) == [1]


def test_more_cells_than_numbers_is_an_error() -> None:
    tracker = Tracker(min_iou=0.1, most_cells=2)
    tracker.add(scene((10, 10, 20, 20), (60, 60, 20, 20)))
    tracker.add(scene((12, 12, 20, 20), (60, 60, 20, 20)))
    with pytest.raises(ProcessingFailed, match="more than 2 cells"):
        tracker.add(scene((12, 12, 20, 20), (60, 60, 20, 20), (90, 90, 20, 20)))


def test_numbers_end_at_65535() -> None:
    mask = np.zeros((512, 514), bool)
    mask[::2, ::2] = True
    with pytest.raises(ProcessingFailed, match="more than 65535 cells"):
        Tracker(min_iou=0.1).add(mask)
    mask[0, 0:513:2] = False
    assert Tracker(min_iou=0.1).add(mask).max() == 65_535


def test_objects_have_boxes_with_exclusive_ends_and_centres_of_mass() -> None:
    _, objects = find_objects(scene((3, 5, 2, 4)))
    assert objects.boxes.tolist() == [[3, 5, 5, 9]]
    assert objects.centres.tolist() == [[3.5, 6.5]]
