"""The planes of a stack that are seen at once, and how they become one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import Array
from napari_sam3.core.geometry import Box
from napari_sam3.core.plane_index import level_position

Projection: TypeAlias = Literal["none", "mean", "max", "min", "sum"]
"""By napari's names; "none" is a single plane."""

PROJECTIONS: tuple[str, ...] = get_args(Projection)
_WORDS = {"mean": "mean", "max": "maximum", "min": "minimum", "sum": "sum"}


@dataclass(frozen=True, slots=True)
class Slab:
    """Neighbouring planes that are seen as one.

    Parameters
    ----------
    ranges : tuple of (int, int)
        First plane, and the one after the last, along each axis that is not shown.
    projection : {"none", "mean", "max", "min", "sum"}
        How they become one; "none" where there is a single plane.

    Examples
    --------
    >>> slab = Slab(((3, 8),), "max")
    >>> slab.words
    'the maximum of planes 3–7'
    >>> slab.read(np.arange(20).reshape(10, 1, 2), (1, 2))
    array([[14, 15]])
    """

    ranges: tuple[tuple[int, int], ...] = ()
    projection: Projection = "none"

    def __post_init__(self) -> None:
        sizes = [after - first for first, after in self.ranges]
        is_single = all(size == 1 for size in sizes)
        if not all(first >= 0 for first, _ in self.ranges) or any(size < 1 for size in sizes):
            raise ValueError(f"a slab is of one plane or more, not of {self.ranges}")
        if is_single != (self.projection == "none") or self.projection not in PROJECTIONS:
            raise ValueError(f"{self.ranges} is no slab for the projection {self.projection!r}")

    @classmethod
    def single(cls, *planes: int) -> Slab:
        """Return one plane, at a position along each axis that is not shown."""
        return cls(tuple((at, at + 1) for at in planes))

    def at_level(self, factors: Sequence[float]) -> Slab:
        """Return the planes of a coarse level that hold these.

        Parameters
        ----------
        factors : sequence of float
            Full-resolution planes per plane of the level, along each axis.
        """
        ranges = tuple(
            (level_position(first, factor), level_position(after - 1, factor) + 1)
            for (first, after), factor in zip(self.ranges, factors, strict=True)
        )
        return Slab.of(ranges, self.projection)

    @classmethod
    def of(cls, ranges: tuple[tuple[int, int], ...], projection: Projection) -> Slab:
        """Return planes that are projected, which a single one is not."""
        is_single = all(after == first + 1 for first, after in ranges)
        return cls(ranges, "none" if is_single else projection)

    @property
    def is_thick(self) -> bool:
        """Whether it is more than one plane."""
        return self.projection != "none"

    @property
    def words(self) -> str:
        """What it is, as a part of a sentence; empty of an image without further axes."""
        if not self.ranges:
            return ""
        spans = (
            f"{first}" if after == first + 1 else f"{first}–{after - 1}"
            for first, after in self.ranges
        )
        where = ", ".join(spans)
        if not self.is_thick:
            return f"plane {where}"
        return f"the {_WORDS[self.projection]} of planes {where}"

    def read(self, data: Any, shown: tuple[int, int], box: Box | None = None) -> npt.NDArray[Any]:
        """Read these planes, or a part of them, and nothing else, and make one of them.

        Parameters
        ----------
        data : array-like
            With as many axes as there are `ranges`, two that are shown, and perhaps colours.
        shown : tuple of int
            The axes that become rows and columns.
        box : Box, optional
            The part of the rows and columns; all of them if not given.

        Returns
        -------
        ndarray, shape (rows, cols) or (rows, cols, colours)
            Of whatever type the projection gives.  A pixel is the same in every part.
        """
        hidden = [axis for axis in range(len(self.ranges) + 2) if axis not in shown]
        index: list[int | slice] = [slice(None)] * (len(self.ranges) + 2)
        for axis, (first, after) in zip(hidden, self.ranges, strict=True):
            index[axis] = slice(first, after) if self.is_thick else first
        if box is not None:
            index[shown[0]], index[shown[1]] = box.slices
        block = np.asarray(data[tuple(index)])
        if self.is_thick:
            planes = np.moveaxis(block, hidden, range(len(hidden)))
            block = _PROJECT[self.projection](planes.reshape(-1, *planes.shape[len(hidden) :]))
        return block.swapaxes(0, 1) if shown[0] > shown[1] else block

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"projection": self.projection, "ranges": [list(pair) for pair in self.ranges]}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Slab:
        """Return what `to_json` said; ValueError where it is no slab."""
        ranges = tuple((int(first), int(after)) for first, after in said["ranges"])
        return cls(ranges, said["projection"])


def _sum(planes: Array, dtype: npt.DTypeLike | None = None) -> Array:
    """Add planes one after the other, each pixel in the same order.

    NumPy's own order, and with it the rounding, depends on how large the planes are.
    """
    total: Array = planes[0].astype(dtype or np.sum(planes[:0, :0], axis=0).dtype)
    for plane in planes[1:]:
        total += plane
    return total


def _mean(planes: Array) -> Array:
    mean = np.mean(planes[:1, :1], axis=0).dtype
    total = _sum(planes, np.float32 if mean == np.float16 else mean)
    total /= len(planes)
    return total.astype(mean, copy=False)


_PROJECT: dict[str, Callable[[Array], Array]] = {
    "mean": _mean,
    "max": partial(np.max, axis=0),
    "min": partial(np.min, axis=0),
    "sum": _sum,
}
