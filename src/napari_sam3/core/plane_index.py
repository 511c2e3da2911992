"""Which plane of an array of any number of axes is meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import Float64Array, IndexArray
from napari_sam3.core.geometry import Box


def level_position(at: int, factor: float) -> int:
    """Return which plane of a coarse level holds the middle of a full-resolution one.

    Parameters
    ----------
    at : int
        The full-resolution plane.
    factor : float
        Full-resolution planes per plane of the level.

    Examples
    --------
    >>> [level_position(at, 7 / 3) for at in range(7)]
    [0, 0, 1, 1, 1, 2, 2]
    """
    return int((at + 0.5) / factor)


class PlaneIndex(NamedTuple):
    """One plane of a label image, in its own axes.

    Parameters
    ----------
    shown : tuple of int
        The axes that are the plane's rows and columns.
    fixed : tuple of int
        The position along each of the others, in order.

    Examples
    --------
    >>> PlaneIndex((1, 2), (7,)).cut(np.zeros((9, 3, 4))).shape
    (3, 4)
    """

    shown: tuple[int, int] = (0, 1)
    fixed: tuple[int, ...] = ()

    @property
    def ndim(self) -> int:
        """Number of axes of the array."""
        return 2 + len(self.fixed)

    @property
    def position(self) -> tuple[int, ...]:
        """Where the plane's first pixel lies in the array."""
        rest = iter(self.fixed)
        return tuple(0 if axis in self.shown else next(rest) for axis in range(self.ndim))

    def cut(self, data: Any) -> Any:
        """Return the plane as a view of the array, rows first.

        Raises
        ------
        IndexError
            If the array has no such plane.
        """
        if data.ndim != self.ndim:
            raise IndexError(f"an array of {data.ndim} axes has no plane {self}")
        at = self.position
        plane = data[tuple(slice(None) if a in self.shown else at[a] for a in range(self.ndim))]
        return plane.T if self.shown[0] > self.shown[1] else plane

    def indices(self, rows: IndexArray, cols: IndexArray) -> tuple[IndexArray, ...]:
        """Return where pixels of the plane, (row, col), lie in the array: an index of it."""
        own = dict(zip(self.shown, (rows, cols), strict=True))
        return tuple(own.get(axis, np.full(len(rows), at)) for axis, at in enumerate(self.position))

    def to_data(self, pixels: npt.ArrayLike) -> Float64Array:
        """Map (row, col) of the plane, shape (n, 2), to points of the array, (n, ndim)."""
        points = np.asarray(pixels, dtype=float)
        data = np.tile(np.asarray(self.position, dtype=float), (len(points), 1))
        data[:, self.shown] = points
        return data


@dataclass(frozen=True, slots=True)
class Region:
    """A part of one plane.

    Parameters
    ----------
    plane : PlaneIndex
    box : Box
        In pixels of the plane.
    """

    plane: PlaneIndex
    box: Box
