"""What a model of a cell's fluorescence over time (h) is, which there are, and what may be set.

Every model is ``scale * (gain * shape(t) + offset)``: what has to be searched for is in ``shape``
alone, gain and offset follow from it by linear least squares. A new model is one small class,
found by its entry point.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from benchwire.domains.traces.errors import ModelUnknown, ParametersInvalid

Array = NDArray[np.float64]

ENTRY_POINTS = "benchwire.models"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter, the value a fit begins with, and the range it may not leave."""

    name: str
    default: float
    low: float
    high: float


class Model(Protocol):
    """A model.

    ``gain`` and ``offset`` name the parameters that are linear, None where there is no such one;
    all others are searched for. ``fixed`` is what is not fitted and may be set; a ``scale`` among
    it multiplies the whole curve.

    Two more things make a fit better where a model has them: ``onset``, the name of the parameter
    before which the shape is 0 and after which it rises with a bend, and ``shape_and_slopes``, the
    derivatives (`Differentiable`).
    """

    name: ClassVar[str]
    description: ClassVar[str]
    equation: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]]
    fixed: ClassVar[Mapping[str, float]]
    gain: ClassVar[str | None]
    offset: ClassVar[str | None]

    def shape(self, time: Array, values: Mapping[str, Array]) -> Array:
        """Return the shape at times (h); values are arrays that broadcast against the times."""


@runtime_checkable
class Differentiable(Protocol):
    """A model that knows its derivatives, which is faster than taking differences."""

    def shape_and_slopes(
        self, time: Array, values: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Return the shape, and its derivative by each parameter that is searched for."""


def load_models() -> Mapping[str, Model]:
    """Return all installed models by their names in lower case; a broken one is left out."""
    models: dict[str, Model] = {}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            model = entry.load()()
            _check(model)
        except Exception:  # a stranger's code may fail in any way
            logger.exception("the model %s cannot be used and is left out", entry.name)
        else:
            models[model.name.lower()] = model
    return models


def _check(model: Any) -> None:
    """Raise ValueError where a model contradicts itself."""
    names = [item.name for item in model.parameters]
    if len(set(names)) != len(names) or not names:
        raise ValueError("parameters need names of their own")
    for linear in (model.gain, model.offset):
        if linear is not None and linear not in names:
            raise ValueError(f"{linear} is none of its parameters")
    for item in model.parameters:
        if not (item.low < item.high and item.low <= item.default <= item.high):
            raise ValueError(f"the default of {item.name} is not within its bounds")
    values = {name: np.array(value) for name, value in model.fixed.items()}
    values |= {item.name: np.array([[item.default]]) for item in model.parameters}
    shape = model.shape(np.linspace(0.0, 10.0, 5)[None, :], values)
    if np.broadcast_shapes(np.shape(shape), (1, 5)) != (1, 5) or not np.isfinite(shape).all():
        raise ValueError("its shape at its own defaults is not one finite number for each time")


@dataclass(frozen=True, slots=True)
class Choice:
    """A model's name, and start values, bounds and fixed values by the names it gives them."""

    model: str
    start: Mapping[str, float]
    bounds: Mapping[str, tuple[float, float]]
    fixed: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "model": self.model,
            "start": dict(self.start),
            "bounds": {name: list(ends) for name, ends in self.bounds.items()},
            "fixed": dict(self.fixed),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Choice":
        """Return what `as_json` gave."""
        bounds = {name: (low, high) for name, (low, high) in found["bounds"].items()}
        return cls(found["model"], found["start"], bounds, found["fixed"])


def find_model(name: str) -> Model:
    """Return the model of a name, whatever its case.

    Raises
    ------
    ModelUnknown
    """
    models = load_models()
    model = models.get(name.strip().lower())
    if model is None:
        raise ModelUnknown(f"There is no model {name[:60]!r}; there are {', '.join(models)}")
    return model


def checked_choice(
    model_name: str,
    values: Mapping[str, Any] | None = None,
    bounds: Mapping[str, Any] | None = None,
) -> Choice:
    """Return what a user chose; a value for a fixed parameter's name sets that.

    Raises
    ------
    ModelUnknown
    ParametersInvalid
        An unknown name, something that is not a finite number, or bounds that are no range.
    """
    return check_choice(find_model(model_name), values, bounds)


def check_choice(
    model: Model, values: Mapping[str, Any] | None, bounds: Mapping[str, Any] | None
) -> Choice:
    """Return what was chosen for a model."""
    fitted = {item.name.lower(): item.name for item in model.parameters}
    held = {name.lower(): name for name in model.fixed}
    start: dict[str, float] = {}
    fixed: dict[str, float] = {}
    for given, value in (values or {}).items():
        name = given.lower()
        if name not in fitted and name not in held:
            raise _unknown(model, given, [*fitted.values(), *held.values()])
        number = _number(value, f"The value of {given}")
        if name in fitted:
            start[fitted[name]] = number
        else:
            fixed[held[name]] = number
    ranges: dict[str, tuple[float, float]] = {}
    for given, ends in (bounds or {}).items():
        if given.lower() not in fitted:
            raise _unknown(model, given, list(fitted.values()))
        ranges[fitted[given.lower()]] = _range(given, ends)
    return Choice(model.name, start, ranges, fixed)


def _unknown(model: Model, given: str, known: list[str]) -> ParametersInvalid:
    return ParametersInvalid(
        f"{model.name} has no parameter {given[:60]!r} here; there are {', '.join(known)}"
    )


def _range(given: str, ends: Any) -> tuple[float, float]:
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
        raise ParametersInvalid(f"The bounds of {given} must be two numbers, lower and upper")
    low, high = (_number(end, f"A bound of {given}") for end in ends)
    if low >= high:
        raise ParametersInvalid(f"The lower bound of {given} must be less than the upper")
    return low, high


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParametersInvalid(f"{what} must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ParametersInvalid(f"{what} must be finite")
    return number


def curve(model: Model, time: Array, values: Mapping[str, float]) -> Array:
    """Return a model's curve at times (T,) in h, all its parameters and fixed values given."""
    arrays = {name: np.asarray(value, float) for name, value in {**model.fixed, **values}.items()}
    gain = 1.0 if model.gain is None else arrays[model.gain]
    offset = 0.0 if model.offset is None else arrays[model.offset]
    scale = arrays.get("scale", np.asarray(1.0))
    found = scale * (gain * model.shape(time, arrays) + offset)
    return np.broadcast_to(found, time.shape)
