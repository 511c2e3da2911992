"""What layers, planes and pictures say of themselves, in JSON's own types."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_sam3.core.blending import Overlay, compose
from napari_sam3.core.images import to_rgb8, to_uint8
from napari_sam3.core.progress import drain
from napari_sam3.layers.describing import describe_image, describe_placement, describe_plane
from napari_sam3.layers.output import find_output_place, iter_is_empty, picture_kwargs
from napari_sam3.layers.pictures import capture_composed, capture_picture
from napari_sam3.layers.planes import find_plane

SHAPE = (4, 20, 30)
STACK = np.random.default_rng(3).integers(0, 4000, SHAPE).astype(np.uint16)


def shown(*layers, order=None, point=None):
    viewer = ViewerModel()
    for layer in layers:
        viewer.add_layer(layer)
    if order:
        viewer.dims.order = order
    if point:
        viewer.dims.point = point
    return viewer


def in_json(value):
    return json.loads(json.dumps(value, allow_nan=False))


def test_an_image_is_told_by_its_name_and_full_size():
    levels = [np.zeros((40, 60, 3), np.uint8), np.zeros((20, 30, 3), np.uint8)]
    image = Image(levels, multiscale=True, rgb=True, name="tissue")
    assert in_json(describe_image(image)) == {"name": "tissue", "shape": [40, 60]}
    assert describe_image(Image(STACK))["shape"] == [4, 20, 30]


def test_a_plane_of_a_turned_view_is_told():
    image = Image(STACK, scale=(2, 0.5, 0.5), translate=(10, 0, 0))
    viewer = shown(image, order=(1, 2, 0), point=(12, 3, 4))
    said = describe_plane(find_plane(image, viewer.dims))
    assert in_json(said) == said
    assert said["shown"] == [2, 0]
    assert said["index"] == [0, 6, 0]
    assert said["shape"] == [30, 4]
    assert (said["level"], said["factors"]) == (0, [1.0, 1.0, 1.0])
    assert said["world"] == [12.0, 3.0, 4.0]


def test_a_place_in_the_world_is_told_with_all_its_parts():
    kwargs = {"scale": (2, 0.5, 0.5), "translate": (0, 100, 50), "rotate": (0, 0, 30)}
    image = Image(STACK, name="stack", **kwargs, units=("µm",) * 3, axis_labels=("z", "y", "x"))
    viewer = shown(image)
    place = find_output_place(image, find_plane(image, viewer.dims))
    said = place.describe()
    assert in_json(said) == said
    layer = place.new_layer()
    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_allclose(said[name], getattr(layer, name))
    np.testing.assert_allclose(said["affine"], np.eye(4))
    assert said["units"] == ["micrometer"] * 3
    assert said["axis_labels"] == ["z", "y", "x"]
    assert said["shape"] == [4, 20, 30]
    assert place.image == {"name": "stack", "shape": [4, 20, 30]}
    again = Labels(np.zeros(SHAPE, np.uint8), **{k: said[k] for k in kwargs})
    np.testing.assert_allclose(again.data_to_world((1, 2, 3)), layer.data_to_world((1, 2, 3)))


def test_a_picture_over_a_plane_has_a_place_too():
    image = Image(STACK, scale=(2, 0.5, 0.5))
    viewer = shown(image)
    place = find_output_place(image, find_plane(image, viewer.dims))
    said = describe_placement((10, 15), picture_kwargs(place, (10, 15, 3)))
    assert in_json(said) == said
    assert said["affine"][0][0] == 1.0


def test_a_gray_plane_can_be_made_again_from_what_is_told():
    image = Image(STACK, contrast_limits=(200, 3100), gamma=0.7, colormap="gray_r")
    viewer = shown(image, point=(2, 0, 0))
    picture = capture_picture(image, find_plane(image, viewer.dims))
    said = in_json(picture.describe())
    assert said == {
        "kind": "gray",
        "dtype": "uint16",
        "contrast_limits": [200.0, 3100.0],
        "gamma": 0.7,
        "inverted": True,
    }
    low, high = said["contrast_limits"]
    again = to_rgb8(to_uint8(STACK[2], (low, high), said["gamma"], inverted=said["inverted"]))
    np.testing.assert_array_equal(again, picture.read().rgb)


@pytest.mark.parametrize(("limits", "gamma"), [((0, 255), 1.0), ((30, 80), 0.5)])
def test_a_picture_in_colours_can_be_made_again_from_what_is_told(limits, gamma):
    colours = np.random.default_rng(2).integers(0, 99, (20, 30, 3)).astype(np.uint8)
    image = Image(colours, rgb=True, contrast_limits=limits, gamma=gamma)
    picture = capture_picture(image, find_plane(image, shown(image).dims))
    said = in_json(picture.describe())
    look = {"contrast_limits": list(limits), "gamma": gamma}
    assert said == {"kind": "rgb", "dtype": "uint8"} | look
    again = to_rgb8(colours, tuple(said["contrast_limits"]), said["gamma"])
    np.testing.assert_array_equal(again, picture.read().rgb)


def test_a_composed_picture_can_be_made_again_from_what_is_told():
    options = ({"colormap": "green"}, {"colormap": "magma", "opacity": 0.5})
    images = [
        Image(STACK[i], contrast_limits=(i, 3000), blending="additive", name=f"c{i}", **each)
        for i, each in enumerate(options)
    ]
    viewer = shown(*images)
    picture = capture_composed(images, find_plane(images[0], viewer.dims), viewer.dims)
    said = in_json(picture.describe())
    assert said["kind"] == "composed"
    assert [layer["name"] for layer in said["layers"]] == ["c0", "c1"]
    assert [layer["colormap"] for layer in said["layers"]] == ["green", "magma"]
    channels = [
        Overlay(
            to_uint8(STACK[i], tuple(layer["contrast_limits"]), layer["gamma"]),
            np.frombuffer(bytes.fromhex(layer["colors"]), np.uint8).reshape(256, 3),
            layer["opacity"],
            layer["blending"],
        )
        for i, layer in enumerate(said["layers"])
    ]
    np.testing.assert_array_equal(compose(channels, tuple(said["shape"])), picture.read().rgb)


def test_a_layer_that_lies_elsewhere_says_how():
    below = Image(STACK[0], name="below")
    above = Image(STACK[1, :10, :15], scale=(2, 2), translate=(0.5, 0.5))
    viewer = shown(below, above)
    picture = capture_composed([below, above], find_plane(below, viewer.dims), viewer.dims)
    first, second = in_json(picture.describe())["layers"]
    assert "matrix" not in first
    np.testing.assert_allclose(second["matrix"], np.eye(2) / 2)
    np.testing.assert_allclose(second["offset"], [-0.25, -0.25])


def finished(steps):
    pauses = []
    return drain(steps, pauses.append), len(pauses)


def test_whether_a_layer_is_empty_is_looked_at_bit_by_bit():
    data = np.zeros((3, 1500, 1000), np.uint16)
    assert finished(iter_is_empty(Labels(data)))[0]
    assert finished(iter_is_empty(Labels(data)))[1] > 2
    data[2, -1, -1] = 1
    assert not finished(iter_is_empty(Labels(data)))[0]
    assert finished(iter_is_empty(Labels(np.zeros((20, 30), int)))) == (True, 0)
