"""A store of objects ↔ JSON values.

The masks are run lengths as in COCO, of the crop that the part's box cuts out:
``{"size": [rows, cols], "counts": rle}`` is what other programs read.  What comes in is not
trusted: every size is checked before anything of that size is allocated.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject, Part, ReviewState
from napari_sam3.core.overlaps import meet_often
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.rle import decode_rle, encode_rles
from napari_sam3.core.schema import Schema
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View

MAX_MASK_PIXELS = 1 << 30
"""Run lengths unfold a millionfold; no more pixels than these are unfolded in all."""

MAX_MEETING = 10_000_000
"""So many pairs of a plane's objects may overlap; each is looked at when a view needs it."""

MAX_PLANE_PIXELS = 1 << 31
"""A larger plane is none that was ever painted."""

MAX_DEPTH = 1 << 62
"""More than objects are ever drawn over one another."""

# what may be missing, but not null
ABSENT: Any = None

Count = Annotated[int, Field(ge=0)]
Counts = tuple[Count, ...]
Pair = tuple[Count, Count]
Fraction = Annotated[float, Field(ge=0, le=1)]
# the highest that a label image holds
LabelNumber = Annotated[int, Field(ge=1, le=(1 << 32) - 1)]
AnswerObject = Annotated[
    tuple[str, Count, Count],
    Field(description="One object of an answer: run, question, object."),
]


@dataclass(frozen=True, kw_only=True)
class PartShape:
    """What one plane of the labels has of an object, whole: also where others hide it."""

    shown: Pair
    """The axes of the labels that are the plane's rows and columns."""
    fixed: Counts
    """The position along each of the others."""
    box: Box
    """Top, left, bottom, right, half-open."""
    rle: str
    """The pixels within the box, as the `counts` of COCO's compressed run lengths, column by
    column."""
    score: Fraction | None
    concept: str
    engine: str
    """The title of what found it; empty for what was drawn."""
    prompt: str = ""
    """What it was asked for by, in a few words."""
    source: AnswerObject = ABSENT
    """The answer that it is from. Missing where it was drawn or came from elsewhere."""

    @property
    def index(self) -> PlaneIndex:
        """Which plane it is."""
        return PlaneIndex(self.shown, self.fixed)


@dataclass(frozen=True, kw_only=True)
class ObjectShape:
    """An object behind the labels, over all of its planes."""

    label: LabelNumber
    state: ReviewState
    """What a person said of it; rejected ones are not shown."""
    depth: Annotated[int, Field(ge=-MAX_DEPTH, le=MAX_DEPTH)]
    """Of two that share a pixel, the one of smaller depth shows, unless a rule says otherwise."""
    parts: Annotated[tuple[PartShape, ...], Field(min_length=1)]
    """One for each plane on which it lies."""


@dataclass(frozen=True, kw_only=True)
class ObjectsShape:
    """The objects behind the labels, whole: also where others hide them, and rejected ones."""

    items: tuple[ObjectShape, ...]
    view: View = ABSENT
    """Which of them are shown."""


_OBJECTS: Schema[ObjectsShape] = Schema(ObjectsShape)


def objects_to_json(store: ObjectStore) -> dict[str, Any]:
    """Return the objects of a store, and which of them it shows, as JSON values.

    Examples
    --------
    >>> objects_to_json(ObjectStore((2, 3)))["items"]
    []
    """
    objects = store.objects.values()
    masks = (part.instance.mask for one in objects for part in one.parts.values())
    texts = iter(encode_rles(list(masks)))
    return {
        "view": asdict(store.view),
        "items": [
            {
                "label": one.label,
                "state": one.state,
                "depth": one.depth,
                "parts": [_part_to_json(*each, next(texts)) for each in one.parts.items()],
            }
            for one in objects
        ],
    }


def _part_to_json(index: PlaneIndex, part: Part, rle: str) -> dict[str, Any]:
    item = part.instance
    box = item.box
    return {
        "shown": list(index.shown),
        "fixed": list(index.fixed),
        "box": [box.top, box.left, box.bottom, box.right],
        "rle": rle,
        "score": _score(item.score),
        "concept": item.concept,
        "engine": part.engine,
        "prompt": part.prompt,
        **({} if part.source is None else {"source": list(part.source)}),
    }


def _score(score: float | None) -> float | None:
    """Return a score that can be read again, whatever an engine gave."""
    if score is None or math.isnan(score):
        return None
    return min(max(float(score), 0.0), 1.0)


def objects_from_json(value: Any, shape: Sequence[int]) -> ObjectStore:
    """Return the store that `objects_to_json` made the values of.

    Parameters
    ----------
    value : dict
    shape : sequence of int
        Of the label image.

    Raises
    ------
    ValueError
        If they are none, or the label image has no such planes.
    """
    said = _OBJECTS.read(value)
    for one in said.items:
        for part in one.parts:
            _refuse_misfit(part, tuple(shape))
    if sum(part.box.area for one in said.items for part in one.parts) > MAX_MASK_PIXELS:
        raise ValueError("the masks would not fit in memory")
    objects = [_object(one) for one in said.items]
    _refuse_crowds(objects)
    return ObjectStore(shape, objects, said.view)


def _refuse_misfit(part: PartShape, shape: tuple[int, ...]) -> None:
    """Refuse a part where labels of this shape have none; nothing of its size is made."""
    one, other = part.shown
    if one == other or max(one, other) >= part.index.ndim:
        raise ValueError(f"no plane is shown by the axes {part.shown}")
    rest = [size for axis, size in enumerate(shape) if axis not in part.shown]
    if part.index.ndim != len(shape) or any(
        at >= size for at, size in zip(part.fixed, rest, strict=True)
    ):
        raise ValueError(
            f"a plane that is shown by the axes {part.shown} at {part.fixed} is none of labels of "
            f"{' × '.join(map(str, shape))} pixels"
        )
    rows, cols = shape[one], shape[other]
    if rows * cols > MAX_PLANE_PIXELS:
        raise ValueError(f"no plane has {rows} × {cols} pixels")
    box = part.box
    if min(box.top, box.left) < 0 or box.bottom > rows or box.right > cols:
        raise ValueError(f"an object lies outside of {rows} × {cols} pixels")


def _object(said: ObjectShape) -> LabelledObject:
    parts = {part.index: _part(part, said.label) for part in said.parts}
    if len(parts) < len(said.parts):
        raise ValueError(f"object {said.label} is on the same plane twice")
    return LabelledObject(said.label, parts, said.state, said.depth)


def _part(said: PartShape, label: int) -> Part:
    mask = decode_rle(said.rle, said.box.shape)
    if not mask.any():
        raise ValueError(f"object {label} has no pixel")
    item = Instance(mask, said.box, said.score, said.concept)
    return Part(item, said.engine, said.source, said.prompt)


def _refuse_crowds(objects: Iterable[LabelledObject]) -> None:
    by_plane: dict[PlaneIndex, list[Instance]] = defaultdict(list)
    for one in objects:
        for index, part in one.parts.items():
            by_plane[index].append(part.instance)
    if any(meet_often(items, MAX_MEETING) for items in by_plane.values()):
        raise ValueError("more objects lie over one another than can be looked at")
