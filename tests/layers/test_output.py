"""Objects → a Labels layer."""

from itertools import permutations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.progress import drain
from napari_sam3.errors import ImageError
from napari_sam3.layers import output
from napari_sam3.layers.output import (
    OutputPlace,
    add_features,
    find_output_place,
    next_free_label,
    write_instances,
)
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.transforms import LayerTransform

SHAPE = (12, 20)


def block(top, left, bottom, right, score=None):
    box = Box(top, left, bottom, right)
    return Instance(np.ones(box.shape, bool), box, score)


def place_of(image, at=None, order=None, extra=(), max_side=4096):
    viewer = ViewerModel()
    for layer in (image, *extra):
        viewer.add_layer(layer)
    if order is not None:
        viewer.dims.order = order
    for axis, position in (at or {}).items():
        viewer.dims.set_point(axis, position)
    return find_output_place(image, find_plane(image, viewer.dims, max_side))


def flat(shape=SHAPE):
    place = place_of(Image(np.zeros(shape, np.uint8)))
    return place.new_layer(), place.plane


def finish(steps):
    """Run a generator to its end; return its result and how often it paused."""
    pauses = []
    return drain(steps, pauses.append), len(pauses)


def write(layer, plane, *items, **kwargs):
    return finish(write_instances(layer, plane, Instances(plane.shape, items), **kwargs))[0]


# --- the place


def test_scale_and_translate_of_the_image_are_written_into_the_labels():
    image = Image(
        np.zeros((3, *SHAPE)),
        scale=(2, 0.5, 0.5),
        translate=(0, 100, 50),
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
        name="nuclei",
    )
    labels = place_of(image).new_layer()
    assert labels.data.shape == (3, *SHAPE)
    assert labels.scale.tolist() == [2, 0.5, 0.5]
    assert labels.translate.tolist() == [0, 100, 50]
    assert labels.units == image.units
    assert labels.axis_labels == ("z", "y", "x")
    assert labels.name == "nuclei objects"
    assert not labels.data.any()


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")  # napari's, on adding
@pytest.mark.parametrize("rotate", [(0, 0, 30), (10, 20, 30)])
def test_labels_lie_over_a_turned_3d_image(rotate):
    affine = np.array([[1, 0, 0, 5], [0, 0, 1, 6], [0, 1, 0, 7], [0, 0, 0, 1.0]])
    image = Image(np.zeros((3, *SHAPE)), scale=(2, 0.5, 0.25), rotate=rotate, shear=(0.1, 0, 0.2))
    image.affine = affine
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.dims.set_point(0, image.data_to_world((1, 0, 0))[0])
    place = find_output_place(image, find_plane(image, viewer.dims))
    labels = place.new_layer()
    assert LayerTransform.of(labels).matches(LayerTransform.of(image))
    write(labels, place.plane, block(2, 3, 5, 9))
    assert np.argwhere(labels.data)[0].tolist() == [place.plane.index[0], 2, 3]


def test_labels_over_an_rgb_image_have_no_colour_axis():
    labels = place_of(Image(np.zeros((2, *SHAPE, 3), np.uint8), rgb=True)).new_layer()
    assert labels.data.shape == (2, *SHAPE)


def test_objects_are_written_into_the_plane_that_was_asked_and_no_other():
    image = Image(np.zeros((3, 4, *SHAPE)), scale=(5, 2, 1, 1))
    # the viewer has five axes, of which the image has the last four
    place = place_of(image, at={1: 10, 2: 2}, extra=[Image(np.zeros((2, 20, 9, 9, 9)))])
    labels = place.new_layer()
    write(labels, place.plane, block(1, 2, 4, 9))
    assert set(map(tuple, np.argwhere(labels.data)[:, :2])) == {(2, 1)}
    expected = np.zeros(SHAPE)
    expected[1:4, 2:9] = 1
    assert np.array_equal(labels.data[2, 1], expected)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_objects_found_in_any_view_are_written_where_they_were_seen(order):
    data = np.zeros((5, 6, 7), np.uint8)
    data[2, 3, 4] = 1
    image = Image(data, scale=(1, 2, 3), contrast_limits=(0, 1))
    at = dict(enumerate(np.array((2, 3, 4)) * (1, 2, 3)))
    place = place_of(image, at=at, order=order)
    labels = place.new_layer()
    item = Instance.from_mask(place.plane.cut(data))
    write(labels, place.plane, item)
    assert np.array_equal(labels.data, data)


