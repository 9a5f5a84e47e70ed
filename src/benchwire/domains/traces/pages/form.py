"""The form of a fitting: a model, and where it departs from the model's own start and bounds."""

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from benchwire.domains.traces.schemas import FittingRequest
from benchwire.domains.traces.service import Fittings
from benchwire.foundation.web.shell import act
from benchwire.foundation.web.states import section


class FitForm:
    """The form; an empty field leaves a number to the model.

    Parameters
    ----------
    started
        Called once a fitting has been taken in.
    """

    def __init__(
        self,
        fittings: Fittings,
        path: str,
        models: list[dict[str, Any]],
        *,
        started: Callable[[], Awaitable[None]],
    ) -> None:
        self._fittings = fittings
        self._path = path
        self._models = {model["name"]: model for model in models}
        self._started = started
        self._starts: dict[str, ui.number] = {}
        self._bounds: dict[str, tuple[ui.number, ui.number]] = {}

    def draw(self) -> None:
        """Draw the form."""
        titles = {
            name: f"{name.replace('_', ' ')} · {model['description']}"
            for name, model in self._models.items()
        }
        with section("Fit") as card:
            card.mark("fit-form")
            self._model = ui.select(
                titles, value=next(iter(titles), None), label="Model", on_change=self._draw_model
            )
            self._model.classes("w-full").mark("model")
            self._equation = ui.label("").classes("font-mono bw-small break-words").mark("equation")
            self._parameters = ui.column().classes("w-full gap-0")
            self._sample = ui.input("Sample (optional: its id, or a well as barcode/A1)")
            self._sample.classes("w-full").mark("fit-sample")
            ui.button("Start", icon="play_arrow", on_click=self._start).mark("fit-start")
        self._draw_model()

    def _draw_model(self) -> None:
        model = self._models.get(self._model.value)
        self._starts.clear()
        self._bounds.clear()
        self._parameters.clear()
        if model is None:
            return
        self._equation.set_text(f"f(t) = {model['equation']}, t in h")
        with self._parameters:
            ui.label("Parameters; empty fields are the model's own, as shown in grey").classes(
                "bw-small bw-muted"
            )
            for item in model["parameters"]:
                name, (low, high) = item["name"], item["bounds"]
                with ui.row().classes("w-full items-center gap-3 no-wrap"):
                    ui.label(name).classes("w-20 shrink-0 break-all")
                    self._starts[name] = _number("start", item["default"], name)
                    self._bounds[name] = (
                        _number("lowest", low, name),
                        _number("highest", high, name),
                    )
            for name, value in model["fixed_parameters"].items():
                with ui.row().classes("w-full items-center gap-3 no-wrap"):
                    ui.label(name).classes("w-20 shrink-0 break-all")
                    self._starts[name] = _number("fixed at", value, name)

    def _request(self) -> FittingRequest:
        own = {
            item["name"]: item["bounds"] for item in self._models[self._model.value]["parameters"]
        }
        bounds = {}
        for name, fields in self._bounds.items():
            values = [field.value for field in fields]
            if values != [None, None]:
                bounds[name] = [
                    mine if value is None else value
                    for value, mine in zip(values, own[name], strict=True)
                ]
        return FittingRequest(
            csv_path=self._path,
            model_type=self._model.value,
            model_params={
                name: field.value for name, field in self._starts.items() if field.value is not None
            },
            model_bounds=bounds,
            sample=(self._sample.value or "").strip() or None,
        )

    async def _start(self) -> None:
        if self._model.value is None:
            return
        if await act(self._fittings.start, self._request()) is not None:
            ui.notify("The fitting was started", type="positive")
            await self._started()


def _number(title: str, default: float, parameter: str) -> ui.number:
    field = ui.number(title, placeholder=f"{default:g}", format="%g")
    field.props["stack-label"] = True
    field.props["aria-label"] = f"{parameter} {title}"
    return field.classes("grow min-w-0").mark(f"{parameter}-{title}")
