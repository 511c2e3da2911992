"""What is read of images, points and shapes is what napari itself slices and draws."""

import warnings
from itertools import permutations

import dask.array as da
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from napari.components import Dims, ViewerModel
from napari.layers import Image, Points, Shapes

from napari_sam3.core.images import to_rgb8, to_uint8
from napari_sam3.errors import ImageError
from napari_sam3.layers.drawing import new_points_layer, new_shapes_layer
from napari_sam3.layers.output import find_output_place, picture_kwargs
from napari_sam3.layers.pictures import capture_composed, capture_picture
from napari_sam3.layers.planes import find_plane, go_to
from napari_sam3.layers.prompts import from_pixels, is_shown, read_points, read_shapes, to_pixels
from napari_sam3.layers.transforms import LayerTransform
from tests.tiers import examples

pytestmark = pytest.mark.filterwarnings(
    # napari says of itself that it leaves out a turn out of the plane
    "ignore:Non-orthogonal slicing:UserWarning"
)

MODES = ["none", "mean", "max", "min", "sum"]
QUARTERS = st.integers(-12, 44).map(lambda n: n / 4)
THICKNESS = st.integers(0, 30).map(lambda n: n / 4)
# halves and quarters of planes: where rounding could go either way
STEPS = st.sampled_from([0.25, 0.3, 0.5, 1.0, 1.5, 2.0])


def number_of(shape, dtype):
    return np.random.default_rng(7).integers(0, 250, shape).astype(dtype)


@st.composite
def affines(draw, ndim, *, slanted):
    """A turn in the plane of rows and columns, and a shear, or any well-behaved matrix."""
    matrix = np.eye(ndim + 1)
    angle = draw(st.floats(-1, 1))
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[ndim - 2 : ndim, ndim - 2 : ndim] = turn
    if slanted:
        shear = np.tril(draw(st.integers(-3, 3).map(lambda n: n / 4)) * np.ones((ndim, ndim)), -1)
        matrix[:-1, :-1] = (np.eye(ndim) + shear) @ matrix[:-1, :-1]
    matrix[:-1, -1] = draw(st.tuples(*[QUARTERS] * ndim))
    return matrix


@st.composite
def places(draw, ndim, *, slanted=True):
    scale = draw(st.tuples(*[STEPS] * ndim))
    translate = draw(st.tuples(*[QUARTERS] * ndim))
    return {
        "scale": scale,
        "translate": translate,
        "affine": draw(affines(ndim, slanted=slanted)),
    }


@st.composite
def views(draw, ndim):
    """What the viewer may show: any order of the axes, any position, any thickness."""
    return Dims(
        ndim=ndim,
        ndisplay=2,
        order=draw(st.permutations(range(ndim))),
        range=((-100.0, 100.0, 0.25),) * ndim,
        point=draw(st.tuples(*[QUARTERS] * ndim)),
        margin_left=draw(st.tuples(*[THICKNESS] * ndim)),
        margin_right=draw(st.tuples(*[THICKNESS] * ndim)),
    )


def show_in(layer, dims):
    """Let napari slice a layer as a viewer does whose sliders are there."""
    layer._slice_dims(dims, force=True)
    layer._slicing_state.set_view_slice()


def slice_of(image, dims):
    """Return what napari draws of an image; None where it draws nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            show_in(image, dims)
        except ValueError:  # it stumbles over a slice of no plane
            return None
    response = image._slice
    raw = np.asarray(response.image.raw)
    is_nothing = response.empty or (raw.dtype.kind == "f" and np.isnan(raw).any())
    return None if is_nothing else raw


def drawn_at(layer, points, dims):
    """Return where napari's canvas draws data points of a layer."""
    shown = layer._slice_input.displayed
    return layer._transforms.simplified.set_slice(shown)(np.asarray(points)[:, shown])


def pixels_at(image, dims, pixels):
    """Return the data points of pixels of the plane, rows and columns as napari shows them."""
    data = np.zeros((len(pixels), image.ndim))
    data[:, image._slice_input.displayed] = pixels
    return data


