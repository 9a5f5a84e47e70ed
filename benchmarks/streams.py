"""A thousand clients on one stream: the hub against the usual way, in one run.

The usual way is a queue per client, an event encoded for each of them, and the framework's
streaming response. A tenth of the clients connect and never read. Prints what was delivered, how
late, and what it cost.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchwire.foundation.streams import Hub, json_event
from benchwire.foundation.web.sse import EventStream

TOPIC = "bench"
T = TypeVar("T")
FILL = {f"channel {number}": number * 1.25 for number in range(12)}


def make_event(number: int) -> dict[str, object]:
    return {"n": number, "t": time.monotonic(), "values": FILL}


def hub_app(hz: float) -> Starlette:
    hub = Hub()

    async def stream(_: object) -> Response:
        return EventStream(hub, [TOPIC])

    def publish(number: int) -> None:
        hub.publish(TOPIC, json_event("sample", make_event(number)))

    def bind() -> None:
        hub.bind(asyncio.get_running_loop())

    return make_app(stream, publish, bind, hz)


def usual_app(hz: float) -> Starlette:
    queues: set[asyncio.Queue[dict[str, object]]] = set()

    async def stream(_: object) -> Response:
        queue: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        queues.add(queue)

        async def events() -> AsyncIterator[str]:
            try:
                while True:
                    data = json.dumps(await queue.get(), separators=(",", ":"))
                    yield f"event: sample\ndata: {data}\n\n"
            finally:
                queues.discard(queue)

        return StreamingResponse(events(), media_type="text/event-stream")

    def publish(number: int) -> None:
        event = make_event(number)
        for queue in queues:
            queue.put_nowait(event)

    return make_app(stream, publish, lambda: None, hz)


def make_app(stream: object, publish: object, bind: object, hz: float) -> Starlette:
    async def beat() -> None:
        start, number = time.monotonic(), 0
        while True:
            publish(number)
            number += 1
            await asyncio.sleep(max(0.0, start + number / hz - time.monotonic()))

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        bind()
        task = asyncio.create_task(beat())
        yield
        task.cancel()

    return Starlette(routes=[Route("/", stream)], lifespan=lifespan)


def serve(kind: str, hz: float, port: int, pipe: Connection) -> None:
    allow_many_files()
    app = {"hub": hub_app, "usual": usual_app}[kind](hz)
    config = uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)

    async def main() -> None:
        serving = asyncio.create_task(server.serve())
        while True:
            await asyncio.sleep(0.05)
            if pipe.poll():
                if pipe.recv() == "cost":
                    pipe.send(time.process_time())
                else:
                    break
        server.should_exit = True
        server.force_exit = True
        await serving

    run(main())


def run(work: Coroutine[None, None, T]) -> T:
    """Run on the faster loop where there is one, as the server does."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


class Listener(asyncio.Protocol):
    """Reads a stream and notes how late its events are, at the least cost to the clients' side."""

    def __init__(self, lags: list[float]) -> None:
        """Share the list of lags."""
        self.lags = lags

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        transport.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        """Note each event in the piece; a piece holds whole events at this size."""
        now = time.monotonic()
        place = data.find(b'"t":')
        while place >= 0:
            self.lags.append(now - float(data[place + 4 : data.index(b",", place)]))
            place = data.find(b'"t":', place + 4)


def connect_and_never_read(port: int) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.connect(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


async def listen(port: int, clients: int, seconds: float, pipe: Connection) -> dict[str, float]:
    lags: list[float] = []
    loop = asyncio.get_running_loop()
    stalled = [connect_and_never_read(port) for _ in range(clients // 10)]
    transports = []
    for _ in range(clients - len(stalled)):
        transport, _ = await loop.create_connection(lambda: Listener(lags), "127.0.0.1", port)
        transports.append(transport)
    await asyncio.sleep(2.0)
    lags.clear()
    pipe.send("cost")
    cost, began = pipe.recv(), time.monotonic()
    await asyncio.sleep(seconds)
    pipe.send("cost")
    cost, taken = pipe.recv() - cost, time.monotonic() - began
    heard = sorted(lags)
    for transport in transports:
        transport.close()
    for client in stalled:
        client.close()
    return {
        "healthy": len(transports),
        "heard": len(heard),
        "p50": heard[len(heard) // 2] * 1e3,
        "p99": heard[int(len(heard) * 0.99)] * 1e3,
        "worst": heard[-1] * 1e3,
        "cpu": cost / taken,
        "seconds": taken,
    }


def measure(kind: str, *, clients: int, hz: float, seconds: float) -> dict[str, float]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=(kind, hz, port, there), daemon=True)
    process.start()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    try:
        result = run(listen(port, clients, seconds, here))
    finally:
        here.send("end")
        process.join(5)
        process.kill()
    result["share"] = result["heard"] / (result["healthy"] * hz * result["seconds"])
    return result


def allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--hz", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    allow_many_files()
    print(
        f"{options.clients} clients, a tenth of them stalled, {options.hz:g} events a second, "
        f"{options.seconds:g} s, {os.cpu_count()} cores"
    )
    results = {kind: measure(kind, **vars(options)) for kind in ("hub", "usual")}
    for kind, result in results.items():
        print(
            f"{kind:>6}: delivered {result['share']:.2%}, lag p50 {result['p50']:.1f} ms, "
            f"p99 {result['p99']:.1f} ms, worst {result['worst']:.1f} ms, "
            f"server {result['cpu']:.0%} of a core"
        )
    hub, usual = results["hub"], results["usual"]
    print(
        f"ratio usual / hub: p99 {usual['p99'] / hub['p99']:.1f}, "
        f"processor {usual['cpu'] / hub['cpu']:.1f}"
    )
    ok = hub["p99"] < 50 and hub["share"] >= 0.99
    print(f"goal (p99 under 50 ms, 99 % delivered): {'met' if ok else 'NOT met'}")


if __name__ == "__main__":
    main()
