"""When the frames of a CZI file were taken.

The library does not give these, so they are read from the segments of the file: an attachment with
the time of each frame, else the acquisition time that each image carries. All numbers are
little-endian.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

_SEGMENT = struct.Struct("<16sqq")
_FILE_HEADER = struct.Struct("<iiii16s16siqqiq")
_DIRECTORY = struct.Struct("<i124x")
_ATTACHMENTS = struct.Struct("<i252x")
_ATTACHMENT = struct.Struct("<2s10xqi16s8s80s")
_BLOCK = struct.Struct("<2siqiiB5xi")
_DIMENSION = struct.Struct("<4siifi")
_SUBBLOCK = struct.Struct("<iiq")
_SUBBLOCK_HEAD = 256
_ATTACHMENT_HEAD = 256
_MOST_METADATA = 1 << 20
_ACQUIRED = re.compile(rb"<AcquisitionTime>\s*([0-9T:.+-]+Z?)\s*</AcquisitionTime>")


def recorded_times(path: Path, scene: int, frames: Sequence[int]) -> list[float] | None:
    """Return the time of each frame of a scene in ms; None when the file does not hold them.

    Parameters
    ----------
    frames
        Indices of the frames as the file has them.
    """
    with path.open("rb") as file:
        try:
            return _attached(file, len(frames)) or _acquired(file, scene, frames)
        except (struct.error, ValueError, OverflowError, OSError):
            return None


def _read(file: BinaryIO, layout: struct.Struct) -> tuple[int, ...]:
    return layout.unpack(file.read(layout.size))


def _segment(file: BinaryIO, position: int, name: bytes) -> None:
    """Go to the content of a segment."""
    if position <= 0 and name != b"ZISRAWFILE":
        raise ValueError("no such segment")
    file.seek(position)
    identifier, _, _ = _SEGMENT.unpack(file.read(_SEGMENT.size))
    if identifier.rstrip(b"\0") != name:
        raise ValueError("another segment")


def _positions(file: BinaryIO) -> tuple[int, int]:
    """Return where the directories of the images and of the attachments are."""
    _segment(file, 0, b"ZISRAWFILE")
    header = _read(file, _FILE_HEADER)
    return header[7], header[10]


def _attached(file: BinaryIO, n_frames: int) -> list[float] | None:
    _, directory = _positions(file)
    if directory <= 0:
        return None
    _segment(file, directory, b"ZISRAWATTDIR")
    (count,) = _read(file, _ATTACHMENTS)
    for _ in range(count):
        _, position, _, _, _, name = _ATTACHMENT.unpack(file.read(_ATTACHMENT.size))
        if name.rstrip(b"\0") != b"TimeStamps":
            continue
        _segment(file, position, b"ZISRAWATTACH")
        file.seek(_ATTACHMENT_HEAD, 1)
        _, n_times = struct.unpack("<ii", file.read(8))
        if n_times != n_frames:
            return None
        seconds = struct.unpack(f"<{n_times}d", file.read(8 * n_times))
        return [1000.0 * time for time in seconds]
    return None


def _acquired(file: BinaryIO, scene: int, frames: Sequence[int]) -> list[float] | None:
    """Return the times at which the first image of each frame was taken."""
    directory, _ = _positions(file)
    first: dict[int, tuple[tuple[int, int], int]] = {}
    for place, position in _entries(file, directory):
        frame, rank = place.get("T", 0), (place.get("C", 0), place.get("Z", 0))
        if scene in (-1, place.get("S", -1)) and (frame not in first or rank < first[frame][0]):
            first[frame] = (rank, position)
    times = []
    for frame in frames:
        stamp = _acquisition_time(file, first[frame][1]) if frame in first else None
        if stamp is None:
            return None
        times.append(stamp)
    return times


def _entries(file: BinaryIO, directory: int) -> Iterator[tuple[dict[str, int], int]]:
    """Yield the place and the file position of each image."""
    _segment(file, directory, b"ZISRAWDIRECTORY")
    (count,) = _read(file, _DIRECTORY)
    for _ in range(count):
        schema, _, position, _, _, _, n_dimensions = _BLOCK.unpack(file.read(_BLOCK.size))
        if schema != b"DV":
            raise ValueError("another schema")
        place = {}
        for _ in range(n_dimensions):
            name, start, _, _, _ = _DIMENSION.unpack(file.read(_DIMENSION.size))
            place[name.rstrip(b"\0").decode("latin-1")] = start
        yield place, position


def _acquisition_time(file: BinaryIO, position: int) -> float | None:
    _segment(file, position, b"ZISRAWSUBBLOCK")
    start = file.tell()
    metadata_size, _, _ = _read(file, _SUBBLOCK)
    file.seek(_BLOCK.size - 4, 1)
    (n_dimensions,) = struct.unpack("<i", file.read(4))
    head = _SUBBLOCK.size + _BLOCK.size + _DIMENSION.size * n_dimensions
    file.seek(start + max(_SUBBLOCK_HEAD, head))
    found = _ACQUIRED.search(file.read(min(max(metadata_size, 0), _MOST_METADATA)))
    if found is None:
        return None
    # More digits than microseconds are common, and not understood.
    text = re.sub(r"(\.\d{6})\d+", r"\1", found[1].decode("ascii"))
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000.0
