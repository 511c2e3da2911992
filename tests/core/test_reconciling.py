from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.labels import OVERLAP_RULES
from napari_sam3.core.objects import REVIEW_STATES, PlaneObject
from napari_sam3.core.painting import paint_objects
from napari_sam3.core.reconciling import Changes, reconcile
from tests.tiers import examples

SHAPE = (12, 17)
BIG = 2**31


def full(one):
    mask = np.zeros(SHAPE, bool)
    mask[one.instance.box.slices] = one.instance.mask
    return mask


def solid(label, *corners, depth=0, state="unreviewed", score=0.9):
    box = Box(*corners)
    instance = Instance(np.ones(box.shape, bool), box, score, "cell")
    return PlaneObject(label, instance, "Engine", state, depth)


def plane(*objects):
    """Return a record, and twice what shows it."""
    painted = paint_objects(objects, SHAPE, dtype=np.int64)
    return {one.label: one for one in objects}, painted, painted.copy()


def rectangle(draw):
    top, left = draw(st.integers(0, SHAPE[0] - 1)), draw(st.integers(0, SHAPE[1] - 1))
    rows, cols = draw(st.integers(1, 8)), draw(st.integers(1, 9))
    return slice(top, top + rows), slice(left, left + cols)


@st.composite
def records(draw):
    labels = draw(st.lists(st.sampled_from([1, 2, 3, 4, 5, 9, BIG]), unique=True, max_size=6))
    record = {}
    for label in labels:
        mask = np.zeros(SHAPE, bool)
        mask[rectangle(draw)] = True
        if draw(st.booleans()):
            mask &= draw(hnp.arrays(bool, SHAPE))
        instance = Instance.from_mask(mask, draw(st.none() | st.just(0.5)), "cell")
        if instance:
            state, depth = draw(st.sampled_from(REVIEW_STATES)), draw(st.integers(-2, 2))
            record[label] = PlaneObject(label, instance, "Engine", state, depth)
    return record


def edit(draw, labels, record):
    """Do to a label image what people and plugins do; sometimes with an invisible label."""
    known = sorted({*np.unique(labels[labels > 0]).tolist(), *record})
    some = st.sampled_from([*known, 6, 7, BIG - 1])
    deeds = ["paint", "erase", "merge", "permute", "delete", "split", "show", "show", "touch"]
    deed = draw(st.sampled_from(deeds))
    if deed == "paint":
        labels[rectangle(draw)] = draw(some)
    elif deed == "erase":
        labels[rectangle(draw)] = draw(st.sampled_from([0, 0, 0, -1]))
    elif deed == "merge":
        labels[labels == draw(some)] = draw(some)
    elif deed == "delete":
        labels[labels == draw(some)] = 0
    elif deed == "split":
        where = np.zeros(SHAPE, bool)
        where[rectangle(draw)] = True
        labels[where & (labels == draw(some))] = draw(some)
    elif deed == "show" and record:
        one = record[draw(st.sampled_from(sorted(record)))]
        labels[full(one)] = one.label
    elif deed == "touch" and record:
        one, where = record[draw(st.sampled_from(sorted(record)))], np.zeros(SHAPE, bool)
        where[rectangle(draw)] = True
        labels[where & full(one)] = one.label
    elif deed == "permute":
        before = labels.copy()
        for old, new in zip(known, draw(st.permutations(known)), strict=True):
            labels[before == old] = new


@st.composite
def edited_planes(draw):
    record = draw(records())
    hidden = draw(st.sets(st.sampled_from(sorted(record)))) if record else set()
    hidden = hidden if draw(st.booleans()) else set()
    dtype = draw(st.sampled_from([np.int64, np.uint32]))
    expected = paint_objects(record.values(), SHAPE, hidden=hidden, dtype=dtype)
    actual = expected.astype(np.int64)
    for _ in range(draw(st.integers(1, 3))):
        edit(draw, actual, record)
    return record, expected, actual, hidden


def still_hidden(hidden, changes):
    back = {*changes.returned}
    return {changes.renumbered.get(n, n) for n in hidden} - back


def changed_owner(expected, actual, record, changes):
    """Return, pixel by pixel, where another object shows than before."""
    changed = np.zeros(SHAPE, bool)
    for place in np.ndindex(SHAPE):
        old, now = int(expected[place]), max(int(actual[place]), 0)
        new = changes.renumbered.get(old, old) if old in record else 0
        changed[place] = new != now
    return changed


