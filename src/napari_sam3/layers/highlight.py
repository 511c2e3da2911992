"""The outlines of chosen objects, drawn over a Labels layer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from napari.layers import Labels, Vectors

from napari_sam3.core.arrays import Float64Array
from napari_sam3.core.instances import Instance
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.layers.transforms import transform_kwargs

COLOUR = "#f0e442"
"""Yellow of Okabe & Ito's palette."""

_CROSSING = ((1, 0), (0, 1))


def edges_of(item: Instance) -> Float64Array:
    """Return the sides of pixels that part an object from what lies around it.

    Returns
    -------
    ndarray of float, shape (n, 2, 2)
        Start and direction of each side, in (row, col) of the plane.
    """
    padded = np.pad(item.mask, 1)
    sides = []
    for axis, along in enumerate(reversed(_CROSSING)):
        rows, cols = np.nonzero(np.diff(padded, axis=axis))
        starts = np.stack([rows, cols], axis=1) - np.array([1.0, 1.0]) + _CROSSING[axis]
        starts += [item.box.top - 0.5, item.box.left - 0.5]
        sides.append(np.stack([starts, np.broadcast_to(along, starts.shape)], axis=1))
    return np.concatenate(sides)


def to_vectors(items: Iterable[Instance], index: PlaneIndex) -> Float64Array:
    """Return the outlines of objects of a plane as the data of a Vectors layer, (n, 2, ndim)."""
    edges = [edges_of(item) for item in items]
    joined = np.concatenate(edges) if edges else np.empty((0, 2, 2))
    starts = index.to_data(joined[:, 0])
    directions = np.zeros_like(starts)
    directions[:, index.shown] = joined[:, 1]
    return np.stack([starts, directions], axis=1)


def new_highlight(layer: Labels) -> Vectors:
    """Make an empty layer for outlines over a Labels layer; not yet in a viewer."""
    return Vectors(
        np.empty((0, 2, layer.ndim)),
        ndim=layer.ndim,
        name=f"selected in {layer.name}",
        edge_color=COLOUR,
        edge_width=line_width(layer),
        vector_style="line",
        **transform_kwargs(layer),
    )


def line_width(layer: Labels) -> float:
    """Return a width, in pixels of the labels, that is seen well on the whole plane."""
    return max(0.4, float(min(layer.data.shape[-2:])) / 350)
