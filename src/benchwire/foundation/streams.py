"""Publish and subscribe: an event is encoded once and handed to every subscriber.

Publishers are threads and never wait. Each subscriber has a bounded queue; one that does not keep
up is dropped, so that it slows nobody and holds no memory. What is carried are opaque bytes.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import orjson

DEFAULT_QUEUE_LIMIT = 256
# What many threads publish within this time goes to each subscriber in one write, and the longer
# the more there are: at two hundred of them a write each would cost more than measuring does. What
# comes after a pause does not wait.
GATHER_SECONDS = 0.03
_MOST_GATHER_SECONDS = 0.1
_GATHER_SECONDS_EACH = 0.0005


def json_event(name: str, payload: object, event_id: str | None = None) -> bytes:
    """Return an event as it goes over the line; what is no number is null."""
    data = orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY)
    head = "" if event_id is None else f"id: {event_id}\n"
    return b"%sevent: %s\ndata: %s\n\n" % (head.encode(), name.encode(), data)


class Subscription:
    """One subscriber's queue, used on the hub's event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: deque[bytes] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._over: asyncio.Event = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come: dropped, or the hub was closed."""
        return self._over.is_set()

    async def ended(self) -> None:
        """Wait until nothing more will come."""
        await self._over.wait()

    async def next(self) -> bytes | None:
        """Return all that is waiting, as one piece, once there is something; None at the end.

        Everything that came since the last call is joined, so that a subscriber who falls behind
        for a moment catches up with one write.
        """
        if not self._queue and not self.is_over:
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        if not self._queue:
            return None
        if len(self._queue) == 1:
            return self._queue.popleft()
        joined = b"".join(self._queue)
        self._queue.clear()
        return joined

    def put(self, data: bytes) -> bool:
        """Queue data; False when the queue was full and the subscription is over."""
        if len(self._queue) >= self._limit:
            self._queue.clear()
            self.end()
            return False
        self._queue.append(data)
        self._awake()
        return True

    def end(self) -> None:
        """Say that nothing more will come."""
        self._over.set()
        self._awake()

    def _awake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Hub:
    """Topics and their subscribers, for one event loop and any number of publishing threads."""

    def __init__(self, queue_limit: int = DEFAULT_QUEUE_LIMIT) -> None:
        self._queue_limit = queue_limit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._topics: dict[str, set[Subscription]] = {}
        self._subscriptions: set[Subscription] = set()
        self._pending: deque[tuple[str, bytes]] = deque()
        self._handover_due = False
        self._handed_over_at = float("-inf")
        self._lock = threading.Lock()
        self._closed = False
        self.published = 0
        self.dropped = 0

    @property
    def subscribers(self) -> int:
        """How many listen."""
        return len(self._subscriptions)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop on which subscribers live."""
        self._loop = loop

    def publish(self, topic: str, data: bytes) -> None:
        """Hand data to everyone who listens to a topic; from any thread, without waiting."""
        if topic not in self._topics or self._closed:
            return
        self._pending.append((topic, data))
        # One hand-over serves a whole burst, from however many threads.
        with self._lock:
            if self._handover_due or self._loop is None:
                return
            self._handover_due = True
            loop = self._loop
        self._call(loop, self._plan_handover)

    def close(self) -> None:
        """End every subscription and refuse new ones; from any thread."""
        self._closed = True
        if self._loop is not None:
            self._call(self._loop, self._end_all)

    @contextmanager
    def subscribe(self, topics: Iterable[str]) -> Iterator[Subscription]:
        """Listen to topics, on the hub's loop; to none, to know when the hub is closed."""
        subscription = Subscription(self._queue_limit)
        names = tuple(topics)
        if self._closed:
            subscription.end()
        for name in names:
            self._topics.setdefault(name, set()).add(subscription)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            self._forget(subscription, names)

    def _forget(self, subscription: Subscription, names: Iterable[str]) -> None:
        for name in names:
            members = self._topics.get(name)
            if members is not None:
                members.discard(subscription)
                if not members:
                    del self._topics[name]

    def _plan_handover(self) -> None:
        loop = asyncio.get_running_loop()
        gathering = max(GATHER_SECONDS, len(self._subscriptions) * _GATHER_SECONDS_EACH)
        wait = self._handed_over_at + min(gathering, _MOST_GATHER_SECONDS) - loop.time()
        if wait > 0:
            loop.call_later(wait, self._hand_over)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        self._handed_over_at = asyncio.get_running_loop().time()
        with self._lock:
            self._handover_due = False
        while self._pending:
            topic, data = self._pending.popleft()
            self.published += 1
            for subscription in tuple(self._topics.get(topic, ())):
                if not subscription.is_over and not subscription.put(data):
                    self.dropped += 1

    def _end_all(self) -> None:
        self._hand_over()
        for subscription in tuple(self._subscriptions):
            subscription.end()

    @staticmethod
    def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(function)
        except RuntimeError:
            return  # the loop has ended, and with it every subscriber
