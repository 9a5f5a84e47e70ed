"""The driver against the emulated meter on a pseudo-terminal: good answers and every bad one."""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchwire.domains.powermeter import driver
from benchwire.domains.powermeter.emulator import EmulatedMeter, emulated
from benchwire.domains.powermeter.errors import FrameDamaged, MeterSilent, MeterUnusable
from benchwire.domains.powermeter.protocol import Identity
from benchwire.domains.powermeter.readings import QUANTITIES
from benchwire.foundation.instruments.emulation import PtyHost
from benchwire.foundation.instruments.transport import LinkLost, PortHeld, SerialTransport

VECTOR = {
    "voltage": 5.1234, "current": 0.48765, "power": 2.4984, "resistance": 10.5,
    "temperature": -7, "mah_g0": 123, "mwh_g0": 634, "mah_g1": 4567, "mwh_g1": 23456,
    "d_plus": 2.81, "d_minus": 2.80,
}  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Iterator[PtyHost]:
    opened = PtyHost({"m": emulated(1)}, tmp_path)
    yield opened
    opened.close()


@contextmanager
def opened(host: PtyHost) -> Iterator[SerialTransport]:
    transport = SerialTransport(str(host.paths["m"]), driver.BAUDRATE)
    try:
        yield transport
    finally:
        transport.close()


@pytest.fixture
def transport(host: PtyHost) -> Iterator[SerialTransport]:
    with opened(host) as found:
        yield found


def control(host: PtyHost, command: str, **arguments: object) -> object:
    return host.control("m", command, arguments)


def values(codes: tuple[int, ...]) -> dict[str, float]:
    return {item.key: item.value(code) for item, code in zip(QUANTITIES, codes, strict=True)}


def test_every_field_comes_back_as_it_was_set(host: PtyHost, transport: SerialTransport) -> None:
    control(host, "set", **VECTOR)
    frame = driver.read(transport)
    assert values(frame.codes) == VECTOR
    assert frame.identity == Identity("TC66", "1.18", 4242, 17)


def test_a_power_cycle_is_counted(host: PtyHost, transport: SerialTransport) -> None:
    control(host, "power_cycle")
    assert driver.read(transport).identity.runs == 18


def test_the_greeting_tells_a_meter_that_measures(
    host: PtyHost, transport: SerialTransport
) -> None:
    driver.greet(transport)
    control(host, "bootloader", on=True)
    with pytest.raises(MeterUnusable, match="bootloader"):
        driver.greet(transport)


def test_commands_with_a_line_end_are_understood(host: PtyHost, transport: SerialTransport) -> None:
    transport.write(b"query\r\n")
    assert transport.read(4, 1.0) == b"firm"


@pytest.mark.parametrize(
    ("fault", "count", "words"),
    [
        ("flip", 1, "checksum"),
        ("stray", 7, "tag"),
        ("stray", 16, "tag"),
        ("cut", 100, "100 bytes"),
        ("cut", 191, "191 bytes"),
    ],
)
def test_a_damaged_answer_is_told_and_the_next_one_is_good(
    host: PtyHost, transport: SerialTransport, fault: str, count: int, words: str
) -> None:
    control(host, "set", **VECTOR)
    control(host, fault, count=count)
    with pytest.raises(FrameDamaged, match=words):
        driver.read(transport)
    assert values(driver.read(transport).codes) == VECTOR


def test_a_deaf_meter_is_no_missing_port(host: PtyHost, transport: SerialTransport) -> None:
    control(host, "deaf")
    with pytest.raises(MeterSilent):
        driver.read(transport)
    with pytest.raises(MeterSilent):
        driver.greet(transport)
    control(host, "hear")
    driver.greet(transport)


def test_an_unplug_is_noticed_and_after_the_replug_a_new_port_works(host: PtyHost) -> None:
    with opened(host) as transport:
        driver.read(transport)
        host.unplug("m")
        for attempt in (driver.read, driver.look, driver.greet, driver.recording):
            with pytest.raises(LinkLost) as caught:
                attempt(transport)
            assert not isinstance(caught.value, MeterSilent)
    with pytest.raises(LinkLost, match="no port"), opened(host):
        pass
    host.replug("m")
    with opened(host) as transport:
        driver.greet(transport)
        assert driver.read(transport).identity.serial == 4242


@pytest.mark.parametrize("path", ["/dev/absent", "/dev/null", "/tmp", "/etc/hostname", ""])
def test_what_is_no_serial_port_is_said_at_once(path: str) -> None:
    began = time.monotonic()
    with pytest.raises(LinkLost):
        SerialTransport(path, driver.BAUDRATE)
    assert time.monotonic() - began < 5


def test_a_port_is_held_alone(host: PtyHost, transport: SerialTransport) -> None:
    with pytest.raises(PortHeld), opened(host):
        pass
    driver.read(transport)


def test_the_screen_turns_both_ways(host: PtyHost, transport: SerialTransport) -> None:
    for action in ("next", "next", "previous", "rotate"):
        driver.turn_screen(transport, action)
    driver.greet(transport)
    state = control(host, "state")
    assert (state["screen"], state["rotation"]) == (1, 90)


def test_a_full_recording_is_read_to_its_end(host: PtyHost, transport: SerialTransport) -> None:
    pairs = [(round(5 + n / 1e4, 4), round(n / 1e5, 5)) for n in range(1440)]
    control(host, "record", pairs=pairs)
    assert driver.recording(transport) == pairs
    assert driver.read(transport).identity.serial == 4242


def test_an_empty_recording_is_no_error(host: PtyHost, transport: SerialTransport) -> None:
    control(host, "record", pairs=[])
    assert driver.recording(transport) == []


def test_a_recording_that_is_too_long_is_refused(host: PtyHost, transport: SerialTransport) -> None:
    control(host, "record", pairs=[(5.0, 1.0)] * 1500)
    with pytest.raises(FrameDamaged):
        driver.recording(transport)


def test_the_meter_refreshes_twice_a_second() -> None:
    meter = EmulatedMeter(1, 1)
    answers = [meter.receive(b"getva", 100 + n / 10) for n in range(50)]
    changes = sum(a != b for a, b in itertools.pairwise(answers))
    assert 8 <= changes <= 10


def test_the_phone_charges_with_constant_current_then_less_and_less() -> None:
    meter = EmulatedMeter(1, 1)
    currents = []
    for second in range(0, 180, 2):
        meter.receive(b"getva", float(second))
        currents.append(meter.control("state", {})["current"])
    constant, taper, full = currents[8:36], currents[40:78], currents[82:]
    assert max(constant) - min(constant) < 0.1
    assert min(constant) > 1.9
    assert taper[0] > 4 * taper[-1]
    assert max(full) < 0.05


def test_nothing_but_the_known_commands_leaves_the_driver(
    host: PtyHost, transport: SerialTransport
) -> None:
    driver.greet(transport)
    driver.read(transport)
    driver.recording(transport)
    for action in ("next", "previous", "rotate"):
        driver.turn_screen(transport, action)
    driver.greet(transport)
    asked = control(host, "state")["asked"]
    assert set(asked) == {"query", "getva", "gtrec", "nextp", "lastp", "rotat"}


def test_garbage_does_not_end_the_emulator(host: PtyHost, transport: SerialTransport) -> None:
    transport.write(os.urandom(500).replace(b"u", b"x"))
    time.sleep(0.1)
    driver.greet(transport)
