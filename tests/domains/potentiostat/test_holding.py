"""What holds the instruments, without a server: ports taken up and let go in any order."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchwire.domains.potentiostat.acquisition import Measurement
from benchwire.domains.potentiostat.driver import Potentiostat, Stopped
from benchwire.domains.potentiostat.holding import BAUDRATE, Holding
from benchwire.domains.potentiostat.instrument import Instrument
from benchwire.domains.potentiostat.modes import MODES
from benchwire.domains.potentiostat.protocol import Command
from benchwire.domains.potentiostat.validation import parse
from benchwire.domains.potentiostat.waveforms import SAMPLE_PERIOD
from benchwire.foundation.clock import SystemClock
from benchwire.foundation.instruments.emulation import EmulatorProcess
from benchwire.foundation.instruments.ports import SerialPort
from benchwire.foundation.instruments.transport import SerialTransport
from tests.domains.potentiostat.conftest import FACTORY
from tests.support.waiting import until

pytestmark = pytest.mark.paced
BUFFERED = 2048
"""Samples that may still be in the instrument."""


class Ears:
    """What is told, as the server would hear it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, tuple[Any, ...]]] = []

    def tell(self, event: str, *arguments: Any) -> None:
        self.heard.append((event, arguments))

    offer = tell


@pytest.fixture
def emulators(tmp_path: Path) -> Iterator[EmulatorProcess]:
    processes = EmulatorProcess(FACTORY, ["p1"], tmp_path / "ports")
    yield processes
    processes.close()


@pytest.fixture
def port(emulators: EmulatorProcess) -> SerialPort:
    return SerialPort(str(emulators.paths["p1"]))


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def holding(ears: Ears) -> Iterator[Holding]:
    made = Holding(ears)  # type: ignore[arg-type]
    yield made
    made.close()


def held_potential(folder: Path, seconds: float) -> Measurement:
    mode = MODES["CA"]
    parameters = parse(mode, {"potential": 0.5, "duration": seconds})
    return Measurement(mode, parameters, folder / "ca.csv", 0, None)


def instrument_on(port: SerialPort) -> Instrument:
    return Instrument(port, lambda port: SerialTransport(port.path, BAUDRATE), SystemClock())


def connect_cell(port: SerialPort) -> None:
    """Do what a process does that is killed during a run."""
    transport = SerialTransport(port.path, BAUDRATE)
    try:
        Potentiostat(transport, SystemClock()).command_insistently(Command.CELL_SWITCH, 1)
    finally:
        transport.close()


def handles_of(port: SerialPort) -> list[str]:
    """The open files of this process that are a port."""
    names = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(name) for name in names if name == Path(port.path).readlink()]


def rows(task: Measurement) -> list[float]:
    lines = task.csv_path.read_text("ascii").splitlines()[1:]
    return [float(line.split(",")[0]) for line in lines]


def test_a_port_taken_up_twice_is_held_once(
    holding: Holding, ears: Ears, port: SerialPort, emulators: EmulatorProcess
) -> None:
    first, second = holding.open(port), holding.open(port)
    assert first.result(5)
    assert second.result(5)
    assert {facts for event, facts in ears.heard if event == "state"} == {
        (port.path, True, "E000000000000001")
    }
    assert len(handles_of(port)) == 1
    holding.release(port.path).result(5)
    assert holding.open(port).result(5)


def test_a_port_let_go_while_it_is_taken_up_is_free(
    holding: Holding, ears: Ears, port: SerialPort, tmp_path: Path
) -> None:
    for _ in range(5):
        holding.open(port)
        holding.release(port.path).result(5)
        with pytest.raises(Exception, match="not connected"):
            holding.measure(1, port.path, "r1", "slot01", held_potential(tmp_path, 1))
    other = Holding(ears)  # type: ignore[arg-type]
    assert other.open(port).result(5)
    other.close()


def test_closed_at_once_it_still_opens_the_cell_of_whoever_was_before(
    port: SerialPort, emulators: EmulatorProcess
) -> None:
    """A new process may be told to leave before a link has done anything."""
    for _ in range(5):
        connect_cell(port)
        assert emulators.control("p1", "state")["cell_closed"]
        instrument_on(port).close()
        assert not emulators.control("p1", "state")["cell_closed"]


def test_one_that_is_back_but_not_yet_tried_again_is_made_safe_at_the_end(
    port: SerialPort, emulators: EmulatorProcess
) -> None:
    instrument = instrument_on(port)
    instrument.run(lambda device: device.command_insistently(Command.CELL_SWITCH, 1)).result(5)
    emulators.control("p1", "unplug")
    until(lambda: not instrument.link.connected, what="the loss")
    # By now it is looked for every two seconds.
    time.sleep(3)
    emulators.control("p1", "replug")
    assert emulators.control("p1", "state")["cell_closed"]
    instrument.close()
    assert not emulators.control("p1", "state")["cell_closed"]


def test_what_was_measured_is_written_before_it_goes(
    ears: Ears, port: SerialPort, emulators: EmulatorProcess, tmp_path: Path
) -> None:
    made = Holding(ears)  # type: ignore[arg-type]
    assert made.open(port).result(5)
    task = held_potential(tmp_path, 60)
    done = made.measure(1, port.path, "r1", "slot01", task)
    until(lambda: emulators.control("p1", "state")["ticks"] > 3000, what="samples")
    made.close()
    assert done.done()
    played = emulators.control("p1", "state")["ticks"]
    written = rows(task)
    assert played - BUFFERED <= len(written) <= played
    assert written == pytest.approx([SAMPLE_PERIOD * number for number in range(len(written))])
    assert not emulators.control("p1", "state")["cell_closed"]


@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_points_of_a_run_that_is_over_do_not_wait_for_the_garbage_collector(
    holding: Holding, port: SerialPort, tmp_path: Path, is_stopped: bool
) -> None:
    assert holding.open(port).result(5)
    task = held_potential(tmp_path, 60 if is_stopped else 0.3)
    done = holding.measure(1, port.path, "r1", "slot01", task)
    until(lambda: "slot01" in holding._live["r1"]._curves, what="its curve")
    curve = holding._live["r1"]._curves["slot01"]
    until(lambda: curve.so_far(10)["columns"], what="points")
    if is_stopped:
        holding.stop(1, "cancelled")
    assert isinstance(done.exception(10), Stopped if is_stopped else type(None))
    assert curve.so_far(10)["columns"]
    holding.forget("r1")
    assert not curve.so_far(10)["columns"]
