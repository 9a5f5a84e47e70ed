"""The potentiostat's Modbus RTU frames: bytes to values and back, nothing else.

32-bit values are little-endian in the instrument's memory and read as two 16-bit registers, so
the low word comes first while each register is big-endian on the wire.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from benchwire.foundation.errors import Failed

UNIT = 1
OTHER_UNIT = 0xFF
"""The instrument answers to both, which tells a late answer from the one asked for."""

MAX_FRAME_BYTES = 256
READ_HOLDING = 3
WRITE_MULTIPLE = 16
_EXCEPTION_BIT = 0x80
EXCEPTION_REPLY_BYTES = 5
WRITE_REPLY_BYTES = 8

# Register addresses: the high byte picks a group.
ADC_FIFO = 0x0100
DAC_FIFO = 0x0200
STATUS = 0x0300
CURRENT_AVERAGING = 0x3004
POTENTIAL_AVERAGING = 0x300A
CHIP_SERIAL = 0x4300
COMMAND = 0x4F00

STATUS_REGISTERS = 24
CHIP_SERIAL_REGISTERS = 4
REGISTERS_PER_SAMPLE = 4
MAX_SAMPLES_PER_READ = 30
MAX_POINTS_PER_WRITE = 60
ADC_FIFO_SAMPLES = 2048


class Command(IntEnum):
    """What can be written to the command register."""

    SENSOR_ZERO = 0xE0
    RESET = 0xE1
    LOAD_DEFAULTS = 0xE2
    TIA_GAIN = 0xE3
    CELL_SWITCH = 0xE4
    FIFO_START = 0xE5
    PID_START = 0xE6
    STOP = 0xE7
    CLEAR_ADC_FIFO = 0xE8


class FrameInvalid(Failed):
    """An answer was garbled or cut short."""

    code = "potentiostat.frame_invalid"


class FrameGarbled(FrameInvalid):
    """The answer to what was asked came, and bits of it were changed on the way."""


class InstrumentRefused(Failed):
    """The instrument answered with an exception."""

    code = "potentiostat.refused"


class InstrumentBusy(InstrumentRefused):
    """A buffer is too full or too empty for the request; nothing was taken or given."""

    code = "potentiostat.busy"


@dataclass(frozen=True, slots=True)
class Status:
    """What the instrument says of itself; SI units, temperature in degC, humidity in %."""

    current: float
    potential: float
    temperature_celsius: float
    humidity_percent: float
    gain: float
    adc_fifo: int
    dac_fifo: int
    sample_period: float
    in_fifo_mode: bool
    in_pid_mode: bool
    is_running: bool
    stop_requested: bool
    cell_connected: bool


def _crc_table() -> tuple[int, ...]:
    def entry(byte: int) -> int:
        return reduce(lambda crc, _: (crc >> 1) ^ (0xA001 if crc & 1 else 0), range(8), byte)

    return tuple(entry(byte) for byte in range(256))


_CRC_TABLE = _crc_table()


def crc16(data: bytes) -> bytes:
    """Return the Modbus checksum of bytes, low byte first (polynomial 0xA001, start 0xFFFF)."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def _framed(body: bytes) -> bytes:
    return body + crc16(body)


def read_request(address: int, registers: int, unit: int = UNIT) -> bytes:
    """Return the frame that reads registers."""
    return _framed(struct.pack(">BBHH", unit, READ_HOLDING, address, registers))


