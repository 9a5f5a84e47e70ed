"""A TC66C on a pseudo-terminal, between a charger and a phone that charges, rests and charges.

It encrypts and sums up by itself. Like the meter it measures twice a second, whoever asks how
often.
"""

import math
import random
import struct
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

TICK_SECONDS = 0.5
KEY = bytes.fromhex(
    "5821fa5601b2f02687ff1204622a4fb086f40260816f9a0ba7f106619ab87288"
)  # as printed in every description of the meter
COMMANDS = (b"query", b"getva", b"gtrec", b"lastp", b"nextp", b"rotat", b"update")
SCREENS = 6

# The phone's day, in s: plugged in but not yet charging, constant current, constant voltage of its
# cell, full.
WAKES, CONSTANT_CURRENT, TAPER, FULL = 6.0, 70.0, 84.0, 20.0
STORY_SECONDS = WAKES + CONSTANT_CURRENT + TAPER + FULL
_STANDBY_A, _CHARGE_A, _CUT_OFF_A = 0.018, 2.05, 0.11
_SOURCE_V, _CABLE_OHM = 5.14, 0.085
_ROOM_DEGC = 23.0
_FLIPPED_BIT = 48 * 8 + 5
_RAMP_SECONDS = 2.5


def emulated(number: int) -> "EmulatedMeter":
    """Return the meter with that number, counted from 1."""
    return EmulatedMeter(serial=4241 + number, seed=number)


