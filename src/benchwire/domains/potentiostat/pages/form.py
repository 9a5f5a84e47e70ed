"""The form of a run: one mode, its parameters with units, and the validator's word beside each."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from nicegui import ui

from benchwire.domains.potentiostat.modes import MODES, Mode, Parameter
from benchwire.domains.potentiostat.progress import plan_total
from benchwire.domains.potentiostat.service import Potentiostats
from benchwire.domains.potentiostat.validation import parse
from benchwire.foundation.clock import Clock
from benchwire.foundation.web.shell import act

GAINS = {0: "4.95 mA", 1: "0.5 mA", 2: "50 µA", 3: "5 µA"}
_MODE_TITLES = {name: f"{name} · {mode.title}" for name, mode in MODES.items()}


class RunForm:
    """The form and its widgets.

    Parameters
    ----------
    started
        Called with the run's id once it has begun.
    """

    def __init__(
        self, potentiostats: Potentiostats, clock: Clock, started: Callable[[str], None]
    ) -> None:
        self.potentiostats = potentiostats
        self.clock = clock
        self.started = started
        self._fields: dict[str, ui.input] = {}
        self._errors: dict[str, str] = {}

    def draw(self) -> None:
        """Draw the form."""
        with ui.card().classes("w-full"):
            ui.label("New run").classes("text-lg font-medium")
            self._mode = (
                ui.select(_MODE_TITLES, value="CV", label="Mode", on_change=self._draw_fields)
                .classes("w-full")
                .mark("mode")
            )
            self._parameters = ui.element("div").classes("bw-grid")
            with ui.element("div").classes("bw-grid"):
                self._slots = ui.select(
                    self._slot_names(), value=["all"], label="Slots", multiple=True
                ).props("use-chips")
                self._gain = ui.select(GAINS, value=0, label="Current range")
                self._interval = ui.input("Seconds per row (empty: every point)")
                self._experiment = ui.input("Experiment", value="Experiment").mark("experiment")
                self._subdir = ui.input("Subfolder (optional)")
                self._plot = ui.checkbox("Draw plots", value=True)
            self._note = ui.label("").classes("text-sm opacity-80")
            with ui.row().classes("items-center gap-3"):
                self._start = ui.button("Start", icon="play_arrow", on_click=self._begin)
                self._start.mark("start")
        self._draw_fields()
        ui.timer(2.0, lambda: self._slots.set_options(self._slot_names()))

    def _slot_names(self) -> list[str]:
        return ["all", *(slot.name for slot in self.potentiostats.slots.connected())]

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
        found = self.potentiostats.validate(self._chosen.name, self._values())
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
                general.append(f"takes about {_duration(planned)} on each slot")
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
            "client_datetime": datetime.fromtimestamp(self.clock.now().timestamp(), UTC).strftime(
                "%Y-%m-%dT%H:%M:%S"
            ),
            "make_plot": self._plot.value,
        }
        run_id = await act(self._start_run, request)
        if isinstance(run_id, str):
            ui.notify("Started", type="positive")
            self.started(run_id)

    def _start_run(self, request: dict[str, Any]) -> str:
        return self.potentiostats.start(request, requested_by="dashboard")


def _number(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return float("nan")  # refused by the service with a clear message


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
