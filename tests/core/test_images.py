import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.contrast import auto_contrast_limits
from napari_sam3.core.images import to_rgb8, to_uint8
from napari_sam3.errors import ImageError

SMALL_INTS = [np.uint8, np.int8, np.uint16, np.int16]
WIDE_INTS = [np.uint32, np.int32, np.uint64, np.int64]
FLOATS = [np.float16, np.float32, np.float64, np.longdouble]


def naive(plane, low, high, gamma=1.0):
    level = np.clip((plane.astype(np.float64) - low) / (high - low), 0, 1)
    return 255 * level**gamma


class TestToUint8:
    def test_limits_become_black_and_white_and_the_rest_is_clipped(self):
        shown = to_uint8(np.array([[0, 100, 150], [200, 201, 9000]], np.uint16), (100, 200))
        assert shown.tolist() == [[0, 0, 128], [255, 255, 255]]
        assert shown.dtype == np.uint8

    @pytest.mark.parametrize("dtype", [*SMALL_INTS, *WIDE_INTS, *FLOATS])
    def test_every_real_type_gives_the_same_grey_levels(self, dtype):
        plane = np.array([[0, 10, 20, 30], [40, 50, 60, 127]]).astype(dtype)
        expected = [[0, 0, 51, 102], [153, 204, 255, 255]]
        assert to_uint8(plane, (10, 60)).tolist() == expected

    @pytest.mark.parametrize("dtype", SMALL_INTS)
    def test_large_planes_go_through_the_table_and_small_ones_do_not_but_look_the_same(self, dtype):
        info = np.iinfo(dtype)
        values = np.arange(info.min, info.max + 1).astype(dtype)
        large = values.reshape(-1, 64)
        limits = (info.min / 3, info.max / 2)
        by_table = to_uint8(large, limits, 0.7)
        in_parts = [to_uint8(large[row : row + 1], limits, 0.7) for row in range(len(large))]
        np.testing.assert_array_equal(by_table, np.concatenate(in_parts))

    @pytest.mark.parametrize("dtype", [">u2", ">i2", ">f4"])
    def test_byte_order_does_not_matter(self, dtype):
        plane = np.linspace(-30000 if "i" in dtype else 0, 30000, 300 * 260).reshape(300, 260)
        swapped = plane.astype(dtype)
        native = swapped.astype(np.dtype(dtype).newbyteorder("="))
        np.testing.assert_array_equal(
            to_uint8(swapped, (-100, 20000)), to_uint8(native, (-100, 20000))
        )

    def test_a_mask_is_black_and_white(self):
        assert to_uint8([[False, True]], (0, 1)).tolist() == [[0, 255]]

    def test_gamma_below_one_brightens(self):
        shown = to_uint8(np.array([[0.0, 0.25, 1.0]]), (0, 1), 0.5)
        assert shown.tolist() == [[0, 128, 255]]

    def test_inverted_planes_are_bright_where_values_are_low_but_nan_stays_black(self):
        shown = to_uint8(np.array([[0.0, 0.2, 1.0, np.nan]]), (0, 1), inverted=True)
        assert shown.tolist() == [[255, 204, 0, 0]]

    def test_nan_and_infinity_have_grey_levels_without_a_warning(self):
        plane = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert to_uint8(plane, (0, 1)).tolist() == [[0, 255, 0, 128]]

    def test_limits_that_are_no_single_precision_numbers_count_to_the_last_digit(self):
        plane = np.array([[1e6, 1e6 + 0.0625, 1e6 + 0.1875]], np.float32)
        low, high = 1e6 + 0.05, 1e6 + 0.2
        expected = np.rint(naive(plane, low, high)).astype(int).tolist()
        assert to_uint8(plane, (low, high)).tolist() == expected == [[0, 21, 234]]

    def test_equal_limits_part_black_from_white(self):
        assert to_uint8([[4, 5, 6]], (5, 5)).tolist() == [[0, 0, 255]]

    def test_limits_that_span_all_floats_do_not_overflow(self):
        largest = float(np.finfo(np.float64).max)
        shown = to_uint8([[-largest, 0.0, largest]], (-largest, largest))
        assert shown.tolist() == [[0, 128, 255]]

    def test_the_largest_64_bit_integers_are_told_apart_from_small_ones(self):
        plane = np.array([[0, 2**63, 2**64 - 1]], np.uint64)
        assert to_uint8(plane, (0, 2**64)).tolist() == [[0, 128, 255]]

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
    def test_read_only_and_strided_planes_work_and_are_left_alone(self, dtype):
        whole = np.arange(600 * 500).reshape(600, 500).astype(dtype)
        whole.flags.writeable = False
        before = whole.copy()
        for view in (whole[::-2, 3::2], whole.T, whole[:, ::-1]):
            np.testing.assert_array_equal(
                to_uint8(view, (0, 9000)), to_uint8(view.copy(), (0, 9000))
            )
        np.testing.assert_array_equal(whole, before)

    def test_the_answer_is_never_a_view_of_the_plane(self):
        plane = np.full((30, 20), 7, np.uint8)
        assert not np.shares_memory(to_uint8(plane, (0, 255)), plane)

    def test_memory_beside_the_answer_is_bounded(self):
        plane = np.zeros((3000, 2000), np.float32)
        tracemalloc.start()
        try:
            shown = to_uint8(plane, (0, 1), 0.5)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < shown.nbytes + 16 * 2**20

    @pytest.mark.parametrize(
        ("plane", "word"),
        [
            (np.zeros((2, 3), complex), "complex"),
            (np.array([["a", "b"]]), "real numbers"),
            (np.array([[None, object()]]), "real numbers"),
            (np.zeros((2, 3), "datetime64[s]"), "real numbers"),
            ([[1, 2], [3]], "differ in length"),
            (np.zeros((0, 5)), "empty"),
            (np.zeros((2, 3, 4)), "rows, cols"),
        ],
    )
    def test_what_is_no_gray_plane_is_refused_with_a_sentence(self, plane, word):
        with pytest.raises(ImageError, match=word):
            to_uint8(plane, (0, 1))

    @pytest.mark.parametrize("limits", [(2, 1), (np.nan, 1), (0, np.inf)])
    def test_limits_that_do_not_rise_are_refused(self, limits):
        with pytest.raises(ImageError, match="contrast limits"):
            to_uint8([[1, 2]], limits)

    @pytest.mark.parametrize("gamma", [0, -1, np.nan])
    def test_gamma_must_be_positive(self, gamma):
        with pytest.raises(ImageError, match="Gamma"):
            to_uint8([[1, 2]], (0, 1), gamma)


