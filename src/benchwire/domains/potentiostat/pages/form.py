"""The form of a run: one mode, its parameters with units, and the validator's word beside each."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from nicegui import ui

from benchwire.domains.potentiostat.modes import MODES, Mode, Parameter
from benchwire.domains.potentiostat.pages.desk import Desk, SlotView
from benchwire.domains.potentiostat.progress import plan_total
from benchwire.domains.potentiostat.validation import parse
from benchwire.foundation.web.job_progress import duration
from benchwire.foundation.web.shell import act
from benchwire.foundation.web.states import section

GAINS = {0: "4.95 mA", 1: "0.5 mA", 2: "50 µA", 3: "5.4 µA"}
_MODE_TITLES = {name: f"{name} · {mode.title}" for name, mode in MODES.items()}


class RunForm:
    """The form and its widgets.

    Parameters
    ----------
    started
        Called with the run's id once it has begun.
    """

    def __init__(self, desk: Desk, started: Callable[[str], Awaitable[None]]) -> None:
        self._desk = desk
        self._potentiostats = desk.potentiostats
        self._started = started
        self._fields: dict[str, ui.input] = {}
        self._samples: dict[str, ui.input] = {}
        self._errors: dict[str, str] = {}

    def draw(self) -> None:
        """Draw the form."""
        with section("New run"):
            self._mode = (
                ui.select(_MODE_TITLES, value="CV", label="Mode", on_change=self._draw_fields)
                .classes("w-full")
                .mark("mode")
            )
            self._parameters = ui.element("div").classes("bw-grid")
            with ui.element("div").classes("bw-grid"):
                self._slots = ui.select(["all"], value=["all"], label="Slots", multiple=True)
                self._slots.props("use-chips")
                self._gain = ui.select(
                    GAINS, value=0, label="Current range", on_change=self._validate
                )
                self._interval = ui.input("Time per row / s (empty: every point)")
                self._experiment = ui.input("Experiment", value="Experiment").mark("experiment")
                self._subdir = ui.input("Subfolder (optional)")
                self._plot = ui.checkbox("Draw plots", value=True)
            with ui.expansion("Samples").props("dense").classes("w-full").mark("samples"):
                ui.label(
                    "What each slot measures: a sample's id, or a well as barcode/A1. "
                    "Fields may stay empty."
                ).classes("bw-small bw-muted")
                self._sample_fields = ui.element("div").classes("bw-grid")
            self._note = ui.label("").classes("bw-small bw-muted")
            with ui.row().classes("items-center gap-3"):
                self._start = ui.button("Start", icon="play_arrow", on_click=self._begin)
                self._start.mark("start")
        self._draw_fields()
        self._desk.slots.follow(self._offer)

    def _offer(self, slots: list[SlotView]) -> None:
        """Offer the slots that are connected."""
        names = [slot.name for slot in slots if slot.is_connected]
        if self._slots.options == ["all", *names]:
            return
        self._slots.set_options(["all", *names])
        texts = {name: entry.value for name, entry in self._samples.items()}
        self._sample_fields.clear()
        with self._sample_fields:
            self._samples = {
                name: ui.input(f"Sample in {name}", value=texts.get(name, "")).mark(
                    f"sample-{name}"
                )
                for name in names
            }

    @property
    def _chosen(self) -> Mode:
        return MODES[self._mode.value]

    def _draw_fields(self) -> None:
        self._fields.clear()
        self._parameters.clear()
        with self._parameters:
            for parameter in self._chosen.parameters:
                self._fields[parameter.name] = self._draw_field(parameter)
        self._validate()

    def _draw_field(self, parameter: Parameter) -> ui.input:
        unit = f" / {parameter.unit}" if parameter.unit else ""
        value = parameter.default
        text = ", ".join(f"{item:g}" for item in value) if isinstance(value, tuple) else str(value)
        entry = ui.input(
            f"{parameter.label}{unit}",
            value=text,
            on_change=self._validate,
            validation=self._validator(parameter.name),
        )
        entry.classes("w-full").props("bottom-slots")
        with entry:
            ui.tooltip(parameter.explanation)
        return entry

    def _validator(self, name: str) -> Callable[[object], str | None]:
        return lambda _: self._errors.get(name)

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for parameter in self._chosen.parameters:
            text = str(self._fields[parameter.name].value or "").strip()
            if parameter.kind == "float_list":
                values[parameter.name] = [item.strip() for item in text.split(",") if item.strip()]
            else:
                values[parameter.name] = text
        return values

    def _validate(self) -> None:
        found = self._potentiostats.validate(self._chosen.name, self._values(), self._gain.value)
        errors = {issue.field: issue for issue in reversed(found.errors)}
        warnings = {issue.field: issue for issue in reversed(found.warnings)}
        self._errors = {name: issue.message for name, issue in errors.items()}
        for name, entry in self._fields.items():
            warning = warnings.get(name)
            entry.props["hint"] = "" if warning is None else warning.message
            entry.validate()
        self._start.set_enabled(found.ok)
        general = [issue.message for issue in (*found.errors, *found.warnings)
                   if issue.field == "*"]  # fmt: skip
        if found.ok:
            planned = plan_total([(self._chosen, parse(self._chosen, self._values()))])
            if planned is not None:
                general.append(f"takes about {duration(planned)} on each slot")
        self._note.set_text("; ".join(general))

    async def _begin(self) -> None:
        interval = (self._interval.value or "").strip()
        chosen = self._slots.value or []
        request = {
            "devices": "all" if "all" in chosen or not chosen else chosen,
            "modes": [self._chosen.name],
            "params_by_mode": {self._chosen.name: self._values()},
            "tia_gain": self._gain.value,
            "sampling_interval": _number(interval),
            "experiment_name": self._experiment.value,
            "subdir": self._subdir.value or None,
            "client_datetime": datetime.fromtimestamp(
                self._potentiostats.clock.now().timestamp(), UTC
            ).strftime("%Y-%m-%dT%H:%M:%S"),
            "make_plot": self._plot.value,
            "samples": self._named_samples(chosen) or None,
        }
        run_id = await act(self._start_run, request)
        if isinstance(run_id, str):
            ui.notify("Started", type="positive")
            await self._started(run_id)

    def _named_samples(self, chosen: list[str]) -> dict[str, str]:
        """Return the samples of the slots that take part."""
        texts = {name: (entry.value or "").strip() for name, entry in self._samples.items()}
        is_all = "all" in chosen or not chosen
        return {name: text for name, text in texts.items() if text and (is_all or name in chosen)}

    def _start_run(self, request: dict[str, Any]) -> str:
        return self._potentiostats.start(request, requested_by="dashboard")


def _number(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return float("nan")  # refused by the service with a clear message
