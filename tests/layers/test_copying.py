"""Copies of marks are read as the same prompts, on another plane or over another image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes

from napari_sam3.core.geometry import Box
from napari_sam3.layers.copying import (
    Copied,
    copy_to_image,
    copy_to_plane,
    marks_on,
    next_plane,
    number_copies,
    plane_count,
)
from napari_sam3.layers.drawing import (
    new_points_layer,
    new_shapes_layer,
    next_object,
    next_polarity,
    set_next_object,
    set_next_polarity,
    set_proposal,
)
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.prompts import from_pixels, read_points, read_shapes

STACK = (6, 20, 30)
FLAT = {"scale": (1, 1, 1)}
ODD = {"scale": (2.5, 0.3, 1.7), "translate": (3, -11.3, 1e4), "rotate": 25, "shear": [0, 0, 0.2]}
STRAIGHT = {"scale": (2.5, 0.3, 1.7), "translate": (3, -11.3, 1e4)}
VIEWS = [
    *(((0, 1, 2), lies) for lies in (FLAT, ODD)),
    *(((0, 2, 1), lies) for lies in (STRAIGHT, ODD)),
    # turned out of the plane that is shown
    *(((2, 1, 0), lies) for lies in (STRAIGHT, ODD)),
    *((order, STRAIGHT) for order in ((1, 2, 0), (1, 0, 2))),
]
SLANTED = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
TRIANGLE = np.array([(4, 5), (15, 9), (7, 25)])


def viewer_of(*layers, order=None):
    viewer = ViewerModel()
    for layer in layers:
        viewer.add_layer(layer)
    if order:
        viewer.dims.order = order
    return viewer


def go_to(viewer, image, at):
    viewer.dims.set_point(range(image.ndim), image.data_to_world(at))
    return find_plane(image, viewer.dims)


def shown(image, at=None, order=None, max_side=4096):
    viewer = viewer_of(image, order=order)
    if at is not None:
        go_to(viewer, image, at)
    return find_plane(image, viewer.dims, max_side)


def points_on(plane, image, *pixels):
    layer = new_points_layer(image, "points", 3)
    layer.add(plane.to_data(np.array(pixels, dtype=float)))
    return layer


def shapes_on(plane, image, *marks):
    """Marks are pairs of corners and kind."""
    layer = new_shapes_layer(image, "boxes", 1)
    for corners, kind in marks:
        layer.add(plane.to_data(np.array(corners, dtype=float)), shape_type=kind)
    return layer


def rectangle(top, left, bottom, right):
    return [(top, left), (top, right), (bottom, right), (bottom, left)]


KINDS = (
    (rectangle(1.7, 2.7, 8.3, 19.3), "rectangle"),
    (rectangle(5, 3, 12, 28), "ellipse"),
    (TRIANGLE, "polygon"),
    ([(2, 3), (15, 25)], "line"),
    ([(2, 3), (9, 4), (15, 25)], "path"),
)


def all_of(layer):
    data = np.array(layer.data) if isinstance(layer, Points) else [v.copy() for v in layer.data]
    return data, layer.features.copy()


def assert_unchanged(layer, before):
    data, features = before
    for was, now in zip(data, layer.data, strict=False):
        np.testing.assert_array_equal(was, now)
    assert layer.features.iloc[: len(features)].equals(features)


# --- the next plane


@given(
    pixels=st.lists(
        st.tuples(st.floats(-0.4, 19.4), st.floats(-0.4, 29.4)), min_size=1, max_size=4
    ),
    odd=st.booleans(),
    at=st.integers(0, 4),
)
@settings(max_examples=20)
def test_points_are_copied_to_the_same_pixels_of_the_next_plane(pixels, odd, at):
    image = Image(np.zeros(STACK), **(ODD if odd else FLAT))
    plane = shown(image, (at, 3, 4))
    layer = points_on(plane, image, *pixels)
    before = all_of(layer)
    following = next_plane(image, plane, 0)
    assert copy_to_plane(layer, plane, following, {1: 7}) == Copied(len(pixels))
    original, copies = read_points(layer, plane), read_points(layer, following)
    assert [mark.point for mark in copies.points] == [mark.point for mark in original.points]
    assert [mark.group for mark in copies.points] == [7] * len(pixels)
    assert [mark.group for mark in original.points] == [1] * len(pixels)
    assert_unchanged(layer, before)


@SLANTED
@pytest.mark.parametrize(("order", "lies"), VIEWS)
def test_all_kinds_of_shapes_are_copied_along_whatever_axis_is_hidden(order, lies):
    image = Image(np.zeros((20, 22, 30)), **lies)
    plane = shown(image, (4, 6, 8), order)
    layer = shapes_on(plane, image, *KINDS)
    before, edges = all_of(layer), layer.edge_color.copy()
    (hidden,) = plane.hidden
    following = next_plane(image, plane, hidden)
    assert copy_to_plane(layer, plane, following, {}).count == len(KINDS)
    assert read_shapes(layer, following) == read_shapes(layer, plane)
    assert len(read_shapes(layer, plane).boxes) == 3
    assert layer.shape_type == [kind for _, kind in KINDS] * 2
    assert_unchanged(layer, before)
    np.testing.assert_array_equal(layer.edge_color, np.concatenate([edges, edges]))


@SLANTED
@pytest.mark.parametrize(("order", "lies"), VIEWS)
def test_the_next_plane_is_the_one_that_the_sliders_show_once_they_are_moved_there(order, lies):
    image = Image(np.zeros((20, 22, 30)), **lies)
    other = Image(np.zeros((2, 3, 4, 5)))
    viewer = viewer_of(other, image, order=(0, *(axis + 1 for axis in order)))
    viewer.dims.set_point((1, 2, 3), image.data_to_world((4, 6, 8)))
    plane = find_plane(image, viewer.dims)
    (hidden,) = plane.hidden
    following = next_plane(image, plane, hidden)
    viewer.dims.set_point(range(4), following.world)
    found = find_plane(image, viewer.dims)
    assert found.index == following.index
    assert found.index[hidden] == plane.index[hidden] + 1
    assert found.key == following.key != plane.key


def test_only_one_slider_moves_where_there_are_several():
    image = Image(np.zeros((5, 6, 20, 30)), scale=(2, 3, 1, 1))
    plane = shown(image, (2, 3, 0, 0))
    assert next_plane(image, plane, 0).index[:2] == (3, 3)
    assert next_plane(image, plane, 1).index[:2] == (2, 4)
    assert next_plane(image, plane, 1).world[:2] == (4, 12)


def test_after_the_last_plane_there_is_none():
    image = Image(np.zeros(STACK))
    assert next_plane(image, shown(image, (4, 0, 0)), 0).index[0] == 5
    assert next_plane(image, shown(image, (5, 0, 0)), 0) is None


def test_planes_of_a_pyramid_are_counted_at_full_resolution():
    image = Image([np.zeros((6, 40, 60)), np.zeros((3, 20, 30))], multiscale=True)
    assert plane_count(image, 0) == 6
    plane = shown(image, (1, 0, 0))
    layer = shapes_on(plane, image, KINDS[0])
    following = next_plane(image, plane, 0)
    assert following.index[0] == 2
    copy_to_plane(layer, plane, following, {})
    assert read_shapes(layer, following).boxes == read_shapes(layer, plane).boxes


def test_only_what_lies_on_the_plane_and_is_shown_is_copied():
    image = Image(np.zeros(STACK))
    plane = shown(image, (2, 0, 0))
    layer = new_points_layer(image, "points", 3)
    layer.add([[2, 3, 4], [1, 9, 9], [2, 8, 8], [3, 5, 6]])
    layer.shown = [True, True, False, True]
    assert marks_on(layer, plane) == [0]
    copy_to_plane(layer, plane, next_plane(image, plane, 0), {})
    assert layer.data[4:].tolist() == [[3, 3, 4]]


def test_sign_object_and_size_go_along_and_columns_of_ones_own_too():
    image = Image(np.zeros(STACK))
    plane = shown(image, (2, 0, 0))
    layer = points_on(plane, image, (3, 4), (5, 6), (7, 8))
    features = layer.features.copy()
    features["polarity"] = ["positive", "negative", "positive"]
    features["object"] = [1, 1, 4]
    features["who"] = ["ann", "bob", "ann"]
    layer.features = features
    set_proposal(layer, 4, "large")
    set_next_polarity(layer, False)
    set_next_object(layer, 9)
    numbers = number_copies([layer], plane, 10)
    assert numbers == {1: 10, 4: 11}
    copy_to_plane(layer, plane, next_plane(image, plane, 0), numbers)
    table = layer.features
    assert table["polarity"].tolist() == ["positive", "negative", "positive"] * 2
    assert table["object"].tolist() == [1, 1, 4, 10, 10, 11]
    assert table["proposal"].tolist() == ["", "", "large"] * 2
    assert table["who"].tolist() == ["ann", "bob", "ann"] * 2
    assert (next_object(layer), next_polarity(layer)) == (9, False)
    assert layer.selected_data == set()
    colours = np.round(layer.face_color * 255).astype(int).tolist()
    assert colours[3:] == colours[:3]
    assert colours[0] != colours[1]


def test_a_mark_without_a_number_stays_without():
    image = Image(np.zeros(STACK))
    plane = shown(image, (2, 0, 0))
    layer = Points([[2, 3, 4], [2, 5, 6]], features={"object": [np.nan, 3.0]})
    assert number_copies([layer], plane, 8) == {3: 8}
    copy_to_plane(layer, plane, next_plane(image, plane, 0), {3: 8})
    assert np.isnan(layer.features["object"].iloc[2])
    assert layer.features["object"].iloc[3] == 8
    bare = Points([[2, 3, 4]])
    copy_to_plane(bare, plane, next_plane(image, plane, 0), {})
    assert bare.data.tolist() == [[2, 3, 4], [3, 3, 4]]
    assert "object" not in bare.features


def test_objects_of_all_layers_are_numbered_together():
    image = Image(np.zeros(STACK))
    plane = shown(image, (2, 0, 0))
    points, boxes = points_on(plane, image, (3, 4)), shapes_on(plane, image, KINDS[0])
    set_next_object(boxes, 2)
    boxes.add_rectangles(plane.to_data(np.array(rectangle(3, 3, 8, 8))))
    assert number_copies([points, boxes], plane, 3) == {1: 3, 2: 4}


@SLANTED
@pytest.mark.parametrize(("order", "lies"), VIEWS)
@pytest.mark.parametrize("kind", ["points", "shapes"])
def test_what_was_copied_is_not_copied_again(order, lies, kind):
    image = Image(np.zeros((20, 22, 30)), **lies)
    plane = shown(image, (4, 6, 8), order)
    if kind == "points":
        layer = points_on(plane, image, (3.3, 4.7), (5, 6), (7.123456789, 8))
    else:
        layer = shapes_on(plane, image, *KINDS)
    count = len(layer.data)
    following = next_plane(image, plane, plane.hidden[0])
    assert copy_to_plane(layer, plane, following, {1: 7}) == Copied(count)
    before = all_of(layer)
    assert copy_to_plane(layer, plane, following, {1: 8}) == Copied(already=count)
    assert_unchanged(layer, before)
    assert len(layer.data) == 2 * count


def test_only_the_same_place_sign_and_kind_is_there_already():
    image = Image(np.zeros(STACK))
    plane = shown(image, (2, 0, 0))
    following = next_plane(image, plane, 0)
    points = points_on(plane, image, (3, 4), (5, 6), (7, 8))
    copy_to_plane(points, plane, following, {})
    features = points.features.copy()
    # one of the copies is the other way round, one was moved a bit
    features.loc[3, "polarity"] = "negative"
    points.features = features
    points.data = np.vstack([points.data[:4], [[3, 5, 6.001]], points.data[5:]])
    assert copy_to_plane(points, plane, following, {}) == Copied(2, already=1)
    assert points.data[6:].tolist() == [[3, 3, 4], [3, 5, 6]]
    box = KINDS[0][0]
    shapes = shapes_on(plane, image, (box, "rectangle"))
    shapes.add(following.to_data(np.array(box)), shape_type="polygon")
    shapes.add(following.to_data(np.array(box[:3])), shape_type="polygon")
    assert copy_to_plane(shapes, plane, following, {}) == Copied(1)
    assert copy_to_plane(shapes, plane, following, {}) == Copied(already=1)


def test_of_two_marks_at_one_place_each_has_a_copy_of_its_own():
    image = Image(np.zeros(STACK))
    plane = shown(image, (2, 0, 0))
    following = next_plane(image, plane, 0)
    layer = Points([[2, 3, 4], [3, 3, 4], [2, 3, 4]])
    assert copy_to_plane(layer, plane, following, {}) == Copied(1, already=1)
    assert copy_to_plane(layer, plane, following, {}) == Copied(already=2)


def test_a_mark_that_nothing_says_the_sign_of_is_positive():
    image = Image(np.zeros(STACK))
    plane = shown(image, (2, 0, 0))
    layer = Points([[2, 3, 4], [3, 3, 4]], features={"polarity": ["", " Positive"]})
    assert copy_to_plane(layer, plane, next_plane(image, plane, 0), {}) == Copied(already=1)


def test_a_further_mark_of_a_copied_object_belongs_to_its_copy():
    image = Image(np.zeros(STACK))
    plane = shown(image, (2, 0, 0))
    following = next_plane(image, plane, 0)
    points, boxes = points_on(plane, image, (3, 4)), shapes_on(plane, image, KINDS[0])
    set_next_object(points, 2)
    points.add(plane.to_data([(9, 9)]))
    numbers = number_copies([points, boxes], plane, 3, following)
    assert numbers == {1: 3, 2: 4}
    for layer in (points, boxes):
        copy_to_plane(layer, plane, following, numbers)
    # a third object, and a box for the second one
    set_next_object(points, 5)
    points.add(plane.to_data([(12, 12)]))
    set_next_object(boxes, 2)
    boxes.add_rectangles(plane.to_data(np.array(rectangle(3, 3, 8, 8))))
    numbers = number_copies([points, boxes], plane, 6, following)
    assert numbers == {1: 3, 2: 4, 5: 6}
    assert copy_to_plane(points, plane, following, numbers) == Copied(1, already=2)
    assert copy_to_plane(boxes, plane, following, numbers) == Copied(1, already=1)
    assert points.features["object"].tolist() == [1, 2, 3, 4, 5, 6]
    assert boxes.features["object"].tolist() == [1, 3, 2, 4]


def test_a_layer_that_is_seen_on_every_plane_has_nothing_to_copy():
    image = Image(np.zeros(STACK))
    plane = shown(image)
    layer = Points([[3, 4]], name="flat")
    copied = copy_to_plane(layer, plane, next_plane(image, plane, 0), {})
    assert copied.count == 0
    assert "“flat” is seen on every plane" in copied.notices[0]
    assert len(layer.data) == 1


def test_a_layer_that_lies_in_another_way_than_the_image_is_copied_through_the_world():
    image = Image(np.zeros(STACK), scale=(2.5, 1, 1), translate=(10, 0, 0))
    viewer = viewer_of(image)
    plane = go_to(viewer, image, (2, 0, 0))
    layer = Points([[10, 30, 40], [0, 3, 4]], scale=(2, 0.1, 0.1), translate=(-5, 0, 0))
    following = next_plane(image, plane, 0)
    assert copy_to_plane(layer, plane, following, {}).count == 1
    np.testing.assert_allclose(layer.data[2], [11.25, 30, 40])
    assert read_points(layer, following).points == read_points(layer, plane).points


@pytest.mark.parametrize("axis", [0, 2])
def test_what_has_a_coordinate_that_is_no_number_is_not_copied(axis):
    image = Image(np.zeros(STACK))
    plane = shown(image, (2, 0, 0))
    layer = points_on(plane, image, (3, 4), (5, 6))
    layer.data[1, axis] = np.nan
    assert marks_on(layer, plane) == [0]


def test_a_mark_that_is_seen_on_both_planes_is_there_already():
    image = Image(np.zeros(STACK))
    viewer = viewer_of(image)
    viewer.dims.thickness = (3, 0, 0)
    plane = go_to(viewer, image, (2, 0, 0))
    layer = points_on(plane, image, (3, 4))
    following = next_plane(image, plane, 0)
    assert following.margins == plane.margins
    assert copy_to_plane(layer, plane, following, {}) == Copied(already=1)
    assert read_points(layer, following).points == read_points(layer, plane).points


@SLANTED
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
def test_marks_on_a_sheared_stack_are_copied_to_the_pixels_that_are_drawn_below_them(order):
    affine = np.eye(4)
    affine[1, 0], affine[0, 3] = 0.5, 7
    image = Image(np.zeros((20, 22, 30)), affine=affine)
    plane = shown(image, (4, 6, 8), order)
    (hidden,) = plane.hidden
    following = next_plane(image, plane, hidden)
    for layer in (Points(ndim=3, scale=(0.3, 1, 1)), Points(ndim=3, affine=affine)):
        layer.add(from_pixels(layer, [(3, 4), (5.25, 9)], plane))
        assert copy_to_plane(layer, plane, following, {}).count == 2
        positions = [mark.point.position for mark in read_points(layer, following).points]
        assert positions == [(3, 4), (5.25, 9)]
        made, copied = copy_to_image(layer, plane, image, following, "over itself")
        assert copied.count == 2
        assert read_points(made, following).points == read_points(layer, plane).points


def test_a_layer_with_more_axes_than_the_image_keeps_the_further_ones():
    image = Image(np.zeros(STACK))
    layer = Points([[1, 2, 3, 4], [0, 2, 5, 6]])
    viewer = viewer_of(image, layer)
    viewer.add_image(np.zeros((2, *STACK)))
    viewer.dims.set_point((0, 1), (1, 2))
    plane = find_plane(image, viewer.dims)
    assert copy_to_plane(layer, plane, next_plane(image, plane, 0), {}).count == 1
    assert layer.data[2:].tolist() == [[1, 3, 3, 4]]


# --- another image

OTHER = {"scale": (0.5, 4), "translate": (100, -70), "rotate": -30}


@given(
    pixels=st.lists(
        st.tuples(st.floats(-0.4, 19.4), st.floats(-0.4, 29.4)), min_size=1, max_size=4
    ),
    odd=st.booleans(),
)
@settings(max_examples=20)
def test_points_are_copied_to_the_same_pixels_of_another_image(pixels, odd):
    image = Image(np.zeros(STACK), **(ODD if odd else FLAT))
    plane = shown(image, (3, 0, 0))
    layer = points_on(plane, image, *pixels)
    before = all_of(layer)
    other = Image(np.zeros((25, 40)), **OTHER)
    there = shown(other)
    new, copied = copy_to_image(layer, plane, other, there, "points: other")
    assert copied == Copied(len(pixels))
    assert read_points(new, there) == read_points(layer, plane)
    assert_unchanged(layer, before)
    assert len(layer.data) == len(pixels)


@SLANTED
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1)])
def test_all_kinds_of_shapes_are_copied_onto_the_plane_of_a_stack_in_any_view(order):
    image = Image(np.zeros((20, 30)), **OTHER)
    plane = shown(image)
    layer = shapes_on(plane, image, *KINDS)
    other = Image(np.zeros((32, 33, 35)), **ODD)
    there = shown(other, (4, 6, 8), order)
    new, copied = copy_to_image(layer, plane, other, there, "boxes: other")
    assert copied == Copied(len(KINDS))
    assert isinstance(new, Shapes)
    assert (new.name, new.ndim) == ("boxes: other", 3)
    assert read_shapes(new, there) == read_shapes(layer, plane)
    assert len(layer.data) == len(KINDS)


def test_what_lies_outside_of_the_other_image_is_left_out_and_counted():
    image, other = Image(np.zeros((60, 90))), Image(np.zeros((20, 30)), name="small")
    plane, there = shown(image), shown(other)
    points = points_on(plane, image, (3, 29.4), (3, 29.6), (50, 5))
    new, copied = copy_to_image(points, plane, other, there, "p")
    assert [mark.point.position for mark in read_points(new, there).points] == [(3, 29.4)]
    assert copied == Copied(1, ("2 marks were left out, outside of “small”.",))
    boxes = shapes_on(
        plane, image, (rectangle(1, 2, 40, 50), "rectangle"), (rectangle(30, 2, 50, 9), "rectangle")
    )
    new, copied = copy_to_image(boxes, plane, other, there, "b")
    # what is partly outside is cut off when it is read, as any box
    assert read_shapes(new, there).boxes[0].box == Box(1, 2, 20, 30)
    assert copied == Copied(1, ("1 mark was left out, outside of “small”.",))
    assert copy_to_image(points_on(plane, image, (50, 5)), plane, other, there, "p")[0] is None


def test_signs_objects_and_what_is_drawn_next_are_those_of_the_original():
    image, other = Image(np.zeros((60, 90))), Image(np.zeros((60, 90)))
    plane, there = shown(image), shown(other)
    layer = points_on(plane, image, (3, 4), (5, 6), (7, 8))
    features = layer.features.copy()
    features["polarity"] = ["positive", "negative", "positive"]
    features["object"] = [1, 1, 4]
    layer.features = features
    set_proposal(layer, 4, "small")
    set_next_object(layer, 4)
    set_next_polarity(layer, False)
    new, _ = copy_to_image(layer, plane, other, there, "p")
    assert new.features["object"].tolist() == [1, 1, 4]
    assert new.features["polarity"].tolist() == ["positive", "negative", "positive"]
    new.add([[9, 9]])
    last = new.features.iloc[-1]
    assert (last["polarity"], last["object"], last["proposal"]) == ("negative", 4, "small")
    colours = np.round(new.face_color * 255).astype(int).tolist()
    assert colours[0] == colours[2] != colours[1] == colours[3]


@pytest.mark.parametrize("kind", ["points", "shapes"])
def test_marks_without_numbers_stay_objects_by_themselves(kind):
    image, other = Image(np.zeros((60, 90))), Image(np.zeros((60, 90)))
    plane, there = shown(image), shown(other)
    both = [rectangle(1, 2, 9, 9), rectangle(20, 20, 30, 40)]
    layer = Points([[3, 4], [5, 6]]) if kind == "points" else Shapes(both)
    new, copied = copy_to_image(layer, plane, other, there, "p")
    assert copied.count == 2
    assert "object" not in new.features
    read = read_points if kind == "points" else read_shapes
    assert read(new, there) == read(layer, plane)


def test_pixels_of_a_pyramid_are_those_of_its_finest_level():
    levels = [np.zeros((400, 700)), np.zeros((100, 175))]
    image, other = Image(levels, multiscale=True), Image(np.zeros((400, 700)))
    plane, there = shown(image, max_side=200), shown(other)
    assert plane.level == 1
    layer = points_on(plane, image, (30.5, 99))
    new, _ = copy_to_image(layer, plane, other, there, "p")
    np.testing.assert_allclose(new.data, [[123.5, 397.5]])
    back, _ = copy_to_image(new, there, image, plane, "p")
    assert read_points(back, plane) == read_points(layer, plane)


def test_nothing_on_the_plane_is_nothing_to_copy():
    image, other = Image(np.zeros(STACK)), Image(np.zeros((20, 30)))
    plane = shown(image, (2, 0, 0))
    layer = new_points_layer(image, "points", 3)
    assert copy_to_image(layer, plane, other, shown(other), "p") == (None, Copied())
    layer.add([[1, 2, 3]])
    assert copy_to_image(layer, plane, other, shown(other), "p") == (None, Copied())
    assert copy_to_plane(layer, plane, next_plane(image, plane, 0), {}) == Copied()
