"""Objects as JSON values, and values that are none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam3.core import object_json
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.object_json import MAX_PLANE_PIXELS, objects_from_json, objects_to_json
from napari_sam3.core.objects import REVIEW_STATES, LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View

SHAPE = (4, 40, 61)
BOX = Box(2, 3, 12, 30)


def part(box=BOX, score=0.5, source=None):
    mask = np.ones(box.shape, bool)
    mask[0, 1:] = False
    return Part(Instance(mask, box, score, "cell"), "Built-in", source)


PART = part()


def one(label, planes=1, *, part=None, **others):
    parts = {PlaneIndex((1, 2), (at,)): part or PART for at in range(planes)}
    return LabelledObject(label, parts, **others)


def said_of(*objects, view=None):
    store = ObjectStore(SHAPE, objects or (one(1), one(7, part=part(score=None))), view)
    return json.loads(json.dumps(objects_to_json(store), allow_nan=False))


def read(said, shape=SHAPE):
    return objects_from_json(said, shape)


@st.composite
def instances(draw, rows, cols):
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, cols - 1))
    bottom, right = draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, cols))
    shape = bottom - top, right - left
    mask = draw(arrays(bool, shape))
    mask[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = True
    score = draw(st.none() | st.floats(0, 1))
    return Instance(mask, Box(top, left, bottom, right), score, draw(st.sampled_from(["", "ü"])))


@st.composite
def stores(draw):
    """Return any store, its planes of any axes."""
    shape = draw(st.sampled_from([(5, 8), (3, 5, 8), (2, 3, 4, 6)]))
    axes = st.permutations(range(len(shape))).map(lambda order: tuple(order[:2]))
    view = draw(st.sampled_from([View(), View("smallest", max_iom=0.3), View(min_area=4)]))
    objects = []
    for label in draw(st.sets(st.integers(1, (1 << 32) - 1), max_size=4)):
        parts = {}
        for shown in draw(st.lists(axes, min_size=1, max_size=3)):
            rest = [size for axis, size in enumerate(shape) if axis not in shown]
            index = PlaneIndex(shown, tuple(draw(st.integers(0, size - 1)) for size in rest))
            item = draw(instances(*(shape[axis] for axis in shown)))
            source = draw(st.none() | st.just(("run", 2, 5)))
            words = st.sampled_from(["", "Built-in", "2 clicks"])
            parts[index] = Part(item, draw(words), source, draw(words))
        state, depth = draw(st.sampled_from(REVIEW_STATES)), draw(st.integers(-9, 9))
        objects.append(LabelledObject(label, parts, state, depth))
    return ObjectStore(shape, objects, view)


def facts(store):
    """Return all that is kept of a store, as values that can be compared."""
    return {
        label: (
            one.state,
            one.depth,
            {
                index: (
                    (item := each.instance).box,
                    item.mask.tolist(),
                    item.score,
                    item.concept,
                    each.engine,
                    each.source,
                    each.prompt,
                )
                for index, each in one.parts.items()
            },
        )
        for label, one in store.objects.items()
    }


@given(stores())
@settings(deadline=None)
def test_any_store_comes_back_as_it_was(store):
    said = json.loads(json.dumps(objects_to_json(store), allow_nan=False))
    again = read(said, store.shape)
    assert facts(again) == facts(store)
    assert (again.shape, again.view, again.hidden) == (store.shape, store.view, store.hidden)
    assert set(again.planes) == set(store.planes)
    for index in store.planes:
        whole = Box.of_shape(store.plane_shape(index))
        one, other = (each.view_of(index).paint(whole, np.uint32) for each in (store, again))
        np.testing.assert_array_equal(one, other)


def test_an_object_over_planes_is_one_entry():
    (said,) = said_of(one(3, 4, state="accepted"))["items"]
    assert (said["label"], said["state"]) == (3, "accepted")
    assert [each["fixed"] for each in said["parts"]] == [[0], [1], [2], [3]]


@pytest.mark.parametrize(
    ("score", "kept"), [(1.0000001, 1), (-0.1, 0), (math.nan, None), (np.float32(0.5), 0.5)]
)
def test_what_is_written_can_be_read_whatever_an_engine_says_of_its_confidence(score, kept):
    assert read(said_of(one(1, part=part(score=score)))).objects[1].score == kept


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
        read(said_of() | {"view": view})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", 0),
        ("label", "3"),
        ("label", 1.5),
        ("label", True),
        ("label", 1 << 32),
        ("depth", 0.5),
        ("depth", None),
        ("depth", 1 << 63),
        ("state", "good"),
        ("parts", []),
        ("parts", None),
        ("parts", [3]),
    ],
)
def test_an_object_that_is_none_is_refused(name, value):
    said = said_of()
    said["items"][1][name] = value
    with pytest.raises(ValueError):  # noqa: PT011 - any sentence will do
        read(said)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score", 1.5),
        ("score", -0.1),
        ("score", math.nan),
        ("score", math.inf),
        ("score", "high"),
        ("score", True),
        ("concept", 3),
        ("engine", None),
        ("prompt", 3),
        ("box", [2, 3, 12, 300]),
        ("box", [2, 3, 2, 30]),
        ("box", [-1, 3, 9, 30]),
        ("box", [2.5, 3, 12, 30]),
        ("box", [2, 3, 12]),
        ("rle", "0"),
        ("rle", 5),
        ("source", ["run", 1]),
        ("source", [3, 1, 1]),
        ("source", ["run", -1, 1]),
        ("source", "run"),
        ("shown", [1, 1]),
        ("shown", [1, 3]),
        ("shown", [-1, 2]),
        ("shown", [0, 1]),
        ("shown", [2, 1]),
        ("fixed", [-1]),
        ("fixed", [4]),
        ("fixed", [0.5]),
        ("fixed", [0, 0]),
        ("fixed", []),
        ("fixed", 0),
    ],
)
def test_a_part_of_an_object_that_is_none_is_refused(name, value):
    large = part(Box(2, 3, 38, 60))
    said = said_of(one(1), one(7, part=large))
    said["items"][1]["parts"][0][name] = value
    with pytest.raises(ValueError):  # noqa: PT011 - any sentence will do
        read(said)


def test_two_objects_of_one_label_are_refused():
    said = said_of()
    said["items"][1]["label"] = 1
    with pytest.raises(ValueError, match="the same label"):
        read(said)


def test_the_same_plane_twice_is_refused():
    said = said_of(one(3, 2))
    said["items"][0]["parts"][1]["fixed"] = [0]
    with pytest.raises(ValueError, match="twice"):
        read(said)


def test_a_plane_that_fits_in_no_memory_is_refused_before_its_objects_are_unfolded(monkeypatch):
    monkeypatch.setattr(object_json, "decode_rle", pytest.fail)
    with pytest.raises(ValueError, match="no plane has"):
        read(said_of(), (4, MAX_PLANE_PIXELS // 1000 + 1, 1000))


def test_masks_are_counted_over_all_planes_before_they_are_unfolded(monkeypatch):
    pixels = BOX.area
    monkeypatch.setattr(object_json, "MAX_MASK_PIXELS", 4 * pixels)
    assert len(read(said_of(one(1, 2), one(7, 2)))) == 2
    monkeypatch.setattr(object_json, "MAX_MASK_PIXELS", 4 * pixels - 1)
    monkeypatch.setattr(object_json, "decode_rle", pytest.fail)
    with pytest.raises(ValueError, match="fit in memory"):
        read(said_of(one(1, 2), one(7, 2)))


@pytest.mark.parametrize("value", [None, [], {}, {"items": None}, {"items": [3]}, "items"])
def test_what_is_no_record_of_objects_is_refused(value):
    with pytest.raises(ValueError):  # noqa: PT011 - any sentence will do
        read(value)
