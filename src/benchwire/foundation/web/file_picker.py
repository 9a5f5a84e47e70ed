"""A window in which a person chooses a file or a folder of the server's own."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nicegui import events, run, ui

from benchwire.foundation.files import AllowedFolders
from benchwire.foundation.web.shell import discard
from benchwire.foundation.web.states import heading

Accepts = Callable[[Path], bool]

SHOWN_ENTRIES = 500
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_COLUMNS: list[dict[str, Any]] = [
    {"name": "name", "label": "Name", "field": "name", "align": "left", "style": "width: 100%"},
    {"name": "size", "label": "Size", "field": "size", "align": "right", "classes": "bw-wide",
     "headerClasses": "bw-wide"},
    {"name": "changed", "label": "Changed (UTC)", "field": "changed", "align": "left",
     "classes": "bw-wide", "headerClasses": "bw-wide"},
]  # fmt: skip
_NAME_CELL = """
<q-td :props="props">
  <q-btn flat dense no-caps class="full-width" :data-name="props.row.name"
         @click="$parent.$emit('open', props.row.number)">
    <div class="row no-wrap items-center full-width">
      <q-icon :name="props.row.icon" size="sm" />
      <span class="text-left break-all q-ml-sm">{{ props.row.name }}</span>
    </div>
  </q-btn>
