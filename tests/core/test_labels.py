import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.labels import OVERLAP_RULES, paint

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
        assert squares((0.9, *LARGE), (0.2, *SMALL)).to_labels()[3, 4] == 1
        assert squares((0.2, *SMALL), (0.9, *LARGE)).to_labels()[3, 4] == 2

    def test_of_equal_scores_the_smaller_lies_on_top(self):
        assert squares((0.5, *LARGE), (0.5, *SMALL)).to_labels()[3, 4] == 2
        assert squares((0.5, *SMALL), (0.5, *LARGE)).to_labels()[3, 4] == 1

    def test_without_all_scores_the_smallest_lies_on_top(self):
        assert squares((0.9, *LARGE), (None, *SMALL)).to_labels()[3, 4] == 2
        assert squares((None, *SMALL), (None, *LARGE)).to_labels()[3, 4] == 1

    def test_the_smallest_lies_on_top_whatever_the_scores(self):
        assert squares((0.9, *LARGE), (0.2, *SMALL)).to_labels("smallest")[3, 4] == 2

    def test_the_first_lies_on_top(self):
        assert squares((0.1, *LARGE), (0.9, *SMALL)).to_labels("first")[3, 4] == 1

    def test_of_twins_the_first_lies_on_top_under_every_rule(self):
        for rule in OVERLAP_RULES:
            assert squares((0.5, *SMALL), (0.5, *SMALL)).to_labels(rule)[3, 4] == 1

    def test_an_unknown_rule_is_refused(self):
        with pytest.raises(ValueError, match="score, smallest, first"):
            squares().top_first("last")


class TestToLabels:
    @given(scored, st.sampled_from(OVERLAP_RULES))
    def test_every_pixel_shows_the_topmost_of_its_objects(self, full_and_scores, rule):
        full, scores = full_and_scores
        found = Instances.from_masks(full, scores, image_shape=SHAPE)
        labels = found.to_labels(rule)
        depth = {item: position for position, item in enumerate(found.top_first(rule))}
        for row, col in np.ndindex(SHAPE):
            here = [index for index, mask in enumerate(full) if mask[row, col]]
            expected = min(here, key=depth.get) + 1 if here else 0
            assert labels[row, col] == expected

    def test_the_type_is_as_small_as_the_labels_allow(self):
        assert squares().to_labels().dtype == np.uint16
        assert squares((None, *SMALL)).to_labels(dtype=np.uint8).dtype == np.uint8

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
            Instances((1, 2), (item,) * 256).to_labels(dtype=np.uint8)


class TestPaint:
    def test_of_several_that_share_a_pixel_the_first_shows(self):
        canvas = np.array([[0, 0, 0, 0, 7]])
        masks = [
            (1, Box(0, 1, 1, 3), np.ones((1, 2), bool)),
            (2, Box(0, 0, 1, 4), np.ones((1, 4), bool)),
        ]
        paint(canvas, masks)
        assert canvas.tolist() == [[2, 1, 1, 2, 7]]

    def test_what_lies_outside_of_the_canvas_is_left_out(self):
        canvas = np.zeros((2, 3), np.uint8)
        mask = np.array([[1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]], bool)
        paint(canvas, [(4, Box(5, 7, 8, 11), mask), (9, Box(0, 0, 3, 4), mask)], Box(6, 8, 8, 11))
        assert canvas.tolist() == [[4, 0, 4], [4, 4, 0]]
