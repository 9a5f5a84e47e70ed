"""Live charts: a place here, filled in the browser from a stream of events.

The chart library is larger than all the rest of a page. The browser loads it once the page is
shown, so nobody waits for it who came for a number.
"""

import json

import nicegui.elements.echart  # noqa: F401 - has the library named in every page's import map
from nicegui import ui


def plot(height: str, description: str) -> ui.element:
    """Place an empty chart, for scripts to fill by ``benchwire.chartIn``.

    Parameters
    ----------
    description
        What it will show, for those who do not see it.
    """
    place = ui.element("div").classes("bw-plot").style(f"height: {height}")
    place.props["role"] = "img"
    place.props["aria-label"] = description
    return place


def live_chart() -> ui.element:
    """Place a chart that `follow` can fill."""
    return plot("24rem", "Curve being measured").mark("live-chart")


def follow(chart: ui.element, url: str) -> None:
    """Fill a chart from the event stream at a URL of this server, in place of any before."""
    ui.run_javascript(f"benchwire.follow({json.dumps(chart.html_id)}, {json.dumps(url)})")
