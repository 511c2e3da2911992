"""Instances as a label image: a *view* of the record under a named overlap rule.

``"score"``
    The highest score lies on top (of equal ones, the smaller).  Where not all
    objects have a score, the smallest lies on top instead.
``"smallest"``
    The smallest lies on top.
``"first"``
    The first in the engine's order lies on top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_sam3.core.instances import Instances

OverlapRule = Literal["score", "smallest", "first"]
OVERLAP_RULES: tuple[OverlapRule, ...] = get_args(OverlapRule)


def bottom_to_top(instances: Instances, rule: OverlapRule) -> list[int]:
    """Return the indices of the items in the order in which to paint them.

    Parameters
    ----------
    instances : Instances
    rule : {"score", "smallest", "first"}

    Returns
    -------
    list of int
        What is painted last lies on top.

    Raises
    ------
    ValueError
        If there is no such rule.
    """
    indices = range(len(instances))
    if rule == "first":
        return list(reversed(indices))
    if rule not in OVERLAP_RULES:
        raise ValueError(f"no overlap rule {rule!r}; there are {', '.join(OVERLAP_RULES)}")
    areas = [item.area for item in instances]
    scores = [item.score for item in instances]
    if rule == "smallest" or any(score is None for score in scores):
        return sorted(indices, key=lambda i: (-areas[i], -i))
    return sorted(indices, key=lambda i: (scores[i], -areas[i], -i))


def to_labels(
    instances: Instances, rule: OverlapRule = "score", dtype: npt.DTypeLike | None = None
) -> npt.NDArray[Any]:
    """Return a label image in which item ``i`` is label ``i + 1``.

    Parameters
    ----------
    instances : Instances
    rule : {"score", "smallest", "first"}
        Which object shows where several overlap.
    dtype : dtype, optional
        Default is the smallest of uint16 and uint32 that holds all labels.

    Returns
    -------
    ndarray of int, shape (rows, cols)
        0 is background.

    Raises
    ------
    ValueError
        If there is no such rule, or `dtype` cannot hold all labels.
    """
    chosen = np.dtype(dtype) if dtype is not None else labels_dtype(len(instances))
    if len(instances) > np.iinfo(chosen).max:
        raise ValueError(f"{len(instances)} labels do not fit in {chosen}")
    labels = np.zeros(instances.image_shape, chosen)
    for index in bottom_to_top(instances, rule):
        item = instances[index]
        labels[item.box.slices][item.mask] = index + 1
    return labels


def labels_dtype(largest: int) -> np.dtype[Any]:
    """Return the smallest of uint16 and uint32 that holds this label."""
    return np.dtype(np.uint16 if largest <= np.iinfo(np.uint16).max else np.uint32)


def count_overlapping(instances: Instances, labels: npt.NDArray[Any] | None = None) -> int:
    """Return how many objects share at least one pixel with another.

    Parameters
    ----------
    instances : Instances
    labels : ndarray, optional
        What `to_labels` gave for them, under any rule; made here if not given.

    Returns
    -------
    int
    """
    view = to_labels(instances) if labels is None else labels
    overlapping: set[int] = set()
    for label, item in enumerate(instances, start=1):
        shown = view[item.box.slices][item.mask]
        hidden = shown[shown != label]
        if hidden.size:
            overlapping.add(label)
            overlapping.update(np.unique(hidden).tolist())
    return len(overlapping)
