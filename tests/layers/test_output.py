"""Where the objects of an image belong, and what a Labels layer there holds already."""

from itertools import permutations

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_sam3.core.geometry import Box
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.progress import drain
from napari_sam3.errors import ImageError
from napari_sam3.layers import output
from napari_sam3.layers.objects import plane_index
from napari_sam3.layers.output import (
    OutputPlace,
    find_output_place,
    iter_highest,
    iter_is_empty,
    picture_kwargs,
)
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.transforms import LayerTransform

SHAPE = (12, 20)


def place_of(image, at=None, order=None, extra=(), max_side=4096):
    viewer = ViewerModel()
    for layer in (image, *extra):
        viewer.add_layer(layer)
    if order is not None:
        viewer.dims.order = order
    for axis, position in (at or {}).items():
        viewer.dims.set_point(axis, position)
    return find_output_place(image, find_plane(image, viewer.dims, max_side))


def fill(place, labels, box):
    """Label a part of the plane that was asked about."""
    plane_index(place.plane).cut(labels.data)[box.slices] = 1


# --- the place


def test_scale_and_translate_of_the_image_are_written_into_the_labels():
    image = Image(
        np.zeros((3, *SHAPE)),
        scale=(2, 0.5, 0.5),
        translate=(0, 100, 50),
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
        name="nuclei",
    )
    labels = place_of(image).new_layer()
    assert labels.data.shape == (3, *SHAPE)
    assert labels.scale.tolist() == [2, 0.5, 0.5]
    assert labels.translate.tolist() == [0, 100, 50]
    assert labels.units == image.units
    assert labels.axis_labels == ("z", "y", "x")
    assert labels.name == "nuclei objects"
    assert not labels.data.any()


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")  # napari's, on adding
@pytest.mark.parametrize("rotate", [(0, 0, 30), (10, 20, 30)])
def test_labels_lie_over_a_turned_3d_image(rotate):
    affine = np.array([[1, 0, 0, 5], [0, 0, 1, 6], [0, 1, 0, 7], [0, 0, 0, 1.0]])
    image = Image(np.zeros((3, *SHAPE)), scale=(2, 0.5, 0.25), rotate=rotate, shear=(0.1, 0, 0.2))
    image.affine = affine
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.dims.set_point(0, image.data_to_world((1, 0, 0))[0])
    place = find_output_place(image, find_plane(image, viewer.dims))
    labels = place.new_layer()
    assert LayerTransform.of(labels).matches(LayerTransform.of(image))
    fill(place, labels, Box(2, 3, 5, 9))
    assert np.argwhere(labels.data)[0].tolist() == [place.plane.index[0], 2, 3]


def test_labels_over_an_rgb_image_have_no_colour_axis():
    labels = place_of(Image(np.zeros((2, *SHAPE, 3), np.uint8), rgb=True)).new_layer()
    assert labels.data.shape == (2, *SHAPE)


def test_objects_are_written_into_the_plane_that_was_asked_and_no_other():
    image = Image(np.zeros((3, 4, *SHAPE)), scale=(5, 2, 1, 1))
    # the viewer has five axes, of which the image has the last four
    place = place_of(image, at={1: 10, 2: 2}, extra=[Image(np.zeros((2, 20, 9, 9, 9)))])
    labels = place.new_layer()
    fill(place, labels, Box(1, 2, 4, 9))
    assert set(map(tuple, np.argwhere(labels.data)[:, :2])) == {(2, 1)}
    expected = np.zeros(SHAPE)
    expected[1:4, 2:9] = 1
    assert np.array_equal(labels.data[2, 1], expected)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_objects_found_in_any_view_are_written_where_they_were_seen(order):
    data = np.zeros((5, 6, 7), np.uint8)
    data[2, 3, 4] = 1
    image = Image(data, scale=(1, 2, 3), contrast_limits=(0, 1))
    at = dict(enumerate(np.array((2, 3, 4)) * (1, 2, 3)))
    place = place_of(image, at=at, order=order)
    labels = place.new_layer()
    plane_index(place.plane).cut(labels.data)[...] = place.plane.cut(data)
    assert np.array_equal(labels.data, data)


def test_objects_on_a_coarse_level_are_written_into_its_plane():
    image = Image([np.zeros((8, 40, 60)), np.zeros((4, 20, 30))], multiscale=True)
    place = place_of(image, at={0: 5}, max_side=30)
    labels = place.new_layer()
    fill(place, labels, Box(1, 2, 4, 9))
    assert set(np.argwhere(labels.data)[:, 0]) == {2}


