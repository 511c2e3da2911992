from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.viewing import View
from napari_sam3.workflows.syncing import PlaneState, sync

SHAPE = (40, 61)


def solid(label, box, score=0.9, concept="", state="unreviewed", depth=0):
    item = Instance(np.ones(box.shape, bool), box, score, concept)
    return PlaneObject(label, item, "engine", state, depth)


OBJECTS = {
    1: solid(1, Box(5, 5, 25, 35), concept="cell"),
    2: solid(2, Box(6, 6, 16, 16), 0.6, "nucleus", depth=1),
    3: solid(3, Box(30, 40, 38, 60), 0.7, "cell", depth=2),
}


def painted():
    plane = np.zeros(SHAPE, np.uint16)
    plane[30:38, 40:60] = 3
    plane[5:25, 5:35] = 1
    return plane


def test_what_is_in_step_stays_as_it_is():
    synced = sync(PlaneState(OBJECTS, painted(), painted(), View()))
    assert not synced.is_other
    assert synced.objects == OBJECTS
    assert synced.notices == ()
    assert synced.overlapping == {1, 2}
    assert synced.doubtful == (2, 3, 1)
    assert "score 0.6" in synced.reasons[2]


def test_a_view_is_painted_and_says_what_it_hides():
    synced = sync(PlaneState(OBJECTS, painted(), painted(), View("smallest", min_score=0.65)))
    assert synced.is_other is False
    assert synced.hidden == {2}
    synced = sync(PlaneState(OBJECTS, painted(), painted(), View("smallest")))
    assert synced.is_other
    assert (synced.painted[6:16, 6:16] == 2).all()


def test_what_somebody_painted_is_taken_over_before_a_view_is_painted():
    actual = painted()
    actual[0:3, 50:60] = 3
    synced = sync(PlaneState(OBJECTS, painted(), actual, View(min_area=1000)))
    assert synced.objects[3].instance.area == 160 + 30
    assert synced.hidden == {1, 2, 3}
    assert synced.notices
    back = sync(PlaneState(synced.objects, synced.painted, synced.painted, View(), synced.hidden))
    assert np.array_equal(back.painted, actual)


def test_labels_that_are_seen_for_the_first_time_are_nobodys_edit():
    synced = sync(PlaneState({}, np.zeros(SHAPE, np.uint16), painted(), View()))
    assert {one.state for one in synced.objects.values()} == {"unreviewed"}
    assert synced.notices == ()
    assert not synced.is_other


def test_overlaps_and_classes_are_painted_if_they_are_wanted():
    wanted = frozenset({"overlaps", "classes"})
    state = PlaneState(OBJECTS, painted(), painted(), View("smallest"), wanted=wanted)
    synced = sync(state)
    assert synced.classes == {"cell": 1, "nucleus": 2}
    assert np.count_nonzero(synced.derived["overlaps"] == 2) == 100
    assert (synced.derived["classes"][6:16, 6:16] == 2).all() or (
        synced.derived["classes"][5:25, 5:35] == 1
    ).all()
    assert sync(PlaneState(OBJECTS, painted(), painted(), View())).derived == {}


def test_classes_show_what_the_instances_show():
    state = PlaneState(
        OBJECTS, painted(), painted(), View("smallest"), wanted=frozenset({"classes"})
    )
    synced = sync(state)
    numbers = np.array([0, 1, 2, 1])
    assert np.array_equal(synced.derived["classes"], numbers[synced.painted])


def test_overlaps_are_not_looked_for_twice():
    first = sync(PlaneState(OBJECTS, painted(), painted(), View()))
    again = sync(PlaneState(OBJECTS, painted(), painted(), View("score"), found=first.found))
    assert again.found is first.found
    changed = {**OBJECTS, 4: solid(4, Box(1, 40, 3, 50), depth=9)}
    other = sync(PlaneState(changed, painted(), painted(), View(), found=first.found))
    assert other.found is not first.found


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_of_any_type_are_kept(dtype):
    synced = sync(PlaneState(OBJECTS, painted().astype(dtype), painted().astype(dtype), View()))
    assert not synced.is_other


