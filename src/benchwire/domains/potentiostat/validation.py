"""Checking a mode's parameters, with and without an instrument."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchwire.domains.potentiostat import impedance, waveforms
from benchwire.domains.potentiostat.modes import (
    Control,
    Mode,
    Parameter,
    Parameters,
    ParameterValue,
    mode_named,
)
from benchwire.foundation.errors import Invalid

MAX_POTENTIAL = 10.0
OUTPUT_LIMIT = 4.95
"""Volts at which the instrument's output clips."""
FULL_SCALES = (4.95e-3, 0.5e-3, 50e-6, 5.4e-6, 5.4e-6)
"""Amperes that it drives at each gain; the firmware takes 4 for 3."""
FULL_SCALE = FULL_SCALES[0]
# Towards a current that it cannot reach, an instrument goes to the end of its output.
_LIMITS: Mapping[str, tuple[float, float]] = {
    "V": (-MAX_POTENTIAL, MAX_POTENTIAL),
    "A": (-FULL_SCALE, FULL_SCALE),
    "Hz": (1e-5, 1e6),
}
_MOST_NUMBERS = 100_000
FAST_SCAN = 5.0
MANY_CYCLES = 50

# Methods of other instruments that clients ask about; only presence can be checked.
_KNOWN_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "DC": ("duration_s", "voltage_v"),
    "AC": ("duration_s", "frequency_hz", "voltage_v"),
    "CDL": ("vertex_a_v", "vertex_b_v", "cycles"),
}
_POSITIVE = frozenset(
    {
        "duration", "step_duration", "scan_rate", "cycles", "start_freq", "end_freq",
        "points_per_decade", "cycles_per_freq", "amplitude",
    }
)  # fmt: skip
_MIN_STEPS = 2
_MIN_POINTS = 2
_MAX_WHOLE = 10**9
_MAX_PER_DECADE = 1000