def is_filtered(one, hidden):
    return one.label in hidden and one.state != "rejected"


class TestProperties:
    @examples(150)
    @given(edited_planes())
    def test_the_record_then_shows_what_the_layer_shows(self, case):
        record, expected, actual, hidden = case
        result = reconcile(record, expected, actual, hidden=hidden)
        left_out = still_hidden(hidden, result.changes)
        painted = paint_objects(result.objects.values(), SHAPE, hidden=left_out)
        # of what a filter still hides, a part may be seen until it is painted anew
        part = np.isin(actual, list(left_out))
        np.testing.assert_array_equal(painted[~part], np.maximum(actual, 0)[~part])
        assert set(np.unique(actual[part]).tolist()) <= hidden
        assert all(label == one.label for label, one in result.objects.items())

    @examples(150)
    @given(edited_planes())
    def test_what_a_filter_hides_would_show_where_its_number_is(self, case):
        record, expected, actual, hidden = case
        result = reconcile(record, expected, actual, hidden=hidden)
        left_out = still_hidden(hidden, result.changes)
        for label in left_out & set(np.unique(actual).tolist()):
            shown = left_out - {label}
            painted = paint_objects(result.objects.values(), SHAPE, hidden=shown)
            assert (painted[actual == label] == label).all()

    @examples(150)
    @given(edited_planes())
    def test_nothing_is_lost_but_what_was_visibly_taken(self, case):
        record, expected, actual, hidden = case
        result = reconcile(record, expected, actual, hidden=hidden)
        objects, changes = result.objects, result.changes
        touched = changed_owner(expected, actual, record, changes)
        for label, one in record.items():
            new = changes.renumbered.get(label, label)
            after, now = objects[new], actual == new
            kept = (after.engine, after.instance.score, after.instance.concept)
            assert kept == (one.engine, one.instance.score, one.instance.concept)
            if new in changes.erased or (after.state == "rejected" and new not in changes.returned):
                assert after.instance is one.instance
                assert after.state == "rejected"
                continue
            if is_filtered(one, hidden):
                np.testing.assert_array_equal(full(after), full(one) | now)
                has_gained = bool((now & ~full(one)).any())
                assert after.state == ("edited" if has_gained else one.state)
                continue
            lost = full(one) & ~full(after)
            np.testing.assert_array_equal(full(after), (full(one) & ~lost) | now)
            # each pixel showed the object, or would show it on top of what is there now
            for place in np.argwhere(lost & (expected != label)):
                there = objects.get(int(actual[tuple(place)]))
                is_above = there and (after.depth, new) < (there.depth, there.label)
                assert there is None or is_above
            if new not in changes.returned:
                assert not (lost & ~touched).any()

    @given(edited_planes())
    def test_the_changes_name_what_changed_and_nothing_else(self, case):
        record, expected, actual, hidden = case
        result = reconcile(record, expected, actual, hidden=hidden)
        changes = result.changes
        named = [*changes.edited, *changes.erased, *changes.added, *changes.returned]
        assert len(named) == len(set(named))
        old_of = {changes.renumbered.get(label, label): label for label in record}
        assert set(old_of) | set(changes.added) == set(result.objects)
        for new, old in old_of.items():
            if new not in named:
                one = result.objects[new]
                assert (one.instance, one.state) == (record[old].instance, record[old].state)
        assert changes.is_empty == (not named and not changes.renumbered)
        assert changes.is_empty == (not changes.words)
        if not changed_owner(expected, actual, record, Changes()).any():
            assert changes.is_empty

    @given(edited_planes())
    def test_once_in_step_it_stays_in_step(self, case):
        record, expected, actual, hidden = case
        first = reconcile(record, expected, actual, hidden=hidden)
        left_out = still_hidden(hidden, first.changes)
        shown = paint_objects(first.objects.values(), SHAPE, hidden=left_out)
        again = reconcile(first.objects, shown, actual, hidden=left_out)
        assert again.changes.is_empty
        assert again.objects == first.objects

    @given(edited_planes())
    def test_a_deed_can_be_undone(self, case):
        record, expected, actual, hidden = case
        first = reconcile(record, expected, actual, hidden=hidden)
        left_out = still_hidden(hidden, first.changes)
        shown = paint_objects(first.objects.values(), SHAPE, hidden=left_out)
        back = reconcile(first.objects, shown, expected, hidden=left_out)
        left_out = still_hidden(left_out, back.changes)
        painted = paint_objects(back.objects.values(), SHAPE, hidden=left_out)
        np.testing.assert_array_equal(painted, expected)

    @given(records(), st.data())
    def test_new_numbers_alone_change_no_mask(self, record, data):
        expected = paint_objects(record.values(), SHAPE, dtype=np.int64)
        visible = np.unique(expected[expected > 0]).tolist()
        others = data.draw(st.permutations([*record, 6, 7, 8]))[: len(visible)]
        numbers = dict(zip(visible, others, strict=True))
        actual = np.zeros_like(expected)
        for old, new in numbers.items():
            actual[expected == old] = new
        result = reconcile(record, expected, actual)
        changes = result.changes
        assert changes == Changes(changes.renumbered)
        for old, one in record.items():
            after = result.objects[changes.renumbered.get(old, old)]
            assert (after.instance, after.state) == (one.instance, one.state)
        assert {changes.renumbered.get(old, old) for old in visible} == set(numbers.values())

    @given(edited_planes(), st.sampled_from(OVERLAP_RULES))
    def test_under_a_rule_what_was_painted_by_hand_stays_on_top(self, case, rule):
        record, _, actual, hidden = case
        expected = paint_objects(record.values(), SHAPE, rule=rule, hidden=hidden, dtype=np.int64)
        result = reconcile(record, expected, actual, hidden=hidden, rule=rule)
        touched = changed_owner(expected, actual, record, result.changes)
        left_out = still_hidden(hidden, result.changes)
        painted = paint_objects(result.objects.values(), SHAPE, rule=rule, hidden=left_out)
        back = [full(result.objects[n]) for n in result.changes.returned]
        sure = touched & ~np.any([np.zeros(SHAPE, bool), *back], axis=0)
        sure &= ~np.isin(actual, list(left_out))
        np.testing.assert_array_equal(painted[sure], np.maximum(actual, 0)[sure])


