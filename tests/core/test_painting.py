from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.labels import OVERLAP_RULES
from napari_sam3.core.objects import REVIEW_STATES, PlaneObject
from napari_sam3.core.painting import order_from_top, paint_objects

SHAPE = (6, 10)


def full(one):
    mask = np.zeros(SHAPE, bool)
    mask[one.instance.box.slices] = one.instance.mask
    return mask


def square(label, *corners, score=None, state="unreviewed", depth=0):
    box = Box(*corners)
    return PlaneObject(label, Instance(np.ones(box.shape, bool), box, score), "", state, depth)


@st.composite
def planes(draw):
    labels = draw(st.lists(st.integers(1, 70_000), unique=True, max_size=6))
    return [
        PlaneObject(
            label,
            Instance.from_mask(
                draw(hnp.arrays(bool, SHAPE).filter(np.any)),
                draw(st.none() | st.sampled_from([0.1, 0.5, 0.9])),
            ),
            state=draw(st.sampled_from(REVIEW_STATES)),
            depth=draw(st.integers(-2, 2)),
        )
        for label in labels
    ]


@given(planes(), st.data())
def test_every_pixel_shows_the_object_of_smallest_depth_that_is_shown(objects, data):
    hidden = data.draw(st.sets(st.sampled_from([one.label for one in objects] or [1])))
    painted = paint_objects(objects, SHAPE, hidden=hidden)
    for row, col in np.ndindex(SHAPE):
        there = [
            (one.depth, one.label)
            for one in objects
            if full(one)[row, col] and one.state != "rejected" and one.label not in hidden
        ]
        assert painted[row, col] == (min(there)[1] if there else 0)


@given(planes(), st.sampled_from(OVERLAP_RULES))
def test_under_a_rule_it_is_the_view_of_an_answer_in_the_order_of_labels(objects, rule):
    shown = sorted((o for o in objects if o.state != "rejected"), key=lambda one: one.label)
    items = [one.instance for one in shown]
    if any(item.score is not None for item in items):
        # what has no score among others that do lies on top
        items = [replace(item, score=1.0) if item.score is None else item for item in items]
    view = Instances(SHAPE, tuple(items)).to_labels(rule)
    numbers = np.array([0, *(one.label for one in shown)])
    np.testing.assert_array_equal(paint_objects(objects, SHAPE, rule=rule), numbers[view])


@st.composite
def parts(draw):
    top, left = draw(st.integers(0, SHAPE[0] - 1)), draw(st.integers(0, SHAPE[1] - 1))
    bottom, right = draw(st.integers(top + 1, SHAPE[0])), draw(st.integers(left + 1, SHAPE[1]))
    return Box(top, left, bottom, right)


@given(planes(), parts(), st.sampled_from(["", *OVERLAP_RULES]), st.data())
def test_a_part_is_the_same_part_of_the_whole(objects, box, rule, data):
    hidden = data.draw(st.sets(st.sampled_from([one.label for one in objects] or [1])))
    whole = paint_objects(objects, SHAPE, rule=rule, hidden=hidden)
    part = paint_objects(objects, SHAPE, rule=rule, hidden=hidden, box=box)
    assert part.dtype == whole.dtype
    np.testing.assert_array_equal(part, whole[box.slices])
    near = [one for one in objects if one.instance.box.meets(box)]
    fewer = paint_objects(near, SHAPE, rule=rule, hidden=hidden, dtype=whole.dtype, box=box)
    np.testing.assert_array_equal(fewer, part)


def test_a_part_costs_nothing_for_objects_elsewhere():
    class Untouchable(np.ndarray):
        def __getitem__(self, _):
            raise AssertionError("the pixels of an object elsewhere were read")

        def __array_function__(self, function, *_):
            raise AssertionError(f"{function.__name__} of an object elsewhere was taken")

    far = Instance(np.ones((2, 2), bool).view(Untouchable), Box(4, 8, 6, 10))
    objects = [square(1, 0, 0, 3, 4), PlaneObject(2, far)]
    part = paint_objects(objects, SHAPE, rule="smallest", box=Box(2, 3, 4, 8))
    assert part.tolist() == [[1, 0, 0, 0, 0], [0] * 5]
    with pytest.raises(AssertionError):
        paint_objects(objects, SHAPE, box=Box(2, 3, 5, 9))


