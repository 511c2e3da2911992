"""A Labels layer to disk: a label image and, beside it, the record of how it was made.

The panel calls `save_layer_data` off the window's thread; napari calls `write_labels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels

from napari_sam3.core.object_json import StoredObjects
from napari_sam3.layers.describing import describe_placement
from napari_sam3.layers.objects import OBJECTS_KEY, ObjectRecord
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.workflows.files import save_labels
from napari_sam3.workflows.object_records import with_objects
from napari_sam3.workflows.provenance import Record, is_record, new_record
from napari_sam3.workflows.sidecars import own_sidecar_path, write_sidecar


@dataclass(frozen=True, slots=True, eq=False)
class ToSave:
    """What of a Labels layer is saved; may cross to another thread.

    Parameters
    ----------
    data : array-like of int
    record : dict
    objects : StoredObjects
        The objects behind the labels; they become JSON off the window's thread.
    """

    data: Any
    record: Record
    objects: StoredObjects = field(default_factory=StoredObjects)


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
        If a file cannot be written, or the format cannot hold the labels.
    ProvenanceError
        If the layer's record was tampered with, or there is no name for it.
    """
    data = np.asarray(labels.data)
    if data.dtype == np.bool_:
        data = data.view(np.uint8)
    beside = own_sidecar_path(path)
    save_labels(path, data)
    record = with_objects(labels.record, labels.objects)
    write_sidecar(beside, record, data, Path(path).name)
    return [str(path), str(beside)]


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
    stored = objects.to_stored() if isinstance(objects, ObjectRecord) else StoredObjects()
    return ToSave(data, record, stored)
