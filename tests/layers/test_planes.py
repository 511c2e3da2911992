"""The plane of an image that is shown."""

from contextlib import suppress
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import Dims
from napari.layers import Image, Points

from napari_sam3.errors import ImageError
from napari_sam3.layers.objects import plane_index
from napari_sam3.layers.output import find_output_place
from napari_sam3.layers.pictures import capture_picture
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.prompts import from_pixels, read_points
from napari_sam3.layers.transforms import LayerTransform
from tests.tiers import examples

from .stacks import Counted, ignore_turned, numbered, show


def pixels_of(image, viewer):
    return capture_picture(image, find_plane(image, viewer.dims)).channels[0].pixels()


# --- which plane


def test_a_2d_image_is_one_plane():
    image = Image(numbered(6, 9))
    viewer = show(image)
    plane = find_plane(image, viewer.dims)
    assert (plane.index, plane.shown, plane.shape, plane.level) == ((0, 0), (0, 1), (6, 9), 0)
    assert plane.key == (0, 1)
    assert np.array_equal(pixels_of(image, viewer), image.data)


def test_a_4d_image_gives_the_plane_at_the_right_t_and_z():
    image = Image(numbered(3, 5, 6, 9), scale=(10, 2, 0.5, 0.5), translate=(-5, 0, 100, 50))
    viewer = show(image, at={0: 15, 1: 6})
    plane = find_plane(image, viewer.dims)
    assert plane.index == (2, 3, 0, 0)
    assert np.array_equal(pixels_of(image, viewer), image.data[2, 3])


def test_a_5d_image_gives_one_plane():
    image = Image(numbered(2, 3, 4, 6, 9))
    viewer = show(image, at={0: 1, 1: 2, 2: 3})
    assert np.array_equal(pixels_of(image, viewer), image.data[1, 2, 3])


def test_a_layer_with_more_axes_elsewhere_does_not_shift_the_plane():
    image = Image(numbered(5, 6, 9), scale=(2, 1, 1))
    other = Image(np.zeros((3, 4, 7, 6, 9), np.uint8))
    viewer = show(image, other, at={0: 2, 1: 3, 2: 6})
    assert find_plane(image, viewer.dims).index == (3, 0, 0)
    assert np.array_equal(pixels_of(image, viewer), image.data[3])


def test_a_2d_image_in_a_4d_viewer_is_found_whatever_the_sliders_say():
    image = Image(numbered(6, 9), translate=(1, 2))
    viewer = show(image, Image(np.zeros((3, 4, 20, 20))), at={0: 2, 1: 3})
    assert np.array_equal(pixels_of(image, viewer), image.data)


def test_moving_the_slider_gives_the_new_plane_and_keeps_the_old_one_frozen():
    image = Image(numbered(5, 6, 9))
    viewer = show(image, at={0: 1})
    old = find_plane(image, viewer.dims)
    viewer.dims.set_point(0, 4)
    assert find_plane(image, viewer.dims).index == (4, 0, 0)
    assert old.index == (1, 0, 0)
    assert old.key != find_plane(image, viewer.dims).key


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_order_of_the_axes_gives_the_plane_as_napari_shows_it(order):
    image = Image(numbered(4, 5, 6), scale=(3, 2, 0.5), translate=(1, -2, 10))
    at = {axis: image.data_to_world((2, 3, 4))[axis] for axis in range(3)}
    viewer = show(image, at=at, order=order)
    plane = find_plane(image, viewer.dims)
    picture = pixels_of(image, viewer)
    assert plane.shown == order[1:]
    assert picture.shape == plane.shape == tuple(image.data.shape[axis] for axis in order[1:])
    for row, col in np.ndindex(plane.shape):
        where = list(viewer.dims.point)
        where[order[1]] = image.data_to_world((row,) * 3)[order[1]]
        where[order[2]] = image.data_to_world((col,) * 3)[order[2]]
        assert picture[row, col] == image.get_value(where, world=True)


@pytest.mark.parametrize("order", [(1, 2, 0, 3), (3, 2, 1, 0), (0, 3, 1, 2), (2, 0, 3, 1)])
def test_every_order_of_four_axes_too(order):
    image = Image(numbered(3, 4, 5, 6))
    viewer = show(image, at=dict(enumerate((1, 2, 3, 4))), order=order)
    whole = [slice(None)] * 4
    for axis in order[:2]:
        whole[axis] = (1, 2, 3, 4)[axis]
    expected = image.data[tuple(whole)]
    expected = expected.T if order[2] > order[3] else expected
    assert np.array_equal(pixels_of(image, viewer), expected)


def test_an_image_without_the_axes_that_are_shown_is_refused_with_a_sentence():
    image = Image(numbered(6, 9), name="flat")
    viewer = show(image, Image(np.zeros((5, 6, 9))), order=(1, 0, 2))
    with pytest.raises(ImageError, match="“flat” has no plane along the axes"):
        find_plane(image, viewer.dims)


