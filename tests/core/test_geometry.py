import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3.core.geometry import Box
from napari_sam3.errors import PromptError

sides = st.tuples(st.integers(-9, 9), st.integers(1, 9)).map(lambda v: (v[0], v[0] + v[1]))
boxes = st.tuples(sides, sides).map(lambda v: Box(v[0][0], v[1][0], v[0][1], v[1][1]))


def pixels(box):
    return {(row, col) for row in range(box.top, box.bottom) for col in range(box.left, box.right)}


def test_a_box_knows_its_shape_area_and_slices():
    box = Box(1, 2, 4, 8)
    assert (box.shape, box.area) == ((3, 6), 18)
    assert np.zeros((10, 12))[box.slices].shape == (3, 6)


def test_numpy_integers_become_plain_ones():
    box = Box(np.int64(1), np.uint8(2), np.int32(4), np.intp(8))
    assert box == Box(1, 2, 4, 8)
    assert type(box.top) is int


@pytest.mark.parametrize("corners", [(4, 2, 4, 8), (1, 8, 4, 8), (4, 2, 1, 8), (1, 8, 4, 2)])
def test_a_box_that_holds_no_pixel_cannot_be_built(corners):
    with pytest.raises(PromptError, match="holds no pixel"):
        Box(*corners)


@pytest.mark.parametrize("side", [1.0, "1", None, float("nan")])
def test_a_side_must_be_a_whole_number(side):
    with pytest.raises(PromptError, match="left must be a whole number"):
        Box(0, side, 4, 8)


def test_a_box_is_half_open():
    box = Box(1, 2, 4, 8)
    assert box.contains(1, 2)
    assert box.contains(3.9, 7.9)
    assert not box.contains(4, 5)
    assert not box.contains(2, 8)


def test_the_box_of_a_shape_covers_all_of_it():
    assert Box.of_shape((3, 5)) == Box(0, 0, 3, 5)


@given(boxes, boxes)
def test_the_intersection_holds_the_common_pixels(one, other):
    common = one.intersection(other)
    assert (pixels(common) if common else set()) == pixels(one) & pixels(other)
    assert one.meets(other) == (common is not None)


@given(boxes, st.integers(-20, 20), st.integers(-20, 20))
def test_a_shift_moves_every_pixel(box, rows, cols):
    assert pixels(box.shifted(rows, cols)) == {(r + rows, c + cols) for r, c in pixels(box)}
