import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.doubt import compactness, doubts, rank_doubtful, touches_border
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance

NONE = float("nan")
SHAPE = (20, 30)


@st.composite
def known(draw):
    n = draw(st.integers(0, 9))
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    scores = st.sampled_from([NONE, 0.2, 0.4, 0.9])
    areas = st.sampled_from([1, 90, 100, 110, 100, 5000])
    compact = st.sampled_from([0.1, 0.78, 0.8, 0.8, 1.0])
    lists = [draw(st.lists(s, min_size=n, max_size=n)) for s in (scores, areas, compact)]
    return [*lists, draw(flags), draw(flags)]


def plain(n, **other):
    """Return what is known of `n` objects without a score of which nothing is special."""
    values = {"scores": NONE, "areas": 100, "shapes": 0.8, "border": False, "overlaps": False}
    columns = {name: [value] * n for name, value in values.items()}
    for name, at in other.items():
        for index, value in at.items():
            columns[name][index] = value
    return list(columns.values())


def main_reason(columns, index):
    """Return an object's score, and the kind of what counts most besides."""
    score = str(columns[0][index])
    parts = doubts(*columns)[index].split(", ")[score != "nan" :]
    parts = ["unusual size" if part.startswith("unusually") else part for part in parts]
    return score, *parts[:1]


class TestRank:
    @given(known())
    def test_every_object_has_one_place(self, columns):
        assert sorted(rank_doubtful(*columns).tolist()) == list(range(len(columns[0])))

    @given(known())
    def test_scores_rise(self, columns):
        scores = np.array(columns[0], float)[rank_doubtful(*columns)]
        assert (np.diff(scores[~np.isnan(scores)]) >= 0).all()

    @given(known(), st.randoms(use_true_random=False))
    def test_only_among_equals_does_the_order_of_the_objects_matter(self, columns, random):
        places = list(range(len(columns[0])))
        random.shuffle(places)
        shuffled = [[column[place] for place in places] for column in columns]
        one = [main_reason(columns, index) for index in rank_doubtful(*columns)]
        assert [main_reason(shuffled, index) for index in rank_doubtful(*shuffled)] == one

    @given(known())
    def test_of_those_without_a_score_the_clear_ones_come_last(self, columns):
        reasons = doubts(*columns)
        ranked = [bool(reasons[i]) for i in rank_doubtful(*columns)]
        assert ranked == sorted(ranked, reverse=True)

    def test_size_counts_more_than_shape_border_and_overlap(self):
        columns = plain(
            9,
            overlaps={1: True, 7: True},
            border={2: True, 7: True},
            shapes={3: 0.2, 5: 0.1},
            areas={4: 5000, 8: 1},
        )
        assert rank_doubtful(*columns).tolist() == [8, 4, 5, 3, 2, 7, 1, 0, 6]

    def test_without_a_score_a_reason_weighs_as_much_as_a_score_of_one_half(self):
        columns = plain(6, scores={0: 0.9, 1: 0.4, 2: 0.6}, border={4: True})
        assert rank_doubtful(*columns).tolist() == [1, 4, 2, 0, 3, 5]

    def test_even_the_best_score_comes_before_what_is_clear_without_one(self):
        assert rank_doubtful(*plain(3, scores={2: 1.0})).tolist() == [2, 0, 1]

    def test_equals_stay_in_order(self):
        assert rank_doubtful(*plain(6)).tolist() == [0, 1, 2, 3, 4, 5]
        assert rank_doubtful(*plain(3, scores=dict.fromkeys(range(3), 0.5))).tolist() == [0, 1, 2]

    def test_among_a_few_objects_none_is_unusual(self):
        assert rank_doubtful(*plain(4, areas={3: 10_000})).tolist() == [0, 1, 2, 3]

    def test_a_few_pixels_more_than_twins_are_not_unusual(self):
        assert rank_doubtful(*plain(30, areas={7: 110})).tolist() == list(range(30))


