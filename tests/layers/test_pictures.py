"""How layers look as a picture: what is on the screen, and no more of it read than is needed."""

import gc
import weakref
from contextlib import suppress

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Image
from napari.utils import Colormap

from napari_sam3.core.geometry import Box
from napari_sam3.errors import ImageError
from napari_sam3.layers.output import find_output_place
from napari_sam3.layers.pictures import LastPicture, capture_composed, capture_picture
from napari_sam3.layers.planes import find_plane

from .stacks import Counted, CountingStore, ignore_turned, numbered, show

# --- colour


def test_a_stack_of_four_columns_is_not_rgba():
    image = Image(numbered(10, 64, 4), rgb=False)
    viewer = show(image, at={0: 7})
    picture = capture_picture(image, find_plane(image, viewer.dims))
    assert not picture.channels[0].rgb
    assert np.array_equal(picture.channels[0].pixels(), image.data[7])
    assert picture.read().rgb.shape == (64, 4, 3)


@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2)])
def test_an_rgb_stack_keeps_its_colours_in_any_order(depth, order):
    data = np.random.default_rng(0).integers(0, 256, (5, 6, 9, depth), np.uint8)
    data[..., 3:] = 255
    image = Image(data, rgb=True)
    viewer = show(image, at={0: 2, 1: 4}, order=order)
    expected = {
        (0, 1, 2): data[2],
        (0, 2, 1): data[2].transpose(1, 0, 2),
        (1, 0, 2): data[:, 4],
    }[order]
    picture = capture_picture(image, find_plane(image, viewer.dims))
    assert np.array_equal(picture.read().rgb, expected[..., :3])
    assert np.array_equal(picture.channels[0].overlay(picture.box).picture, expected[..., :3])


# --- as displayed


def test_contrast_limits_are_those_of_the_layer():
    image = Image(np.array([[0, 100, 150, 200, 900]], np.uint16), contrast_limits=(100, 200))
    picture = capture_picture(image, find_plane(image, show(image).dims)).read().rgb
    assert picture[0, :, 1].tolist() == [0, 0, 128, 255, 255]
    assert (picture == picture[..., :1]).all()


def test_gamma_is_that_of_the_layer():
    image = Image(np.array([[0.0, 0.25, 1.0]]), contrast_limits=(0, 1), gamma=0.5)
    picture = capture_picture(image, find_plane(image, show(image).dims)).read().rgb
    assert picture[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("colormap", "first"),
    [("gray", 0), ("green", 0), ("viridis", 0), ("gray_r", 255), ("I Blue", 255)],
)
def test_what_is_shown_dark_is_dark(colormap, first):
    image = Image(np.array([[0.0, 1.0]]), contrast_limits=(0, 1), colormap=colormap)
    picture = capture_picture(image, find_plane(image, show(image).dims)).read().rgb
    assert picture[0, :, 0].tolist() == [first, 255 - first]


def test_a_picture_is_frozen_as_it_looked_when_it_was_captured():
    image = Image(np.array([[0, 100, 200]], np.uint16), contrast_limits=(0, 200))
    picture = capture_picture(image, find_plane(image, show(image).dims))
    image.contrast_limits = (100, 101)
    image.gamma = 2
    image.colormap = "gray_r"
    assert picture.read().rgb[0, :, 0].tolist() == [0, 128, 255]


def test_nan_is_black_and_an_image_of_nothing_else_too():
    image = Image(np.array([[np.nan, 0, 1]]), contrast_limits=(0, 1))
    picture = capture_picture(image, find_plane(image, show(image).dims)).read().rgb
    assert picture[0, :, 0].tolist() == [0, 0, 255]
    image = Image(np.full((4, 5), np.nan))
    assert not capture_picture(image, find_plane(image, show(image).dims)).read().rgb.any()


def test_one_pixel_is_a_picture():
    image = Image(np.ones((1, 1), np.uint8), contrast_limits=(0, 1))
    assert capture_picture(image, find_plane(image, show(image).dims)).read().rgb.tolist() == [
        [[255, 255, 255]]
    ]


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")  # napari's own, on adding
def test_complex_numbers_are_refused_with_a_sentence():
    image = Image(np.ones((4, 5)), name="fourier")
    plane = find_plane(image, show(image).dims)
    with suppress(NotImplementedError, TypeError):  # napari cannot show them, but keeps them
        image.data = np.ones((4, 5), complex)
    assert image.dtype == complex
    with pytest.raises(ImageError, match="“fourier” holds complex numbers"):
        capture_picture(image, plane)


# --- only what is needed


