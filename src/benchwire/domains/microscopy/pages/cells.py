"""The cells of one FOV: outlined over the frames, as curves and in a table, good or bad."""

import asyncio
from functools import partial
from typing import Any

from nicegui import events, ui

from benchwire.domains.microscopy.pages import curves
from benchwire.domains.microscopy.pages.desk import Desk
from benchwire.domains.microscopy.pages.viewer import Viewer, picture_url
from benchwire.domains.microscopy.schemas import InspectionRequest
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.web.shell import act

PLAY_SECONDS = 0.3
_RING_PX = 60
_COLUMNS: list[dict[str, Any]] = [
    {"name": key, "label": label, "field": key, "align": align, "sortable": True}
    for key, label, align in (
        ("cell", "Cell", "left"), ("frames", "Frames", "right"), ("first", "First", "right"),
        ("last", "Last", "right"), ("mean", "Mean", "right"), ("good", "Good", "center"),
    )
]  # fmt: skip
_ROW = """
<q-tr :props="props" tabindex="0" class="cursor-pointer" :data-cell="props.row.cell"
      :class="props.row.chosen ? 'mc-chosen' : ''"
      @click="$parent.$emit('choose', props.row.cell)"
      @keydown.enter="$parent.$emit('choose', props.row.cell)">
  <q-td v-for="column in props.cols" :key="column.name" :props="props">
    <q-toggle v-if="column.name === 'good'" dense :model-value="props.row.good"
              :aria-label="`Cell ${props.row.cell} is good`" @click.stop
              @update:model-value="(good) => $parent.$emit('mark', [props.row.cell, good])" />
    <template v-else>{{ column.value }}</template>
  </q-td>
</q-tr>
"""


