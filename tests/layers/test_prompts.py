"""Drawn points and shapes → points and boxes in pixels of the plane."""

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import ConceptPrompt, Exemplar, ObjectPrompt, Point
from napari_sam3.errors import PromptError
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.prompts import (
    MAX_STROKE_POINTS,
    Drawn,
    DrawnBox,
    DrawnPoint,
    read_points,
    read_shapes,
    to_concept_prompt,
    to_object_prompts,
)

POLYGON = np.array([[5, 10], [20, 30], [12, 45], [9, 20]])
TURN = np.array([[0.0, -2.0, 7.0], [2.0, 0.0, 3.0], [0.0, 0.0, 1.0]])


def plane_of(image, *others, at=None, order=None, max_side=4096):
    viewer = ViewerModel()
    for layer in (image, *others):
        viewer.add_layer(layer)
    if order is not None:
        viewer.dims.order = order
    for axis, position in (at or {}).items():
        viewer.dims.set_point(axis, position)
    return find_plane(image, viewer.dims, max_side)


def flat_plane(rows=40, cols=60, **kwargs):
    return plane_of(Image(np.zeros((rows, cols), np.uint8), **kwargs))


def rectangle(top, left, bottom, right, *before):
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    return np.array([(*before, *corner) for corner in corners], float)


def pixels(drawn):
    return [mark.point.pixel for mark in drawn.points]


def boxes(drawn):
    return [mark.box for mark in drawn.boxes]


# --- through the world


def test_a_world_box_from_15_to_25_is_pixels_10_to_30():
    plane = flat_plane(scale=(0.5, 0.5), translate=(10, 10))
    assert boxes(read_shapes(Shapes([rectangle(15, 15, 25, 25)]), plane)) == [Box(10, 10, 30, 30)]


def test_rows_and_columns_are_not_mixed_up():
    plane = flat_plane(scale=(0.5, 2), translate=(10, 100))
    drawn = read_shapes(Shapes([rectangle(12, 120, 20, 140)]), plane)
    assert boxes(drawn) == [Box(4, 10, 20, 20)]
    assert pixels(read_points(Points([[12, 140]]), plane)) == [(4, 20)]


@pytest.mark.parametrize(
    "own",
    [
        {"scale": (3, 0.25)},
        {"translate": (-7, 90)},
        {"rotate": 35},
        {"shear": [0.4]},
        {"affine": TURN},
        {
            "scale": (3, -0.25),
            "translate": (1, 2),
            "rotate": -60,
            "shear": [0.4],
            "affine": TURN,
        },
    ],
)
@pytest.mark.parametrize("theirs", [{}, {"scale": (0.5, 2), "rotate": 20, "affine": TURN}])
def test_a_prompt_layer_may_lie_otherwise_than_the_image(own, theirs):
    image = Image(np.zeros((40, 60), np.uint8), **theirs)
    points, shapes = Points(ndim=2, **own), Shapes(ndim=2, **own)
    clicks = [(0, 0), (39, 59), (12.3, 40.4), (5, 6)]
    points.data = [points.world_to_data(image.data_to_world(p)) for p in clicks]
    corners = rectangle(4.2, 10.3, 12.2, 31.3)
    shapes.add_polygons(np.array([shapes.world_to_data(image.data_to_world(p)) for p in corners]))
    plane = plane_of(image)
    assert pixels(read_points(points, plane)) == [(0, 0), (39, 59), (12, 40), (5, 6)]
    assert boxes(read_shapes(shapes, plane)) == [Box(4, 10, 12, 31)]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_points_is_read_and_in_order(count):
    points = np.array([(i, 2 * i) for i in range(count)])
    assert pixels(read_points(Points(points), flat_plane())) == [(i, 2 * i) for i in range(count)]


def test_an_empty_layer_is_nothing_drawn():
    assert read_points(Points(ndim=2), flat_plane()) == Drawn()
    assert read_shapes(Shapes(ndim=2), flat_plane()) == Drawn()


# --- the plane


