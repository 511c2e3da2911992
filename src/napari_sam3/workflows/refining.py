"""One object asked for again, on a crop around it: a finer mask than of the whole picture.

SAM3 predicts masks on a fixed grid, so that a crop around one object gives smaller steps than
the whole image does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray
from napari_sam3.core.drift import match_objects
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.prompts import ObjectPrompt, Point
from napari_sam3.engines.base import Capabilities
from napari_sam3.errors import ImageError
from napari_sam3.workflows.answer import SegmentAnswer

LEAST_MARGIN = 16
"""Pixels around an object, however small it is."""


def crop_around(item: Instance, image_shape: tuple[int, int]) -> Box:
    """Return the box around an object that it is asked for again in: twice its own sides."""
    margin = max(LEAST_MARGIN, *(-(-side // 2) for side in item.box.shape))
    crop = item.box.grown(margin).intersection(Box.of_shape(image_shape))
    if crop is None:
        raise ImageError("The object lies outside of the image; it cannot be refined.")
    return crop


def refining_prompt(
    item: Instance, crop: Box, points: Sequence[Point], can: Capabilities
) -> ObjectPrompt:
    """Return what asks for an object again, in pixels of the crop.

    It begins with the object's box, or, for an engine that takes none, with a click on the
    middle of the object.

    Parameters
    ----------
    item : Instance
        The object as it is.
    crop : Box
        As `crop_around` returns it.
    points : sequence of Point
        What was clicked, in pixels of the picture; what lies outside of the crop is left out.
    can : Capabilities
    """
    clicks = [p for p in points if crop.contains(*p.pixel)]
    if not can.object_box and not any(p.positive for p in clicks):
        clicks = [Point(*innermost(item)), *clicks]
    moved = tuple(Point(p.row - crop.top, p.col - crop.left, p.positive) for p in clicks)
    if not can.object_box:
        return ObjectPrompt(moved)
    box = item.box
    for row, col in (p.pixel for p in clicks if p.positive):
        # what belongs to it lies in its box
        box = box.union(Box(row, col, row + 1, col + 1))
    return ObjectPrompt(moved, box.shifted(-crop.top, -crop.left))


def innermost(item: Instance) -> tuple[int, int]:
    """Return the pixel of an object that is farthest from its outline, (row, col)."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(item.mask, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row) + item.box.top, int(col) + item.box.left


def take_answer(
    one: PlaneObject,
    answer: SegmentAnswer,
    crop: Box,
    plane: npt.NDArray[np.integer[Any]],
    engine: str,
    run_id: str = "",
) -> PlaneObject | None:
    """Return an object with the mask of an answer; None if nothing is left of it.

    Parameters
    ----------
    one : PlaneObject
    answer : SegmentAnswer
        In pixels of the crop.  Of several objects, the one that is most like the old one counts.
    crop : Box
    plane : ndarray of int, shape (rows, cols)
        What the layer shows.  Pixels of other labels stay theirs, unless the object had
        them before.
    engine : str
        The title of who answered.
    run_id : str
        Of the run that asked.
    """
    items = [item.shifted(crop.top, crop.left) for item in answer.instances]
    index = _most_alike(one, Instances(plane.shape, tuple(items)))
    if index is None:
        return None
    found = items[index]
    mask = found.mask & _may_take(one, found.box, plane)
    item = Instance.from_mask(mask, found.score, one.instance.concept)
    if item is None:
        return None
    item = item.shifted(found.box.top, found.box.left)
    source = (run_id, 0, index) if run_id else None
    return replace(one, instance=item, engine=engine, state="edited", source=source)


def _may_take(one: PlaneObject, box: Box, plane: npt.NDArray[np.integer[Any]]) -> BoolArray:
    """Return where in a box no other object shows, or this one was before."""
    shown = plane[box.slices]
    free = np.asarray((shown == 0) | (shown == one.label))
    common = box.intersection(one.instance.box)
    if common is not None:
        own = one.instance.box
        free[common.shifted(-box.top, -box.left).slices] |= one.instance.mask[
            common.shifted(-own.top, -own.left).slices
        ]
    return free


def _most_alike(one: PlaneObject, items: Instances) -> int | None:
    if not len(items):
        return None
    matched = match_objects({one.label: one.instance}, items)
    return matched[one.label][0] if matched else 0
