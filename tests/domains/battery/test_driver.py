import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from benchwire.domains.battery.driver import (
    Block,
    InverterGarbled,
    InverterRefused,
    InverterSilent,
    InverterTrouble,
    InverterUnknown,
    InverterUnreachable,
    ModbusInverter,
    blocks,
)
from benchwire.domains.battery.emulator import EmulatedInverter
from benchwire.domains.battery.register_map import Inverter, Register, load_maps
from benchwire.domains.battery.signals import BMS, PCS
from tests.support.waiting import until

MAP = """
[[inverters]]
name = "box"
device_id = "B1"
host = "127.0.0.1"
unit = 7
timeout_s = 2
word_order = "little"
byte_order = "little"
registers = [
  { field = "soc", address = 100, type = "uint16", scale = 0.1 },
  { field = "soh", address = 101, type = "uint16", scale = 0.1, not_available = 0xFFFF },
  { field = "current", address = 104, type = "int32", scale = 0.001 },
  { field = "voltage", address = 250, type = "float32" },
  { field = "cell_max_voltage", address = 252, type = "float64" },
  { field = "cell_min_temp", address = 300, type = "int16", scale = 0.5, offset = -40 },
  { field = "apparent_power", table = "input", address = 8, type = "int64", scale = 0.000001 },
  { field = "dc_voltage", table = "input", address = 0, type = "uint16", scale_register = 1 },
]
"""
FIXED = {
    "soc": 85.3,
    "soh": 95.2,
    "current": -150.512,
    "voltage": 825.25,
    "cell_max_voltage": 3.2815,
    "cell_min_temp": -12.5,
    "apparent_power": -98.765432,
    "dc_voltage": 812.3,
}


def sunspec(port: int, *, timeout_s: float = 2.0) -> Inverter:
    return Inverter(
        name="box",
        device_id="B1",
        host="127.0.0.1",
        port=port,
        sunspec=True,
        timeout_s=timeout_s,
    )


def mapped(port: int, *registers: Register) -> Inverter:
    wanted = registers or (Register(field="soc", address=100, type="uint16", scale=0.1),)
    return Inverter(
        name="box", device_id="B1", host="127.0.0.1", port=port, timeout_s=0.5, registers=wanted
    )


@contextlib.contextmanager
def connected(inverter: Inverter) -> Iterator[ModbusInverter]:
    driver = ModbusInverter(inverter)
    driver.connect()
    try:
        yield driver
    finally:
        driver.close()


@pytest.fixture(scope="module")
def emulated() -> Iterator[EmulatedInverter]:
    with EmulatedInverter() as emulator:
        yield emulator


def test_blocks_join_neighbours_and_small_gaps_only() -> None:
    wanted = [
        Register(field="soc", address=10, type="uint16"),
        Register(field="soh", address=11, type="float32"),
        Register(field="voltage", address=17, type="int16"),
        Register(field="current", address=30, type="int64", scale_register=40),
        Register(field="dc_current", address=12, type="int16", table="input"),
    ]
    assert set(blocks(wanted)) == {
        Block("holding", 10, 8),
        Block("holding", 30, 4),
        Block("holding", 40, 1),
        Block("input", 12, 1),
    }
    assert Block("holding", 10, 3) in blocks(wanted, gap=0)


def test_no_block_is_longer_than_a_request_and_none_splits_a_number() -> None:
    fields = [*BMS.fields, *PCS.fields]
    wanted = [
        Register(field=field, address=6 * k, type="int64") for k, field in enumerate(fields)
    ] + [Register(field="soc", address=6 * 24 + k, type="int64") for k in range(0, 120, 4)]
    found = blocks(wanted)
    assert all(block.count <= 125 for block in found)
    for register in wanted:
        assert any(
            block.address <= register.address and register.address + 4 <= block.end
            for block in found
        )


