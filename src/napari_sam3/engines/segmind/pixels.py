"""A picture's bytes → masks, or RGB for the eye.

How a mask is read from a picture is not documented by the service, so the rules go
by what the pixels can mean, and every guess is told as a notice:

1. An alpha channel that varies is the mask.
2. A gray picture is cut at the middle of its range.
3. A coloured picture of few exact colours is one mask per colour; the colour that is
   most common along the border is the background.
4. Any other coloured picture is cut at the middle of its brightest channel.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_sam3.core.arrays import BoolArray
from napari_sam3.engines.segmind.bodies import Budget, Kind, UnreadableError

MAX_COLOURS = 256
LOSSY_GRAY = 16
"""How far red, green and blue of a gray pixel may lie apart after lossy compression."""
LOSSY_TIFF = frozenset({"jpeg", "tiff_jpeg", "webp"})
DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
TRANSPARENT_MODES = frozenset({"1", "L", "P", "RGB"})

SEVERAL_COLOURS = (
    "The mask came in colours; each colour was taken for one object, and the most common "
    "colour along the border for the background. That is a guess."
)
TOO_MANY_COLOURS = (
    "The mask came in more colours than fit into memory as objects; everything that is not "
    "background was taken for one mask."
)
PHOTO = (
    "The answer looks like a coloured picture rather than a mask; its bright pixels were "
    "taken for the mask. Check the result."
)
SHADES = (
    "The mask has many shades of gray; it was cut in the middle. Objects drawn in dark gray are "
    "missing."
)
DARK = "The mask holds dark gray only, nothing above the middle; it was read as “nothing found”."
WHOLE = "The mask covers the whole picture; that is rarely a real answer. Check the prompt."

# warnings.catch_warnings() is not safe for threads that enter and leave it in turns
_PILLOW = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The masks of one picture.

    Parameters
    ----------
    masks : tuple of ndarray of bool, shape (rows, cols)
        None of them empty.
    shape : tuple of int
        (rows, cols) of the picture.
    """

    masks: tuple[BoolArray, ...]
    shape: tuple[int, int]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    # (rows, cols) of any number type, or (rows, cols, 3) of uint8
    values: npt.NDArray[Any]
    alpha: npt.NDArray[np.uint8] | None
    # the packed colours, if they are few and exact
    colours: tuple[int, ...]
    is_lossless: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]


def read_masks(data: bytes, kind: Kind, budget: Budget) -> Reading:
    """Decode a picture and read it as a mask, or as several.

    Parameters
    ----------
    kind : str
        The picture format, see `bodies.sniff`.

    Raises
    ------
    UnreadableError
        If the picture is damaged, cut off or too large.
    """
    pixels = _load(data, kind, budget)
    masks, notices = _masks(pixels, budget)
    found = tuple(mask for mask in masks if mask.any())
    if any(mask.all() for mask in found):
        notices = (*notices, WHOLE)
    return Reading(found, pixels.shape, notices)


def read_rgb(data: bytes, kind: Kind, budget: Budget) -> npt.NDArray[np.uint8]:
    """Decode a picture for the eye; its alpha channel is dropped.

    Returns
    -------
    ndarray of uint8, shape (rows, cols, 3)

    Raises
    ------
    UnreadableError
        As for `read_masks`.
    """
    pixels = _load(data, kind, budget)
    values = pixels.values
    if values.dtype != np.uint8:
        values = np.nan_to_num(values)
        full = _full_scale(float(values.max(initial=0)), pixels.is_lossless)
        values = (np.clip(values, 0, full) * (255.0 / full)).astype(np.uint8)
    if values.ndim == 2:
        values = np.repeat(values[..., np.newaxis], 3, axis=2)
    return values


# ---------------------------------------------------------------------- Pillow


@contextmanager
def _guarded(kind: Kind) -> Iterator[None]:
    """Let Pillow neither warn, nor raise errors of its own."""
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except UnreadableError:
            raise
        except Image.DecompressionBombError as error:
            raise UnreadableError("The answer's picture is too large to be read safely.") from error
        except Exception as error:  # damaged pictures make decoders raise anything
            raise UnreadableError(
                f"The answer is a {kind} picture that is damaged or cut off. Ask again."
            ) from error


def _load(data: bytes, kind: Kind, budget: Budget) -> _Loaded:
    with _guarded(kind):
        if kind == "WEBP":
            # Pillow makes room for all pixels as soon as it opens one of these
            _take_size(_webp_size(data), budget)
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            if kind == "WEBP":
                _check_size(image.size, budget)
            else:
                _take_size(image.size, budget)
            image.load()
            # some decoders learn the true size only now
            _check_size(image.size, budget)
            is_lossless = _is_lossless(image, data, kind)
            return _loaded(image, is_lossless)


