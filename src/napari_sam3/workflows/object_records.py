"""The objects behind a label image, kept whole in the record beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_sam3.core.instances import Instances
from napari_sam3.core.labels import OverlapRule, bottom_to_top
from napari_sam3.core.object_json import (
    StoredObjects,
    StoredPlane,
    objects_from_json,
    objects_to_json,
)
from napari_sam3.core.objects import LabelledObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.errors import ProvenanceError
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.provenance import Record
from napari_sam3.workflows.sidecars import read_sidecar, record_path

OBJECTS = "objects"


def objects_of(
    instances: Instances, engine: str = "", rule: OverlapRule = "score"
) -> StoredObjects:
    """Return the objects of one answer, labelled as `Instances.to_labels` does.

    Parameters
    ----------
    instances : Instances
    engine : str
        The title of what found them.
    rule : {"score", "smallest", "first"}
        By which the label image was painted.
    """
    from_top = reversed(bottom_to_top(instances, rule))
    depths = {index: depth for depth, index in enumerate(from_top)}
    objects = {
        index + 1: LabelledObject(index + 1, item, engine, depth=depths[index])
        for index, item in enumerate(instances)
    }
    return StoredObjects((StoredPlane(PlaneIndex(), instances.image_shape, objects),))


def objects_of_bundle(found: Exported) -> StoredObjects:
    """Return what was read from a file as the record of a label image."""
    objects = {one.label: one for one in found.objects}
    return StoredObjects((StoredPlane(PlaneIndex(), found.image_shape, objects),))


def with_objects(record: Mapping[str, Any], stored: StoredObjects) -> Record:
    """Return a record that also holds its objects."""
    if not stored.planes:
        return {name: value for name, value in record.items() if name != OBJECTS}
    return {**record, OBJECTS: objects_to_json(stored)}


def stored_objects(record: Mapping[str, Any]) -> StoredObjects | None:
    """Return the objects of a record; None if it holds none.

    Raises
    ------
    ProvenanceError
        If they cannot be read.
    """
    said = record.get(OBJECTS)
    if said is None:
        return None
    try:
        return objects_from_json(said)
    except ValueError as error:
        raise ProvenanceError(f"The objects of the record cannot be read: {error}.") from error


def objects_beside(path: str | Path) -> tuple[LabelledObject, ...] | None:
    """Return the objects on record beside a label image of one plane, by rising label.

    Parameters
    ----------
    path : str or Path
        Of the label image, or of its record.

    Returns
    -------
    tuple of LabelledObject or None
        None where there is no record, it holds no objects, or they lie on several planes.

    Raises
    ------
    ProvenanceError
        If there is a record that cannot be read.
    """
    if not record_path(path).is_file():
        return None
    stored = stored_objects(read_sidecar(path))
    if stored is None or len(stored.planes) != 1 or stored.planes[0].index.ndim != 2:
        return None
    objects = stored.planes[0].objects
    return tuple(objects[label] for label in sorted(objects))
