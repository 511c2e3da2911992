from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core import overlaps as module
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.overlaps import (
    Overlaps,
    best_first,
    count_overlapping,
    find_overlaps,
    overlap_map,
    overlapping,
    suppress,
)

SHAPE = (7, 11)


@st.composite
def answers(draw):
    items = []
    for _ in range(draw(st.integers(0, 8))):
        box = Box(*draw(st.sampled_from([(0, 0, 3, 5), (1, 2, 7, 8), (4, 4, 6, 11), (2, 0, 5, 4)])))
        mask = draw(hnp.arrays(bool, box.shape) | st.just(np.ones(box.shape, bool)))
        items.append(Instance(mask, box))
    return items


@st.composite
def suppressions(draw):
    items = [item for item in draw(answers()) if item.area]
    order = draw(st.permutations(range(len(items))))
    return items, order, draw(st.sampled_from([0, 0.3, 0.5, 0.9, 1]))


def full(item):
    mask = np.zeros(SHAPE, bool)
    mask[item.box.slices] = item.mask
    return mask


def solid(*corners):
    box = Box(*corners)
    return Instance(np.ones(box.shape, bool), box)


def as_table(overlaps):
    return [
        tuple(row)
        for row in np.stack([overlaps.first, overlaps.second, overlaps.shared], axis=1).tolist()
    ]


class TestFindOverlaps:
    @given(answers())
    def test_equals_the_comparison_of_all_pairs(self, items):
        counted = [
            (one, two, int((full(items[one]) & full(items[two])).sum()))
            for one, two in combinations(range(len(items)), 2)
        ]
        found = find_overlaps(items)
        assert as_table(found) == [pair for pair in counted if pair[2]]
        assert found.count == len(as_table(found))

    @given(answers())
    def test_the_pairs_do_not_depend_on_how_many_are_looked_at_at_once(self, items):
        whole = as_table(find_overlaps(items))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_PAIRS_AT_ONCE", 2)
            assert as_table(find_overlaps(items)) == whole

    def test_several_layers_deep_each_pair_is_found(self):
        nested = [solid(n, n, 40 - n, 60 - n) for n in range(12)]
        found = find_overlaps(nested)
        assert found.count == 66
        areas = [item.area for item in nested]
        assert found.shared.tolist() == [areas[two] for two in found.second]

    def test_objects_may_lie_outside_an_image(self):
        assert as_table(find_overlaps([solid(-4, -5, 1, 1), solid(0, -1, 4, 9)])) == [(0, 1, 2)]

    def test_more_layers_than_a_byte_counts(self):
        items = [solid(0, 0, 1, 2)] * 256
        assert find_overlaps(items).count == 256 * 255 // 2


def naive_suppress(items, order, max_iom):
    kept = []
    for index in order:
        mask = full(items[index])
        ioms = ((mask & full(items[k])).sum() / min(mask.sum(), full(items[k]).sum()) for k in kept)
        if not any(iom > max_iom for iom in ioms):
            kept.append(index)
    return sorted(kept)


