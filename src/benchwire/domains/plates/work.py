"""What runs in a worker process: previews of images, the one place where pixels are decoded."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchwire.foundation.workers import Reporter

if TYPE_CHECKING:
    from PIL import Image

# A microscope's deep image uses little of its range; this much is left out at either end.
_LEFT_OUT = 0.2


def draw_preview(reporter: Reporter, source: str, target: str, pixels: int, limit: int) -> None:
    """Draw an image small enough for a page, as WebP.

    Parameters
    ----------
    pixels
        Length of its longer side.
    limit
        Most pixels the source may have.
    """
    import io

    from PIL import Image, ImageOps

    from benchwire.foundation.files import make_folders, write_whole

    Image.MAX_IMAGE_PIXELS = limit
    with Image.open(source) as image:
        # A JPEG is decoded at a fraction of its size at once.
        image.draft("RGB", (pixels, pixels))
        grey = _stretched(image, pixels) if image.mode[:1] in "IF" else image
        shown = ImageOps.exif_transpose(grey.convert("RGB"))
        reporter.raise_if_stopped()
        shown.thumbnail((pixels, pixels))
        content = io.BytesIO()
        shown.save(content, "WEBP", quality=85)
    make_folders(Path(target).parent)
    write_whole(Path(target), content.getvalue())


def _stretched(image: "Image.Image", pixels: int) -> "Image.Image":
    """Return a deep grey image in 8 bits, from its nearly darkest to its nearly brightest value.

    Of a large image only every so many pixels are taken, twice as many as will be shown, so that
    it is never held as numbers with a fraction.
    """
    import numpy as np
    from PIL import Image

    step = max(1, max(image.size) // (2 * pixels))
    values = np.asarray(image)[::step, ::step].astype(np.float32)
    low, high = np.percentile(values, [_LEFT_OUT, 100 - _LEFT_OUT])
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))