planes = hnp.arrays(
    st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=7),
    elements={"allow_nan": False, "min_value": 0, "max_value": 120},
)
limits = st.tuples(st.floats(-200, 200), st.floats(0.5, 300)).map(lambda v: (v[0], v[0] + v[1]))


class TestAnyPlane:
    @given(planes, limits, st.floats(0.2, 2.0))
    def test_shows_what_the_plain_formula_gives(self, plane, limits, gamma):
        shown = to_uint8(plane, limits, gamma)
        assert np.abs(shown - naive(plane, *limits, gamma)).max() <= 1

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
    @given(st.floats(-1000, 1000), st.floats(0.3, 600), st.floats(0.01, 90), st.booleans())
    def test_is_rounded_from_the_plain_formula_in_every_precision(
        self, dtype, low, width, gamma, inverted
    ):
        values = np.linspace(low - width / 9, low + 10 / 9 * width, 700).reshape(28, 25)
        plane = values.astype(dtype)
        shown = to_uint8(plane, (low, low + width), gamma, inverted=inverted)
        exact = naive(plane, low, low + width, gamma)
        assert np.abs(shown - (255 - exact if inverted else exact)).max() < 0.56

    @given(planes, limits)
    def test_keeps_the_order_of_values(self, plane, limits):
        levels = to_uint8(np.sort(plane, axis=None)[np.newaxis], limits).astype(int)
        assert (np.diff(levels) >= 0).all()

    @given(planes, limits, st.data())
    def test_a_value_has_the_same_grey_level_whatever_surrounds_it(self, plane, limits, data):
        row = data.draw(st.integers(0, plane.shape[0] - 1))
        col = data.draw(st.integers(0, plane.shape[1] - 1))
        large = np.full((260, 256), 3, plane.dtype)
        large[5, 7] = plane[row, col]
        alone = to_uint8(plane[row : row + 1, col : col + 1], limits)
        assert to_uint8(plane, limits)[row, col] == alone[0, 0] == to_uint8(large, limits)[5, 7]

    @given(
        hnp.arrays(
            st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint16]),
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        )
    )
    def test_has_rising_limits_of_its_own_that_can_be_used(self, plane):
        low, high = auto_contrast_limits(plane)
        assert low < high
        assert to_uint8(plane, (low, high)).shape == plane.shape


