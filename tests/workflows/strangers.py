"""A record with all that one may hold, and what a stranger may make of it."""

from __future__ import annotations

import copy

import numpy as np

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
)
from napari_sam3.core.store import ObjectStore
from napari_sam3.engines.base import AnswerRecord, SegmentationResult, Usage
from napari_sam3.jobs.answers import digest
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.object_records import with_objects
from napari_sam3.workflows.provenance import append_run, new_record, run_record
from napari_sam3.workflows.replay import rebuild
from napari_sam3.workflows.run import SegmentRun
from napari_sam3.workflows.sidecars import labels_digest

SHAPE = (3, 12, 17)
GRAY = {"kind": "gray", "contrast_limits": [0.0, 1.0], "gamma": 1.0, "inverted": False}
WHOLE = Instances(SHAPE[1:], (Instance(np.ones((3, 4), bool), Box(2, 3, 5, 7), 0.5, "n"),))
CROPPED = Instances((6, 8), (Instance(np.ones((2, 2), bool), Box(1, 1, 3, 3), 0.5, "n"),))
CROP = Box(2, 3, 8, 11)
EXAMPLES = (Exemplar(Box(1, 2, 8, 9)),)
PROMPTS = (
    ObjectPrompt((Point(3, 4),), Box(1, 2, 8, 9)),
    ConceptPrompt("nucleus", EXAMPLES),
    Everything(diameter=12.0),
    ObjectPrompt(outline=((1.0, 2.0), (3.0, 2.0), (3.0, 5.0))),
    CombinedPrompt("nucleus", EXAMPLES, (Point(3, 4),)),
)

HOSTILE = (-1000, 1e300, 1e-300, 10**19, 0.5, [], None, "x")
"""What no number in a record is."""


def full_record():
    """Return a record of a plane of a stack, its answers, and its labels."""
    placement = {
        "shape": list(SHAPE), "scale": [2.0, 0.5, 0.5], "translate": [0.0, 1.0, 2.0],
        "rotate": np.eye(3).tolist(), "shear": [0.0] * 3, "affine": np.eye(4).tolist(),
        "units": ["pixel"] * 3, "axis_labels": ["z", "y", "x"],
    }  # fmt: skip
    image = {"name": "cells.tif", "shape": list(SHAPE)}
    record, answers = new_record(image, placement), {}
    plane = {
        "index": [1, 0, 0], "shown": [1, 2], "level": 0, "factors": [1.0] * 3,
        "shape": list(SHAPE[1:]), "world": [1.0, 0.0, 0.0],
    }  # fmt: skip
    for number, prompt in enumerate(PROMPTS):
        crop = CROP if number == 1 else None
        found = WHOLE if crop is None else CROPPED
        asked = AnswerRecord("a" * 64, "b" * 64, digest(found), "builtin", "m", {"most": 9}, 1.7e9)
        result = SegmentationResult(found, Usage(0.1, 0.2, "r"), record=asked)
        answer = SegmentAnswer((result,), found.image_shape, picture=GRAY)
        run = run_record(
            SegmentRun(None, (prompt,)), answer, engine="builtin", plane=plane, image=image,
            labels={0: number + 1}, run_id=f"run {number}", crop=crop,
            replaced={0: number} if number else {},
            former=[(f"run {number - 1}", 0, 0)] if number else [],
        )  # fmt: skip
        record = append_run(record, run)
        answers[run["id"], 0] = found
    last = len(PROMPTS)
    source = (f"run {last - 1}", 0, 0)
    parts = {PlaneIndex((1, 2), (at,)): Part(WHOLE[0], "Built-in", source) for at in (1, 2)}
    store = ObjectStore(SHAPE, [LabelledObject(last, parts)])
    labels = rebuild(record, answers)
    said = {"sha256": labels_digest(labels), "dtype": "uint16", "shape": list(SHAPE)}
    record = with_objects(record | {"labels": said}, store)
    return record, answers, labels


def altered(record, values, below=()):
    """Yield a place, and the record with each value there in the place of each number."""
    at = record
    for name in below:
        at = at[name]
    for place in _numbers(at, below):
        is_whole = type(_at(record, place)) is int
        for value in (*values, *([float(_at(record, place))] if is_whole else [])):
            other = copy.deepcopy(record)
            _at(other, place[:-1])[place[-1]] = value
            yield f"{'.'.join(map(str, place))} is {value!r}", other


def hollowed(record):
    """Yield a place, and the record with null there, for each place in turn."""
    for place in _places(record, ()):
        other = copy.deepcopy(record)
        _at(other, place[:-1])[place[-1]] = None
        yield ".".join(map(str, place)), other


def _places(value, place):
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield (*place, name)
            yield from _places(value[name], (*place, name))


def _at(record, place):
    for name in place:
        record = record[name]
    return record


def _numbers(value, place):
    if isinstance(value, dict | list):
        names = value if isinstance(value, dict) else range(len(value))
        for name in names:
            yield from _numbers(value[name], (*place, name))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place
