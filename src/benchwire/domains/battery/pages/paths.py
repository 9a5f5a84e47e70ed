"""Where the pages are, and how their programs are started in the browser."""

import json
from typing import Any

from nicegui import ui

PATH = "/battery"
STATIC = "/battery-static"


def style(base: str) -> None:
    """Have the page use the battery's style sheet."""
    ui.add_head_html(f'<link rel="stylesheet" href="{base}{STATIC}/battery.css">')


def slot(name: str, classes: str = "") -> ui.element:
    """Place an element that the page's program fills."""
    element = ui.element("div").classes(classes)
    element.props["data-bw"] = name
    return element


def start(root: ui.element, module: str, function: str, base: str, **options: Any) -> None:
    """Run a function of a module of the page on everything below an element.

    Parameters
    ----------
    base
        Where the dashboard is mounted.
    """
    url = json.dumps(f"{base}{STATIC}/{module}")
    settings = json.dumps({"page": f"{base}{PATH}", **options})
    ui.run_javascript(f"""
        const begin = (page) => {{
            const root = document.getElementById({json.dumps(root.html_id)});
            if (root) page[{json.dumps(function)}](root, {settings});
            else setTimeout(() => begin(page), 50);
        }};
        import({url}).then(begin);
    """)