def test_marks_of_other_planes_are_not_used():
    image = Image(np.zeros((3, 5, 40, 60), np.uint8), scale=(10, 2, 0.5, 0.5))
    points = Points(
        [[0, 1, 3, 3], [1, 2, 10, 20], [1, 3, 5, 5], [2, 2, 4, 4], [1, 2, 7, 8]],
        scale=(10, 2, 0.5, 0.5),
    )
    shapes = Shapes(
        [rectangle(1, 2, 11, 12, 1, 1), rectangle(3, 4, 13, 24, 1, 2)], scale=(10, 2, 0.5, 0.5)
    )
    plane = plane_of(image, at={0: 10, 1: 4})
    assert pixels(read_points(points, plane)) == [(10, 20), (7, 8)]
    assert read_points(points, plane).notices == ()
    assert boxes(read_shapes(shapes, plane)) == [Box(3, 4, 13, 24)]
    assert read_shapes(shapes, plane).notices == ()


def test_after_moving_the_slider_the_marks_of_the_new_plane_are_read():
    image = Image(np.zeros((5, 40, 60), np.uint8))
    points = Points([[1, 3, 4], [4, 5, 6]])
    assert pixels(read_points(points, plane_of(image, at={0: 1}))) == [(3, 4)]
    assert pixels(read_points(points, plane_of(image, at={0: 4}))) == [(5, 6)]


@pytest.mark.parametrize(("z", "held"), [(1.6, True), (2.4, True), (1.4, False), (2.6, False)])
def test_a_point_belongs_to_the_plane_that_it_is_nearest_to(z, held):
    image = Image(np.zeros((5, 40, 60), np.uint8), scale=(3, 1, 1))
    plane = plane_of(image, at={0: 6})
    assert bool(read_points(Points([[z, 3, 4]], scale=(3, 1, 1)), plane).points) is held
    # in a layer with planes of its own, it counts where napari shows it
    assert not read_points(Points([[z * 3, 3, 4]]), plane).points


def test_a_shape_that_runs_through_planes_is_on_none_of_them():
    image = Image(np.zeros((5, 40, 60), np.uint8))
    path = Shapes([np.array([[1, 2, 3], [3, 20, 30]])], shape_type="path")
    drawn = read_shapes(path, plane_of(image, at={0: 1}))
    assert drawn == Drawn(unseen=("1 shape is not on the plane that is shown (“Shapes”).",))


def test_a_flat_prompt_layer_counts_on_every_plane_of_a_stack():
    image = Image(np.zeros((5, 40, 60), np.uint8), scale=(2, 0.5, 0.5), translate=(9, 10, 20))
    points, shapes = Points([[12, 24]]), Shapes([rectangle(12, 24, 16, 28)])
    for z in (9, 17):
        plane = plane_of(image, points, shapes, at={0: z})
        assert pixels(read_points(points, plane)) == [(4, 8)]
        assert boxes(read_shapes(shapes, plane)) == [Box(4, 8, 12, 16)]


def test_a_flat_image_takes_only_marks_that_the_sliders_show():
    image = Image(np.zeros((40, 60), np.uint8), translate=(1, 1))
    points = Points([[0, 2, 3], [1, 5, 6], [2, 8, 9]], scale=(5, 1, 1), translate=(100, 0, 0))
    shapes = Shapes([rectangle(2, 3, 12, 13, 0), rectangle(4, 5, 14, 25, 1)], scale=(5, 1, 1))
    plane = plane_of(image, points, at={0: 105})
    assert pixels(read_points(points, plane)) == [(4, 5)]
    assert read_shapes(shapes, plane_of(image, shapes, at={0: 5})).boxes == (
        DrawnBox(Box(3, 4, 13, 24), True, None),
    )


def test_a_prompt_layer_with_more_axes_than_the_stack():
    image = Image(np.zeros((5, 40, 60), np.uint8), scale=(2, 1, 1))
    points = Points([[0, 4, 7, 8], [1, 4, 9, 10], [1, 6, 11, 12]])
    plane = plane_of(image, points, Image(np.zeros((2, 10, 4, 4))), at={0: 1, 1: 4})
    assert pixels(read_points(points, plane)) == [(9, 10)]


