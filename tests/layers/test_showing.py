from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from napari.layers import Labels

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.taking_over import look, take_over
from napari_sam3.core.viewing import View, crowded_labels
from napari_sam3.layers.showing import Showing, painted_regions

SHAPE = (3, 12, 17)
PLANES = [PlaneIndex((1, 2), (z,)) for z in range(SHAPE[0])]
WHOLE = Box(0, 0, *SHAPE[1:])


def paint(showing):
    for index in showing.stale:
        for _ in showing.iter_paint(index):
            pass


def take(showing, planes=PLANES, region=WHOLE):
    """Take over what others painted; return what was found."""
    store, data = showing.store, showing.layer.data
    found = (
        look(i, showing.painted(i), i.cut(data), region, is_first=not store.knows(i))
        for i in planes
    )
    looks = [one for one in found if one is not None]
    taken = take_over(store.objects, looks, undone=store.undone, hidden=store.hidden)
    for _ in showing.iter_take(looks, taken):
        pass
    for index in planes:
        store.look_at(index)
    return taken


def settle(showing):
    paint(showing)
    taken = take(showing)
    paint(showing)
    return taken


def labels_of(*blocks):
    """Return a stack of labels, each given as (label, plane, top, left, bottom, right)."""
    data = np.zeros(SHAPE, np.uint16)
    for label, z, *sides in blocks:
        data[(z, *Box(*sides).slices)] = label
    return data


def over(*blocks):
    """Show what was in a stack of labels, all of its planes looked at."""
    showing = Showing(Labels(labels_of(*blocks)), ObjectStore(SHAPE))
    settle(showing)
    return showing


def stack(label, planes, *sides):
    return [(label, z, *sides) for z in planes]


def decide(showing, label, state):
    from dataclasses import replace

    one = showing.store.objects[label]
    showing.store.edit({label: replace(one, state=state)}, words=f"{state} {label}")


def run(showing, z, *boxes, name="run"):
    """Write what an engine found, as one undo step; return the labels."""
    store = showing.store
    first, depth = store.highest_label + 1, store.next_depth
    made = {}
    for place, sides in enumerate(boxes):
        box = Box(*sides)
        part = Part(Instance(np.ones(box.shape, bool), box, 0.9), "Engine", (name, 0, place))
        made[first + place] = LabelledObject(first + place, {PLANES[z]: part}, depth=depth + place)
    store.edit(made)
    for _ in showing.iter_paint(PLANES[z], history=True):
        pass
    return list(made)


