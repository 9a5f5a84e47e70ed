"""A picture that is replaced by the newest one asked for, as soon as that has come."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from nicegui import events, ui

Clicked = Callable[[float, float], Awaitable[None]]

_WHERE = (
    '(event) => { const image = event.currentTarget.querySelector("img");'
    " const box = image.getBoundingClientRect();"
    " emit((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height); }"
)


class Viewer:
    """The picture.

    Parameters
    ----------
    height, width
        Size of the pictures to come in px, so that the page does not jump when they do.
    clicked
        Called with the place of a click, in parts of the picture's width and height.
    controls
        DOM id of what does by keyboard what a click does.
    """

    def __init__(
        self,
        description: str,
        *,
        height: int,
        width: int,
        clicked: Clicked | None = None,
        controls: str = "",
    ) -> None:
        root = ui.element("div").classes("mc-viewer").mark("viewer")
        root.style(f"aspect-ratio: {width} / {height}")
        with root:
            image = ui.element("img")
            image.props["alt"] = description
            ui.element("div").classes("mc-ring").mark("ring")
            ui.element("div").classes("mc-note").mark("viewer-note")
        if clicked is not None:
            root.props["data-clickable"] = "true"
            image.props["aria-controls"] = controls

            async def tell(event: events.GenericEventArguments) -> None:
                across, down = event.args
                await clicked(across, down)

            root.on("click", tell, js_handler=_WHERE)
        self._id = root.html_id

    def show(self, url: str, ring: dict[str, float] | None = None) -> None:
        """Show a picture of this server's, with a ring at ``left, top, width`` in parts of it."""
        arguments = json.dumps([self._id, url, ring])
        # The script and the element come with the page, in whatever order.
        ui.run_javascript(f"""
            const begin = () => window.microscopy
                && document.getElementById({json.dumps(self._id)})
                ? window.microscopy.show(...{arguments}) : setTimeout(begin, 50);
            begin();
        """)


def picture_url(kind: str, **asked: Any) -> str:
    """Return where a picture is fetched; what is None is left out."""
    known = {key: value for key, value in asked.items() if value is not None}
    return f"/api/v1/processing/{kind}?{urlencode(known)}"