def test_one_plane_of_a_200_chunk_dask_stack_computes_one_chunk():
    counted = Counted()
    image = Image(counted.dask(), contrast_limits=(0, 65535))
    viewer = show(image, at={0: 123})
    counted.read.clear()
    plane = find_plane(image, viewer.dims)
    picture = capture_picture(image, plane)
    find_output_place(image, plane)
    assert counted.read == []
    assert np.array_equal(picture.channels[0].pixels(), counted.data[123])
    assert counted.read == [(123, 0, 0)]


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_one_plane_of_a_200_chunk_zarr_fetches_one_chunk(order):
    store = CountingStore()
    data = numbered(200, 8, 9)
    array = zarr.create_array(store, shape=data.shape, chunks=(1, 8, 9), dtype=data.dtype)
    array[:] = data
    image = Image(array, contrast_limits=(0, 65535))
    viewer = show(image, at={0: 123}, order=order)
    store.fetched = 0
    plane = find_plane(image, viewer.dims)
    picture = capture_picture(image, plane)
    find_output_place(image, plane)
    assert store.fetched == 0
    assert np.array_equal(picture.channels[0].pixels(), data[123] if order[1] == 1 else data[123].T)
    assert store.fetched == 1


def test_a_part_of_a_plane_fetches_only_the_chunks_under_it():
    store, data = CountingStore(), numbered(6, 20, 33)
    array = zarr.create_array(store, shape=data.shape, chunks=(1, 5, 8), dtype=data.dtype)
    array[:] = data
    image = Image(array, contrast_limits=(0, 4000))
    image.projection_mode = "mean"
    viewer = show(image, at={0: 3})
    viewer.dims.margin_left = viewer.dims.margin_right = (1, 0, 0)
    picture = capture_picture(image, find_plane(image, viewer.dims))
    assert picture.channels[0].slab.ranges == ((2, 5),)
    store.fetched = 0
    part = picture.read(Box(6, 9, 9, 17))
    # of three planes one row and two columns of chunks
    assert store.fetched == 6
    assert np.array_equal(part.rgb, picture.read().rgb[6:9, 9:17])


@ignore_turned
@given(st.data())
def test_a_part_is_the_same_part_of_the_whole_for_all_that_a_viewer_shows(data):
    fine = numbered(5, 24, 36, dtype=np.float32)
    pyramid = Image(
        [fine, fine[:, ::2, ::2]], multiscale=True, contrast_limits=(0, 4000), gamma=0.8
    )
    beside = Image(
        numbered(5, 9, 14),
        contrast_limits=(0, 600),
        colormap="magma",
        blending="additive",
        scale=(1, 2.3, 1.7),
        translate=(0, 1.4, -3),
        rotate=(0, 0, 12),
        opacity=0.7,
    )
    beside.projection_mode = "mean"
    viewer = show(pyramid, beside, at={0: 2}, order=data.draw(st.permutations(range(3))))
    viewer.dims.margin_left = viewer.dims.margin_right = (1, 1, 1)
    plane = find_plane(pyramid, viewer.dims, data.draw(st.sampled_from([20, 100])))
    pictures = (
        capture_picture(pyramid, plane),
        capture_composed([pyramid, beside], plane, viewer.dims),
    )
    rows, cols = plane.shape
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    bottom, right = data.draw(st.integers(top + 1, rows)), data.draw(st.integers(left + 1, cols))
    for picture in pictures:
        part = picture.read(Box(top, left, bottom, right))
        assert part.rgb.tobytes() == picture.read().rgb[top:bottom, left:right].tobytes()


def test_composing_lazy_layers_computes_nothing_before_it_is_read():
    stacks = [Counted(20), Counted(20)]
    images = [Image(stack.dask(), contrast_limits=(0, 65535)) for stack in stacks]
    viewer = show(*images, at={0: 3})
    for stack in stacks:
        stack.read.clear()
    picture = capture_composed(images, find_plane(images[0], viewer.dims), viewer.dims)
    assert [stack.read for stack in stacks] == [[], []]
    picture.read()
    assert [stack.read for stack in stacks] == [[(3, 0, 0)], [(3, 0, 0)]]


class WithoutNumpysTranspose:
    """Like an xarray: cut by index, turned by the names of its axes only."""

    def __init__(self, data):
        self.data = data
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim

    def __getitem__(self, key):
        return WithoutNumpysTranspose(self.data[key])

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype=dtype)

    def transpose(self, *names):
        raise ValueError(f"no axes {names}")


def test_arrays_that_turn_in_another_way_are_read_transposed():
    data = numbered(4, 5, 6)
    image = Image(data)
    viewer = show(image, at={0: 2}, order=(0, 2, 1))
    plane = find_plane(image, viewer.dims)
    assert np.array_equal(plane.read(WithoutNumpysTranspose(data)), data[2].T)


