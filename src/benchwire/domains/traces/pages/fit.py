"""One fitting: how well it went, how its numbers are spread, and every trace with its curve."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui import run, ui

from benchwire.domains.traces.pages import charts
from benchwire.domains.traces.pages.fittings import PATH, Desk, csv_path
from benchwire.domains.traces.service import FIT_ITEM
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.jobs.states import JobRecord, JobState
from benchwire.foundation.web.item_links import NamedSample, draw_crate, draw_samples
from benchwire.foundation.web.job_progress import JobProgress
from benchwire.foundation.web.plots import describe_chart, drawn_chart, replace_options
from benchwire.foundation.web.shell import act, ask, download
from benchwire.foundation.web.states import badge, failure, heading, section
from benchwire.foundation.web.tables import table

_COLUMNS: list[dict[str, Any]] = [
    {"name": key, "label": label, "field": key, "align": align, "sortable": True}
    for key, label, align in (
        ("fov", "FOV", "left"), ("cell", "Cell", "left"), ("fitted", "Fitted", "left"),
        ("r_squared", "R²", "right"),
    )
]  # fmt: skip
_COLUMNS[3][":format"] = "(value) => value.toFixed(4)"
_ROW = """
<q-tr :props="props" tabindex="0" class="cursor-pointer" :data-trace="props.row.key"
      :class="props.row.chosen ? 'bw-chosen' : ''"
      @click="$parent.$emit('choose', [props.row.fov, props.row.cell])"
      @keydown.enter="$parent.$emit('choose', [props.row.fov, props.row.cell])">
  <q-td v-for="column in props.cols" :key="column.name" :props="props">{{ column.value }}</q-td>
