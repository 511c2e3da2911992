"""Labelled objects as a label image.

Without a rule, depth decides: of two objects that share a pixel, the one of smaller depth
shows; of equal depth, the one of smaller label.  The rules are those of
`napari_sam3.core.labels`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.labels import OverlapRule, bottom_to_top, labels_dtype
from napari_sam3.core.objects import PlaneObject

PaintRule = OverlapRule | Literal[""]


def paint_objects(
    objects: Iterable[PlaneObject],
    shape: tuple[int, int],
    *,
    rule: PaintRule = "",
    hidden: Collection[int] = (),
    dtype: npt.DTypeLike | None = None,
) -> npt.NDArray[Any]:
    """Paint the objects of one plane, each with its label.

    Parameters
    ----------
    objects : iterable of PlaneObject
        In any order.  Rejected ones are left out.
    shape : tuple of int
        (rows, cols) of the plane.
    rule : {"", "score", "smallest", "first"}
        What shows where several overlap: by depth if empty, else as in
        `napari_sam3.core.labels`, where the first is the one of the smallest label.  By
        score, what has none among others that do lies on top.
    hidden : collection of int
        Labels that are not painted.  Which of the others lie on top does not change by it.
    dtype : dtype, optional
        Default is the smallest of uint16 and uint32 that holds all labels, those that are
        left out too.

    Returns
    -------
    ndarray of int, shape (rows, cols)
        0 is background.

    Raises
    ------
    ValueError
        If an object lies outside the plane, there is no such rule, a label is below 1, or
        `dtype` cannot hold all labels.
    """
    listed = list(objects)
    labels = np.zeros(shape, _fitting_dtype(listed, dtype))
    unseen = frozenset(hidden)
    kept = [one for one in listed if one.state != "rejected"]
    for one in reversed(order_from_top(kept, shape, rule)):
        if one.label not in unseen:
            labels[one.instance.box.slices][one.instance.mask] = one.label
    return labels


def order_from_top(
    objects: Iterable[PlaneObject], shape: tuple[int, int], rule: PaintRule = ""
) -> list[PlaneObject]:
    """Return the objects so that of any two that overlap, the one that shows comes first.

    Parameters
    ----------
    objects, shape, rule
        As in `paint_objects`; rejected ones are not left out.

    Raises
    ------
    ValueError
        If an object lies outside the plane or there is no such rule.
    """
    listed = sorted(objects, key=lambda one: one.label if rule else (one.depth, one.label))
    # refuses what lies outside, where slices would silently cut or wrap around
    instances = Instances(shape, _scored([one.instance for one in listed]))
    return [listed[index] for index in reversed(bottom_to_top(instances, rule or "first"))]


def _scored(items: Sequence[Instance]) -> tuple[Instance, ...]:
    """Return the objects; if some have a score, those without one with the best there is.

    What was drawn by hand has none, and lies on top of what an engine found.
    """
    unscored = [item.score is None for item in items]
    if all(unscored) or not any(unscored):
        return tuple(items)
    return tuple(replace(item, score=1.0) if item.score is None else item for item in items)


def _fitting_dtype(objects: Sequence[PlaneObject], dtype: npt.DTypeLike | None) -> np.dtype[Any]:
    numbers = [one.label for one in objects]
    smallest, largest = min(numbers, default=1), max(numbers, default=1)
    if smallest < 1:
        raise ValueError(f"an object has the label {smallest}, but labels start at 1")
    chosen = labels_dtype(largest) if dtype is None else np.dtype(dtype)
    if largest > np.iinfo(chosen).max:
        raise ValueError(f"label {largest} does not fit in {chosen}")
    return chosen
