from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes

from napari_sam3.layers.drawing import NEGATIVE_COLOUR, POSITIVE_COLOUR
from napari_sam3.layers.planes import find_plane
from napari_sam3.widgets._prompting import PromptLayers, is_points, is_shapes

from .conftest import SHAPE, picture

BOX = np.array([[5, 5], [5, 20], [15, 20], [15, 5]], dtype=float)


class Board:
    def __init__(self, shape=SHAPE):
        self.viewer = ViewerModel()
        self.image = Image(picture(shape), name="cells")
        self.viewer.add_layer(self.image)
        self.heard = 0
        self.prompts = PromptLayers(self.viewer, self.on_drawn)

    @property
    def plane(self):
        return find_plane(self.image, self.viewer.dims)

    def on_drawn(self):
        self.heard += 1

    def arm(self, kind, positive=True):
        return self.prompts.arm(kind, self.image, self.plane, positive)


@pytest.fixture
def board():
    return Board()


def objects(layer):
    return layer.features["object"].tolist()


def polarities(layer):
    return layer.features["polarity"].tolist()


def hex_of(colour):
    return "#" + "".join(f"{round(v * 255):02x}" for v in colour[:3])


@pytest.mark.parametrize(
    ("kind", "mode", "type_"),
    [
        ("points", "add", Points),
        ("boxes", "add_rectangle", Shapes),
        ("examples", "add_rectangle", Shapes),
    ],
)
def test_the_first_use_makes_a_layer_ready_to_be_drawn_in(board, kind, mode, type_):
    layer = board.arm(kind)
    assert isinstance(layer, type_)
    assert str(layer.mode) == mode
    assert board.viewer.layers.selection.active is layer
    assert layer.name == f"{kind}: cells"
    assert board.arm(kind) is layer
    assert len(board.viewer.layers) == 2


def test_a_flat_layer_is_not_used_for_a_stack():
    board = Board((4, *SHAPE))
    flat = board.viewer.add_points(ndim=2)
    board.prompts.use("points", flat)
    assert board.arm("points").ndim == 3


def test_drawing_and_removing_are_told(board):
    layer = board.arm("points")
    layer.add((5, 5))
    drawn = board.heard
    assert drawn
    layer.selected_data = {0}
    layer.remove_selected()
    assert board.heard > drawn


def test_positive_and_negative_marks_have_two_colours(board):
    points, boxes = board.arm("points"), board.arm("examples")
    for positive in (True, False):
        board.arm("points", positive)
        points.add((5, 5 + 9 * positive))
        board.arm("examples", positive)
        boxes.add_rectangles(BOX + 9 * positive)
    for layer, colours in ((points, points.face_color), (boxes, boxes.edge_color)):
        assert polarities(layer) == ["positive", "negative"]
        assert [hex_of(c) for c in colours] == [POSITIVE_COLOUR, NEGATIVE_COLOUR]
    assert board.prompts.count("points") == (1, 1)
    assert board.prompts.count("examples") == (1, 1)
    assert board.prompts.count("boxes") == (0, 0)


def test_a_box_has_its_polaritys_colour_whatever_was_chosen(board):
    layer = board.arm("boxes")
    layer.current_edge_color = "green"
    layer.add_rectangles(BOX)
    assert hex_of(layer.edge_color[0]) == POSITIVE_COLOUR


def test_toggling_changes_what_is_drawn_next_and_nothing_that_is_drawn(board):
    layer = board.arm("points")
    layer.add((5, 5))
    assert board.prompts.toggle_polarity() is False
    assert polarities(layer) == ["positive"]
    layer.add((9, 9))
    assert polarities(layer) == ["positive", "negative"]
    assert board.prompts.toggle_polarity() is True


def test_toggling_in_select_mode_turns_the_selected_marks(board):
    layer = board.arm("boxes")
    layer.add_rectangles(BOX)
    layer.add_rectangles(BOX + 20)
    layer.mode = "select"
    layer.selected_data = {0}
    before = board.heard
    assert board.prompts.toggle_polarity() is True
    assert polarities(layer) == ["negative", "positive"]
    assert [hex_of(c) for c in layer.edge_color] == [NEGATIVE_COLOUR, POSITIVE_COLOUR]
    assert board.heard > before


def test_toggling_elsewhere_does_nothing(board):
    board.arm("points")
    board.viewer.layers.selection.active = board.image
    assert board.prompts.toggle_polarity() is None


def test_the_second_box_is_another_object(board):
    layer = board.arm("boxes")
    for shift in (0, 20, 40):
        layer.add_rectangles(BOX + shift)
    assert objects(layer) == [1, 2, 3]
    assert board.prompts.current_object == 3


