"""What an engine found, added to what is there: which labels, which pixels, without a layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam3.core import adding
from napari_sam3.core.adding import brought_back, hidden_finder, iter_plan, run_changes
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.labels import OVERLAP_RULES
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.progress import drain
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View

SHAPE = (20, 31)
PLANE = PlaneIndex()


def solid(top, left, bottom, right, score=0.9):
    box = Box(top, left, bottom, right)
    return Instance(np.ones(box.shape, bool), box, score)


def empty():
    return np.zeros(SHAPE, np.uint16)


def planned(plane, *items, first_label=1, **others):
    return drain(iter_plan(plane, Instances(SHAPE, items), first_label=first_label, **others))


def mask_of(item, shape=SHAPE):
    whole = np.zeros(shape, bool)
    whole[item.box.slices] = item.mask
    return whole


def add(store, items, index=PLANE, former=None):
    """Add what a run found; what lies on top comes first."""
    parts = {label: Part(item) for label, item in items.items()}
    found = {label: Part(item) for label, item in (former or {}).items()}
    store.edit(run_changes(store, index, parts, found))


def shown(store, index=PLANE):
    return store.view_of(index).paint(Box.of_shape(store.plane_shape(index)), np.int64)


class TestPlan:
    def test_labels_are_numbered_from_the_best_and_told_with_their_areas(self):
        plan = planned(empty(), solid(0, 0, 2, 3, 0.5), solid(5, 5, 9, 9, 0.9))
        assert (plan.labels, plan.areas) == ({0: 2, 1: 1}, {2: 6, 1: 16})
        assert (plan.known, plan.hidden, plan.unseen) == (0, 0, 0)

    @pytest.mark.parametrize("rule", OVERLAP_RULES)
    def test_an_area_is_what_the_overlap_rule_leaves_to_be_seen(self, rule):
        items = [solid(0, 0, 6, 7, 0.5), solid(2, 2, 9, 11, 0.9), solid(3, 3, 5, 6, 0.1)]
        plan = planned(empty(), *items, rule=rule)
        expected = Instances(SHAPE, items).to_labels(rule)
        seen = {n: np.count_nonzero(expected == n + 1) for n in range(3)}
        assert {n: plan.areas[label] for n, label in plan.labels.items()} == {
            n: area for n, area in seen.items() if area
        }
        assert plan.hidden == list(seen.values()).count(0)

    def test_an_object_under_others_gets_no_label_and_is_counted(self):
        plan = planned(empty(), solid(2, 2, 4, 5, 0.1), solid(0, 0, 6, 7, 0.9))
        assert (plan.labels, plan.hidden, plan.all_labels) == ({1: 1}, 1, {1: 1})

    def test_what_a_run_hides_itself_is_an_object_all_the_same_if_known_ones_are_left_out(self):
        found = solid(2, 2, 4, 5, 0.1), solid(0, 0, 6, 7, 0.9)
        plan = planned(empty(), *found, skip_known=True)
        assert (plan.labels, plan.covered) == ({1: 1}, {0: 2})
        assert plan.all_labels == {0: 2, 1: 1}

    def test_nothing_found_is_nothing_new(self):
        plan = planned(empty())
        assert (plan.labels, plan.areas, plan.known, plan.hidden) == ({}, {}, 0, 0)

    def test_pixels_that_are_labelled_are_no_part_of_a_new_object_s_area(self):
        plane = empty()
        plane[3:6, 0:20:3] = 7
        plan = planned(plane, solid(2, 2, 8, 18), first_label=8)
        assert plan.areas == {8: 6 * 16 - np.count_nonzero(plane[2:8, 2:18])}

    def test_negative_labels_are_free(self):
        assert planned(np.full(SHAPE, -4, np.int8), solid(2, 2, 4, 5)).areas == {1: 6}

    def test_new_labels_are_not_lower_than_asked(self):
        plan = planned(empty(), solid(0, 0, 2, 3), solid(5, 5, 7, 8), first_label=40)
        assert plan.labels == {0: 40, 1: 41}

    def test_more_than_half_labelled_is_known_and_half_is_not(self):
        plane = empty()
        plane[0:4, 0:4] = 3
        more, new, half = solid(0, 0, 4, 7), solid(6, 6, 9, 10), solid(0, 0, 4, 8)
        plan = planned(plane, more, new, first_label=4, skip_known=True)
        assert (plan.known, plan.labels) == (1, {1: 4})
        assert planned(plane, half, first_label=4, skip_known=True).known == 0
        assert planned(plane, more, first_label=4).areas == {4: 12}

    def test_objects_of_the_same_run_do_not_make_each_other_known(self):
        found = solid(0, 0, 4, 6, 0.9), solid(0, 1, 4, 8, 0.5)
        plan = planned(empty(), *found, skip_known=True)
        assert (plan.known, len(plan.labels)) == (0, 2)

    def test_what_was_hidden_on_purpose_is_left_out_and_counted(self):
        found = solid(0, 0, 4, 6), solid(8, 9, 12, 20)
        plan = planned(empty(), *found, skip_known=True, is_unseen=lambda item: item is found[0])
        assert (plan.unseen, plan.labels) == (1, {1: 1})

    def test_what_takes_a_label_s_place_has_its_pixels_to_itself(self):
        plane = empty()
        plane[0:6, 0:6], plane[0:6, 10:16] = 1, 2
        plan = planned(plane, solid(4, 4, 9, 12), first_label=3, replaced={0: 1})
        assert (plan.labels, plan.areas) == ({0: 1}, {1: 5 * 8 - 2 * 2})

    def test_two_labels_may_change_places(self):
        plane = empty()
        plane[0:6, 0:7], plane[0:6, 10:17] = 1, 2
        found = solid(0, 10, 6, 17), solid(0, 0, 6, 7)
        plan = planned(plane, *found, first_label=3, replaced={0: 1, 1: 2})
        assert (plan.labels, plan.areas) == ({0: 1, 1: 2}, {1: 42, 2: 42})

    def test_what_is_asked_for_again_lies_above_what_is_new_and_better(self):
        found = solid(0, 0, 6, 7, 0.9), solid(2, 2, 8, 10, 0.1)
        plan = planned(empty(), *found, first_label=6, replaced={1: 5})
        assert plan.areas == {5: 48, 6: 42 - 20}

    def test_what_lies_under_very_many_shows_only_what_they_leave(self):
        many = [solid(row, col, row + 1, col + 1) for row in range(8) for col in range(9)]
        plan = planned(empty(), *many, solid(0, 0, 9, 10, 0.1))
        assert plan.areas[73] == 9 * 10 - 72

    def test_many_objects_are_looked_at_in_several_steps(self, monkeypatch):
        monkeypatch.setattr(adding, "LOOKED_AT_ONCE", 3)
        plane = empty()
        plane[0:4] = 9
        items = [solid(row, 3, row + 1, 9) for row in range(8)]
        for skip_known in (False, True):
            steps = iter_plan(plane, Instances(SHAPE, items), first_label=10, skip_known=skip_known)
            assert len(list(steps)) == 2

    @given(
        arrays(bool, (5, 6, 9)),
        arrays(np.uint16, (6, 9), elements=st.integers(0, 3)),
        st.sampled_from(OVERLAP_RULES),
        st.dictionaries(st.integers(0, 4), st.integers(1, 3), max_size=2),
        st.integers(1, 70),
    )
    def test_areas_are_counted_as_if_the_plane_were_painted(
        self, masks, plane, rule, replaced, many
    ):
        masks[:, 2, 3] = True
        replaced = {index: label for label, index in {n: i for i, n in replaced.items()}.items()}
        items = [Instance.from_mask(mask, i / 7) for i, mask in enumerate(masks)] * many
        found = Instances((6, 9), items[:many])
        replaced = {index: label for index, label in replaced.items() if index < many}
        plan = drain(iter_plan(plane, found, first_label=4, rule=rule, replaced=replaced))
        painted = plane.astype(int)
        painted[np.isin(plane, list(replaced.values()))] = 0
        order = sorted(found.top_first(rule), key=lambda i: i not in replaced)
        for index in order:
            free = mask_of(found[index], (6, 9)) & (painted == 0)
            painted[free] = plan.labels.get(index, -1)
        assert not (painted == -1).any()
        for label, area in plan.areas.items():
            assert area == np.count_nonzero(painted == label)
        new = [plan.labels[i] for i in order if i in plan.labels and i not in replaced]
        assert new == list(range(4, 4 + len(new)))


class TestRunChanges:
    def test_a_run_is_added_with_what_it_shows_and_what_it_hides(self):
        store = ObjectStore(SHAPE)
        large, small = solid(2, 3, 12, 20), solid(4, 5, 8, 9, 0.5)
        add(store, {1: large, 2: small})
        assert store.on(PLANE)[2].instance is small
        assert store.objects[1].depth < store.objects[2].depth
        assert np.array_equal(shown(store) == 1, mask_of(large))

    def test_a_later_run_takes_no_pixel_of_an_earlier_one(self):
        store = ObjectStore(SHAPE)
        add(store, {1: solid(2, 3, 12, 20)})
        before = shown(store)
        add(store, {2: solid(1, 5, 18, 9)})
        assert np.array_equal(shown(store) == 1, before == 1)
        assert np.count_nonzero(shown(store) == 2) == 7 * 4

    def test_an_object_that_is_asked_for_again_keeps_its_depth_and_its_other_planes(self):
        planes = [PlaneIndex((1, 2), (z,)) for z in range(3)]
        store = ObjectStore((3, *SHAPE))
        add(store, {1: solid(10, 3, 14, 12)}, planes[0])
        add(store, {5: solid(2, 3, 8, 12)}, planes[0])
        other = Part(solid(1, 1, 3, 5))
        known = store.objects[5]
        store.edit({5: replace(known, parts={**known.parts, planes[2]: other}, state="accepted")})
        add(store, {6: solid(15, 3, 18, 12)}, planes[0])
        add(store, {5: solid(3, 4, 6, 9)}, planes[0])
        one = store.objects[5]
        assert store.objects[1].depth < one.depth < store.objects[6].depth
        assert one.parts[planes[2]] is other
        assert one.parts[planes[0]].instance.box == Box(3, 4, 6, 9)
        assert one.state == "unreviewed"

    def test_what_was_painted_by_hand_with_its_label_stays(self):
        store = ObjectStore(SHAPE)
        old, new, by_hand = solid(2, 3, 6, 9), solid(2, 3, 7, 10), solid(15, 20, 17, 25)
        store.edit({5: LabelledObject(5, {PLANE: Part(old.joined(by_hand))})})
        add(store, {5: new}, former={5: old})
        now = mask_of(store.on(PLANE)[5].instance)
        assert np.array_equal(now, mask_of(new) | mask_of(by_hand))

    def test_what_was_found_before_gives_way_where_it_was_not_found_again(self):
        store = ObjectStore(SHAPE)
        old, new = solid(2, 3, 8, 12), solid(3, 4, 6, 9)
        add(store, {5: old})
        add(store, {5: new}, former={5: old})
        assert np.array_equal(shown(store) == 5, mask_of(new))

    def test_it_takes_nothing_that_an_object_below_it_shows(self):
        store = ObjectStore(SHAPE)
        add(store, {5: solid(0, 0, 6, 7)})
        add(store, {6: solid(0, 10, 6, 16)})
        below = shown(store) == 6
        add(store, {5: solid(4, 4, 9, 12)})
        assert np.array_equal(shown(store) == 6, below)
        assert store.objects[5].area == 5 * 8 - 2 * 2

    def test_it_is_as_it_was_if_all_of_it_belongs_to_objects_below(self):
        store = ObjectStore(SHAPE)
        add(store, {5: solid(0, 0, 6, 7)})
        add(store, {6: solid(0, 10, 6, 16)})
        add(store, {5: solid(1, 11, 5, 15)})
        assert store.on(PLANE)[5].instance.box == Box(0, 0, 6, 7)

    def test_what_lies_above_it_hides_it_and_takes_nothing(self):
        store = ObjectStore(SHAPE)
        add(store, {4: solid(4, 4, 9, 12)})
        add(store, {5: solid(0, 0, 6, 7)})
        new = solid(2, 2, 9, 12)
        add(store, {5: new})
        assert store.on(PLANE)[5].instance.area == new.area


class TestBroughtBack:
    found = solid(2, 3, 8, 12)

    def test_pixels_that_were_erased_and_are_found_again_are_counted(self):
        now = solid(2, 3, 8, 8)
        assert brought_back(now, self.found, solid(2, 3, 6, 10)) == 4 * 2

    @pytest.mark.parametrize(
        ("now", "anew"),
        [
            (found, solid(0, 0, 9, 14)),
            (solid(2, 3, 8, 8), solid(2, 3, 8, 8)),
            (solid(2, 3, 8, 8), solid(12, 15, 18, 19)),
            (solid(1, 1, 9, 14), found),
        ],
        ids=["nothing erased", "stays erased", "elsewhere", "only painted"],
    )
    def test_what_is_new_or_stays_erased_is_not(self, now, anew):
        assert brought_back(now, self.found, anew) == 0


class TestHiddenFinder:
    def finder(self, *items, hidden=(), view=None, state="unreviewed"):
        objects = [
            LabelledObject(n, {PLANE: Part(item)}, state) for n, item in enumerate(items, start=1)
        ]
        store = ObjectStore(SHAPE, objects, view)
        return hidden_finder(store.on(PLANE), store.hidden | set(hidden))

    def test_nothing_is_known_where_nothing_is_hidden(self):
        assert self.finder(solid(2, 3, 12, 23)) is None
        # a label may be hidden that lies on other planes alone
        assert self.finder(solid(2, 3, 12, 23), hidden={7}) is None

    @pytest.mark.parametrize(
        ("state", "view"), [("rejected", View()), ("accepted", View(min_score=0.95))]
    )
    def test_a_hidden_object_is_known_and_its_parts_are_not(self, state, view):
        is_hidden = self.finder(solid(2, 3, 12, 23), state=state, view=view)
        assert is_hidden(solid(2, 3, 12, 22))
        assert not is_hidden(solid(2, 3, 12, 13))
        assert not is_hidden(solid(15, 3, 18, 12))

    def test_each_of_two_hidden_objects_is_known_where_they_overlap(self):
        pair = solid(2, 3, 12, 13), solid(2, 7, 12, 17)
        is_hidden = self.finder(*pair, state="rejected")
        assert all(is_hidden(item) for item in pair)
        assert not is_hidden(solid(2, 3, 12, 7))
