"""One image of a picture: where its values come from, and how they are shown."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import RGB8, BoolArray, Float64Array, IndexArray
from napari_sam3.core.blending import Blending, Overlay
from napari_sam3.core.contrast import Limits
from napari_sam3.core.geometry import Box
from napari_sam3.core.images import to_rgb8, to_uint8
from napari_sam3.core.slabs import Slab
from napari_sam3.errors import ImageError, reason_of

_BLOCK_CELLS = 1 << 17
_SINGLE = Slab()


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One image of a picture: where its values come from, and how they are shown.

    Parameters
    ----------
    data : array-like
        Possibly lazy; only what is shown of them is read.
    shape : tuple of int
        (rows, cols) of what is shown.
    rgb : bool
        Whether the last axis of `data` is colour.
    dtype : str
        Of the data, as NumPy calls it.
    contrast_limits : tuple of float
        Values that are shown black and white.
    gamma : float
    inverted : bool
        Whether high values of gray are shown dark.
    slab : Slab
        The planes that are shown at once.
    shown : tuple of int
        The axes of `data` shown as rows and as columns.
    tells_slab : bool
        Whether `slab` is more, or another one, than the plane that the picture is known by.
    name : str
        For the user; empty where there is only one.
    key : hashable
        Tells it from the others.
    lut : ndarray of uint8, shape (256, 3), optional
        Colour of each grey level, where several are put together.
    colormap : str
        What `lut` is called.
    opacity, blending
        As in `napari_sam3.core.images.Overlay`.
    mapping : pair of ndarray, optional
        (matrix, offset) from (row, col) of the picture to (row, col) of this; None where equal.
    """

    data: Any
    shape: tuple[int, int]
    rgb: bool
    dtype: str
    contrast_limits: Limits
    gamma: float = 1.0
    inverted: bool = False
    slab: Slab = _SINGLE
    shown: tuple[int, int] = (0, 1)
    tells_slab: bool = False
    name: str = ""
    key: Hashable = None
    lut: RGB8 | None = None
    colormap: str = ""
    opacity: float = 1.0
    blending: Blending = "translucent"
    mapping: tuple[Float64Array, Float64Array] | None = None

    def pixels(self, box: Box | None = None) -> npt.NDArray[Any]:
        """Read the values that are shown, or a part of them, and nothing else.

        Raises
        ------
        ImageError
            If whatever the data come from fails.
        """
        try:
            return self.slab.read(self.data, self.shown, box)
        except Exception as error:  # a closed file, a lost share, a failed computation: anything
            what = f"“{self.name}”" if self.name else "The image"
            raise ImageError(f"{what} cannot be read: {reason_of(error)}.") from error

    def levels(self, box: Box, *, inverted: bool) -> RGB8:
        """Return grey levels, (rows, cols), or colours, (rows, cols, 3), of a part."""
        pixels = self.pixels(box)
        if not self.rgb:
            return to_uint8(pixels, self.contrast_limits, self.gamma, inverted=inverted)
        colours = to_rgb8(pixels, self.contrast_limits, self.gamma)
        # what belongs to others may be written to, or its file be closed
        return colours if colours.base is None else np.array(colours)

    def overlay(self, box: Box) -> Overlay:
        """Return what lies on a part of the picture."""
        covered: BoolArray | None = None
        if self.mapping is None:
            # it is the colormap that turns bright and dark round here
            levels = self.levels(box, inverted=False)
        else:
            levels, covered = self._resampled(self.mapping, box)
        return Overlay(levels, self.lut, self.opacity, self.blending, covered)

    def under(self, box: Box) -> Box | None:
        """Return the part of this image that a part of the picture shows; None if there is none."""
        if self.mapping is None:
            return box
        # rounded sums rise with each of their terms, so that the corners are the farthest
        rows, cols = _sources(self.mapping, np.array([box.top, box.bottom - 1]), box, self.shape)
        spans = []
        for places, size in ((rows, self.shape[0]), (cols, self.shape[1])):
            first, last = max(int(places.min()), 0), min(int(places.max()), size - 1)
            if first > last:
                return None
            spans.append((first, last + 1))
        (top, bottom), (left, right) = spans
        return Box(top, left, bottom, right)

    def describe(self) -> dict[str, Any]:
        """Return how its values become grey levels or colours, as JSON values."""
        slab = {"slab": self.slab.to_json()} if self.tells_slab else {}
        low, high = self.contrast_limits
        said = {
            "kind": "rgb" if self.rgb else "gray",
            "dtype": self.dtype,
            **slab,
            "contrast_limits": [float(low), float(high)],
            "gamma": self.gamma,
        }
        return said if self.rgb else said | {"inverted": self.inverted}

    def describe_overlay(self) -> dict[str, Any]:
        """Return how it becomes a part of a picture of several, as JSON values."""
        said = self.describe() | {
            "name": self.name,
            "opacity": self.opacity,
            "blending": self.blending,
        }
        if self.lut is not None:
            # what the colormap does to the levels is all in its table
            said |= {
                "inverted": False,
                "colormap": self.colormap,
                "colors": self.lut.tobytes().hex(),
            }
        if self.mapping is not None:
            matrix, offset = self.mapping
            said |= {"matrix": matrix.tolist(), "offset": offset.tolist()}
        return said

    @property
    def look(self) -> Hashable:
        """What tells how it looks from how others look, as long as its data are kept."""
        return (
            (id(self.data), self.shape, self.rgb, self.dtype, self.slab, self.shown),
            (self.contrast_limits, self.gamma, self.inverted),
            (self.name, self.key, self.tells_slab, self.colormap),
            (None if self.lut is None else self.lut.tobytes(), self.opacity, self.blending),
            None if self.mapping is None else tuple(part.tobytes() for part in self.mapping),
        )

    def _resampled(
        self, mapping: tuple[Float64Array, Float64Array], box: Box
    ) -> tuple[RGB8, BoolArray]:
        """Return it on the pixels of the picture, and where it is.

        As napari shows it: each pixel is a square of one colour, nothing lies beyond the last.
        """
        colours = (3,) if self.rgb else ()
        found = np.zeros((*box.shape, *colours), np.uint8)
        covered = np.zeros(box.shape, bool)
        under = self.under(box)
        if under is None:
            return found, covered
        levels = self.levels(under, inverted=False)
        step = max(1, _BLOCK_CELLS // box.shape[1])
        for first in range(0, box.shape[0], step):
            block = slice(first, first + step)
            at = np.arange(box.top + first, min(box.top + first + step, box.bottom))
            rows, cols = _sources(mapping, at, box, self.shape, whole=True)
            is_row = (rows >= 0) & (rows < self.shape[0])
            is_col = (cols >= 0) & (cols < self.shape[1])
            covered[block] = is_row & is_col
            rows = np.clip(rows - under.top, 0, levels.shape[0] - 1)
            cols = np.clip(cols - under.left, 0, levels.shape[1] - 1)
            found[block] = levels[rows, cols]
        return found, covered


def _sources(
    mapping: tuple[Float64Array, Float64Array],
    rows: npt.NDArray[np.int_],
    box: Box,
    shape: tuple[int, int],
    *,
    whole: bool = False,
) -> tuple[IndexArray, IndexArray]:
    """Return the row and the column of an image that lie at rows of a picture's part.

    They are arrays that broadcast to these rows and the columns of the part, or its first and
    last column only; -1 and the image's side stand for all that lies beyond.
    """
    matrix, offset = mapping
    ends = np.arange(box.left, box.right) if whole else np.array([box.left, box.right - 1])
    at, cols = rows[:, np.newaxis].astype(float), ends[np.newaxis].astype(float)
    found = []
    for axis in range(2):
        # in places of the whole picture, so that a part rounds as the whole does
        place = offset[axis] + matrix[axis, 0] * at if matrix[axis, 0] else offset[axis]
        place = place + matrix[axis, 1] * cols if matrix[axis, 1] else np.atleast_2d(place)
        nearest = np.clip(np.floor(place + 0.5), -1, shape[axis])
        found.append(nearest.astype(np.intp))
    return found[0], found[1]
