"""Readings on their way to whoever watches: gathered into ten batches a second at most."""

import threading
from collections.abc import Mapping
from typing import Any

from benchwire.domains.powermeter.periods import LocalTime
from benchwire.domains.powermeter.points import point_of
from benchwire.domains.powermeter.readings import CHARTED, Reading
from benchwire.foundation.clock import Clock
from benchwire.foundation.streams import Hub, json_event

BATCH_SECONDS = 0.1


def topic_of(meter_id: int) -> str:
    """Return the topic of a meter's live events."""
    return f"powermeter.{meter_id}"


class LiveFeed:
    """The live events of one meter."""

    def __init__(self, hub: Hub, clock: Clock, meter_id: int, name: str) -> None:
        self._hub = hub
        self._clock = clock
        self._topic = topic_of(meter_id)
        self._name = name
        self._lock = threading.Lock()
        self._waiting: list[Reading] = []
        self._sent_at = float("-inf")
        self._newest: Reading | None = None

    def feed(self, reading: Reading) -> None:
        """Take in a reading and send what is due."""
        with self._lock:
            self._waiting.append(reading)
        self.flush()

    def flush(self) -> None:
        """Send what has gathered, unless the last batch has only just gone."""
        with self._lock:
            now = self._clock.monotonic()
            if not self._waiting or now - self._sent_at < BATCH_SECONDS:
                return
            batch, self._waiting, self._sent_at = self._waiting, [], now
        self._newest = batch[-1]
        self.tell("readings", _payload(batch))

    def tell(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Send an event."""
        self._hub.publish(self._topic, self.event(kind, payload))

    def event(self, kind: str, payload: Mapping[str, Any]) -> bytes:
        """Return an event that names the meter."""
        return json_event(kind, {"meter": self._name, **payload})

    def newest(self) -> bytes:
        """Return the newest reading as an event, for a viewer who has just come."""
        return b"" if self._newest is None else self.event("latest", _payload([self._newest]))


def _payload(batch: list[Reading]) -> dict[str, Any]:
    """Return readings as columns, times in ms since 1970, and the last one whole."""
    return {
        "at_ms": [reading.at / 1000 for reading in batch],
        **{key: [reading.value(index) for reading in batch] for index, key in enumerate(CHARTED)},
        "latest": point_of(batch[-1], LocalTime.at(batch[-1].at)),
    }