def test_objects_on_a_coarse_level_are_written_into_its_plane():
    image = Image([np.zeros((8, 40, 60)), np.zeros((4, 20, 30))], multiscale=True)
    place = place_of(image, at={0: 5}, max_side=30)
    labels = place.new_layer()
    write(labels, place.plane, block(1, 2, 4, 9))
    assert set(np.argwhere(labels.data)[:, 0]) == {2}


def test_an_image_that_fits_in_no_memory_is_refused_with_a_sentence():
    place = place_of(Image(np.zeros(SHAPE)))
    huge = OutputPlace("x", (1 << 40, 1 << 40), place.transform, place.kwargs, place.plane)
    with pytest.raises(ImageError, match="does not fit in memory"):
        huge.new_layer()


def read_only(shape):
    data = np.zeros(shape, np.uint8)
    data.flags.writeable = False
    return data


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Labels(np.zeros((9, 9), int)), "the shape (9, 9), not (12, 20)"),
        (lambda: Labels(np.zeros((20, 12), int)), "shape"),
        (lambda: Labels(np.zeros((1, *SHAPE), int)), "shape"),
        (lambda: Labels(np.zeros(SHAPE, int), scale=(2, 1)), "another place"),
        (lambda: Labels(np.zeros(SHAPE, int), translate=(0, 1)), "another place"),
        (lambda: Labels(da.zeros(SHAPE, dtype=int)), "not a plain array"),
        (lambda: Labels([np.zeros(SHAPE, int), np.zeros((6, 10), int)]), "not a plain array"),
        (lambda: Labels(read_only(SHAPE)), "read-only"),
    ],
)
def test_a_layer_that_cannot_take_the_objects_is_refused_with_a_sentence(make, reason):
    place = place_of(Image(np.zeros(SHAPE)))
    layer = make()
    layer.name = "mine"
    message = place.misfit(layer)
    assert message.startswith("“mine” ")
    assert reason in message


def test_a_layer_that_lies_over_the_image_can_take_the_objects():
    place = place_of(Image(np.zeros(SHAPE), scale=(0.1, 0.3)))
    assert place.misfit(place.new_layer()) == ""
    assert place.misfit(Labels(np.zeros(SHAPE, np.int64), scale=(0.1, 0.3))) == ""


# --- what is written


def test_labels_are_numbered_from_the_best_and_told_with_their_areas():
    layer, plane = flat()
    done = write(layer, plane, block(0, 0, 2, 3, 0.5), block(5, 5, 9, 9, 0.9))
    assert (done.labels, done.areas) == ({0: 2, 1: 1}, {2: 6, 1: 16})
    assert (done.known, done.hidden) == (0, 0)
    assert np.count_nonzero(layer.data == 1) == 16
    assert np.count_nonzero(layer.data == 2) == 6


def test_only_the_masks_pixels_are_painted():
    layer, plane = flat()
    mask = np.array([[1, 0, 1], [0, 1, 0]], bool)
    write(layer, plane, Instance(mask, Box(3, 4, 5, 7)))
    assert np.array_equal(layer.data[3:5, 4:7], mask)
    assert np.count_nonzero(layer.data) == 3


@pytest.mark.parametrize(("rule", "on_top"), [("score", 1), ("smallest", 2), ("first", 0)])
def test_the_overlap_rule_decides_who_is_on_top(rule, on_top):
    items = [block(0, 0, 6, 6, 0.5), block(2, 2, 9, 9, 0.9), block(3, 3, 5, 5, 0.1)]
    layer, plane = flat()
    done = write(layer, plane, *items, rule=rule)
    assert layer.data[4, 4] == done.labels[on_top]
    expected = Instances(SHAPE, items).to_labels(rule)
    for index, label in done.labels.items():
        assert np.array_equal(layer.data == label, expected == index + 1)
        assert done.areas[label] == np.count_nonzero(expected == index + 1)


def test_an_object_under_others_gets_no_label_and_is_counted():
    layer, plane = flat()
    done = write(layer, plane, block(2, 2, 4, 4, 0.1), block(0, 0, 6, 6, 0.9))
    assert done.labels == {1: 1}
    assert done.hidden == 1
    assert layer.data.max() == 1


def test_nothing_found_writes_nothing_and_makes_no_undo_step():
    layer, plane = flat()
    layer.data_setitem((np.array([0]), np.array([0])), 7)
    done = write(layer, plane)
    assert (done.labels, done.areas, done.known, done.hidden) == ({}, {}, 0, 0)
    layer.undo()
    assert not layer.data.any()


def test_existing_labels_are_never_overwritten():
    layer, plane = flat()
    painted = np.zeros(SHAPE, bool)
    painted[3:6, 0:20:3] = True
    layer.data_setitem(np.nonzero(painted), 7)
    done = write(layer, plane, block(2, 2, 8, 18), first_label=8)
    assert np.array_equal(layer.data == 7, painted)
    assert done.labels == {0: 8}
    assert done.areas[8] == np.count_nonzero(layer.data == 8)


