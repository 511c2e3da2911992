"""The plane of an image layer that the viewer shows; found without reading a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import Dims
from napari.layers import Image, Layer

from napari_sam3.core.arrays import Float64Array
from napari_sam3.core.slabs import Slab
from napari_sam3.errors import ImageError
from napari_sam3.layers.slicing import is_beside
from napari_sam3.layers.transforms import LayerTransform, Margins

MAX_SIDE = 4096
"""Of a multiscale image, the finest level is read whose shown sides are not longer."""

EDGE_ON = 1e-6
"""A layer is seen edge-on where its pixels are drawn smaller than this part of their area."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One 2D plane of a layer, in the orientation in which it is shown.

    Parameters
    ----------
    index : tuple of int
        Position along each data axis of the full-resolution data; 0 on the two
        axes that are shown.
    shown : tuple of int
        The data axes shown as rows and as columns.
    shape : tuple of int
        (rows, cols) of the plane at `level`.
    level : int
        Of a multiscale image; 0 is the full resolution.
    factors : tuple of float
        Full-resolution pixels per pixel of the level, along each data axis.
    transform : LayerTransform
        Full-resolution data to world.
    world : tuple of float
        The viewer's position along all of its axes.
    margins : pair of tuples of float
        How far what is shown reaches before and behind that position; 0 for a single plane.
    """

    index: tuple[int, ...]
    shown: tuple[int, int]
    shape: tuple[int, int]
    level: int
    factors: tuple[float, ...]
    transform: LayerTransform
    world: tuple[float, ...]
    margins: Margins

    @property
    def ndim(self) -> int:
        """Number of data axes, colour not counted."""
        return len(self.index)

    @property
    def hidden(self) -> tuple[int, ...]:
        """The data axes that are not shown."""
        return tuple(axis for axis in range(self.ndim) if axis not in self.shown)

    @property
    def key(self) -> tuple[int, ...]:
        """What tells this plane from others of the same layer."""
        return (*self.shown, *(self.index[axis] for axis in self.hidden))

    @property
    def is_transposed(self) -> bool:
        """Whether the data's later axis is shown as rows."""
        return self.shown[0] > self.shown[1]

    @property
    def slab(self) -> Slab:
        """The plane alone, in the level's data."""
        alone = Slab.single(*(self.index[axis] for axis in self.hidden))
        return alone.at_level(self.hidden_factors)

    @property
    def hidden_factors(self) -> tuple[float, ...]:
        """Full-resolution planes per plane of the level, along each hidden axis."""
        return tuple(self.factors[axis] for axis in self.hidden)

    def level_index(self) -> tuple[int | slice, ...]:
        """Index that cuts the plane out of the level's data."""
        whole: list[int | slice] = [slice(None)] * self.ndim
        for axis, (at, _) in zip(self.hidden, self.slab.ranges, strict=True):
            whole[axis] = at
        return tuple(whole)

    def cut(self, data: Any) -> Any:
        """Cut the plane out of the level's data, as shown, without computing it."""
        cut = data[self.level_index()]
        return cut.transpose((1, 0, *range(2, cut.ndim))) if self.is_transposed else cut

    def read(self, data: Any) -> npt.NDArray[Any]:
        """Read the plane, and nothing else, of the level's data, as shown."""
        return self.slab.read(data, self.shown)

    def axes_of(self, layer: Layer) -> tuple[int, int]:
        """Return the axes of another layer that are shown as rows and as columns.

        Below 0 are axes that it lacks.
        """
        rows, cols = (axis + layer.ndim - self.ndim for axis in self.shown)
        return rows, cols

    def to_data(self, pixels: npt.ArrayLike) -> Float64Array:
        """Map (row, col) of the level, (n, 2), to full-resolution data points, (n, ndim)."""
        rows_cols = np.asarray(pixels, dtype=float)
        factors = np.asarray([self.factors[axis] for axis in self.shown])
        data = np.tile(np.asarray(self.index, dtype=float), (len(rows_cols), 1))
        data[:, self.shown] = (rows_cols + 0.5) * factors - 0.5
        return data

    def to_canvas(self, pixels: npt.ArrayLike) -> Float64Array:
        """Return where napari draws (row, col) of the level, (n, 2), in world coordinates."""
        return self.transform.to_canvas(self.to_data(pixels), self.shown)

    def from_canvas(self, places: npt.ArrayLike) -> Float64Array:
        """Return (row, col) of the level that napari draws at these places, (n, 2)."""
        factors = np.asarray([self.factors[axis] for axis in self.shown])
        full = self.transform.from_canvas(places, self.shown)
        return np.asarray((full + 0.5) / factors - 0.5, dtype=float)


