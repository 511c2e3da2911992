"""From the cells of a window to an object in a picture's pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from napari_sam3.core.arrays import BoolArray, Float32Array
from napari_sam3.core.geometry import Box, bounding_box
from napari_sam3.core.instances import Instance, common_area
from napari_sam3.engines.builtin.everything import fill_holes
from napari_sam3.engines.builtin.nets.sampling import Window, enlarged


def instance_of_cells(
    values: Float32Array, cells: BoolArray, window: Window, shape: tuple[int, int], score: float
) -> Instance | None:
    """Return some cells of a window as an object of a picture.

    Parameters
    ----------
    values : ndarray of float32, shape (cells, cells)
        Positive inside of objects; where they cross zero between two cells is the outline.
    cells : ndarray of bool, shape (cells, cells)
        The object's own.
    shape : tuple of int
        Of the picture.

    Returns
    -------
    Instance or None
        None if nothing of it lies in the picture.
    """
    near = bounding_box(cells)
    if near is None:
        return None
    down, right = window.rows / cells.shape[0], window.cols / cells.shape[1]
    box = Box(
        int(np.floor(window.top + (near.top - 1) * down)),
        int(np.floor(window.left + (near.left - 1) * right)),
        int(np.ceil(window.top + (near.bottom + 1) * down)) + 1,
        int(np.ceil(window.left + (near.right + 1) * right)) + 1,
    ).intersection(Box.of_shape(shape))
    if box is None:
        return None
    # other objects are switched off, but the outline stays between the cells
    grown = ndimage.binary_dilation(cells, np.ones((3, 3), bool))
    off = -max(float(values[cells].mean()), 1e-3)
    own = np.where(cells | (grown & (values <= 0)), values, np.float32(off))
    mask = enlarged(own, window, (box.top, box.left, box.bottom, box.right)) > 0
    return Instance.from_mask(fill_holes(mask), score, window=box)


def connected(mask: BoolArray, pixels: Sequence[tuple[int, int]]) -> BoolArray:
    """Return the parts of a mask that hold one of the pixels; the largest part if none does."""
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    names = {int(labels[pixel]) for pixel in pixels} - {0}
    if not names:
        names = {1 + int(np.bincount(labels.ravel())[1:].argmax())}
    return np.asarray(np.isin(labels, list(names)))


def overlap(one: Instance, two: Instance) -> float:
    """Return the overlap (IoU) of two instances."""
    shared = common_area(one, two)
    return shared / (one.area + two.area - shared)
