"""Figures of the power meters for Prometheus."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from benchwire.domains.powermeter.meter import Meter
from benchwire.domains.powermeter.readings import CURRENT, POWER, TEMPERATURE, VOLTAGE
from benchwire.domains.powermeter.service import PowerMeters


def _latest(quantity: int) -> Callable[[Meter], float | None]:
    return lambda meter: (
        meter.latest.value(quantity) if meter.latest is not None and meter.is_connected else None
    )


_GAUGES: dict[str, tuple[str, Callable[[Meter], float | None]]] = {
    "connected": ("Whether the meter answers.", lambda meter: meter.is_connected),
    "age_seconds": ("Age of the newest reading on the disk.", lambda meter: meter.age),
    "stale": ("Whether that is too old.", lambda meter: meter.is_stale),
    "alarms": ("Alarms that stand.", lambda meter: len(meter.standing_alarms)),
    "waiting_readings": ("Not yet on the disk.", lambda meter: meter.recorder.waiting),
    "voltage_volts": ("Voltage of the newest reading.", _latest(VOLTAGE)),
    "current_amperes": ("Current of the newest reading.", _latest(CURRENT)),
    "power_watts": ("Power of the newest reading.", _latest(POWER)),
    "temperature_celsius": ("Temperature of the newest reading.", _latest(TEMPERATURE)),
}
_COUNTERS: dict[str, tuple[str, Callable[[Meter], float]]] = {
    "reconnects": ("Ports opened again.", lambda meter: meter.counts.reconnects),
    "frame_errors": ("Damaged answers dropped.", lambda meter: meter.counts.frame_errors),
    "missed_polls": ("Polls that brought nothing.", lambda meter: meter.counts.missed),
    "dropped_readings": ("Given up before the disk.", lambda meter: meter.recorder.dropped),
}


class PowerMeterFigures(Collector):
    """Each meter's state and newest values."""

    def __init__(self, meters: PowerMeters) -> None:
        self._meters = meters

    def describe(self) -> list[Metric]:
        """Announce nothing; the meters are not known before the server runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of this moment."""
        meters = self._meters.all()
        for name, (text, value) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"benchwire_powermeter_{name}", text, labels=["meter"])
            for meter in meters:
                if (found := value(meter)) is not None:
                    gauge.add_metric([meter.name], float(found))
            yield gauge
        for name, (text, total) in _COUNTERS.items():
            counter = CounterMetricFamily(f"benchwire_powermeter_{name}", text, labels=["meter"])
            for meter in meters:
                counter.add_metric([meter.name], total(meter))
            yield counter