class FovView:
    """One FOV at a time; a cell is chosen in the picture, among the curves or in the table."""

    def __init__(self, desk: Desk, record: JobRecord, fovs: list[int]) -> None:
        self._desk = desk
        self._job_id = record.id
        self._output = str(record.params["output_dir"])
        self._fovs = fovs
        self._data: dict[str, Any] = {"cells": [], "features": [], "n_frames": 1}
        self._chosen: int | None = None
        self._marking = asyncio.Lock()
        self._loads = 0

    def draw(self) -> None:
        """Draw the cards, empty until a FOV is loaded."""
        with ui.element("div").classes("w-full grid grid-cols-1 lg:grid-cols-2 gap-4 items-start"):
            with ui.card().classes("w-full"):
                self._draw_head()
                self._picture = ui.element("div").classes("w-full")
                self._draw_time()
            with ui.column().classes("w-full gap-4"):
                with ui.card().classes("w-full"):
                    self._draw_curves()
                with ui.card().classes("w-full"):
                    self._draw_table()
        ui.keyboard(on_key=self._key, ignore=["input", "select", "button", "textarea"])

    def offer(self, fovs: list[int]) -> None:
        """Offer these FOVs from now on."""
        self._fov.set_options(_fov_names(fovs))

    # -- the picture ------------------------------------------------------------------------

    def _draw_head(self) -> None:
        with ui.row().classes("w-full items-center gap-3"):
            ui.label("Cells").classes("text-lg font-medium grow")
            self._names = ui.switch("Numbers", value=True, on_change=self._show_frame)
            self._fov = ui.select(
                _fov_names(self._fovs), value=self._fovs[0], label="FOV", on_change=self.load
            )
            self._fov.props("dense outlined").mark("run-fov")

    def _draw_time(self) -> None:
        with ui.row().classes("w-full items-center gap-3 no-wrap"):
            self._play = ui.button(icon="play_arrow", on_click=self._play_or_pause)
            self._play.props('flat round dense aria-label="Play or pause"').mark("play")
            self._frame = ui.slider(min=0, max=1, value=0, on_change=self._show_frame)
            self._frame.props('aria-label="Frame"').classes("grow").mark("run-frame")
            self._when = ui.label("").classes("text-sm w-36 text-right").mark("run-when")
        self._clock = ui.timer(PLAY_SECONDS, self._advance, active=False)

    async def load(self) -> None:
        """Show the FOV that is chosen."""
        self._loads += 1
        load = self._loads
        found = await act(self._desk.workflows.traces, self._job_id, self._fov.value)
        if found is None or load != self._loads:
            return  # it was said why, or another FOV has been chosen since
        self._data = found
        cells = found["cells"]
        self._chosen = cells[0]["cell"] if cells else None
        self._minutes = {
            frame: time
            for cell in cells
            for frame, time in zip(cell["frame"], cell["time"], strict=True)
        }
        self._picture.clear()
        with self._picture:
            self._viewer = Viewer(
                "Frame with the outlines of its cells",
                height=found["height"],
                width=found["width"],
                clicked=self._choose_nearest,
            )
        last = max(found["n_frames"] - 1, 0)
        self._frame.props["max"] = max(last, 1)
        self._frame.set_enabled(last > 0)
        self._frame.value = min(int(self._frame.value or 0), last)
        features = {name: curves.feature_title(name) for name in found["features"]}
        value = (
            self._feature.value if self._feature.value in features else next(iter(features), None)
        )
        self._feature.set_options(features, value=value)
        self._note.set_text(_told(cells))
        self._show_curves()
        self._show_frame()

    @property
    def _shown_frame(self) -> int:
        return int(self._frame.value or 0)

    def _show_frame(self) -> None:
        if "height" not in self._data:
            return
        frame = self._shown_frame
        url = picture_url(
            "overlay",
            output_dir=self._output,
            fov=self._fov.value,
            frame=frame,
            labels=self._names.value,
        )
        self._viewer.show(url, self._ring())
        minutes = self._minutes.get(frame)
        text = f"Frame {frame}" + ("" if minutes is None else f" · {minutes:.4g} min")
        self._when.set_text(text)
        self._show_chosen()

    def _ring(self) -> dict[str, float] | None:
        """Return where the chosen cell is, in parts of the picture; None while it is not there."""
        cell = self._cell(self._chosen)
        if cell is None or self._shown_frame not in cell["frame"]:
            return None
        at = cell["frame"].index(self._shown_frame)
        height, width = self._data["height"], self._data["width"]
        return {
            "left": (cell["position_x"][at] + 0.5) / width,
            "top": (cell["position_y"][at] + 0.5) / height,
            "width": _RING_PX / width,
        }

    def _play_or_pause(self) -> None:
        self._clock.active = not self._clock.active
        self._play.props(f"icon={'pause' if self._clock.active else 'play_arrow'}")

    def _advance(self) -> None:
        self._frame.value = (self._shown_frame + 1) % self._data["n_frames"]

    async def _choose_nearest(self, across: float, down: float) -> None:
        frame, best = self._shown_frame, None
        x, y = across * self._data["width"], down * self._data["height"]
        for cell in self._data["cells"]:
            if frame in cell["frame"]:
                at = cell["frame"].index(frame)
                apart = (cell["position_x"][at] - x) ** 2 + (cell["position_y"][at] - y) ** 2
                if best is None or apart < best[0]:
                    best = (apart, cell["cell"])
        if best is not None:
            self._choose(best[1])

    # -- the curves -------------------------------------------------------------------------

    def _draw_curves(self) -> None:
        with ui.row().classes("w-full items-center gap-3"):
            ui.label("Traces").classes("text-lg font-medium grow")
            self._feature = ui.select({}, label="Feature", on_change=self._show_curves)
            self._feature.props("dense outlined").classes("min-w-48").mark("feature")
        self._chart = ui.echart({"xAxis": {}, "yAxis": {}, "series": []})
        self._chart.classes("w-full").style("height: 20rem").mark("traces-chart")
        self._chart.on("componentClick", self._curve_clicked, ["seriesId"])
        self._note = ui.label("").classes("text-xs opacity-70").mark("traces-note")

    def _show_curves(self) -> None:
        feature = self._feature.value
        if feature is None:
            self._chart.options["series"] = []
            self._table.rows = []
            return
        options = curves.chart_options(
            self._data["cells"],
            feature,
            chosen=self._chosen,
            minutes=self._minutes.get(self._shown_frame, 0.0),
        )
        self._chart.options.clear()
        self._chart.options.update(options)
        self._chart.update()
        self._show_rows()

    def _show_chosen(self) -> None:
        if self._feature.value is None:
            return
        series = curves.chosen_curve(
            self._data["cells"],
            self._feature.value,
            chosen=self._chosen,
            minutes=self._minutes.get(self._shown_frame, 0.0),
        )
        self._chart.run_chart_method("setOption", {"series": [series]})

    def _curve_clicked(self, event: events.GenericEventArguments) -> None:
        kind, _, number = str(event.args.get("seriesId", "")).partition("-")
        if kind == "cell":
            self._choose(int(number))

    # -- the table --------------------------------------------------------------------------

    def _draw_table(self) -> None:
        with ui.row().classes("w-full items-center gap-2 no-wrap"):
            self._title = ui.label("").classes("text-lg font-medium grow").mark("chosen-cell")
            for icon, step, words in (
                ("chevron_left", -1, "Previous cell"),
                ("chevron_right", 1, "Next cell"),
            ):
                ui.button(icon=icon, on_click=partial(self._step, step)).props(
                    f'flat round dense aria-label="{words}"'
                )
            self._verdict = ui.button("", on_click=self._turn).props("outline dense no-caps")
            self._verdict.mark("turn-cell")
        self._table = ui.table(columns=_COLUMNS, rows=[], row_key="cell", pagination=8)
        self._table.classes("w-full").props("flat dense").mark("cells")
        self._table.add_slot("body", _ROW)
        self._table.on("choose", lambda event: self._choose(int(event.args)))
        self._table.on("mark", self._marked)
        ui.label("Keys: N next cell, P previous, G good or bad").classes(
            "text-xs opacity-70 bw-wide"
        )

    def _show_rows(self) -> None:
        feature = self._feature.value
        self._table.rows = [
            {
                "cell": cell["cell"],
                "frames": len(cell["frame"]),
                "first": cell["frame"][0],
                "last": cell["frame"][-1],
                "mean": _mean(cell[feature]),
                "good": cell["good"],
                "chosen": cell["cell"] == self._chosen,
            }
            for cell in self._data["cells"]
        ]
        cell = self._cell(self._chosen)
        self._verdict.set_visibility(cell is not None)
        if cell is None:
            self._title.set_text("No cells")
        else:
            self._title.set_text(f"Cell {cell['cell']}: {'good' if cell['good'] else 'bad'}")
            self._verdict.set_text("Mark as bad" if cell["good"] else "Mark as good")

    def _cell(self, number: int | None) -> dict[str, Any] | None:
        return next((item for item in self._data["cells"] if item["cell"] == number), None)

    def _choose(self, number: int) -> None:
        self._chosen = number
        self._show_rows()
        self._show_frame()

    def _step(self, step: int) -> None:
        numbers = [cell["cell"] for cell in self._data["cells"]]
        if self._chosen in numbers:
            self._choose(numbers[(numbers.index(self._chosen) + step) % len(numbers)])

    async def _key(self, event: events.KeyEventArguments) -> None:
        if not event.action.keydown or event.modifiers.ctrl or event.modifiers.meta:
            return
        if event.key == "n":
            self._step(1)
        elif event.key == "p":
            self._step(-1)
        elif event.key == "g" and not event.action.repeat:
            await self._turn()

    async def _turn(self) -> None:
        cell = self._cell(self._chosen)
        if cell is not None:
            await self._mark(cell["cell"], good=not cell["good"])

    async def _marked(self, event: events.GenericEventArguments) -> None:
        number, good = event.args
        await self._mark(int(number), good=bool(good))

    async def _mark(self, number: int, *, good: bool) -> None:
        """Write the verdict on a cell; what is shown follows once it is on the disk."""
        path, cell = self._data["path"], self._cell(number)
        request = InspectionRequest(traces_path=path, good={number: good})
        async with self._marking:
            written = await act(self._desk.folders.inspect, request)
        if written is not None and cell is not None:
            cell["good"] = good
            series = curves.curve(cell, self._feature.value)
            self._chart.run_chart_method("setOption", {"series": [series]})
            self._note.set_text(f"{_told(self._data['cells'])} Verdicts are in {written.name}.")
        self._show_rows()


def _fov_names(fovs: list[int]) -> dict[int, str]:
    return {fov: f"FOV {fov}" for fov in fovs}


def _mean(values: list[float | None]) -> str:
    present = [value for value in values if value is not None]
    return f"{sum(present) / len(present):.5g}" if present else ""


def _told(cells: list[dict[str, Any]]) -> str:
    bad = sum(not cell["good"] for cell in cells)
    text = f"{len(cells)} cells, {bad} of them bad (dashed)."
    if len(cells) > curves.MOST_CURVES:
        text += f" The first {curves.MOST_CURVES} and the chosen one are drawn."
    return text