# --- images


@examples(60)
@given(st.data())
def test_the_picture_is_the_slice_that_napari_draws_byte_for_byte(data):
    ndim = data.draw(st.integers(2, 4))
    dims = data.draw(views(ndim))
    shape = data.draw(st.tuples(*[st.integers(3, 9)] * ndim))
    values = number_of(shape, data.draw(st.sampled_from([np.uint8, np.uint16, np.float32])))
    kind = data.draw(st.sampled_from(["array", "dask", "pyramid"]))
    levels = [values, values[..., ::2, ::2]]
    image = Image(
        {"array": values, "dask": da.from_array(values), "pyramid": levels}[kind],
        multiscale=kind == "pyramid",
        rgb=False,
        contrast_limits=(20, 220),
        projection_mode=data.draw(st.sampled_from(MODES)),
        **data.draw(places(ndim)),
    )
    max_side = 4096
    if kind == "pyramid":
        max_side = data.draw(st.sampled_from([4096, 3]))
        shown = [shape[axis] for axis in dims.displayed]
        image.locked_data_level = level = int(max(shown) > max_side)
        # levels that are coarse along the sliders are another matter
        assume(level == 0 or {*dims.displayed} == {ndim - 2, ndim - 1})
    try:
        picture = capture_picture(image, find_plane(image, dims, max_side))
    except ImageError:
        assert slice_of(image, dims) is None
        return
    drawn = slice_of(image, dims)
    assert np.array_equal(picture.channels[0].pixels(), drawn)
    assert np.array_equal(picture.read().rgb[..., 0], to_uint8(drawn, (20, 220)))


@examples(60)
@given(st.data())
def test_mirrored_and_turned_stacks_show_what_napari_shows_or_are_refused(data):
    dims = data.draw(views(4))
    image = Image(
        number_of((6, 7, 5, 4), np.uint8),
        rgb=False,
        contrast_limits=(0, 255),
        projection_mode=data.draw(st.sampled_from(MODES)),
        scale=data.draw(st.tuples(*[STEPS | STEPS.map(lambda s: -s)] * 4)),
        rotate=np.linalg.qr(np.random.default_rng(data.draw(st.integers(0, 9))).random((4, 4)))[0],
    )
    try:
        sent = capture_picture(image, find_plane(image, dims)).channels[0].pixels()
    except ImageError:
        sent = None
    drawn = slice_of(image, dims)
    assert (sent is None) == (drawn is None)
    assert drawn is None or np.array_equal(sent, drawn)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2)])
def test_colours_are_projected_too(mode, order):
    look = {"contrast_limits": (10, 190), "gamma": 0.7}
    image = Image(number_of((6, 7, 5, 3), np.uint8), rgb=True, projection_mode=mode, **look)
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.dims.order = order
    viewer.dims.set_point((0, 1), (3, 3))
    viewer.dims.thickness = (4, 4, 4)
    drawn = np.asarray(image._slice.image.raw)
    read = capture_picture(image, find_plane(image, viewer.dims)).read().rgb
    assert np.array_equal(read, to_rgb8(drawn, (10, 190), 0.7))


