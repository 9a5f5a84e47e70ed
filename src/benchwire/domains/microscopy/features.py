"""What is measured of a cell: one small class for each feature, found by entry points.

A feature of your own is a class with a name, a kind and one method, made known by its package::

    class IntensityMax:
        name = "intensity_max"
        kind = "fluorescence"

        def measure(self, cells):
            return cells.outlines.largest(cells.counts)

    [project.entry-points."benchwire.features"]
    intensity_max = "my_package:IntensityMax"
"""

import logging
import math
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, Protocol

import numpy as np

from benchwire.domains.microscopy.cells import Cells, Outlines, Values
from benchwire.domains.microscopy.results import column_channel

logger = logging.getLogger(__name__)

GROUP = "benchwire.features"
Kind = Literal["phase", "fluorescence"]
_ROUNDING = 1e-12


class Feature(Protocol):
    """Something that is measured of every cell in every frame.

    Parameters
    ----------
    name
        As it stands in requests and columns: lower case, words joined by underscores.
    kind
        Which channels it is for.
    """

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def kind(self) -> Kind:
        """Its kind."""

    def measure(self, cells: Cells) -> Values:
        """Return a value for each cell, (n_cells,)."""


def load_features() -> Mapping[str, Feature]:
    """Return all features that are installed, by name.

    One that cannot be loaded, or whose name is taken, is logged and left out: it must not keep
    the others from being measured.
    """
    found: dict[str, Feature] = {}
    for point in sorted(entry_points(group=GROUP), key=_own_first):
        try:
            feature = _checked(point.load()())
        except Exception:
            logger.exception("Feature %s cannot be used", point.name)
            continue
        if feature.name in found:
            logger.warning("Feature %s of %s is left out: the name is taken",
                           feature.name, point.value)  # fmt: skip
            continue
        found[feature.name] = feature
    return found


def _own_first(point: EntryPoint) -> tuple[bool, str, str]:
    """Order entry points so that a plug-in never takes the place of a feature of ours."""
    return (not point.value.startswith(__name__), point.name, point.value)


def _checked(feature: Feature) -> Feature:
    """Return a feature that has what it needs."""
    if feature.kind not in ("phase", "fluorescence"):
        raise ValueError(f"kind is {feature.kind!r}, must be phase or fluorescence")
    if not feature.name.isidentifier() or not callable(feature.measure):
        raise ValueError("a feature needs a name made of letters and underscores, and measure()")
    # Of any other name there would be a column that nobody reads back or merges.
    if column_channel(f"{feature.name}_ch_0") != (feature.name, 0):
        raise ValueError(
            f"the name {feature.name[:100]!r} has to begin with a letter and to be made of at most "
            "100 letters of the English alphabet, digits and underscores"
        )
    return feature


class Area:
    """Number of pixels."""

    name = "area"
    kind: Kind = "phase"

    def measure(self, cells: Cells) -> Values:
        """Return the areas in px."""
        return cells.outlines.area


class AspectRatio:
    """How many times longer than wide: of the ellipse with the same moments."""

    name = "aspect_ratio"
    kind: Kind = "phase"

    def measure(self, cells: Cells) -> Values:
        """Return root ratios of the eigenvalues of the coordinates' covariance; 1 for a line."""
        outlines = cells.outlines
        y = outlines.rows - outlines.mean(outlines.rows)[outlines.cell]
        x = outlines.columns - outlines.mean(outlines.columns)[outlines.cell]
        yy, xx, xy = outlines.total(y * y), outlines.total(x * x), outlines.total(x * y)
        larger = (yy + xx) / 2 + np.hypot((yy - xx) / 2, xy)
        determinant = yy * xx - xy * xy
        # A line has no width; what the subtraction leaves of it is rounding.
        has_width = determinant > _ROUNDING * larger * larger
        ratio = np.ones(len(outlines.ids))
        np.divide(larger * larger, determinant, out=ratio, where=has_width)
        return np.sqrt(ratio)


class Circularity:
    """How round: 1 for a disc, less the longer the outline is for the area."""

    name = "circularity"
    kind: Kind = "phase"

    def measure(self, cells: Cells) -> Values:
        """Return ``4 pi area / p^2`` within 0 and 1, p the number of pixels just outside."""
        outline = _n_pixels_just_outside(cells.outlines)
        roundness = np.ones(len(outline))
        np.divide(4 * math.pi * cells.outlines.area, outline**2, out=roundness, where=outline > 0)
        return roundness.clip(0.0, 1.0)


def _n_pixels_just_outside(outlines: Outlines) -> Values:
    """Return how many pixels of the image that are not of a cell share a side with it."""
    height, width = outlines.labels.shape
    own = outlines.ids[outlines.cell]
    touched = []
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        rows, columns = outlines.rows + down, outlines.columns + right
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        places = np.where(inside, rows * width + columns, 0)
        outside_cell = inside & (outlines.labels.reshape(-1)[places] != own)
        touched.append(outlines.cell[outside_cell] * (height * width) + places[outside_cell])
    # A pixel in a notch touches a cell more than once and counts once.
    pairs = np.unique(np.concatenate(touched))
    counts = np.bincount(pairs // (height * width), minlength=len(outlines.ids))
    return counts.astype(np.float64)


class IntensityTotal:
    """Light of the cell: what exceeds the background, summed."""

    name = "intensity_total"
    kind: Kind = "fluorescence"

    def measure(self, cells: Cells) -> Values:
        """Return the totals in counts over the eroded cells; 0 where nothing is left of one."""
        return cells.outlines.total(cells.signal * cells.inner)


class IntensityMean:
    """Light of the cell as `IntensityTotal` has it, for each pixel of its area."""

    name = "intensity_mean"
    kind: Kind = "fluorescence"

    def measure(self, cells: Cells) -> Values:
        """Return the means in counts."""
        return cells.outlines.mean(cells.signal * cells.inner)


class IntensityVariance:
    """How unevenly the light is spread: population variance of the raw pixels."""

    name = "intensity_variance"
    kind: Kind = "fluorescence"

    def measure(self, cells: Cells) -> Values:
        """Return the variances in squared counts."""
        outlines = cells.outlines
        deviation = cells.counts - outlines.mean(cells.counts)[outlines.cell]
        return outlines.mean(deviation * deviation)
