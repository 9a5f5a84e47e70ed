"""An analytical balance on a pseudo-terminal: 220 g, 0.1 mg, with a pan that swings and settles.

It shares no code with the driver, so that a mistake in the one shows at the other.
"""

import math
import random
from collections.abc import Mapping
from typing import Any

CAPACITY_G = 220.0
LEAST_G = -5.0
DIGITS = 4
ZERO_RANGE_G = 0.02 * CAPACITY_G
SETTLING_SECONDS = 0.1
REST_G = 0.00005
NOISE_G = 0.00002
FLASK_G = 24.8132
# What waits for a load at rest, and what is not done while something waits.
AT_REST = ("S", "T", "Z")
ON_LOAD = (*AT_REST, "SI", "TI", "ZI", "TAC")
COMMANDS = ["I0", "I1", "I2", "I3", "I4", "S", "SI", "Z", "ZI", "@", "T", "TA", "TAC", "TI"]


def emulated(number: int) -> "EmulatedBalance":
    """Return the balance with that number, counted from 1; a flask is on its pan."""
    return EmulatedBalance(serial_number=f"B{700_100 + number}", seed=number)


class EmulatedBalance:
    """A balance and what is on it."""

    def __init__(self, serial_number: str, seed: int) -> None:
        self._serial_number = serial_number
        self._random = random.Random(seed)  # noqa: S311 - noise
        self._received = b""
        self._load = FLASK_G
        self._before = FLASK_G
        self._loaded_at: float | None = None
        self._zero = 0.0
        self._tare = 0.0
        self._has_draught = False
        self._patience = 0.0
        self._waiting = ""
        self._waits_until = 0.0
        self._is_deaf = False
        self._garbled = 0
        self._is_foreign = False
        self._asked: dict[str, int] = {}

    def receive(self, data: bytes, now: float) -> bytes:
        """Take bytes from the host at a moment (s, monotonic) and return the answer's bytes."""
        if self._is_deaf:
            return b""
        if self._loaded_at is None:
            self._loaded_at = now
        self._received += data
        answers = self._late_answer(now)
        while b"\n" in self._received:
            command, _, self._received = self._received.partition(b"\n")
            answers += self._answer(command.strip().decode("latin-1"), now)
        return answers

    def control(self, command: str, arguments: Mapping[str, Any]) -> object:
        """Do what hands do, or a fault.

        ``load`` puts ``grams`` on the pan in place of what is there, ``draught`` opens the shield
        (``on``), ``patience`` is how many ``seconds`` it waits for rest before it says that there
        is none, ``deaf`` and ``hear``, ``garble`` damages the next ``count`` answers, ``foreign``
        makes it a balance that knows none of the commands, ``state`` tells everything.
        """
        match command:
            case "load":
                self._before, self._load = self._load, float(arguments["grams"])
                self._loaded_at = None
            case "draught":
                self._has_draught = bool(arguments["on"])
            case "patience":
                self._patience = float(arguments["seconds"])
            case "deaf" | "hear":
                self._is_deaf = command == "deaf"
            case "garble":
                self._garbled = int(arguments.get("count", 1))
            case "foreign":
                self._is_foreign = bool(arguments["on"])
            case "state":
                return {
                    "serial_number": self._serial_number,
                    "load": self._load,
                    "zero": self._zero,
                    "tare": self._tare,
                    "asked": dict(self._asked),
                }
            case _:
                raise ValueError(f"the balance knows no {command}")
        return None

    def _answer(self, command: str, now: float) -> bytes:
        self._asked[command] = self._asked.get(command, 0) + 1
        if command not in COMMANDS or self._is_foreign:
            return self._line("ES")
        if self._waiting and command in ON_LOAD:
            return self._line(f"{'S' if command == 'SI' else command} I")
        if command in AT_REST and self._patience > 0 and not self._is_at_rest(now):
            self._waiting, self._waits_until = command, now + self._patience
            return b""
        return self._line(self._do(command, now))

    def _late_answer(self, now: float) -> bytes:
        """Return the answer to the command that has waited, once the load rests or it gives up.

        It comes with the next one at the earliest, as nothing is sent unasked here.
        """
        if not self._waiting or (now < self._waits_until and not self._is_at_rest(now)):
            return b""
        command, self._waiting = self._waiting, ""
        return self._line(self._do(command, now))

    def _line(self, answer: str) -> bytes:
        if self._garbled > 0:
            self._garbled -= 1
            answer = answer[: len(answer) // 2] + "\x7f"
        return f"{answer}\r\n".encode("latin-1")

    def _do(self, command: str, now: float) -> str:
        match command:
            case "@":
                self._tare, self._waiting = 0.0, ""
                return self._facts()["I4"]
            case "TAC":
                self._tare = 0.0
                return "TAC A"
            case "S" | "SI":
                return self._weight(command, now)
            case "Z" | "ZI":
                return self._set_zero(command, now)
            case "T" | "TI":
                return self._set_tare(command, now)
            case "TA":
                return f"TA A {_grams(self._tare)}"
            case _:
                return self._facts()[command]

    def _facts(self) -> dict[str, str]:
        return {
            "I0": f'I0 A 0 "{" ".join(COMMANDS)}"',
            "I1": 'I1 A "01" "2.30" "2.20" "" ""',
            "I2": 'I2 A "EB220 220.0090 g"',
            "I3": 'I3 A "1.10 18.6.1.1361"',
            "I4": f'I4 A "{self._serial_number}"',
        }

    def _weight(self, command: str, now: float) -> str:
        gross = self._gross(now)
        if sign := self._out_of_range(gross):
            return f"S {sign}"
        is_at_rest = self._is_at_rest(now)
        if command == "S" and not is_at_rest:
            return "S I"
        return f"S {'S' if is_at_rest else 'D'} {_grams(gross - self._tare)}"

    def _set_zero(self, command: str, now: float) -> str:
        if command == "Z" and not self._is_at_rest(now):
            return "Z I"
        on_pan = self._gross(now) + self._zero
        if abs(on_pan) > ZERO_RANGE_G:
            return f"{command} {'+' if on_pan > 0 else '-'}"
        self._zero, self._tare = on_pan, 0.0
        if command == "Z":
            return "Z A"
        return f"ZI {'S' if self._is_at_rest(now) else 'D'}"

    def _set_tare(self, command: str, now: float) -> str:
        is_at_rest = self._is_at_rest(now)
        if command == "T" and not is_at_rest:
            return "T I"
        gross = self._gross(now)
        if sign := self._out_of_range(gross) or ("-" if gross < -REST_G * 2 else ""):
            return f"{command} {sign}"
        self._tare = round(gross, DIGITS)
        return f"{command} {'S' if is_at_rest else 'D'} {_grams(self._tare)}"

    # -- the pan ----------------------------------------------------------------------------

    def _swing(self, now: float) -> float:
        """Return how far the pan is from rest, in g."""
        since = 0.0 if self._loaded_at is None else now - self._loaded_at
        return (self._before - self._load) * math.exp(-since / SETTLING_SECONDS)

    def _is_at_rest(self, now: float) -> bool:
        return not self._has_draught and abs(self._swing(now)) < REST_G

    def _gross(self, now: float) -> float:
        wind = 0.01 * math.sin(now * 7.0) if self._has_draught else 0.0
        noise = self._random.gauss(0, NOISE_G)
        return self._load - self._zero + self._swing(now) + wind + noise

    @staticmethod
    def _out_of_range(gross: float) -> str:
        if gross > CAPACITY_G:
            return "+"
        return "-" if gross < LEAST_G else ""


def _grams(value: float) -> str:
    return f"{round(value, DIGITS) + 0.0:10.{DIGITS}f} g"
