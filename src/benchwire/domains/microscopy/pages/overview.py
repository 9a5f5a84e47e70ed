"""Choosing a movie, looking at it, processing it, and all workflows."""

from pathlib import Path
from urllib.parse import urlencode

from nicegui import run, ui

from benchwire.domains.microscopy.pages.desk import STYLE, Desk, Fovs, movie_path
from benchwire.domains.microscopy.pages.form import WorkflowForm
from benchwire.domains.microscopy.pages.preview import Preview
from benchwire.domains.microscopy.plan import MS_PER_MINUTE, MovieInfo
from benchwire.domains.microscopy.readers import is_movie
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.web.file_picker import FilePicker, size_text
from benchwire.foundation.web.job_list import JobList
from benchwire.foundation.web.shell import describe
from benchwire.foundation.web.states import loading, section

RECENT = 8


async def draw(desk: Desk, workflows: JobList[Fovs], path: str) -> None:
    """Draw the page; a movie named in its address is opened at once."""
    ui.add_head_html(STYLE)
    view = _View(desk, workflows)
    view.draw(path)
    if path:
        await view.open()
    else:
        await view.show_recent()


class _View:
    """The movie that is chosen, and what may be done with it."""

    def __init__(self, desk: Desk, workflows: JobList[Fovs]) -> None:
        self._desk = desk
        self._workflows = workflows

    def draw(self, path: str) -> None:
        """Draw the page without a movie."""
        with ui.element("div").classes("bw-columns"):
            with ui.column().classes("w-full gap-4"):
                with section("Movie"):
                    self._draw_file(path)
                self._preview = ui.column().classes("w-full empty:hidden")
            with ui.column().classes("w-full gap-4"):
                self._form = ui.column().classes("w-full empty:hidden")
                with section("Workflows"):
                    self._workflows.draw("workflows")

    def _draw_file(self, path: str) -> None:
        self._path = ui.input("File on the server", value=path).classes("w-full")
        self._path.props("outlined dense clearable").on("keydown.enter", self.open)
        self._path.mark("movie-path")
        with ui.row().classes("gap-2"):
            ui.button("Browse", icon="folder_open", on_click=self._browse).props("outline").mark(
                "movie-browse"
            )
            ui.button("Open", on_click=self.open).mark("movie-open")
        self._trouble = ui.label("").classes("text-negative bw-failure w-full").props("role=alert")
        self._trouble.mark("movie-trouble").set_visibility(False)
        self._facts = ui.row().classes("w-full gap-x-6 gap-y-1").mark("movie-facts")
        self._recent = ui.row().classes("w-full gap-x-4 gap-y-0 items-baseline").mark("recent")

    async def open(self) -> None:
        """Open the movie whose path is in the field."""
        path = (self._path.value or "").strip()
        if not path:
            return
        for part in (self._preview, self._form, self._facts):
            part.clear()
        self._trouble.set_visibility(False)
        with self._facts:
            loading("Opening the movie")
        try:
            info = await run.io_bound(self._desk.movies.info, path)
        except BenchwireError as error:
            self._trouble.set_text(describe(error))
            self._trouble.set_visibility(True)
            self._facts.clear()
            await self.show_recent()
            return
        if info is None:
            return  # the server is ending
        ui.navigate.history.replace(f"?{urlencode({'path': path})}")
        facts = await run.io_bound(_facts, info)
        self._facts.clear()
        with self._facts:
            for title, text in facts or []:
                with ui.column().classes("gap-0"):
                    ui.label(title).classes("bw-small bw-muted")
                    ui.label(text).classes("break-all")
        with self._preview:
            preview = Preview(self._desk.movies, path, info)
            preview.draw()
        with self._form:
            WorkflowForm(self._desk, path, info, started=self._workflows.refresh).draw()
        await preview.refresh()
        await self.show_recent()

    async def show_recent(self) -> None:
        """Show the movies that were opened last."""
        found = await run.io_bound(self._desk.movies.recent, RECENT, [])
        self._recent.clear()
        with self._recent:
            if found:
                ui.label("Opened last:").classes("bw-small bw-muted")
            for item in found or []:
                link = ui.link(item["name"], movie_path(item["path"])).classes("break-all")
                with link:
                    ui.tooltip(item["path"])

    async def _browse(self) -> None:
        picker = FilePicker(self._desk.movies.allowed, is_movie, title="Choose a movie")
        path = await picker.choose(self._path.value or "")
        if path is not None:
            self._path.value = path
            await self.open()


def _facts(info: MovieInfo) -> list[tuple[str, str]]:
    pixel = "" if info.pixel_size_um is None else f", {info.pixel_size_um:.4g} µm/px"
    channels = ", ".join(f"{number} {name}" for number, name in enumerate(info.channel_names))
    return [
        ("Name", info.base_name),
        ("Kind", f"{info.file_type}, {info.dtype}{_size(info.path)}"),
        ("Image", f"{info.width} x {info.height} px{pixel}"),
        ("Frames", f"{info.n_frames}{_times(info)}"),
        ("FOVs", str(info.n_fovs)),
        ("Channels", channels),
    ]


def _size(path: Path) -> str:
    try:
        return f", {size_text(path.stat().st_size)}" if path.is_file() else ""
    except OSError:
        return ""


def _times(info: MovieInfo) -> str:
    if info.n_frames < 2:
        return ""
    minutes = (info.timepoints_ms[-1] - info.timepoints_ms[0]) / MS_PER_MINUTE
    interval = minutes / (info.n_frames - 1)
    return f", every {interval:.3g} min" + ("" if info.has_times else " (assumed)")
