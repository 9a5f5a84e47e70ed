"""Search over everything the domains keep."""

import json
from itertools import groupby
from urllib.parse import urlencode

from nicegui import run, ui

from benchwire.foundation.catalogue import Item
from benchwire.foundation.web.states import empty, section
from benchwire.home.pages import rows
from benchwire.home.pages.desk import Desk

PATH = "/search"
MOST_SHOWN = 100
LONGEST_TEXT = 200
_ANY = ""


def register(desk: Desk) -> None:
    """Register the page."""

    @ui.page(PATH)
    async def search(q: str = "", kind: str = _ANY) -> None:
        found = _SearchPage(desk, q[:LONGEST_TEXT], kind)
        await found.look()
        with desk.shell.page("Search"):
            found.draw()


class _SearchPage:
    """The field, the kinds, and what was found."""

    def __init__(self, desk: Desk, text: str, kind: str) -> None:
        self._desk = desk
        self._text = text
        self._kind = kind if kind in desk.catalogue.kinds else _ANY
        self._items: list[Item] = []

    async def look(self) -> None:
        """Search for what is asked."""
        text, kinds = self._text, [self._kind] if self._kind else None
        found = await run.io_bound(self._desk.catalogue.search, text, kinds, MOST_SHOWN)
        # What was asked for last stands, however long each search took.
        if found is not None and (text, kinds) == (
            self._text, [self._kind] if self._kind else None
        ):  # fmt: skip
            self._items = found

    def draw(self) -> None:
        """Draw the page."""
        kinds = {_ANY: "All kinds"} | {
            kind: rows.plural(kind) for kind in self._desk.catalogue.kinds
        }
        with ui.element("div").classes("bw-line"):
            field = ui.input("Search everything", value=self._text, on_change=self._type)
            field.props("outlined dense clearable debounce=200 autofocus maxlength=200")
            field.props("data-bw-search type=search").classes("bw-line-main").mark("search")
            ui.select(kinds, value=self._kind, label="Kind", on_change=self._choose).props(
                "outlined dense"
            ).classes("w-48").mark("kind-filter")
        ui.label(
            "Runs, workflows, fits, plates, wells, images, devices and more, by any word of their "
            "names, ids and parameters. Arrow keys walk through what is found."
        ).classes("bw-small bw-muted")
        self._place = (
            ui.element("div").classes("bw-stack").props("data-bw-results aria-live=polite")
        )
        self._place.mark("results")
        self._draw_results()

    async def _type(self, event: object) -> None:
        self._text = str(getattr(event, "value", "") or "")
        await self._renew()

    async def _choose(self, event: object) -> None:
        self._kind = str(getattr(event, "value", _ANY) or _ANY)
        await self._renew()

    async def _renew(self) -> None:
        await self.look()
        if self._place.is_deleted:
            return
        self._draw_results()
        asked = {"q": self._text, "kind": self._kind}
        query = urlencode({key: value for key, value in asked.items() if value})
        address = f"{self._desk.shell.path}{PATH}?{query}"
        ui.run_javascript(f"history.replaceState(history.state, '', {json.dumps(address)})")

    def _draw_results(self) -> None:
        self._place.clear()
        with self._place:
            if not self._text.strip():
                empty("Type what you look for.")
            elif not self._items:
                empty(
                    "Nothing was found.",
                    "Try a shorter word, or all kinds." if self._kind else "Try a shorter word.",
                )
            # The kind of the newest item comes first.
            order = {
                kind: i for i, kind in reversed(list(enumerate(one.kind for one in self._items)))
            }
            grouped = sorted(self._items, key=lambda item: order[item.kind])
            for kind, items in groupby(grouped, key=lambda item: item.kind):
                self._draw_group(kind, list(items))
            if len(self._items) == MOST_SHOWN:
                ui.label(f"The newest {MOST_SHOWN} are shown; another word finds fewer.").classes(
                    "bw-small bw-muted"
                )

    def _draw_group(self, kind: str, items: list[Item]) -> None:
        with (
            section(f"{rows.plural(kind)} ({len(items)})"),
            ui.element("ul").classes("bw-list"),
        ):
            for item in items:
                rows.item_line(self._desk.catalogue, item)
