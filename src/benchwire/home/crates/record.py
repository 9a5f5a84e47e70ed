"""The record of a piece of work as plain values: what was asked for, when and of whom."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from benchwire.foundation.catalogue import Bundle
from benchwire.foundation.run_record import versions
from benchwire.foundation.samples.names import SampleLink


def run_content(bundle: Bundle, links: Sequence[SampleLink]) -> dict[str, Any]:
    """Return the record of a piece of work whose domain keeps none."""
    return {
        "item": bundle.item.as_json(),
        "started_at": iso_time(bundle.started),
        "ended_at": iso_time(bundle.ended),
        "requested_by": bundle.requested_by,
        "parameters": plain(bundle.parameters),
        "instruments": [
            {"name": item.name, "serial_number": item.serial_number, "model": item.model}
            for item in bundle.instruments
        ],
        "samples": [link.as_json() for link in links],
        "versions_at_export": versions(bundle.packages),
    }


def encoded(content: Mapping[str, Any]) -> bytes:
    """Return JSON as it lies in the crate; what no encoding can carry becomes a question mark."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace") + b"\n"


def plain(value: object) -> Any:
    """Return a value as JSON can hold it; what JSON does not know becomes text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)


def flat(parameters: Mapping[str, Any]) -> list[tuple[str, str | int | float | bool]]:
    """Return parameters as pairs of a dotted name and a value; lists are values, as JSON."""
    named: dict[str, str | int | float | bool] = {}
    for name, value in _flat("", plain(parameters)):
        # A key may hold a dot itself.
        number = 2
        free = name
        while free in named:
            free, number = f"{name} ({number})", number + 1
        named[free] = value
    return list(named.items())


def iso_time(moment: datetime | None) -> str | None:
    """Return a moment in the one form of ISO 8601 that the profile knows."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str | int | float | bool]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, item)
    elif isinstance(value, list):
        yield prefix, json.dumps(value, ensure_ascii=False)
    elif value is not None:
        yield prefix, value
