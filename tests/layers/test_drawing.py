"""Prompt layers that are set up to be drawn in."""

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes
from napari.utils.colormaps.standardize_color import transform_color

from napari_sam3.layers.drawing import (
    NEGATIVE_COLOUR,
    POSITIVE_COLOUR,
    colour_by_polarity,
    highest_object,
    mark_size,
    new_points_layer,
    new_shapes_layer,
    next_object,
    next_polarity,
    set_next_object,
    set_next_polarity,
    toggle_selected,
)
from napari_sam3.layers.transforms import LayerTransform

RECTANGLE = np.array([[1.0, 1.0], [1.0, 4.0], [3.0, 4.0], [3.0, 1.0]])
AFFINE = np.array([[1.0, 0.0, 5.0], [0.0, 1.0, 6.0], [0.0, 0.0, 1.0]])


@pytest.fixture
def image():
    return Image(
        np.zeros((30, 50)), scale=(2, 0.5), translate=(3, 4), rotate=20, shear=[0.1], affine=AFFINE
    )


def is_colour(actual, expected):
    return np.allclose(actual, transform_color(expected)[0], atol=1e-6)


def draw(layer, count=1):
    for i in range(count):
        if isinstance(layer, Points):
            layer.add(np.full(layer.ndim, float(i)))
        else:
            corners = np.zeros((4, layer.ndim))
            corners[:, -2:] = RECTANGLE + 5 * i
            layer.add_rectangles(corners)


def new_layer(kind, image):
    if kind is Points:
        return new_points_layer(image, "clicks", 4)
    return new_shapes_layer(image, "boxes", 1)


def both(test):
    return pytest.mark.parametrize("kind", [Points, Shapes])(test)


@both
def test_a_prompt_layer_lies_over_its_image(kind, image):
    layer = new_layer(kind, image)
    assert LayerTransform.of(layer).matches(LayerTransform.of(image))
    assert layer.ndim == 2
    assert len(layer.data) == 0
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.add_layer(layer)
    assert layer in viewer.layers


@both
@pytest.mark.parametrize(
    ("shape", "rgb", "ndim"),
    [((2, 3, 8, 9), False, 4), ((8, 9, 3), True, 2), ((5, 8, 9, 4), True, 3)],
)
def test_a_prompt_layer_has_the_axes_of_its_image_but_not_colour(kind, shape, rgb, ndim):
    layer = new_layer(kind, Image(np.zeros(shape, np.uint8), rgb=rgb))
    assert layer.ndim == ndim
    draw(layer)
    assert layer.features["polarity"].tolist() == ["positive"]


@both
def test_what_is_drawn_first_is_positive_and_of_object_1(kind, image):
    layer = new_layer(kind, image)
    draw(layer)
    assert layer.features["polarity"].tolist() == ["positive"]
    assert layer.features["object"].tolist() == [1]
    assert next_polarity(layer) is True
    assert next_object(layer) == 1


@both
def test_polarity_and_object_of_what_is_drawn_next_can_be_set(kind, image):
    layer = new_layer(kind, image)
    draw(layer)
    set_next_polarity(layer, False)
    set_next_object(layer, 3)
    draw(layer, 2)
    assert layer.features["polarity"].tolist() == ["positive", "negative", "negative"]
    assert layer.features["object"].tolist() == [1, 3, 3]
    assert next_polarity(layer) is False
    assert next_object(layer) == 3


def colours_of(layer):
    return layer.face_color if isinstance(layer, Points) else layer.edge_color


@both
def test_positive_and_negative_marks_have_two_colours_in_whatever_order(kind, image):
    layer = new_layer(kind, image)
    # the first is negative: a cycle that deals colours out by order would turn them round
    for positive in (False, True, True, False):
        set_next_polarity(layer, positive)
        draw(layer)
    for colour, positive in zip(colours_of(layer), (False, True, True, False), strict=True):
        assert is_colour(colour, POSITIVE_COLOUR if positive else NEGATIVE_COLOUR)


@both
def test_setting_the_next_polarity_leaves_selected_marks_alone(kind, image):
    layer = new_layer(kind, image)
    draw(layer)
    layer.selected_data = {0}
    set_next_polarity(layer, False)
    assert layer.features["polarity"].tolist() == ["positive"]
    assert is_colour(colours_of(layer)[0], POSITIVE_COLOUR)