def test_sliders_beside_the_image_are_refused_with_a_sentence():
    image = Image(numbered(3, 6, 9), name="short")
    viewer = show(image, Image(np.zeros((9, 6, 9))), at={0: 2})
    assert find_plane(image, viewer.dims).index == (2, 0, 0)
    viewer.dims.set_point(0, 3)
    with pytest.raises(ImageError, match="“short” has no plane where the sliders are"):
        find_plane(image, viewer.dims)
    viewer = show(image, Image(np.zeros((9, 6, 9)), translate=(-5, 0, 0)), at={0: -4})
    with pytest.raises(ImageError, match="where the sliders are"):
        find_plane(image, viewer.dims)


def test_the_3d_view_is_refused_with_a_sentence():
    image = Image(numbered(3, 6, 9))
    viewer = show(image)
    viewer.dims.ndisplay = 3
    with pytest.raises(ImageError, match="2D view"):
        find_plane(image, viewer.dims)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 4, 5)])
def test_an_empty_image_is_refused_with_a_sentence(shape):
    image = Image(np.zeros((2,) * len(shape)), name="void")
    viewer = show(image)
    with suppress(ValueError, RuntimeWarning):  # napari stumbles over some of them, and keeps them
        image.data = np.zeros(shape)
    assert image.data.shape == shape
    with pytest.raises(ImageError, match="“void” is empty"):
        find_plane(image, viewer.dims)


@ignore_turned
@pytest.mark.parametrize("angles", [(0, 0, 35), (0, 20, 0), (15, 20, 35)])
def test_a_turned_3d_image_gives_the_plane_that_napari_shows(angles):
    image = Image(numbered(5, 6, 9), rotate=angles, scale=(2, 1, 1), translate=(3, 1, 1))
    viewer = show(image, at={0: 7.0})
    layers_slice = image.world_to_data(viewer.dims.point)
    plane = find_plane(image, viewer.dims)
    shown = pixels_of(image, viewer)
    thumbnail_source = image.data[plane.index[0]]
    assert np.array_equal(shown, thumbnail_source)
    if angles[:2] == (0, 0):
        assert plane.index[0] == round(layers_slice[0])


# --- multiscale


def pyramid(shape=(64, 96), factors=(1, 2, 4)):
    rows, cols = shape
    levels = []
    for factor in factors:
        own = np.round(np.array(shape) / factor).astype(int)
        levels.append(numbered(*own) + np.uint16(0))
    assert levels[0].shape == (rows, cols)
    return levels


@pytest.mark.parametrize(
    ("max_side", "level"), [(4096, 0), (96, 0), (95, 1), (48, 1), (47, 2), (24, 2), (5, 2)]
)
def test_the_finest_level_that_is_not_too_large_is_read(max_side, level):
    levels = pyramid()
    image = Image(levels, multiscale=True)
    plane = find_plane(image, show(image).dims, max_side)
    assert plane.level == level
    assert plane.shape == levels[level].shape
    assert np.array_equal(capture_picture(image, plane).channels[0].pixels(), levels[level])


def test_an_image_of_one_level_is_read_whatever_its_size():
    image = Image(numbered(20, 30))
    assert find_plane(image, show(image).dims, 5).shape == (20, 30)


def test_only_the_level_that_is_needed_is_computed():
    counted = [Counted(6, (64, 96)), Counted(6, (32, 48)), Counted(6, (16, 24))]
    image = Image([c.dask() for c in counted], multiscale=True, contrast_limits=(0, 65535))
    viewer = show(image, at={0: 4})
    for level in counted:
        level.read.clear()
    picture = capture_picture(image, find_plane(image, viewer.dims, 50))
    assert np.array_equal(picture.channels[0].pixels(), counted[1].data[4])
    assert [c.read for c in counted] == [[], [(4, 0, 0)], []]


@ignore_turned
@pytest.mark.parametrize("max_side", [96, 50, 25, 14])
@pytest.mark.parametrize(
    "place",
    [
        {},
        {"scale": (2, 0.5, 0.25), "translate": (1, 100, 50)},
        {"rotate": (0, 0, 30), "scale": (2, 0.5, 0.25), "translate": (1, 100, 50)},
        {
            "rotate": (10, 20, 30),
            "shear": (0.1, 0.2, 0.3),
            "affine": np.array([[1, 0, 0, 1], [0, 0, 2, 2], [0, -1, 0, 3], [0, 0, 0, 1.0]]),
        },
    ],
)
def test_labels_of_a_coarse_level_cover_the_whole_image(max_side, place):
    # factors of 2 and 4, and one that is no whole number, on all axes
    shapes = [(8, 64, 96), (4, 32, 48), (2, 16, 24), (2, 9, 14)]
    image = Image([np.zeros(s, np.uint8) for s in shapes], multiscale=True, **place)
    dims = Dims(ndim=3, ndisplay=2, range=((-1e6, 1e6, 1),) * 3)
    dims.point = slider_position(image, (5, 0, 0), dims)
    plane = find_plane(image, dims, max_side)
    output = find_output_place(image, plane)
    labels = output.new_layer()
    assert labels.data.shape == shapes[plane.level]
    full = LayerTransform.of(image)
    own = LayerTransform.of(labels)
    corner = np.array(image.data[0].shape) - 0.5
    np.testing.assert_allclose(
        own.to_world([[-0.5] * 3, np.array(labels.data.shape) - 0.5]),
        full.to_world([[-0.5] * 3, corner]),
        atol=1e-9,
    )
    assert output.misfit(labels) == ""