class EmulatedMeter:
    """A meter and what flows through it.

    Parameters
    ----------
    serial
        Its serial number.
    seed
        Of its noise; meters with different seeds are also at different moments of their story.
    """

    def __init__(self, serial: int, seed: int) -> None:
        self._serial = serial
        self._random = random.Random(seed)  # noqa: S311 - noise
        self._phase = (seed - 1) * 37.0
        self._encryptor = Cipher(algorithms.AES(KEY), modes.ECB())  # noqa: S305 - the meter's
        self._received = b""
        self._ticks = 0
        self._since: float | None = None
        self._charge_mah, self._energy_mwh = 0.0, 0.0
        self._warmth = _ROOM_DEGC
        self._volts, self._amperes = _SOURCE_V, 0.0
        self._measured: dict[str, float] = {}
        self._fixed: dict[str, float] = {}
        self._runs = 17
        self._screen, self._rotation = 0, 0
        self._in_bootloader = False
        self._is_deaf = False
        self._faults: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._recording = [_phone(second) for second in range(0, int(STORY_SECONDS), 2)]
        self._measure()

    def receive(self, data: bytes, now: float) -> bytes:
        """Take bytes from the host at a moment (s, monotonic) and return the answer's bytes."""
        if self._is_deaf:
            return b""
        self._go_on(now)
        self._received += data
        answer = b""
        while self._received:
            command = next((known for known in COMMANDS if self._received.startswith(known)), None)
            if command is not None:
                self._received = self._received[len(command) :]
                answer += self._do(command.decode())
            elif any(known.startswith(self._received) for known in COMMANDS):
                break
            else:
                # A line end, or no command at all.
                self._received = self._received[1:]
        return answer

    def control(self, command: str, arguments: Mapping[str, Any]) -> object:
        """Break, mend or question the meter.

        ``set`` fixes values by name, ``free`` lets them go, ``flip`` turns over one bit of the next
        ``count`` answers, ``stray`` sends ``count`` bytes too many before the next one, ``cut``
        ends it after ``count`` bytes, ``deaf`` and ``hear``, ``bootloader``, ``power_cycle``,
        ``record`` sets what ``gtrec`` sends as pairs of V and A, ``state`` tells everything.
        """
        match command:
            case "set":
                self._fixed.update(arguments)
                self._measure()
            case "free":
                self._fixed.clear()
            case "flip" | "stray" | "cut":
                self._faults[command] = int(arguments.get("count", 1))
            case "deaf" | "hear":
                self._is_deaf = command == "deaf"
            case "bootloader":
                self._in_bootloader = bool(arguments["on"])
            case "power_cycle":
                self._runs += 1
            case "record":
                self._recording = [(float(v), float(a)) for v, a in arguments["pairs"]]
            case "state":
                return {
                    "serial": self._serial,
                    "runs": self._runs,
                    "screen": self._screen,
                    "rotation": self._rotation,
                    "asked": dict(self._asked),
                    **self._measured,
                }
            case _:
                raise ValueError(f"the meter knows no {command}")
        return None

    # -- the meter --------------------------------------------------------------------------

    def _do(self, command: str) -> bytes:
        self._asked[command] = self._asked.get(command, 0) + 1
        match command:
            case "query":
                return b"boot" if self._in_bootloader else b"firm"
            case "update":
                return b"uprdy" if self._in_bootloader else b""
            case _ if self._in_bootloader:
                return b""
            case "getva":
                return self._faulty(self._frame())
            case "gtrec":
                return b"".join(
                    struct.pack("<II", round(volts * 1e4), round(amperes * 1e5))
                    for volts, amperes in self._recording
                )
            case "lastp":
                self._screen = (self._screen - 1) % SCREENS
            case "nextp":
                self._screen = (self._screen + 1) % SCREENS
            case "rotat":
                self._rotation = (self._rotation + 90) % 360
        return b""

    def _faulty(self, answer: bytes) -> bytes:
        if self._faults.get("flip", 0) > 0:
            self._faults["flip"] -= 1
            changed = bytearray(answer)
            changed[_FLIPPED_BIT // 8] ^= 1 << _FLIPPED_BIT % 8
            answer = bytes(changed)
        answer = bytes(range(1, self._faults.pop("stray", 0) + 1)) + answer
        return answer[: self._faults.pop("cut", len(answer))]

    def _frame(self) -> bytes:
        now = self._measured
        first = struct.pack(
            "<4s4s4sI28xIIII",
            b"pac1", b"TC66", b"1.18", self._serial, self._runs,
            round(now["voltage"] * 1e4), round(now["current"] * 1e5), round(now["power"] * 1e4),
        )  # fmt: skip
        second = struct.pack(
            "<4s9I20x",
            b"pac2", round(now["resistance"] * 10),
            int(now["mah_g0"]), int(now["mwh_g0"]), int(now["mah_g1"]), int(now["mwh_g1"]),
            int(now["temperature"] < 0), abs(round(now["temperature"])),
            round(now["d_plus"] * 100), round(now["d_minus"] * 100),
        )  # fmt: skip
        third = struct.pack("<4s56x", b"pac3")
        plain = b"".join(part + struct.pack("<I", _checksum(part)) for part in
                         (first, second, third))  # fmt: skip
        encryptor = self._encryptor.encryptor()
        return encryptor.update(plain) + encryptor.finalize()

    # -- what flows -------------------------------------------------------------------------

    def _go_on(self, now: float) -> None:
        """Live through all ticks until now."""
        if self._since is None:
            self._since = now
        due = int((now - self._since) / TICK_SECONDS)
        while self._ticks < due:
            self._ticks += 1
            volts, amperes = _phone(self._phase + self._ticks * TICK_SECONDS)
            self._volts = volts + self._random.gauss(0, 0.0006)
            self._amperes = max(0.0, amperes * (1 + self._random.gauss(0, 0.004)))
            hours = TICK_SECONDS / 3600
            self._charge_mah += self._amperes * hours * 1e3
            self._energy_mwh += self._volts * self._amperes * hours * 1e3
            warm = _ROOM_DEGC + 6.5 * self._amperes
            self._warmth += (warm - self._warmth) * TICK_SECONDS / 40
            self._measure()

    def _measure(self) -> None:
        volts = self._fixed.get("voltage", self._volts)
        amperes = self._fixed.get("current", self._amperes)
        self._measured = {
            "voltage": volts,
            "current": amperes,
            "power": volts * amperes,
            # The meter shows 9999.9 where hardly anything flows.
            "resistance": min(volts / amperes, 9999.9) if amperes > 0 else 9999.9,
            "temperature": self._warmth,
            "mah_g0": self._charge_mah,
            "mwh_g0": self._energy_mwh,
            "mah_g1": 1200.0,
            "mwh_g1": 6150.0,
            "d_plus": 2.71,
            "d_minus": 2.70,
            **self._fixed,
        }


def _phone(seconds: float) -> tuple[float, float]:
    """Return voltage (V) and current (A) at a moment of the phone's day."""
    second = seconds % STORY_SECONDS
    charging = second - WAKES
    if charging < 0 or charging >= CONSTANT_CURRENT + TAPER:
        amperes = _STANDBY_A
    elif charging < CONSTANT_CURRENT:
        # The phone asks for more step by step until the charger's voltage holds no longer.
        amperes = _CHARGE_A * min(1.0, 0.25 + 0.75 * charging / _RAMP_SECONDS)
    else:
        decay = math.log(_CHARGE_A / _CUT_OFF_A) * (charging - CONSTANT_CURRENT) / TAPER
        amperes = _CHARGE_A * math.exp(-decay)
    return _SOURCE_V - _CABLE_OHM * amperes, amperes


def _checksum(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
