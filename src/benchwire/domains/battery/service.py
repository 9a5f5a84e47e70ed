"""What the battery telemetry does for its users: rows, streams, curves and new readings."""

import asyncio
import functools
import logging
import math
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

import orjson

from benchwire.domains.battery import live
from benchwire.domains.battery.archive import Archive
from benchwire.domains.battery.decimation import reduce
from benchwire.domains.battery.errors import (
    DeviceUnknown,
    QueryInvalid,
    ReadingInvalid,
    StillReading,
)
from benchwire.domains.battery.periods import period_of, span_of
from benchwire.domains.battery.rows import Rows, Timeline
from benchwire.domains.battery.samples import MICROSECONDS, Reading, Samples, iso, isos
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.signals import BESS, BMS, DEVICE_ID, GROUPS, PCS, Group
from benchwire.foundation.clock import Clock, microseconds
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.streams import Hub

logger = logging.getLogger(__name__)

T = TypeVar("T")

READ_SECONDS = 600.0
"""How long a request waits for a recording to be read."""
_BLOCK_ROWS = 128
_BLOCKS_KEPT = 256
_THREADS = 4

NextEvent = Callable[[], Awaitable[bytes]]


class Telemetry:
    """Rows, streams and curves of every device.

    Whatever touches the disk runs in a few threads of its own: hundreds of clients that wait for a
    recording must not hold up those of another domain.
    """

    def __init__(self, archive: Archive, hub: Hub, clock: Clock) -> None:
        self._archive = archive
        self._hub = hub
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="battery")
        self._blocks: OrderedDict[tuple[object, ...], list[bytes]] = OrderedDict()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    @property
    def hub(self) -> Hub:
        """Where new readings are published."""
        return self._hub

    async def in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Run something that touches the disk."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, functools.partial(work, *args))

    # -- rows -------------------------------------------------------------------------------

    async def timeline(self, device_id: str, group: Group) -> Timeline:
        """Return the rows of a device's group, read first where that is due.

        Raises
        ------
        DeviceUnknown
            There is no such device, or it has no rows of that group.
        StillReading
            The recording is so long that it is not read yet.
        """
        promise = await self.in_thread(self._archive.request, device_id, group)
        # Others may wait for the same reading: giving up here must not cancel it.
        waiting = asyncio.shield(asyncio.wrap_future(promise))
        try:
            async with asyncio.timeout(READ_SECONDS):
                timeline = await waiting
        except TimeoutError:
            raise StillReading from None
        if not len(timeline):
            raise DeviceUnknown(group.name)
        return timeline

    async def devices(self, group: Group) -> list[dict[str, Any]]:
        """Return the devices that have rows of a group, by id."""
        found = []
        for device_id in await self.in_thread(self._archive.devices, group):
            try:
                timeline = await self.timeline(device_id, group)
            except BenchwireError as error:
                if not isinstance(error, DeviceUnknown):
                    logger.warning("%s is not listed: %s", device_id, error.message)
                continue
            counts = self._archive.rows_per_field(device_id, group)
            found.append(
                {
                    "device_id": device_id,
                    "available_metrics": list(counts),
                    "total_rows_per_metric": counts,
                    "total_rows": len(timeline),
                }
            )
        return found

    async def batch(
        self, device_id: str, group: Group, *, batch_size: int, skip: int, date: str | None
    ) -> bytes:
        """Return a page of rows as JSON, oldest first."""
        period = period_of(date) if date is not None else None
        timeline = await self.timeline(device_id, group)
        return await self.in_thread(
            page_json, timeline, device_id, group, (batch_size, skip), period
        )

    # -- streams ----------------------------------------------------------------------------

    async def replay(
        self, device_id: str, group: Group, *, skip: int, date: str | None, last_id: str | None
    ) -> NextEvent:
        """Return what gives one row after another as events, and goes round at the end.

        Parameters
        ----------
        last_id
            The last row a client has, which goes before ``skip``.
        """
        period = period_of(date) if date is not None else None
        position = skip
        if last_id is not None and last_id.isascii() and last_id.isdecimal():
            position = int(last_id[:18]) + 1
        # The first rows are read before the answer begins, so that no error comes after it.
        position, block = await self._block(device_id, group, period, position)
        events = iter(block)

        async def next_event() -> bytes:
            nonlocal events, position
            while True:
                event = next(events, None)
                if event is not None:
                    position += 1
                    return event
                position, block = await self._block(device_id, group, period, position)
                events = iter(block)

        return next_event

    async def _block(
        self, device_id: str, group: Group, period: tuple[int, int] | None, position: int
    ) -> tuple[int, list[bytes]]:
        """Return a position, or the first row where it is past the end, and the events from it."""
        timeline = await self.timeline(device_id, group)
        first, rows = await self.in_thread(_bounds, timeline, period)
        if not rows:
            raise DeviceUnknown(group.name)
        position = position if position < rows else 0
        begin = position - position % _BLOCK_ROWS
        key = (device_id, group.name, timeline.version, first, begin)
        block = self._blocks.get(key)
        if block is None:
            stop = min(begin + _BLOCK_ROWS, rows)
            block = await self.in_thread(_events, timeline, group, first, begin, stop)
            self._blocks[key] = block
            while len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(key)
        return position, block[position - begin :]

    # -- curves -----------------------------------------------------------------------------

    async def source(self, device_id: str, group: Group, metric: str) -> SignalSource:
        """Return where the samples of a field are, or of any other signal of the device.

        Raises
        ------
        QueryInvalid
            The device has no such signal.
        """
        if metric in group.by_field:
            await self.timeline(device_id, group)
            return await self.in_thread(self._archive.source, device_id, group, metric)
        if not await self.in_thread(self._archive.has_signal, device_id, metric):
            raise QueryInvalid("There is no such metric for this device")
        await asyncio.shield(asyncio.wrap_future(self._archive.request_signal(device_id, metric)))
        return await self.in_thread(self._archive.signal_source, device_id, metric)

    async def series(
        self,
        device_id: str,
        group: Group,
        metric: str,
        *,
        points: int,
        method: str,
        span: tuple[str | None, str | None],
        as_columns: bool,
    ) -> bytes:
        """Return a signal at its own rate, reduced to so many points, as JSON."""
        start_us, end_us = span_of(*span)
        await self.timeline(device_id, group)
        source = await self.source(device_id, group, metric)
        signal = group.by_field.get(metric)
        head = {
            "device_id": device_id,
            "metric": metric,
            "unit": signal.unit if signal else None,
            "method": method,
        }
        return await self.in_thread(
            series_json, source, head, (start_us, end_us), points, method, as_columns
        )

    # -- new readings -----------------------------------------------------------------------

    def append(self, device_id: str, group_name: str, readings: Sequence[Reading]) -> int:
        """Store readings durably, show them to all, and return how many times were new.

        Raises
        ------
        ReadingInvalid
            No device can have that name.
        """
        if not re.fullmatch(DEVICE_ID, device_id, re.ASCII):
            raise ReadingInvalid(
                "A device that sends readings needs a name of up to 64 letters, digits, dots, "
                "dashes and underscores"
            )
        group = GROUPS[group_name]
        items = list(readings)
        found = {group.name: items}
        if group is not BESS:
            found[BESS.name] = live.whole_view(group, items)
        new = self._archive.append(device_id, found)[group.name]
        live.publish(self._hub, device_id, group, items)
        return new

    def newest(self, device_id: str, group: Group) -> dict[str, Any] | None:
        """Return the newest row that is known, without waiting."""
        rows = self._archive.newest(device_id, group)
        if not len(rows):
            return None
        row = _row_dicts(rows, group)[0]
        return {key: None if value != value else value for key, value in row.items()}

    # -- overview ---------------------------------------------------------------------------

    def overview(self) -> list[dict[str, Any]]:
        """Return how every device is, as far as it is known."""
        return [
            self._overview_of(device_id)
            for device_id in self._archive.all_devices()
            if self._archive.has(device_id, BMS) or self._archive.has(device_id, PCS)
        ]

    def _overview_of(self, device_id: str) -> dict[str, Any]:
        groups: dict[str, Any] = {}
        latest: dict[str, Any] = {}
        states = []
        last_us = None
        for group in (BMS, PCS):
            if not self._archive.has(device_id, group):
                continue
            state = self._archive.state(device_id, group)
            states.append(state)
            groups[group.name] = {
                "rows": state.rows,
                "first": _iso(state.first_us),
                "last": _iso(state.last_us),
                "state": state.state,
            }
            for key, value in (self.newest(device_id, group) or {}).items():
                latest[key] = max(latest.get(key, value), value) if key == "timestamp" else value
            last_us = max((at for at in (last_us, state.last_us) if at is not None), default=None)
        order = ("failed", "reading", "waiting", "ready")
        worst = min(states, key=lambda item: order.index(item.state))
        now_us = microseconds(self._clock.now())
        return {
            "device_id": device_id,
            "groups": groups,
            "state": worst.state,
            "progress": sum(state.progress for state in states) / len(states),
            "message": next((state.message for state in states if state.message), ""),
            "latest": latest,
            "is_live": any(state.is_live for state in states),
            "age_s": None if last_us is None else (now_us - last_us) / MICROSECONDS,
        }

    async def report(self, device_id: str, group: Group) -> dict[str, Any]:
        """Return what was found while a device's group was read, signal by signal."""
        timeline = await self.timeline(device_id, group)
        recorded = self._archive.recorded(device_id, group)
        reports = recorded.reports if recorded else {}
        return {
            "device_id": device_id,
            "group": group.name,
            "total_rows": len(timeline),
            "live_rows": len(timeline) - (recorded.rows if recorded else 0),
            "timeline_metric": recorded.master if recorded else None,
            "first": _iso(timeline.first_us),
            "last": _iso(timeline.last_us),
            "signals": {
                signal.field: {"signal": signal.name, **_report(reports[signal.name])}
                for signal in group.signals
                if signal.name in reports
            },
        }

    async def rows_between(
        self, device_id: str, group: Group, span: tuple[str | None, str | None]
    ) -> tuple[int, Iterator[Rows]]:
        """Return the first time of a range and its rows, part by part, as they are now."""
        start_us, end_us = span_of(*span)
        timeline = await self.timeline(device_id, group)
        start = 0 if start_us is None else await self.in_thread(timeline.rank, start_us)
        stop = len(timeline) if end_us is None else await self.in_thread(timeline.rank, end_us)
        first = await self.in_thread(timeline.read, start, min(start + 1, stop))
        return int(first.at_us[0]) if len(first) else 0, timeline.parts(start, stop)

    def check_device(self, device_id: str, group: Group | None = None) -> None:
        """Raise `DeviceUnknown` unless there is such a device, with such rows if a group is named.

        Without waiting for anything to be read.
        """
        groups = (BMS, PCS) if group is None else (group,)
        if not any(self._archive.has(device_id, item) for item in groups):
            raise DeviceUnknown(group.name if group else BESS.name)