# --- several layers


def composed(viewer, reference=0):
    images = [layer for layer in viewer.layers if layer.visible]
    plane = find_plane(viewer.layers[reference], viewer.dims)
    return capture_composed(images, plane, viewer.dims).read().rgb


def gray(value, shape=(4, 6), **kwargs):
    return Image(np.full(shape, value), contrast_limits=(0, 1), **kwargs)


def test_channels_are_composed_with_their_colours():
    red = gray(1.0, colormap="red", blending="additive")
    green = gray(0.5, colormap="green", blending="additive")
    assert composed(show(red, green))[0, 0].tolist() == [255, 128, 0]


def test_opacity_and_blending_are_respected():
    below = gray(1.0, colormap="red")
    above = gray(1.0, colormap="blue", opacity=0.5, blending="translucent")
    assert composed(show(below, above))[2, 3].tolist() == [128, 0, 128]


def test_an_rgb_layer_and_a_gray_one_are_composed():
    data = np.zeros((4, 6, 3), np.uint8)
    data[..., 2] = 200
    image = Image(data, rgb=True)
    above = gray(1.0, colormap="red", blending="additive")
    assert composed(show(image, above))[0, 0].tolist() == [255, 0, 200]


def test_a_layer_with_other_pixels_is_resampled_to_the_last_border():
    fine = gray(0.0, (4, 6), blending="additive")
    values = np.array([[0.2, 0.4, 0.6], [0.8, 1.0, 0.0]])
    # two fine pixels each: the first coarse centre lies between the first two fine ones
    coarse = Image(
        values, scale=(2, 2), translate=(0.5, 0.5), contrast_limits=(0, 1), blending="additive"
    )
    expected = np.rint(np.kron(values, np.ones((2, 2))) * 255)
    assert np.array_equal(composed(show(fine, coarse))[..., 0], expected)


def test_a_shifted_and_turned_layer_lands_where_it_is_shown():
    reference = gray(0.0, (5, 7), blending="additive", scale=(0.5, 0.5), translate=(10, 20))
    spot = np.zeros((7, 5))
    spot[4, 1] = 1
    turned = Image(spot, contrast_limits=(0, 1), blending="additive", scale=(0.5, 0.5))
    # rows of the one are columns of the other
    turned.affine = np.array([[0, 1, 10], [1, 0, 20], [0, 0, 1.0]])
    picture = composed(show(reference, turned))
    assert np.argwhere(picture[..., 0] > 0).tolist() == [[1, 4]]


@pytest.mark.parametrize("blending", ["translucent", "opaque", "additive", "minimum"])
def test_a_layer_hides_nothing_where_it_is_not(blending):
    below = gray(1.0, (4, 6), colormap="red")
    inset = gray(1.0, (2, 2), colormap="blue", blending=blending, translate=(1, 2))
    picture = composed(show(below, inset))
    inside = np.zeros((4, 6), bool)
    inside[1:3, 2:4] = True
    assert (picture[~inside] == [255, 0, 0]).all()
    expected = {"additive": [255, 0, 255], "minimum": [0, 0, 0]}.get(blending, [0, 0, 255])
    assert (picture[inside] == expected).all()


def test_an_inverted_layer_at_the_bottom_leaves_the_canvas_black_beside_it():
    inset = gray(0.0, (2, 2), colormap="gray_r", translate=(1, 2))
    reference = gray(0.0, (4, 6), blending="additive")
    picture = composed(show(inset, reference), reference=1)
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[1, 2].tolist() == [255, 255, 255]


def test_composing_in_a_transposed_view_and_at_another_plane():
    data = np.random.default_rng(1).random((4, 5, 6))
    image = Image(data, contrast_limits=(0, 1), blending="additive", scale=(2, 1, 1))
    above = Image(np.zeros((8, 5, 6)), contrast_limits=(0, 1), blending="additive")
    viewer = show(image, above, at={0: 6}, order=(0, 2, 1))
    picture = composed(viewer)
    np.testing.assert_array_equal(picture[..., 1], np.rint(data[3].T * 255))


def test_layers_that_show_no_plane_are_left_out_of_the_composition():
    image = Image(numbered(6, 4, 6), contrast_limits=(0, 1), blending="additive")
    short = gray(1.0, (2, 4, 6), blending="additive")
    viewer = show(image, short, at={0: 5})
    assert composed(viewer).shape == (4, 6, 3)


