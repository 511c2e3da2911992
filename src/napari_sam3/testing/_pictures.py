"""Masks → image files, in every mode that an answer may have."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from napari_sam3.core.instances import BoolArray
from napari_sam3.testing._behaviour import ImageKind
from napari_sam3.testing._images import UInt8Array

_COLOURS = np.array(
    [(230, 60, 60), (60, 180, 75), (70, 110, 230), (245, 200, 40), (180, 70, 200), (60, 200, 200)],
    np.uint8,
)
_LOSSY: Mapping[str, dict[str, Any]] = {
    # low enough for ringing around the outlines
    "JPEG": {"quality": 30},
    "WEBP": {"quality": 40},
}


@dataclass(frozen=True, slots=True)
class PictureFile:
    """An image file.

    Parameters
    ----------
    body : bytes
    content_type : str
    suffix : str
        Of its name, with the dot.
    """

    body: bytes = field(repr=False)
    content_type: str
    suffix: str


def mask_picture(
    masks: Sequence[BoolArray],
    shape: tuple[int, int],
    kind: ImageKind,
    factors: tuple[float, float] = (1.0, 1.0),
) -> PictureFile:
    """Return one image file of all masks together.

    Parameters
    ----------
    masks : sequence of ndarray of bool
        None of them for a black picture.
    shape : tuple of int
        (rows, cols) of each.
    kind : str
        See `Behaviour.image`.
    factors : tuple of float
        Size of the file's picture over that of the masks, rows and columns.

    Returns
    -------
    PictureFile
    """
    names = np.zeros(shape, np.int64)
    for name, mask in enumerate(masks, start=1):
        names[mask] = name
    return _saved(_resized(_DRAWN[kind](names), factors), kind)


def overlay_picture(
    image: UInt8Array,
    masks: Sequence[BoolArray],
    kind: ImageKind,
    factors: tuple[float, float] = (1.0, 1.0),
) -> PictureFile:
    """Return the image with tinted objects and their outlines, as a file.

    Parameters
    ----------
    image : ndarray of uint8, shape (rows, cols, 3)
    masks, kind, factors
        As in `mask_picture`; only JPEG and WebP matter here, all else is a PNG in RGB.

    Returns
    -------
    PictureFile
    """
    drawn = image.copy()
    for number, mask in enumerate(masks):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn[mask] = (drawn[mask] * 0.6 + colour * 0.4).astype(np.uint8)
        drawn[mask & ~ndimage.binary_erosion(mask)] = colour
    return _saved(_resized(Image.fromarray(drawn), factors), kind)


def _white(names: npt.NDArray[np.int64]) -> UInt8Array:
    return np.where(names > 0, np.uint8(255), np.uint8(0))


def _gray(names: npt.NDArray[np.int64]) -> Image.Image:
    return Image.fromarray(_white(names))


def _palette(names: npt.NDArray[np.int64]) -> Image.Image:
    picture = Image.fromarray((names > 0).astype(np.uint8))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    return picture


def _see_through(names: npt.NDArray[np.int64]) -> Image.Image:
    picture = Image.new("RGB", names.shape[::-1], "white")
    picture.putalpha(_gray(names))
    return picture


def _coloured(names: npt.NDArray[np.int64]) -> Image.Image:
    colours = np.concatenate([np.zeros((1, 3), np.uint8), _COLOURS])
    return Image.fromarray(colours[np.where(names > 0, 1 + (names - 1) % len(_COLOURS), 0)])


_DRAWN: Mapping[ImageKind, Callable[[npt.NDArray[np.int64]], Image.Image]] = {
    "L": _gray,
    "1": lambda names: _gray(names).convert("1", dither=Image.Dither.NONE),
    "P": _palette,
    "RGB": lambda names: _gray(names).convert("RGB"),
    "RGBA": lambda names: _gray(names).convert("RGBA"),
    "alpha": _see_through,
    "colours": _coloured,
    "JPEG": _gray,
    "WebP": lambda names: _gray(names).convert("RGB"),
}


def _resized(picture: Image.Image, factors: tuple[float, float]) -> Image.Image:
    rows = max(1, round(picture.height * factors[0]))
    cols = max(1, round(picture.width * factors[1]))
    if (cols, rows) == picture.size:
        return picture
    return picture.resize((cols, rows), Image.Resampling.NEAREST)


def _saved(picture: Image.Image, kind: ImageKind) -> PictureFile:
    form = kind.upper() if kind in ("JPEG", "WebP") else "PNG"
    buffer = io.BytesIO()
    picture.save(buffer, form, **_LOSSY.get(form, {}))
    suffix = {"JPEG": ".jpeg", "WEBP": ".webp"}.get(form, ".png")
    return PictureFile(buffer.getvalue(), f"image/{form.lower()}", suffix)
