"""A record of objects ↔ JSON values.

The masks are run lengths as in COCO, of the crop that the object's box cuts out:
``{"size": [rows, cols], "counts": rle}`` is what other programs read.  What comes in is not
trusted: every size is checked before anything of that size is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import REVIEW_STATES, LabelledObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.rle import decode_rle, encode_rle
from napari_sam3.core.viewing import View

MAX_MASK_PIXELS = 1 << 30
"""Run lengths unfold a millionfold; no more pixels than these are unfolded in all."""

MAX_PLANE_PIXELS = 1 << 31
"""A larger plane is none that was ever painted."""

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
    objects: dict[int, LabelledObject]


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
                "items": [_to_json(one) for one in plane.objects.values()],
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
        planes, pixels = [], 0
        for said in value["planes"]:
            plane, unfolded = _plane(said, MAX_MASK_PIXELS - pixels)
            planes.append(plane)
            pixels += unfolded
        return StoredObjects(tuple(planes), _view(value.get("view") or {}))
    except (KeyError, TypeError, AttributeError, OverflowError, IndexError) as error:
        raise ValueError(f"no record of objects: {error!r}") from error


def _to_json(one: LabelledObject) -> dict[str, Any]:
    item = one.instance
    box = item.box
    return {
        "label": one.label,
        "box": [box.top, box.left, box.bottom, box.right],
        "rle": encode_rle(item.mask),
        "score": None if item.score is None else float(item.score),
        "concept": item.concept,
        "engine": one.engine,
        "state": one.state,
        "depth": one.depth,
        **({} if one.source is None else {"source": list(one.source)}),
    }


def _plane(said: Mapping[str, Any], room: int) -> tuple[StoredPlane, int]:
    rows, cols = (int(n) for n in said["shape"])
    whole = Box(0, 0, rows, cols)
    if whole.area > MAX_PLANE_PIXELS:
        raise ValueError(f"no plane has {rows} × {cols} pixels")
    index = PlaneIndex(
        cast(Shape, tuple(int(a) for a in said["shown"])), tuple(int(i) for i in said["fixed"])
    )
    if len(set(index.shown)) != 2 or not all(0 <= axis < index.ndim for axis in index.shown):
        raise ValueError(f"no plane is shown by the axes {index.shown}")
    boxes = [Box(*said_box["box"]) for said_box in said["items"]]
    if any(box.intersection(whole) != box for box in boxes):
        raise ValueError(f"an object lies outside of {rows} × {cols} pixels")
    pixels = sum(box.shape[0] * box.shape[1] for box in boxes)
    if pixels > room:
        raise ValueError("the masks would not fit in memory")
    items = [_object(one, box) for one, box in zip(said["items"], boxes, strict=True)]
    objects = {one.label: one for one in items}
    if len(objects) < len(items):
        raise ValueError("two objects have the same label")
    return StoredPlane(index, (rows, cols), objects), pixels


def _object(said: Mapping[str, Any], box: Box) -> LabelledObject:
    score, state, label = said.get("score"), said.get("state", "unreviewed"), int(said["label"])
    if label < 1 or state not in REVIEW_STATES:
        raise ValueError(f"no object has the label {label} and the state {state!r}")
    mask = decode_rle(said["rle"], box.shape)
    if not mask.any():
        raise ValueError(f"object {label} has no pixel")
    item = Instance(mask, box, None if score is None else float(score), str(said["concept"]))
    run, question, index = said.get("source") or ("", 0, 0)
    source = (str(run), int(question), int(index)) if run else None
    return LabelledObject(label, item, str(said["engine"]), state, int(said["depth"]), source)


def _view(said: Mapping[str, Any]) -> View:
    known = {name: said[name] for name in View.__dataclass_fields__ if name in said}
    return View(**known)
