"""How alike answers and annotations are: overlap (IoU), F1 and average precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

Mask = npt.NDArray[np.bool_]
LabelImage = npt.NDArray[np.integer[Any]]
Float64Array = npt.NDArray[np.float64]

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class Match:
    """How well labels match an annotation.

    Parameters
    ----------
    f1 : float
        2 TP / (2 TP + FP + FN) at an overlap of one half.
    precision : float
        TP / (TP + FP + FN), mean over the overlaps 0.5, 0.6 … 0.9.
    """

    f1: float
    precision: float


def iou(one: Mask, two: Mask) -> float:
    """Return the overlap of two masks of the same shape."""
    union = np.count_nonzero(one | two)
    return float(np.count_nonzero(one & two) / union) if union else 0.0


def overlaps(found: LabelImage, truth: LabelImage) -> Float64Array:
    """Return the overlap of each found label with each true one.

    Parameters
    ----------
    found, truth : ndarray of int, shape (rows, cols)
        0 is background; numbers that do not occur count for nothing.

    Returns
    -------
    ndarray of float, shape (labels found, labels of the truth)
    """
    _, one = np.unique(np.append(found.ravel(), 0), return_inverse=True)
    _, two = np.unique(np.append(truth.ravel(), 0), return_inverse=True)
    rows, cols = int(one.max()) + 1, int(two.max()) + 1
    common = np.bincount(one[:-1] * cols + two[:-1], minlength=rows * cols).reshape(rows, cols)
    union = common.sum(axis=1)[:, None] + common.sum(axis=0) - common
    return np.asarray((common / np.maximum(union, 1))[1:, 1:], np.float64)


def match(found: LabelImage, truth: LabelImage) -> Match:
    """Match one to one, as `stardist.matching` does, and count.

    Parameters
    ----------
    found, truth : ndarray of int, shape (rows, cols)

    Returns
    -------
    Match
        1 and 1 where there is nothing and nothing was found.
    """
    table = overlaps(found, truth)
    total = sum(table.shape)
    if total == 0:
        return Match(1.0, 1.0)
    hits = np.array([_hits(table, level) for level in LEVELS])
    return Match(float(2 * hits[0] / total), float(np.mean(hits / (total - hits))))


def _hits(table: Float64Array, level: float) -> int:
    # the most pairs first; among those, the best overlap
    worth = (table >= level) + table / (2 * max(min(table.shape), 1))
    rows, cols = linear_sum_assignment(-worth)
    return int(np.count_nonzero(table[rows, cols] >= level))


def best_overlaps(found: LabelImage, truth: LabelImage, count: int) -> Float64Array:
    """Return each found object's overlap with the true one that it overlaps most.

    Parameters
    ----------
    found : ndarray of int, shape (rows, cols)
        1 … count.
    truth : ndarray of int, shape (rows, cols)
    count : int

    Returns
    -------
    ndarray of float, shape (count,)
        0 for numbers that do not occur.
    """
    values = np.zeros(count)
    sizes = np.bincount(truth.ravel())
    for index, box in enumerate(ndimage.find_objects(found, count)):
        if box is None:
            continue
        mask = found[box] == index + 1
        common = np.bincount(truth[box][mask], minlength=len(sizes))
        union = sizes + np.count_nonzero(mask) - common
        values[index] = float((common[1:] / np.maximum(union[1:], 1)).max(initial=0.0))
    return values
