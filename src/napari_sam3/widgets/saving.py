"""A Labels layer to disk: a label image and, beside it, the record of how it was made.

The panel calls `save_layer_data` off the window's thread; napari calls `write_labels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari.layers import Labels

from napari_sam3.core.snapshots import Snapshot
from napari_sam3.core.store import ObjectStore
from napari_sam3.layers.describing import describe_placement
from napari_sam3.layers.objects import OBJECTS_KEY
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.workflows.files import save_labels
from napari_sam3.workflows.object_records import with_objects
from napari_sam3.workflows.provenance import Record, is_record, new_record
from napari_sam3.workflows.sidecars import own_sidecar_path, settle_answers, write_sidecar


@dataclass(frozen=True, slots=True, eq=False)
class ToSave:
    """What of a Labels layer is saved; may cross to another thread.

    Parameters
    ----------
    labels : Snapshot
    record : dict
    """

    labels: Snapshot
    record: Record


def capture_labels(layer: Labels) -> ToSave:
    """Take from a layer, in the window's thread, what `save_layer_data` writes.

    Nothing of the labels' size is copied.  What is decided from now on stays out of the files;
    what is drawn before they are written is in both.
    """
    data, attributes, _ = layer.as_layer_data_tuple()
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
        If a file cannot be written, or the format cannot hold the labels.
    ProvenanceError
        If the layer's record was tampered with, or there is no name for it.
    """
    data, store = labels.labels.in_step()
    beside = own_sidecar_path(path)
    record = with_objects(labels.record, store)
    save_labels(path, data)
    write_sidecar(beside, record, data, Path(path).name)
    settle_answers(record)
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
    return save_layer_data(path, _to_save(data, attributes))


def _to_save(data: Any, attributes: Mapping[str, Any]) -> ToSave:
    full = data[0] if attributes.get("multiscale") else data
    layer = describe_placement(tuple(full.shape), attributes)
    metadata = attributes.get("metadata") or {}
    entry = metadata.get(METADATA_KEY)
    if entry is not None and is_record(entry):
        # it may have been moved since it was made
        record = {**entry, "layer": layer}
    else:
        # labels from elsewhere, or drawn by hand: there is no run to tell of
        image = {"name": str(attributes.get("name", "")), "shape": layer["shape"]}
        record = new_record(image, layer, "labels")
    store = metadata.get(OBJECTS_KEY)
    if not isinstance(store, ObjectStore):
        store = ObjectStore(full.shape)
    return ToSave(Snapshot.of(full, store), record)
