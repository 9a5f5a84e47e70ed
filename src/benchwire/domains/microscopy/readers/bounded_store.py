"""A Zarr folder whose files are looked at before they are unpacked."""

import asyncio
import zlib
from pathlib import Path

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from benchwire.domains.microscopy.errors import FileUnreadable
from benchwire.domains.microscopy.readers.sources import MOST_BYTES

_METADATA = frozenset(["zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"])
_MOST_METADATA = 64 << 20
_READ_BYTES, _PIECE_BYTES = 1 << 16, 1 << 20
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class BoundedStore(WrapperStore[LocalStore]):
    """The files of a folder, to be read only; those that cannot be what they claim are refused.

    What is packed by gzip or zlib takes a second for each 200 MB that it unpacks to, whatever its
    chunk should hold, so it is unpacked piece by piece first. Other packers are ten times as fast;
    what they may take is left to the limit of the process.

    Attributes
    ----------
    chunk_bytes
        What a chunk, or a shard of several, holds once it is unpacked.
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
        # Packers add little to what they cannot make smaller.
        most = _MOST_METADATA if is_metadata else self.chunk_bytes + self.chunk_bytes // 64 + 4096
        try:
            size = (self._store.root / key).stat().st_size
        except OSError:
            return None
        if size > most:
            raise FileUnreadable("A part of the file is larger than it can be")
        content = await super().get(key, prototype, byte_range)
        if content is not None and not is_metadata:
            packed = content.as_numpy_array().data
            if await asyncio.to_thread(_unpacks_to_more, packed, self.chunk_bytes):
                raise FileUnreadable("A part of the file unpacks to more than it can hold")
        return content


def _unpacks_to_more(packed: memoryview, most: int) -> bool:
    """Whether bytes are packed by gzip or zlib, and would be more than so many."""
    unpacker, total = zlib.decompressobj(_GZIP_OR_ZLIB), 0
    try:
        for start in range(0, len(packed), _READ_BYTES):
            rest: bytes | memoryview = packed[start : start + _READ_BYTES]
            while rest:
                if unpacker.eof:  # another member may follow
                    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
                total += len(unpacker.decompress(rest, _PIECE_BYTES))
                if total > most:
                    return True
                rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    except zlib.error:
        pass  # packed in another way, or damaged, as whoever unpacks it will find
    return False
