"""Prompts of an earlier run are drawn again, and read as the very same prompts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import Dims
from napari.layers import Image

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
)
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.prompts import Drawn, read_points, read_shapes, to_object_prompts
from napari_sam3.layers.restoring import restore_prompts

SHAPE = (40, 70)
FLAT = {"scale": (1, 1)}
ODD = {"scale": (0.3, 1.7), "translate": (-11.3, 1e4), "rotate": 33, "shear": [0.2]}


def plane_of(image, order=None, point=None):
    dims = Dims(ndim=image.ndim, range=((-1000, 1000, 0.1),) * image.ndim)
    if order:
        dims.order = order
    for axis, at in enumerate(point or ()):
        dims.set_point(axis, at)
    return find_plane(image, dims)


def read(layers, plane):
    drawn = Drawn()
    for kind, layer in layers.items():
        drawn += read_points(layer, plane) if kind == "points" else read_shapes(layer, plane)
    return drawn


def boxes(rows=SHAPE[0], cols=SHAPE[1]):
    sides = st.tuples(st.integers(0, rows - 1), st.integers(0, cols - 1)).flatmap(
        lambda start: st.tuples(
            st.just(start[0]),
            st.just(start[1]),
            st.integers(start[0] + 1, rows),
            st.integers(start[1] + 1, cols),
        )
    )
    return sides.map(lambda values: Box(*values))


def points(rows=SHAPE[0], cols=SHAPE[1]):
    at = st.tuples(st.floats(-0.4, rows - 0.6), st.floats(-0.4, cols - 0.6), st.booleans())
    return at.map(lambda values: Point(round(values[0], 4), round(values[1], 4), values[2]))


@given(
    box=st.none() | boxes(), marks=st.lists(points(), max_size=4), odd=st.booleans(), data=st.data()
)
def test_an_object_is_read_as_it_was_asked_for(box, marks, odd, data):
    if box is None and not any(mark.positive for mark in marks):
        marks = [*marks, Point(3, 5)]
    prompt = ObjectPrompt(tuple(marks), box)
    image = Image(np.zeros(SHAPE), **(ODD if odd else FLAT))
    plane = plane_of(image)
    number = data.draw(st.integers(1, 99))
    layers = restore_prompts([prompt], image, plane, [number])
    found, notices = to_object_prompts(read(layers, plane))
    assert found == {number: prompt}
    assert not notices


@pytest.mark.parametrize("odd", [False, True])
def test_outlines_and_proposals_come_back(odd):
    prompts = [
        ObjectPrompt((Point(3, 5), Point(9, 50, positive=False)), proposal="large"),
        ObjectPrompt((Point(20, 30),), outline=((10, 20), (12.25, 44), (31, 35))),
        ObjectPrompt(box=Box(4, 5, 6, 7)),
    ]
    image = Image(np.zeros(SHAPE), **(ODD if odd else FLAT))
    plane = plane_of(image)
    found, _ = to_object_prompts(read(restore_prompts(prompts, image, plane), plane))
    assert found == dict(enumerate(prompts, start=1))


@given(st.lists(st.tuples(boxes(), st.booleans()), min_size=1, max_size=5), st.booleans())
def test_examples_are_read_as_they_were_with_their_signs(marks, odd):
    exemplars = tuple(Exemplar(box, sign) for box, sign in marks)
    image = Image(np.zeros(SHAPE), **(ODD if odd else FLAT))
    plane = plane_of(image)
    layers = restore_prompts([ConceptPrompt("nucleus", exemplars)], image, plane)
    assert list(layers) == ["examples"]
    assert tuple(Exemplar(b.box, b.positive) for b in read(layers, plane).boxes) == exemplars


def test_objects_keep_their_numbers_apart():
    image = Image(np.zeros(SHAPE))
    plane = plane_of(image)
    prompts = [
        ObjectPrompt((Point(3, 4), Point(5, 6, positive=False))),
        ObjectPrompt((Point(30, 60),), Box(20, 50, 39, 69)),
    ]
    layers = restore_prompts(prompts, image, plane, [7, 9])
    found, _ = to_object_prompts(read(layers, plane))
    assert found == {7: prompts[0], 9: prompts[1]}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_on_a_plane_of_a_stack_they_lie_on_that_plane_and_no_other(order):
    image = Image(np.zeros((12, 20, 30)), scale=(2.5, 0.7, 0.9), translate=(3, -4, 5))
    at = image.data_to_world((4, 6, 8))
    plane = plane_of(image, order, at)
    prompt = ObjectPrompt((Point(2.25, 3),), Box(1, 2, 5, 9))
    layers = restore_prompts([prompt], image, plane)
    assert to_object_prompts(read(layers, plane))[0] == {1: prompt}
    other = plane_of(image, order, image.data_to_world((5, 7, 9)))
    assert not read(layers, other).points
    assert not read(layers, other).boxes


def test_clicks_on_a_coarse_level_come_back_on_that_level():
    levels = [np.zeros((400, 700)), np.zeros((100, 175))]
    image = Image(levels, multiscale=True)
    plane = find_plane(image, Dims(ndim=2, range=((0, 400, 1), (0, 700, 1))), max_side=200)
    assert plane.level == 1
    prompt = ObjectPrompt((Point(30.5, 99),), Box(20, 60, 70, 120))
    layers = restore_prompts([prompt], image, plane)
    assert to_object_prompts(read(layers, plane))[0] == {1: prompt}


def test_what_is_drawn_next_refines_the_last_object():
    image = Image(np.zeros(SHAPE))
    layers = restore_prompts([ObjectPrompt((Point(3, 4),))], image, plane_of(image), [5])
    layers["points"].add([[8.0, 9.0]])
    assert layers["points"].features["object"].tolist() == [5, 5]
    assert layers["points"].features["polarity"].tolist() == ["positive", "positive"]


def test_a_combined_question_brings_examples_and_points():
    image = Image(np.zeros(SHAPE))
    prompt = CombinedPrompt("cell", (Exemplar(Box(1, 2, 5, 9)),), (Point(3, 4),))
    assert set(restore_prompts([prompt], image, plane_of(image))) == {"points", "examples"}


def test_everything_needs_no_layer():
    image = Image(np.zeros(SHAPE))
    assert restore_prompts([Everything()], image, plane_of(image)) == {}
