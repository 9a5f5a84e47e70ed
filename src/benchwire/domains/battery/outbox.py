"""Readings on their way to the store: kept until it has them, however long that takes."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchwire.domains.battery.errors import TooManyDevices
from benchwire.domains.battery.samples import Reading
from benchwire.foundation.errors import Invalid, NotFound

Sink = Callable[[str, str, Sequence[Reading]], None]
"""Stores readings of a device and group durably; raises when it cannot."""

logger = logging.getLogger(__name__)

MOST_KEPT = 10_000
_MOST_AT_ONCE = 500
_RETRY_SECONDS = 1.0
_BEYOND = ""
"""Stands for all devices that are one too many, of which there may be any number."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    reading: Reading
    settled: Callable[[], object] | None


class Outbox:
    """A thread that hands readings to the sink, in order, and again after a failure.

    A source never waits for the database. Of every device and group the newest ``most_kept``
    readings are kept.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        most_kept: int = MOST_KEPT,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._sink = sink
        self._most_kept = most_kept
        self._retry_seconds = retry_seconds
        self._changed = threading.Condition()
        self._waiting: dict[tuple[str, str], deque[_Waiting]] = {}
        self._dropped: dict[str, int] = {}
        self._over = self._is_beyond_told = False
        self._stored = 0
        self._thread = threading.Thread(target=self._run, name="battery readings", daemon=True)

    @property
    def stored(self) -> int:
        """How many readings the sink has taken."""
        return self._stored

    @property
    def waiting(self) -> int:
        """How many readings the sink has not taken yet."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    def dropped(self, device_id: str | None = None) -> int:
        """Return how many readings were given up, of one device or of all."""
        with self._changed:
            if device_id is None:
                return sum(self._dropped.values())
            return self._dropped.get(device_id, 0)

    def start(self) -> None:
        """Begin handing over."""
        self._thread.start()

    def close(self, seconds: float = 2.0) -> None:
        """Try once more to hand over what is left, and end."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)
        if left := self.waiting:
            logger.warning("%s battery readings were not stored before the end", left)

    def add(
        self,
        device_id: str,
        group: str,
        reading: Reading,
        *,
        settled: Callable[[], object] | None = None,
    ) -> None:
        """Take a reading.

        Parameters
        ----------
        settled
            Called, in another thread, once the reading is stored or refused for good; never where
            it had to be given up for want of room, so that its sender may send it again.
        """
        with self._changed:
            line = (device_id, group)
            self._waiting.setdefault(line, deque()).append(_Waiting(reading, settled))
            self._cut(line)
            self._changed.notify_all()

    # -- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        is_well = True
        while True:
            with self._changed:
                while not self._over and not any(self._waiting.values()):
                    self._changed.wait()
                if not is_well:
                    self._changed.wait_for(lambda: self._over, self._retry_seconds)
                lines, is_last_time = list(self._waiting), self._over
            # One device that cannot be stored must not hold up the others.
            failures = [error for line in lines if (error := self._hand_over(line)) is not None]
            if is_well and failures:
                logger.error("battery readings cannot be stored now", exc_info=failures[0])
            if failures == [] and not is_well:
                logger.info("battery readings are stored again")
            is_well = not failures
            with self._changed:
                for line in lines:
                    if not self._waiting[line]:
                        del self._waiting[line]
            if is_last_time and (failures or not self.waiting):
                return

    def _hand_over(self, line: tuple[str, str]) -> Exception | None:
        """Hand over all of a device and group; return what stopped it."""
        device_id, group = line
        size = _MOST_AT_ONCE
        while batch := self._take(line, size):
            try:
                self._sink(device_id, group, [one.reading for one in batch])
            except TooManyDevices as error:
                self._give_up(_BEYOND, len(batch))
                if not self._is_beyond_told:
                    logger.warning("readings of %s and others are refused: %s", device_id, error)
                    self._is_beyond_told = True
            except (Invalid, NotFound) as error:
                # Halving finds the reading that will never be taken, and gives up only that one.
                size = max(1, len(batch) // 2)
                if len(batch) > 1:
                    self._put_back(line, batch)
                    continue
                logger.warning("a reading of %s was refused: %s", device_id, error)
                self._give_up(device_id, 1)
            except Exception as error:  # noqa: BLE001 - whatever ails the store, readings survive
                self._put_back(line, batch)
                return error
            else:
                self._stored += len(batch)
                size = min(_MOST_AT_ONCE, 2 * size)
            _settle(batch)
        return None

    def _take(self, line: tuple[str, str], size: int) -> list[_Waiting]:
        with self._changed:
            waiting = self._waiting[line]
            return [waiting.popleft() for _ in range(min(size, len(waiting)))]

    def _put_back(self, line: tuple[str, str], batch: Sequence[_Waiting]) -> None:
        with self._changed:
            self._waiting[line].extendleft(reversed(batch))
            self._cut(line)

    def _cut(self, line: tuple[str, str]) -> None:
        """Give up the oldest readings that are too many; none of them counts as settled."""
        waiting, device_id = self._waiting[line], line[0]
        surplus = len(waiting) - self._most_kept
        for _ in range(surplus):
            waiting.popleft()
        if surplus > 0:
            self._give_up(device_id, surplus)

    def _give_up(self, device_id: str, readings: int) -> None:
        with self._changed:
            self._dropped[device_id] = self._dropped.get(device_id, 0) + readings


def _settle(gone: Sequence[_Waiting]) -> None:
    for one in gone:
        if one.settled is not None:
            one.settled()
