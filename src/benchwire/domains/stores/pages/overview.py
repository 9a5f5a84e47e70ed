"""What is in the stores, a form to copy from them and to them, and all copies."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nicegui import ui

from benchwire.domains.stores.schemas import CopyRequest
from benchwire.domains.stores.service import Copies
from benchwire.foundation.web.file_picker import FilePicker, size_text
from benchwire.foundation.web.job_list import JobList
from benchwire.foundation.web.job_progress import JobProgress
from benchwire.foundation.web.shell import act, ask
from benchwire.foundation.web.states import empty, loading, section

PATH = "/stores"


@dataclass(slots=True)
class Desk:
    """The service behind the page, looked at once for all who have it open."""

    copies: Copies
    listed: JobList[None] = field(init=False)

    def __post_init__(self) -> None:
        self.listed = JobList(
            lambda: [(record, None) for record in self.copies.known()],
            page_of=lambda _: PATH,
            cancel=self.copies.cancel,
            progress=JobProgress,
        )


def draw(desk: Desk) -> None:
    """Draw the page."""
    urls = desk.copies.stores.urls
    if not urls:
        empty("No object store is set. Name some as urls of [stores] in benchwire.toml.")
        return
    view = _View(desk)
    view.draw()
    # A store may take its time, for which no page waits.
    ui.timer(0.1, partial(view.open, urls[0]), once=True)


class _View:
    """A folder of a store, and what is to be copied."""

    def __init__(self, desk: Desk) -> None:
        self._copies = desk.copies
        self._listed = desk.listed
        self._url = ""

    def draw(self) -> None:
        """Draw the page with an empty folder."""
        with ui.element("div").classes("bw-columns"):
            with section("In the store"):
                self._loading = ui.row()
                with self._loading:
                    loading("Asking the store")
                self._way = ui.row().classes("w-full items-center gap-1").mark("store-way")
                self._rows = ui.element("ul").classes("bw-list").mark("store-objects")
            with ui.column().classes("w-full gap-4"):
                with section("Copy"):
                    self._draw_form()
                with section("Copies"):
                    self._listed.draw("copies")

    def _draw_form(self) -> None:
        ui.label("From a store to a folder here, or the other way round.").classes(
            "bw-small bw-muted"
        )
        self._source = ui.input("From").classes("w-full").mark("copy-source")
        self._target = ui.input("To (nothing may be there yet)").classes("w-full")
        self._target.mark("copy-target")
        for field_here in (self._source, self._target):
            field_here.props("outlined dense clearable")
        with ui.row().classes("gap-2"):
            for words, work in (
                ("File from here", partial(self._choose_here, is_file=True)),
                ("Folder from here", partial(self._choose_here, is_file=False)),
                ("To a folder here", self._choose_target),
            ):
                ui.button(words, on_click=work).props("outline no-caps")
            ui.button("Start", icon="play_arrow", on_click=self._start).mark("copy-start")

    async def open(self, url: str) -> None:
        """Show a folder of a store."""
        self._url = url
        self._loading.set_visibility(True)
        found = await ask(self._copies.look, url)
        if self._url != url:
            return  # another one was opened meanwhile
        self._loading.set_visibility(False)
        self._draw_way()
        self._rows.clear()
        with self._rows:
            if found is None or not found["items"]:
                with ui.element("li"):
                    empty("Nothing to be seen here.")
            for item in [] if found is None else found["items"]:
                self._draw_item(item)
            if found is not None and found["has_more"]:
                ui.label("There is more; copies take it along.").classes("bw-small bw-muted")

    def _draw_way(self) -> None:
        """Draw the stores, and the folders that lead to this one."""
        self._way.clear()
        with self._way:
            for store in self._copies.stores.urls:
                ui.button(store, on_click=partial(self.open, store)).props("flat dense no-caps")
                if f"{self._url}/".startswith(f"{store}/"):
                    at = store
                    for part in self._url.removeprefix(store).strip("/").split("/"):
                        if part:
                            at = f"{at}/{part}"
                            ui.button(f"/ {part}", on_click=partial(self.open, at)).props(
                                "flat dense no-caps"
                            )

    def _draw_item(self, item: dict[str, Any]) -> None:
        url, is_folder = item["url"], item["type"] == "folder"
        with ui.element("li"), ui.element("div").classes("bw-line"):
            ui.icon("folder" if is_folder else "description")
            if is_folder:
                ui.button(item["name"], on_click=partial(self.open, url)).props(
                    "flat dense no-caps align=left"
                ).classes("bw-line-main break-all")
            else:
                ui.label(item["name"]).classes("bw-line-main break-all")
                ui.label(size_text(item["size_bytes"])).classes("bw-small bw-muted bw-wide")
            ui.button("Copy", on_click=partial(self._choose, url)).props(
                f'flat dense aria-label="Copy {item["name"]} from the store"'
            )

    def _choose(self, url: str) -> None:
        self._source.value = url

    async def _choose_here(self, *, is_file: bool) -> None:
        accepts, what = (Path.is_file, "file") if is_file else (None, "folder")
        picker = FilePicker(self._copies.allowed, accepts, title=f"Choose the {what} to copy")
        path = await picker.choose(self._source.value or "")
        if path is None:
            return
        self._source.value = path
        if not self._target.value:
            self._target.value = f"{self._url}/{Path(path).name}"

    async def _choose_target(self) -> None:
        picker = FilePicker(self._copies.allowed, None, title="Choose the folder to copy into")
        path = await picker.choose(self._target.value or "")
        if path is not None:
            name = (self._source.value or "").rstrip("/").rpartition("/")[2]
            self._target.value = str(Path(path) / name)

    async def _start(self) -> None:
        source, target = ((x.value or "").strip() for x in (self._source, self._target))
        if not source or not target:
            ui.notify("Both fields are needed", type="warning")
            return
        request = CopyRequest(source=source, target=target)
        if await act(self._copies.start, request) is not None:
            ui.notify("The copy was started", type="positive")
            await self._listed.refresh()
