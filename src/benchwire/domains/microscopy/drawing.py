"""Pictures of frames for people: planes with a contrast, and cells with outlines and names."""

import colorsys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# What is left out at each end when nobody has chosen a contrast, in percent of the pixels.
_LOW_PERCENT, _HIGH_PERCENT = 0.3, 99.7
# Neighbouring ids get hues far from each other: the golden angle as a share of the circle.
_HUE_STEP = 0.381966
_FONT_SCALE = 0.5


def contrast(plane: NDArray[Any]) -> tuple[float, float]:
    """Return the counts that are drawn black and white when nobody has chosen any."""
    # Between two truth values there is nothing.
    counts = plane.view(np.uint8) if plane.dtype == bool else plane
    low, high = np.percentile(counts, (_LOW_PERCENT, _HIGH_PERCENT))
    return float(low), float(high)


def grey(plane: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return a plane in grey, (H, W), from ``low`` black to ``high`` white."""
    span = max(high - low, 1e-12)
    scaled = (plane.astype(np.float32) - np.float32(low)) * np.float32(255.0 / span)
    drawn: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
    return drawn


def outlined(
    picture: NDArray[np.uint8], labels: NDArray[np.uint16], *, with_names: bool
) -> NDArray[np.uint8]:
    """Return a grey picture in colour, (H, W, 3) BGR, its cells outlined and named by their ids."""
    shown = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    inner = cv2.erode(labels, np.ones((3, 3), np.uint8))
    is_edge = (labels > 0) & (inner != labels)
    ids = np.unique(labels[is_edge])
    colours = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    for cell in ids:
        colours[cell] = _colour(int(cell))
    shown[is_edge] = colours[labels[is_edge]]
    if with_names:
        for cell in ids:
            rows, columns = np.nonzero(labels == cell)
            _write(shown, str(cell), (int(columns.mean()), int(rows.mean())), _colour(int(cell)))
    return np.asarray(shown, np.uint8)


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as a PNG file."""
    _, content = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return content.tobytes()


def _colour(cell: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(cell * _HUE_STEP % 1.0, 0.75, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def _write(picture: Any, text: str, centre: tuple[int, int], colour: tuple[int, int, int]) -> None:
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), _ = cv2.getTextSize(text, font, _FONT_SCALE, 1)
    place = (centre[0] - width // 2, centre[1] + height // 2)
    # A dark rim keeps the number readable on light cells.
    for thickness, ink in ((3, (0, 0, 0)), (1, colour)):
        cv2.putText(picture, text, place, font, _FONT_SCALE, ink, thickness, cv2.LINE_AA)