class TestDoubts:
    def test_all_reasons_are_named_in_order(self):
        columns = plain(
            8,
            scores={0: 0.523},
            areas={1: 5000, 2: 2},
            shapes={3: 0.1},
            border={0: True, 4: True},
            overlaps={4: True, 5: True},
        )
        assert doubts(*columns) == [
            "score 0.52, touches the edge",
            "unusually large",
            "unusually small",
            "unusual shape",
            "touches the edge, overlaps another",
            "overlaps another",
            "",
            "",
        ]

    @pytest.mark.parametrize(("apart", "is_unusual"), [(0.51, False), (0.53, True)])
    def test_unusual_is_a_modified_z_score_of_three_and_a_half(self, apart, is_unusual):
        # the median is 0.5, the MAD 0.1: 3.5 · 0.1 / 0.6745 = 0.519
        for far in (0.5 - apart, 0.5 + apart):
            columns = plain(7, shapes=dict(enumerate([0.4, 0.4, 0.5, 0.5, 0.6, 0.6, far])))
            assert (doubts(*columns)[6] == "unusual shape") is is_unusual
            assert (rank_doubtful(*columns).tolist()[0] == 6) is is_unusual

    @pytest.mark.parametrize(("apart", "is_unusual"), [(0.25, False), (0.27, True)])
    def test_among_twins_it_is_as_if_their_mad_were_a_twentieth(self, apart, is_unusual):
        columns = plain(7, shapes={6: 0.8 - apart}, areas={5: 100 * np.exp(apart)})
        words = ("unusual shape", "unusually large") if is_unusual else ("", "")
        assert (doubts(*columns)[6], doubts(*columns)[5]) == words

    def test_five_objects_are_enough_to_be_unusual_among(self):
        assert doubts(*plain(4, areas={3: 10_000}))[3] == ""
        assert doubts(*plain(5, areas={3: 10_000}))[3] == "unusually large"

    @given(known())
    def test_each_object_has_its_words(self, columns):
        assert len(doubts(*columns)) == len(columns[0])


def drawn(condition):
    rows, cols = np.mgrid[-40:41, -50:51]
    return Instance.from_mask(condition(rows, cols))


class TestCompactness:
    def test_a_disc_is_compact_a_ring_and_a_rod_are_not(self):
        disc = drawn(lambda r, c: r**2 + c**2 < 30**2)
        ring = drawn(lambda r, c: (r**2 + c**2 < 30**2) & (r**2 + c**2 > 20**2))
        rod = drawn(lambda r, c: (abs(r) < 4) & (abs(c) < 40))
        values = compactness([disc, ring, rod])
        assert values[0] > 0.97
        assert (values[1:] < 0.4).all()

    @pytest.mark.parametrize("angle", [0, 10, 22.5, 30, 45, 70, 90])
    def test_a_square_is_about_as_compact_at_any_angle(self, angle):
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        square = drawn(
            lambda r, c: (abs(r * cos - c * sin) < 20.2) & (abs(r * sin + c * cos) < 20.2)
        )
        assert compactness([square])[0] == pytest.approx(0.81, abs=0.08)

    @given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 12))))
    def test_stays_between_zero_and_one_and_does_not_depend_on_the_crop(self, mask):
        rows, cols = mask.shape
        padded = np.pad(mask, ((2, 1), (0, 3)))
        tight = Instance(mask, Box(0, 0, rows, cols))
        wide = Instance(padded, Box(0, 0, *padded.shape))
        turned = Instance(mask.T.copy(), Box(0, 0, cols, rows))
        one, other, third = compactness([tight, wide, turned])
        assert one == other == third
        assert 0 <= one <= 1
        assert (one > 0) == mask.any()

    def test_of_nothing_there_is_none(self):
        assert compactness([]).shape == (0,)


@given(st.integers(0, 18), st.integers(0, 28), st.integers(1, 9), st.integers(1, 9))
def test_a_box_touches_the_border_where_it_holds_a_pixel_of_it(top, left, rows, cols):
    box = Box(top, left, min(top + rows, SHAPE[0]), min(left + cols, SHAPE[1]))
    border = np.ones(SHAPE, bool)
    border[1:-1, 1:-1] = False
    assert touches_border([box], SHAPE).tolist() == [border[box.slices].any()]


def test_no_boxes_touch_nothing():
    assert touches_border([], SHAPE).tolist() == []
