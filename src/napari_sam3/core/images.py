"""Pictures as the user sees them: any plane, gray or in colours, to 8-bit RGB.

What an engine gets is what is on the screen: contrast limits and gamma included.  The grey
level of a pixel depends on its value and on the limits only, never on the rest of the plane,
so that tiles and frames fit together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import UInt8Array
from napari_sam3.core.contrast import Limits, auto_contrast_limits, real_array
from napari_sam3.errors import ImageError

_BLOCK_CELLS = 1 << 17
_TABLE_STEPS = (1 << 16) - 1


def to_uint8(
    plane: npt.ArrayLike,
    contrast_limits: Limits,
    gamma: float = 1.0,
    *,
    inverted: bool = False,
) -> UInt8Array:
    """Return a gray plane as it is displayed, in a new array; NaN is 0, whether inverted or not.

    Parameters
    ----------
    plane : array_like, shape (rows, cols)
        Of any real type.
    contrast_limits : tuple of float
        Values that become black and white, rising.  If both are the same, what
        exceeds them is white and the rest black.
    gamma : float
        Exponent applied to the level between the limits, above 0.
    inverted : bool
        Whether low values are bright, as with an inverted gray colormap.

    Raises
    ------
    ImageError
        If the plane is no gray picture of real numbers or has no pixel, or limits or
        gamma make no sense.

    Examples
    --------
    >>> to_uint8([[0, 100, 150, 200, 900]], (100, 200)).tolist()
    [[0, 0, 128, 255, 255]]
    """
    pixels = real_array(plane)
    if pixels.ndim != 2:
        raise ImageError(
            f"A gray plane has the axes (rows, cols), but this one has the shape {pixels.shape}."
        )
    return _levels(pixels, _Display.checked(contrast_limits, gamma, inverted))


def to_rgb8(
    image: npt.ArrayLike, contrast_limits: Limits | None = None, gamma: float = 1.0
) -> UInt8Array:
    """Return a picture as it is displayed, as 8-bit RGB.

    Parameters
    ----------
    image : array_like, shape (rows, cols) or (rows, cols, 3 or 4)
        Gray of any real type, or RGB(A).  Three axes of which the last has 3 or 4
        entries are always RGB(A).
    contrast_limits : tuple of float, optional
        Values that become black and white, of gray and of colours alike; by default found
        by `auto_contrast_limits`.
    gamma : float
        As in `to_uint8`.

    Returns
    -------
    ndarray of uint8, shape (rows, cols, 3)
        Red, green, blue; RGBA lies over black.  Alpha reaches from 0 to 1, or to the
        largest value of an 8 or 16-bit unsigned type.  For gray it is a read-only view with
        one byte per pixel, and for 8-bit RGB it may be a view of `image`: copy it
        before writing to it.

    Raises
    ------
    ImageError
        If the image has other axes, does not hold real numbers, or has no pixel.
    """
    pixels = gray_or_colours(image)
    limits = auto_contrast_limits(pixels) if contrast_limits is None else contrast_limits
    display = _Display.checked(limits, gamma, inverted=False)
    if pixels.ndim == 3:
        return _rgb_levels(pixels, display)
    gray = _levels(pixels, display)
    return np.broadcast_to(gray[..., np.newaxis], (*gray.shape, 3))


def gray_or_colours(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return an image as an array of shape (rows, cols) or (rows, cols, 3 or 4)."""
    pixels = real_array(image)
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] not in (3, 4)):
        raise ImageError(
            f"The image has the shape {pixels.shape}, but a picture to segment has the axes "
            "(rows, cols) or (rows, cols, 3 or 4); choose one plane of it."
        )
    return pixels