def test_a_transposed_view_gives_transposed_marks():
    image = Image(np.zeros((5, 40, 60), np.uint8))
    plane = plane_of(image, at={0: 2}, order=(0, 2, 1))
    assert pixels(read_points(Points([[2, 10, 50]]), plane)) == [(50, 10)]
    shapes = Shapes([rectangle(1, 2, 11, 42, 2)])
    assert boxes(read_shapes(shapes, plane)) == [Box(2, 1, 42, 11)]


def test_a_view_from_the_side_gives_marks_of_that_view():
    image = Image(np.zeros((5, 40, 60), np.uint8), scale=(4, 1, 1))
    plane = plane_of(image, at={1: 10}, order=(1, 0, 2))
    points = Points([[8, 10, 50], [8, 11, 50]])
    assert pixels(read_points(points, plane)) == [(2, 50)]


def test_a_layer_without_the_axes_that_are_shown_is_left_out_and_said():
    image = Image(np.zeros((5, 40, 60), np.uint8))
    plane = plane_of(image, at={1: 10}, order=(1, 0, 2))
    points = Points([[10, 20]], name="flat")
    for drawn in (read_points(points, plane), read_shapes(Shapes([rectangle(1, 2, 3, 4)]), plane)):
        assert (drawn.points, drawn.boxes) == ((), ())
        assert "does not extend along the axes that are shown" in drawn.notices[0]
    assert "“flat”" in read_points(points, plane).notices[0]
    assert read_points(Points(ndim=2), plane) == Drawn()


def test_marks_on_a_coarse_level_are_in_its_pixels():
    image = Image([np.zeros((40, 60)), np.zeros((20, 30)), np.zeros((10, 15))], multiscale=True)
    plane = plane_of(image, max_side=15)
    drawn = read_points(Points([[0, 0], [3, 4], [39, 59]]), plane)
    assert pixels(drawn) == [(0, 0), (0, 1), (9, 14)]
    assert drawn.points[1].point.position == (0.375, 0.625)
    assert boxes(read_shapes(Shapes([rectangle(7.5, 11.5, 19.5, 39.5)]), plane)) == [
        Box(2, 3, 5, 10)
    ]


# --- the border


@pytest.mark.parametrize(
    ("point", "pixel"),
    [
        ((0, 0), (0, 0)),
        ((-0.5, -0.5), (0, 0)),
        ((39.49, 59.49), (39, 59)),
        ((39, 59), (39, 59)),
        ((2.5, 3.49), (3, 3)),
        ((-0.51, 5), None),
        ((5, -0.51), None),
        ((39.5, 5), None),
        ((5, 59.5), None),
        ((45, 5), None),
        ((5, 45), (5, 45)),
    ],
)
def test_points_on_the_border_count_and_those_outside_are_left_out(point, pixel):
    drawn = read_points(Points([point], name="clicks"), flat_plane())
    assert pixels(drawn) == ([pixel] if pixel else [])
    assert len(drawn.notices) == (pixel is None)


def test_what_is_left_out_is_said_in_numbers():
    drawn = read_points(Points([[5, 5], [-3, 5], [5, 99]], name="clicks"), flat_plane())
    assert pixels(drawn) == [(5, 5)]
    assert drawn.notices == ("2 points were left out, outside of the image (“clicks”).",)
    drawn = read_points(Points([[-3, 5]], name="clicks"), flat_plane())
    assert drawn.notices == ("1 point was left out, outside of the image (“clicks”).",)


def test_fractions_of_a_pixel_are_kept_for_points():
    drawn = read_points(Points([[3.25, 4.75]]), flat_plane())
    assert drawn.points[0].point.position == (3.25, 4.75)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_point_that_lies_nowhere_is_not_used(bad):
    points = Points([[5.0, 5.0], [6.0, 6.0]])
    points.data[1] = [bad, 6]
    assert pixels(read_points(points, flat_plane())) == [(5, 5)]


def test_a_hidden_point_is_not_used():
    points = Points([[5, 5], [6, 6]], shown=[True, False])
    assert pixels(read_points(points, flat_plane())) == [(5, 5)]