</q-tr>
"""


async def draw(desk: Desk, job_id: str) -> None:
    """Draw the page."""
    try:
        record = await run.io_bound(desk.fittings.record, job_id)
    except BenchwireError as error:
        failure(error.message, error.hint)
        ui.link("All fittings", PATH)
        return
    if record is None:
        return  # the server is ending
    samples = await run.io_bound(desk.fittings.samples_of, job_id) or ()
    view = _View(desk, record)
    view.draw(samples)
    if record.state is JobState.DONE:
        await view.load()


class _View:
    """The fitting; its figures come once it is completed."""

    def __init__(self, desk: Desk, record: JobRecord) -> None:
        self._desk = desk
        self._fittings = desk.fittings
        self._record = record
        self._cells: list[dict[str, Any]] = []
        self._chosen: tuple[int, int] | None = None

    def draw(self, samples: Sequence[NamedSample]) -> None:
        """Draw the page without figures."""
        record = self._record
        csv = str(record.params["csv_path"])
        with section(record.title) as card:
            card.mark("fit")
            with ui.row().classes("w-full items-center gap-3"):
                badge(record.state.value).mark("fit-state")
                ui.link(Path(csv).name, csv_path(csv)).classes("break-all")
            draw_samples(samples)
            if record.state is JobState.FAILED:
                failure(record.message or "The fitting failed.")
            if not record.state.is_final:
                self._draw_progress()
            if record.state is JobState.DONE:
                self._summary = ui.row().classes("w-full gap-x-8 gap-y-1").mark("fit-summary")
                with ui.row().classes("gap-2"):
                    results = f"/api/v1/analysis/fitting/results/{quote(record.id)}"
                    download("Table as CSV", f"{results}/download")
                    draw_crate(FIT_ITEM, record.id)
        if record.state is JobState.DONE:
            self._draw_results()

    def _draw_progress(self) -> None:
        progress = JobProgress()
        ui.button("Cancel", on_click=lambda: act(self._fittings.cancel, self._record.id)).props(
            "dense flat color=negative"
        )

        def show(record: JobRecord) -> None:
            progress.show(record)
            if record.state.is_final:
                ui.navigate.reload()

        self._desk.fits.of(self._record.id).follow(show)

    def _draw_results(self) -> None:
        with section("Distributions"):
            self._histograms = ui.element("div").classes("bw-grid").mark("histograms")
        with ui.element("div").classes("bw-columns"):
            with ui.card().classes("bw-section").props("tag=section"):
                self._draw_trace()
            with section("Cells, the worst first"):
                self._table = table(_COLUMNS, name="Cells", row_key="key", pagination=10)
                self._table.mark("fit-cells")
                self._table.add_slot("body", _ROW)
                self._table.on("choose", lambda event: self.choose(*map(int, event.args)))
                self._count = ui.label("").classes("bw-small bw-muted")

    def _draw_trace(self) -> None:
        with ui.row().classes("w-full items-center gap-2 no-wrap"):
            self._title = heading("").classes("grow").mark("fit-title")
            for icon, step, words in (
                ("chevron_left", -1, "Previous cell"),
                ("chevron_right", 1, "Next cell"),
            ):
                ui.button(icon=icon, on_click=partial(self._step, step)).props(
                    f'flat round dense aria-label="{words}"'
                )
        self._chart = drawn_chart("A trace and its fitted curve", height="22rem").mark("fit-chart")
        self._values = ui.row().classes("w-full gap-x-6 gap-y-1").mark("fit-values")

    async def load(self) -> None:
        """Show the figures, and the first trace that is listed."""
        found = await ask(self._fittings.figures, self._record.id)
        if found is None:
            return
        with self._summary:
            for title, text in _summary(found["summary"]):
                with ui.column().classes("gap-0"):
                    ui.label(title).classes("bw-small bw-muted")
                    ui.label(text).classes("text-lg")
        with self._histograms:
            for name, figures in found["histograms"].items():
                with ui.column().classes("gap-0 w-full"):
                    title = charts.parameter_title(name)
                    heading(title, 3)
                    drawn_chart(
                        f"How {title} is spread over the cells",
                        height="12rem",
                        options=charts.histogram(figures["edges"], figures["counts"]),
                    ).mark(f"histogram-{name}")
        self._cells = found["cells"]
        total = found["summary"]["total_cells"]
        if total > len(self._cells):
            self._count.set_text(f"{len(self._cells)} of {total} are listed; the CSV has all.")
        if self._cells:
            await self.choose(self._cells[0]["fov"], self._cells[0]["cell"])

    async def choose(self, fov: int, cell: int) -> None:
        """Show one trace and its curve."""
        self._chosen = (fov, cell)
        self._show_rows()
        trace = await ask(self._fittings.trace, self._record.id, fov, cell)
        if trace is None or self._chosen != (fov, cell):
            return  # it was said why, or another one has been chosen since
        fitted = f"R² = {trace['r_squared']:.4f}" if trace["fitted"] else "not fitted"
        self._title.set_text(f"FOV {fov}, cell {cell}: {fitted}")
        describe_chart(self._chart, f"Trace and fitted curve of FOV {fov}, cell {cell}, {fitted}")
        replace_options(self._chart, charts.fitted_trace(trace))
        self._values.clear()
        with self._values:
            for name, value in trace["parameters"].items():
                with ui.column().classes("gap-0"):
                    ui.label(name).classes("bw-small bw-muted")
                    ui.label("-" if value is None else f"{value:.5g}")

    async def _step(self, step: int) -> None:
        keys = [(item["fov"], item["cell"]) for item in self._cells]
        if self._chosen in keys:
            await self.choose(*keys[(keys.index(self._chosen) + step) % len(keys)])

    def _show_rows(self) -> None:
        self._table.rows = [
            {
                "key": f"{item['fov']}_{item['cell']}",
                "fov": item["fov"],
                "cell": item["cell"],
                "fitted": "yes" if item["success"] else "no",
                "r_squared": item["r_squared"],
                "chosen": (item["fov"], item["cell"]) == self._chosen,
            }
            for item in self._cells
        ]


def _summary(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Cells", str(found["total_cells"])),
        ("Fitted", str(found["successful_fits"])),
        ("Not fitted", str(found["failed_fits"])),
        ("Mean R²", f"{found['mean_r_squared']:.4f}"),
    ]
