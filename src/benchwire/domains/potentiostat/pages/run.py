"""One run: what was asked, what came of it, its plots and files."""

from urllib.parse import quote

from nicegui import ui

from benchwire.domains.potentiostat.pages.progress import RunProgress, status_text
from benchwire.domains.potentiostat.service import Potentiostats
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.web.shell import act, download, picture


def draw(potentiostats: Potentiostats, run_id: str) -> None:
    """Draw the page of a run; while it is under way, its curve."""
    try:
        status = potentiostats.status(run_id)
    except BenchwireError as error:
        ui.label(error.message).classes("text-lg")
        ui.link("All runs", "/potentiostat")
        return
    if status.status == "running":
        progress = RunProgress(potentiostats)
        progress.draw()
        progress.show(run_id)

        def reload_at_end() -> None:
            if potentiostats.status(run_id).status != "running":
                timer.cancel()
                ui.navigate.reload()

        timer = ui.timer(0.5, reload_at_end)
        return
    with ui.card().classes("w-full").mark("run"):
        with ui.row().classes("w-full items-center justify-between"):
            ui.label(run_id).classes("text-lg font-medium break-all")
            with ui.row().classes("gap-2"):
                ui.button(
                    "Repeat", icon="replay", on_click=lambda: _repeat(potentiostats, run_id)
                ).props("outline")
                download("ZIP", f"/runs/{quote(run_id)}/zip")
        ui.label(status_text(status))
        ended = "" if status.ended_at is None else f", ended {status.ended_at[:19]}"
        ui.label(f"Started {status.started_at[:19]}{ended} (UTC)").classes("text-sm opacity-70")
        _draw_parameters(potentiostats, run_id)
    _draw_files(potentiostats, run_id)


def _draw_parameters(potentiostats: Potentiostats, run_id: str) -> None:
    request = potentiostats.request_of(run_id)
    with ui.expansion("Parameters").props("dense").classes("w-full"):
        for mode, parameters in request.get("params_by_mode", {}).items():
            values = ", ".join(f"{name} = {value}" for name, value in parameters.items())
            ui.label(f"{mode}: {values}").classes("text-sm")


def _draw_files(potentiostats: Potentiostats, run_id: str) -> None:
    try:
        files = potentiostats.files(run_id)
    except BenchwireError as error:
        ui.label(error.message)
        return
    plots = [name for name in files if name.endswith(".png")]
    if plots:
        with ui.element("div").classes("w-full grid grid-cols-1 lg:grid-cols-2 gap-4"):
            for name in plots:
                with ui.card().classes("p-2"):
                    slot, mode = name.split("/")[1:3]
                    picture(_url(run_id, name), f"{mode} of {slot}")
    with ui.card().classes("w-full"):
        ui.label("Files").classes("text-lg font-medium")
        if not files:
            ui.label("The run wrote no files.").classes("opacity-70")
        for name in files:
            download(name, _url(run_id, name))


def _url(run_id: str, name: str) -> str:
    return f"/runs/{quote(run_id)}/file?path={quote(name)}"


async def _repeat(potentiostats: Potentiostats, run_id: str) -> None:
    new = await act(potentiostats.jobs.repeat, run_id, "dashboard")
    if isinstance(new, str):
        ui.navigate.to(f"/potentiostat/run/{new}")
