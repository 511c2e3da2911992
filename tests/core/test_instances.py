import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances, common_area

masks = hnp.arrays(
    bool,
    st.tuples(st.integers(1, 9), st.integers(1, 26)),
    elements=st.sampled_from([False, False, False, False, True]),
)


def square(score, *corners):
    box = Box(*corners)
    return Instance(np.ones(box.shape, bool), box, score)


class TestInstance:
    def test_mask_and_box_must_fit(self):
        with pytest.raises(ValueError, match="bool mask of shape"):
            Instance(np.ones((2, 3), bool), Box(0, 0, 3, 2))
        with pytest.raises(ValueError, match="bool mask of shape"):
            Instance(np.ones((2, 3), np.uint8), Box(0, 0, 2, 3))

    def test_is_cropped_from_any_kind_of_mask_and_keeps_no_view_of_it(self):
        mask = np.zeros((9, 12), np.uint8)
        mask[2:4, 5:9] = 7
        item = Instance.from_mask(mask, 0.5, "nucleus")
        assert (item.box, item.score, item.concept, item.area) == (
            Box(2, 5, 4, 9), 0.5, "nucleus", 8,
        )  # fmt: skip
        assert Instance.from_mask(mask.astype(bool)).mask.base is None
        assert Instance.from_mask(np.zeros((3, 4))) is None

    @given(
        hnp.arrays(bool, (5, 9)),
        st.tuples(st.integers(-3, 7), st.integers(-3, 11)),
        st.tuples(st.integers(1, 9), st.integers(1, 14)),
    )
    def test_the_pixels_in_a_window_are_those_of_the_image(self, mask, corner, sides):
        wide = np.pad(mask, 20)
        window = Box(*corner, corner[0] + sides[0], corner[1] + sides[1])
        expected = wide[window.shifted(20, 20).slices]
        item = Instance.from_mask(mask)
        if item is not None:
            np.testing.assert_array_equal(item.in_window(window), expected)
        part = Instance.from_mask(expected, window=window)
        if part is None:
            assert not expected.any()
        else:
            np.testing.assert_array_equal(part.in_window(window), expected)
            assert part.box.intersection(window) == part.box

    def test_a_shift_moves_the_box_and_keeps_the_rest(self):
        item = square(0.5, 1, 2, 3, 5).shifted(10, -2)
        assert (item.box, item.score, item.mask.shape) == (Box(11, 0, 13, 3), 0.5, (2, 3))

    def test_its_pixels_are_counted_once(self, monkeypatch):
        item = square(0.5, 1, 2, 3, 5)
        assert item.area == 6
        with monkeypatch.context() as patch:
            patch.setattr(np, "count_nonzero", None)
            assert item.area == 6
            assert [copied.area for copied in (copy.copy(item), copy.deepcopy(item))] == [6, 6]
            assert pickle.loads(pickle.dumps(item)).area == 6
        assert "_area" not in repr(item)

    @pytest.mark.parametrize("counted_before", [False, True])
    def test_what_is_made_of_it_has_an_area_of_its_own(self, counted_before):
        item = square(0.5, 1, 2, 3, 5)
        assert not counted_before or item.area == 6
        corner = np.array([[True, False, False], [True, True, False]])
        assert replace(item, mask=corner).area == 3
        assert replace(item, score=0.1).area == item.shifted(4, 4).area == 6
        assert item.clipped((2, 4)).area == 2
        restored = pickle.loads(pickle.dumps(item))
        assert (restored.area, copy.deepcopy(item).area) == (6, 6)
        assert (restored.box, restored.score) == (item.box, 0.5)

    @given(masks, st.integers(-12, 12), st.integers(-12, 12))
    def test_clipping_keeps_what_is_inside(self, mask, row, col):
        shape = (8, 11)
        item = Instance(mask, Box(row, col, row + mask.shape[0], col + mask.shape[1]))
        clipped = item.clipped(shape)
        expected = np.zeros((40, 60), bool)
        expected[row + 12 : row + 12 + mask.shape[0], col + 12 : col + 12 + mask.shape[1]] = mask
        expected = expected[12:20, 12:23]
        shown = np.zeros(shape, bool)
        if clipped is not None:
            shown[clipped.box.slices] = clipped.mask
        np.testing.assert_array_equal(shown, expected)


