"""Files that are not what they say: mutated by seed, lying, or far larger than they look."""

import io
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")


def picture(kind: str, size: tuple[int, int] = (160, 120)) -> bytes:
    """Return a small image that is whole."""
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, kind)
    return content.getvalue()


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a file with some of what happens to files: cut, flipped, zeroed, doubled, stuffed."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        # Headers decide most, so half of the damage is done there.
        end = min(len(data), 256) if chance.random() < 0.5 else len(data)
        at = chance.randrange(max(end, 1))
        match chance.randrange(6):
            case 0:
                del data[at:]
            case 1:
                for place in chance.choices(range(max(len(data), 1)), k=chance.randint(1, 40)):
                    data[place : place + 1] = bytes([chance.randrange(256)])
            case 2:
                data[at : at + chance.randint(1, 200)] = bytes(chance.randint(1, 200))
            case 3:
                data[at : at + 4] = struct.pack(
                    chance.choice("<>") + "I",
                    chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 100_000)),
                )
            case 4:
                data[at:at] = data[at : at + chance.randint(1, 500)]
            case _:
                data[at : at + 1] = bytes([data[at] ^ 1 << chance.randrange(8)]) if data else b""
    return bytes(data)


def png(width: int, height: int, pixels: bytes) -> bytes:
    """Return a PNG whose header says what it likes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def zeros(size: int, *, as_gzip: bool = False) -> bytes:
    """Return so many zero bytes, packed some hundredfold."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31 if as_gzip else 15)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join(parts) + packer.flush()


def impostors() -> Iterator[tuple[str, bytes]]:
    """Return files that are no images, or images that no one should take, by what they are."""
    script = b"<script>alert(1)</script>"
    yield "nothing", b""
    yield "one byte", b"\x89"
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield "svg with an xml head", b'<?xml version="1.0"?><!DOCTYPE svg><svg onload="alert(1)"/>'
    yield "html", b"<!doctype html>" + script
    yield "pdf", b"%PDF-1.7\n" + script
    yield "zip", b"PK\x03\x04" + bytes(60)
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n"
    yield "executable", b"MZ" + bytes(200)
    yield "lying png, 10^5 x 10^5", png(100_000, 100_000, zlib.compress(bytes(100)))
    yield "lying png, 2^31 wide", png(2**31 - 1, 2**31 - 1, b"")
    yield "bomb of a png", png(6_000, 6_000, zeros(6_000 * 18_001))
    yield "bomb of a bmp", struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 100_000,
                                       100_000, 1, 24, 0, 0, 1, 1, 0, 0)  # fmt: skip
    yield "lying gif", b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";"
    yield "tiff with a ring of directories", struct.pack("<2sHIHI", b"II", 42, 8, 0, 8)


def polyglots() -> Iterator[tuple[str, bytes]]:
    """Return images that are something else as well."""
    script = b"<script>alert(1)</script>"
    yield "gif and script", picture("GIF") + script
    yield "png and html", picture("PNG") + b"<html>" + script
    yield "jpeg and zip", picture("JPEG") + b"PK\x05\x06" + bytes(18)
    yield "bmp and script", picture("BMP") + b"*/" + script