class TestObjectsOverPlanes:
    def test_a_label_on_many_planes_is_one_object_with_one_state(self):
        showing = over(*stack(1, range(3), 1, 1, 4, 6), *stack(2, range(3), 6, 8, 11, 15))
        assert {n: len(one.parts) for n, one in showing.store.objects.items()} == {1: 3, 2: 3}
        decide(showing, 1, "accepted")
        decide(showing, 2, "rejected")
        settle(showing)
        assert {n: one.state for n, one in showing.store.objects.items()} == {
            1: "accepted",
            2: "rejected",
        }
        assert [int((showing.layer.data[z] == 2).sum()) for z in range(3)] == [0, 0, 0]
        assert (showing.layer.data == 1).sum() == 3 * 15

    def test_what_is_taken_back_is_back_on_all_planes(self):
        showing = over(*stack(2, range(3), 6, 8, 11, 15))
        before = showing.layer.data.copy()
        decide(showing, 2, "rejected")
        settle(showing)
        showing.store.undo()
        settle(showing)
        np.testing.assert_array_equal(showing.layer.data, before)
        assert showing.store.objects[2].state == "unreviewed"

    def test_a_plane_that_is_looked_at_later_joins_a_rejected_object(self):
        showing = Showing(Labels(labels_of(*stack(2, range(3), 6, 8, 11, 15))), ObjectStore(SHAPE))
        take(showing, PLANES[:2])
        decide(showing, 2, "rejected")
        settle(showing)
        assert not showing.layer.data.any()
        assert len(showing.store.objects[2].parts) == 3

    def test_erased_on_one_plane_it_loses_that_part_and_is_edited(self):
        showing = over(*stack(1, range(3), 1, 1, 4, 6))
        showing.layer.data[1] = 0
        taken = settle(showing)
        one = showing.store.objects[1]
        assert (one.state, list(one.parts)) == ("edited", [PLANES[0], PLANES[2]])
        assert taken.words[0].startswith("1 object was")

    def test_erased_on_all_planes_it_is_kept_whole_as_rejected(self):
        showing = over(*stack(1, range(3), 1, 1, 4, 6))
        showing.layer.data[:] = 0
        settle(showing)
        one = showing.store.objects[1]
        assert (one.state, one.area) == ("rejected", 45)

    def test_new_numbers_on_all_planes_leave_each_object_its_state(self):
        showing = over(*stack(1, range(3), 1, 1, 4, 6), *stack(2, range(3), 6, 8, 11, 15))
        decide(showing, 1, "accepted")
        table = np.array([0, 2, 1], np.uint16)
        showing.layer.data[:] = table[showing.layer.data]
        taken = settle(showing)
        assert taken.renumbered == {1: 2, 2: 1}
        assert {n: (o.state, o.area) for n, o in showing.store.objects.items()} == {
            1: ("unreviewed", 105),
            2: ("accepted", 45),
        }

    def test_a_number_that_is_painted_on_another_plane_is_that_object(self):
        showing = over((1, 0, 1, 1, 4, 6))
        showing.layer.data[2, 1:3, 1:3] = 1
        settle(showing)
        one = showing.store.objects[1]
        assert (one.area, one.state, len(one.parts)) == (19, "edited", 2)

    def test_a_rejected_object_makes_way_on_all_of_its_planes(self):
        showing = over(*stack(1, (0, 1), 1, 1, 4, 6))
        decide(showing, 1, "rejected")
        settle(showing)
        showing.layer.data[2, 7:9, 2:8] = 1
        settle(showing)
        objects = showing.store.objects
        assert objects[1].area == 12
        assert objects[1].state == "edited"
        (other,) = objects.keys() - {1}
        assert (objects[other].state, objects[other].area) == ("rejected", 30)

    def test_a_filter_counts_all_planes(self):
        showing = over(*stack(1, range(3), 1, 1, 4, 6), (2, 0, 6, 8, 9, 13))
        showing.store.show(View(min_area=20))
        settle(showing)
        assert showing.store.hidden == {2}
        assert set(np.unique(showing.layer.data).tolist()) == {0, 1}

    def test_of_two_that_overlap_on_some_planes_one_gives_way_on_all(self):
        showing = over(*stack(1, range(3), 1, 1, 5, 7))
        box = Box(1, 1, 4, 6)
        part = Part(Instance(np.ones(box.shape, bool), box, 0.5))
        showing.store.edit({7: LabelledObject(7, {PLANES[0]: part, PLANES[1]: part}, depth=9)})
        view = View(max_iom=0.5)
        store = showing.store
        planes = [store.on(index) for index in store.planes]
        crowded = crowded_labels(store.objects, planes, view, store.plane_shape)
        assert crowded == {1}
        store.show(view, crowded)
        settle(showing)
        assert (showing.layer.data == 7).sum() == 30
        assert not (showing.layer.data == 1).any()


class TestRuns:
    def test_a_run_that_was_undone_leaves_the_store_and_comes_back_as_it_was(self):
        showing = over((1, 0, 1, 1, 4, 6))
        labels = run(showing, 0, (5, 5, 9, 9), (6, 6, 8, 12))
        before = dict(showing.store.objects)
        showing.layer.undo()
        taken = settle(showing)
        assert set(showing.store.objects) == {1}
        assert taken.words == ("A run was undone: 2 objects left the table.",)
        showing.layer.redo()
        settle(showing)
        for label in labels:
            now, was = showing.store.objects[label], before[label]
            assert (now.area, now.score, now.state) == (was.area, was.score, was.state)

    def test_what_is_labelled_stays(self):
        showing = over((1, 0, 1, 1, 4, 6))
        (label,) = run(showing, 0, (2, 2, 8, 8))
        assert (showing.layer.data == 1).sum() == 15
        assert showing.store.objects[label].area == 36

    def test_what_was_erased_from_an_object_stays_erased_in_the_next_run(self):
        showing = over((1, 0, 1, 1, 4, 6))
        showing.layer.data[0, 1, 1:4] = 0
        settle(showing)
        run(showing, 0, (8, 8, 10, 12))
        assert not showing.layer.data[0, 1, 1:4].any()
        assert showing.store.objects[1].state == "edited"


