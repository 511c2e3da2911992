"""Data ↔ world of one layer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Image, Labels, Points, Shapes

from napari_sam3.errors import ImageError
from napari_sam3.layers.transforms import LayerTransform, refuse_other_units, transform_kwargs
from tests.tiers import examples

TURNED = np.array([[0.8, -0.6, 3.0], [0.6, 0.8, -7.0], [0.0, 0.0, 1.0]])


def turned_image(**kwargs):
    settings = {
        "scale": (2.0, 0.5),
        "translate": (10.0, -20.0),
        "rotate": 30.0,
        "shear": [0.25],
        "affine": TURNED,
        "units": ("um", "um"),
        "axis_labels": ("y", "x"),
    }
    return Image(np.zeros((4, 6)), **{**settings, **kwargs})


numbers = st.floats(-50, 50)
factors = st.floats(0.1, 10)
PLACES = {
    "scale": st.tuples(factors, factors, factors),
    "translate": st.tuples(numbers, numbers, numbers),
    "angle": st.floats(-180, 180),
    "shear": st.tuples(*[st.floats(-1, 1)] * 3),
}


# napari says that it cannot show such planes; the positions hold all the same
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
@examples(40)
@given(
    **PLACES,
    points=st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=6),
)
def test_many_points_go_where_napari_puts_each_of_them(scale, translate, angle, shear, points):
    layer = Image(
        np.zeros((2, 3, 4)), scale=scale, translate=translate, rotate=(angle, 0, 20), shear=shear
    )
    transform, whole = LayerTransform.of(layer), range(3)
    world = transform.to_world(points)
    np.testing.assert_allclose(world, [layer.data_to_world(p) for p in points], atol=1e-6)
    # where all axes are shown, nothing is left out
    np.testing.assert_array_equal(transform.to_canvas(points, whole), world)
    np.testing.assert_allclose(transform.from_canvas(world, whole), points, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
@examples(40)
@given(
    **PLACES,
    shift=st.tuples(numbers, numbers, numbers),
)
def test_it_is_the_matrix_of_napari_to_the_last_bit(scale, translate, angle, shear, shift):
    affine = np.eye(4)
    affine[:3, 3], affine[1, 0] = shift, 0.3
    layer = Points(
        ndim=3, scale=scale, translate=translate, rotate=(0, 0, angle), shear=shear, affine=affine
    )
    transform, known = LayerTransform.of(layer), layer._data_to_world
    np.testing.assert_array_equal(transform.linear, known.linear_matrix)
    np.testing.assert_array_equal(transform.offset, known.translate)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_any_number_of_points_stays_that_number(count):
    # napari keeps the last ndim rows of an (n, ndim) array, without a word
    transform = LayerTransform.of(turned_image())
    points = np.arange(2.0 * count).reshape(count, 2)
    assert transform.to_canvas(points, (0, 1)).shape == (count, 2)
    assert transform.from_canvas(points, (0, 1)).shape == (count, 2)


def test_a_viewer_with_more_axes_is_cut_by_its_last_ones():
    transform = LayerTransform.of(Image(np.zeros((5, 4, 6)), scale=(2, 1, 1)))
    margins = ((1.0, 3.0, 0.0, 0.0), (1.0, 5.0, 0.0, 0.0))
    cut = transform.cut((9.0, 8.0, 4.0, 2.0), margins, [0])
    assert [side.tolist() for side in cut] == [[4.0], [1.5], [2.5]]
    assert transform.slider_at([4.0], [0]).tolist() == [8.0]


@pytest.mark.parametrize("kind", [Image, Labels, Points, Shapes])
def test_a_layer_made_with_the_arguments_of_another_lies_where_it_lies(kind):
    image = turned_image()
    kwargs = transform_kwargs(image)
    if kind in (Image, Labels):
        other = kind(np.zeros((4, 6), int), **kwargs)
    else:
        other = kind(ndim=2, **kwargs)
    assert LayerTransform.of(image).matches(LayerTransform.of(other))
    assert other.units == image.units
    assert other.axis_labels == ("y", "x")


@pytest.mark.parametrize(
    "change",
    [
        {"scale": (2.0, 0.51)},
        {"translate": (10.0, -19.9)},
        {"rotate": 31.0},
        {"shear": [0.3]},
        {"affine": np.eye(3)},
    ],
)
def test_a_layer_elsewhere_does_not_match(change):
    here = LayerTransform.of(turned_image())
    assert not here.matches(LayerTransform.of(turned_image(**change)))


def test_another_number_of_axes_does_not_match():
    here = LayerTransform.of(Image(np.zeros((4, 6))))
    assert not here.matches(LayerTransform.of(Image(np.zeros((4, 6, 7)))))


def test_a_pixel_at_a_far_stage_position_is_still_a_pixel():
    # 50 mm away, pixels of 0.1 µm: a difference of half a pixel is no rounding
    here, there = (
        LayerTransform.of(Image(np.zeros((4, 6)), scale=(0.1, 0.1), translate=(5e4, at)))
        for at in (7e4, 7e4 + 0.05)
    )
    assert not here.matches(there)


def test_rounding_does_not_tell_two_transforms_apart():
    here = LayerTransform.of(Image(np.zeros((4, 6)), scale=(0.1, 0.1), translate=(5e4, 7e4)))
    there = LayerTransform.of(
        Image(np.zeros((4, 6)), scale=(0.3 / 3, 0.1), translate=(5e4 + 1e-7, 7e4))
    )
    assert here.matches(there)


class TestUnits:
    def layers(self, *units):
        return [Image(np.zeros((4, 6)), units=(unit, unit), name=unit) for unit in units]

    def test_layers_in_other_units_of_length_are_refused_with_both_names(self):
        image, other = self.layers("um", "nm")
        with pytest.raises(ImageError, match=r"nm.* is measured in nanometer, and .*micrometer"):
            refuse_other_units(image, [image, other])

    @pytest.mark.parametrize("units", [("um", "um"), ("um", "pixel"), ("pixel", "pixel")])
    def test_equal_units_and_plain_pixels_go_together(self, units):
        image, other = self.layers(*units)
        refuse_other_units(image, [image, other])