def test_sunspec_device_tells_every_field_of_its_models(emulated: EmulatedInverter) -> None:
    emulated.fix(
        {"soc": 61.7, "current": -42.5, "cell_max_voltage": 3.301, "cell_min_voltage": 3.289,
         "temp_igbt": -7.5, "apparent_power": -31.4, "dc_voltage": 839.9}
    )  # fmt: skip
    with connected(sunspec(emulated.port)) as driver:
        values = driver.read()
    bms, pcs = values["bms"], values["pcs"]
    assert set(bms) == set(BMS.fields)
    assert set(pcs) == set(PCS.fields) - {"temp_environment"}
    assert (bms["soc"], bms["current"], bms["soh"]) == (61.7, -42.5, 97.4)
    assert (bms["cell_max_voltage"], bms["cell_voltage_diff"]) == (3.301, 0.012)
    assert (pcs["temp_igbt"], pcs["apparent_power"], pcs["dc_voltage"]) == (-7.5, -31.4, 839.9)
    assert pcs["ac_voltage_ab"] == 400.2


def test_register_map_reads_both_tables_and_every_type(tmp_path: Path) -> None:
    path = tmp_path / "inverters.toml"
    path.write_text(MAP, "utf-8")
    with EmulatedInverter(map_file=path) as emulator:
        path.write_text(MAP.replace("unit = 7", f"unit = 7\nport = {emulator.port}"), "utf-8")
        emulator.fix(FIXED)
        with connected(load_maps(path)[0]) as driver:
            values = driver.read()
            assert {**values["bms"], **values["pcs"]} == pytest.approx(FIXED, abs=1e-9)
            assert driver.registers == 2 + 2 + 6 + 1 + 2 + 4
            # 16 bits of ones are the map's mark for "no value".
            emulator.set_registers("holding", 101, [0xFFFF])
            assert driver.read()["bms"]["soh"] is None


def test_reading_asks_once_per_block(emulated: EmulatedInverter) -> None:
    with connected(sunspec(emulated.port)) as driver:
        before = emulated.requests
        driver.read()
        assert emulated.requests - before == 3


def test_gap_that_the_device_refuses_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "inverters.toml"
    lone = (
        Register(field="soc", address=100, type="uint16"),
        Register(field="soh", address=102, type="uint16"),
    )
    text = '[[inverters]]\nname="a"\ndevice_id="a"\nhost="h"\n' + "".join(
        f'[[inverters.registers]]\nfield="{one.field}"\naddress={one.address}\ntype="uint16"\n'
        for one in (*lone, Register(field="voltage", address=99, type="uint16"))
    )
    path.write_text(text, "utf-8")
    with EmulatedInverter(map_file=path) as emulator:
        emulator.fix({"soc": 50, "soh": 90})
        with connected(mapped(emulator.port, *lone)) as driver:
            assert driver.registers == 3
            assert driver.read() == {"bms": {"soc": 50.0, "soh": 90.0}}
            assert driver.registers == 2
        missing = Register(field="voltage", address=98, type="uint16")
        with (
            connected(mapped(emulator.port, missing)) as driver,
            pytest.raises(InverterRefused, match="it has no such register"),
        ):
            driver.read()


def test_silent_inverter_is_reported_and_read_again_after_a_new_connection(
    emulated: EmulatedInverter,
) -> None:
    with connected(sunspec(emulated.port, timeout_s=0.3)) as driver:
        emulated.go_silent()
        with pytest.raises(InverterSilent, match="box did not answer in time"):
            driver.read()
        assert not driver.is_connected
        with pytest.raises(InverterUnreachable):
            driver.read()
        emulated.go_silent(silent=False)
        driver.connect()
        assert driver.read()["bms"]["soh"] == 97.4


def test_refusal_names_the_reason_and_keeps_the_connection(emulated: EmulatedInverter) -> None:
    with connected(sunspec(emulated.port)) as driver:
        emulated.refuse(6)
        with pytest.raises(InverterRefused, match="it is busy") as caught:
            driver.read()
        emulated.refuse(0)
        assert caught.value.code == "battery.inverter_refused"
        assert driver.is_connected
        assert driver.read()["bms"]["soh"] == 97.4


