"""Simulated users: boxes drawn in a hurry, clicks well inside, clicks that correct.

Each side of a box is moved by −5…+12 % of the box.  A click falls where the distance to
the outline is at least 0.6 of the largest; a corrective click falls likewise into the
larger of what is missing and what is too much.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from benchmarks.scoring import LabelImage, Mask
from napari_sam3 import Box, Point
from napari_sam3.core.geometry import bounding_box

_SMALLEST = 20


def random_objects(labels: LabelImage, count: int, rng: np.random.Generator) -> list[Mask]:
    """Return some objects of an image that are not tiny."""
    sizes = np.bincount(labels.ravel())
    names = np.flatnonzero(sizes >= _SMALLEST)
    return [labels == name for name in rng.permutation(names[names > 0])[:count]]


def loose_box(mask: Mask, rng: np.random.Generator) -> Box:
    """Return a box as a hurried user draws it."""
    box = bounding_box(mask)
    assert box is not None
    rows, cols = box.shape
    top, left, bottom, right = rng.uniform(-0.05, 0.12, 4) * (rows, cols, rows, cols)
    drawn = Box(
        round(box.top - top),
        round(box.left - left),
        max(round(box.bottom + bottom), round(box.top - top) + 1),
        max(round(box.right + right), round(box.left - left) + 1),
    )
    return drawn.intersection(Box.of_shape((mask.shape[0], mask.shape[1]))) or box


def click_in(mask: Mask, rng: np.random.Generator) -> tuple[int, int]:
    """Return a random pixel well inside a mask."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    rows, cols = np.nonzero(distance >= 0.6 * distance.max())
    chosen = rng.integers(rows.size)
    return int(rows[chosen]), int(cols[chosen])


def correction(found: Mask, mask: Mask, rng: np.random.Generator) -> Point | None:
    """Return the click that corrects an answer most, or None if nothing is wrong with it."""
    missing, excess = mask & ~found, found & ~mask
    positive = bool(np.count_nonzero(missing) >= np.count_nonzero(excess))
    wrong = missing if positive else excess
    return Point(*click_in(wrong, rng), positive=positive) if wrong.any() else None


def median_diameter(labels: LabelImage) -> float | None:
    """Return the diameter of the disc that has the objects' median area."""
    sizes = np.bincount(labels.ravel())[1:]
    return 2 * float(np.sqrt(np.median(sizes[sizes > 0]) / np.pi)) if sizes.any() else None
