"""Cutting windows out of pictures at another scale, and putting answers back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_sam3.core.arrays import RGB8, Float32Array


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a picture, which may reach beyond its sides.

    Parameters
    ----------
    top, left : float
        First edge, in pixels.
    rows, cols : float
        Length in pixels, > 0.
    """

    top: float
    left: float
    rows: float
    cols: float

    @classmethod
    def around(cls, row: float, col: float, side: float) -> Window:
        """Return the square window with this middle."""
        return cls(row - side / 2, col - side / 2, side, side)

    def to_cells(self, row: float, col: float, cells: int) -> tuple[float, float]:
        """Return a position (edges of pixels are whole numbers) in cells of the window."""
        return (row - self.top) * cells / self.rows, (col - self.left) * cells / self.cols


def resampled(rgb: RGB8, window: Window, shape: tuple[int, int]) -> Float32Array:
    """Return a window with another number of pixels.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
    window : Window
        Beyond the picture, its border is repeated.
    shape : tuple of int

    Returns
    -------
    ndarray of float32, shape (*shape, 3)
        0–255.  Means of whole pixels where there are fewer, then linear interpolation.
    """
    down = _Taps(window.top, window.rows, shape[0], rgb.shape[0])
    right = _Taps(window.left, window.cols, shape[1], rgb.shape[1])
    part = _pooled(_taken(rgb, down, right), down.pool, right.pool)
    part = part[down.first] + down.share[:, None, None] * (part[down.second] - part[down.first])
    left, other = part[:, right.first], part[:, right.second]
    return np.asarray(left + right.share[:, None] * (other - left), np.float32)


class _Taps:
    """Which pixels of one axis make which cells."""

    def __init__(self, start: float, length: float, cells: int, size: int) -> None:
        step = length / cells
        whole = max(1, int(step + 0.3))
        # of many pixels per cell, a few are enough
        self.stride = max(1, whole // 3)
        self.pool = max(1, whole // self.stride)
        block = self.stride * self.pool
        begin = int(np.floor(start)) - block
        count = int(np.ceil(length / block)) + 4
        self.index = np.clip(begin + np.arange(count * self.pool) * self.stride, 0, size - 1)
        centres = start + (np.arange(cells) + 0.5) * step
        # the pixels pooled stand a stride apart, the middle of a block is the middle of those
        middle = begin + ((self.pool - 1) * self.stride + 1) / 2
        position = np.clip((centres - middle) / block, 0, count - 1)
        self.first = position.astype(np.intp)
        self.second = np.minimum(self.first + 1, count - 1)
        self.share = (position - self.first).astype(np.float32)

    @property
    def slice(self) -> slice | None:
        """The same as `index`, if that needs no repetition."""
        apart = np.diff(self.index)
        if apart.size and (apart != self.stride).any():
            return None
        return slice(int(self.index[0]), int(self.index[-1]) + 1, self.stride)


def _taken(rgb: RGB8, down: _Taps, right: _Taps) -> RGB8:
    rows, cols = down.slice, right.slice
    part = rgb[down.index] if rows is None else rgb[rows]
    return part[:, right.index] if cols is None else part[:, cols]


def _pooled(part: RGB8, down: int, right: int) -> Float32Array:
    if down == right == 1:
        return part.astype(np.float32)
    rows, cols = part.shape[0] // down, part.shape[1] // right
    total = np.zeros((rows, cols, 3), np.float32)
    for row in range(down):
        for col in range(right):
            total += part[row : rows * down : down, col : cols * right : right]
    total /= down * right
    return total


def enlarged(plane: Float32Array, window: Window, box: tuple[int, int, int, int]) -> Float32Array:
    """Return a window's cells at the pixels of a box, linearly interpolated.

    Parameters
    ----------
    plane : ndarray of float32, shape (cells, cells)
    window : Window
        Where in the picture the cells lie.
    box : tuple of int
        Top, left, bottom, right of the pixels wanted.

    Returns
    -------
    ndarray of float32, shape (bottom - top, right - left)
    """
    down = _weights(plane.shape[0], window.top, window.rows, box[0], box[2])
    right = _weights(plane.shape[1], window.left, window.cols, box[1], box[3])
    return np.asarray(down @ plane @ right.T, np.float32)


def _weights(cells: int, start: float, length: float, first: int, last: int) -> Float32Array:
    position = (np.arange(first, last) + 0.5 - start) * cells / length - 0.5
    position = np.clip(position, 0, cells - 1)
    away = np.abs(position[:, None] - np.arange(cells)[None, :])
    return np.asarray(np.maximum(0, 1 - away), np.float32)