def test_a_second_run_appends_with_labels_of_its_own():
    layer, plane = flat()
    write(layer, plane, block(0, 0, 4, 4))
    first = layer.data == 1
    done = write(layer, plane, block(2, 2, 8, 8))
    assert done.labels == {0: 2}
    assert np.array_equal(layer.data == 1, first)


def test_new_labels_are_not_lower_than_asked():
    layer, plane = flat()
    assert write(layer, plane, block(0, 0, 2, 2), block(5, 5, 7, 7), first_label=40).labels == {
        0: 40,
        1: 41,
    }


def test_labels_painted_by_hand_are_respected_by_the_next_free_label():
    layer, plane = flat()
    assert next_free_label(layer, plane) == 1
    layer.data_setitem((np.array([1]), np.array([1])), 12)
    assert next_free_label(layer, plane) == 13
    assert next_free_label(layer, plane, 30) == 31
    add_features(layer, {50: {"score": 0.5}})
    assert next_free_label(layer, plane) == 51


def test_labels_that_the_features_number_by_their_rows_are_not_free():
    layer = Labels(np.zeros(SHAPE, int), features=pd.DataFrame({"class": ["none", "a", "b"]}))
    _, plane = flat()
    assert next_free_label(layer, plane) == 3


# --- replacing


def test_a_replaced_label_is_erased_and_repainted_and_others_are_untouched():
    layer, plane = flat()
    write(layer, plane, block(0, 0, 6, 6), block(0, 10, 6, 16))
    other = layer.data == 2
    done = write(layer, plane, block(4, 4, 9, 12), replaced={0: 1})
    assert done.labels == {0: 1}
    expected = np.zeros(SHAPE, bool)
    expected[4:9, 4:12] = True
    expected &= ~other
    assert np.array_equal(layer.data == 1, expected)
    assert np.array_equal(layer.data == 2, other)
    assert done.areas == {1: np.count_nonzero(expected)}


def test_two_replaced_labels_may_change_places():
    layer, plane = flat()
    left, right = block(0, 0, 6, 6), block(0, 10, 6, 16)
    write(layer, plane, left, right)
    done = write(layer, plane, right, left, replaced={0: 1, 1: 2})
    assert done.labels == {0: 1, 1: 2}
    assert (layer.data[0:6, 10:16] == 1).all()
    assert (layer.data[0:6, 0:6] == 2).all()
    assert np.count_nonzero(layer.data) == 72


def test_a_new_object_may_have_what_a_replaced_one_leaves():
    layer, plane = flat()
    write(layer, plane, block(0, 0, 6, 6))
    done = write(layer, plane, block(0, 0, 2, 2, 0.9), block(2, 0, 6, 6, 0.5), replaced={0: 1})
    assert done.labels == {0: 1, 1: 2}
    assert (layer.data[0:2, 0:2] == 1).all()
    assert (layer.data[2:6, 0:6] == 2).all()
    assert not layer.data[0:2, 2:].any()


def test_a_replaced_label_on_another_plane_stays():
    image = Image(np.zeros((2, *SHAPE)))
    first, second = place_of(image, at={0: 0}), place_of(image, at={0: 1})
    labels = first.new_layer()
    write(labels, first.plane, block(0, 0, 3, 3))
    labels.data[1, 8:10, 8:10] = 1
    write(labels, second.plane, block(5, 5, 7, 7), replaced={0: 1})
    assert np.count_nonzero(labels.data[0] == 1) == 9
    assert np.count_nonzero(labels.data[1] == 1) == 4


def test_replacing_is_one_undo_step_too():
    layer, plane = flat()
    write(layer, plane, block(0, 0, 6, 6))
    before = layer.data.copy()
    write(layer, plane, block(4, 4, 9, 9), replaced={0: 1})
    layer.undo()
    assert np.array_equal(layer.data, before)


# --- known already


def test_objects_that_are_labelled_already_can_be_left_out():
    layer, plane = flat()
    layer.data[0:4, 0:4] = 3
    half = block(0, 0, 4, 8)  # exactly half of it: not more than half
    same, new = block(0, 0, 4, 5), block(6, 6, 9, 9)
    done = write(layer, plane, same, new, skip_known=True)
    assert (done.known, done.labels) == (1, {1: 4})
    assert not layer.data[0:4, 4].any()
    layer, plane = flat()
    layer.data[0:4, 0:4] = 3
    assert write(layer, plane, half, skip_known=True).known == 0