@dataclass(frozen=True, slots=True)
class _Display:
    low: float
    high: float
    gamma: float = 1.0
    inverted: bool = False

    @classmethod
    def checked(cls, limits: Limits, gamma: float, inverted: bool) -> _Display:
        try:
            low, high = (float(limit) for limit in limits)
        except (TypeError, ValueError, OverflowError) as error:
            raise ImageError(
                f"The contrast limits must be two rising numbers, but they are {limits!r:.60}."
            ) from error
        if not (np.isfinite(low) and np.isfinite(high) and low <= high):
            raise ImageError(
                f"The contrast limits must be two rising numbers, but they are {low:g} and "
                f"{high:g}."
            )
        if not (np.isfinite(gamma) and gamma > 0):
            raise ImageError(f"Gamma must be a number above 0, but it is {gamma:g}.")
        return cls(low, high, float(gamma), inverted)

    def write(self, pixels: npt.NDArray[Any], shown: UInt8Array) -> None:
        """Write the levels of an array, some rows at a time, so that they stay in the cache."""
        number = self._number(pixels.dtype)
        buffer = np.empty((_rows_at_once(pixels.shape), *pixels.shape[1:]), number)
        indices = np.empty(buffer.shape, np.int32)
        passes, table = self._bend()
        for rows in row_blocks(pixels.shape):
            values = pixels[rows]
            level = buffer[: len(values)]
            self._write_fractions(values, level)
            lost = np.isnan(values) if values.dtype.kind == "f" else None
            if lost is not None and lost.any():
                level[lost] = 0
            for bend in passes:
                bend(level, out=level)
            level *= 255 if table is None else len(table) - 1
            if table is None and self.inverted:
                np.subtract(255, level, out=level)
            np.rint(level, out=level)
            if table is None:
                shown[rows] = level
            else:
                # no index is out of range, and this mode is the fastest
                np.copyto(indices[: len(level)], level, casting="unsafe")
                np.take(table, indices[: len(level)], out=shown[rows], mode="wrap")
            if lost is not None and self.inverted:
                shown[rows][lost] = 0

    def _number(self, dtype: np.dtype[Any]) -> type[np.float32 | np.float64]:
        # float64 keeps every integer up to 2**53 apart
        is_short = dtype.kind == "f" and dtype.itemsize <= 4
        width, farthest = self.high - self.low, max(abs(self.low), abs(self.high))
        return np.float32 if is_short and width > 1e-30 and farthest < 1e30 else np.float64

    def _write_fractions(self, values: npt.NDArray[Any], level: npt.NDArray[Any]) -> None:
        """Write where values lie between the limits, 0–1; NaN stays."""
        number = level.dtype.type
        low, width = self.low, self.high - self.low
        if width == 0:
            np.greater(values, low, out=level)
            return
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(width):
                np.subtract(values, number(low), out=level)
            else:
                # the difference of two large limits is more than a float can be
                low, width = low / 2, self.high / 2 - low / 2
                np.divide(values, number(2), out=level)
                level -= low
            level /= number(width)
            if beside := (low - float(number(low))) / width:
                level -= number(beside)
        np.clip(level, 0, 1, out=level)

    def _bend(self) -> tuple[list[np.ufunc], UInt8Array | None]:
        """Return what brings gamma about: roots or squares, and a table for what is left.

        So little is left that no step of the table is as large as a level.
        """
        passes: list[np.ufunc] = []
        gamma = self.gamma
        while gamma < 0.75:
            passes.append(np.sqrt)
            gamma *= 2
        while gamma >= 1.5:
            passes.append(np.square)
            gamma /= 2
        if gamma == 1:
            return passes, None
        levels = 255 * np.linspace(0, 1, _TABLE_STEPS + 1) ** gamma
        table = np.rint(255 - levels if self.inverted else levels).astype(np.uint8)
        return passes, table


def _levels(pixels: npt.NDArray[Any], display: _Display) -> UInt8Array:
    shown = np.empty(pixels.shape, np.uint8)
    kind, bits = pixels.dtype.kind, 8 * pixels.dtype.itemsize
    if kind in "iu" and bits <= 16 and pixels.size >= 1 << bits:
        _look_up(pixels, display, shown)
    else:
        display.write(pixels, shown)
    return shown


def _look_up(pixels: npt.NDArray[Any], display: _Display, shown: UInt8Array) -> None:
    native = pixels.dtype.newbyteorder("=")
    unsigned = np.dtype(f"u{native.itemsize}")
    codes = np.arange(1 << 8 * native.itemsize).astype(unsigned)
    table = np.empty(codes.shape, np.uint8)
    display.write(codes.view(native), table)
    for rows in row_blocks(pixels.shape):
        block = pixels[rows].astype(native, copy=False).view(unsigned)
        # no code is out of range; any mode but the default spares a buffer and a check
        np.take(table, block, out=shown[rows], mode="clip")


def _rgb_levels(pixels: npt.NDArray[Any], display: _Display) -> UInt8Array:
    if pixels.dtype == np.uint8 and display == _Display(0.0, 255.0):
        colors = pixels[..., :3]
    else:
        colors = _levels(pixels[..., :3], display)
    if pixels.shape[2] == 3:
        return colors
    # as napari shows it, which hands all other types to the graphics card as floats
    is_short = pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2
    opaque = float(np.iinfo(pixels.dtype).max) if is_short else 1.0
    alphas = _levels(pixels[..., 3], _Display(0.0, opaque))
    over_black = np.empty(colors.shape, np.uint8)
    for rows in row_blocks(colors.shape):
        alpha = alphas[rows, :, np.newaxis].astype(np.float32) / 255
        over_black[rows] = np.rint(colors[rows] * alpha)
    return over_black


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut an array into some rows at a time, so that what is made of them stays in the cache."""
    step = _rows_at_once(shape)
    return (slice(start, start + step) for start in range(0, shape[0], step))


def _rows_at_once(shape: tuple[int, ...]) -> int:
    cells_per_row = max(1, int(np.prod(shape[1:])))
    return min(shape[0], max(1, _BLOCK_CELLS // cells_per_row))


def without_colours(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the one channel of a gray image that was saved as colours; others as they are.

    Examples
    --------
    >>> without_colours(np.full((4, 5, 3), 7)).shape, without_colours(np.eye(3)).shape
    ((4, 5), (3, 3))
    """
    is_gray = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    if is_gray and np.asarray(pixels[..., :1] == pixels[..., 1:3]).all():
        return pixels[..., 0]
    return pixels