@pytest.mark.parametrize(("max_side", "factor"), [(96, 1), (50, 2), (25, 4), (11, 9.6)])
def test_clicks_land_right_on_coarse_levels(max_side, factor):
    levels = pyramid(factors=(1, 2, 4, 9.6))
    image = Image(levels, multiscale=True, scale=(0.5, 0.25), translate=(100, 50))
    viewer = show(image)
    plane = find_plane(image, viewer.dims, max_side)
    assert plane.factors[1] == pytest.approx(factor)
    points = Points([image.data_to_world((r, c)) for r, c in [(0, 0), (37, 41), (63, 95)]])
    found = [mark.point.pixel for mark in read_points(points, plane).points]
    scale = np.array(levels[0].shape) / levels[plane.level].shape
    expected = [
        tuple(((np.array(p) + 0.5) // scale).astype(int)) for p in [(0, 0), (37, 41), (63, 95)]
    ]
    assert found == expected
    # and what is painted there covers the click
    labels = find_output_place(image, plane).new_layer()
    for pixel, point in zip(found, points.data, strict=True):
        assert np.round(labels.world_to_data(point)).tolist() == list(pixel)


def test_a_coarse_level_with_fewer_planes_gives_the_plane_that_holds_this_one():
    fine, coarse = numbered(7, 64, 96, dtype=np.uint32), numbered(3, 32, 48, dtype=np.uint32)
    image = Image([fine, coarse], multiscale=True, contrast_limits=(0, 100))
    for z, expected in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2)]:
        viewer = show(image, at={0: z})
        plane = find_plane(image, viewer.dims, 50)
        assert plane.level == 1
        assert np.array_equal(capture_picture(image, plane).channels[0].pixels(), coarse[expected])


# --- the whole way round


@st.composite
def scenes(draw):
    ndim = draw(st.integers(2, 4))
    world_ndim = ndim + draw(st.integers(0, 1))
    shape = draw(st.tuples(*[st.integers(3, 6)] * ndim))
    # axes that the image lacks are behind the sliders
    order = tuple(range(world_ndim - ndim)) + tuple(
        axis + world_ndim - ndim for axis in draw(st.permutations(range(ndim)))
    )
    pixel = tuple(draw(st.integers(0, size - 1)) for size in shape)
    return shape, order, pixel


def any_place(draw, ndim):
    scale = draw(st.tuples(*[st.floats(0.2, 5) | st.floats(-5, -0.2)] * ndim))
    translate = draw(st.tuples(*[st.floats(-100, 100)] * ndim))
    linear = np.eye(ndim)
    for a, b in [(0, 1), (ndim - 2, ndim - 1)]:
        angle = draw(st.floats(-0.7, 0.7))
        turn = np.eye(ndim)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        linear = linear @ turn
    affine = np.eye(ndim + 1)
    affine[:ndim, :ndim] = linear
    affine[:ndim, ndim] = draw(st.tuples(*[st.floats(-50, 50)] * ndim))
    return {"scale": scale, "translate": translate, "affine": affine}


@ignore_turned
@examples(60)
@given(scenes(), st.data())
def test_what_is_clicked_is_what_is_painted(scene, data):
    shape, order, pixel = scene
    ndim, world_ndim = len(shape), len(order)
    image = Image(np.zeros(shape, np.uint8), rgb=False, **any_place(data.draw, ndim))
    dims = Dims(ndim=world_ndim, ndisplay=2, order=order, range=((-1e6, 1e6, 1),) * world_ndim)
    dims.point = slider_position(image, pixel, dims)
    plane = find_plane(image, dims)

    jitter = data.draw(st.tuples(*[st.floats(-0.4, 0.4)] * 2))
    prompts = Points(ndim=world_ndim, **any_place(data.draw, world_ndim))
    seen = [pixel[axis] for axis in plane.shown]
    prompts.data = from_pixels(prompts, [np.add(seen, jitter)], plane)

    drawn = read_points(prompts, plane)
    assert [mark.point.pixel for mark in drawn.points] == [tuple(seen)]

    place = find_output_place(image, plane)
    labels = place.new_layer()
    plane_index(plane).cut(labels.data)[drawn.points[0].point.pixel] = 1
    assert np.argwhere(labels.data).tolist() == [list(pixel)]
    np.testing.assert_allclose(labels.data_to_world(pixel), image.data_to_world(pixel), atol=1e-6)


def slider_position(image, pixel, dims):
    """Where the sliders stand when napari shows the plane of a pixel."""
    extra = dims.ndim - image.ndim
    hidden = [axis - extra for axis in dims.order[:-2] if axis >= extra]
    at = np.full(dims.ndim, 2.0)
    if hidden:
        wanted = [pixel[axis] for axis in hidden]
        at[np.add(hidden, extra)] = LayerTransform.of(image).slider_at(wanted, hidden)
    return tuple(at)
