"""What is measured, on its way to the charts: thinned to what a screen can show.

A slot's curve so far is kept in memory at a bounded number of points, so that a viewer who comes
late sees it whole; what is new goes out in batches, ten a second at most. Viewers who come at the
same time are given the same bytes: made anew for each of a hundred, the curves would keep the
interpreter from the instruments for as long as those can wait.
"""

import itertools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchwire.foundation.clock import Clock
from benchwire.foundation.streams import json_event

MAX_POINTS = 4000
# Of all curves together for a viewer who comes late; a chart shows no more.
SNAPSHOT_POINTS = 8_000
SNAPSHOT_SECONDS = 2.0
BATCH_SECONDS = 0.1
# Enough for a smooth curve on any screen at ten batches a second.
_POINTS_PER_BATCH = 10

Columns = Mapping[str, NDArray[np.float64]]


def topic_of(run_id: str) -> str:
    """Return the topic of a run's live events."""
    return f"potentiostat.run.{run_id}"


class LiveRun:
    """The curves of a run while it is measured, each slot's in its present mode.

    Parameters
    ----------
    publish
        Sends an event to all who follow the run.
    """

    def __init__(self, publish: Callable[[bytes], object], clock: Clock) -> None:
        self._send = publish
        self._clock = clock
        self._curves: dict[str, LiveCurve] = {}
        self._turns = itertools.count(1)
        self._lock = threading.Lock()
        self._snapshot = b""
        self._snapshot_at = float("-inf")
        self._since: list[bytes] = []

    def curve(self, slot: str, mode: str) -> "LiveCurve":
        """Begin the curve of a slot's next mode in place of the one before."""
        head = {"slot": slot, "mode": mode, "turn": next(self._turns)}
        curve = LiveCurve(self._publish, self._clock, head)
        with self._lock:
            self._curves[slot] = curve
            self._snapshot_at = float("-inf")
        return curve

    def hello(self) -> bytes:
        """Return the first events of a stream: every curve so far."""
        with self._lock:
            now = self._clock.monotonic()
            if now - self._snapshot_at >= SNAPSHOT_SECONDS:
                curves = [self._curves[slot] for slot in sorted(self._curves)]
                # What is published from here on may be in the snapshot too, but is in one of both.
                self._since = []
                self._snapshot_at = now
                self._snapshot = snapshot(curves)
            return b"".join((self._snapshot, *self._since))

    def close(self) -> None:
        """Let the curves' points go."""
        # Curves and run hold each other, and the error of a run its curve. The garbage collector
        # has so little to do in a process like this that the points of hundreds would wait for it.
        with self._lock:
            for curve in self._curves.values():
                curve.close()
            self._snapshot, self._since = b"", []

    def _publish(self, batch: bytes) -> None:
        with self._lock:
            if self._clock.monotonic() - self._snapshot_at < SNAPSHOT_SECONDS:
                self._since.append(batch)
            else:
                self._since = []
        self._send(batch)


class LiveCurve:
    """One slot's curve in its present mode.

    Points come in as columns of equal length. While few, all are kept; whenever they pass
    `MAX_POINTS` every second one is dropped and from then on only every second, fourth and so on
    is taken in.

    Parameters
    ----------
    head
        What stands beside the columns in each event: slot, mode, and a number of its own, as a
        mode may be repeated.
    """

    def __init__(
        self, publish: Callable[[bytes], object], clock: Clock, head: Mapping[str, Any]
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._head = head
        self._lock = threading.Lock()
        self._kept: dict[str, list[float]] = {}
        self._stride = 1
        self._phase = 0
        self._waiting: dict[str, list[float]] = {}
        self._last_sent = float("-inf")

    def feed(self, columns: Columns) -> None:
        """Take in new points and send them on when a batch is due."""
        with self._lock:
            length = len(next(iter(columns.values())))
            chosen = slice((-self._phase) % self._stride, None, self._stride)
            self._phase = (self._phase + length) % self._stride
            for name, values in columns.items():
                points = values[chosen].tolist()
                self._kept.setdefault(name, []).extend(points)
                self._waiting.setdefault(name, []).extend(points)
            if len(next(iter(self._kept.values()))) > MAX_POINTS:
                self._kept = {name: values[::2] for name, values in self._kept.items()}
                self._stride *= 2
                self._phase = 0
            due = self._clock.monotonic() - self._last_sent >= BATCH_SECONDS
            batch = self._take_batch() if due else None
        if batch is not None:
            self._publish(batch)

    def finish(self) -> None:
        """Send what is left."""
        with self._lock:
            batch = self._take_batch()
        if batch is not None:
            self._publish(batch)

    def close(self) -> None:
        """Let all points go."""
        with self._lock:
            self._kept, self._waiting = {}, {}

    def so_far(self, most: int) -> dict[str, Any]:
        """Return the whole curve in so many points at most, for a viewer who has just come."""
        with self._lock:
            count = len(next(iter(self._kept.values()), ()))
            step = max(1, math.ceil(count / most))
            # Half of the digits are enough to draw it, and half of the bytes.
            columns = {
                key: np.array(values[::step], np.float32) for key, values in self._kept.items()
            }
        return {**self._head, "columns": columns}

    def _take_batch(self) -> bytes | None:
        waiting, self._waiting = self._waiting, {}
        if not waiting or not next(iter(waiting.values())):
            return None
        self._last_sent = self._clock.monotonic()
        count = len(next(iter(waiting.values())))
        step = max(1, count // _POINTS_PER_BATCH)
        columns = {name: values[::step] for name, values in waiting.items()}
        return json_event("points", {**self._head, "columns": columns})


def snapshot(curves: Sequence[LiveCurve]) -> bytes:
    """Return the event with every curve so far."""
    most = min(MAX_POINTS, SNAPSHOT_POINTS // max(1, len(curves)))
    return json_event("curves", [curve.so_far(most) for curve in curves])
