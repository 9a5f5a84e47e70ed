"""Rows and curves as the API writes them.

NaN stands for null inside; the JSON library writes it as that.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson

from benchwire.domains.battery.decimation import reduce
from benchwire.domains.battery.rows import Rows, Timeline
from benchwire.domains.battery.samples import Samples, iso, isos
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.signal_report import SignalReport
from benchwire.domains.battery.signals import Group


def bounds(timeline: Timeline, period: tuple[int, int] | None) -> tuple[int, int]:
    """Return the first row of a period and how many rows it has."""
    if period is None:
        return 0, len(timeline)
    first = timeline.rank(period[0])
    return first, timeline.rank(period[1]) - first


def page_json(
    timeline: Timeline,
    device_id: str,
    group: Group,
    page: tuple[int, int],
    period: tuple[int, int] | None,
) -> bytes:
    """Return a page of rows as it is answered: how many, and after how many others."""
    batch_size, skip = page
    first, rows = bounds(timeline, period)
    found = timeline.read(first + min(skip, rows), first + min(skip + batch_size, rows))
    return orjson.dumps(
        {
            "device_id": device_id,
            "total_records": len(found),
            "batch_size": batch_size,
            "skip": skip,
            "total_available": rows,
            "data": row_dicts(found, group),
        }
    )


def row_events(timeline: Timeline, group: Group, first: int, begin: int, stop: int) -> list[bytes]:
    """Return rows as the events of a stream, with their number in it; ``first`` is its begin."""
    rows = row_dicts(timeline.read(first + begin, first + stop), group)
    return [
        b"id: %d\ndata: %b\n\n" % (number, orjson.dumps(row))
        for number, row in enumerate(rows, begin)
    ]


def row_dicts(rows: Rows, group: Group) -> list[dict[str, Any]]:
    """Return rows as they are answered; NaN stands for null, as which orjson writes it."""
    fields = ("timestamp", *group.fields)
    found = [
        dict(zip(fields, (at, *values), strict=True))
        for at, values in zip(isos(rows.at_us), rows.values.tolist(), strict=True)
    ]
    for signal in group.signals:
        if signal.is_flag:
            for row in found:
                value = row[signal.field]
                row[signal.field] = None if math.isnan(value) else value != 0
    return found


def series_json(
    source: SignalSource,
    head: Mapping[str, Any],
    span: tuple[int | None, int | None],
    points: int,
    method: str,
    as_columns: bool,
) -> bytes:
    """Return a signal as it is answered, reduced to so many points."""
    known = source.span()
    found, total, start_us, end_us = Samples.none(), 0, span[0], span[1]
    if known is not None:
        first_us, last_us = known
        start_us = first_us if start_us is None else start_us
        end_us = last_us if end_us is None else end_us
        # Without an end the last sample counts; a chart's steps cover what it shows of the signal.
        lo = max(start_us, first_us)
        hi = min(end_us + (span[1] is None), last_us + 1)
        if lo < hi:
            found, total = reduce(
                source.parts(lo, hi), method, start_us=lo, end_us=hi, points=points
            )
    answer = {
        **head,
        "start": iso_or_none(start_us),
        "end": iso_or_none(end_us),
        "total_points": total,
    }
    if as_columns:
        answer["at_ms"] = (found.at_us / 1000).tolist()
        answer["value"] = found.values.tolist()
    else:
        answer["points"] = [
            {"timestamp": at, "value": value}
            for at, value in zip(isos(found.at_us), found.values.tolist(), strict=True)
        ]
    return orjson.dumps(answer)


def report_json(report: SignalReport) -> dict[str, Any]:
    """Return what was met while a signal was read."""
    return {
        **{key: value for key, value in asdict(report).items() if not key.endswith("_us")},
        "first": iso_or_none(report.first_us),
        "last": iso_or_none(report.last_us),
    }


def iso_or_none(at_us: int | None) -> str | None:
    """Return a time as it is written, None for none."""
    return None if at_us is None else iso(at_us)


def live_events(rows: Rows, group: Group) -> tuple[bytes, bytes]:
    """Return new rows as events: for those who watch the group, and for those who watch both."""
    found = row_dicts(rows, group)
    of_group = b"".join(b"event: row\ndata: %b\n\n" % orjson.dumps(row) for row in found)
    of_both = b"".join(
        b"event: row\ndata: %b\n\n" % orjson.dumps({"group": group.name, "row": row})
        for row in found
    )
    return of_group, of_both


def latest(rows: Rows, group: Group) -> list[tuple[str, Any]]:
    """Return the time of the newest row and the last known value of each field, null if none is."""
    if not len(rows):
        return []
    known = ~np.isnan(rows.values)
    last = len(rows) - 1 - known[::-1].argmax(axis=0)
    values = rows.values[last, np.arange(len(group.fields))]
    newest = row_dicts(Rows(rows.at_us[-1:], values[np.newaxis]), group)[0]
    return [(key, None if value != value else value) for key, value in newest.items()]
