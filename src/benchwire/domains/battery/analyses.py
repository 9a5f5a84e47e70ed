"""What the battery telemetry works out: anomalies, forecasts, and the state of the battery.

All of it is done in worker processes and kept for as long as the rows are the same; those who ask
for the same thing at once wait for one piece of work.
"""

import asyncio
import contextlib
import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchwire.domains.battery import work
from benchwire.domains.battery.archive import Archive
from benchwire.domains.battery.errors import (
    DeviceUnknown,
    FileDamaged,
    QueryInvalid,
    TooLittleData,
)
from benchwire.domains.battery.periods import moment_of, span_of
from benchwire.domains.battery.samples import iso
from benchwire.domains.battery.series import SignalSource
from benchwire.domains.battery.service import Telemetry
from benchwire.domains.battery.signals import (
    BMS,
    CELLS_PER_STACK,
    PCS,
    STACKS,
    Group,
    cell_voltage,
)
from benchwire.foundation.workers import Executor, TooBusy

if TYPE_CHECKING:
    from concurrent.futures import Future

WORK_SECONDS = 300.0
_AT_ONCE = 2
_MOST_KEPT = 128
_MOST_WAITING = 64

TextSpan = tuple[str | None, str | None]
Versions = tuple[tuple[str, object], ...]