@pytest.mark.parametrize(
    ("corners", "box", "notice"),
    [
        ((-5, 10, 12, 20), Box(0, 10, 12, 20), "cut off"),
        ((30, 50, 90, 90), Box(30, 50, 40, 60), "cut off"),
        ((-5, -5, 90, 90), Box(0, 0, 40, 60), "cut off"),
        ((-0.5, -0.5, 39.5, 59.5), Box(0, 0, 40, 60), None),
        ((50, 5, 60, 10), None, "left out"),
        ((5, 70, 10, 80), None, "left out"),
        ((3.4, 4.4, 5.6, 6.6), Box(3, 4, 6, 7), None),
        ((3.5, 4.5, 5.5, 6.5), Box(4, 5, 6, 7), None),
    ],
)
def test_boxes_are_clipped_to_the_image_or_left_out_and_it_is_said(corners, box, notice):
    drawn = read_shapes(Shapes([rectangle(*corners)], name="boxes"), flat_plane())
    assert boxes(drawn) == ([box] if box else [])
    assert len(drawn.notices) == bool(notice)
    if notice:
        assert drawn.notices[0].startswith("1 shape was ")
        assert notice in drawn.notices[0]
        assert "“boxes”" in drawn.notices[0]


def test_a_box_drawn_upside_down_is_a_box():
    drawn = read_shapes(Shapes([rectangle(12, 20, 5, 10)]), flat_plane())
    assert boxes(drawn) == [Box(5, 10, 12, 20)]


@pytest.mark.parametrize("corners", [(5, 10, 5, 20), (5, 10, 12, 10), (5, 10, 5, 10)])
def test_a_box_without_size_is_left_out_and_said(corners):
    drawn = read_shapes(Shapes([rectangle(*corners)], name="boxes"), flat_plane())
    assert drawn.boxes == ()
    assert drawn.notices == ("A rectangle without size in “boxes” was left out.",)


def test_a_tiny_box_is_the_pixel_that_it_lies_in():
    drawn = read_shapes(Shapes([rectangle(5.1, 10.2, 5.3, 10.4)]), flat_plane())
    assert boxes(drawn) == [Box(5, 10, 6, 11)]
    drawn = read_shapes(Shapes([rectangle(39.1, 59.1, 39.2, 59.2)]), flat_plane())
    assert boxes(drawn) == [Box(39, 59, 40, 60)]


# --- kinds of shapes


def test_a_polygon_is_its_bounding_box():
    drawn = read_shapes(Shapes([POLYGON], shape_type="polygon"), flat_plane())
    assert boxes(drawn) == [Box(5, 10, 20, 45)]


def test_a_polygon_is_an_outline_where_the_engine_takes_one():
    drawn = read_shapes(Shapes([POLYGON], shape_type="polygon"), flat_plane())
    outline = tuple(map(tuple, POLYGON.tolist()))
    assert to_object_prompts(drawn)[0] == {("box", 0): ObjectPrompt(outline=outline)}
    assert to_object_prompts(drawn, outlines=False)[0] == {
        ("box", 0): ObjectPrompt(box=Box(5, 10, 20, 45))
    }
    assert to_concept_prompt("", drawn).exemplars == (Exemplar(Box(5, 10, 20, 45)),)


def test_an_outline_lies_in_pixels_of_the_plane():
    plane = flat_plane(scale=(0.5, 2), translate=(10, 100))
    world = POLYGON * (0.5, 2) + (10, 100)
    drawn = read_shapes(Shapes([world], shape_type="polygon"), plane)
    assert np.allclose(drawn.boxes[0].outline, POLYGON)


def test_an_outline_beyond_the_image_keeps_its_shape():
    # moving corners to the border would make another shape inside
    beyond = np.array([[-20, 10], [20, -15], [60, 40], [10, 90]])
    drawn = read_shapes(Shapes([beyond], shape_type="polygon"), flat_plane())
    assert np.array_equal(drawn.boxes[0].outline, beyond)
    assert "cut off" in drawn.notices[0]


