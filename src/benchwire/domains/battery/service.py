"""What the battery telemetry does for its users: rows, streams, curves and new readings."""

import asyncio
import contextlib
import logging
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from benchwire.domains.battery import answers, live
from benchwire.domains.battery.archive import Archive
from benchwire.domains.battery.errors import (
    DeviceUnknown,
    FileDamaged,
    PeriodEmpty,
    QueryInvalid,
    ReadingInvalid,
    StillReading,
)
from benchwire.domains.battery.periods import period_of, span_of
from benchwire.domains.battery.rows import Rows, Timeline
from benchwire.domains.battery.samples import MICROSECONDS, Reading
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.shelf import Appended
from benchwire.domains.battery.signals import BESS, BMS, DEVICE_ID, GROUPS, PATHS, PCS, Group
from benchwire.foundation.clock import Clock, microseconds
from benchwire.foundation.companion import promised
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.streams import Hub
from benchwire.foundation.workers import Turns

logger = logging.getLogger(__name__)

T = TypeVar("T")

READ_SECONDS = 600.0
"""How long a request waits for a recording to be read."""
_PATIENCE_SECONDS = 60.0
_BLOCK_ROWS = 128
_BLOCKS_KEPT = 256
_MOST_SHOWN = 200
_MOST_EXPORTS = 16
# Files may go, or be found damaged, between being read and being looked up.
_MOST_LOOKS = 3
# Rows that are looked at for the last value of each field.
_LOOKED_AT = 100
_THREADS = 4
_CLOSE_SECONDS = 2.0

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
        # Readings that are sent need no recording, and are stored while the disk with those hangs.
        self._takers = ThreadPoolExecutor(_THREADS, thread_name_prefix="battery readings")
        self._exports = Turns(_MOST_EXPORTS)
        self._blocks: OrderedDict[tuple[object, ...], list[bytes]] = OrderedDict()

    def close(self) -> None:
        """End the threads; one that hangs is not waited for."""
        for threads in (self._threads, self._takers):
            with contextlib.suppress(TimeoutError):
                promised(partial(threads.shutdown, cancel_futures=True)).result(_CLOSE_SECONDS)

    @property
    def hub(self) -> Hub:
        """Where new readings are published."""
        return self._hub

    async def in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Run something that touches the disk; a file it finds damaged is made anew."""
        return await self._in(self._threads, work, *args)

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(threads, partial(work, *args))
        except FileDamaged as error:
            await loop.run_in_executor(threads, self._archive.discard, error.path)
            raise

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
        timeline = await self.read(promise)
        if not len(timeline):
            raise DeviceUnknown(group.name)
        return timeline

    async def read(self, promise: Future[T]) -> T:
        """Return what was promised, once it has been read.

        Raises
        ------
        StillReading
            It takes longer than anybody should wait.
        """
        try:
            async with asyncio.timeout(READ_SECONDS):
                # Others may wait for the same reading: giving up here must not cancel it.
                return await asyncio.shield(asyncio.wrap_future(promise))
        except TimeoutError:
            raise StillReading from None

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
            counts = await self.in_thread(self._archive.rows_per_field, device_id, group)
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
            answers.page_json, timeline, device_id, group, (batch_size, skip), period
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
        await self.timeline(device_id, group)
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
        # Whoever streams goes on with the rows there are while a recording is read anew.
        timeline = await self.in_thread(self._archive.current, device_id, group)
        if timeline is None:
            timeline = await self.timeline(device_id, group)
        first, rows = await self.in_thread(answers.bounds, timeline, period)
        if not rows:
            raise PeriodEmpty if len(timeline) else DeviceUnknown(group.name)
        position = position if position < rows else 0
        begin = position - position % _BLOCK_ROWS
        stop = min(begin + _BLOCK_ROWS, rows)
        key = (device_id, group.name, timeline.version, first, begin, stop)
        block = self._blocks.get(key)
        if block is None:
            block = await self.in_thread(answers.row_events, timeline, group, first, begin, stop)
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
        signal = group.by_field.get(metric)
        name = signal.name if signal else metric
        recordings = self._archive.recordings
        is_recorded = name in await self.in_thread(recordings.signal_names, device_id)
        if signal is None and not is_recorded:
            raise QueryInvalid("There is no such metric for this device")
        if signal is not None:
            await self.timeline(device_id, group)
        found = await self.recorded(device_id, (name,)) if is_recorded else {}
        of_files = found.get(name, SignalSource())
        if signal is None:
            return of_files
        of_field = await self.in_thread(self._archive.source, device_id, group, metric)
        return replace(of_field, recorded=of_files.recorded)

    async def recorded(self, device_id: str, names: Sequence[str]) -> dict[str, SignalSource]:
        """Return where the samples of recorded signals are, read first where that is due.

        A signal whose file is gone meanwhile is left out, one whose file changes is not.

        Raises
        ------
        StillReading
            Not all of them could be had at one time.
        """
        recordings = self._archive.recordings
        for _ in range(_MOST_LOOKS):
            there = set(await self.in_thread(recordings.signal_names, device_id))
            wanted = [name for name in names if name in there]
            promises = await self.in_thread(
                lambda wanted=wanted: [
                    self._archive.request_signal(device_id, name) for name in wanted
                ]
            )
            await asyncio.gather(*map(self.read, promises))
            found = await self.in_thread(
                lambda wanted=wanted: {name: recordings.signal(device_id, name) for name in wanted}
            )
            if all(source.recorded is not None for source in found.values()):
                return found
        raise StillReading

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
            answers.series_json, source, head, (start_us, end_us), points, method, as_columns
        )

    # -- new readings -----------------------------------------------------------------------

    async def take(self, device_id: str, group: Group, readings: Sequence[Reading]) -> Appended:
        """Store what a client sends; see `append`.

        What was recorded is read first, so that the client is told rightly what was new.
        """
        with contextlib.suppress(BenchwireError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.timeline(device_id, group)
        return await self._in(self._takers, self.append, device_id, group.name, readings)

    def append(self, device_id: str, group_name: str, readings: Sequence[Reading]) -> Appended:
        """Store readings durably, show them to all, and return what became of them.

        Raises
        ------
        ReadingInvalid
            No device can have that name.
        """
        if not re.fullmatch(DEVICE_ID, device_id, re.ASCII) or device_id in PATHS:
            raise ReadingInvalid(
                "A device that sends readings needs a name of up to 64 letters, digits, dots, "
                "dashes and underscores, and none that is a path already"
            )
        group = GROUPS[group_name]
        items = list(readings)
        found = {group.name: items}
        if group is not BESS:
            found[BESS.name] = live.whole_view(group, items)
        appended = self._archive.append(device_id, found)[group.name]
        # Watchers want what is new, not all of a history that is sent at once.
        shown = appended.shown.take(slice(-_MOST_SHOWN, None))
        if len(shown):
            of_group, of_both = answers.live_events(shown, group)
            self._hub.publish(live.topic_of(device_id, group.name), of_group)
            self._hub.publish(live.topic_of(device_id, live.BOTH), of_both)
        return appended

    async def newest_events(self, device_id: str, groups: Sequence[Group]) -> list[bytes]:
        """Return the newest row of each group as an event, for one who has just come."""
        found = []
        for group in groups:
            rows = await self.in_thread(self._archive.newest, device_id, group)
            found.append(answers.live_events(rows, group)[len(groups) > 1])
        return found

    # -- overview ---------------------------------------------------------------------------

    def overview(self) -> list[dict[str, Any]]:
        """Return how every device is, as far as it is known."""
        return [self.one_overview(device_id) for device_id in self.known_devices()]

    def known_devices(self) -> list[str]:
        """Return the ids of all devices."""
        return [
            device_id
            for device_id in self._archive.all_devices()
            if self._archive.has(device_id, BMS) or self._archive.has(device_id, PCS)
        ]

    def one_overview(self, device_id: str) -> dict[str, Any]:
        """Return how one device is, as far as it is known."""
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
                "first": answers.iso_or_none(state.first_us),
                "last": answers.iso_or_none(state.last_us),
                "state": state.state,
            }
            for key, value in answers.latest(
                self._archive.newest(device_id, group, _LOOKED_AT), group
            ):
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
            "first": answers.iso_or_none(timeline.first_us),
            "last": answers.iso_or_none(timeline.last_us),
            "signals": {
                signal.field: {"signal": signal.name, **answers.report_json(reports[signal.name])}
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

    def exported(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the pieces of an export, of which only so many are under way at once.

        Raises
        ------
        TooBusy
            Too many are.
        """
        with self._exports.take():
            yield from pieces

    async def check_device(self, device_id: str, groups: Sequence[Group]) -> None:
        """Raise `DeviceUnknown` unless there is such a device with rows of one of these groups.

        Without waiting for anything to be read.
        """
        for group in groups:
            if await self.in_thread(self._archive.has, device_id, group):
                return
        raise DeviceUnknown(groups[0].name if len(groups) == 1 else BESS.name)
