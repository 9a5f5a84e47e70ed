"""Backgrounds against closed forms and the plain rendering of their definition."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.interpolate import RectBivariateSpline

from benchwire.domains.microscopy.background import background, tile_edges, tile_medians
from tests.domains.microscopy import oracle

SHAPES = [(1, 1), (1, 700), (2, 3), (18, 40), (256, 257), (300, 130), (512, 513), (600, 1030)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.0005, 0.01, 1.0])
def test_background_is_the_definitions_at_any_size(shape: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(1)
    frame = rng.integers(100, 60_000, shape).astype(np.uint16)
    foreground = rng.random(shape) < share
    found = background(frame, foreground)
    assert found.dtype == np.float32
    assert_allclose(found, oracle.background(frame, foreground), rtol=1e-5)


def test_surface_is_the_bicubic_spline_of_a_second_library() -> None:
    rng = np.random.default_rng(2)
    frame = rng.integers(100, 60_000, (1100, 800)).astype(np.uint16)
    medians = tile_medians(frame, np.ones(frame.shape, bool))
    centres = [(edges[:-2] + edges[2:]) / 2 for edges in map(tile_edges, frame.shape)]
    spline = RectBivariateSpline(*centres, medians)
    expected = spline(np.arange(1100), np.arange(800))
    assert_allclose(background(frame, np.zeros(frame.shape, bool)), expected, rtol=1e-5)


def test_tiles_overlap_by_half_and_cover_the_axis() -> None:
    assert tile_edges(1024).tolist() == list(range(0, 1025, 128))
    assert tile_edges(513).tolist() == [0, 86, 171, 256, 342, 428, 513]
    assert tile_edges(512).tolist() == [0, 128, 256, 384, 512]
    assert tile_edges(257).tolist() == [0, 64, 128, 193, 257]
    assert tile_edges(100).tolist() == [0, 50, 100]


def test_even_number_of_pixels_has_the_mean_of_the_middle_two() -> None:
    frame = np.array([[1, 2, 10, 65_535]], np.uint16)
    assert tile_medians(frame, np.ones((1, 4), bool)).tolist() == [[6.0]]


def test_constant_frame_is_its_own_background() -> None:
    foreground = np.zeros((400, 700), bool)
    foreground[100:150, 300:360] = True
    frame = np.full(foreground.shape, 517, np.uint16)
    assert_allclose(background(frame, foreground), 517.0, rtol=1e-6)


def test_slope_is_followed_between_the_outermost_centres_and_held_outside() -> None:
    frame = np.tile(np.arange(1024, dtype=np.uint16), (1024, 1))
    found = background(frame, np.zeros(frame.shape, bool))
    inner = np.arange(128, 897)
    # A tile of 256 columns from c has the median c + 127.5, its centre is c + 128.
    assert_allclose(found[500, inner], inner - 0.5, atol=1e-2)
    assert_allclose(found[:, :128], 127.5, atol=1e-2)
    assert_allclose(found[:, 897:], 895.5, atol=1e-2)


def test_cells_and_their_halo_do_not_count() -> None:
    frame = np.full((200, 200), 100, np.uint16)
    foreground = np.zeros(frame.shape, bool)
    foreground[10:190, 40:160] = True
    frame[0:200, 30:170] = 5000  # the halo reaches 10 px beyond the cell
    assert_allclose(background(frame, foreground), 100.0)


def test_tile_without_background_takes_the_whole_frames() -> None:
    frame = np.full((512, 512), 300, np.uint16)
    frame[:256, :256] = 9000
    frame[500:, 500:] = 100
    is_background = np.ones(frame.shape, bool)
    is_background[:256, :256] = False
    assert tile_medians(frame, is_background).tolist() == [[300.0] * 3] * 3


def test_frame_without_background_has_its_lowest_decile() -> None:
    frame = np.arange(101, dtype=np.uint16).reshape(1, 101)
    assert_allclose(background(frame, np.ones(frame.shape, bool)), 10.0)