def test_an_ellipse_is_a_round_outline():
    drawn = read_shapes(Shapes([[[20, 30], [8, 15]]], shape_type="ellipse"), flat_plane())
    away = (np.array(drawn.boxes[0].outline) - (20, 30)) / (8, 15)
    assert np.allclose(np.hypot(*away.T), 1)


def test_a_polygon_that_is_a_line_is_the_box_around_it():
    line = np.array([[5, 10], [10, 20], [20, 40]])
    drawn = read_shapes(Shapes([line], shape_type="polygon"), flat_plane())
    assert drawn.boxes == (DrawnBox(Box(5, 10, 20, 40), True, None),)


def test_a_rectangle_is_a_box_and_no_outline():
    drawn = read_shapes(Shapes([rectangle(5, 5, 20, 30)]), flat_plane())
    assert drawn.boxes[0].outline == ()


# --- nothing that can be used


def refused(drawn):
    with pytest.raises(PromptError) as refusal:
        to_object_prompts(drawn)
    sentence = str(refusal.value)
    assert sentence.endswith(
        "Click on an object in the plane that is shown, or draw a box around it."
    )
    with pytest.raises(PromptError) as refusal:
        to_concept_prompt("", drawn)
    assert str(refusal.value).endswith("or type what to find.")
    assert to_concept_prompt("cell", drawn).text == "cell"
    return sentence


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (
            Points([[2, 5, 5], [4, 6, 6]], name="m"),
            "2 points are not on the plane that is shown (“m”).",
        ),
        (Points([[3, 5, 99]], name="m"), "1 point was left out, outside of the image (“m”)."),
        (Points([[3, 5, 5]], shown=[False], name="m"), "1 point is hidden (“m”)."),
        (
            Shapes([[(2, *at) for at in rectangle(5, 5, 9, 9)]], name="m"),
            "1 shape is not on the plane that is shown (“m”).",
        ),
        (Shapes([[(3, *at) for at in rectangle(5, 5, 5, 9)]], name="m"), "without size in “m”"),
        (Shapes([rectangle(50, 5, 60, 9)], name="m"), "1 shape was left out, outside of the image"),
    ],
    ids=["other plane", "outside", "hidden", "box on another plane", "no size", "box outside"],
)
def test_marks_that_cannot_be_used_are_the_reason_why_nothing_is_asked(layer, said):
    plane = plane_of(Image(np.zeros((5, 40, 60), np.uint8)), at={0: 3})
    read = read_points if isinstance(layer, Points) else read_shapes
    sentence = refused(read(layer, plane))
    assert said in sentence
    assert "yet" not in sentence


def test_a_point_without_a_position_is_the_reason_too():
    points = Points([[6.0, 6.0]], name="m")
    points.data[0] = [np.nan, 6]
    assert "1 point is nowhere, as a coordinate is not a number" in refused(
        read_points(points, flat_plane())
    )


def test_a_negative_point_here_does_not_hide_that_the_object_is_elsewhere():
    points = Points(
        [[2, 5, 5], [3, 6, 6]], name="m", features={"polarity": ["positive", "negative"]}
    )
    plane = plane_of(Image(np.zeros((5, 40, 60), np.uint8)), at={0: 3})
    sentence = refused(read_points(points, plane))
    assert "1 point is not on the plane that is shown" in sentence


def test_marks_elsewhere_are_not_worth_a_word_where_something_is_marked_here():
    points = Points([[2, 5, 5], [3, 6, 6]])
    plane = plane_of(Image(np.zeros((5, 40, 60), np.uint8)), at={0: 3})
    drawn = read_points(points, plane)
    assert drawn.notices == to_object_prompts(drawn)[1] == ()


def test_which_proposal_is_wanted_belongs_to_an_object():
    features = {"object": [1, 1, 2, 3], "proposal": ["", "large", "small", "enormous"]}
    layer = Points([[1, 2], [3, 4], [5, 6], [7, 8]], features=features)
    prompts, _ = to_object_prompts(read_points(layer, flat_plane()))
    assert [prompts[number].proposal for number in (1, 2, 3)] == ["large", "small", ""]