def test_cut_connection_is_reported(emulated: EmulatedInverter) -> None:
    with connected(sunspec(emulated.port)) as driver:
        emulated.drop_connections()
        with pytest.raises(InverterUnreachable, match="box closed the connection"):
            driver.read()


def test_late_answer_is_never_taken_for_the_next_one(emulated: EmulatedInverter) -> None:
    with connected(sunspec(emulated.port, timeout_s=0.3)) as driver:
        emulated.fix({"soc": 11.0})
        emulated.answer_late(0.5)
        with pytest.raises(InverterSilent):
            driver.read()
        emulated.fix({"soc": 22.0})
        driver.connect()
        for _ in range(5):
            assert driver.read()["bms"]["soc"] == 22.0


def test_nobody_listening_is_unreachable(free_port: int) -> None:
    with pytest.raises(InverterUnreachable, match="box is not reached"):
        ModbusInverter(sunspec(free_port)).connect()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".example", "a..b"])
def test_host_that_cannot_be_is_unreachable(host: str) -> None:
    inverter = Inverter(name="box", device_id="B1", host=host, sunspec=True)
    with pytest.raises(InverterUnreachable):
        ModbusInverter(inverter).connect()


def test_wrong_unit_is_refused_by_the_gateway(emulated: EmulatedInverter) -> None:
    inverter = Inverter(
        name="box", device_id="B1", host="127.0.0.1", port=emulated.port, unit=9, sunspec=True
    )
    with pytest.raises(InverterRefused):
        ModbusInverter(inverter).connect()


def test_device_without_sunspec_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "inverters.toml"
    path.write_text(MAP.replace("unit = 7", ""), "utf-8")
    with EmulatedInverter(map_file=path) as emulator:
        driver = ModbusInverter(sunspec(emulator.port))
        with pytest.raises(InverterUnknown, match="does not describe itself"):
            driver.connect()
        assert not driver.is_connected


# -- devices that do not keep to the protocol ------------------------------------------------

Answer = Callable[[bytes], bytes | None]


