"""Pixels as the 16-bit counts that the processing works on."""

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.microscopy.errors import PixelsUnsuitable
from benchwire.domains.microscopy.plan import Pixels

_HIGHEST = 65535


def as_counts(pixels: Pixels) -> NDArray[np.uint16]:
    """Return the same numbers as uint16.

    Raises
    ------
    PixelsUnsuitable
        A number is not whole, or not within 0 to 65535: it could only be stored by changing it.
    """
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        return pixels.astype(np.uint16, copy=False)
    if pixels.dtype.kind not in "buif":
        raise PixelsUnsuitable(f"Pixels of type {pixels.dtype} are not counts")
    if pixels.size == 0 or pixels.dtype.kind == "b":
        return pixels.astype(np.uint16)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise PixelsUnsuitable("Some pixels are not finite numbers, so they are not counts")
    lowest, highest = pixels.min(), pixels.max()
    if lowest < 0 or highest > _HIGHEST:
        raise PixelsUnsuitable(
            f"Pixels from {lowest} to {highest} do not fit 16-bit counts",
            hint="Export the images as 16-bit, with a scale of your choice.",
        )
    counts = pixels.astype(np.uint16)
    if pixels.dtype.kind == "f" and not np.array_equal(counts, pixels):
        raise PixelsUnsuitable(
            "Some pixels are not whole numbers, so they are not counts",
            hint="Export the images as 16-bit, with a scale of your choice.",
        )
    return counts
