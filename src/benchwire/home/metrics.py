"""The server's own figures for Prometheus."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from benchwire import __version__
from benchwire.foundation.domain import Domain
from benchwire.foundation.jobs.states import JobState
from benchwire.foundation.lab import Lab


def registry(lab: Lab, domains: Sequence[Domain]) -> CollectorRegistry:
    """Return a registry of this server's figures, apart from any other server in the process."""
    made = CollectorRegistry(auto_describe=False)
    made.register(ServerFigures(lab))
    for domain in domains:
        for collector in domain.collectors:
            made.register(collector)
    return made


class ServerFigures(Collector):
    """Version, jobs, streams and workers."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def describe(self) -> list[Metric]:
        """Announce nothing, so that registering asks the database nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of this moment."""
        info = GaugeMetricFamily("benchwire_info", "The running version.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        counts = self._lab.jobs.count_by_state()
        jobs = GaugeMetricFamily("benchwire_jobs", "Jobs by state.", labels=["state"])
        for state in JobState:
            jobs.add_metric([state.value], counts.get(state.value, 0))
        yield jobs
        hub = self._lab.hub
        yield GaugeMetricFamily(
            "benchwire_stream_subscribers", "Open event streams.", hub.subscribers
        )
        yield CounterMetricFamily("benchwire_stream_events", "Events published.", hub.published)
        yield CounterMetricFamily(
            "benchwire_stream_dropped", "Stalled streams that were ended.", hub.dropped
        )