def test_an_image_that_fits_in_no_memory_is_refused_with_a_sentence():
    place = place_of(Image(np.zeros(SHAPE)))
    huge = OutputPlace("x", (1 << 40, 1 << 40), place.transform, place.kwargs, place.plane)
    with pytest.raises(ImageError, match="does not fit in memory"):
        huge.new_layer()


def read_only(shape):
    data = np.zeros(shape, np.uint8)
    data.flags.writeable = False
    return data


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Labels(np.zeros((9, 9), int)), "the shape (9, 9), not (12, 20)"),
        (lambda: Labels(np.zeros((20, 12), int)), "shape"),
        (lambda: Labels(np.zeros((1, *SHAPE), int)), "shape"),
        (lambda: Labels(np.zeros(SHAPE, int), scale=(2, 1)), "another place"),
        (lambda: Labels(np.zeros(SHAPE, int), translate=(0, 1)), "another place"),
        (lambda: Labels(da.zeros(SHAPE, dtype=int)), "not a plain array"),
        (lambda: Labels([np.zeros(SHAPE, int), np.zeros((6, 10), int)]), "not a plain array"),
        (lambda: Labels(read_only(SHAPE)), "read-only"),
    ],
)
def test_a_layer_that_cannot_take_the_objects_is_refused_with_a_sentence(make, reason):
    place = place_of(Image(np.zeros(SHAPE)))
    layer = make()
    layer.name = "mine"
    message = place.misfit(layer)
    assert message.startswith("“mine” ")
    assert reason in message


def test_a_layer_that_lies_over_the_image_can_take_the_objects():
    place = place_of(Image(np.zeros(SHAPE), scale=(0.1, 0.3)))
    assert place.misfit(place.new_layer()) == ""
    assert place.misfit(Labels(np.zeros(SHAPE, np.int64), scale=(0.1, 0.3))) == ""


def test_a_layer_that_its_user_made_read_only_is_refused():
    place = place_of(Image(np.zeros(SHAPE)))
    layer = place.new_layer()
    layer.editable = False
    assert place.misfit(layer).endswith("is read-only")


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_a_smaller_picture_of_a_plane_lies_over_all_of_it(order):
    image = Image(np.zeros((4, *SHAPE)), scale=(1, 2, 3), translate=(0, 10, 20))
    place = place_of(image, order=order)
    rows, cols = place.plane.shape
    shape = (rows // 4, cols // 4, 3)
    picture = Image(np.zeros(shape, np.uint8), rgb=True, **picture_kwargs(place, shape))
    corners = np.array([(-0.5, -0.5), (rows - 0.5, cols - 0.5)])
    own = [picture.data_to_world((r - 0.5, c - 0.5)) for r, c in ((0, 0), shape[:2])]
    np.testing.assert_allclose(own, place.plane.to_canvas(corners))


# --- what a layer holds already


@pytest.mark.parametrize("shape", [SHAPE, (3, *SHAPE)])
@pytest.mark.parametrize("cells", [7, 10**6])
def test_a_layer_is_empty_if_no_pixel_has_a_label(monkeypatch, shape, cells):
    monkeypatch.setattr(output, "CELLS_PER_STEP", cells)
    layer = Labels(np.zeros(shape, np.uint16))
    assert drain(iter_is_empty(layer))
    layer.data[(-1,) * layer.ndim] = 3
    assert not drain(iter_is_empty(layer))


def test_the_highest_label_is_looked_for_on_the_planes_that_are_asked_for_and_no_others():
    data = np.zeros((3, *SHAPE), np.int32)
    data[0, 3, 4], data[1, 11, 19], data[2, 0, 0] = 12, 7, 90
    planes = [PlaneIndex((1, 2), (0,)), PlaneIndex((2, 1), (1,))]
    assert drain(iter_highest(data, planes)) == 12
    assert drain(iter_highest(data, [])) == 0
    assert drain(iter_highest(data - 100, planes)) == 0


def test_large_layers_are_looked_at_in_several_steps(monkeypatch):
    monkeypatch.setattr(output, "CELLS_PER_STEP", 100)
    layer = Labels(np.zeros((3, *SHAPE), np.uint16))
    planes = [PlaneIndex((1, 2), (z,)) for z in range(3)]
    assert len(list(iter_is_empty(layer))) >= 3
    assert len(list(iter_highest(layer.data, planes))) >= 3
