from __future__ import annotations

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View

SHAPE = (40, 61)


def solid(label, box, score=None, state="unreviewed"):
    item = Instance(np.ones(box.shape, bool), box, score)
    return LabelledObject(label, {PlaneIndex(): Part(item)}, state)


OBJECTS = (
    solid(1, Box(5, 5, 25, 35), 0.9),
    solid(2, Box(6, 6, 16, 16), 0.6),
    solid(3, Box(30, 40, 40, 60), 0.7),
    solid(4, Box(28, 2, 34, 8)),
    solid(9, Box(2, 50, 6, 56), 0.95, "rejected"),
)


def left(view, objects=OBJECTS):
    store = ObjectStore(SHAPE, objects, view)
    return set(store.objects) - store.hidden


def test_without_filters_only_what_was_rejected_is_hidden():
    assert left(View()) == {1, 2, 3, 4}
    assert View("smallest").shows_all


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(min_score=0.65), {1, 3, 4}),
        (View(min_score=0.7), {1, 3, 4}),
        (View(min_area=100), {1, 2, 3}),
        (View(min_area=101), {1, 3}),
        (View(max_area=200), {2, 3, 4}),
        (View(without_border=True), {1, 2, 4}),
        (View(max_iom=0.5), {1, 3, 4}),
        (View(max_iom=1), {1, 2, 3, 4}),
        (View(min_area=100, max_area=199, max_iom=0.2), {2}),
    ],
)
def test_each_filter_hides_what_it_says(view, expected):
    assert left(view) == expected


def test_an_object_that_is_filtered_out_suppresses_no_other():
    assert left(View(max_area=500, max_iom=0.5)) == {2, 3, 4}


def test_no_objects_are_no_trouble():
    assert left(View(min_area=3, max_iom=0.5), ()) == set()


@pytest.mark.parametrize(
    "wrong",
    [{"rule": "largest"}, {"min_score": 1.5}, {"max_iom": -0.1}, {"min_score": float("nan")}],
)
def test_a_view_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"rule|between"):
        View(**wrong)
