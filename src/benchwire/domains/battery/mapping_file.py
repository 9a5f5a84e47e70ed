"""A TOML file that people write by hand, checked as a whole: its mistakes are told at once."""

import math
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from benchwire.domains.battery.signals import BMS, DEVICE_ID, PATHS, PCS
from benchwire.foundation.errors import Invalid


def _no_path(device_id: str) -> str:
    if device_id in PATHS:
        raise ValueError("no device can be called that")
    return device_id


DeviceId = Annotated[str, Field(pattern=DEVICE_ID), AfterValidator(_no_path)]
"""A device's name in a file."""

GROUP_OF = {field: group.name for group in (BMS, PCS) for field in group.fields}
"""The group of every field that a source may deliver."""

Parsed = TypeVar("Parsed")

_PLAINER = {
    "missing": "this key is needed",
    "unexpected_keyword_argument": "there is no such key",
    "string_pattern_mismatch": "letters, digits, dots, dashes and underscores only, 64 at most",
}


class MappingInvalid(Invalid):
    """A file of inverters or subscriptions cannot be used; ``details`` has every mistake."""

    code = "battery.mapping_invalid"


def read_mapping(path: Path, form: type[Parsed]) -> Parsed:
    """Return what a file says, in its form.

    Keys are checked first, and what must hold between them once every key is right.

    Raises
    ------
    MappingInvalid
        With one line for each mistake, by entry (counted from 1) and key.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise MappingInvalid(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise MappingInvalid(f"{path.name} is not TOML: {error}") from error
    try:
        return TypeAdapter(form).validate_python(content)
    except ValidationError as error:
        mistakes = [
            {
                "key": _place(one["loc"]),
                "message": _PLAINER.get(one["type"], one["msg"].removeprefix("Value error, ")),
            }
            for one in error.errors(include_url=False, include_context=False)
        ]
    lines = "; ".join(f"{one['key']}: {one['message']}" for one in mistakes)
    raise MappingInvalid(f"{path.name} has mistakes: {lines}", details=mistakes)


def known_field(field: str, group: str | None) -> str:
    """Return a field if it is one, of the group if one is named.

    Raises
    ------
    ValueError
        Otherwise; it names the fields there are.
    """
    if field not in GROUP_OF:
        raise ValueError(f"'{field}' is not a field; there are {', '.join(GROUP_OF)}")
    if group not in (None, GROUP_OF[field]):
        raise ValueError(f"'{field}' belongs to {GROUP_OF[field]}, not to {group}")
    return field


def scaled(value: float, scale: float, offset: float) -> float | None:
    """Return ``value * scale + offset`` rounded once; None if that is no number.

    In decimals, as the file has the scale: 3301 by 0.1 is 330.1 and not 330.10000000000002.
    """
    if (scale, offset) == (1.0, 0.0):
        return value
    found = float(Decimal(value) * Decimal(repr(scale)) + Decimal(repr(offset)))
    return found if math.isfinite(found) else None


def _place(steps: tuple[int | str, ...]) -> str:
    """Return where in the file: ``inverters[2].registers[1].scale``."""
    place = ""
    for step in steps:
        place += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if place else step
    return place or "the file"
