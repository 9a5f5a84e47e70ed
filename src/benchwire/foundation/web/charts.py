"""Live charts: an empty chart here, filled in the browser from a stream of events."""

import json

from nicegui import ui


def live_chart(*, height: str = "24rem") -> ui.echart:
    """Place a chart that `follow` can fill."""
    chart = ui.echart({"xAxis": {"type": "value"}, "yAxis": {"type": "value"}, "series": []})
    return chart.classes("w-full").style(f"height: {height}").mark("live-chart")


def follow(chart: ui.echart, url: str) -> None:
    """Fill a chart from the event stream at a URL of this server, in place of any before."""
    ui.run_javascript(
        f"setTimeout(() => benchwire.follow({json.dumps(chart.html_id)}, {json.dumps(url)}), 300)"
    )
