"""Masks against the plain rendering of their definition, bit by bit, and against closed forms."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from benchwire.domains.microscopy.segmentation import log_deviation, segment, threshold
from tests.domains.microscopy import oracle

SIDES = (1, 2, 3, 7, 18, 19, 20, 37, 64, 131)


def textured(shape: tuple[int, int], seed: int, *, level: float = 10_000) -> np.ndarray:
    """Discs that vary strongly on a field that varies little."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    image = rng.normal(level, 20, shape)
    for _ in range(1 + shape[0] * shape[1] // 5000):
        y, x, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(8, 30)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        image[disc] += rng.normal(0, rng.uniform(30, 400), np.count_nonzero(disc))
    return image.clip(0, 65_535).astype(np.uint16)


@pytest.mark.parametrize("shape", list(itertools.product(SIDES, repeat=2)))
def test_mask_is_the_definitions_at_any_size(shape: tuple[int, int]) -> None:
    for seed, level in enumerate((50, 10_000, 65_000)):
        frame = textured(shape, seed, level=level)
        assert np.array_equal(segment(frame), oracle.segment(frame))


@pytest.mark.parametrize("seed", range(12))
def test_mask_is_the_definitions_on_larger_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = textured(tuple(rng.integers(200, 600, 2)), seed)
    mask = segment(frame)
    assert np.array_equal(mask, oracle.segment(frame))
    assert mask.any()
    assert not mask.all()


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.uint16,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=45),
        elements=st.sampled_from([0, 1, 2, 3, 1000, 65_534, 65_535]),
        fill=st.sampled_from([0, 1, 65_535]),
    )
)
def test_mask_is_the_definitions_where_many_contrasts_are_equal(frame: np.ndarray) -> None:
    assert np.array_equal(segment(frame), oracle.segment(frame))


@pytest.mark.parametrize("value", [0, 1, 40_000, 65_535])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (40, 40)])
def test_constant_frame_has_no_cells(shape: tuple[int, int], value: int) -> None:
    assert not segment(np.full(shape, value, np.uint16)).any()


def test_even_stripes_have_no_cells() -> None:
    frame = np.tile(np.array([0, 1, 5], np.uint16), (30, 10))
    assert np.ptp(log_deviation(frame)[:, 1:-1]) == 0
    assert not segment(frame[:, 1:-1]).any()


def test_deviation_is_exact_at_high_counts() -> None:
    frame = np.full((5, 5), 65_000, np.uint16)
    frame[2, 2] += 1
    expected = 0.5 * np.log(1 / 9 - 1 / 81)
    assert log_deviation(frame)[1:4, 1:4] == pytest.approx(np.full((3, 3), expected), abs=1e-7)
    assert not log_deviation(frame)[0].any()


def test_threshold_is_three_deviations_above_the_fullest_bin() -> None:
    values = np.repeat(np.float32([0.0, 1.0, 2.0]), [100, 1000, 10])
    # The bin of 1.0 is the one above the middle of 200 over 0 to 2: 1.00 to 1.01.
    low = np.repeat([0.0, 1.0], [100, 1000])
    assert threshold(values) == pytest.approx(1.005 + 3 * low.std())


def test_histogram_of_values_on_the_edges_is_the_definitions() -> None:
    values = np.linspace(0, 2, 201, dtype=np.float32).repeat(np.arange(1, 202) % 7 + 1)
    counts, edges = np.histogram(values, 200, range=(np.float64(0), np.float64(values[-1])))
    mode = (edges[counts.argmax()] + edges[counts.argmax() + 1]) / 2
    assert threshold(values) == mode + 3 * values[values <= mode].std(dtype=np.float64)


def test_disc_of_texture_is_found_without_holes() -> None:
    rng = np.random.default_rng(3)
    frame = rng.normal(10_000, 20, (200, 200))
    rows, columns = np.ogrid[:200, :200]
    distance = np.hypot(rows - 100, columns - 90)
    ring = (distance < 40) & (distance > 15)
    frame[ring] += rng.normal(0, 400, np.count_nonzero(ring))
    mask = segment(frame.astype(np.uint16))
    assert mask[distance < 35].all()
    assert not mask[distance > 48].any()
    assert ndimage.label(mask)[1] == 1


def test_narrow_object_vanishes() -> None:
    rng = np.random.default_rng(4)
    frame = rng.normal(10_000, 20, (200, 200))
    frame[20:180, 90:100] += rng.normal(0, 400, (160, 10))
    assert not segment(frame.astype(np.uint16)).any()


def test_read_only_and_strided_frames_are_taken() -> None:
    frame = textured((150, 150), 5)
    turned = frame.T
    turned.flags.writeable = False
    assert np.array_equal(segment(turned), oracle.segment(frame.T.copy()))
