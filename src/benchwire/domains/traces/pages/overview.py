"""A file of traces, the model to fit to them, and all fittings."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from nicegui import run, ui

from benchwire.domains.traces.pages.fittings import Desk
from benchwire.domains.traces.pages.form import FitForm
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.web.file_picker import FilePicker
from benchwire.foundation.web.shell import describe
from benchwire.foundation.web.states import loading, section


async def draw(desk: Desk, csv: str) -> None:
    """Draw the page; a file named in its address is opened at once."""
    view = _View(desk)
    view.draw(csv)
    if csv:
        await view.open()


class _View:
    """The file that is chosen, and what may be done with it."""

    def __init__(self, desk: Desk) -> None:
        self._fittings = desk.fittings
        self._listed = desk.listed

    def draw(self, csv: str) -> None:
        """Draw the page without a file."""
        with ui.element("div").classes("bw-columns"):
            with ui.column().classes("w-full gap-4"):
                with section("File of traces"):
                    self._draw_file(csv)
                self._form = ui.column().classes("w-full empty:hidden")
            with section("Fittings"):
                self._listed.draw("fittings")

    def _draw_file(self, csv: str) -> None:
        ui.label("A CSV with the columns time, fov, cell and value.").classes("bw-small bw-muted")
        self._path = ui.input("File on the server", value=csv).classes("w-full")
        self._path.props("outlined dense clearable").on("keydown.enter", self.open)
        self._path.mark("csv-path")
        with ui.row().classes("gap-2"):
            ui.button("Browse", icon="folder_open", on_click=self._browse).props("outline").mark(
                "csv-browse"
            )
            ui.button("Open", on_click=self.open).mark("csv-open")
        self._trouble = ui.label("").classes("text-negative bw-failure w-full").props("role=alert")
        self._trouble.mark("csv-trouble").set_visibility(False)
        self._facts = ui.row().classes("w-full gap-x-6 gap-y-1").mark("csv-facts")

    async def open(self) -> None:
        """Open the file whose path is in the field."""
        path = (self._path.value or "").strip()
        if not path:
            return
        self._facts.clear()
        self._form.clear()
        self._trouble.set_visibility(False)
        with self._facts:
            loading("Reading the file")
        try:
            found = await run.io_bound(self._fittings.describe, path)
        except BenchwireError as error:
            self._trouble.set_text(describe(error))
            self._trouble.set_visibility(True)
            self._facts.clear()
            return
        if found is None:
            return  # the server is ending
        ui.navigate.history.replace(f"?{urlencode({'csv': path})}")
        self._facts.clear()
        with self._facts:
            for title, text in _facts(path, found):
                with ui.column().classes("gap-0"):
                    ui.label(title).classes("bw-small bw-muted")
                    ui.label(text).classes("break-all")
        models = await run.io_bound(self._fittings.models)
        with self._form:
            FitForm(self._fittings, path, models or [], started=self._listed.refresh).draw()

    async def _browse(self) -> None:
        picker = FilePicker(self._fittings.allowed, _is_csv, title="Choose a file of traces")
        path = await picker.choose(self._path.value or "")
        if path is not None:
            self._path.value = path
            await self.open()


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _facts(path: str, found: dict[str, Any]) -> list[tuple[str, str]]:
    facts = [
        ("File", Path(path).name),
        ("Cells", str(found["n_cells"])),
        ("Points in time", str(found["n_timepoints"])),
    ]
    if "n_fovs" in found:
        facts.append(("FOVs", str(found["n_fovs"])))
    for key, title, unit in (("time_range", "Time", " h"), ("value_range", "Values", "")):
        if found.get(key):
            low, high = found[key]
            facts.append((title, f"{low:.4g} to {high:.4g}{unit}"))
    return facts