class TestRenumbered:
    def test_swapped_numbers_are_followed(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 5), solid(2, 6, 7, 9, 15))
        actual[expected == 1], actual[expected == 2] = 2, 1
        result = reconcile(record, expected, actual)
        assert result.changes == Changes({1: 2, 2: 1})
        assert result.objects[2].instance is record[1].instance
        assert list(result.objects) == [1, 2]

    def test_a_hidden_object_makes_way_for_who_takes_its_number(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 5), solid(2, 1, 1, 3, 4, depth=1))
        actual[expected == 1] = 2
        result = reconcile(record, expected, actual)
        assert result.changes == Changes({1: 2, 2: 3})
        assert result.objects[3].instance is record[2].instance
        assert result.objects[3].state == "unreviewed"

    def test_of_equal_depth_the_same_one_stays_on_top(self):
        record, expected, actual = plane(solid(1, 0, 0, 6, 6), solid(2, 3, 3, 9, 9))
        actual[expected == 1], actual[expected == 2] = 2, 1
        result = reconcile(record, expected, actual)
        assert result.objects[2].depth < result.objects[1].depth
        assert not result.changes.edited

    def test_depths_that_differ_are_kept(self):
        record, expected, actual = plane(
            solid(1, 0, 0, 6, 6, depth=7), solid(2, 3, 3, 9, 9, depth=-4)
        )
        actual[expected == 1], actual[expected == 2] = 2, 1
        objects = reconcile(record, expected, actual).objects
        assert {label: one.depth for label, one in objects.items()} == {1: -4, 2: 7}

    def test_under_a_rule_the_order_by_depth_outlives_new_numbers(self):
        record = {1: solid(1, 0, 0, 6, 9), 2: solid(2, 3, 3, 7, 7)}
        expected = paint_objects(record.values(), SHAPE, rule="smallest", dtype=np.int64)
        actual = np.select([expected == 1, expected == 2], [2, 1])
        objects = reconcile(record, expected, actual, rule="smallest").objects
        assert objects[2].instance is record[1].instance
        assert objects[2].depth < objects[1].depth

    def test_while_no_number_changes_equal_depths_stay(self):
        record, expected, actual = plane(solid(1, 0, 0, 6, 6), solid(2, 3, 3, 9, 9))
        actual[9:11, 3:9] = 2
        result = reconcile(record, expected, actual)
        assert (result.objects[1], result.objects[2].depth) == (record[1], 0)

    def test_who_makes_way_gets_the_next_number(self):
        record, expected, actual = plane(
            solid(1, 0, 0, 4, 5), solid(2, 6, 0, 9, 5), solid(3, 6, 1, 8, 3, depth=1)
        )
        actual[expected == 1], actual[expected == 2] = 2, 3
        assert reconcile(record, expected, actual).changes == Changes({1: 2, 2: 3, 3: 4})

    def test_a_number_that_nobody_knows_is_not_given_away(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 5), solid(2, 1, 1, 3, 4, depth=1))
        expected[8:10, 8:12] = actual[8:10, 8:12] = 3
        actual[expected == 1] = 2
        assert reconcile(record, expected, actual).changes == Changes({1: 2, 2: 4})

    def test_who_loses_its_number_to_another_keeps_what_is_hidden_and_what_showed(self):
        over, under = solid(1, 0, 0, 4, 6, depth=-1), solid(2, 2, 2, 8, 8)
        record, expected, actual = plane(over, under, solid(3, 9, 0, 12, 15))
        actual[expected == 2], actual[expected == 3] = 0, 2
        result = reconcile(record, expected, actual)
        assert result.changes == Changes({2: 4, 3: 2}, erased=(4,))
        assert result.objects[4].instance is under.instance

    def test_exactly_half_is_not_enough(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 6))
        actual[:4, :3] = 7
        changes = reconcile(record, expected, actual).changes
        assert changes == Changes(edited=(1,), added=(7,))

    def test_the_larger_part_of_a_split_object_is_the_object(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 6))
        actual[:4, :4] = 7
        result = reconcile(record, expected, actual)
        assert result.changes == Changes({1: 7}, edited=(7,), added=(1,))
        assert result.objects[7].engine == "Engine"
        assert result.objects[1].engine == ""

    def test_a_full_type_gives_a_number_from_between(self):
        small = [solid(n, 0, n % 17, 1, n % 17 + 1, state="rejected") for n in range(3, 256)]
        record = {one.label: one for one in [*small, solid(1, 5, 5, 9, 9)]}
        expected = paint_objects(record.values(), SHAPE, dtype=np.uint8)
        changes = reconcile(record, expected, np.where(expected == 1, 255, 0).astype(np.uint8))
        assert changes.changes == Changes({1: 255, 255: 2})

    def test_a_number_from_between_is_one_that_nobody_has(self):
        small = [solid(n, 0, n % 17, 1, n % 17 + 1, state="rejected") for n in range(3, 256)]
        record = {one.label: one for one in [*small, solid(1, 5, 5, 9, 9)] if one.label != 9}
        expected = paint_objects(record.values(), SHAPE, dtype=np.uint8)
        expected[11, 3:8] = 2
        actual = expected.copy()
        actual[expected == 1] = 255
        assert reconcile(record, expected, actual).changes == Changes({1: 255, 255: 9})


