"""Writes small ND2 files of version 3, byte by byte, for the real library to read.

A file is a row of chunks (magic number, length of the name, length of the data, name, data), each
beginning at a multiple of 4096, with a map of all chunks at the end. Metadata are trees of typed
values: a type byte, the length of the name, the name in UTF-16, the value.
"""

import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_MAGIC = 0x0ABECEDA
_ALIGNMENT = 4096
_TIME, _POSITIONS, _Z_STACK = 1, 2, 4


def write_nd2(
    path: Path,
    pixels: np.ndarray,
    *,
    order: str = "TP",
    times_ms: Sequence[float] | None = None,
    period_ms: float = 0.0,
    names: Sequence[str] = (),
    pixel_size_um: float = 0.65,
    compressed: bool = False,
    images: int | None = None,
) -> None:
    """Write ``pixels`` of the shape (T, P, Z, C, H, W) as an ND2 file.

    ``order`` is that of the loops T, P, Z from outermost to innermost; ``images`` stops the
    acquisition early.
    """
    sizes = dict(zip("TPZ", pixels.shape[:3], strict=True))
    n_channels, height, width = pixels.shape[3:]
    order += "Z" if sizes["Z"] > 1 and "Z" not in order else ""
    stack = pixels.transpose(*["TPZ".index(a) for a in order], *_rest(order), 3, 4, 5)
    frames = stack.reshape(-1, n_channels, height, width)[:images]
    file = _Chunks()
    file.add("ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), reserve=32)
    file.add("ImageAttributesLV!", _attributes(frames, compressed))
    file.add("ImageMetadataSeqLV|0!", _picture(n_channels, names, pixel_size_um))
    loops = [(axis, sizes[axis]) for axis in order if sizes[axis] > 1]
    if loops:
        file.add("ImageMetadataLV!", _level("SLxExperiment", _experiment(loops, period_ms)))
    for index, frame in enumerate(frames):
        data = np.ascontiguousarray(frame.transpose(1, 2, 0)).tobytes()
        data = zlib.compress(data) if compressed else data
        stamp = times_ms[index] if times_ms is not None else 0.0
        file.add(f"ImageDataSeq|{index}!", struct.pack("<d", stamp) + data)
    if times_ms is not None:
        file.add("CustomData|AcqTimesCache!", np.asarray(times_ms, "<f8").tobytes())
    path.write_bytes(file.finished())


def _rest(order: str) -> list[int]:
    return ["TPZ".index(axis) for axis in "TPZ" if axis not in order]


class _Chunks:
    def __init__(self) -> None:
        self._data = bytearray()
        self._places: list[tuple[str, int, int]] = []

    def add(self, name: str, data: bytes, *, reserve: int | None = None) -> int:
        start = len(self._data)
        header = struct.calcsize("<IIQ")
        # The pixels of an image begin 4096 bytes after their chunk, behind a time stamp.
        size = reserve or _ALIGNMENT - header - (8 if "DataSeq" in name else 0)
        self._data += struct.pack("<IIQ", _MAGIC, size, len(data))
        self._data += name.encode().ljust(size, b"\0") + data
        self._data += bytes(-len(self._data) % _ALIGNMENT)
        self._places.append((name, start, len(data)))
        return start

    def finished(self) -> bytes:
        entries = b"".join(
            name.encode() + struct.pack("<QQ", start, size) for name, start, size in self._places
        )
        start = self.add(
            "ND2 FILEMAP SIGNATURE NAME 0001!",
            entries + b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", 0),
        )
        tail = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", start)
        return bytes(self._data) + tail


def _header(kind: int, name: str) -> bytes:
    return struct.pack("BB", kind, len(name) + 1) + name.encode("utf-16-le") + b"\0\0"


def _value(name: str, value: Any) -> bytes:
    if isinstance(value, bool):
        return _header(1, name) + struct.pack("<B", value)
    if isinstance(value, int):
        return _header(3, name) + struct.pack("<I", value)
    if isinstance(value, float):
        return _header(6, name) + struct.pack("<d", value)
    if isinstance(value, str):
        return _header(8, name) + value.encode("utf-16-le") + b"\0\0"
    if isinstance(value, bytes):
        return _header(9, name) + struct.pack("<Q", len(value)) + value
    return _level(name, value)


def _level(name: str, content: dict[str, Any] | list[Any]) -> bytes:
    items = content.items() if isinstance(content, dict) else [("", item) for item in content]
    encoded = [_value(key, value) for key, value in items]
    head = _header(11, name)
    body = b"".join(encoded)
    starts = np.cumsum([len(head) + 12, *map(len, encoded)])[:-1].astype("<u8").tobytes()
    return head + struct.pack("<IQ", len(encoded), len(head) + 12 + len(body)) + body + starts


def _attributes(frames: np.ndarray, compressed: bool) -> bytes:
    _, n_channels, height, width = frames.shape
    bits = frames.dtype.itemsize * 8
    return _level(
        "SLxImageAttributes",
        {
            "uiWidth": width,
            "uiWidthBytes": width * n_channels * frames.dtype.itemsize,
            "uiHeight": height,
            "uiComp": n_channels,
            "uiBpcInMemory": bits,
            "uiBpcSignificant": bits,
            "uiSequenceCount": len(frames),
            "eCompression": 0 if compressed else 2,
            "dCompressionParam": 0.0,
        },
    )


def _picture(n_channels: int, names: Sequence[str], pixel_size_um: float) -> bytes:
    planes = {
        f"a{c}": {
            "uiCompCount": 1,
            "uiSampleIndex": c,
            "sDescription": names[c] if c < len(names) else "",
            "uiColor": 0xFFFFFF,
            "pFluorescentProbe": {"m_ExcitationSpectrum": {"uiCount": 0}},
        }
        for c in range(n_channels)
    }
    return _level(
        "SLxPictureMetadata",
        {
            "bCalibrated": pixel_size_um > 0,
            "dCalibration": pixel_size_um,
            "dTimeMSec": 0.0,
            "sPicturePlanes": {"uiCount": n_channels, "sPlaneNew": planes},
        },
    )


def _experiment(loops: list[tuple[str, int]], period_ms: float) -> dict[str, Any]:
    (axis, count), inner = loops[0], loops[1:]
    experiment: dict[str, Any] = {}
    if axis == "T":
        experiment["eType"] = _TIME
        experiment["uLoopPars"] = {
            "uiCount": count,
            "dStart": 0.0,
            "dPeriod": period_ms,
            "dDuration": period_ms * count,
        }
    elif axis == "P":
        experiment["eType"] = _POSITIONS
        points = [{"dPosX": 100.0 * p, "dPosY": math.sqrt(p), "dPosZ": 0.0} for p in range(count)]
        experiment["uLoopPars"] = {"uiCount": count, "bUseZ": False, "Points": points}
        experiment["pItemValid"] = bytes([1] * count)
    else:
        experiment["eType"] = _Z_STACK
        experiment["uLoopPars"] = {"uiCount": count, "dZLow": 0.0, "dZHigh": 4.0, "dZStep": 1.0}
    if inner:
        experiment["ppNextLevelEx"] = [_experiment(inner, period_ms)]
    return experiment