def test_a_proposal_that_is_drawn_on_another_plane_does_not_count():
    stack = Image(np.zeros((4, 40, 60), np.uint8))
    features = {"object": [1, 1], "proposal": ["small", "large"]}
    layer = Points([[2, 5, 6], [3, 7, 8]], features=features)
    prompts, _ = to_object_prompts(read_points(layer, plane_of(stack, at={0: 2})))
    assert prompts[1].proposal == "small"


def test_a_box_says_by_itself_which_object_is_meant():
    points = Points([[12, 14]], features={"object": [1], "proposal": ["large"]})
    shapes = Shapes([rectangle(5, 5, 20, 30)], features={"object": [1]})
    drawn = read_points(points, flat_plane()) + read_shapes(shapes, flat_plane())
    prompts, _ = to_object_prompts(drawn)
    assert prompts[1] == ObjectPrompt((Point(12, 14),), Box(5, 5, 20, 30))


def test_an_ellipse_is_its_bounding_box():
    drawn = read_shapes(Shapes([[[20, 30], [8, 15]]], shape_type="ellipse"), flat_plane())
    assert boxes(drawn) == [Box(12, 15, 28, 45)]


def test_a_turned_circle_is_no_larger_than_a_circle():
    # the box around its four corners would be 1.4 times as large
    image = Image(np.zeros((40, 60), np.uint8))
    shapes = Shapes(ndim=2, rotate=45)
    middle = shapes.world_to_data((20, 30))
    shapes.add_ellipses(np.array([middle, [10, 10]]))
    assert boxes(read_shapes(shapes, plane_of(image))) == [Box(10, 20, 30, 40)]


def test_a_turned_rectangle_is_the_box_around_its_corners():
    diamond = np.array([[10, 30], [20, 40], [30, 30], [20, 20]])
    drawn = read_shapes(Shapes([diamond], shape_type="rectangle"), flat_plane())
    assert boxes(drawn) == [Box(10, 20, 30, 40)]


@pytest.mark.parametrize("kind", ["line", "path"])
def test_a_stroke_becomes_evenly_spaced_points_from_end_to_end(kind):
    drawn = read_shapes(Shapes([[[10, 5], [10, 45]]], shape_type=kind), flat_plane())
    assert drawn.boxes == ()
    assert {row for row, _ in pixels(drawn)} == {10}
    columns = [col for _, col in pixels(drawn)]
    assert columns[0] == 5
    assert columns[-1] == 45
    gaps = np.diff([mark.point.col for mark in drawn.points])
    assert len(gaps) >= 5
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-5)
    assert gaps[0] <= 8


def test_a_path_follows_its_bends():
    bent = [[5, 5], [5, 25], [25, 25]]
    drawn = read_shapes(Shapes([bent], shape_type="path"), flat_plane())
    assert all(row == 5 or col == 25 for row, col in pixels(drawn))
    assert {(5, 5), (25, 25)} <= set(pixels(drawn))
    assert any(row > 8 for row, _ in pixels(drawn))


def test_a_long_path_stays_a_handful_of_points():
    zigzag = [[20 * (i % 2), i] for i in range(60)]
    drawn = read_shapes(Shapes([zigzag], shape_type="path"), flat_plane())
    assert 2 < len(drawn.points) <= MAX_STROKE_POINTS


def test_a_stroke_without_length_is_one_click():
    drawn = read_shapes(Shapes([[[7, 8], [7, 8]]], shape_type="line"), flat_plane())
    assert pixels(drawn) == [(7, 8)]


def test_a_stroke_is_used_as_far_as_it_lies_in_the_image_and_it_is_said():
    shapes = Shapes([[[10, 40], [10, 80]]], shape_type="line", name="strokes")
    drawn = read_shapes(shapes, flat_plane())
    assert drawn.points
    assert all(col < 60 for _, col in pixels(drawn))
    assert drawn.notices == ("1 shape was cut off at the image's border (“strokes”).",)
    beside = Shapes([[[10, 70], [10, 80]]], shape_type="line", name="strokes")
    assert read_shapes(beside, flat_plane()) == Drawn(
        notices=("1 shape was left out, outside of the image (“strokes”).",)
    )


