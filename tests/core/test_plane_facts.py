from __future__ import annotations

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_facts import PlaneFacts, class_numbers
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View

SHAPE = (40, 61)
PLANE = PlaneIndex()


def solid(label, box, score=0.9, concept="", state="unreviewed", depth=0):
    item = Instance(np.ones(box.shape, bool), box, score, concept)
    return LabelledObject(label, {PLANE: Part(item)}, state, depth)


OBJECTS = (
    solid(1, Box(5, 5, 25, 35), concept="cell"),
    solid(2, Box(6, 6, 16, 16), 0.6, "nucleus", depth=1),
    solid(3, Box(30, 40, 38, 60), 0.7, "cell", depth=2),
)


def facts(view=None, objects=OBJECTS, wanted=()):
    return facts_of(ObjectStore(SHAPE, objects, view), wanted=wanted)


def facts_of(store, index=PLANE, wanted=()):
    numbers = class_numbers(one.concept for one in store.objects.values())
    return PlaneFacts.of(store.view_of(index), SHAPE, numbers, wanted)


def test_the_most_doubtful_come_first_with_their_reasons():
    found = facts()
    assert found.overlapping == {1, 2}
    assert found.doubtful == (2, 3, 1)
    assert found.reasons[2] == "score 0.60, overlaps another"
    assert found.derived == {}


@pytest.mark.parametrize("view", [View(min_score=0.65), View("smallest", min_score=0.65)])
def test_what_is_hidden_is_not_doubtful_but_overlaps_all_the_same(view):
    found = facts(view, [*OBJECTS, solid(7, Box(1, 40, 3, 50), 0.99, state="rejected")])
    assert found.doubtful == (3, 1)
    assert found.reasons.keys() == {1, 3}
    assert found.overlapping == {1, 2}


def test_an_empty_plane_is_no_trouble():
    found = facts(objects=(), wanted={"overlaps", "classes"})
    assert (found.doubtful, found.reasons, found.overlapping) == ((), {}, frozenset())
    assert not any(each.any() for each in found.derived.values())


def test_overlaps_are_counted_of_what_is_shown():
    found = facts(View("smallest"), wanted={"overlaps"})
    assert found.derived.keys() == {"overlaps"}
    assert np.count_nonzero(found.derived["overlaps"] == 2) == 100
    assert np.count_nonzero(found.derived["overlaps"]) == 100
    found = facts(View(min_score=0.65), wanted={"overlaps"})
    assert not found.derived["overlaps"].any()


@pytest.mark.parametrize("rule", ["", "score", "smallest", "first"])
def test_classes_show_what_the_instances_show(rule):
    store = ObjectStore(SHAPE, OBJECTS, View(rule))
    found = facts_of(store, wanted={"classes"})
    assert found.classes == {"cell": 1, "nucleus": 2}
    painted = store.view_of(PLANE).paint(Box.of_shape(SHAPE), np.uint16)
    np.testing.assert_array_equal(found.derived["classes"], np.array([0, 1, 2, 1])[painted])


def test_a_class_has_the_same_number_on_each_plane():
    over = [PlaneIndex((1, 2), (z,)) for z in range(2)]
    cell, nucleus = (Part(one.parts[PLANE].instance) for one in OBJECTS[:2])
    store = ObjectStore(
        (2, *SHAPE),
        [
            LabelledObject(1, {over[0]: cell}),
            LabelledObject(2, dict.fromkeys(over, nucleus), "edited", 1),
        ],
    )
    last = facts_of(store, over[1], wanted={"classes"})
    assert np.unique(last.derived["classes"]).tolist() == [0, 2]


def test_what_has_no_name_is_a_class_of_its_own():
    assert class_numbers(["cell", "", "cell"]) == {"cell": 1, "object": 2}


def test_after_an_edit_overlaps_are_those_of_now():
    store = ObjectStore(SHAPE, OBJECTS)
    assert facts_of(store).overlapping == {1, 2}
    # as many as before, but the second one lies alone
    store.edit({2: solid(2, Box(30, 2, 38, 12), 0.6, "nucleus", depth=1)})
    assert facts_of(store).overlapping == frozenset()
    store.edit({9: solid(9, Box(37, 59, 39, 61))})
    assert facts_of(store).overlapping == {3, 9}


def test_what_is_known_of_an_outline_is_not_measured_again():
    item = Instance(np.ones((3, 4), bool), Box(2, 3, 5, 7))
    before = item.perimeter
    item.mask[1:] = False
    assert item.perimeter == before