@contextlib.contextmanager
def device(answer: Answer) -> Iterator[int]:
    """A server that answers requests however it likes; None closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def talk(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            while request := peer.recv(12):
                reply = answer(request)
                if reply is None:
                    return
                peer.sendall(reply)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                open_ones.append(peer)
                threads.append(threading.Thread(target=talk, args=(peer,)))
                threads[-1].start()

    threads: list[threading.Thread] = []
    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(5)
        for peer in open_ones:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


def frame(request: bytes, body: bytes, *, unit: int | None = None, tid: int | None = None) -> bytes:
    number = int.from_bytes(request[:2], "big") if tid is None else tid
    return struct.pack(">HHHB", number, 0, len(body) + 1, unit or request[6]) + body


def words(*values: int) -> bytes:
    return struct.pack(f">BB{len(values)}H", 3, 2 * len(values), *values)


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", InverterGarbled),
        (lambda _: b"\xff" * 300, InverterGarbled),
        (lambda request: frame(request, words(1, 2)), InverterGarbled),
        (lambda request: frame(request, words()), InverterGarbled),
        (lambda request: frame(request, b"\x03\x03\x00\x01\x02"), InverterGarbled),
        (lambda request: frame(request, b"\x03\x08\x00\x01"), InverterGarbled),
        (lambda request: frame(request, b"\x03"), InverterGarbled),
        (lambda request: frame(request, b"\x04\x02\x00\x01"), InverterGarbled),
        (lambda request: frame(request, b"\x2b\x0e\x01\x01\x00\x00\x09\xff"), InverterGarbled),
        (lambda request: frame(request, b"\x83"), InverterGarbled),
        (lambda request: frame(request, words(1))[:-1], InverterGarbled),
        (lambda request: frame(request, words(1))[:3], InverterGarbled),
        (lambda request: frame(request, words(1), unit=8), InverterGarbled),
        (lambda request: frame(request, words(1), tid=60_000), InverterGarbled),
        (lambda _: b"", InverterSilent),
        (lambda _: None, InverterUnreachable),
        (lambda request: frame(request, b"\x83\x04"), InverterRefused),
        (lambda request: frame(request, b"\x83\x63"), InverterRefused),
    ],
)
def test_answer_that_is_none_is_a_trouble_of_this_family(
    answer: Answer, trouble: type[InverterTrouble]
) -> None:
    with device(answer) as port, connected(mapped(port)) as driver:
        with pytest.raises(InverterTrouble) as caught:
            driver.read()
        assert type(caught.value) is trouble
        assert driver.is_connected == (trouble is InverterRefused)


@pytest.mark.parametrize("function", range(256))
def test_no_function_code_brings_the_driver_down(function: int) -> None:
    def answer(request: bytes) -> bytes:
        return frame(request, bytes([function]) + b"\x02\x00\x07\x00\xff")

    with (
        device(answer) as port,
        connected(mapped(port)) as driver,
        pytest.raises(InverterTrouble),
    ):
        driver.read()


def test_answer_in_pieces_is_put_together() -> None:
    arrived = threading.Event()

    def answer(request: bytes) -> bytes:
        arrived.set()
        return frame(request, words(853))

    with device(answer) as port, connected(mapped(port)) as driver:
        assert driver.read() == {"bms": {"soc": 85.3}}
    assert arrived.is_set()


def test_answer_to_an_earlier_question_is_passed_over() -> None:
    def answer(request: bytes) -> bytes:
        stale = int.from_bytes(request[:2], "big") + 500
        return frame(request, words(111), tid=stale) + frame(request, words(853))

    with device(answer) as port, connected(mapped(port)) as driver:
        assert driver.read() == {"bms": {"soc": 85.3}}


def test_endless_list_of_models_is_refused() -> None:
    def answer(request: bytes) -> bytes:
        address = int.from_bytes(request[8:10], "big")
        found: Sequence[int] = (0x5375, 0x6E53) if address == 40000 else (103, 0)
        return frame(request, words(*found))

    with device(answer) as port, pytest.raises(InverterUnknown, match="has no end"):
        ModbusInverter(sunspec(port)).connect()


def test_models_that_move_are_looked_for_again() -> None:
    moved: list[int] = []

    def answer(request: bytes) -> bytes:
        address, count = struct.unpack(">HH", request[8:12])
        memory = {40000: 0x5375, 40001: 0x6E53, 40002: 802, 40003: 62, 40066: 0xFFFF, 40067: 0}
        if moved:
            memory[40003] = 61
        return frame(request, words(*[memory.get(address + k, 0) for k in range(count)]))

    with device(answer) as port, connected(sunspec(port)) as driver:
        assert driver.read()["bms"]["soc"] == 0.0
        moved.append(1)
        with pytest.raises(InverterGarbled, match="elsewhere"):
            driver.read()
        assert not driver.is_connected


def test_interrupt_ends_a_read_in_another_thread() -> None:
    asked = threading.Event()
    ended: list[InverterTrouble] = []

    def answer(_: bytes) -> bytes:
        asked.set()
        return b""

    patient = Inverter(
        name="box",
        device_id="B1",
        host="127.0.0.1",
        port=1,
        timeout_s=30,
        registers=(Register(field="soc", address=1, type="int16"),),
    )
    with device(answer) as port:
        driver = ModbusInverter(Inverter(**{**fields_of(patient), "port": port}))
        driver.connect()

        def read() -> None:
            try:
                driver.read()
            except InverterTrouble as error:
                ended.append(error)

        reading = threading.Thread(target=read)
        reading.start()
        assert asked.wait(5)
        driver.interrupt()
        until(lambda: ended, seconds=5)
        reading.join(5)


def fields_of(inverter: Inverter) -> dict[str, object]:
    return {name: getattr(inverter, name) for name in Inverter.__dataclass_fields__}
