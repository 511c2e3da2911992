"""Objects as JSON values, and values that are none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from napari_sam3.core import object_json
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.object_json import (
    MAX_PLANE_PIXELS,
    StoredObjects,
    StoredPlane,
    objects_from_json,
    objects_to_json,
)
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.viewing import View

SHAPE = (40, 61)
BOX = Box(2, 3, 12, 30)


def one(label, box=BOX, score=0.5, **others):
    mask = np.ones(box.shape, bool)
    mask[0, 1:] = False
    return PlaneObject(label, Instance(mask, box, score, "cell"), "Built-in", **others)


def said_of(*objects, planes=1, view=None):
    listed = {each.label: each for each in objects or (one(1), one(7, score=None))}
    stored = [StoredPlane(PlaneIndex((1, 2), (at,)), SHAPE, listed) for at in range(planes)]
    said = objects_to_json(StoredObjects(tuple(stored), view or View()))
    return json.loads(json.dumps(said, allow_nan=False))


def test_objects_come_back_as_they_were():
    view = View("smallest", 0.25, 3, 900, without_border=True, max_iom=0.5)
    first = one(1, state="accepted", depth=-4, source=("run", 2, 5))
    again = objects_from_json(said_of(first, one(7, score=None), planes=2, view=view))
    assert again.view == view
    assert [plane.index.fixed for plane in again.planes] == [(0,), (1,)]
    known, other = again.planes[1].objects.values()
    assert np.array_equal(known.instance.mask, first.instance.mask)
    assert (known.instance.box, known.instance.score, known.instance.concept) == (BOX, 0.5, "cell")
    assert (known.state, known.depth, known.source) == ("accepted", -4, ("run", 2, 5))
    assert (other.instance.score, other.source) == (None, None)


@pytest.mark.parametrize(
    ("score", "kept"), [(1.0000001, 1), (-0.1, 0), (math.nan, None), (np.float32(0.5), 0.5)]
)
def test_what_is_written_can_be_read_whatever_an_engine_says_of_its_confidence(score, kept):
    (plane,) = objects_from_json(said_of(one(1, score=score))).planes
    assert plane.objects[1].instance.score == kept


@pytest.mark.parametrize(
    "view",
    [
        {"min_score": True},
        {"min_score": "0.5"},
        {"min_score": 1.5},
        {"min_score": math.nan},
        {"min_area": 2.5},
        {"min_area": -1},
        {"min_area": True},
        {"max_area": -1},
        {"max_area": "9"},
        {"without_border": 1},
        {"max_iom": None},
        {"max_iom": -0.5},
        {"rule": "largest"},
        {"rule": ["score"]},
        [1],
        "smallest",
    ],
)
def test_a_view_that_is_none_is_refused(view):
    with pytest.raises(ValueError):  # noqa: PT011 - any sentence will do
        objects_from_json(said_of() | {"view": view})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", 0),
        ("label", "3"),
        ("label", 1.5),
        ("label", True),
        ("label", 1 << 32),
        ("score", 1.5),
        ("score", -0.1),
        ("score", math.nan),
        ("score", math.inf),
        ("score", "high"),
        ("score", True),
        ("depth", 0.5),
        ("depth", None),
        ("state", "good"),
        ("concept", 3),
        ("engine", None),
        ("box", [2, 3, 12, 300]),
        ("box", [2, 3, 2, 30]),
        ("box", [2.5, 3, 12, 30]),
        ("box", [2, 3, 12]),
        ("rle", "0"),
        ("rle", 5),
        ("source", ["run", 1]),
        ("source", [3, 1, 1]),
        ("source", ["run", -1, 1]),
        ("source", "run"),
    ],
)
def test_an_object_that_is_none_is_refused(name, value):
    said = said_of()
    said["planes"][0]["items"][1][name] = value
    with pytest.raises(ValueError):  # noqa: PT011 - any sentence will do
        objects_from_json(said)


def test_two_objects_of_one_label_are_refused():
    said = said_of()
    said["planes"][0]["items"][1]["label"] = 1
    with pytest.raises(ValueError, match="the same label"):
        objects_from_json(said)


def test_the_same_plane_twice_is_refused():
    said = said_of(planes=2)
    said["planes"][1]["fixed"] = [0]
    with pytest.raises(ValueError, match="twice"):
        objects_from_json(said)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shape", [40]),
        ("shape", [40, "61"]),
        ("shape", [0, 61]),
        ("shown", [1, 1]),
        ("shown", [1, 3]),
        ("shown", [-1, 2]),
        ("fixed", [-1]),
        ("fixed", [0.5]),
        ("fixed", 0),
        ("items", None),
    ],
)
def test_a_plane_that_is_none_is_refused(name, value):
    said = said_of()
    said["planes"][0][name] = value
    with pytest.raises(ValueError):  # noqa: PT011 - any sentence will do
        objects_from_json(said)


def test_a_plane_that_fits_in_no_memory_is_refused_before_its_objects_are_unfolded(monkeypatch):
    monkeypatch.setattr(object_json, "decode_rle", pytest.fail)
    said = said_of()
    said["planes"][0]["shape"] = [MAX_PLANE_PIXELS // 1000 + 1, 1000]
    with pytest.raises(ValueError, match="no plane has"):
        objects_from_json(said)


def test_masks_are_counted_over_all_planes_before_they_are_unfolded(monkeypatch):
    pixels = BOX.area
    monkeypatch.setattr(object_json, "MAX_MASK_PIXELS", 4 * pixels)
    assert len(objects_from_json(said_of(planes=2)).planes) == 2
    monkeypatch.setattr(object_json, "MAX_MASK_PIXELS", 4 * pixels - 1)
    with pytest.raises(ValueError, match="fit in memory"):
        objects_from_json(said_of(planes=2))


@pytest.mark.parametrize("value", [None, [], {}, {"planes": None}, {"planes": [3]}, "planes"])
def test_what_is_no_record_of_objects_is_refused(value):
    with pytest.raises(ValueError):  # noqa: PT011 - any sentence will do
        objects_from_json(value)