@pytest.mark.parametrize(
    ("tool", "mode"),
    [("box", "add_rectangle"), ("outline", "add_polygon_lasso"), ("scribble", "add_path")],
)
def test_each_tool_is_drawn_in_the_same_layer(board, tool, mode):
    layer = board.prompts.arm("boxes", board.image, board.plane, positive=True, tool=tool)
    assert str(layer.mode) == mode
    assert board.arm("boxes") is layer


def test_an_outline_is_another_object_and_a_stroke_is_not(board):
    layer = board.arm("boxes")
    layer.add_paths(BOX[:2])
    layer.add_polygons(BOX[:3])
    layer.add_lines(BOX[:2] + 5)
    layer.add_polygons(BOX[:3] + 20)
    layer.add_paths(BOX[:2] + 20)
    layer.add_rectangles(BOX + 40)
    assert objects(layer) == [1, 1, 1, 2, 2, 3]
    assert board.prompts.current_object == 3


def test_an_outline_too_small_to_be_kept_changes_no_number(board):
    layer = board.arm("boxes")
    layer.add_polygons(BOX[:3])
    # napari tells of it all the same
    layer.events.data(value=layer.data, action="added", data_indices=(-1,), vertex_indices=((),))
    assert objects(layer) == [1]
    assert board.prompts.current_object == 1


def test_the_proposal_is_that_of_the_current_object(board):
    points = board.arm("points")
    points.add((5, 5))
    board.prompts.choose_proposal("large")
    assert board.prompts.proposal == "large"
    board.prompts.start_next_object()
    assert board.prompts.proposal == ""
    points.add((9, 9))
    assert points.features["proposal"].tolist() == ["large", ""]


def test_a_proposal_without_points_is_none(board):
    board.prompts.choose_proposal("large")
    assert board.prompts.proposal == ""
    assert not board.prompts.is_clicked
    assert not board.prompts.is_boxed


def test_examples_are_not_numbered(board):
    layer = board.arm("examples")
    layer.add_rectangles(BOX)
    layer.add_rectangles(BOX + 20)
    assert objects(layer) == [1, 1]


def test_clicks_and_the_box_of_one_object_carry_one_number(board):
    points = board.arm("points")
    points.add((5, 5))
    board.prompts.start_next_object()
    points.add((25, 25))
    boxes = board.arm("boxes")
    boxes.add_rectangles(BOX + 20)
    assert objects(points) == [1, 2]
    assert objects(boxes) == [2]


def test_next_object_twice_in_a_row_skips_no_number(board):
    layer = board.arm("points")
    assert board.prompts.start_next_object() == 1
    layer.add((5, 5))
    assert board.prompts.start_next_object() == 2
    assert board.prompts.start_next_object() == 2


def test_numbers_of_removed_layers_are_not_given_again(board):
    layer = board.arm("points")
    layer.add((5, 5))
    board.viewer.layers.remove(layer)
    board.prompts.forget(layer)
    assert board.prompts.get("points") is None
    new = board.arm("points")
    new.add((40, 40))
    assert new is not layer
    assert objects(new) == [2]


def test_the_numbers_of_another_layer_mean_other_objects(board):
    layer = board.arm("points")
    layer.add((5, 5))
    before = board.prompts.generation
    other = board.viewer.add_points()
    board.prompts.use("points", other)
    assert board.prompts.generation != before


def test_a_layer_of_our_own_continues_the_numbers(board):
    before = board.prompts.generation
    board.arm("points")
    board.arm("boxes")
    board.arm("examples")
    assert board.prompts.generation == before


def test_a_layer_no_longer_used_is_not_listened_to(board):
    layer = board.arm("points")
    board.prompts.use("points", None)
    layer.add((5, 5))
    assert board.heard == 0


def test_a_layer_used_twice_is_heard_until_its_last_use_ends(board):
    shapes = board.viewer.add_shapes()
    board.prompts.use("boxes", shapes)
    board.prompts.use("examples", shapes)
    board.prompts.use("boxes", None)
    shapes.add_rectangles(BOX + 20)
    heard = board.heard
    assert heard
    board.prompts.close()
    shapes.add_rectangles(BOX + 40)
    assert board.heard == heard


def test_a_plain_layer_of_the_user_can_be_used(board):
    points = board.viewer.add_points([[5, 5], [9, 9]])
    board.prompts.use("points", points)
    board.arm("points", positive=False)
    points.add((20, 20))
    assert polarities(points) == ["positive", "positive", "negative"]
    assert board.prompts.count("points") == (2, 1)


def test_points_and_shapes_are_told_apart():
    assert is_points(Points())
    assert not is_points(Shapes())
    assert is_shapes(Shapes())
    assert not is_shapes(Points())