def test_what_is_painted_while_a_view_is_painted_is_not_lost():
    showing = over((1, 0, 1, 1, 4, 6), (2, 0, 6, 8, 9, 13))
    decide(showing, 2, "rejected")
    showing.layer.data[0, 7, 9] = 5
    paint(showing)
    assert showing.layer.data[0, 7, 9] == 5
    settle(showing)
    assert showing.store.objects[5].area == 1


def test_a_type_that_is_too_narrow_is_widened():
    data = labels_of((1, 0, 1, 1, 4, 6)).astype(np.uint8)
    showing = Showing(Labels(data), ObjectStore(SHAPE))
    settle(showing)
    box = Box(6, 6, 8, 8)
    part = Part(Instance(np.ones(box.shape, bool), box))
    showing.store.edit({300: LabelledObject(300, {PLANES[1]: part})})
    settle(showing)
    assert (showing.layer.data == 300).sum() == 4


def test_negative_labels_are_nobodys_to_change():
    data = labels_of((1, 0, 1, 1, 4, 6)).astype(np.int16)
    data[0, 0] = -3
    showing = Showing(Labels(data.copy()), ObjectStore(SHAPE))
    settle(showing)
    decide(showing, 1, "rejected")
    settle(showing)
    assert (showing.layer.data[0, 0] == -3).all()
    assert set(showing.store.objects) == {1}


@pytest.mark.parametrize("shown", [(1, 2), (2, 1)])
def test_a_paint_event_tells_where(shown):
    layer, found = Labels(labels_of()), []
    layer.events.paint.connect(
        lambda event: found.append(painted_regions(event.value, shown, SHAPE))
    )
    layer.data_setitem((np.array([2, 2]), np.array([3, 5]), np.array([4, 9])), 7)
    layer.brush_size = 1
    layer.paint((1, 6, 8), 3)
    box = Box(3, 4, 6, 10)
    pixel = Box(6, 8, 7, 9)
    if shown == (2, 1):
        box, pixel = Box(4, 3, 10, 6), Box(8, 6, 9, 7)
    assert found[0] == {PlaneIndex(shown, (2,)): box}
    ((index, where),) = found[1].items()
    assert index == PlaneIndex(shown, (1,))
    assert where.union(pixel) == where


planes = st.integers(0, SHAPE[0] - 1)
numbers = st.integers(1, 5)


@st.composite
def boxes(draw):
    top, left = draw(st.integers(0, SHAPE[1] - 2)), draw(st.integers(0, SHAPE[2] - 2))
    bottom = draw(st.integers(top + 1, min(SHAPE[1], top + 6)))
    right = draw(st.integers(left + 1, min(SHAPE[2], left + 7)))
    return top, left, bottom, right