def test_a_part_outside_the_plane_is_refused():
    with pytest.raises(ValueError, match="lies outside"):
        paint_objects([], SHAPE, box=Box(2, 3, 7, 8))


@given(planes(), st.randoms(use_true_random=False), st.sampled_from(["", *OVERLAP_RULES]))
def test_the_order_in_which_objects_come_does_not_matter(objects, random, rule):
    shuffled = random.sample(objects, len(objects))
    np.testing.assert_array_equal(
        paint_objects(objects, SHAPE, rule=rule), paint_objects(shuffled, SHAPE, rule=rule)
    )


def test_hiding_an_object_does_not_change_which_of_the_others_lies_on_top():
    large, small = square(1, 0, 0, 4, 6, score=0.9), square(2, 2, 3, 5, 7, score=0.2)
    drawn = square(3, 5, 8, 6, 10)
    seen = paint_objects([large, small, drawn], SHAPE, rule="score")
    hidden = paint_objects([large, small, drawn], SHAPE, rule="score", hidden=[3])
    np.testing.assert_array_equal(hidden, np.where(seen == 3, 0, seen))


def test_of_equal_depth_the_smaller_label_lies_on_top():
    objects = [square(7, 0, 0, 4, 6), square(3, 2, 3, 5, 7), square(1, 0, 0, 6, 10, depth=5)]
    assert [one.label for one in order_from_top(objects, SHAPE)] == [3, 7, 1]
    painted = paint_objects(objects, SHAPE)
    assert (painted[3, 4], painted[0, 0], painted[5, 9]) == (3, 7, 1)


def test_the_image_holds_the_largest_label_even_of_what_it_does_not_show():
    large = square(70_000, 0, 0, 1, 2, state="rejected")
    assert paint_objects([large], SHAPE).dtype == np.uint32
    assert paint_objects([replace(large, label=65_535)], SHAPE).dtype == np.uint16
    assert paint_objects([square(2**31, 0, 0, 1, 2)], SHAPE).max() == 2**31


def test_a_given_type_is_kept_and_must_hold_the_labels():
    assert paint_objects([square(9, 0, 0, 1, 2)], SHAPE, dtype=np.int8).dtype == np.int8
    with pytest.raises(ValueError, match="label 300 does not fit in uint8"):
        paint_objects([square(300, 0, 0, 1, 2)], SHAPE, dtype=np.uint8)


def test_without_objects_all_is_background():
    painted = paint_objects([], SHAPE)
    assert (painted.shape, painted.dtype, painted.max()) == (SHAPE, np.uint16, 0)


@pytest.mark.parametrize("corners", [(-1, 0, 2, 3), (0, 0, 7, 3), (0, 8, 2, 11)])
def test_an_object_outside_the_plane_is_refused(corners):
    with pytest.raises(ValueError, match="outside an image"):
        paint_objects([square(1, *corners)], SHAPE)


def test_a_label_below_one_and_an_unknown_rule_are_refused():
    with pytest.raises(ValueError, match="label 0"):
        paint_objects([square(0, 0, 0, 1, 2)], SHAPE)
    with pytest.raises(ValueError, match="no overlap rule"):
        paint_objects([], SHAPE, rule="last")


def test_what_was_drawn_among_scored_objects_lies_on_top_and_changes_no_other_overlap():
    boxes = Box(1, 1, 6, 9), Box(2, 2, 8, 12), Box(4, 4, 5, 14)
    scores = 0.9, 0.5, None
    objects = [
        PlaneObject(n, Instance(np.ones(box.shape, bool), box, score))
        for n, (box, score) in enumerate(zip(boxes, scores, strict=True), start=1)
    ]
    painted = paint_objects(objects, (12, 17), rule="score")
    assert (painted[4, 4:14] == 3).all()
    assert painted[3, 3] == 1