class TestMerged:
    def test_the_one_that_gave_its_number_gains_the_other(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 9), solid(2, 6, 0, 9, 5))
        actual[expected == 2] = 1
        result = reconcile(record, expected, actual)
        assert result.changes == Changes(edited=(1,), erased=(2,))
        assert result.objects[1].instance.area == 36 + 15
        assert result.objects[1].instance.box == Box(0, 0, 9, 9)
        assert result.objects[2].instance is record[2].instance

    def test_the_larger_one_is_kept_also_under_the_smaller_ones_number(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 9, score=0.8), solid(2, 6, 0, 9, 5))
        actual[expected == 1] = 2
        result = reconcile(record, expected, actual)
        assert result.changes == Changes({1: 2, 2: 3}, edited=(2,), erased=(3,))
        assert result.objects[2].instance.score == 0.8
        assert result.objects[2].instance.area == 36 + 15
        assert (result.objects[3].state, result.objects[3].instance.area) == ("rejected", 15)

    def test_what_is_painted_along_with_it_is_gained_too(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 9), solid(2, 6, 0, 9, 5))
        actual[expected == 1] = actual[10, 12:16] = 2
        result = reconcile(record, expected, actual)
        assert result.changes == Changes({1: 2, 2: 3}, edited=(2,), erased=(3,))
        np.testing.assert_array_equal(full(result.objects[2]), actual == 2)


