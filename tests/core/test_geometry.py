import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.geometry import Box, bounding_box
from napari_sam3.errors import PromptError

sides = st.tuples(st.integers(-9, 9), st.integers(1, 9)).map(lambda v: (v[0], v[0] + v[1]))
boxes = st.tuples(sides, sides).map(lambda v: Box(v[0][0], v[1][0], v[0][1], v[1][1]))

masks = hnp.arrays(
    bool,
    # past one and two words of eight pixels, so that every way of reading is taken
    st.tuples(st.integers(1, 9), st.integers(1, 26)),
    elements=st.sampled_from([False, False, False, False, True]),
)


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


def naive_box(mask):
    rows, cols = np.nonzero(mask)
    if not rows.size:
        return None
    return Box(rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)


class TestBoundingBox:
    @given(masks)
    def test_equals_the_plain_search(self, mask):
        assert bounding_box(mask) == naive_box(mask)

    @given(masks)
    def test_equals_the_plain_search_however_the_mask_lies_in_memory(self, mask):
        padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 3), bool)
        padded[1:-1, 2:-1] = mask
        read_only = mask.copy()
        read_only.flags.writeable = False
        views = (
            mask.T, mask[::-1], mask[:, ::-1], mask[::2, ::2], padded[1:-1, 2:-1],
            np.asfortranarray(mask), read_only, np.broadcast_to(mask[:1], (5, mask.shape[1])),
        )  # fmt: skip
        for view in views:
            assert bounding_box(view) == naive_box(view)

    @pytest.mark.parametrize("width", [5, 8, 13, 64, 67])
    def test_a_single_pixel_is_found_in_every_corner(self, width):
        for row, col in [(0, 0), (0, width - 1), (6, 0), (6, width - 1)]:
            mask = np.zeros((7, width), bool)
            mask[row, col] = True
            assert bounding_box(mask) == Box(row, col, row + 1, col + 1)

    @pytest.mark.parametrize("rows", [(0, 0), (0, 999), (300, 301), (255, 256), (511, 900)])
    def test_a_tall_mask_is_searched_from_both_ends(self, rows):
        mask = np.zeros((1000, 24), bool)
        mask[rows[0], 3], mask[rows[1], 20] = True, True
        assert bounding_box(mask) == Box(rows[0], 3, rows[1] + 1, 21)

    @pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (4, 16)])
    def test_without_a_pixel_there_is_no_box(self, shape):
        assert bounding_box(np.zeros(shape, bool)) is None

    def test_a_wide_mask_with_a_hole_in_every_row_but_one(self):
        mask = np.zeros((50, 4096), bool)
        mask[20, 17], mask[44, 4001] = True, True
        assert bounding_box(mask) == Box(20, 17, 45, 4002)