def test_a_stroke_carries_its_sign_and_its_object():
    shapes = Shapes(
        [[[10, 5], [10, 20]]],
        shape_type="line",
        features={"polarity": ["negative"], "object": [4]},
    )
    drawn = read_shapes(shapes, flat_plane())
    assert {(mark.point.positive, mark.group) for mark in drawn.points} == {(False, 4)}


# --- the features


def signs(column):
    data = [[i, i] for i in range(len(column))]
    drawn = read_points(Points(data, features=pd.DataFrame({"polarity": column})), flat_plane())
    return [mark.point.positive for mark in drawn.points]


@pytest.mark.parametrize(
    ("column", "positive"),
    [
        (["positive", "negative"], [True, False]),
        (["Positive", "NEGATIVE"], [True, False]),
        ([" negative ", "negative\n"], [False, False]),
        ([np.nan, "negative"], [True, False]),
        ([None, "negative"], [True, False]),
        ([np.nan, np.nan], [True, True]),
        (pd.Categorical(["negative", "positive"]), [False, True]),
        (pd.Categorical(["negative", None]), [False, True]),
        ([1, 0], [True, True]),
        (["", "anything"], [True, True]),
    ],
)
def test_only_what_says_negative_is_negative(column, positive):
    assert signs(column) == positive


def test_without_a_polarity_column_all_is_positive():
    drawn = read_points(Points([[1, 1], [2, 2]]), flat_plane())
    assert [mark.point.positive for mark in drawn.points] == [True, True]
    drawn = read_shapes(Shapes([rectangle(1, 2, 3, 4)]), flat_plane())
    assert drawn.boxes[0].positive


def test_shapes_read_their_own_signs_and_numbers():
    shapes = Shapes(
        [rectangle(1, 2, 3, 4), rectangle(50, 2, 60, 4), rectangle(5, 6, 7, 8)],
        features={"polarity": ["negative", "positive", "positive"], "object": [1, 2, 3]},
    )
    drawn = read_shapes(shapes, flat_plane())
    assert [(b.positive, b.group) for b in drawn.boxes] == [(False, 1), (True, 3)]


@pytest.mark.parametrize(
    ("column", "groups"),
    [
        ([1, 2], [1, 2]),
        ([1.0, np.nan], [1, None]),
        ([np.inf, 3], [None, 3]),
        (["2", "cell"], [2, None]),
        ([None, 5], [None, 5]),
        (pd.array([1, None], dtype="Int64"), [1, None]),
        (pd.Categorical([7, 8]), [7, 8]),
    ],
)
def test_object_numbers_are_read_however_they_are_stored(column, groups):
    points = Points([[1, 1], [2, 2]], features=pd.DataFrame({"object": column}))
    assert [mark.group for mark in read_points(points, flat_plane()).points] == groups


# --- to a concept


def test_boxes_become_examples_with_their_signs():
    drawn = Drawn(
        (DrawnPoint(Point(1, 1), None),),
        (DrawnBox(Box(0, 0, 2, 2), True, 1), DrawnBox(Box(4, 4, 6, 6), False, 1)),
    )
    assert to_concept_prompt("cell", drawn) == ConceptPrompt(
        "cell", (Exemplar(Box(0, 0, 2, 2)), Exemplar(Box(4, 4, 6, 6), False))
    )


def test_nothing_to_find_is_refused():
    with pytest.raises(PromptError, match="nothing to find"):
        to_concept_prompt(" ", Drawn(boxes=(DrawnBox(Box(0, 0, 2, 2), False, 1),)))


# --- to objects

A, B = Box(0, 0, 10, 10), Box(20, 20, 30, 30)
IN_A, IN_B, BESIDE = Point(5, 5), Point(25, 25), Point(15, 50)


def minus(point):
    return Point(point.row, point.col, False)


