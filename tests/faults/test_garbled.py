"""Instruments that are deaf, late, garbled or never silent: nothing wrong is ever stored.

Single damages are in the tests of both drivers; here are counts over many frames, answers that come
seconds late, and lines that never fall silent.
"""

import random
import struct
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest

from benchwire.domains.potentiostat import protocol as potentiostat
from benchwire.domains.potentiostat.driver import (
    InstrumentSilent,
    Potentiostat,
    Units,
)
from benchwire.domains.potentiostat.emulator import checksum
from tests.support.clock import ManualClock

SoakOr = Callable[[int, int], int]


# -- late answers, in a time of their own ------------------------------------------------------


class LateInstrument:
    """A potentiostat that answers in order, each time after a delay of its own or never.

    Its state carries the number of the request that it answers.
    """

    def __init__(self, clock: ManualClock, delay: Callable[[], float | None]) -> None:
        self._clock = clock
        self._delay = delay
        self._coming: deque[tuple[float, bytes]] = deque()
        self._free_at = 0.0
        self._there = b""
        self.number = 0

    def write(self, request: bytes) -> None:
        self.number += 1
        delay = self._delay()
        if delay is None:
            return
        self._free_at = max(self._free_at, self._clock.monotonic() + delay)
        body = request[:6]
        if request[1] == 3:
            values = struct.pack("<8f2i2I", self.number, *[0.0] * 7, 0, 0, 360, 0)
            body = request[:2] + bytes([len(values)]) + _swapped(values)
        self._coming.append((self._free_at, body + checksum(body)))

    def read(self, size: int, timeout: float) -> bytes:
        deadline = self._clock.monotonic() + timeout
        while True:
            now = self._clock.monotonic()
            self._let_come()
            if len(self._there) >= size or now >= deadline:
                taken, self._there = self._there[:size], self._there[size:]
                return taken
            due = self._coming[0][0] if self._coming else deadline
            self._clock.wind(max(min(due, deadline) - now, 1e-6))

    def discard_input(self) -> None:
        self._let_come()
        self._there = b""

    def _let_come(self) -> None:
        while self._coming and self._coming[0][0] <= self._clock.monotonic():
            self._there += self._coming.popleft()[1]

    def close(self) -> None: ...


def _swapped(values: bytes) -> bytes:
    swapped = bytearray(len(values))
    swapped[0::2], swapped[1::2] = values[1::2], values[0::2]
    return bytes(swapped)


@pytest.mark.parametrize("seed", range(4))
def test_a_late_answer_is_never_taken_for_another(seed: int, soak_or: SoakOr) -> None:
    """Up to 5 s late; a command that repeats itself may use the answer to any of its attempts."""
    chance, clock = random.Random(seed), ManualClock()
    badness = (0.02, 0.1, 0.3, 0.8)[seed]

    def delay() -> float | None:
        if chance.random() > badness:
            return 0.001
        return chance.choice([0.15, 0.25, 0.45, 0.7, 1.5, 3.0, 5.0, None])

    line, units = LateInstrument(clock, delay), Units(clock)
    answered, slowest = 0, 0.0
    for _ in range(soak_or(2_000, 250_000)):
        first, began = line.number + 1, clock.monotonic()
        try:
            state = Potentiostat(line, clock, units).status()
        except InstrumentSilent:
            clock.wind(0.2)
        else:
            answered += 1
            assert first <= state.current <= line.number
        slowest = max(slowest, clock.monotonic() - began)
        clock.wind(0.01)
    assert answered > 10
    assert slowest <= 2.0
    print(f"{answered} answers, the slowest command took {slowest:.2f} s")
