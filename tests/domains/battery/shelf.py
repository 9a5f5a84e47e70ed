"""A sink of readings that can be out of order for a while, as a database can."""

import threading
from collections.abc import Sequence

from benchwire.domains.battery.errors import ReadingInvalid
from benchwire.domains.battery.samples import Reading


class Shelf:
    """Keeps what it gets, by device and group, each moment once."""

    def __init__(self) -> None:
        self._there: dict[tuple[str, str], dict[int, Reading]] = {}
        self._taking = threading.Lock()
        self.is_broken = False
        self.refused_us: set[int] = set()
        self.attempts = 0

    def take(self, device_id: str, group: str, readings: Sequence[Reading]) -> None:
        with self._taking:
            self.attempts += 1
            if self.is_broken:
                raise OSError("the disk is full")
            if self.refused_us & {reading.at_us for reading in readings}:
                raise ReadingInvalid("one of them cannot be")
            there = self._there.setdefault((device_id, group), {})
            there.update({reading.at_us: reading for reading in readings})

    def readings(self, device_id: str, group: str) -> list[Reading]:
        with self._taking:
            return list(self._there.get((device_id, group), {}).values())

    def values(self, device_id: str, group: str, field: str) -> list[float | None]:
        return [reading.values.get(field) for reading in self.readings(device_id, group)]
