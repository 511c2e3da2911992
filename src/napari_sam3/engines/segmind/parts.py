"""What becomes of a mask: another size, or its connected parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.instances import BoolArray, Instance, split_labels
from napari_sam3.errors import ResponseError

MAX_PARTS = 100_000


def fit_mask(mask: BoolArray, shape: tuple[int, int]) -> BoolArray:
    """Map a mask to another size by nearest neighbour.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, cols)
    shape : tuple of int
        (rows, cols) wanted.

    Returns
    -------
    ndarray of bool
        The mask itself if it has that shape.

    Examples
    --------
    >>> fit_mask(np.array([[True, False]]), (1, 4)).tolist()
    [[True, True, False, False]]
    """
    if mask.shape == tuple(shape):
        return mask
    rows, cols = (_nearest(old, new) for old, new in zip(mask.shape, shape, strict=True))
    return mask[rows][:, cols]


def _nearest(old: int, new: int) -> npt.NDArray[np.intp]:
    # the old pixel under the middle of each new one, in whole numbers
    return (2 * np.arange(new, dtype=np.intp) + 1) * old // (2 * new)


def split_into_instances(mask: BoolArray) -> tuple[Instance, ...]:
    """Split a mask into its connected parts; pixels that share a corner are connected.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, cols)

    Returns
    -------
    tuple of Instance
        In scan order of their first pixels, without score.

    Raises
    ------
    ResponseError
        If there are more parts than a mask of objects can have.
    """
    from scipy import ndimage

    labels: npt.NDArray[Any]
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
    if count > MAX_PARTS:
        raise ResponseError(
            f"The mask falls into {count:,} separate parts: that is noise, not objects."
        )
    return tuple(split_labels(labels).values())
