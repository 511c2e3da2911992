"""Limits that show an image well."""

import numpy as np
import pytest

from napari_sam3.core.contrast import auto_contrast_limits, tight_contrast_limits
from napari_sam3.core.images import to_rgb8, to_uint8


class TestAutoContrastLimits:
    def test_8_bit_and_masks_have_their_full_range(self):
        assert auto_contrast_limits(np.array([[3, 9]], np.uint8)) == (0, 255)
        assert auto_contrast_limits(np.array([[True, True]])) == (0, 1)

    def test_one_hot_pixel_does_not_flatten_16_bit_data(self):
        plane = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80) % 1000
        plane[3, 5] = 65535
        shown = to_uint8(plane, auto_contrast_limits(plane))
        assert len(np.unique(shown)) > 200

    def test_twelve_bit_data_use_all_grey_levels(self):
        plane = np.arange(64 * 70, dtype=np.uint16).reshape(64, 70) % 4096
        assert len(np.unique(to_rgb8(plane))) > 250

    def test_few_pixels_are_all_shown(self):
        assert auto_contrast_limits(np.array([[2, 30, 7]], np.int32)) == (2, 30)

    def test_a_single_spot_on_plain_background_is_shown(self):
        plane = np.full((300, 200), 10.0)
        plane[7, 9] = 90
        assert auto_contrast_limits(plane) == (10, 90)

    def test_nan_and_infinity_do_not_count(self):
        plane = np.array([[np.nan, 1, 2, np.inf, 3, -np.inf]])
        assert auto_contrast_limits(plane) == (1, 3)

    @pytest.mark.parametrize("value", [0, -7.5, 3e4, 1e300, -1.7e308, 1.7e308])
    def test_a_constant_plane_lies_within_its_limits(self, value):
        low, high = auto_contrast_limits(np.full((4, 6), value))
        assert low <= value <= high
        assert low < high

    def test_an_all_nan_plane_is_black(self):
        plane = np.full((4, 6), np.nan, np.float32)
        assert to_rgb8(plane).max() == 0

    @pytest.mark.parametrize("shape", [(1, 3_000_000), (3_000_000, 1), (1500, 2000)])
    def test_large_planes_are_sampled_all_over(self, shape):
        plane = np.linspace(0, 1000, 3_000_000, dtype=np.float32).reshape(shape)
        low, high = auto_contrast_limits(plane)
        assert low == pytest.approx(1, abs=1)
        assert high == pytest.approx(999, abs=1)

    def test_spots_on_plain_background_are_shown_beside_a_hot_pixel(self):
        plane = np.full((600, 400), 10.0)
        plane[7:15, 9:19] = 90
        plane[100, 100] = 65535
        assert auto_contrast_limits(plane) == (10, 90)

    def test_colours_have_the_same_limits_and_alpha_does_not_count(self):
        image = np.zeros((60, 80, 4), np.uint16)
        image[..., 0], image[..., 1], image[..., 3] = 200, 900, 65535
        assert auto_contrast_limits(image) == (0, 900)

    def test_of_large_images_each_colour_is_sampled(self):
        image = np.zeros((1300, 1100, 3), np.float32)
        image[..., 1] = 5
        assert auto_contrast_limits(image) == (0, 5)

    def test_tight_limits_do_not_go_by_the_type(self):
        dim = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60) % 13
        assert auto_contrast_limits(dim) == (0, 255)
        assert tight_contrast_limits(dim) == (0, 12)