def test_only_the_planes_between_the_margins_are_computed_and_none_before_it_is_read():
    values, read = number_of((40, 5, 7), np.uint16), []

    def load(block, block_info=None):
        read.append(block_info[0]["chunk-location"][0])
        return block

    lazy = da.from_array(values, chunks=(1, 5, 7)).map_blocks(load, dtype=values.dtype)
    viewer = ViewerModel()
    image = viewer.add_image(lazy, contrast_limits=(0, 255), projection_mode="max")
    viewer.dims.set_point(0, 20)
    viewer.dims.margin_left, viewer.dims.margin_right = (1, 0, 0), (3, 0, 0)
    read.clear()
    plane = find_plane(image, viewer.dims)
    picture = capture_picture(image, plane)
    find_output_place(image, plane)
    assert read == []
    assert np.array_equal(picture.channels[0].pixels(), values[19:24].max(axis=0))
    assert sorted(read) == [19, 20, 21, 22, 23]


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("thickness", [0, 2, 5])
def test_a_level_with_fewer_planes_is_read_where_it_holds_the_planes_that_are_shown(at, thickness):
    fine, coarse = number_of((7, 64, 96), np.uint8), number_of((3, 32, 48), np.uint8)
    viewer = ViewerModel()
    image = viewer.add_image([fine, coarse], multiscale=True, contrast_limits=(0, 255))
    image.projection_mode = "max"
    viewer.dims.set_point(0, at)
    viewer.dims.thickness = (thickness, 0, 0)
    whole = capture_picture(image, find_plane(image, viewer.dims))
    plane = find_plane(image, viewer.dims, 50)
    (first, after), *_ = whole.channels[0].slab.ranges
    held = sorted({int((z + 0.5) * 3 / 7) for z in range(first, after)})
    assert np.array_equal(
        capture_picture(image, plane).channels[0].pixels(), coarse[held].max(axis=0)
    )
    # and the labels of that level are seen where the slider is
    labels = viewer.add_layer(find_output_place(image, plane).new_layer())
    labels.data[plane.level_index()] = 5
    labels.refresh()
    assert (labels._slice.image.raw == 5).all()


def test_each_layer_of_a_composition_is_projected_by_its_own_mode():
    values = np.zeros((9, 4, 6), np.uint8)
    values[3], values[5] = 90, 200
    look = {"contrast_limits": (0, 255), "blending": "additive"}
    viewer = ViewerModel()
    layers = [
        viewer.add_image(values, colormap="red", projection_mode="max", **look),
        viewer.add_image(values, colormap="green", projection_mode="mean", **look),
        viewer.add_image(values, colormap="blue", projection_mode="none", **look),
    ]
    viewer.dims.set_point(0, 3)
    viewer.dims.thickness = (4, 0, 0)
    picture = capture_composed(layers, find_plane(layers[0], viewer.dims), viewer.dims)
    assert picture.read().rgb[1, 2].tolist() == [200, 58, 90]
    said = [layer.get("slab") for layer in picture.describe()["layers"]]
    assert said == [
        {"projection": "max", "ranges": [[1, 6]]},
        {"projection": "mean", "ranges": [[1, 6]]},
        None,
    ]


def test_a_slice_that_reaches_an_image_beside_the_slider_shows_it():
    viewer = ViewerModel()
    image = viewer.add_image(number_of((3, 5, 7), np.uint8), contrast_limits=(0, 255))
    image.projection_mode = "max"
    viewer.add_image(np.zeros((20, 5, 7), np.uint8))
    viewer.dims.set_point(0, 5)
    with pytest.raises(ImageError, match="no plane where the sliders are"):
        find_plane(image, viewer.dims)
    viewer.dims.thickness = (8, 0, 0)
    plane = find_plane(image, viewer.dims)
    assert plane.index == (2, 0, 0)
    assert np.array_equal(
        capture_picture(image, plane).channels[0].pixels(), image._slice.image.raw
    )


def test_an_image_that_is_seen_edge_on_is_refused_with_a_sentence():
    image = Image(np.zeros((5, 6, 7)), name="tilted", rotate=(0, 90, 0), rgb=False)
    with pytest.raises(ImageError, match="“tilted” is seen edge-on"):
        find_plane(image, Dims(ndim=3, ndisplay=2, range=((-9, 9, 1),) * 3))


# --- where things are drawn


def seen(draw, shape):
    """An image, a view of it in which it is seen, and the plane that is shown."""
    ndim = len(shape)
    image = Image(np.zeros(shape, bool), rgb=False, projection_mode="none", **draw(places(ndim)))
    dims = draw(views(ndim))
    dims.point = _slider_on(image, dims)
    try:
        return image, dims, find_plane(image, dims)
    except ImageError:
        assume(False)