def test_objects_of_the_same_run_do_not_make_each_other_known():
    layer, plane = flat()
    done = write(layer, plane, block(0, 0, 4, 6, 0.9), block(0, 1, 4, 8, 0.5), skip_known=True)
    assert (done.known, len(done.labels)) == (0, 2)


def test_known_objects_are_painted_where_free_if_not_asked_to_leave_them_out():
    layer, plane = flat()
    layer.data[0:4, 0:4] = 3
    assert write(layer, plane, block(0, 0, 4, 5)).areas == {4: 4}


# --- undo


def test_one_run_is_one_undo_step_and_one_redo(monkeypatch):
    monkeypatch.setattr(output, "PIXELS_PER_STEP", 10)
    layer, plane = flat()
    layer.data_setitem((np.array([11]), np.array([19])), 5)
    before = layer.data.copy()
    write(layer, plane, *[block(2 * i, 2 * i, 2 * i + 5, 2 * i + 4) for i in range(4)])
    after = layer.data.copy()
    assert after.max() == 9
    layer.undo()
    assert np.array_equal(layer.data, before)
    layer.redo()
    assert np.array_equal(layer.data, after)
    layer.undo()
    layer.undo()
    assert not layer.data.any()


def test_undo_works_when_the_layer_had_to_be_widened():
    layer = Labels(np.zeros(SHAPE, np.uint8))
    _, plane = flat()
    layer.data_setitem((np.array([0]), np.array([0])), 255)
    write(layer, plane, block(2, 2, 4, 4))
    assert layer.data.dtype == np.uint16
    assert layer.data[3, 3] == 256
    layer.undo()
    assert layer.data.sum() == 255
    layer.undo()
    assert not layer.data.any()
    layer.redo()
    layer.redo()
    assert layer.data[3, 3] == 256


def test_a_run_that_is_broken_off_is_still_one_undo_step(monkeypatch):
    monkeypatch.setattr(output, "PIXELS_PER_STEP", 10)
    layer, plane = flat()
    steps = write_instances(layer, plane, Instances(SHAPE, [block(0, 0, 6, 6)]))
    next(steps)
    next(steps)
    steps.close()
    assert np.count_nonzero(layer.data) == 20
    layer.undo()
    assert not layer.data.any()


# --- room for labels


@pytest.mark.parametrize(
    ("dtype", "first", "widened"),
    [
        (np.uint8, 255, np.uint8),
        (np.uint8, 256, np.uint16),
        (np.uint16, 65535, np.uint16),
        (np.uint16, 65536, np.uint32),
        (np.uint32, 65536, np.uint32),
        (np.int8, 128, np.int16),
        (np.int16, 32768, np.int32),
        (np.int32, 70000, np.int32),
        (np.int64, 70000, np.int64),
        (np.uint32, 1 << 32, np.uint64),
    ],
)
def test_a_label_that_does_not_fit_widens_the_layer_and_no_sooner(dtype, first, widened):
    layer = Labels(np.zeros(SHAPE, dtype))
    _, plane = flat()
    layer.data[11, 19] = 3
    write(layer, plane, block(2, 2, 4, 4), first_label=first)
    assert layer.data.dtype == widened
    assert layer.data[3, 3] == first
    assert layer.data[11, 19] == 3


def test_the_256th_object_of_a_run_does_not_overflow():
    layer = Labels(np.zeros((20, 20), np.uint8))
    plane = place_of(Image(np.zeros((20, 20)))).plane
    items = [block(r, c, r + 1, c + 1) for r in range(16) for c in range(16)]
    done = write(layer, plane, *items)
    assert set(done.labels.values()) == set(range(1, 257))
    assert set(np.unique(layer.data)) == set(range(257))


def test_negative_labels_survive_widening():
    layer = Labels(np.full(SHAPE, -4, np.int8))
    layer.data[:6] = 0
    _, plane = flat()
    write(layer, plane, block(2, 2, 4, 4), first_label=200)
    assert (layer.data[6:] == -4).all()
    assert layer.data[3, 3] == 200


# --- small steps


def test_every_step_changes_few_pixels():
    layer, plane = flat((700, 900))
    items = [block(0, 0, 690, 500), *[block(5 * i, 520, 5 * i + 4, 890) for i in range(130)]]
    steps = write_instances(layer, plane, Instances(plane.shape, items))
    before = layer.data.copy()
    pauses = 0
    for _ in steps:
        changed = np.count_nonzero(layer.data != before)
        assert changed <= output.PIXELS_PER_STEP
        before = layer.data.copy()
        pauses += 1
    assert np.count_nonzero(layer.data) == sum(item.area for item in items)
    assert pauses >= 690 * 500 // output.PIXELS_PER_STEP


