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
    area_numbers,
    can_be_negative,
    clicked_objects,
    colour_by_polarity,
    drop_unfinished,
    highest_object,
    mark_size,
    new_points_layer,
    new_shapes_layer,
    next_object,
    next_polarity,
    proposal_of,
    set_next_object,
    set_next_polarity,
    set_proposal,
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


@both
def test_turning_a_selected_mark_leaves_what_is_drawn_next_alone(kind, image):
    layer = new_layer(kind, image)
    draw(layer, 2)
    layer.selected_data = {0}
    layer.feature_defaults = {"polarity": "negative", "object": 4}
    assert toggle_selected(layer)
    assert next_object(layer) == 4
    assert next_polarity(layer) is False


@pytest.fixture
def clicks(image):
    """Points of object 1, 2 and 1, and the next one of 2."""
    layer = new_points_layer(image, "clicks", 4)
    for number in (1, 2, 1):
        set_next_object(layer, number)
        draw(layer)
    set_next_object(layer, 2)
    return layer


def test_a_proposal_is_written_to_all_points_of_its_object_only(clicks):
    set_proposal(clicks, 1, "small")
    assert clicks.features["proposal"].tolist() == ["small", "", "small"]
    assert proposal_of(clicks, 1) == "small"
    assert proposal_of(clicks, 2) == ""
    set_proposal(clicks, 2, "large")
    set_proposal(clicks, 1, "")
    assert clicks.features["proposal"].tolist() == ["", "large", ""]


def test_new_points_of_an_object_inherit_its_proposal_and_a_new_object_has_none(clicks):
    set_proposal(clicks, 2, "medium")
    draw(clicks)
    set_next_object(clicks, 3)
    draw(clicks)
    assert clicks.features["proposal"].tolist() == ["", "medium", "", "medium", ""]
    set_next_object(clicks, 2)
    draw(clicks)
    assert clicks.features["proposal"].tolist()[-1] == "medium"


def test_the_proposal_of_another_object_does_not_reach_the_next_point(clicks):
    set_proposal(clicks, 1, "small")
    draw(clicks)
    assert clicks.features["proposal"].tolist() == ["small", "", "small", ""]


def test_a_proposal_changes_neither_signs_nor_colours_nor_what_is_drawn_next(clicks):
    set_next_polarity(clicks, False)
    colours = clicks.face_color.copy()
    set_proposal(clicks, 2, "small")
    assert clicks.features["polarity"].tolist() == ["positive"] * 3
    assert np.array_equal(clicks.face_color, colours)
    assert next_polarity(clicks) is False
    assert next_object(clicks) == 2


def test_an_object_whose_points_were_removed_shows_what_its_next_point_will_say(clicks):
    set_proposal(clicks, 2, "large")
    clicks.selected_data = {1}
    clicks.remove_selected()
    shown = proposal_of(clicks, 2)
    draw(clicks)
    assert clicks.features["proposal"].tolist()[-1] == shown


@pytest.mark.parametrize("cell", [np.nan, None, "huge"])
def test_an_unreadable_proposal_is_none(cell):
    column = np.array([cell], object)
    layer = Points([[1, 1]], features={"object": [1], "proposal": column})
    assert proposal_of(layer, 1) == ""
    set_proposal(layer, 1, "small")
    assert layer.features["proposal"].tolist() == ["small"]


def test_only_positive_marks_click_on_an_object():
    features = {"object": [1, 2, 3], "polarity": ["positive", "negative", "positive"]}
    assert clicked_objects(Points(np.eye(3, 2), features=features)) == {1, 3}
    assert clicked_objects(Points(np.eye(3, 2))) == set()


def mixed_shapes():
    layer = Shapes([RECTANGLE], features={"object": [4]})
    for number, add in ((5, layer.add_paths), (6, layer.add_polygons), (7, layer.add_lines)):
        set_next_object(layer, number)
        add(RECTANGLE[:2] if number != 6 else RECTANGLE[:3])
    return layer


def test_boxes_and_outlines_are_areas_and_strokes_are_not():
    assert area_numbers(mixed_shapes()) == [4, 6]


@pytest.mark.parametrize(
    ("mode", "selected", "can_be"),
    [
        ("add_path", set(), True),
        ("add_rectangle", set(), False),
        ("add_polygon_lasso", set(), False),
        ("select", {1, 3}, True),
        ("select", {0, 1}, False),
        ("select", set(), False),
    ],
)
def test_only_strokes_can_be_negative(mode, selected, can_be):
    layer = mixed_shapes()
    layer.mode = mode
    layer.selected_data = selected
    assert can_be_negative(layer) is can_be


def test_the_last_shape_can_be_taken_back_with_its_row_and_no_more():
    layer = Shapes([RECTANGLE], features={"object": [4]})
    set_next_object(layer, 5)
    layer.add_paths(RECTANGLE[:2])
    set_next_object(layer, 6)
    layer.mode = "add_path"
    for left in (1, 0):
        drop_unfinished(layer)
        assert str(layer.mode) == "add_path"
        assert len(layer.data) == len(layer.features) == left
        assert next_object(layer) == 6
