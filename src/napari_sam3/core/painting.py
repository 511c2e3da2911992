"""Labelled objects as a label image.

Without a rule, depth decides: of two objects that share a pixel, the one of smaller depth
shows; of equal depth, the one of smaller label.  The rules are those of
`napari_sam3.core.labels`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.labels import OverlapRule, labels_dtype, paint, top_first
from napari_sam3.core.objects import PlaneObject

PaintRule = OverlapRule | Literal[""]


def paint_objects(
    objects: Iterable[PlaneObject],
    shape: tuple[int, int],
    *,
    rule: PaintRule = "",
    hidden: Collection[int] = (),
    dtype: npt.DTypeLike | None = None,
    box: Box | None = None,
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
    box : Box, optional
        The part of the plane to paint, the same as in the whole; only objects that meet it
        cost anything.  As the order of two objects depends on no third one, the others may be
        missing if `dtype` is given.

    Returns
    -------
    ndarray of int, shape (rows, cols) or `box.shape`
        0 is background.

    Raises
    ------
    ValueError
        If an object or the box lies outside the plane, there is no such rule, a label is
        below 1, or `dtype` cannot hold all labels.
    """
    listed = list(objects)
    _refuse_outside(listed, shape, box)
    labels = np.zeros(box.shape if box else shape, _fitting_dtype(listed, dtype))
    unseen = frozenset(hidden)
    shown = [
        one
        for one in listed
        if one.state != "rejected"
        and one.label not in unseen
        and (box is None or one.instance.box.meets(box))
    ]
    items = (
        (one.label, one.instance.box, one.instance.mask) for one in objects_from_top(shown, rule)
    )
    paint(labels, items, box)
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
    listed = list(objects)
    _refuse_outside(listed, shape, None)
    return objects_from_top(listed, rule)


def objects_from_top(objects: Iterable[PlaneObject], rule: PaintRule = "") -> list[PlaneObject]:
    """Return objects as `order_from_top` does, without a look at where they lie."""
    if not rule:
        return sorted(objects, key=lambda one: (one.depth, one.label))
    listed = sorted(objects, key=lambda one: one.label)
    # what was drawn by hand has no score, and lies on top of what an engine found
    scores = [1.0 if (score := one.instance.score) is None else score for one in listed]
    areas = [one.instance.area for one in listed]
    return [listed[index] for index in top_first(scores, areas, rule)]


def _refuse_outside(
    objects: Iterable[PlaneObject], shape: tuple[int, int], box: Box | None
) -> None:
    """Refuse what slices would silently cut or wrap around."""
    Instances(shape, tuple(one.instance for one in objects))
    if box is not None and box.intersection(Box.of_shape(shape)) != box:
        raise ValueError(f"{box} lies outside a plane of shape {shape}")


def _fitting_dtype(objects: Sequence[PlaneObject], dtype: npt.DTypeLike | None) -> np.dtype[Any]:
    numbers = [one.label for one in objects]
    smallest, largest = min(numbers, default=1), max(numbers, default=1)
    if smallest < 1:
        raise ValueError(f"an object has the label {smallest}, but labels start at 1")
    chosen = labels_dtype(largest) if dtype is None else np.dtype(dtype)
    if largest > np.iinfo(chosen).max:
        raise ValueError(f"label {largest} does not fit in {chosen}")
    return chosen
