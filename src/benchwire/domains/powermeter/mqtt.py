"""Meters on an MQTT broker, in the form that Home Assistant finds by itself.

``<prefix>/status`` is the server's own ``online`` or ``offline`` (by its last will too),
``<prefix>/powermeter/<meter>/availability`` the meter's, ``.../state`` its newest reading as JSON,
``.../alarm`` every alarm. The broker may come and go; it is looked for again for ever.
"""

import asyncio
import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchwire.domains.powermeter.alarms import AlarmEvent
from benchwire.domains.powermeter.meter import Meter, event_json
from benchwire.domains.powermeter.points import utc_point
from benchwire.domains.powermeter.settings import PowerMeterSettings

if TYPE_CHECKING:
    from aiomqtt import Client

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
ONLINE, OFFLINE = "online", "offline"
_MOST_WAITING = 1000
_CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Sensor:
    """One entity of Home Assistant: the key in the state, and how it is to be understood."""

    key: str
    name: str
    unit: str
    device_class: str | None = None
    state_class: str = "measurement"
    is_diagnostic: bool = False
    digits: int = 0


_SENSORS = (
    _Sensor("voltage", "Voltage", "V", "voltage", digits=3),
    _Sensor("current", "Current", "A", "current", digits=3),
    _Sensor("power", "Power", "W", "power", digits=2),
    _Sensor("energy_wh", "Energy", "Wh", "energy", "total_increasing", digits=3),
    # Home Assistant has no device class for charge.
    _Sensor("charge_mah", "Charge", "mAh", None, "total_increasing", digits=1),
    _Sensor("temperature", "Temperature", "°C", "temperature"),
    _Sensor("resistance", "Load resistance", "Ω", None, is_diagnostic=True, digits=1),
    _Sensor("d_plus", "D+", "V", "voltage", is_diagnostic=True, digits=2),
    _Sensor("d_minus", "D-", "V", "voltage", is_diagnostic=True, digits=2),
)


