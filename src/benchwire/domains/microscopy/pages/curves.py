"""The traces of a FOV's cells as curves."""

from collections.abc import Sequence
from typing import Any

from benchwire.foundation.web.plots import AXIS

Point = tuple[float, float | None]

# What a browser draws at once without stutter; the chosen cell is drawn in any case.
MOST_CURVES = 150
MOST_POINTS = 60_000
# Two for each pixel of the chart's width.
MOST_POINTS_OF_CURVE = 1200
GOOD, BAD, CHOSEN = "#0b8a83", "#d0453c", "#e69f00"
_MARK = "#7a8591"
CHOSEN_ID = "chosen"


def feature_title(feature: str) -> str:
    """Return the name of a column of features in words."""
    name, _, channel = feature.rpartition("_ch_")
    return f"{name.replace('_', ' ')}, channel {channel}" if name else feature


def chart_options(
    cells: Sequence[dict[str, Any]], feature: str, *, chosen: int | None, minutes: float
) -> dict[str, Any]:
    """Return the chart of one feature of all cells over time.

    Parameters
    ----------
    minutes
        Time that is marked.
    """
    drawn = [curve(cell, feature, of=len(cells)) for cell in cells[:MOST_CURVES]]
    axis = {**AXIS, "type": "value", "scale": True}
    axis["axisLine"] = {**AXIS["axisLine"], "onZero": False}
    return {
        "animation": False,
        "grid": {"left": 70, "right": 20, "top": 16, "bottom": 48},
        "tooltip": {"trigger": "item"},
        "xAxis": {**axis, "name": "Time / min", "nameGap": 28},
        "yAxis": {**axis, "name": feature_title(feature), "nameGap": 52},
        "series": [*drawn, chosen_curve(cells, feature, chosen=chosen, minutes=minutes)],
    }


def curve(cell: dict[str, Any], feature: str, *, of: int) -> dict[str, Any]:
    """Return the curve of one cell of so many."""
    most = min(MOST_POINTS_OF_CURVE, MOST_POINTS // min(of, MOST_CURVES))
    is_good = cell["good"]
    return {
        "id": f"cell-{cell['cell']}",
        "name": f"Cell {cell['cell']}",
        "type": "line",
        "data": thinned(cell["time"], cell[feature], most),
        "showSymbol": False,
        "triggerLineEvent": True,
        "color": GOOD if is_good else BAD,
        "lineStyle": {
            "width": 1.3,
            "opacity": 0.55 if is_good else 0.8,
            "type": "solid" if is_good else "dashed",
        },
    }


def chosen_curve(
    cells: Sequence[dict[str, Any]], feature: str, *, chosen: int | None, minutes: float
) -> dict[str, Any]:
    """Return the curve of the chosen cell once more, in front of all, and the marked time."""
    cell = next((item for item in cells if item["cell"] == chosen), None)
    return {
        "id": CHOSEN_ID,
        "name": "" if cell is None else f"Cell {chosen}",
        "type": "line",
        "data": [] if cell is None else thinned(cell["time"], cell[feature], MOST_POINTS_OF_CURVE),
        "showSymbol": False,
        "color": CHOSEN,
        "lineStyle": {"width": 3.5, "type": "solid" if cell is None or cell["good"] else "dashed"},
        "z": 10,
        "markLine": {
            "symbol": "none",
            "silent": True,
            "label": {"show": False},
            "lineStyle": {"color": _MARK, "type": "solid", "width": 1},
            "data": [{"xAxis": minutes}],
        },
    }


def thinned(times: Sequence[float], values: Sequence[float | None], most: int) -> list[Point]:
    """Return a curve in so many points at most, the extremes of every stretch among them."""
    points: list[Point] = list(zip(times, values, strict=True))
    if len(points) <= most:
        return points
    kept: list[Point] = []
    stretches = most // 2
    for number in range(stretches):
        first = number * len(points) // stretches
        stretch = points[first : (number + 1) * len(points) // stretches]
        present = [point for point in stretch if point[1] is not None]
        if present:
            ends = (min(present, key=_height), max(present, key=_height))
            kept += sorted(ends)
        else:
            kept.append(stretch[0])
    return kept


def _height(point: Point) -> float:
    return point[1] or 0.0
