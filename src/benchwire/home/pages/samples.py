"""Samples: everything measured on each, and the form to say what an item was measured on."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby

from nicegui import run, ui

from benchwire.foundation.catalogue import Item
from benchwire.foundation.db import ValueRefused
from benchwire.foundation.samples.names import LONGEST_NAME, SampleOverview
from benchwire.foundation.web.item_links import sample_path
from benchwire.foundation.web.shell import act
from benchwire.foundation.web.states import empty, minute, section
from benchwire.home.catalogue import Measured
from benchwire.home.pages import rows
from benchwire.home.pages.desk import Desk

PATH = "/samples"
PAGE_SIZE = 50
OFFERED = 8


def register(desk: Desk) -> None:
    """Register the pages."""

    @ui.page(PATH)
    async def samples(search: str = "") -> None:
        found = _SamplesPage(desk, search[:LONGEST_NAME])
        await found.look()
        with desk.shell.page("Samples"):
            found.draw()

    @ui.page(f"{PATH}/view")
    async def sample(sample: str = "") -> None:
        found = _SamplePage(desk, sample)
        await found.look()
        with desk.shell.page(found.sample or "Sample"):
            found.draw()


class _SamplesPage:
    """All samples that something was measured on."""

    def __init__(self, desk: Desk, search: str) -> None:
        self._desk = desk
        self._search = search
        self._pages = 1
        self._samples: Sequence[SampleOverview] = ()

    async def look(self) -> None:
        """Look for the samples that are shown, and one more."""
        self._samples = await run.io_bound(self._find) or ()

    def _find(self) -> Sequence[SampleOverview]:
        limit = self._pages * PAGE_SIZE + 1
        try:
            return self._desk.lab.samples.all(self._search.strip(), limit=limit)
        except ValueRefused:
            return ()  # no name has what cannot be stored

    def draw(self) -> None:
        """Draw the page."""
        field = ui.input("Filter", value=self._search, on_change=self._type)
        field.props("outlined dense clearable debounce=200").classes("w-80 max-w-full")
        field.mark("sample-filter")
        with ui.card().classes("bw-section"):
            self._list = ui.element("ul").classes("bw-list").mark("samples")
            self._older = ui.button("More", icon="expand_more", on_click=self._show_more)
            self._older.props("outline")
        with section("Name a sample"):
            ui.label(
                "Say what something was measured on, at any time: an id of your own, or a well "
                "as barcode/well, such as PLATE-7/A1."
            ).classes("bw-muted")
            _NamingForm(self._desk, None, self._renew).draw()
        self._draw_list()

    async def _type(self, event: object) -> None:
        self._search = str(getattr(event, "value", "") or "")
        self._pages = 1
        await self._renew()

    async def _show_more(self) -> None:
        self._pages += 1
        await self._renew()

    async def _renew(self) -> None:
        await self.look()
        if not self._list.is_deleted:
            self._draw_list()

    def _draw_list(self) -> None:
        limit = self._pages * PAGE_SIZE
        self._list.clear()
        with self._list:
            if not self._samples:
                with ui.element("li"):
                    empty(
                        "No sample has that in its name." if self._search else "No samples yet.",
                        "Name them when you start a measurement, or below for what is there.",
                    )
            for sample in self._samples[:limit]:
                with ui.element("li").classes("bw-line"):
                    with ui.element("div").classes("bw-line-main"):
                        rows.title(sample.sample, sample_path(sample.sample))
                    ui.label(f"{sample.items} measured").classes("bw-small bw-muted bw-number")
                    rows.when(sample.named_at)
        self._older.set_visibility(len(self._samples) > limit)


class _SamplePage:
    """Everything that was measured on one sample."""

    def __init__(self, desk: Desk, sample: str) -> None:
        self._desk = desk
        self.sample = sample.strip()[:LONGEST_NAME]
        self._pages = 1
        self._found: Sequence[Measured] = ()
        self._has_more = False

    async def look(self) -> None:
        """Look for what was measured on it and is shown, and one more."""
        limit = self._pages * PAGE_SIZE
        found = await run.io_bound(self._find, limit + 1) or ()
        self._has_more = len(found) > limit
        self._found = sorted(found[:limit], key=lambda one: one.link.kind)

    def _find(self, limit: int) -> list[Measured]:
        if not self.sample:
            return []
        try:
            self.sample = self._desk.lab.samples.id_of(self.sample)
            return self._desk.catalogue.measured_on(self.sample, limit)
        except ValueRefused:
            return []  # nothing is named with what cannot be stored

    def draw(self) -> None:
        """Draw the page."""
        ui.link("All samples", PATH).classes("bw-small")
        self._place = ui.element("div").classes("bw-stack").mark("measured")
        self._more = ui.button("More", icon="expand_more", on_click=self._show_more)
        self._more.props("outline")
        if self.sample:
            with section("Add what was measured on it"):
                _NamingForm(self._desk, self.sample, self._renew).draw()
        self._draw_found()

    async def _show_more(self) -> None:
        self._pages += 1
        await self._renew()

    async def _renew(self) -> None:
        await self.look()
        if not self._place.is_deleted:
            self._draw_found()

    def _draw_found(self) -> None:
        self._more.set_visibility(self._has_more)
        self._place.clear()
        with self._place:
            if not self._found:
                empty("Nothing was measured on it so far.")
            for kind, found in groupby(self._found, key=lambda one: one.link.kind):
                measured = list(found)
                # Of a kind of which more may come, nobody has counted how many there are.
                count = "" if self._has_more else f" ({len(measured)})"
                with (
                    section(f"{rows.plural(kind)}{count}"),
                    ui.element("ul").classes("bw-list"),
                ):
                    for one in measured:
                        self._draw_measured(one)

    def _draw_measured(self, measured: Measured) -> None:
        link, item = measured.link, measured.item
        said = f"named {minute(link.named_at)}" + (f" by {link.named_by}" if link.named_by else "")
        with ui.element("li").classes("bw-line"):
            with ui.element("div").classes("bw-line-main"):
                rows.title(item.title if item else f"{link.item_id} (not here any more)",
                           rows.page_of(item))  # fmt: skip
                with ui.element("div").classes("bw-facts"):
                    for fact in (link.part, item.detail if item else "", said):
                        if fact:
                            ui.label(fact)
            with ui.element("div").classes("bw-line-side"):
                if item is not None:
                    rows.when(item.at)
                    rows.crate_link(self._desk.catalogue, item)
                remove = ui.button(
                    "Remove", on_click=lambda: self._unlink(link.id), color="negative"
                )
                remove.props("dense flat")
                remove.props["aria-label"] = f"Remove from this sample: {link.item_id}"

    async def _unlink(self, link_id: int) -> None:
        await act(self._desk.lab.samples.unlink, link_id)
        await self._renew()


class _NamingForm:
    """Finds an item by a word and says what it was measured on."""

    def __init__(self, desk: Desk, sample: str | None, done: Callable[[], Awaitable[None]]) -> None:
        self._desk = desk
        self._sample = sample
        self._done = done

    def draw(self) -> None:
        """Draw the form."""
        with ui.element("div").classes("bw-line items-start"):
            self._name = ui.input("Sample", value=self._sample or "").props("outlined dense")
            self._name.classes("bw-line-main").mark("sample-name")
            self._name.set_visibility(self._sample is None)
            self._text = ui.input("Find a run, workflow, fit ...", on_change=self._offer)
            self._text.props("outlined dense clearable debounce=200").classes("bw-line-main")
            self._text.mark("item-search")
            self._part = ui.input("Slot or FOV").props("outlined dense").classes("w-36")
            self._part.props('hint="empty for all"')
        self._offers = ui.element("ul").classes("bw-list").mark("offers")

    async def _offer(self) -> None:
        text = self._text.value or ""
        found = await run.io_bound(self._desk.catalogue.search, text, None, OFFERED) or []
        if self._offers.is_deleted or text != (self._text.value or ""):
            return
        self._offers.clear()
        with self._offers:
            if text.strip() and not found:
                with ui.element("li"):
                    empty("Nothing was found.", "Try a shorter word.")
            for item in found:
                self._draw_offer(item)

    def _draw_offer(self, item: Item) -> None:
        with ui.element("li").classes("bw-line"):
            ui.label(item.kind).classes("bw-small bw-muted w-20")
            ui.label(item.title).classes("bw-line-main")
            rows.when(item.at)
            button = ui.button("Measured on it", icon="add", on_click=lambda: self._name_it(item))
            button.props("dense outline")
            button.props["aria-label"] = f"Measured on it: {item.title}"

    async def _name_it(self, item: Item) -> None:
        link = await act(self._link, item)
        if link is not None:
            ui.notify("Named", type="positive")
            self._text.set_value("")
            await self._done()

    def _link(self, item: Item) -> object:
        return self._desk.catalogue.name_sample(
            self._name.value or "", item.kind, item.id, part=(self._part.value or "").strip(),
            by="dashboard",
        )  # fmt: skip
