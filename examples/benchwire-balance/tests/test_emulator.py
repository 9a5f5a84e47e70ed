"""The emulated balance by itself: how it waits for rest, at moments that the test names."""

import pytest

from benchwire_balance.emulator import EmulatedBalance, emulated

PATIENCE = 5.0


@pytest.fixture
def restless() -> EmulatedBalance:
    """A balance in a draught, which it waits for to end."""
    balance = emulated(1)
    balance.receive(b"", 0)
    balance.control("draught", {"on": True})
    balance.control("patience", {"seconds": PATIENCE})
    return balance


def test_moving_weight_is_shown_at_once_and_a_stable_one_once_it_is(
    restless: EmulatedBalance,
) -> None:
    assert restless.receive(b"SI\r\n", 1).startswith(b"S D ")
    assert restless.receive(b"S\r\n", 1) == b""
    assert restless.receive(b"SI\r\n", 2) == b"S I\r\n"
    assert restless.receive(b"I4\r\n", 2) == b'I4 A "B700101"\r\n'
    restless.control("draught", {"on": False})
    assert restless.receive(b"", 3).startswith(b"S S ")
    assert restless.receive(b"SI\r\n", 3).startswith(b"S S ")


@pytest.mark.parametrize("command", ["S", "T", "Z"])
def test_patience_ends(restless: EmulatedBalance, command: str) -> None:
    assert restless.receive(f"{command}\r\n".encode(), 1) == b""
    assert restless.receive(b"", 0.9 + PATIENCE) == b""
    assert restless.receive(b"", 1.1 + PATIENCE) == f"{command} I\r\n".encode()


def test_reset_takes_back_what_waits(restless: EmulatedBalance) -> None:
    assert restless.receive(b"T\r\n", 1) == b""
    assert restless.receive(b"@\r\n", 2) == b'I4 A "B700101"\r\n'
    restless.control("draught", {"on": False})
    assert restless.receive(b"TA\r\n", 3) == b"TA A     0.0000 g\r\n"
