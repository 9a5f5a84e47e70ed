"""The driver on emulated balances: what a day in the lab brings."""

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from tests.conftest import NAME, until

from benchwire.foundation.clock import SystemClock
from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.instruments.link import Link
from benchwire.foundation.instruments.transport import LinkLost, SerialTransport, Transport
from benchwire_balance import driver
from benchwire_balance.errors import (
    AnswerDamaged,
    BalanceSilent,
    CommandRefused,
    NotStable,
    Overload,
    Underload,
)

NEAR = Decimal("0.0005")


def at_rest(transport: SerialTransport) -> Decimal:
    until(lambda: driver.look(transport).is_stable)
    return driver.stable(transport).grams


def test_balance_says_which_it_is(transport: SerialTransport) -> None:
    identity = driver.greet(transport)
    assert identity == driver.Identity("EB220 220.0090 g", "B700101")


def test_load_moves_then_comes_to_rest(
    transport: SerialTransport, emulators: EmulatorProcess
) -> None:
    at_rest(transport)
    emulators.control(NAME, "load", grams=100)
    assert not driver.look(transport).is_stable
    with pytest.raises(NotStable):
        driver.stable(transport)
    assert abs(at_rest(transport) - 100) < NEAR


def test_draught_keeps_it_moving(transport: SerialTransport, emulators: EmulatorProcess) -> None:
    at_rest(transport)
    emulators.control(NAME, "draught", on=True)
    with pytest.raises(NotStable):
        driver.stable(transport)
    with pytest.raises(NotStable):
        driver.tare(transport, 1.0)
    with pytest.raises(NotStable):
        driver.zero(transport, 1.0)
    assert not driver.look(transport).is_stable


class Jolted:
    """A port whose balance is jolted right before a command reaches it."""

    def __init__(
        self, transport: SerialTransport, emulators: EmulatorProcess, command: bytes
    ) -> None:
        self._transport = transport
        self._emulators = emulators
        self._line = command + b"\r\n"
        self.read, self.close = transport.read, transport.close
        self.discard_input = transport.discard_input

    def write(self, data: bytes) -> None:
        if data == self._line:
            self._emulators.control(NAME, "draught", on=True)
        self._transport.write(data)


@pytest.mark.parametrize(("command", "ask"), [(b"T", driver.tare), (b"Z", driver.zero)])
def test_what_is_not_done_in_time_is_not_done_later(
    transport: SerialTransport,
    emulators: EmulatorProcess,
    command: bytes,
    ask: Callable[[Transport, float], object],
) -> None:
    emulators.control(NAME, "load", grams=1)
    at_rest(transport)
    emulators.control(NAME, "patience", seconds=60)
    with pytest.raises(NotStable):
        ask(Jolted(transport, emulators, command), 0.1)
    emulators.control(NAME, "draught", on=False)
    assert abs(at_rest(transport) - 1) < NEAR
    state = emulators.control(NAME, "state")
    assert state["asked"][command.decode()] == 1
    assert (state["tare"], state["zero"]) == (0, 0)


def test_dead_balance_is_not_taken_for_a_restless_one(
    transport: SerialTransport, emulators: EmulatorProcess
) -> None:
    at_rest(transport)
    emulators.control(NAME, "deaf")
    with pytest.raises(BalanceSilent):
        driver.tare(transport, 0.1)


def test_tare_is_taken_off_and_forgotten(
    transport: SerialTransport, emulators: EmulatorProcess
) -> None:
    flask = at_rest(transport)
    assert abs(driver.tare(transport, 1.0) - flask) < NEAR
    assert abs(driver.tare_value(transport) - flask) < NEAR
    emulators.control(NAME, "load", grams=float(flask) + 1.5)
    assert abs(at_rest(transport) - Decimal("1.5")) < NEAR
    driver.clear_tare(transport)
    assert driver.tare_value(transport) == 0
    assert abs(at_rest(transport) - flask - Decimal("1.5")) < NEAR


def test_zero_takes_little_and_refuses_much(
    transport: SerialTransport, emulators: EmulatorProcess
) -> None:
    at_rest(transport)
    with pytest.raises(Overload):
        driver.zero(transport, 1.0)
    emulators.control(NAME, "load", grams=0.25)
    at_rest(transport)
    driver.zero(transport, 1.0)
    assert abs(at_rest(transport)) < NEAR


@pytest.mark.parametrize(("grams", "error"), [(230, Overload), (-30, Underload)])
def test_out_of_range_is_told(
    transport: SerialTransport, emulators: EmulatorProcess, grams: float, error: type[Exception]
) -> None:
    at_rest(transport)
    emulators.control(NAME, "load", grams=grams)

    def is_out() -> bool:
        try:
            driver.look(transport)
        except error:
            return True
        return False

    until(is_out)
    with pytest.raises(error):
        driver.stable(transport)


def test_syntax_error_is_told(transport: SerialTransport, emulators: EmulatorProcess) -> None:
    emulators.control(NAME, "foreign", on=True)
    with pytest.raises(CommandRefused, match="does not know the command"):
        driver.greet(transport)


def test_damaged_answer_is_dropped_and_the_next_is_good(
    transport: SerialTransport, emulators: EmulatorProcess
) -> None:
    emulators.control(NAME, "garble", count=1)
    with pytest.raises(AnswerDamaged):
        driver.look(transport)
    assert driver.look(transport)


def test_silence_is_no_weight(transport: SerialTransport, emulators: EmulatorProcess) -> None:
    emulators.control(NAME, "deaf")
    with pytest.raises(BalanceSilent):
        driver.look(transport)


@pytest.fixture
def link(port: str) -> Iterator[Link]:
    made = Link(
        NAME, lambda: SerialTransport(port, 9600), SystemClock(), on_open=driver.greet
    )  # fmt: skip
    yield made
    made.close()


def test_unplug_is_told_and_mended_by_itself(link: Link, emulators: EmulatorProcess) -> None:
    assert link.run(driver.look).result(10)
    emulators.control(NAME, "unplug")
    with pytest.raises(LinkLost):
        link.run(driver.look).result(10)
    emulators.control(NAME, "replug")
    until(lambda: link.connected)
    assert link.run(driver.look).result(10)