class TestToRgb8:
    def test_gray_is_a_read_only_view_of_one_byte_per_pixel(self):
        rgb = to_rgb8(np.arange(6, dtype=np.uint8).reshape(2, 3))
        assert rgb.shape == (2, 3, 3)
        assert rgb.strides[2] == 0
        assert not rgb.flags.writeable
        assert rgb[1, 2].tolist() == [5, 5, 5]

    def test_gray_follows_limits_and_gamma(self):
        rgb = to_rgb8(np.array([[0.0, 5.0, 10.0]]), (0, 10), 2.0)
        assert rgb[0, :, 1].tolist() == [0, 64, 255]

    def test_8_bit_rgb_stays_as_it_is(self):
        image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
        np.testing.assert_array_equal(to_rgb8(image), image)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.int32, np.float32])
    def test_colours_follow_limits_and_gamma_as_gray_does(self, dtype):
        image = np.array([[[0, 10, 15], [20, 25, 40]]], dtype)
        linear, bent = to_rgb8(image, (10, 20)), to_rgb8(image, (10, 20), 2.0)
        assert linear.tolist() == [[[0, 0, 128], [255, 255, 255]]]
        assert bent.tolist() == [[[0, 0, 64], [255, 255, 255]]]

    @pytest.mark.parametrize("dtype", [np.uint16, np.float32])
    def test_colours_of_other_types_than_8_bit_have_limits_found_for_all_of_them(self, dtype):
        image = np.full((40, 60, 3), (100, 300, 200)).astype(dtype)
        image[5:9, 7:20] = 65535, 0, 0
        image[0, 0] = 500, 0, 0
        expected = to_rgb8(image, (0, 65535))
        np.testing.assert_array_equal(to_rgb8(image), expected)
        image[5:9, 7:20] = 500, 0, 0
        assert to_rgb8(image)[20, 30].tolist() == [51, 153, 102]

    def test_alpha_has_limits_of_its_own(self):
        long = np.array([[[0, 600, 1000, 32768], [1000, 1000, 0, 65535]]], np.uint16)
        assert to_rgb8(long).tolist() == [[[0, 77, 128], [255, 255, 0]]]
        floats = long / np.array([1, 1, 1, 65535.0])
        assert to_rgb8(floats).tolist() == [[[0, 77, 128], [255, 255, 0]]]

    def test_colours_that_are_no_number_are_black(self):
        assert to_rgb8(np.array([[[np.nan, 0.0, 1.0]]])).tolist() == [[[0, 0, 255]]]

    def test_boolean_rgb_is_pure_colours(self):
        assert to_rgb8(np.array([[[True, False, True]]])).tolist() == [[[255, 0, 255]]]

    def test_rgb_follows_gamma(self):
        image = np.array([[[0, 64, 255]]], np.uint8)
        assert to_rgb8(image, gamma=0.5).tolist() == [[[0, 128, 255]]]

    def test_alpha_lies_over_black(self):
        image = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], np.uint8)
        assert to_rgb8(image).tolist() == [[[200, 100, 50], [0, 0, 0], [40, 20, 10]]]

    def test_three_axes_are_colours_only_if_the_last_has_3_or_4_entries(self):
        assert to_rgb8(np.zeros((10, 64, 4), np.uint8)).shape == (10, 64, 3)
        with pytest.raises(ImageError, match="choose one plane"):
            to_rgb8(np.zeros((10, 64, 5), np.uint8))

    @pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 3), ()])
    def test_other_axes_are_refused_with_the_advice_to_choose_a_plane(self, shape):
        with pytest.raises(ImageError, match="choose one plane"):
            to_rgb8(np.zeros(shape, np.uint8))

    @pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 4, 3)])
    def test_an_empty_image_is_called_empty(self, shape):
        with pytest.raises(ImageError, match="empty"):
            to_rgb8(np.zeros(shape, np.uint8))

    def test_a_single_pixel_is_an_image(self):
        assert to_rgb8(np.array([[9]], np.uint8)).tolist() == [[[9, 9, 9]]]
