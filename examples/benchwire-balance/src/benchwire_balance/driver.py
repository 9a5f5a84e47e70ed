"""A balance on its port. Every function is one exchange, run on the thread of the port's link."""

import contextlib
from dataclasses import dataclass
from decimal import Decimal

from benchwire.foundation.instruments.transport import Transport
from benchwire_balance import protocol
from benchwire_balance.errors import (
    AnswerDamaged,
    BalanceSilent,
    NotStable,
    Overload,
    Underload,
)
from benchwire_balance.protocol import Answer, Weight

ANSWER_SECONDS = 1.0
REST_SECONDS = 0.3
LONGEST_LINE = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """Which balance it is."""

    model: str
    serial_number: str


def greet(transport: Transport) -> Identity:
    """Make sure that a balance is there, and say which.

    Raises
    ------
    BalanceSilent, CommandRefused, AnswerDamaged
        Nothing answers, or no balance of this kind.
    """
    serial_number = protocol.text_of(_ask(transport, protocol.SERIAL_NUMBER))
    return Identity(protocol.text_of(_ask(transport, protocol.MODEL)), serial_number)


def look(transport: Transport) -> Weight:
    """Return the weight as it is, at rest or not.

    Raises
    ------
    Overload, Underload, NotStable
        There is none to be shown.
    """
    return protocol.weight_of(_ask(transport, protocol.WEIGHT))


def stable(transport: Transport) -> Weight:
    """Return the weight if the load is at rest.

    The balance could wait for that by itself, but would tell nobody the weight meanwhile.

    Raises
    ------
    NotStable, Overload, Underload
        There is none.
    """
    weight = look(transport)
    if not weight.is_stable:
        raise NotStable
    return weight


def zero(transport: Transport, seconds: float) -> None:
    """Take what is on the pan as zero; forgets the tare.

    Raises
    ------
    NotStable, Overload, Underload
        The balance refuses, or does not come to rest within so many seconds.
    """
    protocol.check(_ask_at_rest(transport, protocol.ZERO, seconds))


def tare(transport: Transport, seconds: float) -> Decimal:
    """Take what is on the pan as tare, and return it in g.

    Raises
    ------
    NotStable, Overload, Underload
        The balance refuses, or does not come to rest within so many seconds.
    """
    return protocol.weight_of(_ask_at_rest(transport, protocol.TARE, seconds)).grams


def tare_value(transport: Transport) -> Decimal:
    """Return the tare in g, 0 if there is none."""
    return protocol.weight_of(_ask(transport, protocol.TARE_VALUE)).grams


def clear_tare(transport: Transport) -> None:
    """Forget the tare."""
    protocol.check(_ask(transport, protocol.TARE_CLEAR))


def _ask_at_rest(transport: Transport, command: str, seconds: float) -> Answer:
    """Ask for what a balance does at rest only, and would otherwise wait with."""
    # What is too much to be shown may still be zeroed; that is for the balance to say.
    with contextlib.suppress(Overload, Underload):
        stable(transport)
    try:
        return _ask(transport, command, seconds + ANSWER_SECONDS)
    except BalanceSilent:
        # It waits for rest again, and would do it after it was said to have failed. The reset
        # takes the command back, and the tare with it.
        _ask(transport, protocol.RESET)
        raise NotStable from None


def _ask(transport: Transport, command: str, seconds: float = ANSWER_SECONDS) -> Answer:
    # Whatever is left of an earlier answer would be taken for this one.
    transport.discard_input()
    transport.write(protocol.line(command))
    return protocol.parse(_read_line(transport, seconds), command)


def _read_line(transport: Transport, seconds: float) -> bytes:
    received = transport.read(1, seconds)
    if not received:
        raise BalanceSilent
    while not received.endswith(protocol.LINE_END):
        more = transport.read(1, REST_SECONDS)
        if not more or len(received) > LONGEST_LINE:
            raise AnswerDamaged("The balance's answer has no end")
        received += more
    return received