@pytest.mark.parametrize(("pixels", "cells"), [(1, 1), (7, 5), (40, 13), (10**6, 10**6)])
def test_the_size_of_the_steps_changes_nothing(monkeypatch, pixels, cells):
    rng = np.random.default_rng(5)
    masks = rng.random((6, *SHAPE)) > 0.6
    items = [
        Instance.from_mask(mask, score) for mask, score in zip(masks, rng.random(6), strict=True)
    ]
    layer, plane = flat()
    layer.data[rng.random(SHAPE) > 0.8] = 1
    layer.data[rng.random(SHAPE) > 0.8] = 2
    reference = Labels(layer.data.copy())
    wanted = write(reference, plane, *items, replaced={2: 1}, skip_known=True)
    monkeypatch.setattr(output, "PIXELS_PER_STEP", pixels)
    monkeypatch.setattr(output, "CELLS_PER_STEP", cells)
    done = write(layer, plane, *items, replaced={2: 1}, skip_known=True)
    assert np.array_equal(layer.data, reference.data)
    assert (done.labels, done.areas, done.known) == (wanted.labels, wanted.areas, wanted.known)


def test_what_is_painted_by_hand_between_two_steps_stays(monkeypatch):
    monkeypatch.setattr(output, "PIXELS_PER_STEP", 10)
    layer, plane = flat()
    steps = write_instances(layer, plane, Instances(SHAPE, [block(0, 0, 6, 6)]))
    next(steps)
    layer.data_setitem((np.array([5]), np.array([5])), 9)
    finish(steps)
    assert layer.data[5, 5] == 9
    assert np.count_nonzero(layer.data == 1) == 35


# --- features


def test_the_features_tell_what_each_label_is():
    layer, _ = flat()
    add_features(
        layer,
        {
            2: {"score": 0.9, "area": 16, "prompt": "cell", "engine": "Built-in"},
            1: {"score": np.nan, "area": 6, "prompt": "cell", "engine": "Built-in"},
        },
    )
    assert layer.features["index"].tolist() == [1, 2]
    assert layer.features["area"].tolist() == [6, 16]
    assert np.isnan(layer.features["score"][0])
    assert "score: 0.9" in status_of(layer, 2)


def status_of(layer, label):
    layer.data[3, 4] = label
    layer.refresh()
    return layer.get_status((3, 4))["value"] + str(layer.get_status((3, 4)))


def test_features_of_earlier_runs_and_columns_of_the_users_own_are_kept():
    layer, _ = flat()
    layer.features = pd.DataFrame({"index": [1, 5], "class": ["round", "long"]})
    add_features(layer, {2: {"score": 0.5}, 9: {"score": 0.25}})
    table = layer.features.set_index("index")
    assert table.index.tolist() == [1, 2, 5, 9]
    assert table.loc[[1, 5], "class"].tolist() == ["round", "long"]
    assert table.loc[[2, 9], "score"].tolist() == [0.5, 0.25]


def test_a_label_that_is_refined_keeps_the_users_own_columns():
    layer, _ = flat()
    layer.features = pd.DataFrame(
        {"index": [1, 5], "class": ["round", "long"], "score": [0.1, 0.2]}
    )
    add_features(layer, {5: {"score": np.nan, "area": 12}, 6: {"score": 0.4, "area": 2}})
    table = layer.features.set_index("index")
    assert table.index.tolist() == [1, 5, 6]
    assert table["class"].tolist()[:2] == ["round", "long"]
    # the old score is not the new object's
    assert table["score"].isna().tolist() == [False, True, False]
    assert table["area"].tolist()[1:] == [12, 2]


def test_features_numbered_by_their_rows_keep_their_labels():
    # without a column "index", napari takes the row's number for the label
    layer = Labels(np.zeros(SHAPE, int), features=pd.DataFrame({"class": ["none", "a", "b"]}))
    add_features(layer, {3: {"score": 0.5}})
    table = layer.features.set_index("index")
    assert table["class"].tolist()[:3] == ["none", "a", "b"]
    assert table.loc[3, "score"] == 0.5


def test_rows_of_removed_labels_are_dropped():
    layer, _ = flat()
    add_features(layer, {1: {"score": 0.5}, 2: {"score": 0.6}})
    add_features(layer, {}, removed=(1,))
    assert layer.features["index"].tolist() == [2]
    add_features(layer, {}, removed=(2,))
    assert layer.features["index"].tolist() == []
    add_features(layer, {3: {"score": 0.5}})
    assert layer.features["index"].tolist() == [3]
