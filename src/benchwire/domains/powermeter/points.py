"""Readings as the API's points: a local and a UTC stamp, and every quantity in its unit."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchwire.domains.powermeter.periods import LocalTime
from benchwire.domains.powermeter.readings import QUANTITIES, Reading, Readings
from benchwire.foundation.clock import moment, utc_text

_TEMPLATE = (
    '{"timestamp":"%s","utc":"%sZ",' + ",".join(f'"{item.key}":%r' for item in QUANTITIES) + "}"
)


def point_of(reading: Reading, local: LocalTime) -> dict[str, Any]:
    """Return a reading as the API writes it."""
    return {"timestamp": local.text(reading.at), **utc_point(reading)}


def utc_point(reading: Reading) -> dict[str, Any]:
    """Return a reading without the local stamp, for clients in any zone."""
    return {
        "utc": utc_text(moment(reading.at)),
        **{item.key: reading.value(index) for index, item in enumerate(QUANTITIES)},
    }


def json_points(readings: Readings, local: LocalTime) -> str:
    """Return readings as JSON objects with commas between them.

    Written by a template, ten times as fast as through `json`: an hour at 10 Hz has 36,000 points.
    """
    columns = [
        _stamps(readings.at + local.offset),
        _stamps(readings.at),
        *(readings.values(index).tolist() for index in range(len(QUANTITIES))),
    ]
    return ",".join([_TEMPLATE % row for row in zip(*columns, strict=True)])


def json_answer(head: str, parts: Iterator[Readings], local: LocalTime) -> Iterator[str]:
    """Yield ``head``, a JSON object without its end, with ``data`` and their ``count`` added."""
    count = 0
    yield head + ',"data":['
    for part in parts:
        yield ("," if count else "") + json_points(part, local)
        count += len(part)
    yield f'],"count":{count}}}'


def _stamps(at: "np.ndarray[Any, np.dtype[np.int64]]") -> list[str]:
    texts: list[str] = np.datetime_as_string(at.astype("datetime64[us]"), unit="us").tolist()
    return texts
