"""A saved record, or objects from another program → a Labels layer; napari's reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam3.errors import ImageError
from napari_sam3.layers.describing import PLACEMENT
from napari_sam3.layers.objects import OBJECTS_KEY, ObjectRecord, object_rows
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.workflows.exporting.importing import is_readable, read_objects
from napari_sam3.workflows.files import open_labels
from napari_sam3.workflows.object_records import OBJECTS, objects_of_bundle, stored_objects
from napari_sam3.workflows.provenance import is_record
from napari_sam3.workflows.sidecars import find_labels, is_sidecar, read_sidecar

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return what reads a file, or None if it is none of ours.

    Parameters
    ----------
    path : str or list of str
        As napari asks; several files at once are left to others.
    """
    if isinstance(path, list):
        return None
    if is_sidecar(path):
        return read_record
    return read_others if is_readable(path) else None


def read_record(path: str) -> list[LayerData]:
    """Open the labels that a record lies beside, with the record and its objects.

    Parameters
    ----------
    path : str
        Of the record (``nuclei_labels.json``).

    Raises
    ------
    ProvenanceError
        If it cannot be read.
    ImageError
        If its label image is not there, or another one.
    """
    record = read_sidecar(path)
    file = find_labels(path, record)
    if file is None:
        raise ImageError(f"The label image of {path} does not lie beside it.")
    labels = open_labels(file)
    layer = record["layer"]
    if list(labels.shape) != list(layer["shape"]):
        raise ImageError(f"{file} has another shape than {path} says: {labels.shape}.")
    stored = stored_objects(record)
    kept = {name: value for name, value in record.items() if name not in (OBJECTS, "labels")}
    metadata: dict[str, Any] = {METADATA_KEY: kept} if is_record(kept) else {}
    attributes = {"name": file.stem, "metadata": metadata, **_placement(layer)}
    if stored is not None:
        objects = metadata[OBJECTS_KEY] = ObjectRecord.from_stored(stored)
        attributes["features"] = object_rows(objects, {})
    return [(labels, attributes, "labels")]


def read_others(path: str) -> list[LayerData]:
    """Open objects that another program, or this one, has exported.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    found = read_objects(path)
    stored = objects_of_bundle(found)
    record = ObjectRecord.from_stored(stored)
    labels = next(iter(record.planes.values())).expected.copy()
    attributes: dict[str, Any] = {
        "name": Path(path).name.partition(".")[0],
        "metadata": {OBJECTS_KEY: record},
        "features": object_rows(record, {}),
    }
    if found.pixel_size.is_calibrated:
        attributes["scale"] = (found.pixel_size.row, found.pixel_size.col)
        attributes["units"] = (found.pixel_size.unit,) * 2
    return [(labels, attributes, "labels")]


def _placement(layer: Mapping[str, Any]) -> dict[str, Any]:
    names = (*PLACEMENT, "units", "axis_labels")
    return {name: _value(layer[name]) for name in names if name in layer}


def _value(said: Any) -> Any:
    return said if all(isinstance(v, str) for v in said) else np.asarray(said, float)
