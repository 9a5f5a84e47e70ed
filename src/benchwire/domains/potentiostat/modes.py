"""The table of modes: what each is called, needs, controls and writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from benchwire.foundation.errors import NotFound

ParameterValue = float | int | str | tuple[float, ...]
Parameters = Mapping[str, ParameterValue]

_ANNOTATIONS = {
    "float": "<class 'float'>",
    "int": "<class 'int'>",
    "float_list": "typing.List[float]",
    "choice": "<class 'str'>",
}


class Control(StrEnum):
    """What the instrument controls."""

    POTENTIAL = "potential"
    CURRENT = "current"
    OPEN_CIRCUIT = "open circuit"
    IMPEDANCE = "impedance"


class UnknownMode(NotFound):
    """There is no mode of that name."""

    code = "modes.not_found"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a mode.

    ``default`` begins a form; a parameter that is not ``required`` takes it when left out.
    ``aliases`` are other names a request may use.
    """

    name: str
    label: str
    unit: str
    default: ParameterValue
    explanation: str
    kind: Literal["float", "int", "float_list", "choice"] = "float"
    required: bool = True
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def annotation(self) -> str:
        """The type as clients of the instrument's own driver know it."""
        return _ANNOTATIONS[self.kind]


@dataclass(frozen=True, slots=True)
class Mode:
    """One electrochemical method. ``mark`` is the column that counts its cycles or steps."""

    name: str
    title: str
    control: Control
    parameters: tuple[Parameter, ...]
    mark: Literal["Cycle", "Step"] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The header of its CSV file."""
        if self.control is Control.IMPEDANCE:
            return IMPEDANCE_COLUMNS
        applied = {
            Control.POTENTIAL: ("Applied potential (V)",),
            Control.CURRENT: ("Applied current (A)",),
        }.get(self.control, ())
        mark = () if self.mark is None else (self.mark,)
        return ("Time (s)", "Potential (V)", "Current (A)", *mark, "Exp", *applied)


IMPEDANCE_COLUMNS = (
    "Frequency (Hz)",
    "Z real (Ohm)",
    "Z imag (Ohm)",
    "|Z| (Ohm)",
    "Phase (deg)",
    "Exp",
)


def _potential(name: str, label: str, default: float, explanation: str) -> Parameter:
    return Parameter(name, label, "V", default, explanation)


def _current(name: str, label: str, default: float, explanation: str) -> Parameter:
    return Parameter(name, label, "A", default, explanation)


_DURATION = Parameter("duration", "Duration", "s", 5.0, "How long it is held.")
_STEP_DURATION = Parameter(
    "step_duration", "Step duration", "s", 1.0, "How long each step is held."
)
_SCAN_RATE = Parameter("scan_rate", "Scan rate", "V/s", 0.1, "How fast the potential changes.")
_NUM_STEPS = Parameter(
    "num_steps", "Steps", "", 5, "Number of steps from start to end, both included.", kind="int"
)
_CYCLES = Parameter("cycles", "Cycles", "", 2, "How often the sweep is repeated.", kind="int")

_TABLE = (
    Mode(
        "CA",
        "Chronoamperometry",
        Control.POTENTIAL,
        (_potential("potential", "Potential", 0.5, "The potential that is held."), _DURATION),
    ),
    Mode(
        "LSV",
        "Linear sweep voltammetry",
        Control.POTENTIAL,
        (
            _potential("start", "Start", -0.1, "Where the sweep begins."),
            _potential("end", "End", 0.7, "Where the sweep ends."),
            _SCAN_RATE,
        ),
    ),
    Mode(
        "CV",
        "Cyclic voltammetry",
        Control.POTENTIAL,
        (
            _potential("start", "Start", 0.3, "Where the first cycle begins."),
            _potential("vertex1", "Vertex 1", 0.7, "Where the sweep turns first."),
            _potential("vertex2", "Vertex 2", -0.1, "Where it turns again."),
            _potential("end", "End", 0.3, "Where the last cycle ends."),
            _SCAN_RATE,
            _CYCLES,
        ),
        mark="Cycle",
    ),
    Mode(
        "PSTEP",
        "Potential steps",
        Control.POTENTIAL,
        (
            Parameter(
                "potentials",
                "Potentials",
                "V",
                (0.0, 0.2, 0.4, 0.6),
                "The potentials held one after another.",
                kind="float_list",
            ),
            _STEP_DURATION,
        ),
        mark="Step",
    ),
    Mode(
        "CP",
        "Chronopotentiometry",
        Control.CURRENT,
        (_current("current", "Current", 1e-5, "The current that is held."), _DURATION),
    ),
    Mode(
        "GS",
        "Galvanostatic staircase",
        Control.CURRENT,
        (
            _current("start", "Start", 0.0, "The first current."),
            _current("end", "End", 2e-5, "The last current."),
            _NUM_STEPS,
            _STEP_DURATION,
        ),
    ),
    Mode(
        "GCV",
        "Galvanostatic cycling",
        Control.CURRENT,
        (
            _current("start", "Start", 0.0, "Where each cycle begins."),
            _current("vertex1", "Vertex 1", 2e-5, "Where the staircase turns first."),
            _current("vertex2", "Vertex 2", -2e-5, "Where it turns again."),
            _current("end", "End", 0.0, "Where it ends after the last cycle."),
            _NUM_STEPS,
            Parameter("step_duration", "Step duration", "s", 0.2, "How long each step is held."),
            _CYCLES,
        ),
        mark="Cycle",
    ),
    Mode(
        "STEPSEQ",
        "Current steps",
        Control.CURRENT,
        (
            Parameter(
                "currents",
                "Currents",
                "A",
                (0.0, 1e-5, 2e-5),
                "The currents held one after another.",
                kind="float_list",
            ),
            _STEP_DURATION,
        ),
    ),
    Mode("OCP", "Open circuit potential", Control.OPEN_CIRCUIT, (_DURATION,)),
    Mode(
        "EIS",
        "Impedance spectroscopy",
        Control.IMPEDANCE,
        (
            Parameter(
                "start_freq",
                "First frequency",
                "Hz",
                100.0,
                "Where the spectrum begins.",
                aliases=("freq_start_hz",),
            ),
            Parameter(
                "end_freq",
                "Last frequency",
                "Hz",
                1.0,
                "Where the spectrum ends.",
                aliases=("freq_end_hz",),
            ),
            Parameter(
                "points_per_decade",
                "Points per decade",
                "",
                5,
                "How close the frequencies lie.",
                kind="int",
                aliases=("points",),
            ),
            Parameter(
                "cycles_per_freq",
                "Periods per frequency",
                "",
                3,
                "Whole periods measured at each frequency.",
                kind="int",
                required=False,
            ),
            Parameter(
                "spacing",
                "Spacing",
                "",
                "log",
                "Whether frequencies lie evenly on a logarithmic or a linear scale.",
                kind="choice",
                required=False,
                choices=("log", "lin"),
            ),
            Parameter(
                "amplitude",
                "Amplitude",
                "V",
                0.02,
                "Amplitude of the sine.",
                required=False,
            ),
            Parameter(
                "bias",
                "Bias",
                "V",
                0.0,
                "Potential around which the sine swings.",
                required=False,
            ),
        ),
    ),
)

MODES: Mapping[str, Mode] = MappingProxyType({mode.name: mode for mode in _TABLE})


def mode_named(name: str) -> Mode:
    """Return a mode by its name, case aside.

    Raises
    ------
    UnknownMode
        There is none of that name.
    """
    mode = MODES.get(name.upper())
    if mode is None:
        raise UnknownMode(
            f"There is no mode called {name[:40]}", hint=f"Modes are {', '.join(MODES)}."
        )
    return mode
