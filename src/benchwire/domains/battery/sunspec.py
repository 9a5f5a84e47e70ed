"""Inverters and batteries that describe themselves by SunSpec: where models are, what they say.

A device has the marker ``SunS`` at one of three addresses, then model after model: an id, a length,
that many registers. Offsets here count from a model's id, as in the published definitions.

The inverter's heat sink stands for its transistors, its cabinet for the ambient air. SunSpec gives
temperatures of modules; they stand for those of the cells.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchwire.domains.battery.mapping_file import GROUP_OF
from benchwire.domains.battery.register_map import (
    NumberType,
    Values,
    in_powers_of_ten,
    number,
)

BASES = (40000, 50000, 0)
"""Where a device's first register may be."""
MARKER = (0x5375, 0x6E53)
NO_MORE_MODELS = 0xFFFF
HEADER_WORDS = 2

_NOT_IMPLEMENTED: Mapping[NumberType, int] = {"int16": -0x8000, "uint16": 0xFFFF}
_WORDS: Mapping[NumberType, int] = {"int16": 1, "uint16": 1, "float32": 2}
_VA_PER_KVA = 1000


@dataclass(frozen=True, slots=True)
class Model:
    """A model in a device.

    Parameters
    ----------
    address
        Of its id.
    length
        Registers after id and length.
    """

    id: int
    address: int
    length: int

    @property
    def end(self) -> int:
        """The address behind its last register."""
        return self.address + HEADER_WORDS + self.length

    @property
    def words_of_use(self) -> int:
        """How many registers, from its id on, have to be read; 0 if it tells nothing of ours."""
        points = _POINTS.get(self.id, ())
        needed = max((point.end for point in points), default=0)
        return min(needed, HEADER_WORDS + self.length)


@dataclass(frozen=True, slots=True)
class _Point:
    """A quantity in a model; ``factor`` is where its power of ten is."""

    name: str
    offset: int
    type: NumberType
    factor: int | None = None

    @property
    def end(self) -> int:
        return max(self.offset + _WORDS[self.type], (self.factor or 0) + 1)


def _inverter_of_integers() -> Iterator[_Point]:
    amps, volts, heat = 6, 13, 37
    for k, phase in enumerate("abc"):
        yield _Point(f"ac_current_{phase}", 3 + k, "uint16", amps)
    for k, pair in enumerate(("ab", "bc", "ca")):
        yield _Point(f"ac_voltage_{pair}", 7 + k, "uint16", volts)
    yield _Point("active_power_w", 14, "int16", 15)
    yield _Point("apparent_power_va", 18, "int16", 19)
    yield _Point("dc_current", 27, "uint16", 28)
    yield _Point("dc_voltage", 29, "uint16", 30)
    yield _Point("temp_ambient", 33, "int16", heat)
    yield _Point("temp_igbt", 34, "int16", heat)


def _inverter_of_floats() -> Iterator[_Point]:
    for k, phase in enumerate("abc"):
        yield _Point(f"ac_current_{phase}", 4 + 2 * k, "float32")
    for k, pair in enumerate(("ab", "bc", "ca")):
        yield _Point(f"ac_voltage_{pair}", 10 + 2 * k, "float32")
    yield _Point("active_power_w", 22, "float32")
    yield _Point("apparent_power_va", 26, "float32")
    yield _Point("dc_current", 34, "float32")
    yield _Point("dc_voltage", 36, "float32")
    yield _Point("temp_ambient", 40, "float32")
    yield _Point("temp_igbt", 42, "float32")


_STORAGE = (_Point("soc", 8, "uint16", 22), _Point("voltage", 10, "uint16", 24))
_BATTERY = (
    _Point("soc", 11, "uint16", 56),
    _Point("soh", 13, "uint16", 58),
    _Point("voltage", 34, "uint16", 59),
    _Point("cell_max_voltage", 37, "uint16", 60),
    _Point("cell_min_voltage", 40, "uint16", 60),
    _Point("cell_avg_voltage", 43, "uint16", 60),
    _Point("current", 44, "int16", 61),
)
# The definition names no factor for the mean temperature; it is in the unit of the others.
_LITHIUM_ION_BANK = (
    _Point("cell_max_temp", 4, "int16", 23),
    _Point("cell_min_temp", 7, "int16", 23),
    _Point("cell_avg_temp", 10, "int16", 23),
)
# Where two models tell the same, the later in this table is believed: the battery itself.
_POINTS: Mapping[int, tuple[_Point, ...]] = {
    **dict.fromkeys((101, 102, 103), tuple(_inverter_of_integers())),
    **dict.fromkeys((111, 112, 113), tuple(_inverter_of_floats())),
    124: _STORAGE,
    802: _BATTERY,
    803: _LITHIUM_ION_BANK,
}
_TRUST = tuple(_POINTS)


def decode(models: Mapping[int, Sequence[int]]) -> Values:
    """Return what models say.

    ``apparent_power`` has the sign of the active power where the device gives one: positive from
    the battery to the grid. Currents have the signs the device gives them.

    Parameters
    ----------
    models
        The registers of each, from its id on, by id.
    """
    told: dict[str, float] = {}
    for model_id in sorted(models, key=_trust):
        for point in _POINTS.get(model_id, ()):
            value = _value(point, models[model_id])
            if value is not None:
                told[point.name] = value
    if (apparent := told.get("apparent_power_va")) is not None:
        active = told.get("active_power_w", 0.0)
        signed = math.copysign(apparent, active) if active else apparent
        told["apparent_power"] = signed / _VA_PER_KVA
    for spread, kind in (("cell_voltage_diff", "voltage"), ("cell_temp_diff", "temp")):
        high, low = told.get(f"cell_max_{kind}"), told.get(f"cell_min_{kind}")
        if high is not None and low is not None:
            # Both have few decimals; their difference has no more.
            told[spread] = round(high - low, 6)
    values: dict[str, dict[str, float | None]] = {}
    for field, group in GROUP_OF.items():
        if field in told:
            values.setdefault(group, {})[field] = told[field]
    return values


def _trust(model_id: int) -> int:
    return _TRUST.index(model_id) if model_id in _TRUST else -1


def _value(point: _Point, words: Sequence[int]) -> float | None:
    """Return a quantity; None if the device or this edition of the model does not have it."""
    if point.end > len(words):
        return None
    raw = number(point.type, words[point.offset : point.offset + _WORDS[point.type]])
    if raw == _NOT_IMPLEMENTED.get(point.type) or not math.isfinite(raw):
        return None
    if point.factor is None:
        return raw
    return in_powers_of_ten(raw, int(number("int16", [words[point.factor]])))
