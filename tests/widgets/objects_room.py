"""A viewer without a window, an image in it, and objects over it: what the panel looks at."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Points

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.layers.features import object_rows
from napari_sam3.layers.objects import find_store, store_of

LIMIT_S = 20
LIMIT_MS = LIMIT_S * 1000
SHAPE = (60, 90)
WHOLE = PlaneIndex()
LARGE, SMALL, EDGE = Box(5, 10, 30, 50), Box(10, 15, 20, 30), Box(40, 60, 60, 80)


def solid(box, score=0.9, concept=""):
    """Return an object that fills its box."""
    return Instance(np.ones(box.shape, dtype=bool), box, score, concept)


def finds(*items):
    """Return what an engine is to answer: these objects, whatever it is asked."""
    return lambda request: Instances(request.shape, items)


def picture(shape=SHAPE):
    """Return an image without any symmetry."""
    return np.random.default_rng(7).integers(0, 255, shape, dtype=np.uint8)


OBJECTS = {1: solid(LARGE, 0.9), 2: solid(EDGE, 0.7), 3: solid(SMALL, 0.6)}
"""A large one, one at the border, and one that the large one hides, from top to bottom."""


def add_run(layer, objects, index=WHOLE, engine="Built-in", sources=None):
    """Put into a layer's store what a run has found, from top to bottom; nothing is painted."""
    store = store_of(layer)
    made = {
        label: LabelledObject(
            label,
            {index: Part(item, engine, (sources or {}).get(label))},
            depth=store.next_depth + place,
        )
        for place, (label, item) in enumerate(objects.items())
    }
    store.edit(made)
    return store


def labels_on_record(objects=OBJECTS, name="cells objects"):
    """Return a layer as a run leaves it."""
    layer = Labels(np.zeros(SHAPE, np.uint16), name=name)
    for label in reversed(objects):
        layer.data[objects[label].box.slices] = label
    store = add_run(layer, objects)
    store.painted[WHOLE] = store.view_of(WHOLE)
    layer.features = object_rows(store.objects)
    return layer


class Room:
    """A viewer with an image and a layer that lies over it."""

    def __init__(self, layer=None, shape=SHAPE):
        self.viewer = ViewerModel()
        self.viewer.add_image(picture(shape), name="cells")
        self.layer = labels_on_record() if layer is None else layer
        self.viewer.add_layer(self.layer)


STACK = (3, *SHAPE)
ON_FIRST, ON_LAST = Box(5, 10, 20, 40), Box(30, 50, 40, 70)


def stack_room(boxes, shape=STACK):
    """Return a room with a stack that shows its first plane; boxes by plane and label."""
    data = np.zeros(shape, np.uint16)
    for (plane, label), box in boxes.items():
        data[plane][box.slices] = label
    room = Room(Labels(data, name="cells objects"), shape)
    room.viewer.dims.set_current_step(0, 0)
    return room


def at_plane(number):
    """Return the plane of a stack, counted from 0."""
    return PlaneIndex((1, 2), (number,))


def wait(panel, qtbot):
    """Wait until a panel has nothing left to do."""
    qtbot.wait(20)
    qtbot.waitUntil(lambda: not panel.is_busy, timeout=LIMIT_MS)


def shown(layer):
    """Return the labels that can be seen."""
    return sorted(set(np.unique(layer.data).tolist()) - {0})


def objects_of(layer, index=WHOLE):
    """Return a plane's objects by label."""
    return find_store(layer).on(index)


def states(layer, index=WHOLE):
    """Return by label what was said of a plane's objects."""
    return {label: one.state for label, one in objects_of(layer, index).items()}


def boxes(layer, index=WHOLE):
    """Return by label where a plane's objects lie."""
    return {label: one.instance.box for label, one in objects_of(layer, index).items()}


def paint(layer, label, *pixels):
    """Paint pixels as a brush does, which is one step of the layer's history."""
    layer.data_setitem(tuple(np.array(axis) for axis in zip(*pixels, strict=True)), label)


def swap(layer, one, other):
    """Give two objects each other's number, as another plugin does."""
    swapped = layer.data.copy()
    swapped[layer.data == one], swapped[layer.data == other] = other, one
    layer.data = swapped


def clicks(viewer):
    """Return the layer in which an object is refined."""
    return next(one for one in viewer.layers if isinstance(one, Points))
