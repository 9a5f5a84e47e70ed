"""What open pages show of the server's state, looked up once for all of them.

A page with a timer of its own costs the server as much as all the others together. A `Watch` is
made once, asks once, and only while a page is open; pages hear of it when something has changed.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from nicegui import background_tasks, ui
from nicegui.helpers import await_with_context
from nicegui.slot import Slot

from benchwire.foundation.streams import Hub

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

_FORGET_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Follower(Generic[Value]):
    """A place on an open page, and what shows the value there."""

    slot: Slot
    show: Callable[[Value], Any]

    @property
    def is_gone(self) -> bool:
        """Whether the page was closed or drawn anew."""
        try:
            return self.slot.parent.is_deleted
        except RuntimeError:  # what was not kept by the page was collected
            return True


class Watch(Generic[Value]):
    """One value and the open pages that show it.

    Parameters
    ----------
    look
        Finds the value, in a thread; the values are compared with ``==``.
    seconds
        The shortest time between two looks.
    hub, topic
        Where given, a look follows an event of the topic; without one there is hardly any.
    """

    def __init__(
        self,
        look: Callable[[], Value],
        *,
        seconds: float = 1.0,
        hub: Hub | None = None,
        topic: str = "",
    ) -> None:
        self._look = look
        self._seconds = seconds
        self._hub = hub
        self._topic = topic
        self._known: list[Value] = []
        self._fresh_until = float("-inf")
        self._followers: list[Follower[Value]] = []
        self._task: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Find the value beside the event loop, so that `follow` has it at hand."""
        if not self._is_fresh:
            self._keep(await asyncio.to_thread(self._look))

    def follow(self, show: Callable[[Value], Any]) -> None:
        """Show the value here, at once and after every change, as long as the page is open.

        Parameters
        ----------
        show
            Draws the value where `follow` was called; it may be a coroutine function.
        """
        # A page that nobody prepared waits for a look, which has to be short.
        if not self._is_fresh:
            self._keep(self._look())
        follower = Follower(ui.context.slot, show)
        self._followers.append(follower)
        self._tell(follower, self._known[0])
        if self.is_idle:
            self._task = background_tasks.create(self._watch(), name=f"watch {self._look!r}")

    async def renew(self) -> None:
        """Look now, for a page that has just changed something."""
        try:
            value = await asyncio.to_thread(self._look)
        except Exception:
            logger.exception("could not look up what open pages show")
            return
        has_changed = not self._known or value != self._known[0]
        self._keep(value)
        if has_changed:
            for follower in list(self._followers):
                if not follower.is_gone:
                    self._tell(follower, value)

    @property
    def is_idle(self) -> bool:
        """Whether no page is open and nothing is looked up."""
        return self._task is None or self._task.done()

    @property
    def _is_fresh(self) -> bool:
        now = asyncio.get_running_loop().time()
        return bool(self._known) and (not self.is_idle or now < self._fresh_until)

    def _keep(self, value: Value) -> None:
        self._known = [value]
        self._fresh_until = asyncio.get_running_loop().time() + self._seconds

    async def _watch(self) -> None:
        async for _ in self._occasions():
            self._followers = [one for one in self._followers if not one.is_gone]
            if not self._followers:
                return
            await self.renew()

    async def _occasions(self) -> AsyncIterator[None]:
        while True:
            if self._hub is None:
                await asyncio.sleep(self._seconds)
                yield
                continue
            with self._hub.subscribe([self._topic]) as subscription:
                yield  # something may have happened since the value was found
                while not subscription.is_over:
                    await asyncio.sleep(self._seconds)
                    # Pages that were closed are forgotten also while nothing happens.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(subscription.next(), _FORGET_SECONDS)
                    yield
            await asyncio.sleep(self._seconds)

    @staticmethod
    def _tell(follower: Follower[Value], value: Value) -> None:
        with follower.slot:
            try:
                answer = follower.show(value)
            except Exception:
                logger.exception("a page could not show what has changed")
                return
        if asyncio.iscoroutine(answer):
            background_tasks.create(await_with_context(answer, follower.slot))


class Watches(Generic[Value]):
    """A watch of each of many things; those that no page follows are forgotten by themselves.

    Parameters
    ----------
    look
        Finds the value of one of them, in a thread.
    seconds
        The shortest time between two looks at one.
    """

    def __init__(self, look: Callable[[str], Value], *, seconds: float = 1.0) -> None:
        self._look = look
        self._seconds = seconds
        self._followed: WeakValueDictionary[str, Watch[Value]] = WeakValueDictionary()

    def of(self, key: str) -> Watch[Value]:
        """Return the watch of one of them, the same to all who ask while it is followed."""
        watch = self._followed.get(key)
        if watch is None:
            watch = Watch(lambda: self._look(key), seconds=self._seconds)
            self._followed[key] = watch
        return watch
