"""What was asked for and is not there yet: each thing once, the urgent before the rest."""

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

K = TypeVar("K")


class Orders(Generic[K]):
    """A queue of things to be made, for many who ask and one who makes them.

    The lower a priority, the sooner; what was asked for again more urgently moves ahead.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, K]] = []
        self._promised: dict[K, tuple[int, Future[Any]]] = {}
        self._number = itertools.count()
        self._changed = threading.Condition()
        self._closed: BaseException | None = None

    def ask(self, key: K, priority: int) -> "Future[Any]":
        """Return the promise of a thing; several who ask for it share one."""
        with self._changed:
            before, future = self._promised.get(key, (None, Future()))
            if self._closed is not None:
                future.set_exception(self._closed)
            elif before is None or priority < before:
                self._promised[key] = (priority, future)
                heapq.heappush(self._heap, (priority, next(self._number), key))
                self._changed.notify_all()
            return future

    def next(self) -> K | None:
        """Return what is to be made next, None if nothing is; it stays promised."""
        with self._changed:
            while self._heap:
                priority, _, key = heapq.heappop(self._heap)
                # What moved ahead is in the heap twice.
                if key in self._promised and self._promised[key][0] == priority:
                    return key
            return None

    def alike(self, key: K, belongs: Callable[[K], bool], most: int) -> list[K]:
        """Return a thing and others that are promised and can be made in one go with it."""
        with self._changed:
            others = (other for other in self._promised if other != key and belongs(other))
            return [key, *itertools.islice(others, most - 1)]

    def keep(self, key: K, outcome: object) -> None:
        """Hand a thing, or the error in its place, to all who asked for it."""
        with self._changed:
            _, future = self._promised.pop(key, (0, None))
        if future is None or future.done():
            return
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def wait(self, seconds: float) -> None:
        """Wait until something is asked for, but not longer."""
        with self._changed:
            if not self._heap and self._closed is None:
                self._changed.wait(seconds)

    def close(self, error: BaseException) -> None:
        """Tell everybody who waits, and who asks from here on, that nothing more is made."""
        with self._changed:
            self._closed = error
            keys = list(self._promised)
            self._changed.notify_all()
        for key in keys:
            self.keep(key, error)
