"""Which object in a frame is which cell: numbers that stay with the cells from frame to frame."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from benchwire.domains.microscopy.cells import Outlines
from benchwire.domains.microscopy.errors import ProcessingFailed
from benchwire.domains.microscopy.segmentation import Mask

LONGEST_GAP = 2  # frames a cell may be away and still be taken up again
MOST_CELLS = np.iinfo(np.uint16).max
# Far below the difference of two overlaps that are not equal, so it only decides between equals.
_TIE_BREAK = 1e-10


@dataclass(frozen=True, slots=True)
class Objects:
    """What lies in one frame, or cells as they were last seen.

    Parameters
    ----------
    numbers : (n,) int64
        Labels of the objects in their frame, or ids of the cells; ascending.
    boxes : (n, 4) int64, px
        First row, first column, end of the rows, end of the columns; ends exclusive.
    centres : (n, 2) float64, px
        Centres of mass.
    """

    numbers: NDArray[np.int64]
    boxes: NDArray[np.int64]
    centres: NDArray[np.float64]

    @classmethod
    def none(cls) -> Self:
        """Return no objects."""
        return cls(np.empty(0, np.int64), np.empty((0, 4), np.int64), np.empty((0, 2)))

    def only(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Objects":
        """Return some of them."""
        return Objects(self.numbers[chosen], self.boxes[chosen], self.centres[chosen])

    def __len__(self) -> int:
        return len(self.numbers)


class Tracker:
    """Follows the cells of one field of view; frames are given in their order.

    Cells of one frame go to objects of the next so that the boxes overlap most in all. Objects
    left over may be cells that were lost up to `LONGEST_GAP` frames ago: one is taken up only by
    the object that overlaps its last box most of all in the frame. Had another cell's object been
    the better fit, the two have met, and a new number is safer than a swapped one.

    Parameters
    ----------
    min_iou
        Least intersection over union of the boxes of one cell in two frames; boxes that do not
        touch never belong together.
    min_size, max_size
        Area limits of an object in px, inclusive; None for none.
    """

    def __init__(
        self,
        *,
        min_iou: float,
        min_size: int | None = None,
        max_size: int | None = None,
        most_cells: int = MOST_CELLS,
    ) -> None:
        self._min_iou = min_iou
        self._min_size = min_size
        self._max_size = max_size
        self._most_cells = most_cells
        self._n_cells = 0
        self._seen = Objects.none()
        self._lost: list[Objects] = []

    def add(self, mask: Mask) -> NDArray[np.uint16]:
        """Return the ids of the cells at the pixels of the next frame, 0 where there is none.

        Parameters
        ----------
        mask : (H, W) bool

        Returns
        -------
        (H, W) uint16

        Raises
        ------
        ProcessingFailed
            More cells than a label stack has numbers for.
        """
        labels, objects = find_objects(mask, min_size=self._min_size, max_size=self._max_size)
        ids = self._identify(objects)
        id_of = np.zeros(int(labels.max()) + 1, np.uint16)
        id_of[objects.numbers] = ids
        return id_of.take(labels)

    def _identify(self, objects: Objects) -> NDArray[np.int64]:
        """Return the ids of a frame's objects, and remember both."""
        ids = np.zeros(len(objects), np.int64)
        overlap = overlaps(self._seen, objects)
        followed, found = match(self._seen, objects, overlap, min_iou=self._min_iou)
        ids[found] = self._seen.numbers[followed]
        lost = _joined(self._lost)
        resumed, found = self._resume(lost, objects, taken=ids > 0)
        ids[found] = lost.numbers[resumed]
        self._remember(objects, ids, newly_lost=np.delete(np.arange(len(self._seen)), followed))
        return ids

    def _resume(
        self, lost: Objects, objects: Objects, *, taken: Mask
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return lost cells and the objects that are these."""
        overlap = overlaps(lost, objects)
        claimed = overlap[:, taken].max(axis=1, initial=0.0)
        overlap[overlap <= claimed[:, None]] = 0.0
        overlap[:, taken] = 0.0
        return match(lost, objects, overlap, min_iou=self._min_iou)

    def _remember(
        self, objects: Objects, ids: NDArray[np.int64], *, newly_lost: NDArray[np.int64]
    ) -> None:
        """Give new ids to objects without one, and keep the cells where they are now."""
        n_new = int(np.count_nonzero(ids == 0))
        if self._n_cells + n_new > self._most_cells:
            raise ProcessingFailed(
                f"There are more than {self._most_cells} cells in one field of view, "
                "more than a label image has numbers for",
                hint="Leave out small objects with min_size.",
            )
        ids[ids == 0] = self._n_cells + 1 + np.arange(n_new)
        self._n_cells += n_new
        self._lost = [
            generation.only(~np.isin(generation.numbers, ids))
            for generation in (self._seen.only(newly_lost), *self._lost[: LONGEST_GAP - 1])
        ]
        order = np.argsort(ids)
        self._seen = Objects(ids[order], objects.boxes[order], objects.centres[order])


def find_objects(
    mask: Mask, *, min_size: int | None = None, max_size: int | None = None
) -> tuple[NDArray[np.int32], Objects]:
    """Return connected pixels (by their sides) labelled in raster order, and the objects kept.

    Labels of objects outside the size limits stay in the image and are not among the objects.
    """
    _, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    outlines = Outlines.of(labels)
    rows, columns = outlines.rows, outlines.columns
    boxes = np.stack(
        [
            outlines.smallest(rows),
            outlines.smallest(columns),
            outlines.largest(rows) + 1,
            outlines.largest(columns) + 1,
        ],
        axis=1,
    )
    centres = np.stack([outlines.mean(rows), outlines.mean(columns)], axis=1)
    kept = np.ones(len(outlines.ids), np.bool_)
    if min_size is not None:
        kept &= outlines.area >= min_size
    if max_size is not None:
        kept &= outlines.area <= max_size
    objects = Objects(outlines.ids, boxes, centres)
    return labels.astype(np.int32, copy=False), objects.only(kept)


def overlaps(first: Objects, second: Objects) -> NDArray[np.float64]:
    """Return the intersection over union of all pairs of boxes, (n first, n second)."""
    one, other = first.boxes[:, None, :], second.boxes[None, :, :]
    starts = np.maximum(one[..., :2], other[..., :2])
    ends = np.minimum(one[..., 2:], other[..., 2:])
    common = (ends - starts).clip(0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (one, other)]
    shares: NDArray[np.float64] = common / (areas[0] + areas[1] - common)
    return shares


def match(
    cells: Objects, objects: Objects, overlap: NDArray[np.float64], *, min_iou: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which cells are which objects, so that the overlaps add up to the most.

    Of equal sums the one with the nearer centres is taken. Only cells and objects linked by
    overlaps can compete, so each such group is solved on its own: the optimum is the same, and
    the cost does not grow with the square of their number.

    Parameters
    ----------
    overlap : (n cells, n objects) float64
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    linked = (overlap >= min_iou) & (overlap > 0)
    cell_of, object_of = np.nonzero(linked)
    alone = (linked.sum(axis=1)[cell_of] == 1) & (linked.sum(axis=0)[object_of] == 1)
    pairs = [np.stack([cell_of[alone], object_of[alone]])]
    cell_of, object_of = cell_of[~alone], object_of[~alone]
    if len(cell_of):
        n_nodes = len(cells) + len(objects)
        links = coo_array(
            (np.ones(len(cell_of)), (cell_of, len(cells) + object_of)), shape=(n_nodes, n_nodes)
        )
        _, group_of = connected_components(links, directed=False)
        for group in np.unique(group_of[cell_of]):
            rivals = np.unique(cell_of[group_of[cell_of] == group])
            wanted = np.unique(object_of[group_of[len(cells) + object_of] == group])
            apart = cells.centres[rivals][:, None, :] - objects.centres[wanted][None, :, :]
            distance = (apart * apart).sum(axis=-1)
            here = np.ix_(rivals, wanted)
            cost = 1 - overlap[here] + _TIE_BREAK * (distance / (1 + distance))
            cost[~linked[here]] = 1 + _TIE_BREAK
            row, column = linear_sum_assignment(cost)
            right = linked[here][row, column]
            pairs.append(np.stack([rivals[row[right]], wanted[column[right]]]))
    found = np.concatenate(pairs, axis=1)
    return found[0], found[1]


def _joined(parts: list[Objects]) -> Objects:
    """Return cells of several frames in the order of their ids."""
    numbers = np.concatenate([Objects.none().numbers, *(part.numbers for part in parts)])
    order = np.argsort(numbers)
    return Objects(
        numbers[order],
        np.concatenate([Objects.none().boxes, *(part.boxes for part in parts)])[order],
        np.concatenate([Objects.none().centres, *(part.centres for part in parts)])[order],
    )
