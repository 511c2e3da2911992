"""A Labels layer to disk: a label image and, beside it, the record of how it was made.

The panel calls `save_layer_data` off the window's thread; napari calls `write_labels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels

from napari_sam3.core.object_json import StoredObjects, StoredPlane
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.viewing import View
from napari_sam3.errors import ImageError
from napari_sam3.layers.describing import describe_placement
from napari_sam3.layers.objects import OBJECTS_KEY, ObjectRecord
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.widgets._plane_states import capture_states, is_in_step
from napari_sam3.workflows.files import save_labels
from napari_sam3.workflows.object_records import with_objects
from napari_sam3.workflows.provenance import Record, is_record, new_record
from napari_sam3.workflows.sidecars import own_sidecar_path, settle_answers, write_sidecar
from napari_sam3.workflows.syncing import PlaneState, sync

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class ToSave:
    """What of a Labels layer is saved; may cross to another thread.

    Parameters
    ----------
    data : array-like of int
    record : dict
    states : mapping
        Of each plane whose objects are on record, by `PlaneIndex`: the record, and what the
        labels show.
    view : View
        Which of the objects are shown.
    is_half_written : bool
        Whether a run is just being written into the labels.
    """

    data: Any
    record: Record
    states: Mapping[PlaneIndex, PlaneState] = field(default_factory=dict)
    view: View = field(default_factory=View)
    is_half_written: bool = False


def capture_labels(layer: Labels, *, copied: bool = True) -> ToSave:
    """Take from a layer, in the window's thread, what `save_layer_data` writes.

    Parameters
    ----------
    layer : Labels
    copied : bool
        Whether what is drawn meanwhile stays out of the file; a copy of 4096² labels
        takes some milliseconds.
    """
    _, attributes, _ = layer.as_layer_data_tuple()
    data = layer.data[0] if layer.multiscale else layer.data
    if copied and isinstance(data, np.ndarray):
        data = data.copy()
    return _to_save(data, attributes)


def save_layer_data(path: str | Path, labels: ToSave) -> list[str]:
    """Write a label image and the record beside it; both are replaced if they exist.

    Objects and pixels are brought in step first: what was drawn or erased since somebody
    looked is on record, and a view that was chosen since is what the label image shows.
    A file that is no record of these labels is kept: see `own_sidecar_path`.

    Parameters
    ----------
    path : str or Path
        Ends as in `save_labels`; of more than two dimensions, in ``.tif`` or ``.npy``.
    labels : ToSave

    Returns
    -------
    list of str
        The files that were written.

    Raises
    ------
    ImageError
        If a file cannot be written, the format cannot hold the labels, or a run is just
        being written into them.
    ProvenanceError
        If the layer's record was tampered with, or there is no name for it.
    """
    if labels.is_half_written:
        raise ImageError("A run is just being written into these labels; save again in a moment.")
    data, objects = in_step(labels)
    beside = own_sidecar_path(path)
    save_labels(path, data)
    record = with_objects(labels.record, objects)
    write_sidecar(beside, record, data, Path(path).name)
    settle_answers(record)
    return [str(path), str(beside)]


def in_step(labels: ToSave) -> tuple[Array, StoredObjects]:
    """Return the label image and its objects as they are saved: they tell of the same.

    Parameters
    ----------
    labels : ToSave
        What it holds stays as it is.
    """
    data, planes = _as_numbers(labels.data), list[StoredPlane]()
    for index, state in labels.states.items():
        objects = dict(state.objects)
        if not is_in_step(state):
            synced = sync(state)
            objects = synced.objects
            if synced.is_other:
                # it may be the layer's own array, and too narrow for a label that shows again
                data = data.astype(np.result_type(data, synced.painted))
                index.cut(data)[...] = synced.painted
        if objects:
            rows, cols = state.actual.shape
            planes.append(StoredPlane(index, (rows, cols), objects))
    return data, StoredObjects(tuple(planes), labels.view)


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer; napari's writer contribution.

    Parameters
    ----------
    path : str
    data : array-like of int
    attributes : dict
        As in `Layer.as_layer_data_tuple`.

    Returns
    -------
    list of str
        The files that were written.
    """
    full = data[0] if attributes.get("multiscale") else data
    return save_layer_data(path, _to_save(full, attributes))


def _to_save(data: Any, attributes: Mapping[str, Any]) -> ToSave:
    layer = describe_placement(tuple(data.shape), attributes)
    metadata = attributes.get("metadata") or {}
    entry = metadata.get(METADATA_KEY)
    if entry is not None and is_record(entry):
        # it may have been moved since it was made
        record = {**entry, "layer": layer}
    else:
        # labels from elsewhere, or drawn by hand: there is no run to tell of
        image = {"name": str(attributes.get("name", "")), "shape": layer["shape"]}
        record = new_record(image, layer, "labels")
    objects = metadata.get(OBJECTS_KEY)
    if not isinstance(objects, ObjectRecord):
        return ToSave(data, record)
    # the record may be the live layer's own: it is looked at, and not changed
    numbers = _as_numbers(data)
    states = capture_states(objects, numbers)
    return ToSave(numbers, record, states, objects.view, objects.writers > 0)


def _as_numbers(data: Any) -> Array:
    # cut first: some arrays are read by an index only
    array = np.asarray(data[...])
    return array.view(np.uint8) if array.dtype == np.bool_ else array
