"""Pictures in which there is nothing to see, and why."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3.core.blending import Overlay, compose
from napari_sam3.core.flatness import FLAT_LEVELS, Part, find_flatness, is_flat
from napari_sam3.core.images import to_rgb8
from napari_sam3.samples import fluorescence, histology, stack


def nuclei(shape=(240, 320), rise=1.0, *, noise=0.05):
    """Return twenty round things of height `rise` on a noisy ground, as floats."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    picture = np.random.default_rng(4).normal(0, noise, shape)
    for i in range(20):
        row, col = 30 + 60 * (i // 5), 35 + 60 * (i % 5)
        picture += np.clip(11 - np.hypot(rows - row, cols - col), 0, 1)
    return picture * rise


def levels(values):
    return to_rgb8(np.clip(np.rint(values), 0, 255).astype(np.uint8))


class TestIsFlat:
    @pytest.mark.parametrize("value", [0, 3, 128, 253, 255])
    def test_one_grey_level_is_flat(self, value):
        assert is_flat(levels(np.full((30, 50), value)))

    def test_nuclei_under_one_hot_pixel_are_flat_and_with_limits_of_their_own_they_are_not(self):
        values = (nuclei(rise=900) + 300).clip(0).astype(np.uint16)
        values[7, 9] = 65535
        assert is_flat(to_rgb8(values, (0, 65535)))
        assert not is_flat(to_rgb8(values))

    @pytest.mark.parametrize("rise", [FLAT_LEVELS + 2, 20, 200])
    def test_what_rises_by_more_levels_is_not_flat(self, rise):
        assert not is_flat(levels(20 + nuclei(rise=rise)))
        assert not is_flat(levels(230 - nuclei(rise=rise)))

    def test_noise_and_many_hot_pixels_are_flat(self):
        values = np.random.default_rng(1).normal(40, 0.9, (500, 700))
        values[::50, ::50] = 255
        values[:150, 333] = 255
        assert is_flat(levels(values))

    @pytest.mark.parametrize("radius", [1.5, 2, 4])
    @pytest.mark.parametrize("level", [FLAT_LEVELS + 1, 60, 255])
    def test_five_small_spots_on_a_large_black_ground_are_a_picture(self, radius, level):
        picture = np.zeros((4096, 4096), np.uint8)
        rows, cols = np.ogrid[:4096, :4096]
        for row, col in ((5, 9), (4000, 12), (2048, 2047), (300, 3500), (77, 1999)):
            near = np.s_[max(0, row - 9) : row + 9, max(0, col - 9) : col + 9]
            disc = np.hypot(rows[near[0]] - row, cols[:, near[1]] - col) <= radius
            picture[near][disc] = level
        assert not is_flat(to_rgb8(picture))

    def test_thin_lines_and_tiny_pictures_are_pictures(self):
        lines = np.zeros((200, 300))
        lines[::40] = 255
        assert not is_flat(levels(lines))
        assert not is_flat(levels(np.array([[0, 0, 0], [0, 0, 90]])))

    @pytest.mark.parametrize(("others", "flat"), [(1, True), (2, False)])
    def test_one_pixel_in_a_thousand_may_differ(self, others, flat):
        picture = np.full((20, 50), 40)
        picture[5, [10, 30][:others]] = 200
        assert is_flat(levels(picture)) is flat

    @pytest.mark.parametrize("channel", [0, 1, 2])
    def test_what_shows_in_one_colour_only_is_a_picture(self, channel):
        picture = np.full((400, 500, 3), 30, np.uint8)
        assert is_flat(picture)
        # too little to be more than the tails
        picture[10:15, 30:40, channel] = 50
        assert not is_flat(picture)

    def test_colours_without_a_grey_level_are_flat_too(self):
        assert is_flat(np.full((60, 90, 3), (200, 10, 30), np.uint8))

    @pytest.mark.parametrize("sample", [fluorescence, histology, stack])
    def test_the_sample_images_are_pictures(self, sample):
        ((data, options, _),) = sample()
        planes = data if options["name"] == "nuclei stack" else [data]
        assert not any(is_flat(to_rgb8(plane)) for plane in planes)

    @given(st.integers(0, 255), st.integers(0, 255), st.integers(3, 9), st.integers(3, 9))
    def test_a_block_is_told_from_its_ground_by_its_level_alone(self, ground, block, rows, cols):
        picture = np.full((70, 101), ground, np.uint8)
        picture[20 : 20 + rows, 33 : 33 + cols] = block
        wanted = abs(ground - block) <= FLAT_LEVELS
        assert is_flat(to_rgb8(picture)) == wanted
        assert is_flat(to_rgb8(255 - picture)) == wanted


def hot(rise=900):
    """Return nuclei beside one hot pixel."""
    values = (nuclei(rise=rise) + 300).clip(0).astype(np.uint16)
    values[7, 9] = 65535
    return values


def flatness(values, limits, **look):
    part = Part(lambda: values, limits, **look)
    return find_flatness(to_rgb8(values, limits, part.gamma), [part])


class TestFindFlatness:
    def test_a_picture_with_something_in_it_is_not_read_again(self):
        def refuse():
            raise AssertionError("read")

        assert find_flatness(levels(nuclei(rise=90)), [Part(refuse, (0, 1))]) is None

    def test_limits_that_hide_everything_are_named_and_better_ones_found(self):
        values = hot()
        found = flatness(values, (0, 65535), name="cells", key=7)
        low, high = found.better[7]
        assert found.reason == (
            "Nearly all of the picture is one grey level: the contrast limits of "
            f"“cells” are 0 and 65535, but nearly all values lie between {low:g} and {high:g}."
        )
        assert flatness(values, (low, high)) is None

    def test_gamma_counts(self):
        assert flatness(hot(rise=2000), (0, 65535)) is None
        assert flatness(hot(rise=2000), (0, 65535), gamma=2.0).better

    def test_colours_that_are_clipped_to_white_have_better_limits(self):
        colours = 40 + nuclei(rise=150)[..., np.newaxis] * (1, 0.4, 0.8)
        found = flatness(colours, (0, 1))
        assert "the contrast limits are 0 and 1" in found.reason
        assert flatness(colours, found.better[None]) is None

    def test_a_dim_8_bit_image_has_better_limits_than_its_type(self):
        found = flatness((6 + nuclei(rise=3)).astype(np.uint8), (0, 255))
        assert found.better[None][1] < 20

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            (np.full((40, 60), 7, np.uint16), "nearly all values are 7."),
            (np.full((40, 60, 3), 0.25), "nearly all values are 0.25."),
            (np.full((40, 60), np.nan), "are no numbers (NaN or infinite)."),
            (np.full((40, 60), np.inf), "are no numbers (NaN or infinite)."),
        ],
    )
    @pytest.mark.parametrize("limits", [(0, 1), (5, 900)])
    def test_where_no_limits_help_the_values_are_the_reason(self, values, reason, limits):
        found = flatness(values, limits)
        assert found.reason.endswith(reason)
        assert found.better == {}

    def test_of_several_images_those_that_show_nothing_are_named(self):
        seen, unseen = levels(nuclei(rise=99))[..., 0], hot()
        dark = to_rgb8(unseen, (0, 65535))[..., 0]
        parts = [
            Part(lambda: seen, (0, 255), name="seen", key=1),
            Part(lambda: unseen, (0, 65535), name="unseen", key=2),
            Part(lambda: np.full(seen.shape, np.nan), (0, 1), name="void", key=3),
        ]
        together = compose([Overlay(seen), Overlay(dark, blending="opaque")], seen.shape)
        found = find_flatness(together, parts)
        assert list(found.better) == [2]
        assert "of “unseen” are 0 and 65535" in found.reason
        assert "of “void” are no numbers" in found.reason
        assert "“seen”" not in found.reason

    def test_without_any_image_to_blame_it_is_said_all_the_same(self):
        found = find_flatness(levels(np.zeros((30, 40))), [])
        assert found.reason == "Nearly all of the picture is one grey level."
