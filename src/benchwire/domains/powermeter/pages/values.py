"""Elements that the browser fills in by itself from a meter's stream of events."""

import json
from typing import Any

from nicegui import ui

from benchwire.foundation.web.charts import plot

STYLE = """
<style>
  .pm-value { font-variant-numeric: tabular-nums; }
  .pm-big { font-size: clamp(1.8rem, 5vw, 3rem); font-weight: 600; line-height: 1.1; }
  .pm-chip { padding: 0 .55rem; border-radius: 999px; font-size: .75rem; font-weight: 600;
             line-height: 1.375rem; color: var(--bw-muted); background: var(--bw-idle-soft); }
  .pm-chip[data-state="connected"] { color: var(--bw-good); background: var(--bw-good-soft); }
  .pm-chip[data-state="away"] { color: var(--bw-bad); background: var(--bw-bad-soft); }
  [data-connected="false"] .pm-big { color: var(--bw-muted); }
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


def chart(height: str, description: str) -> ui.element:
    """Place an empty chart, and say what it will show."""
    return plot(height, description).mark("meter-chart")


def watch(root: ui.element, meter: str, url: str, drawn: ui.element, **options: Any) -> None:
    """Have everything below an element follow a meter."""
    arguments = json.dumps([root.html_id, meter, url, {"chart": drawn.html_id, **options}])
    # The script and the elements come with the page; the chart's own program a moment later.
    ui.run_javascript(f"""
        const begin = () => window.powermeter && document.getElementById({json.dumps(root.html_id)})
            ? window.powermeter.watch(...{arguments}) : setTimeout(begin, 50);
        begin();
    """)
