"""Cutting touching objects apart where the region between them is narrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from napari_sam3.core.arrays import BoolArray, Float32Array, Float64Array

_NECK = 0.75
"""Two parts are kept apart where the passage is narrower than this part of the narrower one."""
_LEAST_DROP = 1.0


def split_by_distance(mask: BoolArray) -> tuple[npt.NDArray[np.int32], int]:
    """Label the convex-ish parts of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, cols)

    Returns
    -------
    labels : ndarray of int32, shape (rows, cols)
        1 … n, 0 outside of the mask.

    Notes
    -----
    Watershed of the distance to the outline [1]_.  Two maxima are one part unless the distance
    falls by a fraction of its height in between (a relative form of the h-maxima
    transform), so that rough outlines do not shatter a large object.

    References
    ----------
    .. [1] F. Meyer, "Topographic distance and watershed lines", Signal Processing 38 (1994).
    """
    distance = distance_to_outline(mask).astype(np.float32)
    smooth = ndimage.gaussian_filter(distance, 1.0, truncate=2.0)
    seeds, count = seeds_of(smooth, mask)
    labels = watershed(-smooth, seeds, mask=mask).astype(np.int32)  # type: ignore[no-untyped-call]
    return merge_wide_passages(labels, distance, count)


def distance_to_outline(mask: BoolArray) -> Float64Array:
    """Return how far each pixel of a mask is from the nearest one outside, the border included."""
    distance: Float64Array = ndimage.distance_transform_edt(np.pad(mask, 1))
    return distance[1:-1, 1:-1]


def seeds_of(height: Float32Array, mask: BoolArray) -> tuple[npt.NDArray[Any], int]:
    """Label the local maxima of a height inside a mask; every component has at least one."""
    peaks = (height >= ndimage.maximum_filter(height, 3)) & mask
    return ndimage.label(peaks, np.ones((3, 3)))


def merge_wide_passages(
    labels: npt.NDArray[np.int32], distance: Float32Array, count: int
) -> tuple[npt.NDArray[np.int32], int]:
    """Join neighbouring parts whose common border is almost as wide as they are.

    Parameters
    ----------
    labels : ndarray of int32, shape (rows, cols)
    distance : ndarray of float32, shape (rows, cols)
        Distance to the outline, in pixels.
    count : int
        Number of labels.
    """
    height = np.zeros(count + 1, np.float32)
    np.maximum.at(height, labels.ravel(), distance.ravel())
    parent = list(range(count + 1))

    def root(label: int) -> int:
        while parent[label] != label:
            label = parent[label]
        return label

    passages = _passages(labels, distance)
    # the widest passage first, so that a part joins the neighbour it belongs to
    for (first, second), width in sorted(passages.items(), key=lambda item: -item[1]):
        one, two = root(first), root(second)
        low = min(height[one], height[two])
        if one != two and (width >= _NECK * low or low - width < _LEAST_DROP):
            parent[max(one, two)] = min(one, two)
            height[min(one, two)] = max(height[one], height[two])
    roots = np.array([root(label) for label in range(count + 1)])
    values, dense = np.unique(roots, return_inverse=True)
    return dense.astype(np.int32)[labels], len(values) - 1


def _passages(
    labels: npt.NDArray[np.int32], distance: Float32Array
) -> dict[tuple[int, int], float]:
    """Return the greatest distance on the border between each two neighbouring labels."""
    widest: dict[tuple[int, int], float] = {}
    for one, two, near, far in (
        (labels[1:], labels[:-1], distance[1:], distance[:-1]),
        (labels[:, 1:], labels[:, :-1], distance[:, 1:], distance[:, :-1]),
    ):
        hit = (one != two) & (one > 0) & (two > 0)
        low, high = np.minimum(one[hit], two[hit]), np.maximum(one[hit], two[hit])
        width = np.minimum(near[hit], far[hit])
        for a, b, w in zip(low.tolist(), high.tolist(), width.tolist(), strict=True):
            widest[a, b] = max(widest.get((a, b), 0.0), w)
    return widest
