"""Several planes as one picture."""

import dask.array as da
import numpy as np
import pytest

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
