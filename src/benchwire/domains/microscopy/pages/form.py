"""The form of a workflow: channels and their features, FOVs, parameters, where results go."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nicegui import ui
from pydantic import ValidationError

from benchwire.domains.microscopy.channels import suggest_channels
from benchwire.domains.microscopy.pages.desk import Desk
from benchwire.domains.microscopy.plan import MovieInfo
from benchwire.domains.microscopy.schemas import Parameters, WorkflowRequest
from benchwire.foundation.web.file_picker import FilePicker
from benchwire.foundation.web.shell import act
from benchwire.foundation.web.states import section

_NUMBERS = (
    ("background_weight", "Background subtracted (0 to 1)", "Share of the background"),
    ("min_frames", "Seen in at least / frames", "Cells seen in fewer frames are dropped"),
    ("border_margin", "Distance from the edge / px", "Cells that come nearer are dropped"),
    ("erosion_size", "Erosion / px", "Square by which a cell shrinks for its intensity"),
    ("min_size", "Smallest area / px", "Empty: no limit"),
    ("max_size", "Largest area / px", "Empty: no limit"),
    ("min_iou", "Least overlap of frames (0 to 1)", "Of the boxes of one cell in two frames"),
    ("frame_interval", "Time between frames / min", "Empty: as the file says"),
    ("n_workers", "FOVs at once", "At most; the server has a limit of its own"),
)  # fmt: skip


class WorkflowForm:
    """The form, filled in with a choice that can be started as it is.

    Parameters
    ----------
    started
        Called once a workflow has been taken in.
    """

    def __init__(
        self, desk: Desk, path: str, info: MovieInfo, *, started: Callable[[], Awaitable[None]]
    ) -> None:
        self._desk = desk
        self._path = path
        self._info = info
        self._started = started
        self._suggested = suggest_channels(info.channel_names)
        self._known = desk.workflows.features()
        self._fluorescence: dict[int, ui.select] = {}
        self._numbers: dict[str, ui.number] = {}

    def draw(self) -> None:
        """Draw the form."""
        with section("Process") as card:
            card.mark("workflow-form")
            self._draw_phase()
            self._channels = ui.column().classes("w-full gap-2")
            self._draw_fluorescence()
            self._draw_fovs()
            with ui.expansion("Parameters").classes("w-full").props("dense"):
                self._draw_parameters()
            self._sample = ui.input("Sample (optional: its id, or a well as barcode/A1)")
            self._sample.classes("w-full").mark("workflow-sample")
            with ui.row().classes("w-full items-center gap-2 no-wrap"):
                self._output = ui.input("Results go to", value=_results_folder(self._info))
                self._output.classes("grow").mark("output")
                ui.button(icon="folder_open", on_click=self._browse).props(
                    'flat round aria-label="Choose the folder of the results"'
                )
            ui.button("Start", icon="play_arrow", on_click=self._start).mark("workflow-start")

    def _draw_phase(self) -> None:
        suggested = self._suggested["phase"]
        with ui.row().classes("w-full gap-3"):
            self._phase = ui.select(
                {number: self._name(number) for number in range(self._info.n_channels)},
                value=suggested["channel"],
                label="Cells are found in",
                on_change=self._draw_fluorescence,
            )
            self._phase.classes("grow").mark("phase-channel")
            self._phase_features = self._feature_choice("phase", suggested["features"])
            self._phase_features.mark("phase-features")

    def _draw_fluorescence(self) -> None:
        suggested = {item["channel"]: item["features"] for item in self._suggested["fluorescence"]}
        self._channels.clear()
        self._fluorescence.clear()
        with self._channels:
            for number in range(self._info.n_channels):
                if number == self._phase.value:
                    continue
                with ui.row().classes("w-full items-center gap-3"):
                    ui.label(self._name(number)).classes("grow break-all")
                    choice = self._feature_choice("fluorescence", suggested.get(number, []))
                    choice.mark(f"features-{number}")
                    choice.props["aria-label"] = f"Measured in {self._name(number)}"
                    self._fluorescence[number] = choice

    def _feature_choice(self, kind: Any, chosen: list[str]) -> ui.select:
        names = {name: name.replace("_", " ") for name in self._known[kind]}
        known = [name for name in chosen if name in names]
        label = "Measured" if kind == "phase" else "Measured (none: left out)"
        return (
            ui.select(names, value=known, label=label, multiple=True)
            .classes("w-full sm:w-64")
            .props("use-chips options-dense")
        )

    def _name(self, channel: int) -> str:
        return f"Channel {channel} · {self._info.channel_names[channel]}"

    def _draw_fovs(self) -> None:
        last = self._info.n_fovs - 1
        with ui.row().classes("w-full gap-3"):
            for key, title, value in (("fov_start", "First FOV", 0), ("fov_end", "Last FOV", last)):
                self._numbers[key] = ui.number(title, value=value, min=0, max=last, format="%d")
                self._numbers[key].classes("w-28").mark(key)

    def _draw_parameters(self) -> None:
        defaults = Parameters()
        with ui.element("div").classes("grid grid-cols-1 sm:grid-cols-2 gap-x-4 w-full"):
            for key, title, explanation in _NUMBERS:
                number = ui.number(title, value=getattr(defaults, key), format="%g").mark(key)
                number.props["hint"] = explanation
                self._numbers[key] = number
        self._ome_zarr = ui.checkbox("Write images and masks as OME-Zarr", value=True)

    def _request(self) -> WorkflowRequest:
        """Return what the form says; ValidationError where it cannot be meant."""
        return WorkflowRequest.model_validate(
            {
                "microscopy_path": self._path,
                "sample": (self._sample.value or "").strip() or None,
                "output_dir": (self._output.value or "").strip(),
                "channels": {
                    "phase": {
                        "channel": self._phase.value,
                        "features": self._phase_features.value,
                    },
                    "fluorescence": [
                        {"channel": number, "features": choice.value}
                        for number, choice in self._fluorescence.items()
                        if choice.value
                    ],
                },
                "parameters": {
                    **{key: number.value for key, number in self._numbers.items()},
                    "ome_zarr": self._ome_zarr.value,
                },
            }
        )

    async def _start(self) -> None:
        try:
            request = self._request()
        except ValidationError as error:
            ui.notify(self._told(error), type="negative", multi_line=True)
            return
        if await act(self._desk.workflows.start, request) is not None:
            ui.notify("The workflow was started", type="positive")
            await self._started()

    def _told(self, error: ValidationError) -> str:
        titles = {key: title for key, title, _ in _NUMBERS}
        parts = []
        for item in error.errors():
            field = str(item["loc"][-1]) if item["loc"] else ""
            parts.append(f"{titles.get(field, field.replace('_', ' '))}: {item['msg']}")
        return "; ".join(parts)

    async def _browse(self) -> None:
        picker = FilePicker(
            self._desk.movies.allowed, None, title="Choose the folder of the results"
        )
        path = await picker.choose(self._output.value or "")
        if path is not None:
            self._output.value = path


def _results_folder(info: MovieInfo) -> str:
    return str(Path(info.path).parent / f"{info.base_name}_results")
