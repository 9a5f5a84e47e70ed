"""What kind of image a file is and how large, from its header alone; no pixel is decoded."""

from dataclasses import dataclass
from typing import BinaryIO

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


class NotAnImage(Invalid):
    """The file is no image of a kind that is taken, or its header is damaged."""

    code = "plates.not_an_image"


@dataclass(frozen=True, slots=True)
class Header:
    """An image's kind and its size in pixels."""

    content_type: str
    width: int
    height: int


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
    for name, content_type in CONTENT_TYPES.items():
        # Asked for directly, as the library's own entrance refuses large images by their size,
        # which is for our limit to decide.
        make, accepts = Image.OPEN[name]
        if accepts is None or not accepts(prefix):
            continue
        file.seek(0)
        try:
            image = make(file, "")
            width, height = image.size
        except Exception as error:
            raise NotAnImage("The file's header is damaged") from error
        if width > 0 and height > 0:
            return Header(content_type, width, height)
    raise NotAnImage("The file is no image")
