"""Server-sent events straight onto the socket.

The answer is written with ASGI messages of its own instead of a streaming response: at a thousand
clients the layers in between cost ten times what the bytes do.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Self

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from benchwire.foundation.streams import Hub, Subscription
from benchwire.foundation.web.connections import CUT

HEARTBEAT_SECONDS = 15.0
STALLED_SECONDS = 60.0
_CATCH_UP_SECONDS = 2.0
_RETRY = b"retry: 2000\n\n"
_PING = b": ping\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-store"),
    (b"x-accel-buffering", b"no"),
]

Hello = Callable[[], bytes | Awaitable[bytes]]


class EventStream(Response):
    """A stream of everything published on some topics.

    It ends when the client goes, when the client does not keep up, and when the hub is closed.

    Parameters
    ----------
    hello
        Gives the first events, from what is known once the subscription stands, so that nothing
        falls between the two.
    """

    def __init__(
        self,
        hub: Hub,
        topics: Iterable[str],
        *,
        hello: Hello | None = None,
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self._hub = hub
        self._topics = tuple(topics)
        self._hello = hello
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until one side ends it."""
        with self._hub.subscribe(self._topics) as subscription:
            writer = asyncio.ensure_future(self._write(send, subscription))
            # A client that does not read blocks the writer; being dropped has to end it all the
            # same, and leaving the application unfinished closes the connection.
            waiters = [
                asyncio.ensure_future(_gone(receive)),
                asyncio.ensure_future(_dropped(subscription, writer)),
            ]
            try:
                await asyncio.wait([writer, *waiters], return_when=asyncio.FIRST_COMPLETED)
            finally:
                is_stalled = subscription.is_over and not writer.done()
                for task in (writer, *waiters):
                    task.cancel()
                await asyncio.gather(writer, *waiters, return_exceptions=True)
                if is_stalled:
                    _hang_up(scope)

    async def _write(self, send: Send, subscription: Subscription) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        first = b""
        if self._hello is not None:
            found = self._hello()
            first = await found if inspect.isawaitable(found) else found
        await send({"type": "http.response.body", "body": _RETRY + first, "more_body": True})
        with _Heartbeat(subscription, self._heartbeat) as heartbeat:
            while (data := await subscription.next()) is not None:
                heartbeat.is_needed = False
                await send({"type": "http.response.body", "body": data, "more_body": True})
        with contextlib.suppress(OSError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class PacedStream(Response):
    """A stream of events taken one by one, at a fixed rhythm of each client's own.

    The first is sent at once. A client that falls behind for a moment gets what it missed in quick
    order; after a longer pause the rhythm begins anew, and one that takes nothing for
    ``STALLED_SECONDS`` is dropped. It ends when the client goes and when the hub is closed.

    Parameters
    ----------
    next_event
        Gives the next event as it goes over the line.
    interval
        Seconds between two events.
    """

    def __init__(
        self, hub: Hub, next_event: Callable[[], Awaitable[bytes]], interval: float
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self._hub = hub
        self._next_event = next_event
        self._interval = interval

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until one side ends it."""
        with self._hub.subscribe(()) as subscription:
            tasks = [
                asyncio.ensure_future(self._write(send)),
                asyncio.ensure_future(_gone(receive)),
                asyncio.ensure_future(subscription.ended()),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if tasks[2].done():
                    await self._say_goodbye(tasks[0], send)
            finally:
                for task in tasks:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                if isinstance(outcomes[0], TimeoutError):
                    _hang_up(scope)

    async def _write(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        due = loop.time()
        while True:
            event = await self._next_event()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            body = {"type": "http.response.body", "body": event, "more_body": True}
            # Not wait_for, which may swallow a cancellation that comes as the sending ends.
            async with asyncio.timeout(STALLED_SECONDS):
                await send(body)
            due += self._interval
            if loop.time() - due > max(_CATCH_UP_SECONDS, self._interval):
                due = loop.time()

    @staticmethod
    async def _say_goodbye(writer: "asyncio.Future[None]", send: Send) -> None:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        with contextlib.suppress(OSError, TimeoutError):
            last = {"type": "http.response.body", "body": b"", "more_body": False}
            async with asyncio.timeout(0.5):
                await send(last)


class _Heartbeat:
    """Puts a sign of life into a stream that was silent for a whole interval.

    A timer per interval, not per event: at ten thousand events a second those would cost more than
    the events.
    """

    def __init__(self, subscription: Subscription, seconds: float) -> None:
        self._subscription = subscription
        self._seconds = seconds
        self.is_needed = True
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._schedule()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._beat)

    def _beat(self) -> None:
        if self.is_needed:
            self._subscription.put(_PING)
        self.is_needed = True
        self._schedule()


def _hang_up(scope: Scope) -> None:
    """End the connection of a client that does not read.

    Closed in good order, it would be kept with what is still to be sent until the client reads.
    """
    scope.get(CUT, lambda: None)()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _dropped(subscription: Subscription, writer: "asyncio.Future[None]") -> None:
    await subscription.ended()
    # A healthy client still gets the end of its stream; a stalled one is not waited for.
    await asyncio.wait([writer], timeout=0.5)