def write_request(address: int, payload: bytes, unit: int = UNIT) -> bytes:
    """Return the frame that writes registers; ``payload`` is their bytes as on the wire."""
    head = struct.pack(">BBHHB", unit, WRITE_MULTIPLE, address, len(payload) // 2, len(payload))
    return _framed(head + payload)


def command_request(command: Command, parameter: int | float, unit: int = UNIT) -> bytes:
    """Return the frame of a command; a float parameter is a current in A.

    Raises
    ------
    ValueError
        The current is no number that the instrument knows.
    """
    if isinstance(parameter, float):
        if not abs(parameter) <= np.finfo(np.float32).max:
            raise ValueError(f"a current of {parameter} A")
        return write_request(COMMAND, struct.pack(">H", command) + pack_floats([parameter]), unit)
    return write_request(COMMAND, struct.pack(">HH", command, parameter), unit)


def read_reply_bytes(registers: int) -> int:
    """Return the length of a good answer to a read."""
    return 5 + 2 * registers


def parse_read_reply(reply: bytes, registers: int, unit: int = UNIT) -> bytes:
    """Return the register bytes of an answer to a read.

    Raises
    ------
    FrameInvalid, InstrumentBusy, InstrumentRefused
        The answer is garbled, or an exception.
    """
    _check(reply, READ_HOLDING, read_reply_bytes(registers), unit)
    if reply[2] != 2 * registers:
        raise FrameInvalid("The instrument's answer has the wrong length")
    return reply[3:-2]


def parse_write_reply(reply: bytes, request: bytes) -> None:
    """Check that a write was taken, by the same errors as `parse_read_reply`."""
    _check(reply, WRITE_MULTIPLE, WRITE_REPLY_BYTES, request[0])
    if reply[2:6] != request[2:6]:
        raise FrameInvalid("The instrument confirmed another write than the one sent")


def units_in(data: bytes) -> list[int]:
    """Return the units of the whole answers that bytes begin with."""
    units = []
    while len(data) >= EXCEPTION_REPLY_BYTES:
        if is_exception(data):
            length = EXCEPTION_REPLY_BYTES
        elif data[1] == READ_HOLDING:
            length = 5 + data[2]
        else:
            length = WRITE_REPLY_BYTES
        if crc16(data[: length - 2]) != data[length - 2 : length]:
            break
        units.append(data[0])
        data = data[length:]
    return units


def is_exception(head: bytes) -> bool:
    """Whether an answer's first bytes say that it is an exception."""
    return len(head) > 1 and bool(head[1] & _EXCEPTION_BIT)


def _check(reply: bytes, function: int, length: int, unit: int) -> None:
    if len(reply) < EXCEPTION_REPLY_BYTES:
        raise FrameInvalid("The instrument's answer is cut short")
    if crc16(reply[:-2]) != reply[-2:]:
        kind = FrameGarbled if reply[0] == unit and len(reply) == length else FrameInvalid
        raise kind("The instrument's answer is garbled")
    if reply[0] != unit or reply[1] & ~_EXCEPTION_BIT != function:
        raise FrameInvalid("The instrument answered something else than was asked")
    if is_exception(reply):
        if reply[2] == 6:
            raise InstrumentBusy("The instrument is busy")
        raise InstrumentRefused(f"The instrument refused a request (code {reply[2]})")
    if len(reply) != length:
        raise FrameInvalid("The instrument's answer has the wrong length")


def pack_floats(values: NDArray[np.float64] | list[float]) -> bytes:
    """Return floats as single-precision registers, low word first."""
    words = np.asarray(values, dtype="<f4").view("<u2")
    return words.astype(">u2").tobytes()


def unpack_floats(payload: bytes) -> NDArray[np.float64]:
    """Return single-precision registers as (n,) float64."""
    words = np.frombuffer(payload, dtype=">u2").astype("<u2")
    return words.view("<f4").astype(np.float64)


def unpack_samples(payload: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the currents (A) and potentials (V) of a block of samples, each (n,) float64."""
    pairs = unpack_floats(payload).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def unpack_status(payload: bytes) -> Status:
    """Return the 24 status registers as values."""
    memory = np.frombuffer(payload, dtype=">u2").astype("<u2").tobytes()
    (
        current, potential, _vce, _toaref, _opvref, temperature, humidity, gain,
        adc_fifo, dac_fifo, period_us, state,
    ) = struct.unpack("<8f2i2I", memory)  # fmt: skip
    return Status(
        current=current,
        potential=potential,
        temperature_celsius=temperature,
        humidity_percent=humidity,
        gain=gain,
        adc_fifo=adc_fifo,
        dac_fifo=dac_fifo,
        sample_period=period_us * 1e-6,
        in_fifo_mode=bool(state & 1 << 2),
        in_pid_mode=bool(state & 1 << 3),
        is_running=bool(state & 1 << 4),
        stop_requested=bool(state & 1 << 5),
        cell_connected=bool(state & 1 << 8),
    )