class Analyses:
    """Anomalies, forecasts and battery figures of every device."""

    def __init__(self, telemetry: Telemetry, archive: Archive, executor: Executor) -> None:
        self._telemetry = telemetry
        self._archive = archive
        self._executor = executor
        # The workers are everybody's: whoever asks for much waits here, not plots of other domains.
        self._turns = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="battery analyses")
        self._kept: OrderedDict[tuple[object, ...], Future[Any]] = OrderedDict()

    def close(self) -> None:
        """Forget what has not been begun."""
        self._turns.shutdown(wait=False, cancel_futures=True)

    async def anomalies(
        self,
        device_id: str,
        group: Group,
        *,
        method: str,
        metric: str | None,
        span: TextSpan,
        page: tuple[int, int],
    ) -> dict[str, Any]:
        """Return what is unusual in a device's signals, oldest first.

        Parameters
        ----------
        page
            How many to skip and how many to show.
        """
        limits = span_of(*span)
        if metric is not None and metric not in group.by_field:
            raise QueryInvalid(f"There is no such metric in {group.name}")
        versions = await self._versions(device_id, group)
        sources = await self._sources(device_id, group, group.fields)
        # A detector may need the other signals to judge this one.
        metrics = None if metric is None else (metric,)
        found = await self._worked_out(
            device_id,
            versions,
            work.anomalies,
            (sources, group.name, method, metrics, limits),
            (method, metrics, limits),
        )
        skip, limit = page
        return {
            "device_id": device_id,
            "method": method,
            "samples_analyzed": found["samples_analyzed"],
            "total_anomalies": len(found["anomalies"]),
            "anomalies": [plain(item) for item in found["anomalies"][skip : skip + limit]],
        }

    async def forecast(
        self,
        device_id: str,
        group: Group,
        *,
        metric: str,
        horizon: float,
        step: float,
        as_of: str | None,
        method: str,
    ) -> dict[str, Any]:
        """Return what a signal will be, with a band and how well that went before."""
        if metric not in group.by_field:
            raise QueryInvalid(f"There is no such metric in {group.name}")
        as_of_us = None if as_of is None else moment_of(as_of, "as_of")
        versions = await self._versions(device_id, group)
        source = await self._telemetry.source(device_id, group, metric)
        what = (metric, horizon, step, as_of_us, method)
        found = await self._worked_out(device_id, versions, work.forecast, (source, *what), what)
        answer = plain(found)
        answer["forecast"] = [
            {"timestamp": iso(point.at_us), "value": point.value, "lower": point.lower,
             "upper": point.upper}
            for point in found.points
        ]  # fmt: skip
        answer.pop("points")
        return {"device_id": device_id, "metric": metric, **answer}

    # -- battery figures --------------------------------------------------------------------

    async def cycling(
        self, device_id: str, *, span: TextSpan, capacity_ah: float | None
    ) -> dict[str, Any]:
        """Return full cycles and throughput, in all and per day."""
        limits = span_of(*span)
        versions = await self._versions(device_id, BMS)
        sources = await self._sources(device_id, BMS, ("current", "soc", "voltage"))
        found = await self._worked_out(
            device_id, versions, work.cycling, (sources, limits, capacity_ah), (limits, capacity_ah)
        )
        return {"device_id": device_id, **plain(found)}

    async def efficiency(self, device_id: str, group: Group, *, span: TextSpan) -> dict[str, Any]:
        """Return the round-trip efficiency, in all and per day."""
        limits = span_of(*span)
        versions = await self._versions(device_id, group)
        sources: dict[str, SignalSource] = {}
        if await self._telemetry.in_thread(self._archive.has, device_id, BMS):
            # Files of the battery may have no rows, and the converter does without them.
            with contextlib.suppress(DeviceUnknown):
                versions += await self._versions(device_id, BMS)
                sources |= await self._sources(device_id, BMS, ("soc", "voltage", "current"))
        if group is PCS:
            found_power = await self._sources(device_id, PCS, ("apparent_power",))
            sources = {"soc": sources["soc"]} if "soc" in sources else {}
            if "apparent_power" in found_power:
                sources["power"] = found_power["apparent_power"]
        if "power" not in sources and not {"voltage", "current"} <= set(sources):
            raise TooLittleData("Neither power nor voltage and current were measured")
        found = await self._worked_out(
            device_id, versions, work.efficiency, (sources, limits), (group.name, limits)
        )
        return {"device_id": device_id, "group": group.name, **plain(found)}

    async def health(self, device_id: str, *, span: TextSpan) -> dict[str, Any]:
        """Return the trend of the state of health, with how sure it is."""
        limits = span_of(*span)
        versions = await self._versions(device_id, BMS)
        sources = await self._sources(device_id, BMS, ("soh",))
        if not sources:
            raise TooLittleData("The state of health was not measured")
        found = await self._worked_out(
            device_id, versions, work.health, (sources["soh"], limits), (limits,)
        )
        if found is None:
            raise TooLittleData("The state of health is known on too few days for a trend")
        return {"device_id": device_id, "trend": plain(found)}

    async def imbalance(self, device_id: str, *, span: TextSpan, limit: int) -> dict[str, Any]:
        """Return which cells are off the others, the worst first."""
        limits = span_of(*span)
        versions = await self._versions(device_id, BMS)
        sources = await self._sources(
            device_id,
            BMS,
            ("current", "soc", "cell_voltage_diff", "cell_max_voltage", "cell_min_voltage"),
        )
        cells = await self._cells(device_id)
        if cells:
            found = await self._worked_out(
                device_id,
                versions,
                work.imbalance,
                (cells, sources.get("current"), sources.get("soc"), limits),
                (limits, *self._archive.recordings.stamps(device_id, tuple(cells))),
            )
            answer = plain(found)
            total = len(answer["cells"])
            answer["cells"] = answer["cells"][:limit]
            return {"device_id": device_id, "total_cells": total, **answer}
        own = {key: sources[key] for key in sources if key.startswith("cell_")}
        if "cell_voltage_diff" not in own and len(own) < 2:
            raise TooLittleData("No cell voltages were measured")
        found = await self._worked_out(device_id, versions, work.spread, (own, limits), (limits,))
        return {"device_id": device_id, "total_cells": 0, "cells": [], "pack": plain(found)}

    # -- where from, and once only ----------------------------------------------------------

    async def _sources(
        self, device_id: str, group: Group, fields: Sequence[str]
    ) -> dict[str, SignalSource]:
        """Return where the samples of those fields are that the device has."""
        await self._telemetry.timeline(device_id, group)
        known = await self._telemetry.in_thread(self._archive.rows_per_field, device_id, group)
        return {
            name: await self._telemetry.source(device_id, group, name)
            for name in fields
            if name in known
        }

    async def _cells(self, device_id: str) -> dict[str, SignalSource]:
        """Return where the voltages of the single cells are."""
        names = [
            cell_voltage(stack, cell)
            for stack in range(1, STACKS + 1)
            for cell in range(1, CELLS_PER_STACK + 1)
        ]
        return await self._telemetry.recorded(device_id, names)

    def _work_out(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return self._executor.submit(function, *arguments, time_limit=WORK_SECONDS).result()

    async def _versions(self, device_id: str, *groups: Group) -> Versions:
        """Return the versions of the rows of groups, read first where that is due.

        They are taken before the sources: what is worked out of newer rows may be kept as of older
        ones, which nobody asks for again, but never the other way.
        """
        for group in groups:
            await self._telemetry.timeline(device_id, group)
        return await self._telemetry.in_thread(
            lambda: tuple((group.name, self._archive.version(device_id, group)) for group in groups)
        )

    async def _worked_out(
        self,
        device_id: str,
        versions: Versions,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        what: tuple[object, ...],
    ) -> Any:
        """Return what came of a piece of work on rows that have not changed since."""
        key = (function.__name__, device_id, versions, what)
        future = self._kept.get(key)
        if future is None or (future.done() and future.exception() is not None):
            if sum(not kept.done() for kept in self._kept.values()) >= _MOST_WAITING:
                raise TooBusy("The server is busy with other work; try again later")
            future = self._turns.submit(self._work_out, function, arguments)
            self._kept[key] = future
        self._kept.move_to_end(key)
        for old in [kept for kept in self._kept if self._kept[kept].done()]:
            if len(self._kept) <= _MOST_KEPT:
                break
            del self._kept[old]
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except FileDamaged as error:
            await self._telemetry.in_thread(self._archive.discard, error.path)
            raise


def plain(value: Any) -> Any:
    """Return a result as answers write it: mappings and lists, moments as text.

    A key that ends in ``_us`` loses that ending with the unit.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            key.removesuffix("_us"): iso(item) if _is_moment(key, item) else plain(item)
            for key, item in value.items()
        }
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return None
    return value


def _is_moment(key: str, item: object) -> bool:
    return key.endswith("_us") and isinstance(item, int)