class TestErasedAndReturned:
    def test_what_was_erased_is_kept_whole_as_rejected_and_comes_back(self):
        over, under = solid(1, 0, 0, 4, 5), solid(2, 2, 2, 8, 9, depth=1, state="accepted")
        record, expected, actual = plane(over, under)
        actual[expected == 2] = 0
        gone = reconcile(record, expected, actual)
        assert gone.changes == Changes(erased=(2,))
        assert gone.objects[2].instance is under.instance
        assert gone.objects[2].state == "rejected"
        back = reconcile(gone.objects, actual, expected)
        assert back.changes == Changes(returned=(2,))
        assert (back.objects[2].instance, back.objects[2].state) == (under.instance, "unreviewed")

    def test_what_comes_back_larger_is_edited(self):
        record, expected, actual = plane(solid(2, 2, 2, 6, 8, state="rejected"))
        actual[2:6, 2:9] = 2
        back = reconcile(record, expected, actual)
        assert back.changes == Changes(returned=(2,))
        assert (back.objects[2].instance.area, back.objects[2].state) == (28, "edited")

    def test_of_what_comes_back_only_what_shows_does(self):
        record, expected, actual = plane(solid(2, 2, 2, 6, 8, state="rejected"))
        actual[2:6, 2:6] = 2
        back = reconcile(record, expected, actual)
        assert back.changes == Changes(returned=(2,))
        assert (back.objects[2].instance.area, back.objects[2].state) == (16, "unreviewed")

    @pytest.mark.parametrize(("rows", "is_back"), [(2, False), (3, True)])
    def test_half_of_it_is_not_enough_to_come_back(self, rows, is_back):
        record, expected, actual = plane(solid(2, 2, 2, 6, 8, state="rejected"))
        actual[2 : 2 + rows, 2:8] = 2
        changes = reconcile(record, expected, actual).changes
        assert changes == (Changes(returned=(2,)) if is_back else Changes({2: 3}, added=(2,)))

    def test_it_is_not_back_where_most_of_what_has_its_number_lies_elsewhere(self):
        record, expected, actual = plane(solid(2, 2, 2, 4, 7, state="rejected"))
        actual[2:7, 2:7] = 2
        changes = reconcile(record, expected, actual).changes
        assert changes == Changes({2: 3}, added=(2,))

    def test_two_that_come_back_together_are_not_held_against_each_other(self):
        over = solid(1, 0, 0, 4, 10, state="rejected")
        under = solid(2, 0, 4, 4, 12, depth=1, state="rejected")
        record, expected, actual = plane(over, under)
        actual[0:4, 0:4], actual[0:4, 4:12] = 1, 2
        result = reconcile(record, expected, actual)
        assert result.changes == Changes(returned=(1, 2))
        assert result.objects[1].instance.box == Box(0, 0, 4, 4)
        assert result.objects[2].instance is under.instance

    def test_an_invisible_number_on_other_pixels_is_another_object(self):
        covered = solid(2, 2, 2, 4, 4, depth=1)
        record, expected, actual = plane(
            solid(1, 0, 0, 6, 6), covered, solid(3, 9, 9, 11, 11, state="rejected")
        )
        actual[8:11, 0:4], actual[10:12, 10:16] = 2, 3
        result = reconcile(record, expected, actual)
        assert result.changes == Changes({2: 4, 3: 5}, added=(2, 3))
        assert result.objects[4].instance is covered.instance
        assert result.objects[5].state == "rejected"

    @pytest.mark.parametrize("background", [0, -1])
    def test_what_lay_under_an_erased_object_does_not_come_up(self, background):
        over, under = solid(1, 0, 0, 5, 5), solid(2, 2, 2, 8, 9, depth=1)
        record, expected, actual = plane(over, under)
        actual[expected == 1] = background
        result = reconcile(record, expected, actual)
        assert result.changes == Changes(edited=(2,), erased=(1,))
        np.testing.assert_array_equal(full(result.objects[2]), expected == 2)

    def test_an_object_that_lost_all_it_had_under_another_is_kept_as_rejected(self):
        record, expected, actual = plane(solid(1, 0, 0, 5, 5), solid(2, 1, 1, 3, 3, depth=1))
        actual[:] = 0
        result = reconcile(record, expected, actual)
        assert result.changes == Changes(erased=(1, 2))
        assert result.objects[2].instance is record[2].instance