class MqttPublisher:
    """Publishes every meter from a thread of its own."""

    def __init__(self, settings: PowerMeterSettings) -> None:
        self._settings = settings
        self._meters: Callable[[], Sequence[Meter]] = tuple
        self._alarms: deque[tuple[str, str]] = deque(maxlen=_MOST_WAITING)
        self._over = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        # Every meter ever published in this life; what this connection has said of each.
        self._names: set[str] = set()
        self._available: dict[str, str] = {}
        self._announced: dict[str, Mapping[str, Any]] = {}
        self._published_at: dict[str, int] = {}

    def start(self, meters: Callable[[], Sequence[Meter]]) -> None:
        """Begin publishing."""
        self._meters = meters
        self._thread.start()

    def close(self) -> None:
        """Say that all are offline, and end."""
        self._over.set()
        self._awake()
        self._thread.join(_CLOSE_SECONDS)

    def alarm(self, meter: Meter, event: AlarmEvent) -> None:
        """Take an alarm to be published."""
        body = json.dumps({"meter": meter.name, **event_json(event)})
        self._alarms.append((self._topic(meter.name, "alarm"), body))
        self._awake()

    # -- the publisher's thread -------------------------------------------------------------

    def _awake(self) -> None:
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None and not loop.is_closed():
            loop.call_soon_threadsafe(wake.set)

    def _run(self) -> None:
        # On Windows the default loop cannot wait for the client's own socket.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        from aiomqtt import MqttError

        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        was_reached = True
        while not self._over.is_set():
            try:
                async with self._client() as client:
                    logger.info("the MQTT broker was reached")
                    was_reached = True
                    await self._publish_for_ever(client)
            except MqttError as error:
                if was_reached:
                    logger.warning("the MQTT broker is not reached: %s", error)
                was_reached = False
                await self._pause(RETRY_SECONDS)

    def _client(self) -> "Client":
        from aiomqtt import Client, TLSParameters, Will

        settings = self._settings
        password = settings.mqtt_password
        return Client(
            settings.mqtt_host or "",
            settings.mqtt_port,
            username=settings.mqtt_username,
            password=None if password is None else password.get_secret_value(),
            tls_params=TLSParameters() if settings.mqtt_tls else None,
            will=Will(self._status_topic, OFFLINE, qos=1, retain=True),
        )

    async def _publish_for_ever(self, client: "Client") -> None:
        self._announced.clear()
        self._available.clear()
        self._published_at.clear()
        await client.publish(self._status_topic, ONLINE, qos=1, retain=True)
        while not self._over.is_set():
            while self._alarms:
                topic, body = self._alarms[0]
                await client.publish(topic, body, qos=1)
                self._alarms.popleft()
            meters = self._meters()
            for meter in meters:
                await self._publish(client, meter)
            for gone in self._names - {meter.name for meter in meters}:
                await self._forget(client, gone)
            await self._pause(self._settings.mqtt_interval)
        for name in self._available:
            await client.publish(self._topic(name, "availability"), OFFLINE, qos=1, retain=True)
        await client.publish(self._status_topic, OFFLINE, qos=1, retain=True)

    async def _pause(self, seconds: float) -> None:
        assert self._wake is not None  # noqa: S101 - made with the loop
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return
        self._wake.clear()

    async def _publish(self, client: "Client", meter: Meter) -> None:
        reading, identity = meter.latest, meter.identity
        self._names.add(meter.name)
        if identity is None or reading is None:
            # Who it is is told by its first reading; an earlier life may have left it online.
            await self._say_available(client, meter.name, OFFLINE)
            return
        availability = ONLINE if meter.is_connected else OFFLINE
        said = {"serial": identity.serial, "version": identity.version}
        if self._announced.get(meter.name) != said:
            for topic, body in self._discovery(meter).items():
                await client.publish(topic, json.dumps(body), qos=1, retain=True)
        self._announced[meter.name] = said
        await self._say_available(client, meter.name, availability)
        if self._published_at.get(meter.name) != reading.at:
            self._published_at[meter.name] = reading.at
            state = {
                **utc_point(reading),
                "energy_wh": round(reading.totals.energy_ws / 3600, 6),
                "charge_mah": round(reading.totals.charge_as / 3.6, 4),
                "alarm": "ON" if meter.standing_alarms else "OFF",
            }
            await client.publish(self._topic(meter.name, "state"), json.dumps(state))

    async def _say_available(self, client: "Client", name: str, word: str) -> None:
        if self._available.get(name) != word:
            await client.publish(self._topic(name, "availability"), word, qos=1, retain=True)
            self._available[name] = word

    async def _forget(self, client: "Client", name: str) -> None:
        for topic in self._config_topics(name).values():
            await client.publish(topic, "", qos=1, retain=True)
        await client.publish(self._topic(name, "availability"), "", qos=1, retain=True)
        self._announced.pop(name, None)
        # One of the same name may be added later.
        self._available.pop(name, None)
        self._published_at.pop(name, None)
        self._names.discard(name)

    # -- topics -----------------------------------------------------------------------------

    @property
    def _status_topic(self) -> str:
        return f"{self._settings.mqtt_prefix}/status"

    def _topic(self, name: str, room: str) -> str:
        return f"{self._settings.mqtt_prefix}/powermeter/{name}/{room}"

    def _config_topics(self, name: str) -> dict[str, str]:
        node = f"{self._settings.mqtt_prefix.replace('/', '_')}_{name}"
        prefix = self._settings.mqtt_discovery_prefix
        topics = {item.key: f"{prefix}/sensor/{node}/{item.key}/config" for item in _SENSORS}
        return {**topics, "alarm": f"{prefix}/binary_sensor/{node}/alarm/config"}

    def _discovery(self, meter: Meter) -> dict[str, dict[str, Any]]:
        """Return what Home Assistant has to know, by topic."""
        identity = meter.identity
        assert identity is not None  # noqa: S101 - checked by the caller
        unique = f"{self._settings.mqtt_prefix.replace('/', '_')}_{meter.name}_{identity.serial}"
        shared = {
            "state_topic": self._topic(meter.name, "state"),
            "availability": [
                {"topic": self._status_topic},
                {"topic": self._topic(meter.name, "availability")},
            ],
            "availability_mode": "all",
            "device": {
                "identifiers": [unique],
                "name": f"Power meter {meter.name}",
                "manufacturer": "RDTech",
                "model": identity.product,
                "sw_version": identity.version,
                "serial_number": str(identity.serial),
            },
        }
        topics = self._config_topics(meter.name)
        found: dict[str, dict[str, Any]] = {}
        for item in _SENSORS:
            body: dict[str, Any] = {
                "name": item.name,
                "unique_id": f"{unique}_{item.key}",
                "unit_of_measurement": item.unit,
                "state_class": item.state_class,
                "value_template": f"{{{{ value_json.{item.key} }}}}",
                "suggested_display_precision": item.digits,
                **shared,
            }
            if item.device_class is not None:
                body["device_class"] = item.device_class
            if item.is_diagnostic:
                body["entity_category"] = "diagnostic"
            found[topics[item.key]] = body
        found[topics["alarm"]] = {
            "name": "Alarm",
            "unique_id": f"{unique}_alarm",
            "device_class": "problem",
            "value_template": "{{ value_json.alarm }}",
            **shared,
        }
        return found