@examples(60)
@given(st.data())
def test_pixels_are_drawn_where_the_canvas_draws_them(data):
    ndim = data.draw(st.integers(2, 4))
    image, dims, plane = seen(data.draw, (7,) * ndim)
    show_in(image, dims)
    pixels = np.array([(0, 0), (2, 5), (6, 3)])
    drawn = drawn_at(image, pixels_at(image, dims, pixels), dims)
    np.testing.assert_allclose(plane.to_canvas(pixels), drawn, atol=1e-9)
    np.testing.assert_allclose(plane.from_canvas(drawn), pixels, atol=1e-9)
    # and so are the labels, and pictures laid over it
    place = find_output_place(image, plane)
    labels = place.new_layer()
    show_in(labels, dims)
    np.testing.assert_allclose(
        drawn_at(labels, pixels_at(labels, dims, pixels), dims), drawn, atol=1e-9
    )
    overlay = LayerTransform.of(Image(np.zeros((7, 7)), **picture_kwargs(place, (7, 7))))
    np.testing.assert_allclose(overlay.to_canvas(pixels, (0, 1)), drawn, atol=1e-9)
    # the labels of this plane are those that napari shows with it
    labels.data[plane.level_index()] = 3
    labels._slicing_state.set_view_slice()
    assert (labels._slice.image.raw == 3).all()


def _slider_on(image, dims):
    """Return a position at which napari shows something of an image."""
    hidden = [axis for axis in range(image.ndim) if axis not in dims.displayed]
    point = np.array(dims.point)
    if hidden:
        point[hidden] = LayerTransform.of(image).slider_at(np.full(len(hidden), 3.0), hidden)
    return tuple(point)


@examples(30)
@given(st.data())
def test_a_click_on_a_pixel_is_drawn_there_and_read_as_that_pixel(data):
    ndim = data.draw(st.integers(2, 4))
    image, dims, plane = seen(data.draw, (7,) * ndim)
    pixel = data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6)))
    show_in(image, dims)
    under_cursor = drawn_at(image, pixels_at(image, dims, [pixel]), dims)[0]
    cursor = np.array(dims.point)
    cursor[list(dims.displayed)] = under_cursor
    points = new_points_layer(image, "clicks", 1, plane.shown)
    points.add(points.world_to_data(cursor))
    show_in(points, dims)
    np.testing.assert_allclose(drawn_at(points, points.data, dims)[0], under_cursor, atol=1e-6)
    margins = points._data_slice.as_array()[1:]
    # a shear between two sliders leaves nothing between the margins
    assert points._view_indices.tolist() == [0] or (margins < 0).any()
    assert [mark.point.pixel for mark in read_points(points, plane).points] == [pixel]


@examples(30)
@given(st.data())
def test_marks_of_any_layer_count_where_napari_draws_them_if_it_does(data):
    ndim = data.draw(st.integers(3, 4))
    image, dims, plane = seen(data.draw, (40,) * ndim)
    own = data.draw(st.integers(2, ndim))
    order = [axis for axis in dims.order if axis >= ndim - own]
    assume(order[-2:] == list(dims.displayed))
    marks = data.draw(st.lists(st.tuples(*[QUARTERS] * own), min_size=1, max_size=12))
    mode = data.draw(st.sampled_from(["none", "all", "rescale_linear", "rescale_spherical"]))
    points = Points(marks, size=3, projection_mode=mode, **data.draw(places(own)))
    show_in(image, dims)
    show_in(points, dims)
    at = np.asarray(points._data_slice.point)
    here = [i for i, mark in enumerate(marks) if np.nanmax(np.abs(mark - at), initial=0) < 1e-6]
    shown = {*points._view_indices.tolist(), *here}
    assert np.flatnonzero(is_shown(points, plane)).tolist() == sorted(shown)
    pixels = to_pixels(points, points.data, plane)
    np.testing.assert_allclose(
        drawn_at(image, pixels_at(image, dims, pixels), dims),
        drawn_at(points, points.data, dims),
        atol=1e-6,
    )


