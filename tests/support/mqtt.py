"""A real MQTT broker on loopback, and what was published to it."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Broker:
    """amqtt's broker in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._broker = self._call(self._start())

    async def _start(self) -> Any:
        from amqtt.broker import Broker as Amqtt

        broker = Amqtt(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
                "plugins": {
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
                },
            }
        )
        await broker.start()
        return broker

    def close(self) -> None:
        self._call(self._broker.shutdown())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._broker = None
        with warnings.catch_warnings():
            # It leaves its clients' sockets open, which some other test would be blamed for.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


@contextmanager
def listening(port: int) -> Iterator[dict[str, list[str]]]:
    """Collect every message of a broker, by topic, retained ones first."""
    from paho.mqtt.client import CallbackAPIVersion, Client

    found: dict[str, list[str]] = {}
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: found.setdefault(message.topic, []).append(
        message.payload.decode()
    )
    client.on_connect = lambda *_: client.subscribe("#", qos=1)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield found
    finally:
        client.disconnect()
        client.loop_stop()
