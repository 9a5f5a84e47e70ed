"""The hub and the event streams: everything in order to those who keep up, and nobody waits."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from benchwire.foundation import streams
from benchwire.foundation.streams import Hub, json_event
from benchwire.foundation.web.sse import EventStream
from tests.support.waiting import until


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_events_come_in_order_and_joined() -> None:
    async def scene() -> None:
        hub = Hub()
        hub.bind(asyncio.get_running_loop())
        with hub.subscribe(["a"]) as subscription:
            for number in range(5):
                hub.publish("a", b"%d," % number)
            hub.publish("b", b"other")
            await settle()
            assert await subscription.next() == b"0,1,2,3,4,"
            assert hub.published == 5

    asyncio.run(scene())


def test_what_comes_soon_after_is_gathered_and_the_first_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "GATHER_SECONDS", 0.5)

    async def scene() -> None:
        hub = Hub()
        hub.bind(asyncio.get_running_loop())
        with hub.subscribe(["a"]) as subscription:
            hub.publish("a", b"first,")
            await settle()
            assert await asyncio.wait_for(subscription.next(), 0.4) == b"first,"
            for number in range(3):
                hub.publish("a", b"%d," % number)
                await asyncio.sleep(0.001)
            assert await subscription.next() == b"0,1,2,"

    asyncio.run(scene())


def test_full_queue_drops_its_subscriber_alone() -> None:
    async def scene() -> None:
        hub = Hub(queue_limit=3)
        hub.bind(asyncio.get_running_loop())
        with hub.subscribe(["a"]) as slow, hub.subscribe(["a"]) as quick:
            for number in range(5):
                hub.publish("a", b"%d" % number)
                await settle()
                assert await quick.next() == b"%d" % number
            assert slow.is_over
            assert await slow.next() is None
            assert hub.dropped == 1

    asyncio.run(scene())


def test_publishing_threads_lose_nothing() -> None:
    async def scene() -> None:
        hub = Hub(queue_limit=100_000)
        hub.bind(asyncio.get_running_loop())

        def publish() -> None:
            for _ in range(1000):
                hub.publish("a", b"x")

        with hub.subscribe(["a"]) as subscription:
            threads = [threading.Thread(target=publish) for _ in range(8)]
            for thread in threads:
                thread.start()
            count = 0
            while count < 8000:
                piece = await subscription.next()
                assert piece is not None
                count += len(piece)
            for thread in threads:
                thread.join()

    asyncio.run(scene())


def test_closed_hub_ends_old_and_new_subscriptions() -> None:
    async def scene() -> None:
        hub = Hub()
        hub.bind(asyncio.get_running_loop())
        with hub.subscribe(["a"]) as old:
            await asyncio.to_thread(hub.close)
            assert await old.next() is None
            assert old.is_over
        with hub.subscribe(["a"]) as new:
            assert await new.next() is None

    asyncio.run(scene())


def test_event_is_one_block_of_lines() -> None:
    assert json_event("x", {"a": 1}, "7") == b'id: 7\nevent: x\ndata: {"a":1}\n\n'


# -- over real sockets -------------------------------------------------------------------------


@contextmanager
def serving(hub: Hub, **options: object) -> Iterator[int]:
    async def stream(_: object) -> EventStream:
        return EventStream(hub, ["a"], hello=lambda: b"event: hello\ndata: 1\n\n", **options)

    async def bind() -> None:
        hub.bind(asyncio.get_running_loop())

    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def lifespan(_: object):
        await bind()
        yield

    app = Starlette(routes=[Route("/", stream)], lifespan=lifespan)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    until(lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        hub.close()
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


def connect(port: int, *, receive_buffer: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


def read_until(client: socket.socket, mark: bytes) -> bytes:
    content = b""
    while mark not in content:
        piece = client.recv(65536)
        assert piece, content[-200:]
        content += piece
    return content


def test_client_hears_hello_first_then_events() -> None:
    hub = Hub()
    with serving(hub) as port, connect(port) as client:
        head = read_until(client, b"event: hello")
        assert b"text/event-stream" in head
        assert b"retry: 2000" in head
        hub.publish("a", json_event("n", {"number": 1}))
        assert b'{"number":1}' in read_until(client, b"number")


def test_silence_is_filled_with_heartbeats() -> None:
    with serving(Hub(), heartbeat=0.05) as port, connect(port) as client:
        read_until(client, b": ping")


def test_client_that_goes_is_forgotten() -> None:
    hub = Hub()
    with serving(hub) as port:
        client = connect(port)
        read_until(client, b"hello")
        assert hub.subscribers == 1
        client.close()
        until(lambda: hub.subscribers == 0)


def test_stalled_client_is_dropped_and_others_hear_everything() -> None:
    hub = Hub(queue_limit=64)
    with serving(hub) as port, connect(port) as good, connect(port, receive_buffer=4096) as stalled:
        read_until(good, b"hello")
        read_until(stalled, b"hello")
        heard: list[int] = []

        def listen() -> None:
            content = b""
            while len(heard) < 300:
                content += good.recv(1 << 20)
                *whole, content = content.split(b"\n\n")
                heard.extend(
                    json.loads(block.split(b"data: ")[1].split(b"\r\n")[0])["n"]
                    for block in whole
                    if b"data: {" in block
                )

        listener = threading.Thread(target=listen)
        listener.start()
        for number in range(300):
            hub.publish("a", json_event("x", {"n": number, "fill": "x" * 20_000}))
            time.sleep(0.003)
        listener.join(20)
        assert heard == list(range(300))
        until(lambda: hub.dropped == 1)
        until(lambda: hub.subscribers == 1)


def test_closing_the_hub_ends_streams_at_once() -> None:
    hub = Hub()
    with serving(hub) as port, connect(port) as client:
        read_until(client, b"hello")
        hub.close()
        rest = b""
        while piece := client.recv(65536):
            rest += piece
            if rest.endswith(b"0\r\n\r\n"):
                break
        assert rest.endswith(b"0\r\n\r\n")


def test_what_is_no_number_is_null() -> None:
    values = np.array([1.5, np.nan], np.float32)
    event = json_event("x", {"one": float("nan"), "more": values})
    assert event == b'event: x\ndata: {"one":null,"more":[1.5,null]}\n\n'