def test_overlaps_of_objects_that_were_exchanged_are_looked_for_again():
    first = sync(PlaneState(OBJECTS, painted(), painted(), View()))
    # as many as before, but the second one lies alone
    moved = {**OBJECTS, 2: solid(2, Box(30, 2, 38, 12), 0.6, "nucleus", depth=1)}
    plane = painted()
    plane[30:38, 2:12] = 2
    again = sync(PlaneState(moved, plane, plane, View(), found=first.found))
    assert first.overlapping == {1, 2}
    assert again.overlapping == set()


def test_only_what_is_shown_counts_as_an_overlap_that_is_painted():
    state = PlaneState(
        OBJECTS, painted(), painted(), View(min_score=0.65), wanted=frozenset({"overlaps"})
    )
    assert not sync(state).derived["overlaps"].any()


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_what_is_below_0_is_painted_as_it_was(dtype):
    actual = painted().astype(dtype)
    actual[0, :5], actual[7, 7] = -3, -1
    synced = sync(PlaneState(OBJECTS, painted(), actual, View(min_score=0.95)))
    assert np.array_equal(synced.painted, np.minimum(actual, 0))
    assert synced.objects.keys() == OBJECTS.keys()


# --- runs that are undone and done again ------------------------------------------------------

FOUND = {
    label: replace(one, source=("run", 0, label - 4))
    for label, one in {
        4: solid(4, Box(1, 40, 9, 50), 0.8, state="accepted", depth=3),
        5: solid(5, Box(3, 45, 12, 58), 0.4, depth=4),
    }.items()
}


def with_run():
    plane = painted()
    for label in (5, 4):
        plane[FOUND[label].instance.box.slices] = label
    return plane


def test_a_run_that_was_undone_leaves_the_record():
    synced = sync(PlaneState(OBJECTS | FOUND, with_run(), painted(), View()))
    assert synced.objects.keys() == OBJECTS.keys()
    assert synced.undone == FOUND
    assert synced.notices == ("A run was undone: 2 objects left the table.",)
    assert not synced.is_other


def test_a_run_that_is_done_again_is_back_as_it_was():
    synced = sync(PlaneState(OBJECTS, painted(), with_run(), View(), undone=FOUND))
    assert synced.undone == {}
    for label, one in FOUND.items():
        back = synced.objects[label]
        assert (back.state, back.source, back.depth) == (one.state, one.source, one.depth)
        assert back.instance.score == one.instance.score
        assert np.array_equal(back.instance.mask, one.instance.mask)
    assert not synced.is_other


def test_a_run_that_is_done_again_on_an_empty_plane_is_back_as_it_was():
    plane = np.zeros(SHAPE, np.uint16)
    plane[FOUND[4].instance.box.slices] = 4
    undone = {4: FOUND[4]}
    synced = sync(PlaneState({}, np.zeros(SHAPE, np.uint16), plane, View(), undone=undone))
    assert synced.objects[4].state == "accepted"
    assert synced.objects[4].source == FOUND[4].source
    assert synced.undone == {}


def test_another_object_with_the_number_of_one_that_was_undone_is_not_that():
    actual = painted()
    actual[30:35, 3:9] = 4
    synced = sync(PlaneState(OBJECTS, painted(), actual, View(), undone=FOUND))
    assert synced.objects[4].instance.box == Box(30, 3, 35, 9)
    assert synced.objects[4].source is None
    assert synced.objects.keys() == {1, 2, 3, 4}


def test_one_that_was_erased_from_a_run_is_kept_as_rejected():
    actual = with_run()
    actual[actual == 4] = 0
    synced = sync(PlaneState(OBJECTS | FOUND, with_run(), actual, View()))
    assert synced.objects[4].state == "rejected"
    assert synced.undone == {}
    assert "What was erased is kept as rejected" in " ".join(synced.notices)


def test_new_numbers_are_told_by_the_former_ones():
    actual = painted()
    actual[painted() == 1], actual[painted() == 3] = 3, 1
    synced = sync(PlaneState(OBJECTS, painted(), actual, View()))
    assert synced.renumbered == {1: 3, 3: 1}
    assert sync(PlaneState(OBJECTS, painted(), painted(), View())).renumbered == {}