def is_plain(data: Any) -> bool:
    """Whether a layer's data can be written as they are: an array of NumPy's, without a mask."""
    return isinstance(data, np.ndarray) and not isinstance(data, np.ma.MaskedArray)


def find_plane(image: Image, dims: Dims, max_side: int = MAX_SIDE) -> Plane:
    """Find the plane of an image layer that the viewer shows.

    Parameters
    ----------
    image : Image
        Any number of dimensions, multiscale or not.
    dims : Dims
        The viewer's; it may have more axes than the layer.
    max_side : int
        As `MAX_SIDE`.

    Returns
    -------
    Plane

    Raises
    ------
    ImageError
        If the viewer shows no single plane of this layer.
    """
    if dims.ndisplay != 2:
        raise ImageError(
            "A single plane is needed: switch the viewer to its 2D view (the cube button)."
        )
    rows, cols = (axis - (dims.ndim - image.ndim) for axis in dims.displayed)
    if min(rows, cols) < 0:
        raise ImageError(
            f"“{image.name}” has no plane along the axes that are shown; "
            "turn the view (the roll button) until its rows and columns are."
        )
    transform, shapes = LayerTransform.of(image), level_shapes(image)
    if 0 in shapes[0]:
        raise ImageError(f"“{image.name}” is empty: it has no pixel to segment.")
    _refuse_edge_on(image, transform, (rows, cols))
    hidden = [axis for axis in range(image.ndim) if axis not in (rows, cols)]
    margins = (tuple(dims.margin_left), tuple(dims.margin_right))
    cut = transform.cut(dims.point, margins, hidden)
    sizes = [shapes[0][axis] for axis in hidden]
    if is_beside(cut, str(image.projection_mode), sizes):
        raise ImageError(
            f"“{image.name}” has no plane where the sliders are; move them until it is seen."
        )
    index = np.zeros(image.ndim, dtype=int)
    index[hidden] = np.clip(np.round(cut.point), 0, np.array(sizes) - 1)
    level = _level([(shape[rows], shape[cols]) for shape in shapes], max_side)
    factors = tuple(full / max(1, own) for full, own in zip(shapes[0], shapes[level], strict=True))
    shape = (shapes[level][rows], shapes[level][cols])
    place = (transform, tuple(dims.point), margins)
    return Plane(tuple(index.tolist()), (rows, cols), shape, level, factors, *place)


def go_to(dims: Dims, plane: Plane) -> None:
    """Move the viewer's sliders to where a plane was found, as thick a slice as it was then."""
    first = dims.ndim - len(plane.world)
    # the world's last axes stay the same ones when others come before them
    axes = [axis for axis in range(first, dims.ndim) if axis >= 0]
    dims.set_point(axes, [plane.world[axis - first] for axis in axes])
    left, right = list(dims.margin_left), list(dims.margin_right)
    for axis in axes:
        left[axis], right[axis] = (side[axis - first] for side in plane.margins)
    dims.margin_left, dims.margin_right = tuple(left), tuple(right)


def level_shapes(image: Image) -> list[tuple[int, ...]]:
    """Return the shape of each level, from the finest, without colours; of one if it has none."""
    levels = image.data if image.multiscale else [image.data]
    return [tuple(level.shape[: image.ndim]) for level in levels]


def _level(shapes: Sequence[tuple[int, int]], max_side: int) -> int:
    fitting = (level for level, shape in enumerate(shapes) if max(shape) <= max_side)
    return 0 if len(shapes) == 1 else next(fitting, len(shapes) - 1)


def _refuse_edge_on(image: Image, transform: LayerTransform, shown: tuple[int, int]) -> None:
    sides = transform.linear[np.ix_(shown, shown)]
    area = np.prod(np.linalg.norm(transform.linear[:, shown], axis=0))
    if abs(np.linalg.det(sides)) < EDGE_ON * area:
        raise ImageError(
            f"“{image.name}” is seen edge-on; turn the view (the roll button) until it is seen."
        )
