"""How much a region looks like one object: measured on its outline, then one number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray, Float32Array, Float64Array, LabelImage
from napari_sam3.core.geometry import bounding_box

FEATURES = ("contrast", "strength", "ellipticity", "compactness", "size")

# fitted by least squares to the overlap of threshold regions with annotated nuclei of the 2018
# Data Science Bowl (fluorescence and haematoxylin/eosin, 79 images); all weights kept ≥ 0
_WEIGHTS = np.array([1.79, 3.2, 3.4, 2.52, 6.53])
_OFFSET = -12.4
# a region of this many pixels is half-way from a doubtful speck to something with a shape
_HALF_SIZE = 20.0
# farthest pixel from a region that is looked at
_REACH = 3


def measure(labels: LabelImage, gray: Float32Array, count: int, spread: float) -> Float64Array:
    """Measure every region of a label image.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, cols)
        Regions 1 … `count`, each with at least one pixel; 0 is background.
    gray : ndarray of float32, shape (rows, cols)
        Objects brighter than what surrounds them.
    spread : float
        Range of gray values that counts as strong contrast.

    Returns
    -------
    ndarray of float, shape (count, len(FEATURES))
        Each 0–1, in the order of `FEATURES`: the step across the outline against its
        scatter, the step against `spread`, the area against that of the ellipse
        with the same second moments, 4π·area/perimeter², and the size.
    """
    owner, inner, outer = _steps(labels, gray)
    edges = _total(owner, count)
    area, ellipse, at_border = _moments(labels, count)
    contrast, strength = _contrasts(owner, inner, outer, edges, spread)
    # π/4: mean ratio of a smooth outline's length to that of its pixel edges
    perimeter = np.pi / 4 * (edges + at_border)
    return np.stack(
        [
            contrast,
            strength,
            np.clip(area / ellipse, 0, 1),
            np.clip(4 * np.pi * area / perimeter**2, 0, 1),
            area / (area + _HALF_SIZE),
        ],
        axis=1,
    )


def score(features: Float64Array) -> Float64Array:
    """Return the overlap (IoU) with a true object that such features let expect, 0–1.

    Parameters
    ----------
    features : ndarray of float, shape (n, len(FEATURES))

    Returns
    -------
    ndarray of float, shape (n,)
    """
    values: Float64Array = 1 / (1 + np.exp(-(features @ _WEIGHTS + _OFFSET)))
    return values


def score_mask(mask: BoolArray, gray: Float32Array, spread: float) -> float:
    """Return the score of one region, which must not be empty; arguments as in `measure`."""
    return float(score(measure_mask(mask, gray, spread)[None])[0])


def measure_mask(mask: BoolArray, gray: Float32Array, spread: float) -> Float64Array:
    """Return the features of one region, which must not be empty; arguments as in `measure`."""
    box = bounding_box(mask)
    if box is None:
        raise ValueError("an empty region has no features")
    part = (
        slice(max(box.top - _REACH, 0), box.bottom + _REACH),
        slice(max(box.left - _REACH, 0), box.right + _REACH),
    )
    features: Float64Array = measure(mask[part].view(np.uint8), gray[part], 1, spread)[0]
    return features


def _total(owner: LabelImage, count: int, weights: npt.NDArray[Any] | None = None) -> Float64Array:
    return np.bincount(owner, weights, count + 1)[1:].astype(np.float64)


def _steps(labels: LabelImage, gray: Float32Array) -> tuple[LabelImage, Float32Array, Float32Array]:
    """Return owner, gray inside and gray outside for each pixel edge of an outline."""
    parts = [
        _steps_along(np.moveaxis(labels, axis, 0), np.moveaxis(gray, axis, 0), step)
        for axis in (0, 1)
        for step in (1, -1)
    ]
    owner, inner, outer = (np.concatenate(values) for values in zip(*parts, strict=True))
    return owner, inner, outer


def _steps_along(
    labels: LabelImage, gray: Float32Array, step: int
) -> tuple[LabelImage, Float32Array, Float32Array]:
    labels, gray = labels[::step], gray[::step]
    rows, cols = np.nonzero((labels[:-1] != labels[1:]) & (labels[:-1] > 0))
    last = len(labels) - 1
    # one pixel away from the edge on both sides: on the edge itself optics mix the two
    inner = gray[np.maximum(rows - 1, 0), cols]
    outer = gray[np.minimum(rows + 2, last), cols]
    return labels[rows, cols], inner, outer


def _contrasts(
    owner: LabelImage, inner: Float32Array, outer: Float32Array, edges: Float64Array, spread: float
) -> tuple[Float64Array, Float64Array]:
    number, count = np.maximum(edges, 1), len(edges)

    def deviation(values: Float32Array) -> Float64Array:
        mean = _total(owner, count, values) / number
        square = _total(owner, count, values**2) / number
        return np.sqrt(np.maximum(square - mean**2, 0))

    step = np.maximum(_total(owner, count, inner - outer) / number, 0)
    noise = deviation(inner) + deviation(outer)
    return step / (step + noise + 1.0), np.clip(step / spread, 0, 1)


def _moments(labels: LabelImage, count: int) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return area, area of the ellipse with the same second moments, edges at the border."""
    rows, cols = np.nonzero(labels)
    owner = labels[rows, cols]
    area = _total(owner, count)
    by_row = rows - (_total(owner, count, rows) / area)[owner - 1]
    by_col = cols - (_total(owner, count, cols) / area)[owner - 1]
    # 1/12: a pixel is a square, not a point
    var_row = _total(owner, count, by_row**2) / area + 1 / 12
    var_col = _total(owner, count, by_col**2) / area + 1 / 12
    covariance = _total(owner, count, by_row * by_col) / area
    ellipse = 4 * np.pi * np.sqrt(np.maximum(var_row * var_col - covariance**2, 1e-6))
    last_row, last_col = labels.shape[0] - 1, labels.shape[1] - 1
    hits = (rows == 0, cols == 0, rows == last_row, cols == last_col)
    at_border = np.sum([_total(owner, count, hit) for hit in hits], axis=0)
    return area, ellipse, at_border
