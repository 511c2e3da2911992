"""All objects of a picture, without a prompt."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_sam3.core.arrays import BoolArray, Float32Array, Float64Array
from napari_sam3.core.instances import Instance, split_labels
from napari_sam3.engines.base import NEVER, raise_if_stopped
from napari_sam3.engines.builtin.quality import FEATURES, measure, score
from napari_sam3.engines.builtin.scene import Scene, project, smoothed
from napari_sam3.engines.builtin.split import split_by_distance

LEAST_AREA = 4
_WORTH = 0.3
_LEAST_STEP = 3.0
_MOST_CELLS = 5_000_000
_TRIAL_CELLS = 70_000


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Regions that do not overlap.

    Parameters
    ----------
    labels : ndarray of int32, shape (rows, cols)
        1 … n, 0 is background.
    features : ndarray of float, shape (n, len(FEATURES))
        As `napari_sam3.engines.builtin.quality.measure` gives them.
    scores : ndarray of float, shape (n,)
        0–1.
    """

    labels: npt.NDArray[np.int32]
    features: Float64Array
    scores: Float64Array

    @property
    def worth(self) -> float:
        """Sum of what speaks for each region: how good the whole answer is."""
        return float(np.maximum(self.scores - _WORTH, 0).sum())


def find_regions(
    gray: Float32Array, spread: float, stop: threading.Event = NEVER, *, most_levels: int = 3
) -> Regions:
    """Find all objects brighter than what surrounds them.

    Parameters
    ----------
    gray : ndarray of float32, shape (rows, cols)
    spread : float
        Range of gray values that counts as strong contrast.
    most_levels : int
        How many thresholds to try, 1–3.

    Notes
    -----
    Several thresholds, Otsu's [1]_ and those that split its two classes again, each
    followed by a distance watershed.  Where regions of different thresholds overlap, the
    better outline wins: dim objects come from the low threshold, crowded
    bright ones from the high one.

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms",
       IEEE Trans. Systems, Man and Cybernetics 9 (1979).
    """
    smooth = smoothed(gray)
    found = []
    for level in levels(smooth)[:most_levels]:
        raise_if_stopped(stop)
        mask = smooth > level
        # what has no noise has no threads either, but sharp corners
        found.append(_cut(fill_holes(mask) if smooth is gray else clean(mask), gray, spread))
    return best_of(found, gray.shape)


def levels(gray: Float32Array) -> list[float]:
    """Return Otsu's threshold and those of the two classes that it makes, if they exist."""
    middle = _otsu(gray)
    if middle is None:
        return []
    others = (_otsu(gray[gray <= middle]), _otsu(gray[gray > middle]))
    return [middle, *(level for level in others if level is not None)]


def _otsu(values: Float32Array) -> float | None:
    if values.size == 0 or np.ptp(values) < _LEAST_STEP:
        return None
    return float(threshold_otsu(values))  # type: ignore[no-untyped-call]


def _cut(mask: BoolArray, gray: Float32Array, spread: float) -> Regions:
    labels, count = split_by_distance(mask)
    features = measure(labels, gray, count, spread)
    return Regions(labels, features, score(features))


def clean(mask: BoolArray) -> BoolArray:
    """Fill holes and remove threads, but keep what is only a few pixels large."""
    filled = fill_holes(mask)
    opened = ndimage.binary_opening(filled)
    names, count = ndimage.label(filled)
    survives = np.zeros(count + 1, bool)
    survives[names[opened]] = True
    survives[0] = True
    small = np.bincount(names.ravel(), minlength=count + 1) >= LEAST_AREA
    lost = ~survives & small
    return opened | lost[names] if lost.any() else opened


def fill_holes(mask: BoolArray) -> BoolArray:
    """Return the mask with all background that does not reach the border."""
    names, count = ndimage.label(~mask)
    is_hole = np.ones(count + 1, bool)
    is_hole[0] = False
    for side in (names[0], names[-1], names[:, 0], names[:, -1]):
        is_hole[side] = False
    return mask | is_hole[names] if is_hole.any() else mask


def best_of(found: list[Regions], shape: tuple[int, ...]) -> Regions:
    """Return the best regions that do not overlap by more than a quarter.

    Parameters
    ----------
    found : list of Regions
        Of the same picture.
    shape : tuple of int
        (rows, cols) of it.

    Returns
    -------
    Regions
        In the order of their scores.
    """
    labels = np.zeros(shape, np.int32)
    rows, scores = [], []
    boxes = [ndimage.find_objects(regions.labels) for regions in found]
    order = sorted(
        (-value, level, index)
        for level, regions in enumerate(found)
        for index, value in enumerate(regions.scores)
    )
    for negative, level, index in order:
        box = boxes[level][index]
        mask = found[level].labels[box] == index + 1
        free = mask & (labels[box] == 0)
        if np.count_nonzero(free) >= 0.75 * np.count_nonzero(mask):
            rows.append(found[level].features[index])
            scores.append(-negative)
            labels[box][free] = len(scores)
    return Regions(labels, _stacked(rows), np.array(scores, np.float64))


def _stacked(rows: list[Any]) -> Float64Array:
    return np.array(rows, np.float64).reshape(len(rows), len(FEATURES))


def regions_of(
    picture: Scene, axis: Float32Array | None = None, stop: threading.Event = NEVER
) -> Regions:
    """Find all objects of a picture; remembered with the picture.

    Parameters
    ----------
    axis : ndarray of float32, shape (3,), optional
        Weights of the channels on which objects are bright.  By default the
        picture's own, and bright or dark objects, whichever look better.

    Returns
    -------
    Regions
        Pictures of more than about 5 million pixels are searched at half the resolution (or
        less): memory and time stay bounded, objects of a few pixels may be missed.
    """
    key = "everything" if axis is None else axis.tobytes().hex()
    if key not in picture.memo:
        chosen = dominant_axis(picture, stop) if axis is None else axis
        picture.memo[key] = _searched(picture, chosen, _step_for(picture, _MOST_CELLS), stop)
    found: Regions = picture.memo[key]
    return found


def dominant_axis(picture: Scene, stop: threading.Event = NEVER) -> Float32Array:
    """Return the picture's axis, turned so that its objects are bright."""
    step = _step_for(picture, _TRIAL_CELLS)
    bright, dark = (
        _searched(picture, picture.axis * np.float32(sign), step, stop, most_levels=1)
        for sign in (1, -1)
    )
    return picture.axis * np.float32(1 if bright.worth >= dark.worth else -1)


def instances_of(regions: Regions) -> list[Instance]:
    """Return the regions as instances, the best first."""
    found = split_labels(regions.labels)
    return [replace(item, score=float(regions.scores[n - 1])) for n, item in found.items()]


def _step_for(picture: Scene, most_cells: int) -> int:
    return max(1, int(np.ceil(np.sqrt(picture.box.area / most_cells))))


def _searched(
    picture: Scene, axis: Float32Array, step: int, stop: threading.Event, most_levels: int = 3
) -> Regions:
    raise_if_stopped(stop)
    gray = project(picture.rgb[::step, ::step], axis)
    found = find_regions(gray, picture.spread, stop, most_levels=most_levels)
    if step == 1:
        return found
    rows, cols = picture.box.shape
    labels = found.labels.repeat(step, axis=0).repeat(step, axis=1)[:rows, :cols]
    return Regions(labels, found.features, found.scores)
