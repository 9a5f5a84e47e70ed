"""A stream with a rhythm of its own: on time, in order, and gone when its client is."""

import asyncio
from typing import Any

import pytest

from benchwire.foundation.streams import Hub
from benchwire.foundation.web import sse
from benchwire.foundation.web.sse import PacedStream


class Line:
    """What lies between a stream and its client."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.times: list[float] = []
        self.gone = asyncio.Event()
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.ended = False

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.may_send.wait()
        if message["type"] == "http.response.body":
            self.ended = not message["more_body"]
            if message["body"]:
                self.sent.append(message["body"])
                self.times.append(asyncio.get_running_loop().time())


def numbers() -> Any:
    count = iter(range(10**6))

    async def next_event() -> bytes:
        return b"%d" % next(count)

    return next_event


async def run(
    hub: Hub, line: Line, interval: float, next_event: Any = None
) -> "asyncio.Task[None]":
    hub.bind(asyncio.get_running_loop())
    stream = PacedStream(hub, next_event or numbers(), interval)
    return asyncio.create_task(stream({"type": "http"}, line.receive, line.send))


async def sent(line: Line, count: int) -> None:
    async with asyncio.timeout(10):
        while len(line.sent) < count:
            await asyncio.sleep(0.005)


def test_first_event_comes_at_once_and_all_in_order() -> None:
    async def work() -> None:
        line = Line()
        begun = asyncio.get_running_loop().time()
        task = await run(Hub(), line, 0.05)
        await sent(line, 8)
        line.gone.set()
        await asyncio.wait_for(task, 5)
        assert line.times[0] - begun < 0.05
        assert line.sent == [b"%d" % number for number in range(len(line.sent))]
        assert line.times[7] - line.times[0] >= 7 * 0.05 - 0.01

    asyncio.run(work())


def test_client_that_paused_gets_every_event_and_no_flood() -> None:
    async def work() -> None:
        line = Line()
        task = await run(Hub(), line, 0.02)
        await sent(line, 3)
        line.may_send.clear()
        await asyncio.sleep(0.3)
        line.may_send.set()
        await sent(line, 30)
        line.gone.set()
        await asyncio.wait_for(task, 5)
        assert line.sent == [b"%d" % number for number in range(len(line.sent))]

    asyncio.run(work())


def test_client_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STALLED_SECONDS", 0.2)

    async def work() -> None:
        line, hub = Line(), Hub()
        task = await run(hub, line, 0.01)
        await sent(line, 2)
        line.may_send.clear()
        await asyncio.wait_for(task, 5)
        assert hub.subscribers == 0

    asyncio.run(work())


def test_stream_ends_with_the_hub() -> None:
    async def work() -> None:
        line, hub = Line(), Hub()
        task = await run(hub, line, 5.0)
        await sent(line, 1)
        hub.close()
        await asyncio.wait_for(task, 5)
        assert line.ended

    asyncio.run(work())


def test_stream_whose_source_fails_ends() -> None:
    async def work() -> None:
        async def fails() -> bytes:
            raise ValueError

        line, hub = Line(), Hub()
        task = await run(hub, line, 0.1, fails)
        await asyncio.wait_for(task, 5)
        assert hub.subscribers == 0

    asyncio.run(work())
