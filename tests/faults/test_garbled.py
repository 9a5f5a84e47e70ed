"""Instruments that are deaf, late, garbled or never silent: nothing wrong is ever stored.

Single damages are in the tests of both drivers; here are counts over many frames, answers that come
seconds late, and lines that never fall silent.
"""

import random
import struct
from collections import deque
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchwire.domains.potentiostat import protocol as potentiostat_protocol
from benchwire.domains.potentiostat.driver import InstrumentSilent, Potentiostat, Units
from benchwire.domains.potentiostat.emulator import checksum
from benchwire.domains.powermeter import driver as powermeter
from benchwire.domains.powermeter import protocol as powermeter_protocol
from benchwire.domains.powermeter.emulator import KEY
from benchwire.domains.powermeter.errors import FrameDamaged
from benchwire.foundation.instruments.transport import LinkLost
from tests.support.clock import ManualClock

SoakOr = Callable[[int, int], int]


# -- late answers, in a time of their own ------------------------------------------------------


class LateLine:
    """A line to an instrument that answers in order, each time after some delay or never."""

    def __init__(
        self,
        clock: ManualClock,
        delay: Callable[[], float | None],
        answer: Callable[[bytes, int], bytes],
    ) -> None:
        self._clock = clock
        self._delay = delay
        self._answer = answer
        self._coming: deque[tuple[float, bytes]] = deque()
        self._latest = 0.0
        self._there = b""
        self.number = 0

    def write(self, request: bytes) -> None:
        self.number += 1
        delay = self._delay()
        if delay is not None:
            self._latest = max(self._latest, self._clock.monotonic() + delay)
            self._coming.append((self._latest, self._answer(request, self.number)))

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

    def close(self) -> None: ...

    def _let_come(self) -> None:
        while self._coming and self._coming[0][0] <= self._clock.monotonic():
            self._there += self._coming.popleft()[1]


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
    whole = powermeter_protocol.decode(reading(1)).codes
    frame = reading(1)
    for _ in range(count):
        try:
            found = powermeter_protocol.decode(flipped(frame, chance, bits))
        except FrameDamaged:
            continue
        # Bytes that hold nothing may differ unseen; what is stored may not.
        passed += found.codes != whole
        unused += found.codes == whole
    print(f"{passed} of {count} readings with {bits} flipped bits passed, {unused} unharmed")
    assert passed == 0
