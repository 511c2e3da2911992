"""Pictures that show next to nothing: whether one does, why, and what would show more."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray, Int64Array
from napari_sam3.core.contrast import TAIL, Limits, real_array, tight_contrast_limits
from napari_sam3.core.images import to_rgb8

FLAT_LEVELS = 4
"""Levels beside the middle one that count as the same grey.

Of twenty nuclei that rise by 2 of 255 levels the built-in engine finds none, and from 3 on all.
"""

_SPECK = 3
"""Pixels a side: what is smaller is a hot pixel, and nothing to segment."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One image of those that a picture is made of.

    Parameters
    ----------
    pixels : callable
        Reads its values, shape (rows, cols) or (rows, cols, 3 or 4).
    contrast_limits : tuple of float
        Its values that are shown black and white.
    gamma : float
    name : str
        For the user; empty where there is only one.
    key : hashable
        Tells it from the others.
    """

    pixels: Callable[[], npt.NDArray[Any]]
    contrast_limits: Limits
    gamma: float = 1.0
    name: str = ""
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Flatness:
    """Why nearly all of a picture is one grey level.

    Parameters
    ----------
    reason : str
        One or more sentences for the user.
    better : dict
        The key of an image to contrast limits that show more of it; empty if there are none.
    """

    reason: str
    better: dict[Hashable, Limits] = field(default_factory=dict)


def find_flatness(rgb: npt.NDArray[np.uint8], parts: Iterable[Part]) -> Flatness | None:
    """Find out why nearly all of a picture is one grey level; None if it is not.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
        As an engine is sent it.
    parts : iterable of Part
        What it is made of; their values are read only if they are needed.
    """
    if not is_flat(rgb):
        return None
    reasons: list[str] = []
    better: dict[Hashable, Limits] = {}
    for part in parts:
        pixels = real_array(part.pixels())
        if not is_flat(to_rgb8(pixels, part.contrast_limits, part.gamma)):
            continue
        limits = tight_contrast_limits(pixels)
        if not is_flat(to_rgb8(pixels, limits, part.gamma)):
            better[part.key] = limits
            reasons.append(_by_limits(part, limits))
        else:
            reasons.append(_by_values(part, pixels))
    said = "Nearly all of the picture is one grey level"
    return Flatness(f"{said}: {'; '.join(reasons)}." if reasons else f"{said}.", better)


def _by_limits(part: Part, limits: Limits) -> str:
    now, then = (f"{low:g} and {high:g}" for low, high in (part.contrast_limits, limits))
    return f"the contrast limits{_of(part)} are {now}, but nearly all values lie between {then}"


def _by_values(part: Part, pixels: npt.NDArray[Any]) -> str:
    colors = pixels[..., :3] if pixels.ndim == 3 else pixels
    numbers = colors[np.isfinite(colors)]
    if 2 * numbers.size < colors.size:
        return f"nearly all values{_of(part)} are no numbers (NaN or infinite)"
    return f"nearly all values{_of(part)} are {float(np.median(numbers)):g}"


def _of(part: Part) -> str:
    return f" of “{part.name}”" if part.name else ""


def is_flat(rgb: npt.NDArray[np.uint8]) -> bool:
    """Whether nearly all of a picture is one grey level, so that there is nothing to find.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
        As an engine is sent it.

    Returns
    -------
    bool
        True if no more than one pixel in a thousand is more than `FLAT_LEVELS` brighter or
        darker than the median, and no 3 × 3 of those lie together: small spots on a black
        ground are a picture, hot pixels are none.
    """
    # gray repeats one channel without a copy of it
    channels = [rgb[..., i] for i in range(1 if rgb.strides[2] == 0 else 3)]
    most = int(TAIL * rgb.shape[0] * rgb.shape[1])
    differs = np.zeros(rgb.shape[:2], bool)
    for channel in channels:
        counts = _histogram(channel)
        middle = int(np.searchsorted(np.cumsum(counts), (channel.size + 1) // 2))
        low, high = max(0, middle - FLAT_LEVELS), middle + FLAT_LEVELS
        if channel.size - counts[low : high + 1].sum() > most:
            return False
        differs |= (channel < low) | (channel > high)
    return int(np.count_nonzero(differs)) <= most and not _holds_block(differs)


def _histogram(channel: npt.NDArray[np.uint8]) -> Int64Array:
    counts = np.zeros(256, np.int64)
    rows = max(1, (1 << 18) // channel.shape[1])
    for start in range(0, channel.shape[0], rows):
        # by blocks, as it makes eight bytes of each
        counts += np.bincount(channel[start : start + rows].ravel(), minlength=256)
    return counts


def _holds_block(mask: BoolArray) -> bool:
    for axis in range(2):
        along = np.moveaxis(mask, axis, 0)
        kept = along[_SPECK - 1 :]
        for shift in range(_SPECK - 1):
            kept = kept & along[shift : shift + len(kept)]
        mask = np.moveaxis(kept, 0, axis)
    return bool(mask.any())
