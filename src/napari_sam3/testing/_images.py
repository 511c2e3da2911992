"""The picture inside a request: base64, data URI, or an address of the own storage."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP")

UInt8Array = npt.NDArray[np.uint8]


class ImageRefusedError(ValueError):
    """The picture cannot be read; the message says why."""


def image_bytes(text: str, fetch: Callable[[str], bytes | None]) -> bytes:
    """Return the file that an ``image`` field holds or points to.

    Parameters
    ----------
    text : str
        Bare base64, ``data:…;base64,…``, or an address.
    fetch : callable
        Address → file, or None if there is none.

    Raises
    ------
    ImageRefusedError
    """
    if text.startswith(("http://", "https://")):
        found = fetch(text)
        if found is None:
            raise ImageRefusedError("the image's address cannot be fetched")
        return found
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise ImageRefusedError("the image's data URI must be base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ImageRefusedError("the image is neither base64 nor an address") from None


def read_header(data: bytes) -> tuple[tuple[int, int], str]:
    """Return (rows, cols) and format of an image file, without its pixels.

    Raises
    ------
    ImageRefusedError
    """
    with _open(data) as picture:
        return (picture.height, picture.width), picture.format or ""


def read_pixels(data: bytes) -> UInt8Array:
    """Return an image file as 8-bit RGB, shape (rows, cols, 3).

    Raises
    ------
    ImageRefusedError
    """
    with _open(data) as picture:
        try:
            return np.array(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError):
            raise ImageRefusedError("the image is damaged") from None


def _open(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageRefusedError("the image has too many pixels") from None
    except (OSError, ValueError, SyntaxError):
        raise ImageRefusedError("the image is no PNG, JPEG or WebP") from None
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise ImageRefusedError("the image has too many pixels")
    return picture
