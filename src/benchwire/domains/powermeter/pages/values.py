"""Elements that the browser fills in by itself from a meter's stream of events."""

import json
from typing import Any

from nicegui import ui

STYLE = """
<style>
  .pm-value { font-variant-numeric: tabular-nums; }
  .pm-big { font-size: clamp(1.8rem, 5vw, 3rem); font-weight: 600; line-height: 1.1; }
  .pm-chip { padding: .15rem .7rem; border-radius: 999px; font-size: .85rem; color: #fff;
             background: #6b7280; }
  .pm-chip[data-state="connected"] { background: #117a43; }
  .pm-chip[data-state="away"] { background: #b3261e; }
  [data-connected="false"] .pm-big { opacity: .45; }
  .pm-alarm { display: none; }
  [data-alarm="true"] .pm-alarm { display: flex; }
</style>
"""


def live(name: str, classes: str = "", text: str = "-") -> ui.label:
    """Place a text that the stream keeps up to date."""
    label = ui.label(text).classes(f"pm-value {classes}")
    label.props["data-bw"] = name
    return label


def chip() -> ui.label:
    """Place the word for how it stands with the meter."""
    return live("condition", "pm-chip", "connecting").mark("condition")


def chart(height: str) -> ui.echart:
    """Place an empty chart."""
    empty = {"xAxis": {"type": "time"}, "yAxis": {"type": "value"}, "series": []}
    return ui.echart(empty).classes("w-full").style(f"height: {height}").mark("meter-chart")


def watch(root: ui.element, meter: str, url: str, drawn: ui.echart, **options: Any) -> None:
    """Have everything below an element follow a meter."""
    arguments = json.dumps([root.html_id, meter, url, {"chart": drawn.id, **options}])
    # The script and the elements come with the page; the chart's own program a moment later.
    ui.run_javascript(f"""
        const begin = () => window.powermeter && document.getElementById({json.dumps(root.html_id)})
            ? window.powermeter.watch(...{arguments}) : setTimeout(begin, 50);
        begin();
    """)
