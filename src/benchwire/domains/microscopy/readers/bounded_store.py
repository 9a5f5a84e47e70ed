"""A Zarr folder whose files are looked at before they are unpacked."""

import asyncio
import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.readers.sources import MOST_BYTES

_METADATA = frozenset(["zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"])
_MOST_METADATA = 64 << 20
_OPENS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open,
}  # fmt: skip
_READ_BYTES, _PIECE_BYTES = 1 << 16, 1 << 20
# Filters may store wider numbers than the pixels are, and shards have a list of their chunks.
_MOST_WIDENED, _WIDER, _SLACK = 100_000_000, 8, 1 << 20


class BoundedStore(WrapperStore[LocalStore]):
    """The files of a folder, to be read only; those that cannot be what they claim are refused.

    What is packed by gzip, zlib, bzip2 or xz takes seconds for a gigabyte that it unpacks to,
    whatever its chunk should hold, so it is unpacked piece by piece first. zstd, blosc and lz4 are
    ten times as fast; what they and one packer within another may take is left to the limits of
    the process.

    Attributes
    ----------
    chunk_bytes
        What the pixels of a chunk, or of a shard of several, take.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(LocalStore(path, read_only=True))
        self.chunk_bytes = MOST_BYTES

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a file's content, or a part of it.

        Raises
        ------
        FileUnreadable
            It is larger than what it should unpack to, or unpacks to more.
        """
        is_metadata = key.rpartition("/")[2] in _METADATA
        widened = min(_WIDER * self.chunk_bytes, _MOST_WIDENED)
        most = max(widened, 2 * self.chunk_bytes) + _SLACK
        try:
            size = (self._store.root / key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        if size > (_MOST_METADATA if is_metadata else most):
            raise FileUnreadable("A part of the file is larger than it can be")
        content = await super().get(key, prototype, byte_range)
        if content is not None and not is_metadata:
            packed = content.as_numpy_array().data
            if await asyncio.to_thread(_unpacks_to_more, packed, most):
                raise FileUnreadable("A part of the file unpacks to more than it can hold")
        return content


def _unpacks_to_more(packed: memoryview, most: int) -> bool:
    """Whether bytes are packed in a known way, and would be more than so many."""
    total = 0
    try:
        for size in _unpacked(packed):
            total += size
            if total > most:
                return True
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        pass  # packed in another way, or damaged, as whoever unpacks it will find
    return False


def _unpacked(packed: memoryview) -> Iterator[int]:
    """Yield the sizes of the pieces that bytes unpack to, as the packers themselves read them."""
    start = bytes(packed[:6])
    opens = next((opens for magic, opens in _OPENS.items() if start.startswith(magic)), None)
    if opens is None:
        yield from _inflated(packed)
        return
    with opens(io.BytesIO(packed)) as file:
        while piece := file.read(_PIECE_BYTES):
            yield len(piece)


def _inflated(packed: memoryview) -> Iterator[int]:
    unpacker = zlib.decompressobj()
    for start in range(0, len(packed), _READ_BYTES):
        rest: bytes | memoryview = packed[start : start + _READ_BYTES]
        while rest and not unpacker.eof:
            yield len(unpacker.decompress(rest, _PIECE_BYTES))
            rest = unpacker.unconsumed_tail
