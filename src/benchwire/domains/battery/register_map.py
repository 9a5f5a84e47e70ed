"""Which registers of an inverter hold which quantity, from a file in TOML, and what they say.

::

    [[inverters]]
    name = "container-1"
    device_id = "ZHPESS232A230002"
    host = "192.0.2.10"
    [[inverters.registers]]
    field = "soc"
    address = 100
    type = "uint16"
    scale = 0.1

An inverter that describes itself by SunSpec needs ``sunspec = true`` in place of registers.
"""

import math
import struct
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, FiniteFloat, field_validator, model_validator
from pydantic.dataclasses import dataclass

from benchwire.domains.battery.mapping_file import (
    GROUP_OF,
    DeviceId,
    known_field,
    read_mapping,
    scaled,
)

NumberType = Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
Table = Literal["holding", "input"]
Order = Literal["big", "little"]
Address = Annotated[int, Field(ge=0, le=0xFFFF, strict=True)]
Values = Mapping[str, Mapping[str, float | None]]
"""What was measured: by group, then by field."""

# SunSpec's range; its mark of a factor that is not there, -0x8000, is outside.
_LARGEST_SCALE_FACTOR = 10

_FORMATS: Mapping[NumberType, str] = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I",
    "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
}  # fmt: skip
_FORM = ConfigDict(extra="forbid")

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True, config=_FORM)
class Register:
    """Where one quantity is; its value is ``raw * 10**scale_register * scale + offset``.

    Parameters
    ----------
    not_available
        The raw number that means "no value", as it is or as its bits (``0x8000`` of an int16).
    scale_register
        Address in the same table of an int16 with the power of ten.
    """

    field: str
    address: Address
    type: NumberType
    group: Literal["bms", "pcs"] | None = None
    table: Table = "holding"
    scale: FiniteFloat = 1.0
    offset: FiniteFloat = 0.0
    not_available: int | FiniteFloat | None = None
    scale_register: Address | None = None

    @field_validator("scale")
    @classmethod
    def _scale_leaves_something(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("a scale of 0 leaves nothing of the value")
        return scale

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        known_field(self.field, self.group)
        if self.address + self.words > 0x10000:
            raise ValueError(f"'{self.field}' goes on behind the last register, 65535")
        return self

    @property
    def words(self) -> int:
        """How many registers the number takes."""
        return struct.calcsize(_FORMATS[self.type]) // 2


@dataclass(frozen=True, slots=True, config=_FORM)
class Inverter:
    """One unit that is asked over Modbus TCP, the device its readings are of, and how to ask."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    device_id: DeviceId
    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=0xFFFF)] = 502
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    interval_s: Annotated[float, Field(ge=0.2, le=3600, allow_inf_nan=False)] = 2.0
    timeout_s: Annotated[float, Field(ge=0.05, le=30, allow_inf_nan=False)] = 2.0
    byte_order: Order = "big"
    word_order: Order = "big"
    sunspec: bool = False
    registers: tuple[Register, ...] = ()

    @model_validator(mode="after")
    def _says_where_to_look(self) -> Self:
        if self.sunspec and (self.registers or "little" in (self.byte_order, self.word_order)):
            raise ValueError("with sunspec = true there are neither registers nor orders to tell")
        if not self.sunspec and not self.registers:
            raise ValueError("either sunspec = true or registers are needed")
        for name in _repeated(register.field for register in self.registers):
            raise ValueError(f"'{name}' is in more than one register")
        return self


@dataclass(frozen=True, slots=True, config=_FORM)
class _File:
    inverters: tuple[Inverter, ...]

    @model_validator(mode="after")
    def _inverters_keep_apart(self) -> Self:
        if not self.inverters:
            raise ValueError("there is no inverter in it")
        for name in _repeated(one.name for one in self.inverters):
            raise ValueError(f"two inverters have the name '{name}'")
        sources = (
            (one.device_id, register.field) for one in self.inverters for register in one.registers
        )
        for device_id, field in _repeated(sources):
            raise ValueError(f"'{field}' of {device_id} comes from two inverters")
        return self


def load_maps(path: Path) -> tuple[Inverter, ...]:
    """Return the inverters that a file lists.

    Raises
    ------
    MappingInvalid
        With every mistake in the file.
    """
    return read_mapping(path, _File).inverters


def number(
    kind: NumberType,
    words: Sequence[int],
    *,
    byte_order: Order = "big",
    word_order: Order = "big",
) -> float:
    """Return the number in some registers; an int unless the type is a float."""
    ordered = words if word_order == "big" else words[::-1]
    data = struct.pack(f"{'>' if byte_order == 'big' else '<'}{len(ordered)}H", *ordered)
    found: float = struct.unpack(f">{_FORMATS[kind]}", data)[0]
    return found


def in_powers_of_ten(raw: float, factor: int) -> float | None:
    """Return ``raw * 10**factor`` rounded once; None for a factor that is none."""
    if abs(factor) > _LARGEST_SCALE_FACTOR:
        return None
    # A negative power has no exact double; dividing by the positive one rounds only once.
    return float(raw * 10**factor if factor >= 0 else raw / 10**-factor)


def decode(inverter: Inverter, words: Mapping[tuple[Table, int], int]) -> Values:
    """Return what an inverter's registers say.

    Parameters
    ----------
    words
        Registers that were read, by table and address.
    """
    values: dict[str, dict[str, float | None]] = {}
    for register in inverter.registers:
        found = [words[register.table, register.address + k] for k in range(register.words)]
        raw = number(
            register.type,
            found,
            byte_order=inverter.byte_order,
            word_order=inverter.word_order,
        )
        factor = 0
        if register.scale_register is not None:
            word = words[register.table, register.scale_register]
            factor = int(number("int16", [word], byte_order=inverter.byte_order))
        group = values.setdefault(GROUP_OF[register.field], {})
        group[register.field] = (
            None if _means_nothing(register, raw) else _value(register, raw, factor)
        )
    return values


def _means_nothing(register: Register, raw: float) -> bool:
    nothing = register.not_available
    if nothing is None or raw == nothing:
        return nothing is not None
    if register.type.startswith("float"):
        return False
    return (raw - nothing) % (1 << 16 * register.words) == 0


def _value(register: Register, raw: float, factor: int) -> float | None:
    value = in_powers_of_ten(raw, factor)
    if value is None or not math.isfinite(value):
        return None
    return scaled(value, register.scale, register.offset)


def _repeated(names: Iterable[Name]) -> Iterator[Name]:
    return (name for name, times in Counter(names).items() if times > 1)
