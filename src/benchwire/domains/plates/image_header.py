"""What kind of image a file is and how large, from its header alone; no pixel is decoded."""

from dataclasses import dataclass
from typing import BinaryIO, cast

from benchwire.foundation.errors import Invalid

# Formats taken, by the name the library knows them, and what they are called on the web. SVG is
# left out: it is a program.
CONTENT_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
}
SHOWN_BY_BROWSERS = frozenset(CONTENT_TYPES.values()) - {"image/tiff"}
_PREFIX_BYTES = 16
_COLOURS, _MOST_BYTES, _MOST_RATIO = 3, 100_000_000, 100
_MOST_READS = 50_000


class NotAnImage(Invalid):
    """The file is no image of a kind that is taken, or its header is damaged."""

    code = "plates.not_an_image"


@dataclass(frozen=True, slots=True)
class Header:
    """An image's kind and its size in pixels."""

    content_type: str
    width: int
    height: int

    def is_bomb(self, file_bytes: int) -> bool:
        """Whether an image of that size can only be a few bytes repeated for ever.

        The noise of a camera keeps a real one far from it, however well it is compressed.
        """
        pixel_bytes = self.width * self.height * _COLOURS
        return pixel_bytes > _MOST_BYTES and pixel_bytes > _MOST_RATIO * file_bytes


class _Patient:
    """A file that may be read from so often: a header is short, a longer one is an attack."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MOST_READS

    def read(self, size: int = -1) -> bytes:
        """Return some bytes, as a file does."""
        self._left -= 1
        if self._left < 0:
            raise NotAnImage("The file's header does not end")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go somewhere, as a file does."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return where it is, as a file does."""
        return self._file.tell()


def read_header(file: BinaryIO) -> Header:
    """Return the header of an image file.

    Raises
    ------
    NotAnImage
        By its content it is none.
    """
    from PIL import Image

    Image.init()
    file.seek(0)
    prefix = file.read(_PREFIX_BYTES)
    patient = cast("BinaryIO", _Patient(file))
    for name, content_type in CONTENT_TYPES.items():
        # Asked for directly, as the library's own entrance refuses large images by their size,
        # which is for our limit to decide.
        make, accepts = Image.OPEN[name]
        if accepts is None or not accepts(prefix):
            continue
        file.seek(0)
        try:
            image = make(patient, "")
            width, height = image.size
        except Exception as error:
            raise NotAnImage("The file's header is damaged") from error
        if width > 0 and height > 0:
            return Header(content_type, width, height)
    raise NotAnImage("The file is no image")
