import contextlib
import json
import logging
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from benchwire.domains.battery import mqtt
from benchwire.domains.battery.mqtt import MqttSubscriber
from benchwire.domains.battery.samples import MICROSECONDS
from benchwire.domains.battery.subscriptions import Subscription
from benchwire.foundation.clock import SystemClock, microseconds
from tests.domains.battery.shelf import Shelf
from tests.support.mqtt import Broker
from tests.support.waiting import until

SUBSCRIPTIONS = (
    Subscription(
        topic="plant/+/telemetry",
        device_level=2,
        time="ts",
        json={"soc": "soc", "voltage": "v", "dc_voltage": "dc"},
    ),
    Subscription(topic="site/bms/soc", device_id="S", field="soc"),
)
EPOCH = 1_700_000_000


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


class KeepingBroker(Broker):
    """A broker that keeps the messages of those who are away, as it does for users by name."""

    async def _start(self) -> Any:
        from amqtt.broker import Broker as Amqtt

        broker = Amqtt(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
                "plugins": {
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False}
                },
            }
        )
        await broker.start()
        return broker


@pytest.fixture
def broker(free_port: int) -> Iterator[Broker]:
    running = KeepingBroker(free_port)
    yield running
    running.close()


@contextlib.contextmanager
def subscribing(
    shelf: Shelf, port: int, client_id: str = "battery-test"
) -> Iterator[MqttSubscriber]:
    subscriber = MqttSubscriber(
        SUBSCRIPTIONS,
        shelf.take,
        broker=mqtt.Broker("127.0.0.1", port, username="lab", password="x", client_id=client_id),
        clock=SystemClock(),
        retry_seconds=0.05,
    )
    subscriber.start()
    try:
        yield subscriber
    finally:
        subscriber.close()


