"""The light that fills the field between the cells, and so under them, in a fluorescence image."""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from benchwire.domains.microscopy.segmentation import Mask, dilate

# A cell's light spreads beyond its outline by about half of this.
_HALO_SQUARE_PX = 21
_LEAST_TILE_PX = 256
_HIGHEST_DEGREE = 3
_DARK_SHARE = 10  # percent of the pixels taken for background where cells leave none


def background(frame: NDArray[np.uint16], foreground: Mask) -> NDArray[np.float32]:
    """Return the background of a fluorescence image, of any size: a smooth surface.

    Parameters
    ----------
    frame : (H, W) uint16, counts
    foreground : (H, W) bool

    Returns
    -------
    (H, W) float32, counts
    """
    halo = dilate(foreground.view(np.uint8), _HALO_SQUARE_PX)
    rows, columns = (_axis(n_px) for n_px in frame.shape)
    medians = tile_medians(frame, halo == 0)
    # Not by matrix products, which a BLAS runs on all cores: those have their own work.
    along_rows = np.einsum("pt,tu->pu", rows.spline, medians.astype(np.float32))
    across = np.ascontiguousarray(columns.spline.T)
    surface: NDArray[np.float32] = np.einsum("pu,uq->pq", along_rows, across)
    return surface


def tile_edges(n_px: int) -> NDArray[np.int64]:
    """Return where the tiles of an axis begin and end; tile i spans edge i to edge i + 2."""
    divisions = max(math.ceil(n_px / _LEAST_TILE_PX) + 1, 2)
    return np.round(np.linspace(0, n_px, 2 * divisions - 1)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Tiles along one side of an image.

    Parameters
    ----------
    spline : (n_px, n_tiles) float32
        A spline is linear in the values it runs through: this matrix takes those of the tiles to
        those of the pixels.
    """

    edges: NDArray[np.int64]
    spline: NDArray[np.float32]


@lru_cache(maxsize=8)
def _axis(n_px: int) -> _Axis:
    from scipy.interpolate import make_interp_spline

    edges = tile_edges(n_px)
    centres = (edges[:-2] + edges[2:]) / 2
    degree = min(_HIGHEST_DEGREE, len(centres) - 1)
    at = np.clip(np.arange(n_px), centres[0], centres[-1])
    spline = make_interp_spline(centres, np.eye(len(centres)), k=degree)
    return _Axis(edges, spline(at).astype(np.float32))


def tile_medians(frame: NDArray[np.uint16], is_background: Mask) -> NDArray[np.float64]:
    """Return the median of the background pixels in each tile.

    A tile without any has the median of the whole frame's; a frame without any, as where cells
    cover it, has the lowest decile of its pixels everywhere.

    Tiles overlap by half, so each is four blocks of which others share some: the counts of each
    level are taken once per block and added, which is exact and faster than ordering every tile.

    Parameters
    ----------
    frame : (H, W) uint16, counts
    is_background : (H, W) bool

    Returns
    -------
    (n_rows, n_columns) float64, counts
    """
    row_edges, column_edges = (_axis(n_px).edges for n_px in frame.shape)
    medians = np.full((len(row_edges) - 2, len(column_edges) - 2), np.nan)
    if not is_background.any():
        medians[:] = np.percentile(frame, _DARK_SHARE)
        return medians
    lowest, highest = (int(end) for end in cv2.minMaxLoc(frame, is_background.view(np.uint8))[:2])
    everywhere = np.zeros(highest - lowest + 1, np.int64)
    above = None
    for row, (first, end) in enumerate(pairwise(row_edges)):
        below = []
        for left, right in pairwise(column_edges):
            block = np.s_[first:end, left:right]
            pixels = np.compress(is_background[block].reshape(-1), frame[block].reshape(-1))
            below.append(np.bincount(pixels - lowest, minlength=len(everywhere)))
            everywhere += below[-1]
        if above is not None:
            halves = [upper + lower for upper, lower in zip(above, below, strict=True)]
            for column, (left_half, right_half) in enumerate(pairwise(halves)):
                medians[row - 1, column] = _median_level(left_half + right_half)
        above = below
    medians[np.isnan(medians)] = _median_level(everywhere)
    return medians + lowest


def _median_level(counts: NDArray[np.int64]) -> float:
    """Return the median of levels that occur so often; not a number where there is nothing."""
    reached = counts.cumsum()
    total = int(reached[-1])
    if not total:
        return math.nan
    middle = np.searchsorted(reached, [(total - 1) // 2, total // 2], side="right")
    return float(middle.mean())
