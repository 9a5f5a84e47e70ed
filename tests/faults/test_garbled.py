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
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchwire.domains.potentiostat import protocol as potentiostat_protocol
from benchwire.domains.potentiostat.driver import (
    InstrumentSilent,
    Potentiostat,
    RunLatch,
    Samples,
    Units,
)
from benchwire.domains.potentiostat.emulator import checksum, emulated
from benchwire.domains.powermeter import driver as powermeter
from benchwire.domains.powermeter import protocol as powermeter_protocol
from benchwire.domains.powermeter.emulator import KEY
from benchwire.domains.powermeter.errors import FrameDamaged
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.transport import LinkLost
from tests.support.clock import ManualClock
from tests.support.soaking import SoakOr

# -- late answers, in a time of their own ------------------------------------------------------


class WoundLine:
    """The host's end of a line in the time of a manual clock; what is written is up to others."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._coming: deque[tuple[float, bytes]] = deque()
        self._there = b""

    def read(self, size: int, timeout: float) -> bytes:
        deadline = self._clock.monotonic() + timeout
        while True:
            self._let_come()
            now = self._clock.monotonic()
            if len(self._there) >= size or now >= deadline:
                taken, self._there = self._there[:size], self._there[size:]
                return taken
            due = self._coming[0][0] if self._coming else deadline
            self._clock.wind(max(min(due, deadline) - now, 1e-6))

    def read_some(self, size: int, timeout: float) -> bytes:
        first = self.read(1, timeout)
        return first + self.read(size - 1, 0.0) if first else b""

    def discard_input(self) -> None:
        self._let_come()
        self._there = b""

    def close(self) -> None: ...

    def _let_come(self) -> None:
        while self._coming and self._coming[0][0] <= self._clock.monotonic():
            self._there += self._coming.popleft()[1]


class LateLine(WoundLine):
    """A line to an instrument that answers in order, each time after some delay or never."""

    def __init__(
        self,
        clock: ManualClock,
        delay: Callable[[], float | None],
        answer: Callable[[bytes, int], bytes],
    ) -> None:
        super().__init__(clock)
        self._delay = delay
        self._answer = answer
        self._latest = 0.0
        self.number = 0

    def write(self, request: bytes) -> None:
        self.number += 1
        delay = self._delay()
        if delay is not None:
            self._latest = max(self._latest, self._clock.monotonic() + delay)
            self._coming.append((self._latest, self._answer(request, self.number)))


BADNESS = (0.02, 0.1, 0.3, 0.8)
DELAYS = (0.15, 0.25, 0.45, 0.7, 1.5, 3.0, 5.0, None)


def late(badness: float, seed: int = 1) -> Callable[[], float | None]:
    """Delays in s of which so many are too long."""
    chance = random.Random(seed)
    return lambda: 0.001 if chance.random() > badness else chance.choice(DELAYS)


def state_or_echo(request: bytes, number: int) -> bytes:
    """A potentiostat's answer; its state carries the number of the request."""
    body = request[:6]
    if request[1] == 3:
        values = struct.pack("<8f2i2I", number, *[0.0] * 7, 0, 0, 360, 0)
        body = request[:2] + bytes([len(values)]) + _swapped(values)
    return body + checksum(body)


def _swapped(values: bytes) -> bytes:
    swapped = bytearray(len(values))
    swapped[0::2], swapped[1::2] = values[1::2], values[0::2]
    return bytes(swapped)


@pytest.mark.parametrize("badness", BADNESS)
def test_a_potentiostats_late_answer_is_never_taken_for_another(
    badness: float, soak_or: SoakOr
) -> None:
    """A command that repeats itself may use the answer to any of its own attempts."""
    clock = ManualClock()
    line, units = LateLine(clock, late(badness), state_or_echo), Units(clock)
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


def reading(number: int) -> bytes:
    """A meter's answer to ``getva``, whose first counter carries a number."""
    first = struct.pack(
        "<4s4s4sI28xIIII", b"pac1", b"TC66", b"1.18", 7, 17, 50_000, 100_000, 50_000
    )
    second = struct.pack("<4s9I20x", b"pac2", 50, number, 2, 3, 4, 0, 25, 271, 270)
    third = struct.pack("<4s56x", b"pac3")
    plain = b"".join(
        part + struct.pack("<I", int.from_bytes(checksum(part), "little"))
        for part in (first, second, third)
    )
    return Cipher(algorithms.AES(KEY), modes.ECB()).encryptor().update(plain)


def firm_or_reading(request: bytes, number: int) -> bytes:
    return b"firm" if request == b"query" else reading(number)


@pytest.mark.parametrize("badness", BADNESS)
def test_a_meters_late_answer_is_never_taken_for_another(badness: float, soak_or: SoakOr) -> None:
    clock = ManualClock()
    line, silence = LateLine(clock, late(badness), firm_or_reading), powermeter.Silence(clock)
    answered, slowest, is_open = 0, 0.0, False
    for _ in range(soak_or(2_000, 250_000)):
        began = clock.monotonic()
        try:
            with silence.kept():
                if not is_open:
                    powermeter.greet(line)
                    is_open = True
                frame = powermeter.read(line)
        except LinkLost:
            # The link opens the port anew.
            is_open = False
        except FrameDamaged:
            pass
        else:
            answered += 1
            assert frame.codes[5] == line.number
        slowest = max(slowest, clock.monotonic() - began)
        clock.wind(0.2)
    assert answered > 10
    assert slowest <= 2.0
    print(f"{answered} answers, the slowest command took {slowest:.2f} s")


# -- flipped bits ------------------------------------------------------------------------------


