"""The pixels of a frame's cells, in an order in which all cells are measured at once."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outlines:
    """The pixels of all cells of one frame, cell by cell.

    Parameters
    ----------
    labels : (H, W) integers
        Id of the cell at each pixel, 0 for none.
    ids : (n_cells,) int64
        Ascending.
    starts : (n_cells,) int64
        Where the pixels of each cell begin in the arrays below.
    cell : (n_pixels,) int64
        Which of the cells each pixel belongs to, from 0.
    rows, columns : (n_pixels,) int64, px
    """

    labels: NDArray[Any]
    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    cell: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[Any]) -> Self:
        """Return the pixels of a frame's cells."""
        places = np.flatnonzero(labels != 0)
        found = labels.reshape(-1)[places]
        # A stable sort of numbers of up to 16 bits is a radix sort: linear, in raster order.
        found = found.astype(np.min_scalar_type(found.max(initial=0)))
        order = np.argsort(found, kind="stable")
        places, found = places[order], found[order].astype(np.int64)
        starts = np.flatnonzero(np.diff(found, prepend=0))
        cell = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(found)))
        rows, columns = np.divmod(places, labels.shape[1])
        return cls(labels, found[starts], starts, cell, rows, columns)

    @property
    def area(self) -> Values:
        """Number of pixels of each cell."""
        return np.diff(self.starts, append=len(self.cell)).astype(np.float64)

    def total(self, values: NDArray[Any]) -> Values:
        """Return the sum of a value per pixel over each cell."""
        return self._reduced(np.add, values.astype(np.float64, copy=False))

    def mean(self, values: NDArray[Any]) -> Values:
        """Return the mean of a value per pixel over each cell."""
        return self.total(values) / self.area

    def largest(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the largest value per pixel of each cell."""
        return self._reduced(np.maximum, values)

    def smallest(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the smallest value per pixel of each cell."""
        return self._reduced(np.minimum, values)

    def _reduced(self, operation: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        reduced: NDArray[Any] = (
            operation.reduceat(values, self.starts) if len(self.starts) else values[:0]
        )
        return reduced

    def at(self, image: NDArray[Any]) -> Values:
        """Return an image's values at the cells' pixels."""
        return image[self.rows, self.columns].astype(np.float64)


@dataclass(frozen=True, slots=True)
class Cells:
    """All cells of one frame in one channel; values per pixel are in the order of the outlines.

    Parameters
    ----------
    counts, background : (n_pixels,) float64
        The raw image and its background; the latter 0 in a phase image.
    background_weight
        Share of the background that is to be subtracted.
    erosion_size
        Side in px of the square by which cells are eroded before totals are taken.
    """

    outlines: Outlines
    counts: Values
    background: Values
    background_weight: float = 1.0
    erosion_size: int = 0

    @property
    def signal(self) -> Values:
        """Counts above the background at each pixel."""
        return self.counts - self.background_weight * self.background

    @property
    def inner(self) -> NDArray[np.bool_]:
        """Which pixels are left when each cell is eroded; outside the image is no cell."""
        import cv2

        outlines = self.outlines
        if self.erosion_size <= 1:
            return np.ones(len(outlines.cell), np.bool_)
        square = np.ones((self.erosion_size, self.erosion_size), np.uint8)
        # A square lies within one cell when the least and the largest label in it are the same.
        border = cv2.BORDER_CONSTANT
        least = cv2.erode(outlines.labels, square, borderType=border, borderValue=0)
        largest = cv2.dilate(outlines.labels, square, borderType=border, borderValue=0)
        inner: NDArray[np.bool_] = (least == largest)[outlines.rows, outlines.columns]
        return inner
