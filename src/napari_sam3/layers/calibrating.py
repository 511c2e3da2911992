"""How large a pixel of a layer is in the world."""

from __future__ import annotations

import numpy as np
from napari.layers import Layer

from napari_sam3.core.arrays import Float64Array
from napari_sam3.core.calibration import UNNAMED, PixelSize
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.layers.transforms import LayerTransform


def axis_steps(layer: Layer) -> tuple[float, ...]:
    """Return how far apart neighbouring pixels lie in the world, along each data axis."""
    linear = LayerTransform.of(layer).linear
    return tuple(float(step) for step in np.linalg.norm(linear, axis=0))


def plane_to_world(layer: Layer, index: PlaneIndex) -> Float64Array:
    """Return what takes (row, col, 1) of a plane to the world's axes of the same numbers.

    Of shape (2, 3); to pixels where rows and columns have different units, as `pixel_size` says.
    """
    if len({str(layer.units[axis]) for axis in index.shown}) > 1:
        return np.eye(2, 3)
    transform, shown = LayerTransform.of(layer), list(index.shown)
    first = transform.to_world(index.to_data([(0, 0)]))[0]
    return np.column_stack((transform.linear[np.ix_(shown, shown)], first[shown]))


def pixel_size(layer: Layer, index: PlaneIndex) -> PixelSize:
    """Return the size of a pixel of a plane of the layer's own data.

    It is in pixels where the layer says neither a scale nor a unit, or a different unit for rows
    and for columns.
    """
    steps = axis_steps(layer)
    row, col = (steps[axis] for axis in index.shown)
    name, other = (str(layer.units[axis]) for axis in index.shown)
    if name != other:
        return PixelSize()
    if name != "pixel":
        return PixelSize(row, col, name)
    return PixelSize(row, col, UNNAMED) if (row, col) != (1, 1) else PixelSize()


def axis_letters(layer: Layer) -> str | None:
    """Return a letter for each axis of a layer, as image files name them, e.g. ``"ZYX"``.

    Of more than five axes there are no such letters: None.
    """
    usual = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TCZYX"}.get(layer.ndim)
    named = "".join(str(label)[:1].upper() for label in layer.axis_labels)
    is_usable = len(named) == layer.ndim and len(set(named)) == layer.ndim
    return named if is_usable and named[-2:] == "YX" and set(named) <= set("TCZYX") else usual
