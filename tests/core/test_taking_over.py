"""What others painted becomes of the objects: without a layer, plane by plane and over planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


PLANES = tuple(PlaneIndex((1, 2), (at,)) for at in range(3))
STACK = (3, *SHAPE)
HERE, THERE, ELSEWHERE = Box(1, 2, 8, 12), Box(10, 20, 31, 40), Box(33, 5, 39, 60)


def over(label, boxes, *, run=None, state="unreviewed", depth=0):
    """Return an object that lies on planes of a stack, by their numbers."""
    source = None if run is None else (run, 0, label)
    parts = {
        PLANES[at]: Part(Instance(np.ones(box.shape, bool), box, 0.9), "engine", source)
        for at, box in boxes.items()
    }
    return LabelledObject(label, parts, state, depth)


def shown(store):
    return np.stack([store.view_of(index).paint(WHOLE, np.int64) for index in PLANES])


def renumbered(labels, numbers):
    """Return labels with other numbers, as another plugin gives them to a whole stack."""
    new = labels.copy()
    for old, number in numbers.items():
        new[labels == old] = number
    return new


def take_stack(store, actual):
    """Let a store follow what somebody else painted on all planes at once."""
    looks = [look(i, store.view_of(i), actual[i.fixed[0]], WHOLE) for i in PLANES]
    taken = take_over(store.objects, [one for one in looks if one], hidden=store.hidden)
    store.edit(taken.changes, renumbered=taken.renumbered)


def test_a_rejected_object_makes_way_where_another_gets_its_number():
    rejected = over(1, {1: HERE}, state="rejected")
    store = ObjectStore(STACK, [rejected, over(5, {2: THERE}, state="accepted")])
    actual = renumbered(shown(store), {5: 1})
    take_stack(store, actual)
    assert np.array_equal(shown(store), actual)
    states = sorted((one.state, tuple(one.parts)) for one in store.objects.values())
    assert states == [("accepted", (PLANES[2],)), ("rejected", (PLANES[1],))]
    assert store.objects[1].state == "accepted"


def test_a_fresh_number_is_one_that_no_plane_shows():
    rejected = over(5, {1: HERE, 2: HERE}, state="rejected")
    store = ObjectStore(STACK, [rejected, over(1, {1: THERE}), over(2, {2: ELSEWHERE})])
    actual = renumbered(shown(store), {1: 5, 2: 6})
    take_stack(store, actual)
    assert np.array_equal(shown(store), actual)


def test_what_lay_on_top_stays_there_under_another_number():
    store = ObjectStore(STACK, [over(5, {1: HERE, 2: THERE}), over(2, {2: THERE})])
    take_stack(store, renumbered(shown(store), {2: 6}))
    one = replace(store.objects[6], state="rejected")
    store.edit({6: one})
    assert set(np.unique(shown(store)[2])) == {0, 5}
    store.edit({6: replace(one, state="accepted")})
    assert set(np.unique(shown(store)[2])) == {0, 6}


def test_several_that_make_way_at_once_are_all_kept():
    hidden = [over(n, {0: box}, state="rejected") for n, box in ((2, HERE), (4, THERE))]
    store = ObjectStore(
        STACK, [*hidden, over(1, {0: Box(33, 5, 39, 20)}), over(3, {0: Box(33, 30, 39, 60)})]
    )
    actual = renumbered(shown(store), {1: 4, 3: 2})
    take_stack(store, actual)
    assert np.array_equal(shown(store), actual)
    kept = {
        p.instance.box
        for n in store.objects.values()
        if n.state == "rejected"
        for p in n.parts.values()
    }
    assert kept == {HERE, THERE}


def test_a_stroke_on_another_plane_shows_on_top_of_what_lies_above_its_object():
    top, low = over(3, {0: THERE}), over(4, {0: THERE, 1: HERE}, depth=4)
    store = ObjectStore(STACK, [top, low])
    actual = shown(store)
    actual[0, 12:15, 25:30] = 4
    take_stack(store, actual)
    assert np.array_equal(shown(store), actual)


def test_a_new_object_with_the_number_of_a_rejected_one_outlives_its_run():
    rejected = over(1, {0: THERE, 2: THERE}, run="run", state="rejected")
    store = ObjectStore(STACK, [rejected, over(4, {2: HERE}, run="run")])
    actual = shown(store)
    actual[2][HERE.slices] = 1
    take_stack(store, actual)
    assert np.array_equal(shown(store), actual)


@given(st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_what_others_paint_over_a_whole_stack_is_what_is_shown(random):
    shape = (3, 6, 7)

    def box():
        top, left = random.randrange(6), random.randrange(7)
        return Box(top, left, random.randint(top + 1, 6), random.randint(left + 1, 7))

    objects = [
        over(
            label,
            {at: box() for at in random.sample(range(3), random.randint(1, 3))},
            run=random.choice(["a", "b", None]),
            # a rejected one that comes back does so on all of its planes
            state=random.choice(["unreviewed", "accepted"]),
            depth=label * random.randint(0, 1),
        )
        for label in random.sample(range(1, 6), random.randint(1, 4))
    ]
    store = ObjectStore(shape, objects)
    whole = Box.of_shape(shape[1:])
    actual = np.stack([store.view_of(i).paint(whole, np.int64) for i in PLANES])
    if random.random() < 0.7:
        present = np.unique(actual[actual > 0]).tolist()
        numbers = [random.randint(1, 6) for _ in present]
        actual = renumbered(actual, dict(zip(present, numbers, strict=True)))
    else:
        first = random.randrange(3)
        actual[first : random.randint(first + 1, 3)][:, *box().slices] = random.randint(0, 6)
    looks = [look(i, store.view_of(i), actual[i.fixed[0]], whole) for i in PLANES]
    taken = take_over(store.objects, [one for one in looks if one], hidden=store.hidden)
    store.edit(taken.changes, renumbered=taken.renumbered)
    assert np.array_equal(
        np.stack([store.view_of(i).paint(whole, np.int64) for i in PLANES]), actual
    )
