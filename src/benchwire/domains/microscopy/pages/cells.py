"""The cells of one FOV: outlined over the frames, as curves and in a table, good or bad."""

import asyncio
from functools import partial
from typing import Any

from nicegui import events, ui

from benchwire.domains.microscopy.pages import curves
from benchwire.domains.microscopy.pages.desk import Desk
from benchwire.domains.microscopy.pages.frames import Frames
from benchwire.domains.microscopy.schemas import InspectionRequest
from benchwire.foundation.jobs.states import JobRecord
from benchwire.foundation.web.plots import describe_chart, drawn_chart, replace_options
from benchwire.foundation.web.shell import act, ask
from benchwire.foundation.web.states import heading, section
from benchwire.foundation.web.tables import table

_RING_PX = 60
_COLUMNS: list[dict[str, Any]] = [
    {"name": key, "label": label, "field": key, "align": align, "sortable": True}
    for key, label, align in (
        ("cell", "Cell", "left"), ("good", "Good", "center"), ("mean", "Mean", "right"),
        ("frames", "Frames", "right"), ("first", "First", "right"), ("last", "Last", "right"),
    )
]  # fmt: skip
_COLUMNS[2][":format"] = (
    '(value) => value === null ? "" : Number(value.toPrecision(6)).toLocaleString("en")'
)
_ROW = """
<q-tr :props="props" tabindex="0" class="cursor-pointer" :data-cell="props.row.cell"
      :class="props.row.chosen ? 'mc-chosen bw-chosen' : ''"
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
        self._fovs = fovs
        self._frames = Frames(
            str(record.params["output_dir"]), moved=self._show_frame, clicked=self._choose_nearest
        )
        self._data: dict[str, Any] = {"cells": []}
        self._minutes: dict[int, float] = {}
        self._chosen: int | None = None
        self._marking = asyncio.Lock()
        self._loads = 0

    def draw(self) -> None:
        """Draw the cards, empty until a FOV is loaded."""
        with ui.element("div").classes("bw-columns"):
            with section("Cells"):
                self._draw_head()
                self._frames.draw()
            with ui.column().classes("w-full gap-4"):
                with section("Traces"):
                    self._draw_curves()
                with ui.card().classes("bw-section").props("tag=section"):
                    self._draw_table()
        ui.keyboard(on_key=self._key, ignore=["input", "select", "textarea"])

    def offer(self, fovs: list[int]) -> None:
        """Offer these FOVs from now on."""
        self._fov.set_options(_fov_names(fovs))

    # -- the picture ------------------------------------------------------------------------

    def _draw_head(self) -> None:
        with ui.row().classes("w-full items-center gap-3"):
            self._names = ui.switch("Numbers", value=True, on_change=self._show_frame)
            self._fov = ui.select(
                _fov_names(self._fovs), value=self._fovs[0], label="FOV", on_change=self.load
            )
            self._fov.props("dense outlined").mark("run-fov")

    async def load(self) -> None:
        """Show the FOV that is chosen."""
        self._loads += 1
        load = self._loads
        found = await ask(self._desk.workflows.traces, self._job_id, self._fov.value)
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
        size = {key: found[key] for key in ("n_frames", "height", "width")}
        self._frames.load(**size, controls=self._table.html_id)
        features = {name: curves.feature_title(name) for name in found["features"]}
        # The last is of a fluorescence channel, where there is one: what most come for.
        value = self._feature.value if self._feature.value in features else None
        value = value or next(reversed(features), None)
        self._feature.set_options(features, value=value)
        self._note.set_text(_told(cells))
        self._show_curves()
        self._show_frame()

    def _show_frame(self) -> None:
        self._frames.show(
            self._fov.value,
            with_names=self._names.value,
            ring=self._ring(),
            minutes=self._minutes.get(self._frames.frame),
        )
        self._show_chosen()

    def _ring(self) -> dict[str, float] | None:
        """Return where the chosen cell is, in parts of the picture; None while it is not there."""
        cell, frame = self._cell(self._chosen), self._frames.frame
        if cell is None or frame not in cell["frame"]:
            return None
        at = cell["frame"].index(frame)
        height, width = self._data["height"], self._data["width"]
        return {
            "left": (cell["position_x"][at] + 0.5) / width,
            "top": (cell["position_y"][at] + 0.5) / height,
            "width": _RING_PX / width,
        }

    async def _choose_nearest(self, across: float, down: float) -> None:
        frame, best = self._frames.frame, None
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
            self._feature = ui.select({}, label="Feature", on_change=self._show_curves)
            self._feature.props("dense outlined").classes("min-w-48").mark("feature")
        self._chart = drawn_chart("Traces of the cells", height="20rem").mark("traces-chart")
        self._chart.on("componentClick", self._curve_clicked, ["seriesId"])
        self._note = ui.label("").classes("bw-small bw-muted").mark("traces-note")

    def _show_curves(self) -> None:
        self._show_rows()
        feature = self._feature.value
        if feature is None:
            return  # nothing was measured
        options = curves.chart_options(
            self._data["cells"],
            feature,
            chosen=self._chosen,
            minutes=self._minutes.get(self._frames.frame, 0.0),
        )
        title = curves.feature_title(feature)
        describe_chart(self._chart, f"{title} of {len(self._data['cells'])} cells over time")
        replace_options(self._chart, options)

    def _show_chosen(self) -> None:
        if self._feature.value is None:
            return
        series = curves.chosen_curve(
            self._data["cells"],
            self._feature.value,
            chosen=self._chosen,
            minutes=self._minutes.get(self._frames.frame, 0.0),
        )
        self._chart.run_chart_method("setOption", {"series": [series]})

    def _curve_clicked(self, event: events.GenericEventArguments) -> None:
        kind, _, number = str(event.args.get("seriesId", "")).partition("-")
        if kind == "cell":
            self._choose(int(number))

    # -- the table --------------------------------------------------------------------------

    def _draw_table(self) -> None:
        with ui.row().classes("w-full items-center gap-2 no-wrap"):
            self._title = heading("").classes("grow").mark("chosen-cell")
            for icon, step, words in (
                ("chevron_left", -1, "Previous cell"),
                ("chevron_right", 1, "Next cell"),
            ):
                ui.button(icon=icon, on_click=partial(self._step, step)).props(
                    f'flat round dense aria-label="{words}"'
                )
            self._verdict = ui.button("", on_click=self._turn).props("outline dense no-caps")
            self._verdict.mark("turn-cell")
        self._table = table(_COLUMNS, name="Cells", row_key="cell", pagination=8).mark("cells")
        self._table.add_slot("body", _ROW)
        self._table.on("choose", lambda event: self._choose(int(event.args)))
        self._table.on("mark", self._marked)
        ui.label("Keys: N next cell, P previous, G good or bad").classes(
            "bw-small bw-muted bw-wide"
        )

    def _show_rows(self) -> None:
        feature = self._feature.value
        self._table.rows = [
            {
                "cell": cell["cell"],
                "frames": len(cell["frame"]),
                "first": cell["frame"][0],
                "last": cell["frame"][-1],
                "mean": None if feature is None else _mean(cell[feature]),
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
        seen, cell = self._data["identity"], self._cell(number)
        request = InspectionRequest(traces_path=self._data["path"], good={number: good})
        async with self._marking:
            written = await act(self._desk.folders.inspect, request, seen)
        if written is None or cell is None:
            self._show_rows()  # as it was
            return
        cell["good"] = good
        if self._cell(number) is not cell:
            return  # another FOV has been chosen since
        self._note.set_text(f"{_told(self._data['cells'])} Verdicts are in {written.name}.")
        self._show_rows()
        self._show_verdict(cell)

    def _show_verdict(self, cell: dict[str, Any]) -> None:
        cells = self._data["cells"]
        if self._feature.value is not None and cell in cells[: curves.MOST_CURVES]:
            series = curves.curve(cell, self._feature.value, of=len(cells))
            self._chart.run_chart_method("setOption", {"series": [series]})
        self._show_chosen()


def _fov_names(fovs: list[int]) -> dict[int, str]:
    return {fov: f"FOV {fov}" for fov in fovs}


def _mean(values: list[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _told(cells: list[dict[str, Any]]) -> str:
    bad = sum(not cell["good"] for cell in cells)
    text = f"{len(cells)} cells, {bad} of them bad (dashed)."
    if len(cells) > curves.MOST_CURVES:
        text += f" The first {curves.MOST_CURVES} and the chosen one are drawn."
    return text
