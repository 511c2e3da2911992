"""All objects of a label image: edits, steps that can be taken back, views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import REVIEW_STATES, LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import MOST_STEPS, Asked, ObjectStore
from napari_sam3.core.viewing import View, hidden_labels

SHAPE = (3, 20, 31)
PLANES = [PlaneIndex((1, 2), (z,)) for z in range(SHAPE[0])]


def part(*sides, score=None):
    box = Box(*sides)
    return Part(Instance(np.ones(box.shape, bool), box, score))


def one(label, *planes, sides=(2, 3, 6, 9), state="unreviewed", depth=0, score=None):
    made = part(*sides, score=score)
    return LabelledObject(label, {PLANES[z]: made for z in planes or (0,)}, state, depth)


def decide(store, label, state, **others):
    return store.edit({label: replace(store.objects[label], state=state)}, words=state, **others)


def states(store):
    return {label: found.state for label, found in store.objects.items()}


class TestEdits:
    def test_an_edit_says_what_it_changed_and_on_which_planes(self):
        store = ObjectStore(SHAPE, [one(1, 0, 1), one(2, 2)])
        before, new, told = store.objects[1], one(1, 2), []
        store.connect(told.append)
        edit = store.edit({1: new, 5: one(5, 1)})
        assert told == [edit]
        assert (edit.labels, edit.planes) == ((1, 5), frozenset(PLANES))
        assert (edit.before[1], edit.before[5], edit.after[1]) == (before, None, new)
        assert not edit.shows_others
        assert [list(store.on(index)) for index in PLANES] == [[], [5], [1, 2]]

    @pytest.mark.parametrize("other", [{"depth": 7}, {"state": "accepted"}])
    def test_another_depth_or_state_is_seen_on_every_plane(self, other):
        store = ObjectStore(SHAPE, [one(1, 0, 1)])
        store.edit({1: replace(store.objects[1], **other)})
        for index in PLANES[:2]:
            found = store.on(index)[1]
            assert {name: getattr(found, name) for name in other} == other

    def test_who_listens_no_more_is_not_told(self):
        store, told = ObjectStore(SHAPE), []
        store.connect(told.append)
        store.disconnect(told.append)
        store.edit({1: one(1)})
        assert told == []

    def test_the_version_counts_every_change(self):
        store = ObjectStore(SHAPE)
        seen = [store.version]
        for change in (
            lambda: store.edit({1: one(1)}),
            lambda: store.show(View(min_area=3)),
            lambda: store.intend(View()),
            lambda: store.show_intended(),
            lambda: store.reshape((9, 14)),
        ):
            change()
            seen.append(store.version)
        assert seen == sorted(set(seen))

    @pytest.mark.parametrize(
        ("label", "wrong"),
        [
            (0, one(0)),
            (2, one(1)),
            (1, LabelledObject(1, {})),
            (1, one(1, sides=(2, 3, 21, 9))),
            (1, one(1, sides=(2, 3, 6, 32))),
            (1, LabelledObject(1, {PlaneIndex((1, 2), (3,)): part(2, 3, 6, 9)})),
            (1, LabelledObject(1, {PlaneIndex(): part(2, 3, 6, 9)})),
        ],
    )
    def test_an_object_that_cannot_be_is_refused_and_nothing_is_changed(self, label, wrong):
        store = ObjectStore(SHAPE, [one(7)])
        with pytest.raises(ValueError, match=r"."):
            store.edit({7: None, 8: one(8), label: wrong})
        assert store.objects.keys() == store.on(PLANES[0]).keys() == {7}

    def test_two_objects_of_one_label_are_refused(self):
        with pytest.raises(ValueError, match="same label"):
            ObjectStore(SHAPE, [one(1, 0), one(1, 1)])

    def test_labels_of_runs_that_were_taken_back_are_not_free(self):
        store = ObjectStore(SHAPE, [one(4)])
        assert store.highest_label == 4
        store.undone[9] = one(9)
        assert store.highest_label == 9

    def test_what_is_new_lies_below_all_others(self):
        store = ObjectStore(SHAPE)
        assert store.next_depth == 1
        store.edit({1: one(1, depth=8), 2: one(2, depth=3)})
        assert store.next_depth == 9

    def test_new_numbers_of_others_go_to_what_was_asked_for(self):
        store = ObjectStore(SHAPE, [one(1), one(2)])
        store.asked = {n: Asked(n, PLANES[0], None, part(2, 3, 6, 9)) for n in (1, 2, 3)}
        decide(store, 2, "accepted")
        store.edit({1: one(1), 2: one(2)}, renumbered={1: 2, 2: 1})
        assert {key: found.label for key, found in store.asked.items()} == {1: 2, 2: 1, 3: 3}
        # the step was about an object that has another number now
        assert store.undo() is None


class TestSteps:
    def test_what_was_decided_is_taken_back_step_by_step(self):
        store = ObjectStore(SHAPE, [one(1, 0, 1, 2), one(2)])
        decide(store, 1, "accepted")
        decide(store, 2, "rejected")
        decide(store, 1, "rejected", run_ids=("run",))
        assert store.reviewed == (2, 2)
        step = store.undo()
        assert (step.words, step.labels, step.run_ids) == ("rejected", (1,), ("run",))
        assert states(store) == {1: "accepted", 2: "rejected"}
        assert store.undo_words == "rejected"
        store.undo()
        store.undo()
        assert (states(store), store.reviewed) == ({1: "unreviewed", 2: "unreviewed"}, (0, 2))
        assert (store.undo(), store.undo_words) == (None, "")

    def test_what_nobody_names_is_not_taken_back_here(self):
        store = ObjectStore(SHAPE)
        store.edit({1: one(1)})
        assert store.undo() is None
        assert 1 in store.objects

    def test_steps_of_one_session_are_one(self):
        store, session = ObjectStore(SHAPE, [one(1), one(2)]), object()
        decide(store, 1, "accepted")
        for state, run in (("edited", "a"), ("rejected", "b")):
            decide(store, 2, state, session=session, run_ids=(run,))
        decide(store, 1, "edited", session=object())
        store.undo()
        assert store.undo().run_ids == ("a", "b")
        assert states(store) == {1: "accepted", 2: "unreviewed"}

    def test_what_was_painted_since_stays(self):
        store = ObjectStore(SHAPE, [one(1, 0, 1)])
        refined = {z: part(4, 5, 9, 14) for z in (0, 1)}
        now = {PLANES[z]: refined[z] for z in (0, 1)}
        store.edit({1: replace(store.objects[1], parts=now, state="edited")}, words="Refined")
        painted = part(1, 1, 12, 20)
        parts = {**store.objects[1].parts, PLANES[1]: painted}
        store.edit({1: replace(store.objects[1], parts=parts)})
        store.undo()
        back = store.objects[1]
        assert back.parts[PLANES[0]].instance.box == Box(2, 3, 6, 9)
        assert back.parts[PLANES[1]] is painted
        assert back.state == "unreviewed"

    def test_an_object_that_is_gone_does_not_come_back(self):
        store = ObjectStore(SHAPE, [one(1), one(2)])
        decide(store, 1, "accepted")
        store.edit({1: None})
        store.undo()
        assert store.objects.keys() == {2}

    def test_only_so_many_steps_are_kept(self):
        store = ObjectStore(SHAPE, [one(1)])
        for _ in range(MOST_STEPS + 3):
            decide(store, 1, "accepted")
        undone = 0
        while store.undo() is not None:
            undone += 1
        assert undone == MOST_STEPS


class TestViews:
    def test_a_view_changes_no_object_and_says_so(self):
        store, told = ObjectStore(SHAPE, [one(1), one(2, sides=(8, 3, 9, 5))]), []
        store.connect(told.append)
        store.show(View(min_area=10))
        assert store.hidden == {2}
        assert len(store) == 2
        assert [(edit.shows_others, edit.planes) for edit in told] == [(True, frozenset())]
        assert told[0].views == (View(), View(min_area=10))

    def test_a_decision_under_a_filter_hides_and_shows(self):
        store = ObjectStore(SHAPE, [one(1), one(2, sides=(8, 3, 9, 5))], View(min_area=10))
        decide(store, 1, "rejected")
        assert store.hidden == {1, 2}
        store.edit({2: replace(store.objects[2], parts={PLANES[0]: part(2, 3, 9, 9)})})
        assert store.hidden == {1}
        store.undo()
        assert store.hidden == frozenset()

    def test_what_is_intended_is_the_view_but_not_yet_shown(self):
        store = ObjectStore(SHAPE, [one(1), one(2, sides=(2, 3, 6, 8), score=0.2)])
        view = View(max_iom=0.5)
        store.intend(view)
        assert (store.view, store.intended, store.hidden) == (view, view, frozenset())
        store.show_intended()
        assert (store.view, store.intended) == (view, None)
        assert store.hidden == store.crowded == {1}

    def test_who_gives_way_is_to_be_found_out_anew_after_an_edit(self):
        view = View(max_iom=0.5)
        store = ObjectStore(SHAPE, [one(1), one(2, sides=(2, 3, 6, 8), score=0.2)], view)
        store.edit({2: None})
        assert store.intended == view
        store.show_intended()
        assert store.hidden == frozenset()


class TestPlanes:
    def test_a_plane_that_is_turned_is_the_one_on_record(self):
        upright, turned = PlaneIndex((1, 2), (1,)), PlaneIndex((2, 1), (1,))
        store = ObjectStore(SHAPE)
        assert store.find_index(turned) == turned
        store.edit({1: one(1, 1)})
        assert store.find_index(turned) == store.find_index(upright) == upright
        other = PlaneIndex((2, 1), (2,))
        assert store.find_index(other) == other

    def test_a_plane_across_others_that_hold_objects_crosses_them(self):
        across, store = PlaneIndex((0, 2), (5,)), ObjectStore(SHAPE)
        store.look_at(PLANES[0])
        assert not store.crosses(across)
        store.edit({1: one(1)})
        assert store.crosses(across)
        assert not store.crosses(PLANES[2])

    def test_a_plane_that_was_looked_at_is_known_and_keeps_its_objects(self):
        store = ObjectStore(SHAPE, [one(1)])
        for index in PLANES[:2]:
            store.look_at(index)
        assert [store.knows(index) for index in PLANES] == [True, True, False]
        assert list(store.on(PLANES[0])) == [1]

    @pytest.mark.parametrize(("shown", "shape"), [((1, 2), (20, 31)), ((2, 0), (31, 3))])
    def test_a_plane_has_the_shape_of_its_axes(self, shown, shape):
        assert ObjectStore(SHAPE).plane_shape(PlaneIndex(shown, (1,))) == shape


class TestAnotherImage:
    def test_objects_of_an_image_of_another_shape_are_set_aside_and_nothing_is_left(self):
        store = ObjectStore(SHAPE, [one(1), one(2, sides=(2, 3, 6, 8), score=0.2)], VIEW)
        assert store.crowded == {1}
        decide(store, 1, "accepted")
        store.undone[9] = one(9)
        store.reshape((9, 14))
        assert [found.label for found in store.aside] == [1, 2]
        assert (len(store), store.planes, store.painted, store.highest_label) == (0, (), {}, 0)
        assert (store.shape, store.hidden, store.undo()) == ((9, 14), frozenset(), None)

    def test_an_object_there_is_not_hidden_because_its_number_was_before(self):
        store = ObjectStore(SHAPE, [one(1), one(2, sides=(2, 3, 6, 8), score=0.2)], VIEW)
        store.reshape((9, 14))
        store.edit({1: LabelledObject(1, {PlaneIndex(): part(2, 3, 6, 9)})})
        assert store.hidden == frozenset()

    def test_a_copy_goes_on_with_what_was_just_being_painted(self):
        store = ObjectStore((20, 30))
        index = PlaneIndex()
        store.painting[index] = store.view_of(index)
        assert store.copied().painting == store.painting

    def test_a_copy_can_be_changed_by_itself(self):
        store, told = ObjectStore(SHAPE, [one(1), one(2, 1)]), []
        store.connect(told.append)
        store.undone[9] = one(9)
        copy = store.copied()
        assert (copy.objects, copy.undone, copy.planes) == (
            store.objects,
            store.undone,
            store.planes,
        )
        copy.edit({1: None, 5: one(5)})
        copy.show(View("smallest"))
        copy.undone.clear()
        copy.painted.clear()
        assert store.objects.keys() == {1, 2}
        assert store.undone.keys() == {9}
        assert store.painted.keys() == set(PLANES[:2])
        assert (store.view, told) == (View(), [])


VIEW = View(max_iom=0.5)

labels = st.integers(1, 4)


@st.composite
def some_object(draw, label):
    planes = draw(st.sets(st.sampled_from(range(3)), min_size=1))
    top, left = draw(st.integers(0, 10)), draw(st.integers(0, 20))
    sides = (top, left, top + draw(st.integers(1, 9)), left + draw(st.integers(1, 9)))
    state, score = draw(st.sampled_from(REVIEW_STATES)), draw(st.sampled_from([None, 0.2, 0.9]))
    return one(label, *planes, sides=sides, state=state, depth=draw(labels), score=score)


@st.composite
def some_changes(draw):
    chosen = draw(st.sets(labels, min_size=1))
    return {label: draw(st.none() | some_object(label)) for label in chosen}


@given(
    st.lists(some_changes(), max_size=6),
    st.sampled_from([View(), View(min_score=0.5), View(min_area=20), View(without_border=True)]),
)
def test_what_a_plane_holds_and_what_is_hidden_follow_from_the_objects(edits, view):
    store = ObjectStore(SHAPE, view=view)
    model: dict[int, LabelledObject] = {}
    for changes in edits:
        store.edit(changes)
        model = {**model, **{n: new for n, new in changes.items() if new is not None}}
        model = {n: found for n, found in model.items() if changes.get(n, found) is not None}
        assert dict(store.objects) == model
        assert store.hidden == hidden_labels(model, view, store.plane_shape)
        for index in PLANES:
            assert store.on(index).keys() == {n for n, o in model.items() if index in o.parts}
            for label, found in store.on(index).items():
                now = model[label]
                assert found.instance is now.parts[index].instance
                assert (found.state, found.depth) == (now.state, now.depth)


@given(st.lists(st.tuples(labels, st.sampled_from(REVIEW_STATES)), max_size=9))
def test_after_all_steps_are_taken_back_all_is_as_it_was(decisions):
    store = ObjectStore(SHAPE, [one(label, 0, 2) for label in range(1, 5)])
    shown = {index: store.view_of(index) for index in PLANES}
    for label, state in decisions:
        decide(store, label, state)
    for _ in decisions:
        assert store.undo() is not None
    assert set(states(store).values()) == {"unreviewed"}
    for index, view in shown.items():
        assert store.view_of(index).differing(view) == []


def test_a_view_that_is_shown_is_no_longer_only_intended():
    store = ObjectStore((4, 5))
    store.intend(View(min_area=3))
    store.show(View(min_area=7))
    assert store.intended is None
    assert store.view == View(min_area=7)
