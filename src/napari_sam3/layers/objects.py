"""The store behind a Labels layer: its objects whole, overlaps and hidden ones included.

A Labels layer shows one object per pixel.  The store lies in the layer's metadata.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels

from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
from napari_sam3.errors import ImageError
from napari_sam3.layers.planes import Plane, is_plain

OBJECTS_KEY = "napari_sam3_objects"

LABEL_BYTES = 4
"""Of the widest type that label images have on disk."""


def flaw_of(layer: Labels) -> str:
    """Return why the objects of a layer cannot be reviewed; empty if they can.

    What its pixels hold is not looked at: see `refuse_beyond`.
    """
    data = layer.data
    if layer.multiscale or not is_plain(data):
        return f"“{layer.name}” cannot be reviewed, since its data are not a plain array."
    if not data.flags.writeable:
        return f"“{layer.name}” cannot be reviewed, since it is read-only."
    return ""


def refuse_beyond(layer: Labels, plane: npt.NDArray[np.integer[Any]]) -> None:
    """Refuse a plane whose labels no file can hold.

    Raises
    ------
    ImageError
    """
    most = np.iinfo(np.uint32).max
    if plane.dtype.itemsize > LABEL_BYTES and plane.max(initial=0) > most:
        raise ImageError(f"“{layer.name}” cannot be reviewed: its labels go beyond {most}.")


def plane_index(plane: Plane) -> PlaneIndex:
    """Return the plane of the labels that lie over a plane of an image."""
    at = plane.level_index()
    fixed = (at[axis] for axis in plane.hidden)
    return PlaneIndex(plane.shown, tuple(int(i) for i in fixed if not isinstance(i, slice)))


def find_store(layer: Labels) -> ObjectStore | None:
    """Return the objects of a layer, if they are known."""
    found = layer.metadata.get(OBJECTS_KEY)
    if not isinstance(found, ObjectStore):
        return None
    if found.owner not in (None, layer.unique_id):
        # a duplicated layer has the metadata of the other one, not a copy of it
        found = layer.metadata[OBJECTS_KEY] = found.copied()
    found.owner = layer.unique_id
    return found


def store_of(layer: Labels) -> ObjectStore:
    """Return the objects of a layer; an empty store is put there if it has none."""
    found = find_store(layer)
    if found is None:
        found = layer.metadata[OBJECTS_KEY] = ObjectStore(layer.data.shape)
        found.owner = layer.unique_id
    return found
