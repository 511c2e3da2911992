"""Contrast limits that show an image well, whatever its type."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.errors import ImageError

Limits = tuple[float, float]

TAIL = 0.001
"""The part of the values at either end that tight limits leave out."""

_SAMPLE_PIXELS = 1_000_000
_FEWEST_WITH_TAILS = 64


def auto_contrast_limits(image: npt.ArrayLike) -> Limits:
    """Return limits that show an image well, whatever its type.

    Parameters
    ----------
    image : array_like, shape (rows, cols) or (rows, cols, 3 or 4)
        Of any real type.  All colours have the same limits; alpha does not count.

    Returns
    -------
    low, high : float
        The type's full range for uint8 and bool, otherwise as `tight_contrast_limits`.

    Raises
    ------
    ImageError
        If the image does not hold real numbers or has no pixel.
    """
    pixels = real_array(image)
    if pixels.dtype == np.bool_:
        return 0.0, 1.0
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    return tight_contrast_limits(pixels)


def tight_contrast_limits(image: npt.ArrayLike) -> Limits:
    """Return limits between which nearly all values lie.

    Parameters
    ----------
    image : array_like
        As in `auto_contrast_limits`.

    Returns
    -------
    low, high : float
        The 0.1 % and 99.9 % quantiles of the finite values (of at most about a million
        pixels), so that one hot pixel does not turn the rest black.  `low` is always
        below `high`.

    Raises
    ------
    ImageError
        If the image does not hold real numbers or has no pixel.
    """
    pixels = real_array(image)
    colors = pixels[..., :3] if pixels.ndim == 3 else pixels
    low, high = _quantiles(_sample(colors))
    if not low < high:
        # nearly all is background: the few other values are the picture
        values = _finite(colors)
        others = values[values != low]
        least, most = _quantiles(others) if others.size else (low, high)
        low, high = min(low, least), max(high, most)
    return (low, high) if low < high else _limits_around(low)


def real_array(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return an image as an array of real numbers.

    Raises
    ------
    ImageError
        If it is none, or has no pixel.
    """
    try:
        pixels = np.asarray(image)
    except ValueError as error:
        raise ImageError("The image is no array: its rows differ in length.") from error
    if pixels.dtype.kind == "c":
        raise ImageError(
            "The image holds complex numbers; take their magnitude or phase, and segment that."
        )
    if pixels.dtype.kind not in "biuf":
        raise ImageError(f"The image must hold real numbers, but it holds {pixels.dtype}.")
    if pixels.size == 0:
        raise ImageError(f"The image is empty: its shape is {pixels.shape}, without any pixel.")
    return pixels


def _sample(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    for axis in range(min(pixels.ndim, 2)):
        sides = pixels.shape[:2]
        excess = np.prod(sides) / _SAMPLE_PIXELS
        if excess > 1:
            # shared between the axes, unless the later one is too short for its part
            later = int(np.prod(sides[axis + 1 :]))
            step = int(np.ceil(max(excess ** (1 / (2 - axis)), excess / later)))
            pixels = pixels[(slice(None),) * axis + (slice(None, None, step),)]
    return pixels


def _quantiles(sample: npt.NDArray[Any]) -> Limits:
    values = _finite(sample)
    if values.size < _FEWEST_WITH_TAILS:
        return _extremes(values)
    tail = int(np.ceil(TAIL * values.size))
    ends = [tail, values.size - 1 - tail]
    low, high = np.partition(values, ends)[ends]
    return float(low), float(high)


def _extremes(pixels: npt.NDArray[Any]) -> Limits:
    values = _finite(pixels)
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.ravel() if values.dtype.kind in "iu" else values[np.isfinite(values)]


def _limits_around(value: float) -> Limits:
    # wide enough to differ from the value even where floats are far apart
    width = max(1.0, abs(value) * 1e-6)
    return (value, value + width) if value <= 0 else (value - width, value)
