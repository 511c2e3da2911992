"""The model of the stand-in: the built-in engine, asked what the service was asked.

Deterministic and true to the pixel: a shifted, swapped or scaled coordinate shows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from napari_sam3.core.arrays import BoolArray, UInt8Array
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt, Everything, Exemplar, ObjectPrompt, Point
from napari_sam3.engines.base import Engine, SegmentationRequest
from napari_sam3.testing._fields import Fields

Model = Callable[[UInt8Array, Fields], Sequence[BoolArray]]
"""Picture, shape (rows, cols, 3), and fields → masks, each of shape (rows, cols)."""

VOCABULARY = frozenset(
    {"nucleus", "nuclei", "cell", "cells", "object", "objects", "blob", "blobs", "spot", "spots"}
)
"""The words that the stand-in understands, alone or after "bright" or "dark"."""

_DEFAULT_IOU, _DEFAULT_SCORE = 0.88, 0.5


def builtin_model(image: UInt8Array, fields: Fields) -> Sequence[BoolArray]:
    """Answer through the built-in engine.

    Parameters
    ----------
    image : ndarray of uint8, shape (rows, cols, 3)
    fields : Fields
        Text wins over boxes, boxes win over points: the service may ignore kinds too.

    Returns
    -------
    list of ndarray of bool, shape (rows, cols)
        In scan order, so that the order tells nothing about scores.

    Notes
    -----
    Text: all objects, for a word of `VOCABULARY`; "bright" or "dark" before it keeps those
    whose mean is above or below the picture's median; other words find nothing.  Boxes:
    everything alike.  Points: one object.  No prompt: all objects if `points_per_side` > 0.
    `threshold` applies to text and boxes.  `pred_iou_thresh` applies without prompt,
    moved so that its default means the same as that of `threshold`, since the built-in
    engine's scores are lower than the real model's.
    """
    found = sorted(_found(image, fields), key=_scan_position)
    kept = found[: fields.max_masks] if fields.max_masks else found
    return [item.in_window(Box.of_shape(image.shape[:2])) for item in kept]


def _found(image: UInt8Array, fields: Fields) -> list[Instance]:
    if fields.text:
        return _named(image, fields)
    if fields.boxes:
        exemplars = tuple(Exemplar(_whole_box(*box)) for box in fields.boxes)
        return _ask(image, ConceptPrompt(exemplars=exemplars), fields.threshold)
    if fields.points:
        return _clicked(image, fields)
    if fields.points_per_side == 0:
        return []
    score = round(max(0.0, fields.pred_iou_thresh - _DEFAULT_IOU + _DEFAULT_SCORE), 6)
    return _ask(image, Everything(), score)


def _named(image: UInt8Array, fields: Fields) -> list[Instance]:
    first, _, rest = fields.text.lower().partition(" ")
    side = {"bright": 1, "dark": -1}.get(first, 0)
    if (rest.strip() if side else fields.text.lower()) not in VOCABULARY:
        return []
    found = _ask(image, Everything(), fields.threshold)
    gray = image.mean(axis=2)
    middle = float(np.median(gray))
    means = [float(gray[item.box.slices][item.mask].mean()) for item in found]
    return [
        item
        for item, mean in zip(found, means, strict=True)
        if side == 0 or (mean - middle) * side > 0
    ]


def _clicked(image: UInt8Array, fields: Fields) -> list[Instance]:
    if 1 not in fields.labels:
        return []
    marks = zip(fields.points, fields.labels, strict=True)
    # rounded down: an x of 71.6 lies in the last of 72 columns
    points = tuple(Point(math.floor(y), math.floor(x), label == 1) for (x, y), label in marks)
    return _ask(image, ObjectPrompt(points), 0.0)


def _ask(
    image: UInt8Array, prompt: ConceptPrompt | ObjectPrompt | Everything, min_score: float
) -> list[Instance]:
    request = SegmentationRequest(Pixels(image), prompt, min_score)
    return list(_engine().segment(request).instances)


@functools.cache
def _engine() -> Engine:
    # made when first needed: it loads SciPy and scikit-image
    from napari_sam3.engines.builtin.engine import BuiltinEngine

    return BuiltinEngine()


def _whole_box(left: float, top: float, right: float, bottom: float) -> Box:
    return Box(math.floor(top), math.floor(left), math.ceil(bottom), math.ceil(right))


def _scan_position(item: Instance) -> tuple[int, int]:
    return item.box.top, item.box.left + int(np.argmax(item.mask[0]))
