import numpy as np
import pytest

from napari_sam3.core.blending import BLENDINGS, Overlay, compose


def gray(*values):
    return np.array([values], np.uint8)


RED = np.zeros((256, 3), np.uint8)
RED[:, 0] = np.arange(256)
GREEN = np.roll(RED, 1, axis=1)
BLUE = np.roll(RED, 2, axis=1)


class TestCompose:
    def test_without_a_channel_it_is_black(self):
        assert compose([], (2, 3)).tolist() == np.zeros((2, 3, 3)).tolist()

    def test_additive_channels_add_their_colours_and_clip(self):
        channels = [
            Overlay(gray(100, 200), RED, 1.0, "additive"),
            Overlay(gray(50, 60), GREEN, 0.5, "additive"),
            Overlay(gray(10, 200), RED, 1.0, "additive"),
        ]
        assert compose(channels, (1, 2)).tolist() == [[[110, 25, 0], [255, 30, 0]]]

    @pytest.mark.parametrize("blending", ["translucent", "translucent_no_depth"])
    def test_translucent_covers_by_its_opacity(self, blending):
        channels = [Overlay(gray(100)), Overlay(gray(200), RED, 0.25, blending)]
        assert compose(channels, (1, 1)).tolist() == [[[125, 75, 75]]]

    def test_opaque_replaces_what_lies_below(self):
        channels = [Overlay(gray(100)), Overlay(gray(200), BLUE, 0.5, "opaque")]
        assert compose(channels, (1, 1)).tolist() == [[[0, 0, 100]]]

    def test_minimum_takes_the_darker(self):
        bright = np.array([[[250, 20, 90]]], np.uint8)
        channels = [Overlay(gray(100), None, 1, "minimum"), Overlay(bright, None, 1, "minimum")]
        assert compose(channels, (1, 1)).tolist() == [[[100, 20, 90]]]

    def test_multiplicative_multiplies(self):
        channels = [Overlay(gray(100)), Overlay(gray(51), None, 1, "multiplicative")]
        assert compose(channels, (1, 1)).tolist() == [[[20, 20, 20]]]

    @pytest.mark.parametrize("blending", BLENDINGS)
    def test_the_lowest_channel_shows_whatever_its_blending(self, blending):
        picture = np.array([[[7, 80, 200]]], np.uint8)
        assert compose([Overlay(picture, None, 1, blending)], (1, 1)).tolist() == [[[7, 80, 200]]]

    def test_large_pictures_are_put_together_without_seams(self):
        rng = np.random.default_rng(3)
        picture = rng.integers(0, 256, (700, 500), np.uint8)
        channels = [Overlay(picture, RED, 1, "additive"), Overlay(picture, BLUE, 1, "additive")]
        shown = compose(channels, (700, 500))
        np.testing.assert_array_equal(shown, picture[..., None] * np.array([1, 0, 1], np.uint8))

    def test_a_channel_of_another_shape_is_refused(self):
        with pytest.raises(ValueError, match="overlay of shape"):
            compose([Overlay(gray(1, 2))], (2, 1))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"picture": np.zeros((2, 3))},
            {"picture": np.zeros((2, 3, 4), np.uint8)},
            {"picture": gray(1), "lut": np.zeros((255, 3), np.uint8)},
            {"picture": gray(1), "opacity": 1.5},
            {"picture": gray(1), "blending": "screen"},
        ],
    )
    def test_a_channel_that_makes_no_sense_cannot_be_built(self, wrong):
        with pytest.raises(ValueError, match=r"overlay|opacity|blending"):
            Overlay(**wrong)