@examples(60)
@given(st.data())
def test_shapes_count_where_napari_draws_them_if_it_does(data):
    _, dims, plane = seen(data.draw, (20, 40, 60))
    shapes = Shapes(ndim=3, **data.draw(places(3)))
    hidden = dims.order[0]
    kinds = data.draw(
        st.lists(st.sampled_from(["rectangle", "ellipse", "polygon", "path", "line"]), min_size=1)
    )
    for kind in kinds:
        corners = np.zeros((2 if kind == "line" else 4, 3))
        corners[:, sorted({0, 1, 2} - {hidden})] = [(0, 0), (0, 9), (5, 9), (5, 0)][: len(corners)]
        corners[:, hidden] = data.draw(QUARTERS)
        shapes.add(corners, shape_type=kind)
    show_in(shapes, dims)
    at = shapes._data_slice.point[hidden]
    drawn = np.asarray(shapes._data_view._displayed)
    here = [abs(vertices[0, hidden] - at) < 1e-6 for vertices in shapes.data]
    assert is_shown(shapes, plane).tolist() == (drawn | here).tolist()


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("thickness", [0, 4])
def test_what_is_put_on_pixels_is_drawn_there_shown_and_read_back(order, thickness):
    affine = np.eye(4)
    affine[1, 0], affine[2, 1], affine[:3, 3] = 0.5, 0.25, (3, -7, 11)
    image = Image(np.zeros((8, 9, 10)), scale=(0.3, 2, 0.7), affine=affine)
    other = {"scale": (0.7, 0.3, 1), "translate": (1, 2, 3), "shear": [0.3, 0, 0.2]}
    layers = [Points(ndim=3, **other), Shapes(ndim=3, **other)]
    viewer = ViewerModel()
    for layer in (image, *layers):
        viewer.add_layer(layer)
    viewer.dims.order = order
    viewer.dims.point = _slider_on(image, viewer.dims)
    viewer.dims.thickness = (thickness,) * 3
    plane = find_plane(image, viewer.dims)
    corners = np.array([(1, 2), (1, 6), (5, 6), (5, 2)])
    layers[0].add(from_pixels(layers[0], corners, plane))
    layers[1].add_polygons(from_pixels(layers[1], corners - 0.25, plane))
    pixels = [mark.point.pixel for mark in read_points(layers[0], plane).points]
    assert pixels == [tuple(corner) for corner in corners]
    (box,) = (drawn.box for drawn in read_shapes(layers[1], plane).boxes)
    assert (box.top, box.left, box.bottom, box.right) == (1, 2, 5, 6)
    assert layers[0]._view_indices.tolist() == [0, 1, 2, 3]
    assert layers[1]._data_view._displayed.tolist() == [True]


def test_prompt_layers_over_an_upright_image_lie_as_it_does():
    image = Image(np.zeros((8, 9, 10)), scale=(0.3, 2, 0.7), rotate=20, translate=(1, 2, 3))
    for layer in (new_points_layer(image, "a", 1, (1, 2)), new_shapes_layer(image, "b", 1, (2, 1))):
        assert LayerTransform.of(layer).matches(LayerTransform.of(image))
        np.testing.assert_array_equal(layer.scale, image.scale)


def test_the_sliders_go_back_to_a_plane_and_its_thickness_when_axes_were_added():
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((9, 5, 7)))
    viewer.dims.set_point(0, 4)
    viewer.dims.margin_left, viewer.dims.margin_right = (1, 0, 0), (2, 0, 0)
    plane = find_plane(image, viewer.dims)
    viewer.dims.thickness = (0, 0, 0)
    viewer.add_image(np.zeros((3, 9, 5, 7)))
    viewer.dims.point = (2, 0, 0, 0)
    go_to(viewer.dims, plane)
    assert viewer.dims.point[:2] == (2, 4)
    assert (viewer.dims.margin_left, viewer.dims.margin_right) == ((0, 1, 0, 0), (0, 2, 0, 0))
    assert find_plane(image, viewer.dims).index == plane.index
