"""One object from an outline that somebody drew around it by hand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from skimage.draw import polygon2mask

from napari_sam3.core.arrays import BoolArray
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, common_area
from napari_sam3.core.prompts import ObjectPrompt, Point
from napari_sam3.engines.base import NEVER
from napari_sam3.engines.builtin import box as classical_box
from napari_sam3.engines.builtin.marks import Marks
from napari_sam3.engines.builtin.nets.cells import overlap
from napari_sam3.engines.builtin.nets.objects import segment_outline
from napari_sam3.engines.builtin.scene import Scene
from napari_sam3.engines.builtin.trained import held, looks_drawn, proposals

_MEANT = 0.5
_INSIDE = 0.75
_BY_HAND = 0.5
"""The overlap that an outline drawn in haste is said to have."""


def object_in_outline(
    picture: Scene, prompt: ObjectPrompt, stop: threading.Event = NEVER
) -> Instance | None:
    """Segment the object that an outline was drawn around.

    Parameters
    ----------
    prompt : ObjectPrompt
        With an outline that reaches into the picture.

    Returns
    -------
    Instance or None
        What was drawn itself, where the image shows nothing like it; None where the outline
        holds no pixel.
    """
    drawn = filled(prompt.outline, picture.box)
    if drawn is None:
        return None
    marks = Marks.from_points(prompt.points, picture.box)
    found = _found(picture, drawn, prompt.points, marks, stop)
    if found is None or max(overlap(found, drawn), contained(found, drawn)) < _MEANT:
        found = replace(drawn, score=_BY_HAND)
    return held(picture, marks, found)


def _found(
    picture: Scene, drawn: Instance, points: Sequence[Point], marks: Marks, stop: threading.Event
) -> Instance | None:
    if looks_drawn(picture):
        return classical_box.segment_box(picture, drawn.box, marks, stop)
    inside = [point for point in points if picture.box.contains(*point.pixel)]
    boxed = next(iter(proposals(picture, inside, drawn.box, stop)), None)
    # a hand draws wide of the object: its box says where it is, the outline what is not meant
    if boxed is not None and contained(boxed, drawn) >= _INSIDE:
        return boxed
    return segment_outline(picture.rgb, drawn, inside)


def contained(item: Instance, other: Instance) -> float:
    """Return how much of one object lies inside of another, 0–1."""
    return common_area(item, other) / max(item.area, 1)


def filled(outline: Sequence[tuple[float, float]], frame: Box) -> Instance | None:
    """Return the pixels of an image inside of an outline.

    Parameters
    ----------
    outline : sequence of (row, col)
        Corners.
    frame : Box
        All pixels of the image.

    Returns
    -------
    Instance or None
        Without a score; None where there is no pixel.
    """
    reach = ObjectPrompt(outline=tuple(outline)).outline_box
    window = None if reach is None else reach.intersection(frame)
    if window is None:
        return None
    corners = np.asarray(outline, float) - (window.top, window.left)
    mask: BoolArray = polygon2mask(window.shape, corners)  # type: ignore[no-untyped-call]
    return Instance.from_mask(mask, window=window)
