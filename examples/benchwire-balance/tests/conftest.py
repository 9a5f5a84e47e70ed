"""Emulated balances in a process of their own."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.instruments.transport import SerialTransport

NAME = "balance-1"


@pytest.fixture
def emulators(tmp_path: Path) -> Iterator[EmulatorProcess]:
    process = EmulatorProcess("benchwire_balance.emulator:emulated", [NAME], tmp_path / "ports")
    yield process
    process.close()


@pytest.fixture
def port(emulators: EmulatorProcess) -> str:
    return str(emulators.paths[NAME])


@pytest.fixture
def transport(port: str) -> Iterator[SerialTransport]:
    opened = SerialTransport(port, 9600)
    yield opened
    opened.close()


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Return once a condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
