"""Charts of what was measured, in the colours of the theme and described in words."""

from typing import Any

from nicegui import ui

_LABELS = {":color": "bwToken('--bw-muted')"}
AXIS: dict[str, Any] = {
    "nameLocation": "middle",
    "axisLabel": {**_LABELS, "hideOverlap": True},
    "nameTextStyle": dict(_LABELS),
    "axisLine": {"lineStyle": {":color": "bwToken('--bw-control')"}},
    "splitLine": {"lineStyle": {":color": "bwToken('--bw-line')"}},
}
"""What every axis has; a chart adds type, name and place."""

LEGEND: dict[str, Any] = {"textStyle": {":color": "bwToken('--bw-text')"}}


def drawn_chart(
    description: str, *, height: str, options: dict[str, Any] | None = None
) -> ui.echart:
    """Draw a chart, empty until it is given options.

    Parameters
    ----------
    description
        What the chart shows, for those who cannot see it.
    """
    chart = ui.echart(options or {"xAxis": {}, "yAxis": {}, "series": []})
    chart.classes("w-full").style(f"height: {height}")
    chart.props["data-bw-plot"] = ""
    chart.props["role"] = "img"
    describe_chart(chart, description)
    return chart


def describe_chart(chart: ui.echart, description: str) -> None:
    """Say what a chart shows now."""
    chart.props["aria-label"] = description


def replace_options(chart: ui.echart, options: dict[str, Any]) -> None:
    """Show other data."""
    chart.options.clear()
    chart.options.update(options)
    chart.update()
