"""A record of objects ↔ JSON values.

The masks are run lengths as in COCO, of the crop that the object's box cuts out:
``{"size": [rows, cols], "counts": rle}`` is what other programs read.  What comes in is not
trusted: every size is checked before anything of that size is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.json_values import fraction, text, whole
from napari_sam3.core.objects import REVIEW_STATES, PlaneObject
from napari_sam3.core.overlaps import meet_often
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.rle import decode_rle, encode_rles
from napari_sam3.core.viewing import View

MAX_MASK_PIXELS = 1 << 30
"""Run lengths unfold a millionfold; no more pixels than these are unfolded in all."""

MAX_MEETING = 10_000_000
"""So many pairs of a plane's objects may overlap; each is looked at when a view needs it."""

MAX_PLANE_PIXELS = 1 << 31
"""A larger plane is none that was ever painted."""

MAX_LABEL = (1 << 32) - 1
"""The highest that a label image holds."""

MAX_DEPTH = 1 << 62
"""More than objects are ever drawn over one another."""

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class StoredPlane:
    """The objects of one plane.

    Parameters
    ----------
    index : PlaneIndex
    shape : tuple of int
        (rows, cols).
    objects : dict
        By label.
    """

    index: PlaneIndex
    shape: Shape
    objects: dict[int, PlaneObject]


@dataclass(frozen=True, slots=True, eq=False)
class StoredObjects:
    """All objects of a label image, and which of them it shows.

    Parameters
    ----------
    planes : tuple of StoredPlane
    view : View
    """

    planes: tuple[StoredPlane, ...] = ()
    view: View = field(default_factory=View)


def objects_to_json(stored: StoredObjects) -> dict[str, Any]:
    """Return a record as JSON values.

    Examples
    --------
    >>> objects_to_json(StoredObjects())["planes"]
    []
    """
    return {
        "view": asdict(stored.view),
        "planes": [
            {
                "shown": list(plane.index.shown),
                "fixed": list(plane.index.fixed),
                "shape": list(plane.shape),
                "items": _items(plane),
            }
            for plane in stored.planes
        ],
    }


def objects_from_json(value: Mapping[str, Any]) -> StoredObjects:
    """Return the record that `objects_to_json` made the values of.

    Raises
    ------
    ValueError
        If they are none.
    """
    try:
        planes, pixels = dict[PlaneIndex, StoredPlane](), 0
        for said in value["planes"]:
            plane, unfolded = _plane(said, MAX_MASK_PIXELS - pixels)
            if plane.index in planes:
                raise ValueError(f"the plane {plane.index.fixed} is there twice")
            planes[plane.index] = plane
            pixels += unfolded
        return StoredObjects(tuple(planes.values()), _view(value.get("view", {})))
    except (KeyError, TypeError, AttributeError, OverflowError, IndexError) as error:
        raise ValueError(f"no record of objects: {error!r}") from error


def _items(plane: StoredPlane) -> list[dict[str, Any]]:
    objects = plane.objects.values()
    texts = encode_rles([one.instance.mask for one in objects])
    return [_to_json(one, rle) for one, rle in zip(objects, texts, strict=True)]


def _to_json(one: PlaneObject, rle: str) -> dict[str, Any]:
    item = one.instance
    box = item.box
    return {
        "label": one.label,
        "box": [box.top, box.left, box.bottom, box.right],
        "rle": rle,
        "score": _score(item.score),
        "concept": item.concept,
        "engine": one.engine,
        "state": one.state,
        "depth": one.depth,
        **({} if one.source is None else {"source": list(one.source)}),
    }


def _score(score: float | None) -> float | None:
    """Return a score that can be read again, whatever an engine gave."""
    if score is None or math.isnan(score):
        return None
    return min(max(float(score), 0.0), 1.0)


def _plane(said: Mapping[str, Any], room: int) -> tuple[StoredPlane, int]:
    rows, cols = (whole(n) for n in said["shape"])
    everywhere = Box(0, 0, rows, cols)
    if everywhere.area > MAX_PLANE_PIXELS:
        raise ValueError(f"no plane has {rows} × {cols} pixels")
    one, other = (whole(axis) for axis in said["shown"])
    index = PlaneIndex((one, other), tuple(whole(at) for at in said["fixed"]))
    if one == other or max(one, other) >= index.ndim:
        raise ValueError(f"no plane is shown by the axes {index.shown}")
    boxes = [Box(*item["box"]) for item in said["items"]]
    if any(box.intersection(everywhere) != box for box in boxes):
        raise ValueError(f"an object lies outside of {rows} × {cols} pixels")
    pixels = sum(box.area for box in boxes)
    if pixels > room:
        raise ValueError("the masks would not fit in memory")
    items = [_object(item, box) for item, box in zip(said["items"], boxes, strict=True)]
    objects = {one.label: one for one in items}
    if len(objects) < len(items):
        raise ValueError("two objects have the same label")
    if meet_often([one.instance for one in items], MAX_MEETING):
        raise ValueError("more objects lie over one another than can be looked at")
    return StoredPlane(index, (rows, cols), objects), pixels


def _object(said: Mapping[str, Any], box: Box) -> PlaneObject:
    score, state = said.get("score"), said.get("state", "unreviewed")
    label = whole(said["label"], 1, MAX_LABEL)
    if state not in REVIEW_STATES:
        raise ValueError(f"object {label} has no state {state!r}")
    mask = decode_rle(said["rle"], box.shape)
    if not mask.any():
        raise ValueError(f"object {label} has no pixel")
    item = Instance(mask, box, None if score is None else fraction(score), text(said["concept"]))
    depth = whole(said["depth"], -MAX_DEPTH, MAX_DEPTH)
    source = _source(said["source"]) if "source" in said else None
    return PlaneObject(label, item, text(said["engine"]), state, depth, source)


def _source(said: Any) -> tuple[str, int, int]:
    run, question, index = said
    return text(run), whole(question), whole(index)


def _view(said: Any) -> View:
    if not isinstance(said, dict):
        raise TypeError(f"{said!r} is no view")
    return View(**{name: said[name] for name in View.__dataclass_fields__ if name in said})
