"""Boxes in pixel coordinates, (row, col), half-open."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import numpy as np

from napari_sam3.core.arrays import BoolArray
from napari_sam3.core.schema import Listed
from napari_sam3.errors import PromptError

MAX_POSITION = 1e9
"""No image has so many rows or columns."""

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Box(Listed):
    """An axis-aligned box of whole pixels, half-open like a Python slice.

    Parameters
    ----------
    top, left : int
        First row and first column inside the box.
    bottom, right : int
        First row and first column behind the box; greater than `top` and `left`.

    Raises
    ------
    PromptError
        If the box holds no pixel or a side is not a whole number.

    Examples
    --------
    >>> Box(1, 2, 4, 8).shape
    (3, 6)
    """

    top: int
    left: int
    bottom: int
    right: int

    def __post_init__(self) -> None:
        for name in ("top", "left", "bottom", "right"):
            try:
                object.__setattr__(self, name, operator.index(getattr(self, name)))
            except TypeError as error:
                raise PromptError(
                    f"A box's {name} must be a whole number of pixels, "
                    f"but it is {getattr(self, name)!r}."
                ) from error
        if max(map(abs, (self.top, self.left, self.bottom, self.right))) > MAX_POSITION:
            raise PromptError("A box must lie somewhere, but this one reaches beyond any image.")
        if self.bottom <= self.top or self.right <= self.left:
            raise PromptError(
                f"The box (top {self.top}, left {self.left}, bottom {self.bottom}, "
                f"right {self.right}) holds no pixel: bottom must exceed top, and right left."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        """Number of pixels."""
        rows, cols = self.shape
        return rows * cols

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index that cuts the box out of a (rows, cols) array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def shifted(self, rows: int, cols: int) -> Box:
        """Return the box moved by whole pixels."""
        return Box(self.top + rows, self.left + cols, self.bottom + rows, self.right + cols)

    def contains(self, row: float, col: float) -> bool:
        """Whether a pixel position lies inside."""
        return self.top <= row < self.bottom and self.left <= col < self.right

    def meets(self, other: Box) -> bool:
        """Whether the two have a pixel in common."""
        return (
            self.top < other.bottom
            and other.top < self.bottom
            and self.left < other.right
            and other.left < self.right
        )

    def intersection(self, other: Box) -> Box | None:
        """Return the common part, or None if there is none."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        if bottom <= top or right <= left:
            return None
        return Box(top, left, bottom, right)

    def union(self, other: Box) -> Box:
        """Return the smallest box around both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def grown(self, pixels: int) -> Box:
        """Return the box with so many pixels more on each side."""
        return Box(self.top - pixels, self.left - pixels, self.bottom + pixels, self.right + pixels)

    @classmethod
    def of_shape(cls, shape: tuple[int, int]) -> Box:
        """Return the box that covers a whole (rows, cols) array."""
        return cls(0, 0, *shape)


def bounding_box(mask: BoolArray) -> Box | None:
    """Return the smallest box around the True pixels, or None if there is none.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, cols)

    Returns
    -------
    Box or None

    Notes
    -----
    Each pixel is read about once: from above and from below up to the object, and the
    rows between for the columns.
    """
    if mask.size == 0:
        return None
    pixels = np.ascontiguousarray(mask)
    # of all ways to read booleans, argmax is the fastest, and it stops at the first True
    first = int(pixels.argmax())
    top = first // mask.shape[1]
    if not pixels.flat[first]:
        return None
    bottom = _last_row(pixels, top) + 1
    # eight pixels at a time where rows allow it; each is still a byte of its own
    words = pixels[top:bottom].view(np.uint8 if mask.shape[1] % 8 else np.uint64)
    cols = np.flatnonzero(np.bitwise_or.reduce(words, axis=0).view(np.uint8))
    return Box(top, int(cols[0]), bottom, int(cols[-1]) + 1)


def _last_row(pixels: BoolArray, top: int) -> int:
    stop: int = pixels.shape[0]
    while True:
        start = max(top, stop - _ROWS_AT_ONCE)
        block = pixels[start:stop]
        if block.flat[block.argmax()]:
            return start + int(np.flatnonzero(np.any(block, axis=1))[-1])
        stop = start