def flipped(frame: bytes, chance: random.Random, bits: int) -> bytes:
    """A frame with so many of its bits turned over."""
    changed = bytearray(frame)
    for place in chance.sample(range(8 * len(frame)), bits):
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def samples_frame(chance: random.Random) -> tuple[bytes, bytes]:
    """A potentiostat's answer with 30 samples, and their bytes."""
    payload = chance.randbytes(240)
    body = bytes([1, 3, len(payload)]) + payload
    return body + checksum(body), payload


@pytest.mark.parametrize("bits", [1, 2, 3, 20])
def test_no_changed_frame_of_samples_passes(bits: int, soak_or: SoakOr) -> None:
    """Up to three flipped bits are always found; one in 65,536 of worse frames may pass.

    1 % of all bits is 20 in such a frame. What passes by chance ends up in the data only if no
    other answer of the run was garbled before, since the first that is ends it.
    """
    chance, count, passed = random.Random(bits), soak_or(2_000, 250_000), 0
    frame, payload = samples_frame(chance)
    for number in range(count):
        if number % 50 == 0:
            frame, payload = samples_frame(chance)
        try:
            found = potentiostat_protocol.parse_read_reply(flipped(frame, chance, bits), 120)
        except (potentiostat_protocol.FrameInvalid, potentiostat_protocol.InstrumentRefused):
            continue
        passed += found != payload
    print(f"{passed} of {count} frames with {bits} flipped bits passed")
    assert passed <= (0 if bits <= 3 else 2 + count // 20_000)


@pytest.mark.parametrize("bits", [1, 2, 15])
def test_no_changed_reading_of_a_meter_passes(bits: int, soak_or: SoakOr) -> None:
    """A flipped bit changes a block of 16 bytes, and what a checksum lets pass cannot be."""
    chance, count, passed, unused = random.Random(bits), soak_or(2_000, 350_000), 0, 0
    for number in range(count):
        if number % 4 == 0:
            frame = reading(chance.randrange(100_000))
            whole = powermeter_protocol.decode(frame).codes
        try:
            found = powermeter_protocol.decode(flipped(frame, chance, bits))
        except FrameDamaged:
            continue
        # Bytes that hold nothing may differ unseen; what is stored may not.
        passed += found.codes != whole
        unused += found.codes == whole
    print(f"{passed} of {count} readings with {bits} flipped bits passed, {unused} unharmed")
    assert passed == 0


# -- a whole run over a line that plays tricks, in a time of its own ---------------------------


class TrickyLine(WoundLine):
    """A transport into an emulated potentiostat that garbles, loses and delays answers.

    ``popped`` are the samples that the instrument really gave away, in order.
    """

    def __init__(self, clock: ManualClock, chance: random.Random, badness: float) -> None:
        super().__init__(clock)
        self.device = emulated(1)
        self.popped: list[bytes] = []
        self.exchanges = self.tricks = 0
        self._chance, self._badness = chance, badness

    def write(self, request: bytes) -> None:
        self._clock.wind(0.0005)
        self.exchanges += 1
        answer = self.device.receive(request, self._clock.monotonic())
        if request[2:4] == b"\x01\x00" and not answer[1] & 0x80:
            self.popped.append(answer[3:-2])
        due = self._clock.monotonic()
        if self._chance.random() < self._badness:
            self.tricks += 1
            match self._chance.choice(["flip", "lose", "cut", "late", "double"]):
                case "flip":
                    answer = flipped(answer, self._chance, self._chance.choice([1, 1, 2, 3]))
                case "lose":
                    answer = b""
                case "cut":
                    answer = answer[: self._chance.randrange(len(answer))]
                case "late":
                    due += self._chance.choice([0.1, 0.25, 0.6])
                case "double":
                    answer *= 2
        due = max(due, self._coming[-1][0]) if self._coming else due
        self._coming.append((due, answer))


class WoundLatch(RunLatch):
    """A latch that waits in the time of a manual clock."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, seconds: float) -> None:
        self._clock.wind(max(0.0, seconds))


@pytest.mark.parametrize("badness", [0.01, 0.05])
def test_rows_over_a_bad_line_are_those_the_instrument_gave(
    badness: float, soak_or: SoakOr
) -> None:
    """Every row handed out is one that was measured, at its own point; or the run fails."""
    chance = random.Random(7)
    exchanges = tricks = whole = runs = 0
    points = 0.3 + 0.1 * np.sin(np.arange(1500) / 50)
    while exchanges < soak_or(1_000, 20_000):
        clock = ManualClock()
        line = TrickyLine(clock, chance, badness)
        rows: list[Samples] = []
        runs += 1
        try:
            Potentiostat(line, clock).play(
                [points], gain=0, latch=WoundLatch(clock), sink=rows.append
            )
            whole += 1
        except BenchwireError:
            assert sum(len(block.current) for block in rows) <= len(points)
        else:
            assert sum(len(block.current) for block in rows) == len(points)
        # The pair measured before the first point is dropped.
        given = potentiostat_protocol.unpack_floats(b"".join(line.popped)).reshape(-1, 2)[1:]
        at = 0
        for block in rows:
            assert block.first == at
            at += len(block.current)
            assert np.array_equal(block.current, given[block.first : at, 0])
            assert np.array_equal(block.potential, given[block.first : at, 1])
        exchanges += line.exchanges
        tricks += line.tricks
        # The clock goes on; nothing that was sent connects the cell again.
        line.device.receive(b"", clock.monotonic() + 1)
        assert not line.device.control("state", {})["cell_closed"]
    print(f"{whole} of {runs} runs whole; {exchanges} answers, {tricks} of them spoilt")
