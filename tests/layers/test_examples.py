"""Boxes that were found become rectangles that are read as the very same boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Shapes

from napari_sam3.core.geometry import Box
from napari_sam3.layers.drawing import new_shapes_layer, next_polarity, set_next_polarity
from napari_sam3.layers.examples import add_examples
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.prompts import read_shapes

SHAPE = (40, 70)
FLAT = {"scale": (1, 1)}
ODD = {"scale": (0.3, 1.7), "translate": (-11.3, 1e4), "rotate": 33, "shear": [0.2]}


def shown(image, order=None, at=None):
    viewer = ViewerModel()
    viewer.add_layer(image)
    if order:
        viewer.dims.order = order
    if at:
        viewer.dims.set_point(range(image.ndim), image.data_to_world(at))
    return find_plane(image, viewer.dims)


def layer_over(image):
    return new_shapes_layer(image, "examples", 1)


def read(layer, plane):
    drawn = read_shapes(layer, plane)
    assert not drawn.notices
    return [(mark.box, mark.positive) for mark in drawn.boxes]


def boxes(rows=SHAPE[0], cols=SHAPE[1]):
    ends = st.tuples(st.integers(0, rows - 1), st.integers(0, cols - 1)).flatmap(
        lambda start: st.tuples(
            st.just(start[0]),
            st.just(start[1]),
            st.integers(start[0] + 1, rows),
            st.integers(start[1] + 1, cols),
        )
    )
    return ends.map(lambda values: Box(*values))


@given(
    positive=st.lists(boxes(), max_size=4, unique=True),
    negative=st.lists(boxes(), max_size=3, unique=True),
    odd=st.booleans(),
    same=st.booleans(),
)
@settings(max_examples=20)
def test_boxes_are_read_as_they_were_given_with_their_sign(positive, negative, odd, same):
    image = Image(np.zeros(SHAPE), **(ODD if odd else FLAT))
    # a layer that was made for another image lies in another way
    layer = layer_over(image if same else Image(np.zeros((9, 9)), scale=(3, 0.2), rotate=-20))
    plane = shown(image)
    assert add_examples(layer, plane, positive, True) == len(positive)
    assert add_examples(layer, plane, negative, False) == len(negative)
    expected = [(box, True) for box in positive] + [(box, False) for box in negative]
    assert read(layer, plane) == expected


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_they_lie_on_their_plane_of_a_stack_and_on_no_other(order):
    # turned within the plane that is shown
    lies = {"scale": (2.5, 0.7, 0.9), "translate": (3, -4, 5), "rotate": 0 if order[0] else 20}
    image = Image(np.zeros((12, 20, 30)), **lies)
    plane, layer = shown(image, order, (4, 6, 8)), layer_over(image)
    assert add_examples(layer, plane, [Box(1, 2, 5, 9)], True) == 1
    assert read(layer, plane) == [(Box(1, 2, 5, 9), True)]
    assert read(layer, shown(image, order, (5, 7, 9))) == []


def test_a_layer_with_more_axes_gets_them_where_the_sliders_are():
    viewer, image = ViewerModel(), Image(np.zeros(SHAPE), scale=(2, 3))
    layer = layer_over(Image(np.zeros((8, 4, 4)), scale=(5, 1, 1)))
    for one in (image, layer):
        viewer.add_layer(one)
    viewer.add_image(np.zeros((8, 4, 4)), scale=(5, 1, 1))
    viewer.dims.set_point(0, 15)
    plane = find_plane(image, viewer.dims)
    add_examples(layer, plane, [Box(1, 2, 5, 9)], True)
    assert layer.data[0][:, 0].tolist() == [3] * 4
    assert read(layer, plane) == [(Box(1, 2, 5, 9), True)]


def test_a_layer_with_more_axes_than_the_viewer_had_takes_boxes_too():
    image = Image(np.zeros(SHAPE))
    plane, layer = shown(image), layer_over(Image(np.zeros((8, 4, 4))))
    assert add_examples(layer, plane, [Box(1, 2, 5, 9)], True) == 1
    assert read(layer, plane) == [(Box(1, 2, 5, 9), True)]


def test_boxes_of_a_coarse_level_are_boxes_of_that_level():
    image = Image([np.zeros((400, 700)), np.zeros((100, 175))], multiscale=True)
    viewer = ViewerModel()
    viewer.add_layer(image)
    plane = find_plane(image, viewer.dims, max_side=200)
    layer = layer_over(image)
    add_examples(layer, plane, [Box(20, 60, 70, 120)], True)
    assert read(layer, plane) == [(Box(20, 60, 70, 120), True)]


def test_what_is_there_already_with_the_same_sign_is_not_added_again():
    image = Image(np.zeros(SHAPE))
    plane, layer = shown(image), layer_over(image)
    one, two = Box(1, 2, 5, 9), Box(10, 20, 30, 60)
    assert add_examples(layer, plane, [one, one], True) == 1
    assert add_examples(layer, plane, [one, two], True) == 1
    assert add_examples(layer, plane, [one], False) == 1
    assert read(layer, plane) == [(one, True), (two, True), (one, False)]


def test_what_reaches_beyond_the_image_is_cut_off_and_what_lies_outside_is_left_out():
    image = Image(np.zeros(SHAPE))
    plane, layer = shown(image), layer_over(image)
    assert add_examples(layer, plane, [Box(-3, 60, 8, 90), Box(50, 0, 60, 9)], True) == 1
    assert read(layer, plane) == [(Box(0, 60, 8, 70), True)]


def test_what_is_drawn_next_keeps_its_sign_and_each_its_colour():
    image = Image(np.zeros(SHAPE))
    plane, layer = shown(image), layer_over(image)
    set_next_polarity(layer, False)
    add_examples(layer, plane, [Box(1, 2, 5, 9)], True)
    assert not next_polarity(layer)
    layer.add_rectangles([[20, 20], [30, 40]])
    assert layer.features["polarity"].tolist() == ["positive", "negative"]
    blue, vermillion = np.round(layer.edge_color[:, :3] * 255).astype(int).tolist()
    assert (blue, vermillion) == ([0x56, 0xB4, 0xE9], [0xD5, 0x5E, 0x00])


def test_a_layer_of_ones_own_without_a_column_of_signs_takes_both():
    plane = shown(Image(np.zeros(SHAPE)))
    layer = Shapes([[[20, 20], [30, 40]]])
    add_examples(layer, plane, [Box(1, 2, 5, 9)], False)
    assert [sign for _, sign in read(layer, plane)] == [True, False]
