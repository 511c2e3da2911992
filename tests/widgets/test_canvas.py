"""Objects on the canvas lie where napari draws them."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.widgets._canvas import Canvas

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")

SHEARED = np.array([[1, 0, 0, 3], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
ONE = PlaneObject(5, Instance(np.ones((4, 6), bool), Box(10, 20, 14, 26)))


@pytest.fixture
def labels():
    data = np.zeros((20, 30, 40), np.uint16)
    data[10, 10:14, 20:26] = 5
    viewer = ViewerModel()
    return viewer, viewer.add_labels(data, affine=SHEARED)


def clicked(viewer, layer, position):
    heard = []
    canvas = Canvas(viewer, heard.append)
    canvas.follow(layer)
    canvas.open()
    viewer.layers.selection.active = None
    for kind, call in (
        ("mouse_press", mouse_press_callbacks),
        ("mouse_release", mouse_release_callbacks),
    ):
        call(viewer, read_only_mouse_event(type=kind, pos=np.zeros(2), position=position))
    canvas.close()
    return heard


@pytest.mark.parametrize(
    ("place", "label"), [((10, 20), [5]), ((13, 25), [5]), ((9, 20), [0]), ((-3, 20), [])]
)
def test_a_click_on_a_sheared_stack_is_on_the_object_under_the_cursor(labels, place, label):
    viewer, layer = labels
    viewer.dims.set_point(0, 13)
    assert (layer._slice.image.raw[10:14, 20:26] == 5).all()
    assert clicked(viewer, layer, (13, *place)) == label


def test_a_click_in_a_turned_view_is_on_the_object_under_the_cursor(labels):
    viewer, layer = labels
    viewer.dims.order = (1, 2, 0)
    viewer.dims.set_point(1, layer._transforms.simplified.translate[1] + 12 - 1.5)
    row, col = np.argwhere(layer._slice.image.raw == 5)[0]
    world = np.array(viewer.dims.point)
    world[[2, 0]] = row, col + 3
    assert clicked(viewer, layer, tuple(world)) == [5]


def test_nothing_is_clicked_on_in_a_layer_that_is_hidden(labels):
    viewer, layer = labels
    viewer.dims.set_point(0, 13)
    layer.visible = False
    assert clicked(viewer, layer, (13, 11, 22)) == []


def test_an_object_of_a_sheared_stack_is_brought_to_the_middle_where_it_is_drawn(labels):
    viewer, layer = labels
    canvas = Canvas(viewer, lambda label: None)
    canvas.follow(layer)
    canvas.centre(PlaneIndex((1, 2), (10,)), ONE)
    assert viewer.dims.point[0] == 13
    assert viewer.scene.camera.center[-2:] == (11.5, 22.5)