class AnyDeeds(RuleBasedStateMachine):
    """Runs, strokes, undos, redos, decisions and views, in any order."""

    @initialize(blocks=st.lists(st.tuples(numbers, planes, boxes()), max_size=6))
    def begin(self, blocks):
        self.showing = over(*((label, z, *box) for label, z, box in blocks))
        self.store, self.layer = self.showing.store, self.showing.layer
        self.runs = 0

    @rule(label=st.integers(0, 6), z=planes, box=boxes(), by_hand=st.booleans())
    def stroke(self, label, z, box, by_hand):
        area = (z, *Box(*box).slices)
        before, was_hidden = self.layer.data.copy(), set(self.store.hidden)
        is_plain = self.store.view == View()
        if by_hand:
            marked = np.zeros(SHAPE, bool)
            marked[area] = True
            self.layer.data_setitem(np.nonzero(marked), label)
        else:
            self.layer.data[area] = label
        before[area] = label
        settle(self.showing)
        if is_plain and label not in was_hidden:
            np.testing.assert_array_equal(self.layer.data, before)

    @rule(z=planes, found=st.lists(boxes(), min_size=1, max_size=3))
    def run(self, z, found):
        self.runs += 1
        before = self.layer.data.copy()
        run(self.showing, z, *found, name=f"run {self.runs}")
        settle(self.showing)
        if self.store.view == View():
            labelled = before > 0
            np.testing.assert_array_equal(self.layer.data[labelled], before[labelled])

    @rule(data=st.data(), state=st.sampled_from(["accepted", "rejected"]))
    @precondition(lambda self: len(self.store))
    def decide(self, data, state):
        label = data.draw(st.sampled_from(sorted(self.store.objects)))
        decide(self.showing, label, state)
        settle(self.showing)
        assert self.store.objects[label].state == state
        if state == "rejected":
            assert not (self.layer.data == label).any()

    @rule()
    def take_back_a_step(self):
        step = self.store.undo()
        settle(self.showing)
        for label, one in ({} if step is None else step.before).items():
            if label in self.store.objects:
                assert self.store.objects[label].state == one.state

    @rule(again=st.booleans())
    def undo_in_napari(self, again):
        self.layer.redo() if again else self.layer.undo()
        settle(self.showing)

    @rule(view=st.sampled_from([View(), View(min_area=7), View("smallest"), View(min_score=0.95)]))
    def show(self, view):
        before, was = self.layer.data.copy(), self.store.view
        self.store.show(view)
        settle(self.showing)
        self.store.show(was)
        settle(self.showing)
        np.testing.assert_array_equal(self.layer.data, before)
        self.store.show(view)
        settle(self.showing)

    @invariant()
    def the_layer_shows_the_store(self):
        if not hasattr(self, "store"):
            return
        for index in PLANES:
            shown = self.store.view_of(index).paint(WHOLE, self.layer.data.dtype)
            np.testing.assert_array_equal(shown, index.cut(self.layer.data))
        assert not self.showing.stale
        assert settle(self.showing).changes == {}

    @invariant()
    def planes_and_objects_say_the_same(self):
        if not hasattr(self, "store"):
            return
        for index in PLANES:
            own = {n: one.on(index) for n, one in self.store.objects.items() if index in one.parts}
            assert own.keys() == self.store.on(index).keys()
            for label, one in self.store.on(index).items():
                assert one.instance is own[label].instance
                assert (one.state, one.depth) == (own[label].state, own[label].depth)
        assert self.store.hidden >= {
            n for n, one in self.store.objects.items() if one.state == "rejected"
        }


TestAnyDeeds = AnyDeeds.TestCase
TestAnyDeeds.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


class TestLettingGo:
    """A layer whose panel is closed, and opened again."""

    def test_what_was_decided_while_nobody_painted_is_painted_next_time(self):
        showing = over(*stack(1, range(3), 1, 1, 4, 6), *stack(2, range(3), 6, 8, 11, 15))
        showing.close()
        decide(showing, 2, "rejected")
        again = Showing(showing.layer, showing.store)
        assert again.stale == set(PLANES)
        settle(again)
        assert not (showing.layer.data == 2).any()
        assert (showing.store.objects[1].state, showing.store.objects[1].area) == ("unreviewed", 45)

    def test_what_others_painted_meanwhile_is_taken_over_and_no_object_is_lost(self):
        showing = over(*stack(2, range(3), 6, 8, 11, 15))
        decide(showing, 2, "rejected")
        showing.close()
        showing.layer.data[0, 1:3, 1:3] = 5
        again = Showing(showing.layer, showing.store)
        settle(again)
        assert {n: one.state for n, one in showing.store.objects.items()} == {
            2: "rejected",
            5: "edited",
        }

    def test_a_store_that_is_made_of_what_a_layer_shows_is_painted_already(self):
        box = Box(1, 1, 4, 6)
        part = Part(Instance(np.ones(box.shape, bool), box))
        store = ObjectStore(SHAPE, [LabelledObject(1, dict.fromkeys(PLANES, part))])
        showing = Showing(Labels(labels_of(*stack(1, range(3), 1, 1, 4, 6))), store)
        assert not showing.stale
        assert take(showing).changes == {}
