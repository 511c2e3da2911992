"""Which objects a person should look at first.

An object with a score is as doubtful as its score is low.  For one without, what speaks against
it is, in this order: an unusual size, an unusual shape, contact with the image's border, and
pixels shared with another object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray, Float64Array, IndexArray
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance

UNUSUAL = 3.5
"""From this modified z-score on, a size or a shape is unusual."""

_LEAST_OBJECTS = 5
_LEAST_SPREAD = 0.05
_UNSCORED = 0.5
_CLEAR = 2.0


def rank_doubtful(
    scores: npt.ArrayLike,
    areas: npt.ArrayLike,
    compactness: npt.ArrayLike,
    touches_border: npt.ArrayLike,
    overlaps: npt.ArrayLike,
) -> IndexArray:
    """Order the objects of an image, the most doubtful first.

    Parameters
    ----------
    scores : array_like of float, shape (n,)
        0–1; NaN where there is none.
    areas : array_like of int, shape (n,)
        In pixels.
    compactness : array_like of float, shape (n,)
        As `compactness` gives it.
    touches_border, overlaps : array_like of bool, shape (n,)
        Whether each touches the border, and shares a pixel with another.

    Returns
    -------
    ndarray of int, shape (n,)
        All indices.  Objects with a score come in rising order of it.  Among those without, the
        ones of unusual size come first (the farthest from the median first), then those of
        unusual shape (likewise), then those at the border, then those that overlap another,
        then the rest.  Where both kinds are mixed, an object without a score takes the place
        of a score of 0.5 if something speaks against it, and else comes last.  Of equals, the
        one of smaller index comes first.

    Notes
    -----
    Size and shape are unusual where the modified z-score, 0.6745 |x − median| / MAD, exceeds
    3.5 (Iglewicz & Hoaglin 1993, "How to Detect and Handle Outliers"); x is the logarithm of
    the area, or the compactness.  A MAD below 0.05 counts as 0.05, so that among objects that
    are nearly alike none is unusual for a few pixels.  Among fewer than five objects none is
    unusual.
    """
    known = np.asarray(scores, float)
    size, shape = np.abs(_size_deviation(areas)), np.abs(_deviation(compactness))
    reasons = [
        size >= UNUSUAL,
        shape >= UNUSUAL,
        np.asarray(touches_border, bool),
        np.asarray(overlaps, bool),
    ]
    tier = np.select(reasons, range(len(reasons)), len(reasons))
    degree = np.select(reasons[:2], [size, shape], 0.0)
    unscored = np.where(tier < len(reasons), _UNSCORED, _CLEAR)
    place = np.where(np.isnan(known), unscored, known)
    return np.lexsort((-degree, tier, place))


def doubts(
    scores: npt.ArrayLike,
    areas: npt.ArrayLike,
    compactness: npt.ArrayLike,
    touches_border: npt.ArrayLike,
    overlaps: npt.ArrayLike,
) -> list[str]:
    """Say in a few words why each object may be doubtful.

    Parameters
    ----------
    scores, areas, compactness, touches_border, overlaps
        As in `rank_doubtful`.

    Returns
    -------
    list of str
        All that speaks against an object, in the order in which it counts, e.g. ``"score 0.52,
        touches the edge"``; a score is always named.  Empty where there is nothing to say.
    """
    known = np.asarray(scores, float)
    sizes = _size_deviation(areas)
    flags = {
        "unusually large": sizes >= UNUSUAL,
        "unusually small": sizes <= -UNUSUAL,
        "unusual shape": np.abs(_deviation(compactness)) >= UNUSUAL,
        "touches the edge": np.asarray(touches_border, bool),
        "overlaps another": np.asarray(overlaps, bool),
    }
    reasons = [[] if np.isnan(score) else [f"score {score:.2f}"] for score in known]
    for words, is_so in flags.items():
        for index in np.flatnonzero(is_so):
            reasons[index].append(words)
    return [", ".join(parts) for parts in reasons]


def _size_deviation(areas: npt.ArrayLike) -> Float64Array:
    return _deviation(np.log(np.maximum(np.asarray(areas, float), 1)))


def _deviation(values: npt.ArrayLike) -> Float64Array:
    """Return the modified z-score of each value, with its sign."""
    known = np.asarray(values, float)
    if len(known) < _LEAST_OBJECTS:
        return np.zeros(len(known))
    apart = known - np.median(known)
    spread = max(float(np.median(np.abs(apart))), _LEAST_SPREAD)
    deviation: Float64Array = 0.6745 * apart / spread
    return deviation


def compactness(instances: Sequence[Instance]) -> Float64Array:
    """Measure how compact objects are: 1 for a disc, less the longer or more ragged it is.

    Parameters
    ----------
    instances : sequence of Instance

    Returns
    -------
    ndarray of float, shape (n,)
        4π area / perimeter², at most 1; 0 where there is no pixel.
    """
    areas = np.array([item.area for item in instances], float)
    perimeters = np.array([item.perimeter for item in instances], float)
    ratio: Float64Array = 4 * np.pi * areas / np.maximum(perimeters, 1) ** 2
    return np.minimum(ratio, 1.0)


def touches_border(boxes: Sequence[Box], image_shape: tuple[int, int]) -> BoolArray:
    """Return which boxes reach the border of an image, shape (n,).

    Parameters
    ----------
    boxes : sequence of Box
    image_shape : tuple of int
        (rows, cols).
    """
    sides: npt.NDArray[Any] = np.array(
        [(box.top, box.left, box.bottom, box.right) for box in boxes], np.int64
    ).reshape(-1, 4)
    outside = np.concatenate([sides[:, :2] <= 0, sides[:, 2:] >= np.array(image_shape)], axis=1)
    reaches: BoolArray = np.any(outside, axis=1)
    return reaches
