"""Devices as lists over all domains show them, and what needs looking at."""

from typing import Any
from urllib.parse import quote

from benchwire.domains.battery.errors import DeviceUnknown
from benchwire.domains.battery.service import Telemetry
from benchwire.domains.battery.signals import BMS
from benchwire.domains.battery.sources import Sources
from benchwire.foundation.catalogue import Bundle, Item, Notice
from benchwire.foundation.errors import NotFound
from benchwire.foundation.jobs.states import JobRecord

DEVICE = "device"
PAGE = "/battery"


class BatteryItems:
    """Storage systems."""

    kinds: tuple[str, ...] = (DEVICE,)
    bundled: tuple[str, ...] = ()

    def __init__(self, telemetry: Telemetry, sources: Sources) -> None:
        self._telemetry = telemetry
        self._sources = sources

    def find(self, text: str, limit: int) -> list[Item]:
        """Return the devices that a text occurs in."""
        wanted = text.lower()
        found = [name for name in self._telemetry.known_devices() if wanted in name.lower()]
        return [_item(self._telemetry.one_overview(name)) for name in found[:limit]]

    def item(self, _: str, item_id: str) -> Item:
        """Return one device."""
        if item_id not in self._telemetry.known_devices():
            raise DeviceUnknown(BMS.name)
        return _item(self._telemetry.one_overview(item_id))

    def of_job(self, _: JobRecord) -> Item | None:
        """Return nothing: telemetry has no jobs."""
        return None

    def bundle(self, kind: str, item_id: str) -> Bundle:
        """Refuse: a device is never finished; its rows have an export of their own."""
        raise NotFound(f"There is no bundle of {kind} {item_id[:100]}")

    def notices(self) -> list[Notice]:
        """Return the sources that bring nothing."""
        state = self._sources.state()
        found = [
            Notice("error", f"{source['name']}: the inverter does not answer{_why(source)}", PAGE)
            for source in state["inverters"]
            if not source["is_connected"]
        ]
        mqtt = state["mqtt"]
        if mqtt is not None and not mqtt["is_connected"]:
            found.append(Notice("error", f"The MQTT broker cannot be reached{_why(mqtt)}", PAGE))
        return found


def _why(source: dict[str, Any]) -> str:
    return f": {source['last_error']}" if source["last_error"] else ""


def _item(overview: dict[str, Any]) -> Item:
    device_id = overview["device_id"]
    groups = overview["groups"]
    group = BMS.name if BMS.name in groups else next(iter(groups))
    latest = overview["latest"]
    facts = [
        f"{latest[key]:.4g} {unit}"
        for key, unit in (("soc", "%"), ("voltage", "V"))
        if isinstance(latest.get(key), int | float)
    ]
    return Item(
        kind=DEVICE,
        id=device_id,
        title=f"Storage system {device_id}",
        page=f"{PAGE}/{quote(device_id, safe='')}",
        api=f"/{group}/{quote(device_id, safe='')}",
        state="live" if overview["is_live"] else overview["state"],
        detail=", ".join(facts),
        parts=(),
    )
