from __future__ import annotations

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.pictures import Picture
from napari_sam3.core.prompts import Point
from napari_sam3.engines.base import Capabilities, SegmentationResult
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.refining import (
    crop_around,
    innermost,
    refining_prompt,
    take_answer,
)

SHAPE = (60, 90)
BOXES = Capabilities(points=True, object_box=True)
CLICKS = Capabilities(points=True)


def solid(top, left, bottom, right, score=0.8):
    box = Box(top, left, bottom, right)
    return Instance(np.ones(box.shape, bool), box, score)


def answer(crop, *items):
    moved = tuple(item.shifted(-crop.top, -crop.left) for item in items)
    return SegmentAnswer((SegmentationResult(Instances(crop.shape, moved)),), crop.shape)


def test_a_crop_is_twice_as_large_as_its_object_and_lies_in_the_image():
    assert crop_around(solid(20, 10, 40, 70), SHAPE) == Box(0, 0, 60, 90)
    assert crop_around(solid(30, 40, 34, 44), SHAPE) == Box(14, 24, 50, 60)


def test_a_cropped_picture_is_the_part_of_the_picture():
    whole = np.arange(60 * 90, dtype=np.uint8).reshape(SHAPE)
    picture = Picture.from_array(whole, (0, 255))
    part = picture.cropped(Box(3, 5, 20, 41))
    assert np.array_equal(part.read().rgb, picture.read().rgb[3:20, 5:41])
    assert part.describe() == picture.describe()
    (values,) = part.parts()
    assert np.array_equal(values.pixels(), whole[3:20, 5:41])
    assert values.contrast_limits == (0, 255)


def test_it_begins_with_the_box_in_pixels_of_the_crop():
    item = solid(20, 30, 40, 50)
    crop = crop_around(item, SHAPE)
    prompt = refining_prompt(item, crop, [Point(25, 35), Point(27, 36, positive=False)], BOXES)
    assert prompt.box == Box(20 - crop.top, 30 - crop.left, 40 - crop.top, 50 - crop.left)
    assert prompt.points[0] == Point(25 - crop.top, 35 - crop.left)
    assert not prompt.points[1].positive


def test_a_click_beside_the_box_widens_it():
    item = solid(20, 30, 40, 50)
    crop = crop_around(item, SHAPE)
    prompt = refining_prompt(item, crop, [Point(45, 52)], BOXES)
    assert prompt.box.shifted(crop.top, crop.left) == Box(20, 30, 46, 53)


def test_a_negative_click_beside_the_box_does_not_widen_it():
    item = solid(20, 30, 40, 50)
    crop = crop_around(item, SHAPE)
    prompt = refining_prompt(item, crop, [Point(45, 52, positive=False)], BOXES)
    assert prompt.box.shifted(crop.top, crop.left) == item.box
    assert len(prompt.points) == 1


def test_clicks_beyond_the_crop_are_left_out():
    item = solid(20, 30, 24, 34)
    crop = crop_around(item, SHAPE)
    assert refining_prompt(item, crop, [Point(59, 89)], BOXES).points == ()


def test_an_engine_without_boxes_is_given_a_click_on_the_middle():
    mask = np.zeros((20, 30), bool)
    mask[:, :4] = mask[8:12] = True
    item = Instance(mask, Box(10, 20, 30, 50))
    crop = crop_around(item, SHAPE)
    prompt = refining_prompt(item, crop, [], CLICKS)
    (point,) = prompt.points
    row, col = point.row + crop.top, point.col + crop.left
    assert prompt.box is None
    assert (row, col) == innermost(item)
    assert mask[int(row) - 10, int(col) - 20]


def test_only_a_negative_click_keeps_the_click_on_the_middle():
    item = solid(20, 30, 40, 50)
    prompt = refining_prompt(item, crop_around(item, SHAPE), [Point(21, 31, False)], CLICKS)
    assert [point.positive for point in prompt.points] == [True, False]


@pytest.fixture
def plane():
    plane = np.zeros(SHAPE, np.uint16)
    plane[20:40, 30:50] = 4
    plane[20:40, 50:60] = 9
    return plane


OBJECT = PlaneObject(4, solid(20, 30, 40, 50, score=0.3), "old", "accepted", depth=7)
CROP = crop_around(OBJECT.instance, SHAPE)


def test_neighbours_keep_all_their_pixels(plane):
    after = take_answer(OBJECT, answer(CROP, solid(18, 28, 42, 56)), CROP, plane, "new", "run")
    whole = np.zeros(SHAPE, bool)
    whole[after.instance.box.slices] = after.instance.mask
    assert not whole[plane == 9].any()
    assert whole[19, 29]
    assert (after.label, after.depth, after.state) == (4, 7, "edited")
    assert after.engine == "new"
    assert after.instance.score == 0.8
    assert after.source == ("run", 0, 0)


def test_what_overlapped_before_may_overlap_again(plane):
    wide = PlaneObject(4, solid(20, 30, 40, 55), "old")
    after = take_answer(wide, answer(CROP, solid(22, 30, 38, 58)), CROP, plane, "new")
    assert after.instance.box == Box(22, 30, 38, 55)


def test_of_several_answers_the_one_that_is_most_alike_counts(plane):
    found = answer(CROP, solid(12, 22, 18, 28), solid(21, 31, 39, 49), solid(20, 30, 26, 36))
    after = take_answer(OBJECT, found, CROP, plane, "new", "run")
    assert after.instance.box == Box(21, 31, 39, 49)
    assert after.source == ("run", 0, 1)


def test_an_empty_answer_leaves_the_object_alone(plane):
    assert take_answer(OBJECT, answer(CROP), CROP, plane, "new") is None


def test_an_answer_that_lies_wholly_on_others_leaves_the_object_alone(plane):
    assert take_answer(OBJECT, answer(CROP, solid(22, 51, 30, 58)), CROP, plane, "new") is None
