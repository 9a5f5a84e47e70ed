"""Readings from an MQTT broker, which may come and go; it is looked for again for ever.

A message is acknowledged once its readings are stored. With quality of service 1 and a session that
the broker keeps under the client's name, none is lost while this server or its database is away,
and after a crash a few may come twice.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from benchwire.domains.battery.outbox import Outbox, Sink
from benchwire.domains.battery.subscriptions import Message, MessageUnusable, Subscription
from benchwire.foundation.clock import Clock, microseconds

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

logger = logging.getLogger(__name__)

CLIENT_ID = "benchwire-battery"
_KEEP_ALIVE_SECONDS = 30
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 1, 30
_CLOSE_SECONDS = 1.0
_TELL_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is and who asks.

    Parameters
    ----------
    client_id
        Two servers at one broker need different names; the broker's session belongs to the name.
    """

    host: str
    port: int = 1883
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    client_id: str = CLIENT_ID


@dataclass(frozen=True, slots=True)
class MqttState:
    """How the subscriber does.

    Parameters
    ----------
    is_connected
        And subscribed.
    messages
        That came; ``bad`` of them could not be used, or not in every field.
    stored
        Readings that the store has; ``dropped`` had to be given up.
    """

    is_connected: bool
    messages: int
    stored: int
    bad: int
    dropped: int
    last_error: str | None


class MqttSubscriber:
    """Takes messages in the library's thread and hands their readings to the sink in another."""

    def __init__(
        self,
        subscriptions: Sequence[Subscription],
        sink: Sink,
        *,
        broker: Broker,
        clock: Clock,
        retry_seconds: float = 1.0,
    ) -> None:
        self._subscriptions = tuple(subscriptions)
        self._outbox = Outbox(sink, retry_seconds=retry_seconds)
        self._broker = broker
        self._clock = clock
        self._over = threading.Event()
        self._client = self._new_client()
        self._connection = 0
        self._is_accepted = self._is_connected = False
        self._messages = self._bad = self._untold = 0
        self._told_at: float | None = None
        self._last_error: str | None = None

    @property
    def state(self) -> MqttState:
        """How the subscriber does now."""
        return MqttState(
            is_connected=self._is_connected,
            messages=self._messages,
            stored=self._outbox.stored,
            bad=self._bad,
            dropped=self._outbox.dropped(),
            last_error=self._last_error,
        )

    def start(self) -> None:
        """Begin to look for the broker."""
        self._outbox.start()
        self._client.connect_async(
            self._broker.host, self._broker.port, keepalive=_KEEP_ALIVE_SECONDS
        )
        self._client.loop_start()

    def close(self) -> None:
        """Store what came, acknowledge it, and end; all within about 2 s."""
        self._over.set()
        self._outbox.close(_CLOSE_SECONDS)
        self._client.disconnect()
        # It waits for the library's thread, which may be waiting for a broker out of reach.
        ending = threading.Thread(target=self._client.loop_stop, daemon=True)
        ending.start()
        ending.join(_CLOSE_SECONDS)

    # -- the library's thread ---------------------------------------------------------------

    def _new_client(self) -> "Client":
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        broker = self._broker
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            clean_session=False,
            manual_ack=True,
        )
        if broker.tls:
            client.tls_set()
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        client.reconnect_delay_set(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._lost("The MQTT broker is not reached")
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: "Client", _data: Any, _flags: Any, reason: Any, *_: Any) -> None:
        self._connection += 1
        if self._over.is_set():
            client.disconnect()
        elif reason.is_failure:
            self._lost(f"The MQTT broker refused the connection: {reason}")
        else:
            logger.info("the MQTT broker was reached")
            self._is_accepted = True
            client.subscribe([(one.topic, 1) for one in self._subscriptions])

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: Any, *_: Any) -> None:
        for subscription, reason in zip(self._subscriptions, reasons, strict=False):
            if reason.is_failure:
                self._last_error = f"The MQTT broker refused the topic {subscription.topic}"
                logger.error("%s", self._last_error)
        self._is_connected = True

    def _on_disconnect(self, *_: Any) -> None:
        # After a refusal the broker hangs up too; the refusal says more.
        if self._is_accepted:
            self._lost("The MQTT broker closed the connection")

    def _lost(self, message: str) -> None:
        was_accepted = self._is_accepted
        self._is_accepted = self._is_connected = False
        if self._over.is_set():
            return
        if was_accepted or self._last_error != message:
            logger.warning("%s", message)
        self._last_error = message

    def _on_message(self, client: "Client", _data: Any, message: "MQTTMessage") -> None:
        # At the end the broker keeps what is not acknowledged for the next life.
        if self._over.is_set():
            return
        self._messages += 1
        try:
            found = self._read(message)
        except MessageUnusable as error:
            self._tell_bad(str(error))
            found = ()
        except Exception:
            logger.exception("an MQTT message went wrong")
            self._tell_bad("it could not be read")
            found = ()
        readings = [
            (one.device_id, group, reading)
            for one in found
            for group, reading in one.readings.items()
        ]
        # Not the message itself: its content would be kept until all of it is stored.
        acknowledge = partial(self._acknowledge, client, message.mid, message.qos, self._connection)
        receipt = _Receipt(len(readings), acknowledge)
        for device_id, group, reading in readings:
            self._outbox.add(device_id, group, reading, settled=receipt.settle_one)

    def _read(self, message: "MQTTMessage") -> Sequence[Message]:
        arrived_us = microseconds(self._clock.now())
        topic = message.topic
        found = [
            one.read(topic, bytes(message.payload), arrived_us)
            for one in self._subscriptions
            if one.matches(topic)
        ]
        for one in found:
            for mistake in one.mistakes[:1]:
                self._tell_bad(mistake)
        # The broker kept it, nobody knows since when; its arrival says nothing of its age.
        return [one for one in found if one.tells_time or not message.retain]

    def _tell_bad(self, why: str) -> None:
        self._bad += 1
        self._untold += 1
        self._last_error = f"A message could not be used: {why}"
        now = self._clock.monotonic()
        if self._told_at is None or now - self._told_at >= _TELL_EVERY_SECONDS:
            logger.warning("%s MQTT messages could not be used, the last: %s", self._untold, why)
            self._told_at, self._untold = now, 0

    def _acknowledge(self, client: "Client", number: int, qos: int, connection: int) -> None:
        """Let the broker forget a message, if it came over the connection there is now."""
        # After a reconnect its number may be another message's; the broker sends it again.
        if connection == self._connection:
            client.ack(number, qos)


class _Receipt:
    """Acknowledges a message once all its readings are settled, those of a bad one at once."""

    def __init__(self, readings: int, acknowledge: Callable[[], None]) -> None:
        self._left = readings
        self._acknowledge = acknowledge
        self._counting = threading.Lock()
        if not readings:
            acknowledge()

    def settle_one(self) -> None:
        with self._counting:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._acknowledge()
