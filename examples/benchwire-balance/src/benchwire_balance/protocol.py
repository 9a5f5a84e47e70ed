"""MT-SICS, levels 0 and 1: lines and what they mean, without any port.

A command is a word and a line end. The answer begins with the same word, then one letter: ``S`` a
stable value, ``D`` one that still moves, ``A`` done or an answer in full, ``I`` not possible now,
``+`` and ``-`` above and below the range, ``L`` a wrong parameter. ``ES``, ``ET`` and ``EL`` alone
say that the line was not understood, came damaged, or cannot be done.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

from benchwire_balance.errors import (
    AnswerDamaged,
    CommandRefused,
    NotStable,
    Overload,
    Underload,
)

LINE_END = b"\r\n"

WEIGHT = "SI"
ZERO, TARE, TARE_VALUE, TARE_CLEAR = "Z", "T", "TA", "TAC"
MODEL, SERIAL_NUMBER = "I2", "I4"
RESET = "@"

# What the answers to these commands begin with; all others begin with the command itself.
_ANSWERED_AS = {WEIGHT: "S", RESET: SERIAL_NUMBER}

GRAMS_IN = {
    "g": Decimal(1),
    "kg": Decimal(1000),
    "mg": Decimal("0.001"),
    "ug": Decimal("0.000001"),
    "µg": Decimal("0.000001"),
}

_VALUE = re.compile(r"[+-]?\d{1,12}(\.\d{1,9})?")
_REFUSALS = {
    "ES": "The balance does not know the command",
    "ET": "The balance received a damaged line",
    "EL": "The balance cannot do the command",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: the command it belongs to, its letter, and the words after it."""

    command: str
    status: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Weight:
    """A net weight in g, with the digits that the balance sent."""

    grams: Decimal
    is_stable: bool


def line(command: str) -> bytes:
    """Return a command as it goes over the line."""
    return command.encode("ascii") + LINE_END


def parse(received: bytes, command: str) -> Answer:
    """Return the answer to a command.

    Raises
    ------
    CommandRefused
        The balance does not know it.
    AnswerDamaged
        It is the answer to something else, or none.
    """
    words = received.decode("latin-1").split()
    if len(words) == 1 and words[0] in _REFUSALS:
        raise CommandRefused(f"{_REFUSALS[words[0]]} {command}", hint="Is it an MT-SICS balance?")
    if len(words) < 2 or words[0] != _ANSWERED_AS.get(command, command):
        raise AnswerDamaged(f"The answer to {command} cannot be read")
    return Answer(words[0], words[1], tuple(words[2:]))


def check(answer: Answer) -> Answer:
    """Return an answer that says yes.

    Raises
    ------
    NotStable, Overload, Underload
        What was asked for cannot be had now.
    CommandRefused
        A parameter was wrong.
    """
    match answer.status:
        case "I":
            raise NotStable
        case "+":
            raise Overload
        case "-":
            raise Underload
        case "L":
            raise CommandRefused(f"The balance refuses the parameter of {answer.command}")
    return answer


def weight_of(answer: Answer) -> Weight:
    """Return the weight in an answer, in g.

    Raises
    ------
    NotStable, Overload, Underload
        There is none.
    AnswerDamaged
        Value or unit cannot be read.
    """
    words = check(answer).words
    if answer.status not in "SDA" or len(words) != 2 or not _VALUE.fullmatch(words[0]):
        raise AnswerDamaged("The balance's weight cannot be read")
    if words[1] not in GRAMS_IN:
        raise AnswerDamaged(
            f"The balance weighs in {words[1]!r:.20}", hint="Set its unit to g, mg or kg."
        )
    return Weight(Decimal(words[0]) * GRAMS_IN[words[1]], answer.status != "D")


def text_of(answer: Answer) -> str:
    """Return the text in quotes of an answer."""
    return " ".join(check(answer).words).strip('"')
