"""Figures of the potentiostats for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from benchwire.domains.potentiostat.service import Potentiostats


class PotentiostatFigures(Collector):
    """Slots, and what they do."""

    def __init__(self, potentiostats: Potentiostats) -> None:
        self._potentiostats = potentiostats

    def describe(self) -> list[Metric]:
        """Announce nothing; the slots are not known before the server runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of this moment."""
        connected = GaugeMetricFamily(
            "benchwire_potentiostat_connected", "Whether a slot's instrument answers.",
            labels=["slot"],
        )  # fmt: skip
        busy = GaugeMetricFamily(
            "benchwire_potentiostat_busy", "Whether a run holds a slot.", labels=["slot"]
        )
        for slot in self._potentiostats.slots.all():
            connected.add_metric([slot.name], float(slot.is_connected))
            busy.add_metric([slot.name], float(slot.run_id is not None))
        yield connected
        yield busy
