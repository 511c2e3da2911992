"""Objects that would show something else than is there, corrected: pixels of others come first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from napari_sam3.core.arrays import LabelImage
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.plane_objects import PlaneView


def corrected(
    objects: Mapping[int, LabelledObject],
    index: PlaneIndex,
    view: PlaneView,
    actual: LabelImage,
    box: Box,
) -> dict[int, LabelledObject]:
    """Return the objects that show what is there, of those that would not.

    Parameters
    ----------
    objects : mapping
        By label, at least all of those that the view shows.
    index : PlaneIndex
    view : PlaneView
        What would be shown of the plane; by depth.
    actual : ndarray of int, shape ``box.shape``
        What is there; below 1 it is background.
    box : Box
    """
    wrong = view.paint(box, np.int64) != np.maximum(actual, 0)
    made: dict[int, LabelledObject] = {}
    if not wrong.any():
        return made
    for one in view.from_top(box):
        common = one.instance.box.intersection(box)
        if common is None:
            continue
        area = common.shifted(-box.top, -box.left).slices
        mask, own = one.instance.in_window(common), actual[area] == one.label
        gone = Instance.from_mask(mask & wrong[area] & ~own, window=common)
        if gone is not None:
            made |= _with_part(objects[one.label], index, one.instance.without(gone))
        # whoever lies below it need not be cut there
        wrong[area] &= ~(mask & own)
    for label in np.unique(actual[wrong & (actual > 0)]).tolist():
        if view.shows(label):
            gained = Instance.from_mask(wrong & (actual == label), window=box)
            whole = made.get(label, objects[label])
            part = whole.parts.get(index)
            if gained is not None and part is not None:
                made |= _with_part(whole, index, part.instance.joined(gained))
    return made


def _with_part(
    one: LabelledObject, index: PlaneIndex, instance: Instance | None
) -> dict[int, LabelledObject]:
    if instance is not None:
        parts = {**one.parts, index: replace(one.parts[index], instance=instance)}
    elif len(one.parts) > 1:
        parts = {at: part for at, part in one.parts.items() if at != index}
    else:
        return {one.label: replace(one, state="rejected")}
    return {one.label: replace(one, parts=parts)}