class ModeParametersInvalid(Invalid):
    """A mode's parameters cannot be used."""

    status: ClassVar[int] = 422
    code = "jobs.invalid_request"


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing to know about one field; ``*`` stands for the whole."""

    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Validation:
    """What is wrong, and what is merely doubtful."""

    errors: tuple[Issue, ...]
    warnings: tuple[Issue, ...]

    @property
    def ok(self) -> bool:
        """Whether the parameters can be used."""
        return not self.errors


def validate(name: str, raw: Mapping[str, Any], gain: int = 0) -> Validation:
    """Check parameters as a client sent them; numbers may come as text.

    Parameters
    ----------
    gain
        The run's, from 0 to 4, which limits its currents.

    Raises
    ------
    UnknownMode
        There is no such mode.
    """
    elsewhere = _KNOWN_ELSEWHERE.get(name.upper())
    if elsewhere is not None:
        missing = [_missing(field, "") for field in elsewhere if _is_blank(raw.get(field))]
        note = Issue("*", "not_implemented", f"{name.upper()} is only checked for presence here.")
        return Validation(tuple(missing), (note,))
    mode = mode_named(name)
    _, issues, warnings = _read(mode, raw, gain)
    return Validation(tuple(issues), tuple(warnings))


def parse(mode: Mode, raw: Mapping[str, Any], gain: int = 0) -> Parameters:
    """Return a mode's parameters as numbers, defaults filled in, unknown keys left out.

    Raises
    ------
    ModeParametersInvalid
        Exactly when `validate` finds an error; it names each field.
    """
    parameters, issues, _ = _read(mode, raw, gain)
    if issues:
        at_gain = f"?tia_gain={gain}" if gain else ""
        raise ModeParametersInvalid(
            f"{mode.name}: " + "; ".join(f"{item.field}: {item.message}" for item in issues),
            hint=f"POST /modes/{mode.name}/validate{at_gain} checks parameters.",
            details=[
                {"field": item.field, "code": item.code, "message": item.message} for item in issues
            ],
        )
    return parameters


def _read(
    mode: Mode, raw: Mapping[str, Any], gain: int
) -> tuple[dict[str, ParameterValue], list[Issue], list[Issue]]:
    values: dict[str, ParameterValue] = {}
    issues: list[Issue] = []
    for parameter in mode.parameters:
        given = _given(parameter, raw)
        if _is_blank(given):
            if parameter.required:
                issues.append(_missing(parameter.name, parameter.unit))
            else:
                values[parameter.name] = parameter.default
            continue
        value, found = _value(mode, parameter, given)
        issues += found
        if value is not None:
            values[parameter.name] = value
    if mode.control is Control.CURRENT:
        issues += _gain_issues(mode, values, gain)
    complete = len(values) == len(mode.parameters)
    if complete:
        issues += _whole_errors(mode, values)
    warnings = _warnings(mode, values, playable=complete and not issues)
    return values, issues, warnings


def _given(parameter: Parameter, raw: Mapping[str, Any]) -> object:
    for name in (parameter.name, *parameter.aliases):
        if not _is_blank(raw.get(name)):
            return raw[name]
    return None


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _missing(field: str, unit: str) -> Issue:
    return Issue(field, "missing_field", "is missing" + (f" (in {unit})" if unit else ""))


def _value(
    mode: Mode, parameter: Parameter, given: object
) -> tuple[ParameterValue | None, list[Issue]]:
    if parameter.kind == "float_list":
        return _list(mode, parameter, given)
    if parameter.kind == "choice":
        text = str(given).strip().lower()
        if text not in parameter.choices:
            allowed = " or ".join(parameter.choices)
            return None, [Issue(parameter.name, "invalid_choice", f"has to be {allowed}")]
        return text, []
    number = _number(given)
    if parameter.kind == "int":
        return _whole(mode, parameter, given, number)
    if number is None:
        unit = f" in {parameter.unit}" if parameter.unit else ""
        return None, [Issue(parameter.name, "not_a_number", f"has to be a number{unit}")]
    return number, _range_issues(mode, parameter, number)


def _whole(
    mode: Mode, parameter: Parameter, given: object, number: float | None
) -> tuple[ParameterValue | None, list[Issue]]:
    name = parameter.name
    if number is None and _is_odd_number(given):
        return None, [Issue(name, "not_a_number", "has to be a number")]
    if number is None or number != int(number):
        return None, [Issue(name, "not_an_integer", "has to be a whole number")]
    if number > _MAX_WHOLE:
        return None, [Issue(name, "max_value", f"has to be {_MAX_WHOLE} or less")]
    return int(number), _range_issues(mode, parameter, number)


def _list(
    mode: Mode, parameter: Parameter, given: object
) -> tuple[ParameterValue | None, list[Issue]]:
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        return None, [Issue(parameter.name, "not_a_list", "has to be a list of numbers")]
    if not given:
        return None, [Issue(parameter.name, "missing_field", "is an empty list")]
    if len(given) > _MOST_NUMBERS:
        message = f"has to be a list of {_MOST_NUMBERS} numbers or fewer"
        return None, [Issue(parameter.name, "max_value", message)]
    numbers: list[float] = []
    issues: list[Issue] = []
    for place, item in enumerate(given, 1):
        number = _number(item)
        if number is None:
            message = f"number {place} of the list is not a number"
            issues.append(Issue(parameter.name, "not_a_number", message))
            continue
        numbers.append(number)
        issues += _range_issues(mode, parameter, number, place=f"number {place} of the list ")
    return (None if len(numbers) < len(given) else tuple(numbers)), issues


def _number(value: object) -> float | None:
    """Return a finite number, also from text; None for anything else, true and false included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_odd_number(value: object) -> bool:
    """Whether a value that is no finite number is one in form: true, NaN, infinity."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float)


def _range_issues(
    mode: Mode, parameter: Parameter, number: float, *, place: str = ""
) -> list[Issue]:
    name = parameter.name
    if name in _POSITIVE and number <= 0:
        return [Issue(name, "must_be_positive", f"{place}has to be above 0")]
    if name == "num_steps" and number < _MIN_STEPS:
        return [Issue(name, "min_value", f"has to be {_MIN_STEPS} or more")]
    if name == "points_per_decade" and number > _MAX_PER_DECADE:
        return [Issue(name, "max_value", f"has to be {_MAX_PER_DECADE} or less")]
    return _unit_issues(mode, parameter, number, place)


def _unit_issues(mode: Mode, parameter: Parameter, number: float, place: str) -> list[Issue]:
    limits = _LIMITS.get(parameter.unit)
    if limits is None or (parameter.unit == "V" and mode.control is Control.CURRENT):
        return []
    least, most = limits
    if number < least:
        message = f"{place}has to be {least:g} {parameter.unit} or more"
        return [Issue(parameter.name, "min_value", message)]
    if number > most:
        message = f"{place}has to be {most:g} {parameter.unit} or less"
        return [Issue(parameter.name, "max_value", message)]
    return []


def _gain_issues(mode: Mode, values: Parameters, gain: int) -> list[Issue]:
    """Return the currents that the instrument drives, but not at this gain."""
    full_scale = FULL_SCALES[gain]
    issues: list[Issue] = []
    for parameter in mode.parameters:
        value = values.get(parameter.name)
        numbers = value if isinstance(value, tuple) else (value,)
        for count, number in enumerate(numbers, 1):
            if parameter.unit != "A" or not isinstance(number, float):
                continue
            if not full_scale < abs(number) <= FULL_SCALE:
                continue
            # The finest range that holds it.
            fits = max(other for other, most in enumerate(FULL_SCALES) if abs(number) <= most)
            place = f"number {count} of the list " if isinstance(value, tuple) else ""
            message = (
                f"{place}is beyond the {_current(full_scale)} of tia_gain {gain}; "
                f"tia_gain {fits} goes to {_current(FULL_SCALES[fits])}"
            )
            code = "max_value" if number > 0 else "min_value"
            issues.append(Issue(parameter.name, code, message))
    return issues


def _current(amperes: float) -> str:
    """Return a full scale in words."""
    return f"{amperes * 1e3:g} mA" if amperes >= 1e-4 else f"{amperes * 1e6:g} uA"


def _whole_errors(mode: Mode, values: Parameters) -> list[Issue]:
    if mode.name == "CV":
        potentials = {values[name] for name in ("start", "vertex1", "vertex2", "end")}
        if len(potentials) == 1:
            return [Issue("end", "zero_sweep", "all four potentials are the same")]
    return []


def _warnings(mode: Mode, values: Parameters, *, playable: bool) -> list[Issue]:
    found: list[Issue] = []
    for parameter in mode.parameters:
        value = values.get(parameter.name)
        numbers = value if isinstance(value, tuple) else (value,)
        if parameter.unit == "V" and any(
            isinstance(number, float | int) and abs(number) > OUTPUT_LIMIT for number in numbers
        ):
            message = f"the instrument's output ends at {OUTPUT_LIMIT} V"
            found.append(Issue(parameter.name, "high_value", message))
    scan_rate = values.get("scan_rate")
    if isinstance(scan_rate, float) and scan_rate > FAST_SCAN:
        message = f"above {FAST_SCAN:g} V/s the curve has few points"
        found.append(Issue("scan_rate", "high_value", message))
    cycles = values.get("cycles")
    if isinstance(cycles, int) and cycles > MANY_CYCLES:
        found.append(Issue("cycles", "high_value", f"more than {MANY_CYCLES} cycles take long"))
    for name in ("start_freq", "end_freq"):
        frequency = values.get(name)
        if isinstance(frequency, float) and frequency > impedance.RECOMMENDED_FREQUENCY:
            message = (
                f"the instrument measures well up to {impedance.RECOMMENDED_FREQUENCY:g} Hz; "
                f"frequencies above {impedance.HIGHEST_FREQUENCY:g} Hz are left out"
            )
            found.append(Issue(name, "high_value", message))
    if playable:
        found += (
            _amplitude_warnings(values, found)
            if mode.control is Control.IMPEDANCE
            else _length_warnings(mode, values)
        )
    return found


def _amplitude_warnings(values: Parameters, found: Sequence[Issue]) -> list[Issue]:
    bias, amplitude = values["bias"], values["amplitude"]
    is_told = any(issue.field in {"bias", "amplitude"} for issue in found)
    if (
        is_told
        or not isinstance(bias, float)
        or not isinstance(amplitude, float)
        or abs(bias) + amplitude <= OUTPUT_LIMIT
    ):
        return []
    message = f"with the bias it goes beyond {OUTPUT_LIMIT} V, where the instrument's output ends"
    return [Issue("amplitude", "high_value", message)]


def _length_warnings(mode: Mode, values: Parameters) -> list[Issue]:
    period = waveforms.SAMPLE_PERIOD
    points = waveforms.point_count(mode, values)
    if points < _MIN_POINTS:
        message = f"only {points} points result; a point takes {period} s"
        return [Issue("*", "too_short", message)]
    step = values.get("step_duration")
    if isinstance(step, float) and not waveforms.samples_in(step, period):
        message = f"a step ends before its first point; a point takes {period} s"
        return [Issue("step_duration", "too_short", message)]
    return []
