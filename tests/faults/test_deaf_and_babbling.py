"""Instruments that say nothing and instruments that never stop talking, on real ports."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from benchwire.domains.potentiostat import emulator as potentiostat_emulator
from benchwire.domains.potentiostat.driver import Potentiostat
from benchwire.domains.powermeter import driver as powermeter
from benchwire.domains.powermeter import emulator as powermeter_emulator
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.errors import BenchwireError
from benchwire.foundation.instruments.emulation import Device, PtyHost
from benchwire.foundation.instruments.transport import SerialTransport
from tests.support.serial_lines import BadLine
from tests.support.soaking import SoakOr

pytestmark = pytest.mark.paced

Ask = Callable[[SerialTransport], object]
LONGEST_SECONDS = 2.0


def potentiostat_state(transport: SerialTransport) -> object:
    return Potentiostat(transport, SystemClock()).status()


def potentiostat_safety(transport: SerialTransport) -> object:
    return Potentiostat(transport, SystemClock()).make_safe()


QUESTIONS: list[tuple[Callable[[int], Device], Ask, float]] = [
    # The longest one may take on a busy machine, s: the second one is several commands.
    (potentiostat_emulator.emulated, potentiostat_state, 2.0),
    (potentiostat_emulator.emulated, potentiostat_safety, 4.0),
    (powermeter_emulator.emulated, powermeter.greet, 2.0),
    (powermeter_emulator.emulated, powermeter.read, 2.0),
]


@contextlib.contextmanager
def port_on_a_bad_line(device: Device, folder: Path) -> Iterator[tuple[SerialTransport, BadLine]]:
    host = PtyHost({"true": device}, folder)
    with BadLine(host.paths["true"], folder / "line") as line:
        transport = SerialTransport(str(line.path), 115_200)
        yield transport, line
        transport.close()
    host.close()


@pytest.mark.parametrize("fault", ["is_deaf", "is_babbling"])
@pytest.mark.parametrize(("make", "ask", "longest"), QUESTIONS)
def test_a_question_ends_in_time_and_takes_no_memory(
    tmp_path: Path,
    soak_or: SoakOr,
    fault: str,
    make: Callable[[int], Device],
    ask: Ask,
    longest: float,
) -> None:
    with port_on_a_bad_line(make(1), tmp_path) as (transport, line):
        ask(transport)
        setattr(line, fault, True)
        before, slowest, asked = psutil.Process().memory_info().rss, 0.0, 0
        until = time.monotonic() + soak_or(1, 120)
        while time.monotonic() < until:
            began = time.monotonic()
            # Whatever an answer that slips through says, it is right or refused.
            with contextlib.suppress(BenchwireError):
                ask(transport)
            slowest = max(slowest, time.monotonic() - began)
            asked += 1
        grown = psutil.Process().memory_info().rss - before
        print(f"{asked} questions, the slowest took {slowest:.2f} s; "
              f"{line.passed / 1e6:.1f} MB came, memory grew by {grown / 1e6:.1f} MB")  # fmt: skip
        assert slowest < soak_or(longest + 1.0, LONGEST_SECONDS)
        assert grown < 20_000_000
        line.mend()
        time.sleep(0.3)
        transport.discard_input()
        ask(transport)
