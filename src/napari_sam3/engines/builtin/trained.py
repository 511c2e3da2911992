"""The nets' answers, and the classical ones where the nets are unsure or not at home."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.prompts import Point, Proposal
from napari_sam3.engines.base import NEVER, raise_if_stopped
from napari_sam3.engines.builtin import box as classical_box
from napari_sam3.engines.builtin import clicks as classical_clicks
from napari_sam3.engines.builtin.everything import instances_of, regions_of
from napari_sam3.engines.builtin.marks import Marks, corners, window_at
from napari_sam3.engines.builtin.nets.dense_net import colours_of, find_diameter
from napari_sam3.engines.builtin.nets.everything import object_at, segment_everything
from napari_sam3.engines.builtin.nets.objects import (
    PROPOSALS,
    distinct,
    preferred,
    segment_boxes,
    segment_clicks,
)
from napari_sam3.engines.builtin.scene import LastOnes, Scene, is_drawn

# below this expected overlap the classical answer is asked for, too
_UNSURE = 0.6
# as it is for a box whose answer is no clear one, or does not fill it as a hurried hand draws one
_CLEAR = 0.75
_FITS = 0.8
_DRAWN_PART = 768
# how many answers to clicks are kept, so that a further click refines the last of them
_CHAINS = 64
# pixels around clicks in which the classical algorithm looks
_REACH = 400
# a threefold width is another kind of object
_OTHER_SIZE = np.log(3)


def looks_drawn(picture: Scene) -> bool:
    """Whether a picture is no photograph: there the classical answers are exact."""
    if "drawn" not in picture.memo:
        picture.memo["drawn"] = is_drawn(picture.gray[:_DRAWN_PART, :_DRAWN_PART])
    return bool(picture.memo["drawn"])


def is_new(picture: Scene) -> bool:
    """Whether nothing is known of a picture yet, so that the first answer takes longer."""
    return "drawn" not in picture.memo


def objects_in_boxes(
    picture: Scene, boxes: Sequence[Box], stop: threading.Event = NEVER
) -> list[Instance | None]:
    """Segment the object in each box.

    Parameters
    ----------
    boxes : sequence of Box
        Each at least partly inside the picture.
    """
    if looks_drawn(picture):
        return [classical_box.segment_box(picture, box, Marks(), stop) for box in boxes]
    found = segment_boxes(picture.rgb, boxes)
    for index, (box, item) in enumerate(zip(boxes, found, strict=True)):
        raise_if_stopped(stop)
        if _score(item) < _CLEAR or _fit(item, box) < _FITS:
            other = classical_box.segment_box(picture, box, Marks(), stop)
            found[index] = max(item, other, key=lambda one: _score(one) * _fit(one, box) ** 2)
    return found


def proposals(
    picture: Scene,
    points: Sequence[Point],
    box: Box | None = None,
    stop: threading.Event = NEVER,
    wanted: Proposal = "",
) -> list[Instance]:
    """Segment the object that clicks, and perhaps a box, mean.

    Parameters
    ----------
    points : sequence of Point
        In the order of the clicks.
    box : Box, optional
        At least partly inside the picture.
    wanted : {"", "small", "medium", "large"}
        Which of what the first click may mean comes first.

    Returns
    -------
    list of Instance
        At most three, the likeliest first if none is wanted; all clicks hold.  None where the
        clicks fell on background.
    """
    marks = Marks.from_points(tuple(points), picture.box)
    if looks_drawn(picture):
        return [item for item in [_classical(picture, marks, box, stop)] if item is not None]
    inside = [point for point in points if picture.box.contains(*point.pixel)]
    # what does not belong to an object says nothing before there is one
    first = next((point for point in inside if point.positive), None)
    inside.sort(key=lambda point: point is not first)
    found = _clicked(picture, inside, box, stop, wanted) if inside else []
    if box is not None and not inside:
        found = [item for item in objects_in_boxes(picture, [box], stop) if item is not None]
    raise_if_stopped(stop)
    # an answer that was corrected by clicks is the better opinion
    is_corrected = bool(found) and len(inside) > 1
    if not is_corrected and max(map(_score, found), default=0.0) < _UNSURE:
        other = _classical(picture, marks, box, stop)
        found = distinct([*found, *([] if other is None else [other])])[:PROPOSALS]
        found = preferred(found, wanted if len(inside) == 1 else "")
    changed = [held(picture, marks, item) for item in found]
    return [item for item in changed if item is not None]


def _clicked(
    picture: Scene,
    points: Sequence[Point],
    box: Box | None,
    stop: threading.Event,
    wanted: Proposal,
) -> list[Instance]:
    size = None if box is not None else diameter_in(picture, stop)

    def seen() -> Instance | None:
        if size is None:
            return None
        return object_at(picture.rgb, points[0], size, colours=picture.memo["colours"])

    known = picture.memo.setdefault("clicks", LastOnes(_CHAINS))
    return segment_clicks(picture.rgb, points, box, seen=seen, wanted=wanted, known=known)


def diameter_in(picture: Scene, stop: threading.Event = NEVER) -> float | None:
    """Return about how wide a picture's objects are, in pixels; remembered with the picture.

    Returns
    -------
    float or None
        None where no object is seen.
    """
    if "diameter" not in picture.memo:
        picture.memo["colours"] = colours_of(picture.rgb)
        picture.memo["diameter"] = find_diameter(picture.rgb, stop=stop)
    size: float | None = picture.memo["diameter"]
    return size


def all_objects(
    picture: Scene, diameter: float | None = None, stop: threading.Event = NEVER
) -> list[Instance]:
    """Segment all objects of a picture; remembered with the picture.

    Parameters
    ----------
    diameter : float, optional
        About how wide the objects are, in pixels; estimated if not given.
    """
    key = f"all {diameter}"
    if key not in picture.memo:
        found: list[Instance] = []
        size = None if looks_drawn(picture) else diameter or diameter_in(picture, stop)
        if size is not None:
            found = segment_everything(picture.rgb, size, stop=stop)
        if max(map(_score, found), default=0.0) < _UNSURE:
            # nothing that the net knows: thresholds may still tell the objects apart
            picture.memo[f"{key} beyond"] = True
            found = _of_width(instances_of(regions_of(picture, stop=stop)), diameter)
        picture.memo[key] = found
    return list(picture.memo[key])


def known_objects(picture: Scene) -> list[Instance]:
    """Return what `all_objects` found without a diameter, if it was asked before."""
    return list(picture.memo.get("all None", ()))


def saw_nothing_known(picture: Scene, diameter: float | None = None) -> bool:
    """Whether `all_objects` was asked, and the nets were not sure of any object."""
    return f"all {diameter} beyond" in picture.memo


def _of_width(items: list[Instance], diameter: float | None) -> list[Instance]:
    if diameter is None:
        return items
    off = (abs(np.log(2 * np.sqrt(item.area / np.pi) / diameter)) for item in items)
    return [item for item, wrong in zip(items, off, strict=True) if wrong <= _OTHER_SIZE]


def _score(item: Instance | None) -> float:
    return 0.0 if item is None else item.score or 0.0


def _fit(item: Instance | None, box: Box) -> float:
    """Return how well an object fills the box drawn around it, 0–1."""
    if item is None or item.box.intersection(box) is None:
        return 0.0
    return classical_box.fit_to_box(item.mask, box.shifted(-item.box.top, -item.box.left))


def _classical(
    picture: Scene, marks: Marks, box: Box | None, stop: threading.Event
) -> Instance | None:
    if box is not None:
        return classical_box.segment_box(picture, box, marks, stop)
    if looks_drawn(picture):
        return classical_clicks.segment_clicks(picture, marks, stop)
    near = _near(picture.box, marks)
    part = picture if near == picture.box else Scene(picture.rgb[near.slices])
    found = classical_clicks.segment_clicks(part, marks.inside(near), stop)
    return None if found is None else found.shifted(near.top, near.left)


def _near(frame: Box, marks: Marks) -> Box:
    """Return the part of a picture around clicks: a second opinion must not search all of it."""
    rows, cols = zip(*marks.positive, strict=True)
    reach = Box(min(rows) - _REACH, min(cols) - _REACH, max(rows) + _REACH, max(cols) + _REACH)
    return reach.intersection(frame) or frame


def held(picture: Scene, marks: Marks, item: Instance) -> Instance | None:
    """Return an object changed as little as it takes for all clicks to hold; None if none is left.

    Parameters
    ----------
    marks : Marks
        The clicks.
    """
    places = (*marks.positive, *marks.negative, *corners(item))
    window = window_at(picture.box, places, 3)
    mask, inside = item.in_window(window), marks.inside(window)
    if inside.hold(mask):
        return item
    changed = inside.enforced(mask, picture.window(window))
    return Instance.from_mask(changed, item.score, item.concept, window)