class TestComingBack:
    def test_an_accepted_object_that_was_covered_stays_accepted(self):
        over, under = solid(1, 0, 0, 6, 8), solid(2, 1, 1, 4, 5, depth=1, state="accepted")
        record, expected, actual = plane(over, under)
        actual[1:4, 1:5] = 2
        result = reconcile(record, expected, actual)
        assert result.changes == Changes(edited=(1,), returned=(2,))
        assert result.objects[2] is under

    def test_an_accepted_object_that_a_filter_hid_stays_accepted(self):
        one, other = solid(1, 0, 0, 6, 8), solid(2, 4, 5, 9, 12, depth=1, state="accepted")
        record = {1: one, 2: other}
        expected = paint_objects([one, other], SHAPE, hidden=[2])
        whole = paint_objects([one, other], SHAPE)
        result = reconcile(record, expected, whole, hidden=[2])
        assert result.changes == Changes(returned=(2,))
        assert result.objects == record

    def test_a_rejected_object_is_to_be_reviewed_again(self):
        record, expected, actual = plane(solid(2, 1, 1, 4, 5, state="rejected"))
        actual[1:4, 1:5] = 2
        assert reconcile(record, expected, actual).objects[2].state == "unreviewed"

    def test_of_a_covered_object_only_a_part_comes_up(self):
        over, under = solid(1, 0, 0, 6, 8), solid(2, 1, 1, 4, 5, depth=1, state="accepted")
        record, expected, actual = plane(over, under)
        actual[1:4, 1:4], actual[1:4, 4] = 2, 0
        result = reconcile(record, expected, actual)
        assert result.changes == Changes(edited=(1,), returned=(2,))
        assert (result.objects[2].instance.area, result.objects[2].state) == (9, "edited")