@both
def test_selected_marks_are_turned_with_their_colour_and_others_are_not(kind, image):
    layer = new_layer(kind, image)
    draw(layer, 3)
    layer.selected_data = {0, 2}
    assert toggle_selected(layer)
    assert layer.features["polarity"].tolist() == ["negative", "positive", "negative"]
    assert is_colour(colours_of(layer)[0], NEGATIVE_COLOUR)
    assert is_colour(colours_of(layer)[1], POSITIVE_COLOUR)
    layer.selected_data = {2}
    assert toggle_selected(layer)
    assert layer.features["polarity"].tolist() == ["negative", "positive", "positive"]
    assert is_colour(colours_of(layer)[2], POSITIVE_COLOUR)
    assert layer.features["object"].tolist() == [1, 1, 1]


@both
def test_without_a_selection_nothing_is_turned(kind, image):
    layer = new_layer(kind, image)
    draw(layer)
    layer.selected_data = set()
    assert not toggle_selected(layer)
    assert layer.features["polarity"].tolist() == ["positive"]


@pytest.mark.parametrize("written", ["Negative", " NEGATIVE "])
def test_a_mark_that_says_negative_in_capitals_turns_positive(written):
    layer = Shapes([RECTANGLE], features={"polarity": [written]})
    colour_by_polarity(layer)
    assert is_colour(layer.edge_color[0], NEGATIVE_COLOUR)
    layer.selected_data = {0}
    assert toggle_selected(layer)
    assert layer.features["polarity"].tolist() == ["positive"]


def test_a_categorical_polarity_without_the_other_sign_can_be_turned():
    polarity = pd.Categorical(["positive", "positive"])
    layer = Points([[1, 1], [2, 2]], features=pd.DataFrame({"polarity": polarity}))
    layer.selected_data = {1}
    assert toggle_selected(layer)
    assert layer.features["polarity"].tolist() == ["positive", "negative"]


@both
def test_a_layer_of_the_users_own_gets_the_columns_when_needed(kind):
    if kind is Points:
        layer = Points([[1, 1], [2, 2]], features={"note": ["a", "b"]})
    else:
        layer = Shapes([RECTANGLE, RECTANGLE + 5], features={"note": ["a", "b"]})
    assert next_polarity(layer) is True
    assert next_object(layer) == 1
    assert highest_object(layer) == 0
    set_next_polarity(layer, False)
    set_next_object(layer, 2)
    draw(layer)
    assert layer.features["polarity"].tolist() == ["positive", "positive", "negative"]
    assert layer.features["object"].tolist() == [1, 1, 2]
    assert layer.features["note"].tolist()[:2] == ["a", "b"]


@both
def test_a_layer_without_any_column_can_be_toggled(kind):
    layer = Points([[1, 1], [2, 2]]) if kind is Points else Shapes([RECTANGLE, RECTANGLE])
    layer.selected_data = {1}
    assert toggle_selected(layer)
    assert layer.features["polarity"].tolist() == ["positive", "negative"]


@pytest.mark.parametrize(
    ("column", "highest"),
    [
        ([], 0),
        ([1, 4, 2], 4),
        ([1.0, np.nan, 3.0], 3),  # a gap makes pandas keep whole numbers as floats
        (["2", "x"], 2),
        ([-5], 0),
        ([np.inf, 1.0], 1),
    ],
)
def test_the_highest_object_number_is_found_however_it_is_stored(column, highest):
    layer = Points(np.zeros((len(column), 2)), features={"object": column})
    assert highest_object(layer) == highest


@pytest.mark.parametrize("default", [np.nan, "none", np.inf])
def test_an_unreadable_next_object_counts_as_the_first(default):
    layer = Points(ndim=2, features={"object": np.empty(0, object)})
    layer.feature_defaults = {"object": default}
    assert next_object(layer) == 1


@pytest.mark.parametrize(("shape", "size"), [((600, 1200), 10.0), ((1, 1), 1.0), ((90, 90), 1.5)])
def test_marks_are_seen_well_on_planes_of_any_size(shape, size):
    assert mark_size(shape) == size


def test_the_arguments_of_a_layer_are_kept(image):
    points = new_points_layer(image, "clicks", 7.5)
    points.add([1, 1])
    assert points.name == "clicks"
    assert points.size.tolist() == [7.5]
    shapes = new_shapes_layer(image, "boxes", 2.5)
    draw(shapes)
    assert shapes.name == "boxes"
    assert shapes.edge_width == [2.5]
    assert shapes.face_color[0][3] == 0
