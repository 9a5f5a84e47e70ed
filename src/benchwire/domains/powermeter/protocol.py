"""The meter's serial protocol: bytes and what they mean, without any port.

A command is five ASCII letters; only the ones listed here are ever sent. A reading is 192 bytes,
twelve blocks of AES-256 in ECB mode under a key that is the same in every meter and public. Inside
are three parts of 64 bytes, each with a tag, little-endian unsigned 32-bit integers, and a CRC-16
(Modbus) of its first 60 bytes.
"""

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchwire.domains.powermeter.errors import FrameDamaged

QUERY = b"query"
READ = b"getva"
RECORDING = b"gtrec"
SCREENS = {"previous": b"lastp", "next": b"nextp", "rotate": b"rotat"}

NORMAL, BOOTLOADER = b"firm", b"boot"
FRAME_BYTES = 192
RECORD_BYTES = 8
MOST_RECORDS = 1440

_KEY = bytes.fromhex("5821fa5601b2f02687ff1204622a4fb086f40260816f9a0ba7f106619ab87288")
_PART_BYTES = 64
_TAGS = (b"pac1", b"pac2", b"pac3")
# A checksum of 16 bits lets one changed part in 65,536 pass; this is far beyond what a meter for
# 30 V and 5 A can measure: 100 V, 50 A, 5 kW, 1000 degC, 100 V on the data lines.
_MOST_RUNS = 10_000_000
_LARGEST_CODES = {0: 1_000_000, 1: 5_000_000, 2: 50_000_000, 4: 1000, 9: 10_000, 10: 10_000}
_POLYNOMIAL = 0xA001


@dataclass(frozen=True, slots=True)
class Identity:
    """Which meter it is; ``runs`` counts how often it was powered up."""

    product: str
    version: str
    serial: int
    runs: int

    def is_of_same_meter(self, other: "Identity") -> bool:
        """Return whether it is one and the same meter, however often it was powered up."""
        return (self.product, self.serial) == (other.product, other.serial)


@dataclass(frozen=True, slots=True)
class Frame:
    """One reading: who measured it, and a code for each of `readings.QUANTITIES`."""

    identity: Identity
    codes: tuple[int, ...]


def decode(data: bytes) -> Frame:
    """Return the reading in an encrypted frame.

    Raises
    ------
    FrameDamaged
        Length, a tag or a checksum is wrong, or a value cannot be; the message says which.
    """
    if len(data) != FRAME_BYTES:
        raise FrameDamaged(f"The meter sent {len(data)} bytes of {FRAME_BYTES}")
    decryptor = Cipher(algorithms.AES(_KEY), modes.ECB()).decryptor()  # noqa: S305 - the meter's
    plain = decryptor.update(data) + decryptor.finalize()
    for number, tag in enumerate(_TAGS):
        part = plain[number * _PART_BYTES : (number + 1) * _PART_BYTES]
        if part[:4] != tag:
            raise FrameDamaged(f"Part {number + 1} of the meter's answer has a wrong tag")
        if crc16(part[:-4]) != struct.unpack("<I", part[-4:])[0]:
            raise FrameDamaged(f"Part {number + 1} of the meter's answer has a wrong checksum")
    product, version, serial = struct.unpack_from("<4s4sI", plain, 4)
    runs, voltage, current, power = struct.unpack_from("<4I", plain, 44)
    resistance, mah0, mwh0, mah1, mwh1, is_negative, degrees, d_plus, d_minus = struct.unpack_from(
        "<9I", plain, 68
    )
    temperature = -degrees if is_negative == 1 else degrees
    codes = (voltage, current, power, resistance, temperature,
             mah0, mwh0, mah1, mwh1, d_plus, d_minus)  # fmt: skip
    if runs > _MOST_RUNS or any(abs(codes[at]) > most for at, most in _LARGEST_CODES.items()):
        raise FrameDamaged("The meter's answer holds a value that no meter can measure")
    return Frame(Identity(_text(product), _text(version), serial, runs), codes)


def decode_recording(data: bytes) -> list[tuple[float, float]]:
    """Return the pairs of voltage (V) and current (A) that a meter has recorded by itself.

    Raises
    ------
    FrameDamaged
        It ends inside a record or is longer than the meter's memory.
    """
    if len(data) % RECORD_BYTES or len(data) > MOST_RECORDS * RECORD_BYTES:
        raise FrameDamaged(f"The meter sent {len(data)} bytes, which is no whole recording")
    return [
        (voltage / 10_000, current / 100_000)
        for voltage, current in struct.iter_unpack("<II", data)
    ]


def crc16(data: bytes) -> int:
    """Return the CRC-16/MODBUS: reflected polynomial 0xA001, start 0xFFFF, no final inversion."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(_crc_of_byte(byte) for byte in range(256))


def _text(raw: bytes) -> str:
    return raw.decode("ascii", "replace").strip("\0 ")
