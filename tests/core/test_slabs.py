"""Several planes as one picture."""

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3.core.geometry import Box
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.slabs import Slab

STACK = np.random.default_rng(5).integers(0, 4000, (9, 5, 7)).astype(np.uint16)


@pytest.mark.parametrize("projection", ["mean", "max", "min", "sum"])
def test_only_the_planes_in_the_range_count(projection):
    expected = getattr(np, projection)(STACK[2:6], axis=0)
    assert np.array_equal(Slab(((2, 6),), projection).read(STACK, (1, 2)), expected)
    assert np.array_equal(Slab(((2, 6),), projection).read(STACK, (2, 1)), expected.T)


def test_a_view_from_the_side_is_projected_along_rows():
    expected = STACK[:, 1:4].max(axis=1)
    assert np.array_equal(Slab(((1, 4),), "max").read(STACK, (0, 2)), expected)


def test_two_axes_are_projected_at_once_and_a_third_is_not():
    data = np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    slab = Slab(((0, 2), (1, 2), (1, 4)), "sum")
    assert np.array_equal(slab.read(data, (3, 4)), data[:, 1, 1:4].sum(axis=(0, 1)))


def test_a_single_plane_is_read_as_it_is():
    assert Slab.single(4).read(STACK, (1, 2)).dtype == np.uint16
    assert np.array_equal(Slab.single(4).read(STACK, (1, 2)), STACK[4])
    assert np.array_equal(Slab().read(STACK[0], (1, 0)), STACK[0].T)


@pytest.mark.parametrize("shown", [(1, 2), (2, 1)])
def test_the_axis_of_colours_stays_the_last(shown):
    data = np.random.default_rng(2).integers(0, 255, (3, 4, 5, 3)).astype(np.uint8)
    expected = data[:2].mean(axis=0)
    read = Slab(((0, 2),), "mean").read(data, shown)
    assert np.array_equal(read, expected if shown == (1, 2) else expected.swapaxes(0, 1))


def test_nothing_but_the_range_is_computed():
    read = []

    def load(block, block_info=None):
        read.append(block_info[0]["chunk-location"][0])
        return block

    lazy = da.from_array(STACK, chunks=(1, 5, 7)).map_blocks(load, dtype=STACK.dtype)
    read.clear()
    Slab(((3, 6),), "mean").read(lazy, (1, 2))
    assert sorted(read) == [3, 4, 5]


@pytest.mark.parametrize(
    ("slab", "words"),
    [
        (Slab(), ""),
        (Slab.single(3), "plane 3"),
        (Slab.single(0, 3), "plane 0, 3"),
        (Slab(((2, 6),), "mean"), "the mean of planes 2–5"),
        (Slab(((1, 2), (0, 7)), "min"), "the minimum of planes 1, 0–6"),
    ],
)
def test_a_slab_says_what_it_is(slab, words):
    assert slab.words == words
    assert Slab.from_json(slab.to_json()) == slab


@pytest.mark.parametrize(
    ("ranges", "projection"),
    [
        (((3, 3),), "max"),
        (((4, 3),), "max"),
        (((-1, 3),), "max"),
        (((2, 4),), "none"),
        (((2, 3),), "max"),
        (((2, 4),), "median"),
    ],
)
def test_what_is_no_slab_cannot_be_built(ranges, projection):
    with pytest.raises(ValueError, match="slab"):
        Slab(ranges, projection)


@pytest.mark.parametrize("factor", [1, 2, 3, 7 / 3, 9 / 4])
@pytest.mark.parametrize(("first", "after"), [(0, 1), (2, 3), (3, 8), (0, 9)])
def test_a_coarse_level_is_read_where_it_holds_the_middles_of_the_fine_planes(factor, first, after):
    fine = range(first, after)
    coarse = [int(np.floor((at + 0.5) / factor)) for at in fine]
    projection = "none" if len(fine) == 1 else "max"
    found = Slab(((first, after),), projection).at_level([factor])
    assert found.ranges == ((min(coarse), max(coarse) + 1),)
    assert found.is_thick == (len(set(coarse)) > 1)


def test_a_slab_and_a_plane_index_name_the_same_plane():
    index = PlaneIndex((2, 0), (3,))
    assert np.array_equal(Slab.single(*index.fixed).read(STACK, index.shown), index.cut(STACK))


@pytest.mark.parametrize("shown", [(1, 2), (2, 1), (0, 1), (2, 0)])
@pytest.mark.parametrize("projection", ["mean", "max", "min", "sum"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint16])
@given(data=st.data())
def test_a_part_is_the_same_part_of_the_whole_to_the_last_bit(shown, projection, dtype, data):
    # so many planes that the order of adding shows
    stack = np.random.default_rng(4).gamma(2, 30, (41, 43, 47)).astype(dtype)
    slab = Slab(((1, 40),), projection)
    whole = slab.read(stack, shown)
    top = data.draw(st.integers(0, whole.shape[0] - 1))
    left = data.draw(st.integers(0, whole.shape[1] - 1))
    bottom = data.draw(st.integers(top + 1, whole.shape[0]))
    right = data.draw(st.integers(left + 1, whole.shape[1]))
    part = slab.read(stack, shown, Box(top, left, bottom, right))
    assert part.dtype == whole.dtype
    assert part.tobytes() == whole[top:bottom, left:right].tobytes()


@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int16, np.uint64, np.float16, np.float32, ">f4"]
)
@pytest.mark.parametrize(("projection", "of"), [("mean", np.mean), ("sum", np.sum)])
def test_it_is_what_numpy_makes_of_them(projection, of, dtype):
    stack = np.random.default_rng(5).integers(0, 90, (6, 7, 8)).astype(dtype)
    found = Slab(((1, 5),), projection).read(stack, (1, 2))
    expected = of(stack[1:5], axis=0)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-3 if dtype == np.float16 else 1e-6)
