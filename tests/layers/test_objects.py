"""The store behind a Labels layer."""

from __future__ import annotations

import copy

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.layers.objects import OBJECTS_KEY, find_store, flaw_of, plane_index, store_of
from napari_sam3.layers.planes import find_plane

BOX = Box(2, 3, 6, 9)
ONE = LabelledObject(1, {PlaneIndex(): Part(Instance(np.ones(BOX.shape, bool), BOX))})


@pytest.fixture
def layer():
    return Labels(np.zeros((20, 31), np.uint16), metadata={"others": "stay"})


def test_a_layer_has_one_store_of_its_shape_and_what_others_keep_there_stays(layer):
    assert find_store(layer) is None
    store = store_of(layer)
    assert (len(store), store.shape) == (0, (20, 31))
    assert store_of(layer) is find_store(layer) is store
    assert layer.metadata["others"] == "stay"


def test_what_is_no_store_is_none(layer):
    layer.metadata[OBJECTS_KEY] = {"planes": []}
    assert find_store(layer) is None
    assert len(store_of(layer)) == 0


@pytest.mark.parametrize("copied", [dict, copy.deepcopy])
def test_a_duplicated_layer_has_a_store_of_its_own(layer, copied):
    store_of(layer).edit({1: ONE})
    other = Labels(layer.data.copy(), metadata=copied(layer.metadata))
    own = find_store(other)
    assert own is find_store(other) is not store_of(layer)
    assert own.objects.keys() == {1}
    own.edit({1: None})
    assert store_of(layer).objects.keys() == {1}


def test_a_store_that_no_layer_had_yet_is_the_first_one_s(layer):
    store = store_of(Labels(np.zeros((20, 31), np.uint16)))
    store.owner = None
    layer.metadata[OBJECTS_KEY] = store
    assert find_store(layer) is store


@pytest.mark.parametrize(
    ("order", "expected"),
    [((0, 1, 2), PlaneIndex((1, 2), (2,))), ((1, 2, 0), PlaneIndex((2, 0), (3,)))],
)
def test_a_plane_of_an_image_is_the_same_plane_of_its_labels(order, expected):
    viewer = ViewerModel()
    image = viewer.add_layer(Image(np.zeros((5, 6, 7)), scale=(1, 2, 3)))
    viewer.dims.order = order
    for axis, position in enumerate((2, 6, 12)):
        viewer.dims.set_point(axis, position)
    assert plane_index(find_plane(image, viewer.dims)) == expected


# --- layers whose objects cannot be reviewed ---------------------------------------------------


def locked():
    data = np.ones((4, 5), np.uint16)
    data.flags.writeable = False
    return data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (locked(), "read-only"),
        (da.zeros((4, 5), dtype=int), "not a plain array"),
        ([np.ones((4, 6), int), np.ones((2, 3), int)], "not a plain array"),
        (np.full((4, 5), 2**32 - 1, np.int64), ""),
        (np.full((4, 5), 2**32 - 1, np.uint32), ""),
        (np.ones((4, 5), np.uint8), ""),
    ],
)
def test_a_layer_that_cannot_be_reviewed_is_told_of(data, why):
    flaw = flaw_of(Labels(data, name="mine"))
    assert why in flaw
    assert bool(flaw) == bool(why)
    assert flaw == "" or flaw.startswith("“mine” cannot be reviewed")