class TestSuppress:
    @given(suppressions())
    def test_equals_the_plain_greedy_search(self, case):
        items, order, max_iom = case
        areas = [item.area for item in items]
        kept = suppress(find_overlaps(items), areas, order, max_iom)
        assert np.flatnonzero(kept).tolist() == naive_suppress(items, order, max_iom)

    @given(suppressions())
    def test_what_is_not_visited_neither_stays_nor_drops_another(self, case):
        items, order, max_iom = case
        visited = order[: len(order) // 2]
        areas = [item.area for item in items]
        kept = suppress(find_overlaps(items), areas, visited, max_iom)
        assert np.flatnonzero(kept).tolist() == naive_suppress(items, visited, max_iom)

    def test_one_drops_nothing_not_even_twins(self):
        twins = [solid(0, 0, 3, 5), solid(0, 0, 3, 5), solid(1, 1, 2, 2)]
        assert suppress(find_overlaps(twins), [15, 15, 1], [0, 1, 2], 1).all()
        kept = suppress(find_overlaps(twins), [15, 15, 1], [1, 0, 2], 0.99)
        assert kept.tolist() == [False, True, False]

    def test_exactly_the_allowed_part_is_allowed(self):
        halves = find_overlaps([solid(0, 0, 1, 4), solid(0, 2, 1, 6)])
        assert suppress(halves, [4, 4], [0, 1], 0.5).all()
        assert suppress(halves, [4, 4], [1, 0], 0.49).tolist() == [False, True]

    def test_what_was_dropped_drops_no_other(self):
        chain = find_overlaps([solid(0, 0, 1, 4), solid(0, 1, 1, 7), solid(0, 5, 1, 9)])
        assert suppress(chain, [4, 6, 4], [0, 1, 2], 0.3).tolist() == [True, False, True]

    @pytest.mark.parametrize("max_iom", [-0.1, 1.1, float("nan")])
    def test_an_impossible_overlap_is_refused(self, max_iom):
        with pytest.raises(ValueError, match="between 0 and 1"):
            suppress(find_overlaps([]), [], [], max_iom)


class TestBestFirst:
    def test_the_highest_score_comes_first_and_none_at_all_last(self):
        assert best_first([0.2, np.nan, 0.9, 0.5], [10, 10, 10, 10]).tolist() == [2, 3, 0, 1]

    def test_without_scores_a_cell_comes_before_its_fragment_and_before_its_clump(self):
        cells, clump, fragment = [100, 104, 96, 110], 420, 20
        order = best_first([np.nan] * 6, [clump, fragment, *cells]).tolist()
        assert set(order[:4]) == {2, 3, 4, 5}

    def test_typical_is_what_is_a_small_factor_away_from_the_median(self):
        none = [np.nan] * 7
        # two clumps do not make the larger cells more typical
        areas = [10, 12, 14, 16, 18, 5000, 6000]
        assert best_first(none, areas).tolist() == [3, 4, 2, 1, 0, 5, 6]
        # half and double are equally far, whatever logarithms are in floating point
        for area in (3, 5, 50, 1000):
            assert best_first(none[:3], [area, 2 * area, 4 * area]).tolist() == [1, 2, 0]

    def test_of_two_alone_the_larger_comes_first(self):
        assert best_first([np.nan, np.nan], [50, 100]).tolist() == [1, 0]
        assert best_first([0.5, 0.5], [100, 50]).tolist() == [0, 1]

    def test_twins_keep_their_order(self):
        assert best_first([0.5] * 5, [7] * 5).tolist() == [0, 1, 2, 3, 4]
        assert best_first([], []).tolist() == []


class TestMaps:
    @given(answers())
    def test_the_map_counts_objects_where_there_are_two(self, items):
        counts = np.sum([np.zeros(SHAPE, int), *map(full, items)], axis=0)
        found = overlap_map(items, SHAPE)
        np.testing.assert_array_equal(found, np.where(counts > 1, counts, 0))
        assert found.dtype == np.uint8

    @given(answers())
    def test_an_object_overlaps_where_the_map_is_not_empty(self, items):
        there = overlap_map(items, SHAPE) > 0
        expected = [bool((full(item) & there).any()) for item in items]
        assert overlapping(find_overlaps(items), len(items)).tolist() == expected

    def test_a_wider_type_only_where_it_is_needed(self):
        one, other = solid(0, 0, 2, 3), solid(3, 4, 5, 6)
        assert overlap_map([one] * 255, SHAPE).dtype == np.uint8
        assert overlap_map([one, *[other] * 255], SHAPE).dtype == np.uint8
        high = overlap_map([one] * 300, SHAPE)
        assert (high.dtype, high.max()) == (np.uint16, 300)

    def test_an_object_outside_the_image_is_refused(self):
        with pytest.raises(ValueError, match="outside an image"):
            overlap_map([solid(0, 0, 8, 3)], SHAPE)

    def test_no_pairs_no_overlapping_objects(self):
        none = Overlaps(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.int64))
        assert overlapping(none, 3).tolist() == [False] * 3


@given(answers())
def test_as_many_objects_overlap_as_comparing_every_pair_finds(items):
    full = [np.zeros(SHAPE, bool) for _ in items]
    for mask, item in zip(full, items, strict=True):
        mask[item.box.slices] = item.mask
    expected = sum(
        any((one & other).any() for j, other in enumerate(full) if j != i)
        for i, one in enumerate(full)
    )
    assert count_overlapping(items) == expected
