"""Which pixels of a phase image are cell: those whose surroundings vary more than the medium's."""

import cv2
import numpy as np
from numpy.typing import NDArray

_WINDOW_PX = 3
_BINS = 200
_ROUNDING_BINS = 1e-4
_DEVIATIONS = 3.0
# Three rounds with a square of 7 px reach as far as one with a square of 19 px, for outside the
# image is background in each of them.
_SQUARE_PX = 19

Mask = NDArray[np.bool_]


def segment(frame: NDArray[np.uint16]) -> Mask:
    """Return the cells' pixels of one phase image, of any size.

    Objects narrower than 19 px vanish, and objects closer than about 19 px become one. A frame
    without contrast has no cells.

    Parameters
    ----------
    frame : (H, W) uint16, counts

    Returns
    -------
    (H, W) bool
    """
    contrast = log_deviation(frame)
    limit = threshold(contrast)
    if limit is None:
        return np.zeros(frame.shape, np.bool_)
    filled = _without_holes(contrast > limit)
    return _smooth(filled).view(np.bool_)


def log_deviation(frame: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the logarithm of the local standard deviation in 3 x 3 px, 0 where nothing varies.

    The sums over counts and their squares are whole numbers below 2^53, so ``9 sum(q) - sum(p)^2``
    is exact in double precision at any brightness. The difference of two float32 means would lose
    its digits at counts of some 10^4, and a constant taken off first only moves that limit.

    Parameters
    ----------
    frame : (H, W) uint16, counts

    Returns
    -------
    (H, W) float32
    """
    window = (_WINDOW_PX, _WINDOW_PX)
    border = cv2.BORDER_REFLECT
    frame = np.ascontiguousarray(frame)
    sums = cv2.boxFilter(frame, cv2.CV_64F, window, normalize=False, borderType=border)
    squares = cv2.sqrBoxFilter(frame, cv2.CV_64F, window, normalize=False, borderType=border)
    n_pixels = _WINDOW_PX**2
    variance: NDArray[np.float64] = n_pixels * squares.astype(np.float64, copy=False)
    variance -= sums * sums
    variance /= n_pixels**2
    contrast: NDArray[np.float32] = variance.astype(np.float32)
    contrast[contrast == 0] = 1.0  # has the logarithm 0
    np.log(contrast, out=contrast)
    contrast *= np.float32(0.5)
    return contrast


def threshold(contrast: NDArray[np.float32]) -> np.float64 | None:
    """Return the contrast above which a pixel is no longer medium; None where all are alike.

    The medium's contrasts scatter about the fullest of 200 bins. Their spread is that of the
    values below it, as cells add to the upper side only.
    """
    lowest, highest = np.float64(contrast.min()), np.float64(contrast.max())
    if lowest == highest:
        return None
    fullest = int(_histogram(contrast, lowest, highest).argmax())
    # Edges in double precision: single ones coincide when the contrasts hardly differ.
    edges = np.linspace(lowest, highest, _BINS + 1)
    mode = (edges[fullest] + edges[fullest + 1]) / 2
    low = np.compress((contrast <= mode).reshape(-1), contrast.reshape(-1))
    return np.float64(mode + _DEVIATIONS * low.std(dtype=np.float64))


def _histogram(
    values: NDArray[np.float32], lowest: np.float64, highest: np.float64
) -> NDArray[np.int64]:
    """Return the counts that `np.histogram` gives, three times as fast.

    Single precision errs by less than 1e-4 of a bin, so it is right about all values but those so
    near to an edge; these few go the exact way.
    """
    position = (values - np.float32(lowest)) * np.float32(_BINS / (highest - lowest))
    unsure = np.abs(position - np.rint(position)) < _ROUNDING_BINS
    bins = position.astype(np.uint8)
    counts = np.bincount(bins.reshape(-1), minlength=_BINS + 1)
    counts -= np.bincount(bins[unsure], minlength=_BINS + 1)
    exact, _ = np.histogram(values[unsure], _BINS, range=(lowest, highest))
    total: NDArray[np.int64] = counts[:_BINS] + exact
    return total


def _without_holes(mask: Mask) -> NDArray[np.uint8]:
    """Return a mask with everything filled that the image's surroundings cannot flow into."""
    framed = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    outside = 2
    cv2.floodFill(framed, None, (0, 0), outside, flags=4)
    inner: Mask = framed[1:-1, 1:-1] != outside
    return inner.view(np.uint8)


def _smooth(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the opening, then the closing of a mask; outside the image there is nothing."""
    opened = dilate(erode(mask, _SQUARE_PX), _SQUARE_PX)
    return erode(dilate(opened, _SQUARE_PX), _SQUARE_PX)


def erode(mask: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return a mask eroded by a square; outside the image counts as background."""
    square = np.ones((side_px, side_px), np.uint8)
    eroded = cv2.erode(mask, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return eroded.astype(np.uint8, copy=False)


def dilate(mask: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return a mask dilated by a square; outside the image counts as background."""
    square = np.ones((side_px, side_px), np.uint8)
    dilated = cv2.dilate(mask, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return dilated.astype(np.uint8, copy=False)
