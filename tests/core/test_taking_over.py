"""What others painted becomes of the objects: without a layer, plane by plane and over planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.taking_over import look, take_over
from napari_sam3.core.viewing import View

SHAPE = (40, 61)
WHOLE = Box.of_shape(SHAPE)
PLANE = PlaneIndex()


def solid(label, box, score=0.9, *, run=None, state="unreviewed", depth=0):
    source = None if run is None else (run, 0, label)
    part = Part(Instance(np.ones(box.shape, bool), box, score), "engine", source)
    return LabelledObject(label, {PLANE: part}, state, depth)


OBJECTS = {
    1: solid(1, Box(5, 5, 25, 35)),
    2: solid(2, Box(6, 6, 16, 16), 0.6, depth=1),
    3: solid(3, Box(30, 40, 38, 60), 0.7, depth=2),
}
FOUND = {
    4: solid(4, Box(1, 40, 9, 50), 0.8, run="run", state="accepted", depth=3),
    5: solid(5, Box(3, 45, 12, 58), 0.4, run="run", depth=4),
}


def painted(objects, dtype=np.uint16, view=None):
    return ObjectStore(SHAPE, objects.values(), view).view_of(PLANE).paint(WHOLE, dtype)


def take(objects, actual, *, undone=None, view=None, is_first=False):
    """Return what became of a plane's objects."""
    store = ObjectStore(SHAPE, objects.values(), view)
    found = look(PLANE, store.view_of(PLANE), actual, WHOLE, is_first=is_first)
    looks = [] if found is None else [found]
    taken = take_over(store.objects, looks, undone=undone or {}, hidden=store.hidden)
    store.edit(taken.changes)
    return dict(store.objects), taken


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_what_is_as_it_was_painted_is_no_edit_whatever_its_type(dtype):
    objects, taken = take(OBJECTS, painted(OBJECTS, dtype))
    assert objects == OBJECTS
    assert (taken.changes, taken.renumbered, taken.words) == ({}, {}, ())


def test_what_somebody_painted_belongs_to_the_object_of_its_label():
    actual = painted(OBJECTS)
    actual[0:3, 50:60] = 3
    objects, taken = take(OBJECTS, actual)
    assert objects[3].area == 160 + 30
    assert objects[3].state == "edited"
    assert taken.words


def test_labels_that_are_seen_for_the_first_time_are_nobodys_edit():
    objects, taken = take({}, painted(OBJECTS), is_first=True)
    assert {one.state for one in objects.values()} == {"unreviewed"}
    assert taken.words == ()


def test_a_run_that_was_undone_leaves_the_record():
    objects, taken = take(OBJECTS | FOUND, painted(OBJECTS))
    assert objects == OBJECTS
    assert taken.undone == FOUND
    assert taken.words == ("A run was undone: 2 objects left the table.",)


def test_a_run_that_is_done_again_is_back_as_it_was():
    objects, taken = take(OBJECTS, painted(OBJECTS | FOUND), undone=FOUND)
    assert taken.undone == {}
    for label, one in FOUND.items():
        back = objects[label]
        assert (back.state, back.depth, back.score) == (one.state, one.depth, one.score)
        assert back.parts[PLANE].source == one.parts[PLANE].source
        mask = one.parts[PLANE].instance.mask
        np.testing.assert_array_equal(back.parts[PLANE].instance.mask, mask)


def test_what_a_run_hid_comes_back_with_it():
    under = solid(6, Box(2, 41, 5, 44), 0.7, run="run", depth=9)
    found = {**FOUND, 6: under, 7: solid(7, Box(2, 41, 5, 44), run="another", depth=9)}
    objects, taken = take(OBJECTS, painted(OBJECTS | FOUND), undone=found)
    assert objects[6] is under
    assert taken.undone.keys() == {7}


@pytest.mark.parametrize("is_first", [False, True])
def test_a_run_that_is_done_again_on_an_empty_plane_is_back_as_it_was(is_first):
    one = {4: FOUND[4]}
    objects, taken = take({}, painted(one), undone=one, is_first=is_first)
    assert objects[4].state == "accepted"
    assert objects[4].parts[PLANE].source == FOUND[4].parts[PLANE].source
    assert taken.undone == {}


def test_another_object_with_the_number_of_one_that_was_undone_is_not_that():
    actual = painted(OBJECTS)
    actual[30:35, 3:9] = 4
    objects, _ = take(OBJECTS, actual, undone=FOUND)
    assert objects.keys() == {1, 2, 3, 4}
    part = objects[4].parts[PLANE]
    assert (part.instance.box, part.source) == (Box(30, 3, 35, 9), None)


def test_one_that_was_erased_from_a_run_is_kept_as_rejected():
    actual = painted(OBJECTS | FOUND)
    actual[actual == 4] = 0
    objects, taken = take(OBJECTS | FOUND, actual)
    assert objects[4].state == "rejected"
    assert taken.undone == {}
    assert "What was erased is kept as rejected" in " ".join(taken.words)


def test_new_numbers_are_told_by_the_former_ones():
    before, actual = painted(OBJECTS), painted(OBJECTS)
    actual[before == 1], actual[before == 3] = 3, 1
    _, taken = take(OBJECTS, actual)
    assert taken.renumbered == {1: 3, 3: 1}


RUNS = {1: "first", 2: "first", 3: "second", 4: "second", 5: "second", 6: None}
SIDE_BY_SIDE = {n: solid(n, Box(2, 8 * n, 8, 8 * n + 6), run=run) for n, run in RUNS.items()}


class TestRunsTakenBack:
    """Two runs and one object that was drawn."""

    def gone(self, *erased, rejected=()):
        objects = {
            n: replace(one, state="rejected") if n in rejected else one
            for n, one in SIDE_BY_SIDE.items()
        }
        actual = painted(objects)
        actual[np.isin(actual, erased)] = 0
        _, taken = take(objects, actual)
        return set(taken.undone)

    def test_a_run_of_which_nothing_is_left_was_undone(self):
        assert self.gone(3, 4, 5) == {3, 4, 5}

    def test_what_a_run_hid_goes_with_it(self):
        assert self.gone(3, rejected={4, 5}) == {3, 4, 5}

    def test_one_that_was_erased_from_many_was_erased_by_hand(self):
        assert self.gone(3, 4) == set()

    def test_a_run_that_was_not_to_be_seen_before_was_not_undone(self):
        assert self.gone(6, rejected={1, 2}) == set()

    def test_several_runs_may_be_undone_at_once(self):
        assert self.gone(1, 2, 3, 4, 5) == {1, 2, 3, 4, 5}

    @pytest.mark.parametrize("others", [(), (1, 2, 3, 4, 5)])
    def test_what_nobody_asked_for_is_no_run(self, others):
        assert 6 not in self.gone(6, *others)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_what_is_below_0_is_no_object(dtype):
    actual = painted(OBJECTS, dtype)
    actual[0, :5] = -3
    objects, _ = take(OBJECTS, actual)
    assert objects.keys() == OBJECTS.keys()


def test_what_somebody_painted_under_a_filter_is_kept_when_it_is_taken_off():
    view = View(min_score=0.65)
    actual = painted(OBJECTS, view=view)
    actual[0:3, 50:60] = 3
    objects, _ = take(OBJECTS, actual, view=view)
    assert objects[3].area == 160 + 30
    assert objects[2].area == 100