class TestFilteredOut:
    def hidden(self, *others, state="accepted", depth=0):
        """Return an object of number 2 that is not painted, and others that are."""
        one = solid(2, 2, 2, 6, 8, depth=depth, state=state)
        record = {one.label: one for one in (*others, one)}
        expected = paint_objects(record.values(), SHAPE, hidden=[2], dtype=np.int64)
        return record, expected, expected.copy()

    def test_its_number_on_its_own_pixels_changes_nothing(self):
        record, expected, actual = self.hidden()
        actual[3, 2:5] = 2
        result = reconcile(record, expected, actual, hidden=[2])
        assert result.changes == Changes()
        assert result.objects == record

    @pytest.mark.parametrize("beside", [(3, 8), (6, 8), (1, 1), (6, 4), (3, 1)])
    def test_what_is_painted_beside_it_is_added_to_it(self, beside):
        record, expected, actual = self.hidden()
        row, col = beside
        actual[row : row + 2, col : col + 1] = 2
        result = reconcile(record, expected, actual, hidden=[2])
        assert result.changes == Changes(edited=(2,))
        one = result.objects[2]
        np.testing.assert_array_equal(full(one), full(record[2]) | (actual == 2))
        assert (one.state, one.instance.score, one.engine) == ("edited", 0.9, "Engine")

    @pytest.mark.parametrize("apart", [(3, 9), (7, 9), (0, 4), (11, 16)])
    def test_its_number_a_pixel_away_is_another_object(self, apart):
        record, expected, actual = self.hidden()
        actual[apart] = 2
        result = reconcile(record, expected, actual, hidden=[2])
        assert result.changes == Changes({2: 3}, added=(2,))
        assert result.objects[3].instance is record[2].instance
        assert result.objects[3].state == "accepted"

    def test_at_the_image_border_beside_is_inside_of_the_image(self):
        one = solid(2, 8, 12, 12, 17)
        expected = np.zeros(SHAPE, np.int64)
        actual = expected.copy()
        actual[7, 16] = 2
        result = reconcile({2: one}, expected, actual, hidden=[2])
        assert result.changes == Changes(edited=(2,))
        assert result.objects[2].instance.box == Box(7, 12, 12, 17)

    def test_it_is_back_once_all_of_it_shows_and_not_before(self):
        record, expected, actual = self.hidden()
        actual[2:6, 2:8] = 2
        assert reconcile(record, expected, actual, hidden=[2]).changes == Changes(returned=(2,))
        actual[5, 7] = 0
        assert reconcile(record, expected, actual, hidden=[2]).changes == Changes()
        actual[6, 7] = 2
        assert reconcile(record, expected, actual, hidden=[2]).changes == Changes(edited=(2,))

    def test_where_another_lies_on_top_of_it_it_need_not_show(self):
        record, expected, actual = self.hidden(solid(1, 0, 0, 4, 5, depth=-1))
        actual[2:6, 2:8] = np.where(expected[2:6, 2:8] == 1, 1, 2)
        result = reconcile(record, expected, actual, hidden=[2])
        assert result.changes == Changes(returned=(2,))
        assert result.objects == record

    @pytest.mark.parametrize(
        ("rule", "is_below"), [("", True), ("smallest", True), ("first", False)]
    )
    def test_what_lies_below_it_keeps_its_pixels_where_it_shows_again(self, rule, is_below):
        record, expected, actual = self.hidden(solid(1, 0, 0, 5, 6, depth=1))
        actual[3, 2:5] = 2
        result = reconcile(record, expected, actual, hidden=[2], rule=rule)
        assert result.changes == (Changes() if is_below else Changes(edited=(1,)))

    def test_what_it_gains_is_taken_from_what_showed_there(self):
        record, expected, actual = self.hidden(solid(1, 3, 8, 9, 12, depth=1))
        actual[3, 7:10] = 2
        result = reconcile(record, expected, actual, hidden=[2])
        assert result.changes == Changes(edited=(1, 2))
        np.testing.assert_array_equal(full(result.objects[1]), actual == 1)
        np.testing.assert_array_equal(full(result.objects[2]), full(record[2]) | (actual == 2))

    def test_a_rejected_one_makes_way_for_what_is_painted_on_it(self):
        record, expected, actual = self.hidden(state="rejected")
        actual[3, 2:5] = 2
        result = reconcile(record, expected, actual, hidden=[2])
        assert result.changes == Changes({2: 3}, added=(2,))
        assert result.objects[3].instance is record[2].instance

    def test_it_makes_way_for_an_object_that_takes_its_number(self):
        record, expected, actual = self.hidden(solid(1, 3, 3, 9, 12, depth=1))
        actual[expected == 1] = 2
        result = reconcile(record, expected, actual, hidden=[2])
        assert result.changes == Changes({1: 2, 2: 3})

    def test_a_stroke_that_is_taken_back_leaves_the_objects_as_they_were(self):
        # before the filter, a stroke of object 1 was painted over a part of object 2
        one, other = solid(1, 0, 0, 4, 5, depth=1), solid(2, 2, 2, 6, 8, state="accepted")
        record, expected, actual = plane(one, other)
        actual[3, 2:7] = 1
        stroked = reconcile(record, expected, actual).objects
        filtered = paint_objects(stroked.values(), SHAPE, hidden=[2], dtype=np.int64)
        undone = filtered.copy()
        undone[3, 2:7] = 2
        result = reconcile(stroked, filtered, undone, hidden=[2])
        np.testing.assert_array_equal(full(result.objects[2]), full(other))
        assert (result.objects[2].label, len(result.objects)) == (2, 2)
        np.testing.assert_array_equal(full(result.objects[1]) & (undone == 2), False)