def _bounds(timeline: Timeline, period: tuple[int, int] | None) -> tuple[int, int]:
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
    first, rows = _bounds(timeline, period)
    found = timeline.read(first + min(skip, rows), first + min(skip + batch_size, rows))
    return orjson.dumps(
        {
            "device_id": device_id,
            "total_records": len(found),
            "batch_size": batch_size,
            "skip": skip,
            "total_available": rows,
            "data": _row_dicts(found, group),
        }
    )


def _events(timeline: Timeline, group: Group, first: int, begin: int, stop: int) -> list[bytes]:
    rows = _row_dicts(timeline.read(first + begin, first + stop), group)
    return [
        b"id: %d\ndata: %b\n\n" % (number, orjson.dumps(row))
        for number, row in enumerate(rows, begin)
    ]


def _row_dicts(rows: Rows, group: Group) -> list[dict[str, Any]]:
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
        first_us, last_us, _ = known
        start_us = first_us if start_us is None else start_us
        end_us = last_us if end_us is None else end_us
        # Without an end the last sample counts; a chart's steps cover what it shows of the signal.
        lo = max(start_us, first_us)
        hi = min(end_us + (span[1] is None), last_us + 1)
        if lo < hi:
            found, total = reduce(
                source.parts(lo, hi), method, start_us=lo, end_us=hi, points=points
            )
    answer = {**head, "start": _iso(start_us), "end": _iso(end_us), "total_points": total}
    if as_columns:
        answer["at_ms"] = (found.at_us / 1000).tolist()
        answer["value"] = found.values.tolist()
    else:
        answer["points"] = [
            {"timestamp": at, "value": value}
            for at, value in zip(isos(found.at_us), found.values.tolist(), strict=True)
        ]
    return orjson.dumps(answer)


def _report(report: Any) -> dict[str, Any]:
    return {
        **{key: value for key, value in asdict(report).items() if not key.endswith("_us")},
        "first": _iso(report.first_us),
        "last": _iso(report.last_us),
    }


def _iso(at_us: int | None) -> str | None:
    return None if at_us is None else iso(at_us)
