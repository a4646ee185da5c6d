"""Image files: their digest, and their pixels from the very bytes that the digest is of.

The pipelines look at every image with this and the image store builds from it, so that what passes the
one is read by the other. Torch is not imported.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

# Pillow's convert("RGB") cuts these off at 255: all but the darkest pixels of an X-ray would be white.
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_THIRTY_TWO_BITS = ("I", "F")


class BrokenImageError(Exception):
    """An image that cannot be used; the text is the reason in a few words, for a line that names the file."""


def image_digest(content: bytes) -> str:
    """SHA-256 of a whole image file, 32 hex digits: the column image_digest."""
    return hashlib.sha256(content).hexdigest()[:32]


@contextmanager
def opened(content: bytes) -> Iterator[Image.Image]:
    """The image in ``content``, decoded inside the block.

    Raises:
        BrokenImageError: whatever the decoder raises, there or in the block.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            yield image
    except BrokenImageError:
        raise
    except UnidentifiedImageError:
        raise BrokenImageError("not an image") from None
    except Exception as error:  # noqa: BLE001 (a decoder raises anything: RuntimeError, IndexError, struct.error)
        raise BrokenImageError(f"damaged: {type(error).__name__}") from None


def rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB; 16-bit greyscale is scaled by 1/257, so that 65535 becomes 255.

    Raises:
        BrokenImageError: 32 bits a pixel: where white lies is not known.
    """
    import numpy as np
    from PIL import Image

    if image.mode in _THIRTY_TWO_BITS:
        raise BrokenImageError("32-bit images are not supported; convert to 8 or 16 bit")
    if image.mode in _SIXTEEN_BITS:
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    return image.convert("RGB")
