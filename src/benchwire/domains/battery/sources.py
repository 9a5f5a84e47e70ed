"""Where live readings come from by themselves: inverters that are polled, and an MQTT broker."""

from dataclasses import asdict
from typing import Any

from benchwire.domains.battery.mqtt import MqttSubscriber
from benchwire.domains.battery.poller import Pollers
from benchwire.domains.battery.samples import iso


class Sources:
    """The inverters and the broker, where there are any."""

    def __init__(self, pollers: Pollers | None, subscriber: MqttSubscriber | None) -> None:
        self._pollers = pollers
        self._subscriber = subscriber

    def start(self) -> None:
        """Begin to take readings."""
        if self._pollers is not None:
            self._pollers.start()
        if self._subscriber is not None:
            self._subscriber.start()

    def close(self) -> None:
        """Store what was taken, and end."""
        if self._pollers is not None:
            self._pollers.close()
        if self._subscriber is not None:
            self._subscriber.close()

    def state(self) -> dict[str, Any]:
        """Return how each of them does."""
        inverters = []
        for state in self._pollers.states if self._pollers is not None else ():
            told = asdict(state)
            at_us = told.pop("last_reading_us")
            inverters.append({**told, "last_reading": None if at_us is None else iso(at_us)})
        mqtt = None if self._subscriber is None else asdict(self._subscriber.state)
        return {"inverters": inverters, "mqtt": mqtt}
