import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.labels import OVERLAP_RULES, bottom_to_top, count_overlapping, to_labels

SHAPE = (6, 10)
masks = st.lists(hnp.arrays(bool, SHAPE).filter(np.any), max_size=6)
scored = masks.flatmap(
    lambda full: st.tuples(
        st.just(full),
        st.lists(
            st.none() | st.sampled_from([0.1, 0.5, 0.9]), min_size=len(full), max_size=len(full)
        ),
    )
)


def squares(*scored_corners):
    items = []
    for score, *corners in scored_corners:
        box = Box(*corners)
        items.append(Instance(np.ones(box.shape, bool), box, score))
    return Instances(SHAPE, tuple(items))


LARGE, SMALL = (0, 0, 4, 6), (2, 3, 5, 7)


class TestRules:
    def test_the_highest_score_lies_on_top(self):
        assert to_labels(squares((0.9, *LARGE), (0.2, *SMALL)))[3, 4] == 1
        assert to_labels(squares((0.2, *SMALL), (0.9, *LARGE)))[3, 4] == 2

    def test_of_equal_scores_the_smaller_lies_on_top(self):
        assert to_labels(squares((0.5, *LARGE), (0.5, *SMALL)))[3, 4] == 2
        assert to_labels(squares((0.5, *SMALL), (0.5, *LARGE)))[3, 4] == 1

    def test_without_all_scores_the_smallest_lies_on_top(self):
        assert to_labels(squares((0.9, *LARGE), (None, *SMALL)))[3, 4] == 2
        assert to_labels(squares((None, *SMALL), (None, *LARGE)))[3, 4] == 1

    def test_the_smallest_lies_on_top_whatever_the_scores(self):
        assert to_labels(squares((0.9, *LARGE), (0.2, *SMALL)), "smallest")[3, 4] == 2

    def test_the_first_lies_on_top(self):
        assert to_labels(squares((0.1, *LARGE), (0.9, *SMALL)), "first")[3, 4] == 1

    def test_of_twins_the_first_lies_on_top_under_every_rule(self):
        for rule in OVERLAP_RULES:
            assert to_labels(squares((0.5, *SMALL), (0.5, *SMALL)), rule)[3, 4] == 1

    def test_an_unknown_rule_is_refused(self):
        with pytest.raises(ValueError, match="score, smallest, first"):
            bottom_to_top(squares(), "last")


class TestToLabels:
    @given(scored, st.sampled_from(OVERLAP_RULES))
    def test_every_pixel_shows_the_topmost_of_its_objects(self, full_and_scores, rule):
        full, scores = full_and_scores
        found = Instances.from_masks(full, scores, image_shape=SHAPE)
        labels = found.to_labels(rule)
        height = {item: position for position, item in enumerate(bottom_to_top(found, rule))}
        for row, col in np.ndindex(SHAPE):
            here = [index for index, mask in enumerate(full) if mask[row, col]]
            expected = max(here, key=height.get) + 1 if here else 0
            assert labels[row, col] == expected

    def test_the_type_is_as_small_as_the_labels_allow(self):
        assert to_labels(squares()).dtype == np.uint16
        assert to_labels(squares((None, *SMALL)), dtype=np.uint8).dtype == np.uint8

    def test_the_256th_object_has_a_label_of_its_own(self):
        items = tuple(Instance(np.ones((1, 1), bool), Box(0, i, 1, i + 1)) for i in range(300))
        labels = Instances((1, 300), items).to_labels()
        np.testing.assert_array_equal(labels[0], np.arange(1, 301))

    def test_past_65535_objects_labels_have_32_bits(self):
        item = Instance(np.ones((1, 1), bool), Box(0, 0, 1, 1))
        labels = Instances((1, 2), (item,) * 65536).to_labels("first")
        assert labels.dtype == np.uint32
        assert labels.tolist() == [[1, 0]]

    def test_a_type_that_cannot_hold_the_labels_is_refused(self):
        item = Instance(np.ones((1, 1), bool), Box(0, 0, 1, 1))
        with pytest.raises(ValueError, match="do not fit"):
            to_labels(Instances((1, 2), (item,) * 256), dtype=np.uint8)


class TestCountOverlapping:
    @given(masks, st.sampled_from(OVERLAP_RULES))
    def test_equals_comparing_every_pair(self, full, rule):
        found = Instances.from_masks(full, image_shape=SHAPE)
        expected = sum(
            any((one & other).any() for j, other in enumerate(full) if j != i)
            for i, one in enumerate(full)
        )
        assert count_overlapping(found) == expected
        assert count_overlapping(found, found.to_labels(rule)) == expected

    def test_neighbours_do_not_overlap(self):
        assert count_overlapping(squares((None, 0, 0, 3, 4), (None, 0, 4, 3, 8))) == 0