def _take_size(size: tuple[int, int], budget: Budget) -> None:
    _check_size(size, budget)
    budget.take_pixels(size[0] * size[1])


def _check_size(size: tuple[int, int], budget: Budget) -> None:
    count = size[0] * size[1]
    # other parts of the program may have set a lower limit for all of it
    most = min(budget.limits.max_pixels, Image.MAX_IMAGE_PIXELS or budget.limits.max_pixels)
    if count > most:
        raise UnreadableError(
            f"The answer's picture has {size[1]:,} × {size[0]:,} pixels, which is more than can "
            f"be read safely ({most:,} pixels)."
        )
    if count <= 0:
        raise UnreadableError("The answer's picture has no pixel.")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) from the first chunk, whichever of the three kinds it is."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _is_lossless(image: Image.Image, data: bytes, kind: Kind) -> bool:
    if kind == "WEBP":
        return data[12:16] == b"VP8L"
    return kind != "JPEG" and image.info.get("compression") not in LOSSY_TIFF


def _loaded(image: Image.Image, is_lossless: bool) -> _Loaded:
    alpha = None
    if image.mode in ALPHA_MODES or (
        image.mode in TRANSPARENT_MODES and "transparency" in image.info
    ):
        # also resolves what a palette says about transparency
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"))
    if image.mode in DEEP_MODES:
        return _Loaded(np.array(image), alpha, (), is_lossless)
    if image.mode in ("1", "L"):
        return _Loaded(np.array(image.convert("L")), alpha, (), is_lossless)
    image = image.convert("RGB")
    # gives up as soon as there are more
    counted: Any = (image.getcolors(MAX_COLOURS) or ()) if is_lossless else ()
    colours = tuple(red << 16 | green << 8 | blue for _, (red, green, blue) in counted)
    return _Loaded(np.array(image), alpha, colours, is_lossless)


# ---------------------------------------------------------------------- what pixels mean


def _masks(pixels: _Loaded, budget: Budget) -> tuple[list[BoolArray], tuple[str, ...]]:
    alpha = pixels.alpha
    if alpha is not None and alpha.min() != alpha.max():
        # a mask that lets the image shine through is nowhere opaque
        return [alpha > min(127, int(alpha.max()) // 2)], ()
    if pixels.values.ndim == 2:
        return _cut(pixels.values, pixels.is_lossless)
    red, green, blue = (pixels.values[..., index] for index in range(3))
    brightest = np.maximum(np.maximum(red, green), blue)
    darkest = np.minimum(np.minimum(red, green), blue)
    if int((brightest - darkest).max()) <= (0 if pixels.is_lossless else LOSSY_GRAY):
        return _cut(brightest, pixels.is_lossless)
    if pixels.colours:
        return _by_colour(pixels, budget)
    return [brightest > 127], (PHOTO,)


def _cut(values: npt.NDArray[Any], is_lossless: bool) -> tuple[list[BoolArray], tuple[str, ...]]:
    if values.dtype.kind == "f":
        values = np.nan_to_num(values)
    top = float(values.max())
    full = _full_scale(top, is_lossless)
    # whole numbers are compared as such: exactly, and without a copy in floating point
    mask = values > (full / 2 if values.dtype.kind == "f" else int(full // 2))
    if not mask.any():
        return [], (DARK,) if top > 0.1 * full else ()
    between = np.count_nonzero((values > 0.1 * full) & (values < 0.9 * full))
    return [mask], (SHADES,) if between > 0.05 * values.size else ()


def _full_scale(top: float, is_lossless: bool) -> float:
    """Return the value of white, for a picture whose brightest pixel is `top`.

    Masks of 0 and 1 exist, and so do 16-bit pictures with 8-bit values.  After lossy
    compression a 1 is noise.
    """
    if not is_lossless:
        return 255.0
    return next((full for full in (1.0, 255.0, 65535.0) if top <= full), top)


def _by_colour(pixels: _Loaded, budget: Budget) -> tuple[list[BoolArray], tuple[str, ...]]:
    packed = pixels.values[..., 0].astype(np.uint32)
    for index in (1, 2):
        packed <<= 8
        packed |= pixels.values[..., index]
    border = np.concatenate([packed[0], packed[-1], packed[:, 0], packed[:, -1]])
    found, counts = np.unique(border, return_counts=True)
    background = int(found[counts.argmax()])
    objects = [colour for colour in pixels.colours if colour != background]
    # the first mask takes the place of the picture, which is counted
    more = (len(objects) - 1) * packed.size
    if more > budget.pixels_left:
        return [packed != background], (TOO_MANY_COLOURS,)
    budget.take_pixels(max(0, more))
    masks = [packed == colour for colour in objects]
    masks.sort(key=lambda mask: int(mask.argmax()))
    return masks, (SEVERAL_COLOURS,) if masks else ()
