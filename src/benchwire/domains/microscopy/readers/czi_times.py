"""When the frames of a CZI file were taken.

The library does not give these, so they are read from the segments of the file: an attachment with
the time of each frame, else the acquisition time that each image carries. All numbers are
little-endian.
"""

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TypeVar

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
_MOST_TIMES = 1 << 20
_ACQUIRED = re.compile(rb"<AcquisitionTime>\s*([0-9T:.+-]+Z?)\s*</AcquisitionTime>")

_Found = TypeVar("_Found")


def recorded_times(
    path: Path, scenes: Sequence[int], frames: Sequence[int]
) -> tuple[list[float] | None, list[float | None]]:
    """Return the times of the first scene's frames, and how long each scene lasted, in ms.

    Times are None when the file holds none, and fewer than there are frames when some are not in
    it. To look at every image of every scene would take long, so of the other scenes only the
    first and the last frame are looked at.

    Parameters
    ----------
    scenes, frames
        Indices as the file has them; scene -1 for images of no scene.
    """
    with path.open("rb") as file:
        attached = _unless_damaged(_attached, file)
        complete = attached is not None and len(attached) == len(frames)
        if complete and len(scenes) == 1:
            return attached, [None]
        images = _unless_damaged(_first_images, file) or {}

        def stamp(scene: int, frame: int) -> float | None:
            position = images.get((scene, frame))
            return None if position is None else _unless_damaged(_acquisition_time, file, position)

        ends = [(stamp(scene, frames[0]), stamp(scene, frames[-1])) for scene in scenes]
        durations = [None if a is None or b is None else b - a for a, b in ends]
        if complete:
            return attached, durations
        stamps = [stamp(scenes[0], frame) for frame in frames]
    return [time for time in stamps if time is not None] or attached or None, durations


def _unless_damaged(read: Callable[..., _Found], *args: object) -> _Found | None:
    try:
        return read(*args)
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


def _attached(file: BinaryIO) -> list[float] | None:
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
        if not 0 <= n_times <= _MOST_TIMES:
            return None
        seconds = struct.unpack(f"<{n_times}d", file.read(8 * n_times))
        return [1000.0 * time for time in seconds]
    return None


def _first_images(file: BinaryIO) -> dict[tuple[int, int], int]:
    """Return the file position of the first image of each scene and frame."""
    directory, _ = _positions(file)
    first: dict[tuple[int, int], tuple[tuple[int, int], int]] = {}
    for place, position in _entries(file, directory):
        at = (place.get("S", -1), place.get("T", 0))
        rank = (place.get("C", 0), place.get("Z", 0))
        if at not in first or rank < first[at][0]:
            first[at] = (rank, position)
    return {at: position for at, (_, position) in first.items()}


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