def drawn_of(points=(), boxes=()):
    return Drawn(
        tuple(DrawnPoint(point, group) for point, group in points),
        tuple(DrawnBox(box, True, group) for box, group in boxes),
    )


def objects(*args, **kwargs):
    return list(to_object_prompts(drawn_of(*args), **kwargs)[0].values())


def test_what_carries_the_same_number_is_one_object():
    prompts, notices = to_object_prompts(
        drawn_of([(IN_A, 1), (BESIDE, 2), (minus(IN_B), 1)], [(B, 2)])
    )
    assert prompts == {
        1: ObjectPrompt((IN_A, minus(IN_B))),
        2: ObjectPrompt((BESIDE,), B),
    }
    assert notices == ()


def test_without_numbers_points_belong_to_the_box_around_them():
    assert objects([(IN_B, None), (minus(IN_A), None)], [(A, None), (B, None)]) == [
        ObjectPrompt((minus(IN_A),), A),
        ObjectPrompt((IN_B,), B),
    ]


def test_without_numbers_points_in_no_box_are_one_object_of_their_own():
    second = Point(16, 51)
    assert objects([(BESIDE, None), (IN_A, None), (second, None)], [(A, None), (B, None)]) == [
        ObjectPrompt((IN_A,), A),
        ObjectPrompt((), B),
        ObjectPrompt((BESIDE, second)),
    ]


def test_points_without_numbers_belong_to_the_only_box():
    assert objects([(minus(BESIDE), None)], [(A, 3)]) == [ObjectPrompt((minus(BESIDE),), A)]


def test_two_boxes_are_two_objects_even_under_one_number():
    prompts, _ = to_object_prompts(drawn_of([(IN_A, 1)], [(A, 1), (B, 1)]))
    assert list(prompts.values()) == [ObjectPrompt((IN_A,), A), ObjectPrompt((), B)]
    assert next(iter(prompts)) == 1


def test_one_object_per_point_takes_all_negative_points_along():
    prompts, _ = to_object_prompts(
        drawn_of([(IN_A, 1), (minus(BESIDE), 1), (IN_B, 1)]), one_per_point=True
    )
    assert prompts == {
        ("point", 0): ObjectPrompt((IN_A, minus(BESIDE))),
        ("point", 1): ObjectPrompt((IN_B, minus(BESIDE))),
    }


def test_one_object_per_point_keeps_boxes_as_objects_too():
    got = objects([(IN_A, 1), (minus(IN_B), 1), (minus(BESIDE), 1)], [(B, 1)], one_per_point=True)
    assert got == [
        ObjectPrompt((IN_A, minus(IN_B), minus(BESIDE))),
        ObjectPrompt((minus(IN_B),), B),
    ]


def test_lonely_negative_points_are_left_out_and_it_is_said():
    prompts, notices = to_object_prompts(
        drawn_of([(IN_A, 1), (minus(IN_B), 2), (minus(BESIDE), 2)])
    )
    assert list(prompts) == [1]
    assert len(notices) == 1
    assert notices[0].startswith("2 negative points were left out")


@pytest.mark.parametrize("one_per_point", [False, True])
@pytest.mark.parametrize("points", [[], [(minus(IN_A), 1)]])
def test_no_object_marked_is_refused(points, one_per_point):
    with pytest.raises(PromptError, match="No object is marked"):
        to_object_prompts(drawn_of(points), one_per_point=one_per_point)


def test_negative_boxes_are_left_out_and_it_is_said():
    drawn = Drawn(boxes=(DrawnBox(A, True, 1), DrawnBox(B, False, 2)))
    prompts, notices = to_object_prompts(drawn)
    assert prompts == {1: ObjectPrompt((), A)}
    assert notices[0].startswith("1 negative box was left out")


def test_what_two_layers_hold_is_put_together():
    one = drawn_of([(IN_A, 1)])
    two = Drawn(boxes=(DrawnBox(A, True, 1),), notices=("said",))
    assert one + two == Drawn(one.points, two.boxes, ("said",))
    assert list(to_object_prompts(one + two)[0].values()) == [ObjectPrompt((IN_A,), A)]
