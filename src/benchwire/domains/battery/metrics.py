"""Figures of the battery telemetry for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from benchwire.domains.battery.service import Telemetry
from benchwire.domains.battery.sources import Sources

_PREFIX = "benchwire_battery"


class BatteryFigures(Collector):
    """Each device's rows and their age, and how its sources do."""

    def __init__(self, telemetry: Telemetry, sources: Sources) -> None:
        self._telemetry = telemetry
        self._sources = sources

    def describe(self) -> list[Metric]:
        """Announce nothing; the devices are not known before the server runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of this moment."""
        rows = GaugeMetricFamily(f"{_PREFIX}_rows", "Rows.", labels=["device", "group"])
        age = GaugeMetricFamily(
            f"{_PREFIX}_age_seconds", "Age of the newest reading of a live device.",
            labels=["device"],
        )  # fmt: skip
        for device in self._telemetry.overview():
            for name, group in device["groups"].items():
                rows.add_metric([device["device_id"], name], group["rows"])
            if device["is_live"] and device["age_s"] is not None:
                age.add_metric([device["device_id"]], device["age_s"])
        yield from (rows, age)
        state = self._sources.state()
        connected = GaugeMetricFamily(
            f"{_PREFIX}_connected", "Whether the source answers.", labels=["source"]
        )
        dropped = CounterMetricFamily(
            f"{_PREFIX}_dropped_readings", "Given up before the disk.", labels=["source"]
        )
        named = {item["name"]: item for item in state["inverters"]}
        for name, item in {**named, **({"mqtt": state["mqtt"]} if state["mqtt"] else {})}.items():
            connected.add_metric([name], float(item["is_connected"]))
            dropped.add_metric([name], item["dropped"])
        yield from (connected, dropped)