def test_no_layer_to_compose_is_refused_with_a_sentence():
    image = Image(numbered(4, 6))
    viewer = show(image)
    with pytest.raises(ImageError, match="No image is visible"):
        capture_composed([], find_plane(image, viewer.dims), viewer.dims)


def test_a_colormap_of_ones_own_gives_its_colours():
    teal = Colormap([[0, 0, 0, 1], [0, 0.5, 0.5, 1]])
    assert composed(show(gray(1.0, colormap=teal)))[0, 0].tolist() == [0, 128, 128]


# --- kept


class TestLastPicture:
    @pytest.fixture
    def desk(self):
        above = gray(0.8, colormap="green", opacity=0.5, blending="additive")
        return Desk(gray(0.35), above)

    def test_what_looks_the_same_is_the_same_picture_with_its_pixels(self, desk):
        first = desk.single()
        pixels = first.read()
        desk.viewer.add_points([[1, 2]])
        desk.viewer.add_labels(np.zeros((4, 6), int))
        desk.viewer.scene.camera.zoom = 3
        desk.images[1].gamma = 0.7
        assert desk.single() is first
        assert desk.single().read() is pixels

    @pytest.mark.parametrize(
        "change",
        [
            lambda image: setattr(image, "contrast_limits", (0, 0.7)),
            lambda image: setattr(image, "gamma", 0.6),
            lambda image: setattr(image, "colormap", "gray_r"),
            lambda image: setattr(image, "data", image.data / 2),
            lambda image: (image.data.fill(0.1), image.refresh()),
        ],
    )
    @pytest.mark.parametrize("kind", ["single", "together"])
    def test_another_look_or_other_data_are_another_picture(self, desk, change, kind):
        picture = getattr(desk, kind)
        first = picture()
        first.read()
        change(desk.images[0])
        assert picture() is not first
        assert picture().read().rgb.tolist() == desk.shown(picture).tolist()

    @pytest.mark.parametrize(
        "change",
        [
            lambda image: setattr(image, "opacity", 0.3),
            lambda image: setattr(image, "blending", "minimum"),
            lambda image: setattr(image, "visible", False),
            lambda image: setattr(image, "translate", (0, 2)),
            lambda image: setattr(
                image, "colormap", Colormap([[0, 0, 0], [0, 0, 1]], name="green")
            ),
            lambda image: (image.data.fill(0.1), image.refresh()),
        ],
    )
    def test_each_layer_of_a_composed_picture_counts(self, desk, change):
        first = desk.together()
        assert desk.together() is first
        change(desk.images[1])
        assert desk.together() is not first
        assert desk.together().read().rgb.tolist() == desk.shown(desk.together).tolist()

    def test_another_plane_is_another_picture_and_changed_data_are_seen_on_it(self):
        desk = Desk(Image(numbered(5, 4, 6), contrast_limits=(0, 120)))
        first = desk.single()
        first.read()
        desk.images[0].data[3] = 60
        desk.viewer.dims.set_point(0, 3)
        assert np.unique(desk.single().read().rgb).tolist() == [128]

    def test_data_of_an_invisible_layer_are_read_each_time(self, desk):
        # it does not tell of changes, as there is nothing to show
        desk.single().read()
        desk.images[0].visible = False
        before = desk.single().read()
        desk.images[0].data.fill(0.1)
        desk.images[0].refresh()
        after = desk.single().read()
        assert after.rgb.tolist() == desk.shown(desk.single).tolist() != before.rgb.tolist()

    def test_nothing_of_a_removed_layer_is_kept(self, desk):
        pixels = weakref.ref(desk.together().read())
        desk.last.forget(desk.viewer.add_image(np.ones((4, 6))))
        assert pixels() is not None
        desk.last.forget(desk.images[1])
        assert pixels() is None

    def test_it_keeps_no_layer_alive(self, desk):
        desk.single()
        layer = weakref.ref(desk.images[0])
        desk.viewer.layers.clear()
        desk.images = ()
        gc.collect()
        assert layer() is None


class Desk:
    """Images, and the last picture of the lowest of them, or of all."""

    def __init__(self, *images):
        self.images, self.viewer, self.last = images, show(*images), LastPicture()

    def single(self):
        image = self.images[0]
        return self.last.kept(capture_picture(image, find_plane(image, self.viewer.dims)), [image])

    def together(self):
        visible = [image for image in self.images if image.visible]
        plane = find_plane(self.images[0], self.viewer.dims)
        return self.last.kept(capture_composed(visible, plane, self.viewer.dims), visible)

    def shown(self, picture):
        """What it would be, were nothing kept."""
        kept, self.last = self.last, LastPicture()
        try:
            return picture().read().rgb
        finally:
            self.last = kept