class TestEdited:
    def test_a_brush_stroke_grows_the_mask_and_its_box(self):
        record, expected, actual = plane(solid(3, 2, 2, 6, 6, state="accepted"))
        actual[4, 6:10] = 3
        result = reconcile(record, expected, actual)
        assert result.changes == Changes(edited=(3,))
        one = result.objects[3]
        assert (one.state, one.instance.box, one.instance.score) == (
            "edited",
            Box(2, 2, 6, 10),
            0.9,
        )
        np.testing.assert_array_equal(full(one), actual == 3)
        assert one.instance.mask.base is None

    def test_the_eraser_leaves_hidden_parts_alone(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 6), solid(2, 2, 2, 8, 8, depth=1))
        actual[6:8, :] = 0
        result = reconcile(record, expected, actual)
        assert result.changes == Changes(edited=(2,))
        assert result.objects[2].instance.box == Box(2, 2, 6, 8)
        assert result.objects[1] is record[1]

    def test_an_object_in_front_of_its_old_cover_keeps_its_mask(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 6), solid(2, 2, 2, 8, 8, depth=1))
        actual[3, 2:6] = 2
        result = reconcile(record, expected, actual)
        assert result.changes == Changes(edited=(1,))
        assert result.objects[2] is record[2]

    def test_what_grows_under_a_rule_does_not_let_a_hidden_part_come_up(self):
        # the growing one was the smallest and lay on top; then another one is smaller
        one, other, cover = solid(1, 0, 0, 2, 5), solid(2, 1, 0, 5, 4), solid(3, 3, 2, 5, 4)
        record = {1: one, 2: other, 3: cover}
        expected = paint_objects(record.values(), SHAPE, rule="smallest", dtype=np.int64)
        actual = expected.copy()
        actual[3:7, 2:8] = 1
        result = reconcile(record, expected, actual, rule="smallest")
        painted = paint_objects(result.objects.values(), SHAPE, rule="smallest")
        np.testing.assert_array_equal(painted[3:7, 2:8], 1)

    def test_a_stroke_on_what_was_rejected_meanwhile_is_not_lost(self):
        # it still shows, since it was rejected after it was painted
        record, expected, actual = plane(solid(1, 2, 2, 6, 6))
        actual[4, 6:10] = 1
        for hidden in ((), (1,)):
            rejected = {1: replace(record[1], state="rejected")}
            result = reconcile(rejected, expected, actual, hidden=hidden)
            np.testing.assert_array_equal(full(result.objects[1]), actual == 1)

    def test_a_hidden_label_keeps_its_pixels_under_the_eraser(self):
        record, expected, actual = plane(solid(1, 0, 0, 6, 6))
        record[2] = solid(2, 2, 2, 9, 9, depth=-1)
        actual[:] = 0
        result = reconcile(record, expected, actual, hidden=[2])
        assert result.changes == Changes(erased=(1,))
        assert result.objects[2] is record[2]


class TestAdded:
    def test_an_unknown_label_is_a_new_object_on_top(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 6), solid(2, 6, 6, 9, 9, depth=-3))
        actual[3:8, 4:8] = 8
        actual[10, 10] = 7
        added = reconcile(record, expected, actual).objects
        assert (added[8].engine, added[8].state, added[8].instance.score) == ("", "edited", None)
        assert max(added[7].depth, added[8].depth) < -3
        assert (added[8].instance.box, added[8].instance.area) == (Box(3, 4, 8, 8), 20)

    def test_it_is_taken_whole_where_a_part_was_painted_already(self):
        record, expected, actual = plane(solid(1, 0, 0, 4, 6))
        expected[8:11, 2:9] = actual[8:11, 2:9] = 5
        actual[11, 2:4] = 5
        result = reconcile(record, expected, actual)
        assert result.objects[5].instance.area == 23

    def test_the_first_object_of_an_empty_plane(self):
        record, expected, actual = plane()
        actual[2:4, 3:9] = BIG
        result = reconcile(record, expected, actual)
        assert result.changes == Changes(added=(BIG,))
        assert result.objects[BIG].instance.area == 12


def test_an_image_that_is_as_expected_changes_nothing():
    record, expected, actual = plane(solid(1, 0, 0, 4, 6), solid(2, 2, 2, 8, 8, depth=1))
    for shown in (actual, actual.astype(np.uint8), np.where(actual == 0, -1, actual)):
        result = reconcile(record, expected, shown)
        assert result.changes.is_empty
        assert result.objects == record


def test_the_words_say_how_many():
    assert Changes().words == ()
    assert Changes(edited=(4,)).words == ("1 object was changed; the record follows it.",)
    assert Changes({1: 2, 2: 1, 5: 9}, (), (3, 4), (8,)).words == (
        "3 objects were renumbered, 2 erased and 1 added; the record follows them.",
        "What was erased is kept as rejected and can be brought back.",
    )


def test_other_images_are_refused():
    labels = np.zeros(SHAPE, np.int32)
    for other in (labels[:, :-1], labels.astype(float), labels > 0):
        with pytest.raises(ValueError, match=r"planes|whole numbers"):
            reconcile({}, labels, other)
    with pytest.raises(ValueError, match="planes"):
        reconcile({}, labels[None], labels[None])


def test_the_old_record_is_left_as_it_was():
    record, expected, actual = plane(solid(1, 0, 0, 4, 6), solid(2, 2, 2, 8, 8, depth=1))
    before, masks = dict(record), [one.instance.mask.copy() for one in record.values()]
    actual[3:6] = 1
    reconcile(record, expected, actual)
    assert record == before
    for one, mask in zip(record.values(), masks, strict=True):
        np.testing.assert_array_equal(one.instance.mask, mask)
