"""How large pixels are, outlines of objects, layers made of a record."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from napari.layers import Image, Labels

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.layers.calibrating import axis_letters, axis_steps, pixel_size
from napari_sam3.layers.derived import colour_classes, derived_layer, write_plane
from napari_sam3.layers.highlight import edges_of, new_highlight, to_vectors

PLACE = {"scale": (2, 0.5, 0.25), "units": ("um", "nm", "nm"), "translate": (1, 2, 3)}


def stack(**kwargs):
    return Labels(np.zeros((3, 20, 31), np.uint16), **kwargs)


def test_a_calibrated_plane_says_how_large_its_pixels_are():
    layer = stack(**PLACE)
    assert pixel_size(layer, PlaneIndex((1, 2), (0,))) == PixelSize(0.5, 0.25, "nanometer")
    assert axis_steps(layer) == (2, 0.5, 0.25)


def test_a_plane_across_two_units_is_measured_in_pixels():
    assert pixel_size(stack(**PLACE), PlaneIndex((0, 2), (4,))) == PixelSize()


def test_a_scale_without_a_unit_is_no_number_of_pixels():
    assert pixel_size(stack(scale=(1, 0.5, 0.5)), PlaneIndex((1, 2), (0,))).unit == "unit"
    assert not pixel_size(stack(), PlaneIndex((1, 2), (0,))).is_calibrated


def test_a_turned_layer_has_pixels_of_the_same_size():
    turned = Labels(np.zeros((20, 31), np.uint16), scale=(0.5, 0.25), rotate=30)
    size = pixel_size(turned, PlaneIndex())
    assert (size.row, size.col) == pytest.approx((0.5, 0.25))


@pytest.mark.parametrize(
    ("shape", "labels", "letters"),
    [
        ((4, 5), None, "YX"),
        ((3, 4, 5), None, "ZYX"),
        ((3, 4, 5), ("t", "y", "x"), "TYX"),
        ((3, 4, 5), ("x", "y", "z"), "ZYX"),
        ((2, 3, 4, 5), None, "TZYX"),
        ((1, 2, 2, 3, 4, 5), None, None),
    ],
)
def test_axes_are_named_as_image_files_name_them(shape, labels, letters):
    layer = Image(np.zeros(shape), axis_labels=labels)
    assert axis_letters(layer) == letters


@given(hnp.arrays(bool, (6, 9)))
def test_edges_part_the_object_from_all_that_is_not(mask):
    item = Instance.from_mask(mask)
    if item is None:
        return
    edges = edges_of(item)
    padded = np.pad(mask, 1)
    expected = sum(np.count_nonzero(np.diff(padded, axis=axis)) for axis in range(2))
    assert len(edges) == expected
    for (row, col), (down, right) in edges:
        # the pixels on both sides of the middle of an edge
        beside = [(row + down / 2 + s * right / 2, col + right / 2 + s * down / 2) for s in (-1, 1)]
        one, other = (padded[round(r) + 1, round(c) + 1] for r, c in beside)
        assert one != other


def test_outlines_lie_on_their_plane_and_over_the_layer():
    layer = stack(**PLACE)
    item = Instance(np.ones((2, 3), bool), Box(4, 6, 6, 9))
    vectors = to_vectors([item], PlaneIndex((1, 2), (2,)))
    assert vectors.shape == (10, 2, 3)
    assert set(vectors[:, 0, 0]) == {2}
    assert vectors[:, 0, 1:].min(axis=0).tolist() == [3.5, 5.5]
    highlight = new_highlight(layer)
    highlight.data = vectors
    assert np.allclose(highlight.scale, layer.scale)
    assert to_vectors([], PlaneIndex()).shape == (0, 2, 2)


def test_a_derived_layer_lies_over_its_layer_and_has_one_colour_for_a_class():
    layer = stack(**PLACE)
    made = derived_layer(layer, "classes")
    plane = np.zeros((20, 31), np.uint16)
    plane[2:4, 5:9] = 2
    write_plane(made, PlaneIndex((1, 2), (1,)), plane)
    colour_classes(made, {"cell": 1, "nucleus": 2})
    assert np.array_equal(made.data[1], plane)
    assert not made.data[0].any()
    assert np.allclose(made.translate, layer.translate)
    assert made.features["concept"].tolist() == ["cell", "nucleus"]
    assert not np.allclose(made.get_color(1), made.get_color(2))
