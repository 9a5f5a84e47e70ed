"""A file of traces, the model to fit to them, and all fittings."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from nicegui import run, ui

from benchwire.domains.traces.pages.fittings import fitting_list
from benchwire.domains.traces.pages.form import FitForm
from benchwire.domains.traces.service import Fittings
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.web.file_picker import FilePicker
from benchwire.foundation.web.shell import describe


async def draw(fittings: Fittings, csv: str) -> None:
    """Draw the page; a file named in its address is opened at once."""
    view = _View(fittings)
    view.draw(csv)
    if csv:
        await view.open()


class _View:
    """The file that is chosen, and what may be done with it."""

    def __init__(self, fittings: Fittings) -> None:
        self._fittings = fittings

    def draw(self, csv: str) -> None:
        """Draw the page without a file."""
        with ui.element("div").classes("w-full grid grid-cols-1 lg:grid-cols-2 gap-4 items-start"):
            with ui.column().classes("w-full gap-4"):
                with ui.card().classes("w-full"):
                    self._draw_file(csv)
                self._form = ui.column().classes("w-full")
            with ui.card().classes("w-full"):
                ui.label("Fittings").classes("text-lg font-medium")
                self._list = fitting_list(self._fittings)
                self._list.draw("fittings")

    def _draw_file(self, csv: str) -> None:
        ui.label("Traces").classes("text-lg font-medium")
        ui.label("A CSV with the columns time, fov, cell and value.").classes("text-sm opacity-70")
        self._path = ui.input("File on the server", value=csv).classes("w-full")
        self._path.props("outlined dense clearable").on("keydown.enter", self.open)
        self._path.mark("csv-path")
        with ui.row().classes("gap-2"):
            ui.button("Browse", icon="folder_open", on_click=self._browse).props("outline").mark(
                "csv-browse"
            )
            ui.button("Open", on_click=self.open).mark("csv-open")
        self._trouble = ui.label("").classes("text-negative").mark("csv-trouble")
        self._trouble.set_visibility(False)
        self._facts = ui.row().classes("w-full gap-x-6 gap-y-1").mark("csv-facts")

    async def open(self) -> None:
        """Open the file whose path is in the field."""
        path = (self._path.value or "").strip()
        if not path:
            return
        self._facts.clear()
        self._form.clear()
        self._trouble.set_visibility(False)
        try:
            found = await run.io_bound(self._fittings.describe, path)
        except BenchwireError as error:
            self._trouble.set_text(describe(error))
            self._trouble.set_visibility(True)
            return
        if found is None:
            return  # the server is ending
        ui.navigate.history.replace(f"?{urlencode({'csv': path})}")
        with self._facts:
            for title, text in _facts(path, found):
                with ui.column().classes("gap-0"):
                    ui.label(title).classes("text-xs opacity-70")
                    ui.label(text).classes("break-all")
        models = await run.io_bound(self._fittings.models)
        with self._form:
            FitForm(self._fittings, path, models or [], started=self._list.refresh).draw()

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