class TestInstances:
    def test_outside_of_the_image_there_is_none(self):
        with pytest.raises(ValueError, match="lies outside"):
            Instances((4, 9), (square(None, 2, 2, 5, 5),))

    def test_is_a_sequence(self):
        items = square(None, 0, 0, 1, 1), square(None, 1, 1, 2, 2)
        found = Instances((4, 9), items)
        assert len(found) == 2
        assert found[1] is items[1]
        assert list(found) == list(items)

    @given(st.lists(masks.map(lambda mask: np.resize(mask, (6, 10))), max_size=5))
    def test_full_masks_come_back_from_the_crops(self, full):
        found = Instances.from_masks(full, image_shape=(6, 10))
        kept = [mask for mask in full if mask.any()]
        assert len(found) == len(kept)
        for item, mask in zip(found, kept, strict=True):
            shown = np.zeros((6, 10), bool)
            shown[item.box.slices] = item.mask
            np.testing.assert_array_equal(shown, mask)

    @given(hnp.arrays(np.int32, (7, 11), elements=st.sampled_from([-3, 0, 1, 2, 500])))
    def test_labels_come_back_renumbered(self, labels):
        found = Instances.from_labels(labels)
        values = np.unique(labels[labels > 0])
        expected = np.where(labels > 0, np.searchsorted(values, labels) + 1, 0)
        np.testing.assert_array_equal(found.to_labels(), expected)

    def test_scores_go_with_their_masks_past_empty_ones(self):
        full = np.zeros((3, 4, 9), bool)
        full[0, 1, 2] = full[2, 3, 4] = True
        found = Instances.from_masks(full, [0.1, 0.2, None], concept="spot")
        assert [item.score for item in found] == [0.1, None]
        assert {item.concept for item in found} == {"spot"}

    def test_masks_may_be_made_one_at_a_time(self):
        found = Instances.from_masks(np.eye(4, 9, k) > 0 for k in range(3))
        assert [item.area for item in found] == [4, 4, 4]

    @pytest.mark.parametrize(
        ("full", "scores", "word"),
        [
            ([np.ones((2, 3)), np.ones((3, 2))], None, "among masks"),
            ([np.ones((2, 3))], [0.1, 0.2], "2 scores for 1"),
            ([np.ones((2, 3))] * 2, [0.1], "1 scores for 2"),
            ([], None, "image_shape"),
        ],
    )
    def test_masks_that_do_not_fit_together_are_refused(self, full, scores, word):
        with pytest.raises(ValueError, match=word):
            Instances.from_masks(full, scores)


scores = st.lists(st.none() | st.floats(0, 1), max_size=7)


class TestChoosing:
    def found(self, scores):
        return Instances((9, 9), tuple(square(s, i, i, i + 1, i + 1) for i, s in enumerate(scores)))

    @given(scores, st.floats(0, 1))
    def test_a_threshold_is_respected_and_spares_what_has_no_score(self, scores, least):
        kept = self.found(scores).at_least(least)
        assert [i.score for i in kept] == [s for s in scores if s is None or s >= least]

    @given(scores, st.integers(0, 9))
    def test_the_best_are_kept_in_their_order(self, scores, count):
        found = self.found(scores)
        kept = found.best(count)
        assert len(kept) == (min(count, len(found)) if count else len(found))
        tops = [item.box.top for item in kept]
        assert tops == sorted(tops)
        worth = {id(i): -1 if i.score is None else i.score for i in found}
        left_out = [worth[id(i)] for i in found if all(i is not k for k in kept)]
        assert all(worth[id(k)] >= w for k in kept for w in left_out)

    def test_of_equal_scores_the_first_are_kept(self):
        assert [i.box.top for i in self.found([0.5, 0.5, 0.5]).best(2)] == [0, 1]


placed = st.tuples(masks.filter(np.any), st.integers(0, 12), st.integers(0, 30))


@given(placed, placed)
def test_what_two_instances_share_is_counted_wherever_they_lie(one, two):
    full = np.zeros((2, 40, 80), int)
    items = []
    for plane, (mask, row, col) in zip(full, (one, two), strict=True):
        plane[row : row + mask.shape[0], col : col + mask.shape[1]] = mask
        items.append(Instance.from_mask(plane > 0))
    assert common_area(*items) == common_area(*items[::-1]) == (full[0] * full[1]).sum()