</q-td>
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder to go into, or something that may be chosen; times in seconds since 1970."""

    path: Path
    name: str
    is_folder: bool
    size_bytes: int
    changed_at: float


class FilePicker:
    """A window to choose from, kept within the allowed folders.

    Parameters
    ----------
    accepts
        Whether a file, or a folder that counts as one, may be chosen; None where folders are
        what is asked for.
    """

    def __init__(self, allowed: AllowedFolders, accepts: Accepts | None, *, title: str) -> None:
        self._allowed = allowed
        self._accepts = accepts
        self._title = title
        self._folder: Path | None = None
        self._entries: list[Entry] = []
        self._shown: list[Entry] = []
        self._visits = 0

    async def choose(self, near: str = "") -> str | None:
        """Let the person choose, beginning near a path; None when nothing was chosen."""
        with ui.dialog() as dialog, ui.card().classes("w-full").style("max-width: 52rem"):
            self._dialog = dialog
            self._draw()
            await self._visit(await run.io_bound(self._beginning, near))
            chosen = await dialog
        discard(dialog)
        return None if chosen is None else str(chosen)

    def _draw(self) -> None:
        heading(self._title)
        self._crumbs = ui.row().classes("w-full items-center gap-0").mark("picker-folder")
        self._filter = ui.input("Part of the name", on_change=self._show)
        self._filter.props("dense outlined clearable").classes("w-full").mark("picker-filter")
        self._table = ui.table(columns=_COLUMNS, rows=[], row_key="number")
        self._table.classes("w-full").style("height: min(24rem, 50vh)").mark("picker-entries")
        self._table.props('flat dense hide-bottom :rows-per-page-options="[0]"')
        self._table.add_slot("body-cell-name", _NAME_CELL)
        self._table.on("open", self._open)
        self._note = ui.label("").classes("text-sm bw-muted").mark("picker-note")
        with ui.row().classes("w-full justify-end"):
            if self._accepts is None:
                ui.button("Use this folder", on_click=self._use_folder).mark("picker-use")
            ui.button("Close", color=None, on_click=self._dialog.close).props("flat")

    def _beginning(self, near: str) -> Path | None:
        """Return the folder to begin in; None stands for the list of allowed folders."""
        path = Path(near or Path.home())
        for folder in (path, *path.parents):
            try:
                if folder.is_absolute() and folder.is_dir() and self._allowed.is_allowed(folder):
                    is_choice = self._accepts is not None and self._accepts(folder)
                    return folder.parent if is_choice else folder
            except (OSError, ValueError):
                continue
        folders = self._allowed.folders
        return folders[0] if len(folders) == 1 else None

    async def _visit(self, folder: Path | None) -> None:
        self._visits += 1
        visit = self._visits
        found = await run.io_bound(self._look, folder)
        if found is None or visit != self._visits:
            return  # the server is ending, or the person has gone on
        self._folder = folder
        self._entries, trouble = found
        self._filter.value = ""
        self._draw_crumbs()
        self._show()
        if trouble:
            self._note.set_text(trouble)

    def _look(self, folder: Path | None) -> tuple[list[Entry], str]:
        if folder is None:
            return [Entry(path, str(path), True, 0, 0.0) for path in self._allowed.folders], ""
        if not self._allowed.is_allowed(folder):
            return [], "This folder may not be used."
        try:
            return listing(folder, self._allowed, self._accepts), ""
        except OSError as error:
            return [], f"The folder cannot be read: {error.strerror}"

    def _draw_crumbs(self) -> None:
        self._crumbs.clear()
        with self._crumbs:
            if len(self._allowed.folders) > 1:
                self._draw_crumb("Folders", None)
            for number, folder in enumerate(self._way()):
                if number:
                    ui.icon("chevron_right").classes("bw-muted")
                self._draw_crumb(folder.name or str(folder), folder)

    def _draw_crumb(self, text: str, folder: Path | None) -> None:
        button = ui.button(text, color=None, on_click=lambda: self._visit(folder))
        button.props("flat dense no-caps")

    def _way(self) -> list[Path]:
        """Return the folders from the allowed one down to the one that is looked at."""
        if self._folder is None:
            return []
        way = [self._folder, *self._folder.parents]
        return [folder for folder in reversed(way) if self._allowed.is_allowed(folder)]

    def _show(self) -> None:
        part = (self._filter.value or "").lower()
        found = [entry for entry in self._entries if part in entry.name.lower()]
        self._shown = found[:SHOWN_ENTRIES]
        self._table.rows = [_row(number, entry) for number, entry in enumerate(self._shown)]
        if len(found) > SHOWN_ENTRIES:
            text = f"{SHOWN_ENTRIES} of {len(found)} are shown; type a part of the name."
        else:
            text = "" if found else "Nothing to choose here."
        self._note.set_text(text)

    async def _open(self, event: events.GenericEventArguments) -> None:
        number = int(event.args)
        if number >= len(self._shown):
            return  # a click on what another folder has taken the place of
        entry = self._shown[number]
        if entry.is_folder:
            await self._visit(entry.path)
        else:
            self._dialog.submit(entry.path)

    def _use_folder(self) -> None:
        if self._folder is not None:
            self._dialog.submit(self._folder)


def listing(folder: Path, allowed: AllowedFolders, accepts: Accepts | None) -> list[Entry]:
    """Return the folders, then what may be chosen, each by name; what is hidden is left out.

    Raises
    ------
    OSError
        The folder cannot be read.
    """
    found = list(_entries(folder, allowed, accepts))
    return sorted(found, key=lambda entry: (not entry.is_folder, entry.name.lower(), entry.name))


def _entries(folder: Path, allowed: AllowedFolders, accepts: Accepts | None) -> Iterator[Entry]:
    with os.scandir(folder) as scan:
        for item in scan:
            if item.name.startswith("."):
                continue
            path = Path(item.path)
            try:
                item.name.encode()
                is_outside = item.is_symlink() and not allowed.is_allowed(path)
                seen = item.stat()
            except (OSError, ValueError):
                continue  # gone meanwhile, a link to nowhere, or a name that no text can hold
            is_choice = accepts is not None and accepts(path)
            is_folder = stat.S_ISDIR(seen.st_mode)
            is_known = is_folder or (is_choice and stat.S_ISREG(seen.st_mode))
            if is_known and not is_outside:
                yield Entry(
                    path, item.name, is_folder and not is_choice, seen.st_size, seen.st_mtime
                )


def size_text(size_bytes: float) -> str:
    """Return a size in the unit that suits it."""
    for unit in _BINARY_UNITS[:-1]:
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} {_BINARY_UNITS[-1]}"


def _row(number: int, entry: Entry) -> dict[str, Any]:
    changed = datetime.fromtimestamp(entry.changed_at, UTC)
    return {
        "number": number,
        "name": entry.name,
        "icon": "folder" if entry.is_folder else "description",
        "size": "" if entry.is_folder else size_text(entry.size_bytes),
        "changed": f"{changed:%Y-%m-%d %H:%M}" if entry.changed_at else "",
    }