@contextlib.contextmanager
def broker_process(port: int) -> Iterator[None]:
    """A broker that ends as in a power cut."""
    code = (
        "import time\nfrom tests.domains.battery.test_mqtt import KeepingBroker\n"
        f"KeepingBroker({port})\ntime.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@contextlib.contextmanager
def publishing(port: int) -> Iterator["Publisher"]:
    publisher = Publisher(port)
    try:
        yield publisher
    finally:
        publisher.close()


class Publisher:
    """Publishes with quality of service 1 and waits until the broker has each message."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.client import CallbackAPIVersion, Client

        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set("lab", "x")
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def send(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def tell(self, second: int, **values: float) -> None:
        self.send("plant/D1/telemetry", json.dumps({"ts": EPOCH + second, **values}))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def seconds(shelf: Shelf, group: str = "bms") -> list[int]:
    return [one.at_us // MICROSECONDS - EPOCH for one in shelf.readings("D1", group)]


def test_messages_become_readings_of_their_device_and_group(shelf: Shelf, broker: Broker) -> None:
    began = microseconds(SystemClock().now())
    with subscribing(shelf, broker.port) as subscriber, publishing(broker.port) as publisher:
        until(lambda: subscriber.state.is_connected)
        publisher.tell(1, soc=81.5, v=825.3, dc=812.0)
        publisher.tell(2, soc=81.4)
        publisher.send("site/bms/soc", "55.5")
        publisher.send("elsewhere", "1")
        until(lambda: subscriber.state.stored == 4)
        state = subscriber.state
    assert (state.messages, state.bad, state.dropped, state.last_error) == (3, 0, 0, None)
    assert shelf.values("D1", "bms", "soc") == [81.5, 81.4]
    assert shelf.values("D1", "bms", "voltage") == [825.3, None]
    assert shelf.values("D1", "pcs", "dc_voltage") == [812.0]
    [number] = shelf.readings("S", "bms")
    assert number.values == {"soc": 55.5}
    assert began <= number.at_us <= microseconds(SystemClock().now())


def test_bad_messages_are_counted_and_told_rarely_and_stop_nothing(
    shelf: Shelf, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        b"not json",
        b"\xff\xfe\x00",
        b"{}",
        b'{"ts": 1700000000, "soc": NaN}',
        b'{"ts": 1700000000, "soc": 1e999}',
        b'{"ts": 1, "soc": 5}',
        b"[" * 50_000,
        b'{"ts": 1700000000, "soc": 5, "x": "' + b"x" * 1_000_000 + b'"}',
    ]
    with subscribing(shelf, broker.port) as subscriber, publishing(broker.port) as publisher:
        until(lambda: subscriber.state.is_connected)
        for payload in bad:
            publisher.send("plant/D1/telemetry", payload)
        publisher.send("plant/..%2f/telemetry", b'{"ts": 1700000000, "soc": 5}')
        publisher.tell(9, soc=50)
        until(lambda: subscriber.state.stored == 1)
        assert subscriber.state.bad == len(bad) + 1
        assert subscriber.state.last_error is not None
    told = [one for one in caplog.records if "could not be used" in one.getMessage()]
    assert len(told) == 1
    assert seconds(shelf) == [9]


def test_message_that_is_bad_in_one_field_gives_the_others(shelf: Shelf, broker: Broker) -> None:
    with subscribing(shelf, broker.port) as subscriber, publishing(broker.port) as publisher:
        until(lambda: subscriber.state.is_connected)
        publisher.send("plant/D1/telemetry", b'{"ts": 1700000000, "soc": "x", "v": 800}')
        until(lambda: subscriber.state.stored == 1)
        assert subscriber.state.bad == 1
    assert shelf.readings("D1", "bms")[0].values == {"voltage": 800.0}


def test_nothing_published_while_the_server_is_away_is_lost(shelf: Shelf, broker: Broker) -> None:
    with subscribing(shelf, broker.port) as subscriber, publishing(broker.port) as publisher:
        until(lambda: subscriber.state.is_connected)
        publisher.tell(0, soc=1)
        until(lambda: subscriber.state.stored == 1)
    with publishing(broker.port) as publisher:
        for second in range(1, 40):
            publisher.tell(second, soc=second)
    with subscribing(shelf, broker.port):
        until(lambda: len(seconds(shelf)) == 40)
    assert sorted(seconds(shelf)) == list(range(40))


class ScriptedBroker:
    """Sends one message with quality of service 1 on every connection; notes what comes back."""

    def __init__(self) -> None:
        payload = json.dumps({"ts": EPOCH, "soc": 50, "dc": 800}).encode()
        topic = b"plant/D1/telemetry"
        body = struct.pack(">H", len(topic)) + topic + b"\x12\x34" + payload
        self._message = bytes([0x32, len(body)]) + body
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        self.connects: list[bytes] = []
        self.acknowledged: list[tuple[int, bytes]] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.connections.append(peer)
                with peer, contextlib.suppress(OSError):
                    self._talk(peer, len(self.connections))

    def _talk(self, peer: socket.socket, number: int) -> None:
        while head := peer.recv(2, socket.MSG_WAITALL):
            body = peer.recv(head[1], socket.MSG_WAITALL) if head[1] else b""
            match head[0] >> 4:
                case 1:
                    self.connects.append(body)
                    peer.sendall(b"\x20\x02\x00\x00")
                case 8:
                    peer.sendall(b"\x90\x04" + body[:2] + b"\x01\x01" + self._message)
                case 4:
                    self.acknowledged.append((number, body))

    def cut(self) -> None:
        self.connections[-1].shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with contextlib.suppress(OSError):
            self.cut()
        self._thread.join(5)


@pytest.fixture
def scripted() -> Iterator[ScriptedBroker]:
    broker = ScriptedBroker()
    yield broker
    broker.close()


def test_session_outlives_the_connection(shelf: Shelf, scripted: ScriptedBroker) -> None:
    with subscribing(shelf, scripted.port, client_id="me"):
        until(lambda: scripted.connects)
    flags = scripted.connects[0][7]
    assert not flags & 0b10
    assert b"\x00\x02me" in scripted.connects[0]


def test_message_is_acknowledged_only_once_all_of_it_is_stored(
    shelf: Shelf, scripted: ScriptedBroker
) -> None:
    shelf.is_broken = True
    with subscribing(shelf, scripted.port) as subscriber:
        until(lambda: subscriber.state.messages == 1)
        until(lambda: shelf.attempts > 4)
        assert scripted.acknowledged == []
        shelf.is_broken = False
        until(lambda: scripted.acknowledged)
    assert scripted.acknowledged == [(1, b"\x12\x34")]
    assert (len(shelf.readings("D1", "bms")), len(shelf.readings("D1", "pcs"))) == (1, 1)


def test_message_of_a_lost_connection_is_acknowledged_only_when_it_comes_again(
    shelf: Shelf, scripted: ScriptedBroker
) -> None:
    shelf.is_broken = True
    with subscribing(shelf, scripted.port) as subscriber:
        until(lambda: subscriber.state.messages == 1)
        scripted.cut()
        until(lambda: subscriber.state.messages == 2)
        shelf.is_broken = False
        until(lambda: scripted.acknowledged)
        until(lambda: subscriber.state.stored == 4)
    # Both copies were stored at one and the same time, and only the second was acknowledged.
    assert scripted.acknowledged == [(2, b"\x12\x34")]
    assert seconds(shelf) == [0]


def test_message_that_cannot_be_stored_before_the_end_is_left_to_the_broker(
    shelf: Shelf, scripted: ScriptedBroker
) -> None:
    shelf.is_broken = True
    with subscribing(shelf, scripted.port) as subscriber:
        until(lambda: subscriber.state.messages == 1)
    assert scripted.acknowledged == []


def test_outage_of_the_store_loses_nothing(shelf: Shelf, broker: Broker) -> None:
    with subscribing(shelf, broker.port) as subscriber, publishing(broker.port) as publisher:
        until(lambda: subscriber.state.is_connected)
        shelf.is_broken = True
        for second in range(60):
            publisher.tell(second, soc=second)
        # Not for long: this broker drops what is not acknowledged within 5 s.
        until(lambda: shelf.attempts > 0, seconds=30)
        shelf.is_broken = False
        until(lambda: len(seconds(shelf)) == 60, seconds=30)
        assert seconds(shelf) == list(range(60))
        assert subscriber.state.dropped == 0


def test_broker_that_restarts_is_found_again(
    shelf: Shelf, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "benchwire")
    with subscribing(shelf, free_port) as subscriber:
        until(lambda: subscriber.state.last_error == "The MQTT broker is not reached")
        for second in range(2):
            with broker_process(free_port):
                until(lambda: subscriber.state.is_connected, seconds=20)
                with publishing(free_port) as publisher:
                    publisher.tell(second, soc=second)
                until(lambda wanted=second + 1: len(seconds(shelf)) == wanted)
            until(lambda: not subscriber.state.is_connected)
    told = [one.getMessage() for one in caplog.records]
    assert told.count("the MQTT broker was reached") == 2


def test_login_that_is_refused_is_told_once(
    shelf: Shelf, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    subscriber = MqttSubscriber(
        SUBSCRIPTIONS,
        shelf.take,
        broker=mqtt.Broker("127.0.0.1", broker.port),
        clock=SystemClock(),
    )
    subscriber.start()
    try:
        until(lambda: [one for one in caplog.records if one.name.startswith("benchwire")])
    finally:
        subscriber.close()
    told = [one.getMessage() for one in caplog.records if one.name.startswith("benchwire")]
    assert told == ["The MQTT broker refused the connection: Not authorized"]
    assert subscriber.state.last_error == told[0]


def test_retained_number_of_unknown_age_is_passed_over(shelf: Shelf, broker: Broker) -> None:
    with publishing(broker.port) as publisher:
        publisher.send("site/bms/soc", "11", retain=True)
        publisher.send("plant/D1/telemetry", '{"ts": 1700000007, "soc": 5}', retain=True)
        with subscribing(shelf, broker.port) as subscriber:
            until(lambda: subscriber.state.messages == 2)
            publisher.send("site/bms/soc", "22")
            until(lambda: subscriber.state.stored == 2)
            assert subscriber.state.bad == 0
    assert shelf.values("S", "bms", "soc") == [22.0]
    # It says itself when it was.
    assert seconds(shelf) == [7]


def test_close_ends_at_once_where_no_broker_is(shelf: Shelf, free_port: int) -> None:
    with subscribing(shelf, free_port) as subscriber:
        until(lambda: subscriber.state.last_error is not None)
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("paho")])
    assert not subscriber.state.is_connected


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x02\x00\x00\x30\x05\x00\x03\xff\xfe\xfd",
    ],
)
def test_something_else_than_a_broker_is_left_and_tried_again(
    shelf: Shelf, greeting: bytes
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    visits: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer, contextlib.suppress(OSError):
                    visits.append(peer)
                    peer.recv(200)
                    peer.sendall(greeting)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(200):
                        pass

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        with subscribing(shelf, listener.getsockname()[1]) as subscriber:
            until(lambda: len(visits) >= 2, what="another visit")
            until(lambda: not subscriber.state.is_connected)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        serving.join(5)
