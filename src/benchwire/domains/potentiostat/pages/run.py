"""One run: what was asked, what came of it, its plots and files."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import run as work
from nicegui import ui

from benchwire.domains.potentiostat.modes import MODES
from benchwire.domains.potentiostat.pages.desk import PATH, Desk, run_path
from benchwire.domains.potentiostat.pages.progress import RunProgress, status_text
from benchwire.domains.potentiostat.schemas import JobStatus
from benchwire.domains.potentiostat.service import RUN_ITEM, Potentiostats
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.web.item_links import NamedSample, draw_crate, draw_samples
from benchwire.foundation.web.shell import act, download, picture
from benchwire.foundation.web.states import badge, empty, failure, heading, second, section

_Asked = tuple[Sequence[NamedSample], Mapping[str, Any]]


async def draw(desk: Desk, run_id: str) -> None:
    """Draw the page of a run; while it is under way, its curve."""
    potentiostats = desk.potentiostats
    try:
        status = await work.io_bound(potentiostats.status, run_id)
    except BenchwireError as error:
        failure(error.message, error.hint)
        ui.link("All runs", PATH)
        return
    if status is None:
        return  # the server is ending
    asked = await work.io_bound(_asked_for, potentiostats, run_id)
    if asked is None:
        return
    if status.status == "running":
        progress = RunProgress(desk, over=ui.navigate.reload)
        progress.draw()
        await progress.show(run_id)
        with section("What is measured"):
            _draw_request(*asked)
        return
    _draw_summary(potentiostats, status, asked)
    await _draw_files(potentiostats, run_id)


def _asked_for(potentiostats: Potentiostats, run_id: str) -> _Asked:
    """Return what a run is measured on, and its request."""
    samples = potentiostats.samples.of_item(RUN_ITEM, run_id)
    return samples, potentiostats.request_of(run_id)


def _draw_summary(potentiostats: Potentiostats, status: JobStatus, asked: _Asked) -> None:
    run_id = status.run_id
    with section(run_id) as card:
        card.mark("run")
        with ui.element("div").classes("bw-line"):
            badge(status.status)
            # The badge has said the state itself.
            ui.label(status_text(status).partition(" · ")[2]).classes("bw-line-main")
            ui.button(
                "Repeat", icon="replay", on_click=lambda: _repeat(potentiostats, run_id)
            ).props("outline")
            download("ZIP", f"/runs/{quote(run_id)}/zip")
            draw_crate(RUN_ITEM, run_id)
        ended = "" if status.ended_at is None else f", ended {second(status.ended_at)}"
        ui.label(f"Started {second(status.started_at)}{ended}").classes("bw-muted")
        _draw_request(*asked)


def _draw_request(samples: Sequence[NamedSample], request: Mapping[str, Any]) -> None:
    draw_samples(samples)
    with ui.expansion("Parameters").props("dense").classes("w-full"):
        for mode, parameters in request.get("params_by_mode", {}).items():
            ui.label(f"{mode}: {_parameters_text(mode, parameters)}").classes("bw-small")


def _parameters_text(mode: str, parameters: dict[str, object]) -> str:
    """Return parameters with their units."""
    known = MODES.get(mode)
    units = {} if known is None else {item.name: item.unit for item in known.parameters}
    return ", ".join(
        f"{name} = {value} {units.get(name) or ''}".rstrip() for name, value in parameters.items()
    )


async def _draw_files(potentiostats: Potentiostats, run_id: str) -> None:
    try:
        files = await work.io_bound(potentiostats.files, run_id) or ()
    except BenchwireError as error:
        failure(error.message, error.hint)
        return
    plots = [name for name in files if name.endswith(".png")]
    if plots:
        with ui.element("div").classes("bw-columns"):
            for name in plots:
                with ui.card().classes("p-2"):
                    slot, mode = name.split("/")[1:3]
                    heading(f"{mode} of {slot}", 3)
                    picture(_url(run_id, name), f"{mode} of {slot}")
    with section("Files"):
        if not files:
            empty("The run wrote no files.")
        for name in files:
            download(name, _url(run_id, name))


def _url(run_id: str, name: str) -> str:
    return f"/runs/{quote(run_id)}/file?path={quote(name)}"


async def _repeat(potentiostats: Potentiostats, run_id: str) -> None:
    new = await act(potentiostats.jobs.repeat, run_id, "dashboard")
    if isinstance(new, str):
        ui.navigate.to(run_path(new))
