"""What napari shows of a stack, a point or a shape where the viewer cuts through it.

The rules, and the rounding, are those of napari's own slicing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Points, Shapes

from napari_sam3.core.arrays import BoolArray, Float64Array
from napari_sam3.core.slabs import Projection, Slab
from napari_sam3.layers.transforms import Cut

NOISE_DECIMALS = 6
"""The way through the world leaves errors of rounding; a millionth of a plane is none."""
HERE = 2 * 10**-NOISE_DECIMALS
"""Less than this many planes apart is at the same position."""


def is_beside(cut: Cut, projection: str, sizes: Sequence[int]) -> bool:
    """Whether nothing of an image of these sizes, along the axes not shown, is cut."""
    is_single = projection == "none"
    low = np.round(cut.point if is_single else cut.point - cut.left)
    high = np.round(cut.point if is_single else cut.point + cut.right)
    return bool(((high < 0) | (low > np.asarray(sizes) - 1)).any())


def find_slab(cut: Cut, projection: Projection, sizes: Sequence[int]) -> Slab | None:
    """Return the planes of an image that are shown at once.

    Parameters
    ----------
    cut : Cut
        Not `is_beside` the image.
    projection : {"none", "mean", "max", "min", "sum"}
        The layer's own.
    sizes : sequence of int
        Of the image along the axes that are not shown.

    Returns
    -------
    Slab or None
        None where a layer that is turned or mirrored leaves nothing between the margins.
    """
    if projection == "none":
        return Slab.single(*np.round(cut.point).astype(int).tolist())
    ranges = [_range(*sides) for sides in zip(*cut, sizes, strict=True)]
    if any(first >= after for first, after in ranges):
        return None
    return Slab.of(tuple(ranges), projection)


def _range(point: Any, left: Any, right: Any, size: int) -> tuple[int, int]:
    first = max(int(np.round(point - left)), 0)
    after = max(int(np.round(point + right)), 0)
    # a whole number is the last plane, and not the one after it
    after += bool(np.isclose(after, point + right))
    after += first == after
    return first, min(after, size)


def shown_marks(layer: Points | Shapes, hidden: Sequence[int], cut: Cut) -> BoolArray:
    """Return which points or shapes are shown.

    Parameters
    ----------
    layer : Points or Shapes
    hidden : sequence of int
        The axes that are not shown.
    cut : Cut
        Through this layer.

    Returns
    -------
    ndarray of bool, one for each mark
        True also of what was drawn at this very position, where napari's rounding hides it; not
        of what has a coordinate that is no number.
    """
    axes = list(hidden)
    if isinstance(layer, Points):
        places = np.asarray(layer.data, dtype=float)
        is_somewhere = np.isfinite(places).all(axis=1)
        return np.asarray(_shown_points(layer, places[:, axes], cut) & is_somewhere)
    shapes = (np.asarray(vertices, dtype=float) for vertices in layer.data)
    shown = [
        bool(np.isfinite(vertices).all()) and _is_shape_shown(vertices[:, axes], kind, cut)
        for vertices, kind in zip(shapes, layer.shape_type, strict=True)
    ]
    return np.array(shown, dtype=bool)


def _shown_points(layer: Points, at: Float64Array, cut: Cut) -> BoolArray:
    mode = str(layer.projection_mode)
    low, high = (cut.point.copy() for _ in range(2))
    if mode != "none":
        low, high = cut.point - cut.left, cut.point + cut.right
    too_thin = np.isclose(high, low)
    low[too_thin] -= 0.5
    high[too_thin] += 0.5
    inside = ((at >= low) & (at <= high)).all(axis=1)
    if mode == "rescale_spherical":
        radius = np.asarray(layer.size, dtype=float)[:, np.newaxis] / 2
        inside &= (np.abs(at - cut.point) < radius).all(axis=1)
    return np.asarray((inside | _is_here(at, cut)) & np.asarray(layer.shown))


def _is_shape_shown(at: Float64Array, kind: str, cut: Cut) -> bool:
    # napari cuts off the fractions of rectangles, and rounds those of all else
    rounded = np.trunc if kind == "rectangle" else np.rint
    planes = rounded(np.round(at, NOISE_DECIMALS))
    return bool((np.abs(planes - cut.point) < 0.5).all() or _is_here(at, cut).all())


def _is_here(at: Float64Array, cut: Cut) -> BoolArray:
    return np.asarray((np.abs(at - cut.point) < HERE).all(axis=1))
