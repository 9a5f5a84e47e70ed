"""Histograms, and a trace with the curve fitted to it."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from benchwire.foundation.web.plots import AXIS, LEGEND

_BARS, _POINTS, _CURVE = "#0b8a83", "#2f86d0", "#d55e00"
R_SQUARED = "r_squared"
_FEWEST_DIGITS, _MOST_DIGITS = 3, 9


def parameter_title(name: str) -> str:
    """Return the name of a fitted number as it is written."""
    return "R²" if name == R_SQUARED else name


def histogram(edges: Sequence[float], counts: Sequence[int]) -> dict[str, Any]:
    """Return a histogram's chart; the edges are one more than the counts."""
    spans = [f"{low} to {high}" for low, high in pairwise(_texts(edges))]
    return {
        "animation": False,
        "grid": {"left": 44, "right": 12, "top": 12, "bottom": 40},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}},
        "xAxis": {
            **AXIS,
            "type": "category",
            "data": spans,
            "axisTick": {"show": False},
            # Only where a bar begins: whole spans leave no room for each other.
            "axisLabel": {**AXIS["axisLabel"], ":formatter": "(text) => text.split(' to ')[0]"},
        },
        "yAxis": {**AXIS, "type": "value", "name": "Cells", "nameGap": 30, "minInterval": 1},
        "series": [
            {
                "type": "bar",
                "name": "Cells",
                "data": list(counts),
                "barCategoryGap": "4%",
                "color": _BARS,
            }
        ],
    }


def fitted_trace(trace: dict[str, Any]) -> dict[str, Any]:
    """Return the chart of a trace and of the curve fitted to it."""
    axis = {
        **AXIS,
        "type": "value",
        "scale": True,
        "axisLine": {**AXIS["axisLine"], "onZero": False},
    }
    return {
        "animation": False,
        "grid": {"left": 76, "right": 20, "top": 36, "bottom": 48},
        "legend": {**LEGEND, "top": 0},
        "tooltip": {"trigger": "axis"},
        "xAxis": {**axis, "name": "Time / h", "nameGap": 28},
        "yAxis": {**axis, "name": "Value", "nameGap": 58},
        "series": [
            {
                "type": "scatter",
                "name": "Measured",
                "symbolSize": 7,
                "color": _POINTS,
                "data": list(zip(trace["time"], trace["value"], strict=True)),
            },
            {
                "type": "line",
                "name": "Fitted",
                "showSymbol": False,
                "color": _CURVE,
                "lineStyle": {"width": 2.5},
                "data": list(zip(trace["time"], trace["curve"], strict=True)),
            },
        ],
    }


def _texts(values: Sequence[float]) -> list[str]:
    """Return numbers with as few digits as tell them apart."""
    texts = [_text(value, _FEWEST_DIGITS) for value in values]
    for digits in range(_FEWEST_DIGITS + 1, _MOST_DIGITS + 1):
        if len(set(texts)) == len(texts):
            break
        texts = [_text(value, digits) for value in values]
    return texts


def _text(value: float, digits: int) -> str:
    if not 1e-3 <= abs(value) < 1e7:
        return f"{value:.{digits}g}"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
