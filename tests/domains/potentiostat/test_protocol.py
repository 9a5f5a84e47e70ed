"""Frames against bytes written by hand."""

import numpy as np
import pytest

from benchwire.domains.potentiostat import protocol
from benchwire.domains.potentiostat.protocol import (
    Command,
    FrameInvalid,
    InstrumentBusy,
    InstrumentRefused,
)


def crc(data: bytes) -> bytes:
    """The checksum as the Modbus standard words it, bit by bit."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return bytes([value & 0xFF, value >> 8])


def test_checksum_of_the_standards_example() -> None:
    assert protocol.crc16(bytes.fromhex("0207")) == bytes.fromhex("4112")
    assert protocol.crc16(b"123456789") == bytes.fromhex("374B")


def test_read_request_bytes() -> None:
    frame = bytes.fromhex("010303000018")
    assert protocol.read_request(0x0300, 24) == frame + crc(frame)


@pytest.mark.parametrize(
    ("command", "parameter", "body"),
    [
        (Command.CELL_SWITCH, 0, "01104f000002" + "04" + "00e40000"),
        (Command.FIFO_START, 1, "01104f000002" + "04" + "00e50001"),
        (Command.STOP, 1, "01104f000002" + "04" + "00e70001"),
        # 1.0 is 3F800000: low word 0000 first, then 3F80.
        (Command.PID_START, 1.0, "01104f000003" + "06" + "00e600003f80"),
    ],
)
def test_command_bytes(command: Command, parameter: float, body: str) -> None:
    frame = bytes.fromhex(body)
    assert protocol.command_request(command, parameter) == frame + crc(frame)


def test_floats_go_low_word_first() -> None:
    # 0.3 is 3E99999A.
    assert protocol.pack_floats([0.3, -1.0]) == bytes.fromhex("999a3e99" + "0000bf80")
    back = protocol.unpack_floats(bytes.fromhex("999a3e99" + "0000bf80"))
    assert back.tolist() == [float(np.float32(0.3)), -1.0]


def test_samples_are_pairs_of_current_and_potential() -> None:
    current, potential = protocol.unpack_samples(bytes.fromhex("00003f80" + "00004000") * 2)
    assert current.tolist() == [1.0, 1.0]
    assert potential.tolist() == [2.0, 2.0]


def test_status_registers_are_read_in_order() -> None:
    floats = ["00003f80", "00004000", "00000000", "00000000", "00000000", "000041c8", "00004220",
              "4000461c"]  # fmt: skip
    integers = ["00070000", "00090000", "01680000", "01130000"]
    status = protocol.unpack_status(bytes.fromhex("".join(floats + integers)))
    assert (status.current, status.potential) == (1.0, 2.0)
    assert (status.temperature_celsius, status.humidity_percent, status.gain) == (25, 40, 10000)
    assert (status.adc_fifo, status.dac_fifo) == (7, 9)
    assert status.sample_period == pytest.approx(0.00036)
    assert status.is_running
    assert status.cell_connected
    assert not status.stop_requested
    assert not status.in_fifo_mode


def reply(body: str) -> bytes:
    frame = bytes.fromhex(body)
    return frame + crc(frame)


def test_good_reply_gives_its_registers() -> None:
    assert protocol.parse_read_reply(reply("010304" + "00010002"), 2) == bytes.fromhex("00010002")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply("018306"), InstrumentBusy),
        (reply("018302"), InstrumentRefused),
        (reply("010304" + "00010002")[:-1], FrameInvalid),
        (reply("010304" + "00010002")[:4], FrameInvalid),
        (b"", FrameInvalid),
        (reply("010304" + "00010002")[:-1] + b"\0", FrameInvalid),
        (reply("020304" + "00010002"), FrameInvalid),
        (reply("011004" + "00010002"), FrameInvalid),
        (reply("010302" + "0001"), FrameInvalid),
        (reply("010306" + "000100020003"), FrameInvalid),
    ],
)
def test_bad_reply_is_refused(answer: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        protocol.parse_read_reply(answer, 2)


def test_flipped_bit_anywhere_is_noticed() -> None:
    good = reply("010304" + "00010002")
    for place in range(len(good)):
        for bit in range(8):
            bad = good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :]
            with pytest.raises((FrameInvalid, InstrumentRefused)):
                protocol.parse_read_reply(bad, 2)


def test_write_reply_has_to_confirm_the_write() -> None:
    request = protocol.write_request(0x0200, bytes(8))
    protocol.parse_write_reply(reply("011002000004"), request)
    with pytest.raises(FrameInvalid):
        protocol.parse_write_reply(reply("011002000002"), request)
