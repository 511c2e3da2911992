"""The objects behind a label image, kept whole in the record beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.instances import Instances
from napari_sam3.core.labels import OverlapRule
from napari_sam3.core.object_json import (
    StoredObjects,
    StoredPlane,
    objects_from_json,
    objects_to_json,
)
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.painting import paint_objects
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.viewing import hidden_labels
from napari_sam3.errors import ProvenanceError
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.provenance import Record
from napari_sam3.workflows.sidecars import find_labels, is_sidecar, read_sidecar, record_path
from napari_sam3.workflows.syncing import PlaneState, sync

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
    depths = {index: depth for depth, index in enumerate(instances.top_first(rule))}
    objects = {
        index + 1: PlaneObject(index + 1, item, engine, depth=depths[index])
        for index, item in enumerate(instances)
    }
    return StoredObjects((StoredPlane(PlaneIndex(), instances.image_shape, objects),))


def objects_of_bundle(found: Exported) -> StoredObjects:
    """Return what was read from a file as the record of a label image."""
    planes = found.planes or {(): found.objects}
    return StoredObjects(
        tuple(
            StoredPlane(
                PlaneIndex((len(at), len(at) + 1), at),
                found.image_shape,
                {one.label: one for one in objects},
            )
            for at, objects in planes.items()
        )
    )


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
        If they cannot be read, or are of planes that its labels do not have.
    """
    said = record.get(OBJECTS)
    if said is None:
        return None
    try:
        stored = objects_from_json(said)
        for plane in stored.planes:
            _refuse_misfit(plane, record["layer"]["shape"])
    except ValueError as error:
        raise ProvenanceError(f"The objects of the record cannot be read: {error}.") from error
    return stored


def _refuse_misfit(plane: StoredPlane, shape: Sequence[int]) -> None:
    """Refuse a plane that labels of this shape do not have; nothing of its size is made."""
    index = plane.index
    if index.ndim == len(shape):
        rest = [size for axis, size in enumerate(shape) if axis not in index.shown]
        is_inside = all(at < size for at, size in zip(index.fixed, rest, strict=True))
        if is_inside and plane.shape == tuple(shape[axis] for axis in index.shown):
            return
    rows, cols = plane.shape
    raise ValueError(
        f"a plane of {rows} × {cols} pixels, shown by the axes {index.shown} at {index.fixed}, "
        f"is none of labels of {' × '.join(map(str, shape))} pixels"
    )


def record_beside(path: str | Path) -> Record | None:
    """Return the record of a label image; None if nothing of that name is one.

    Parameters
    ----------
    path : str or Path
        Of the label image, or of its record.

    Raises
    ------
    ProvenanceError
        If it cannot be read by this version.
    """
    path = Path(path)
    beside = record_path(path)
    if not is_sidecar(beside):
        return None
    record = read_sidecar(beside)
    told_of = find_labels(beside, record)
    is_of_another = told_of is not None and path != beside and told_of.name != path.name
    return None if is_of_another else record


@dataclass(frozen=True, slots=True, eq=False)
class OnRecord:
    """The objects on record of a label image, as it shows them.

    Parameters
    ----------
    objects : tuple of PlaneObject
        By rising label.  What the view hides or was rejected is left out; what lies under
        others is not.
    is_changed : bool
        Whether the label image shows something else than the record says.
    """

    objects: tuple[PlaneObject, ...]
    is_changed: bool = False


def shown_on_record(
    record: Mapping[str, Any],
    labels: npt.NDArray[np.integer[Any]] | None = None,
    plane: tuple[int, ...] = (),
) -> OnRecord | None:
    """Return which objects of a record are shown.

    Parameters
    ----------
    record : mapping
    labels : ndarray of int, shape (rows, cols), optional
        What the plane shows now.  If that is not what the record says, the objects follow it;
        all that it shows is then among them.
    plane : tuple of int
        Which plane of a stack: the position along each axis before the last two.

    Returns
    -------
    OnRecord or None
        None where there is no object of this plane on record.

    Raises
    ------
    ProvenanceError
        If the objects cannot be read, or are of another image.
    """
    stored = stored_objects(record)
    known = None if stored is None else _upright_plane(stored, plane)
    if stored is None or known is None:
        return None
    listed, view = list(known.objects.values()), stored.view
    hidden = hidden_labels(listed, known.shape, view)
    if labels is not None:
        _refuse_other_shape(labels.shape, known.shape)
        expected = paint_objects(listed, known.shape, rule=view.rule, hidden=hidden)
        if not np.array_equal(expected, labels):
            state = PlaneState(known.objects, expected, labels, view, hidden, view.rule)
            return OnRecord(_shown_now(state), is_changed=True)
    return OnRecord(_by_label(one for one in listed if one.label not in hidden))


def _refuse_other_shape(shape: tuple[int, ...], known: tuple[int, int]) -> None:
    if shape != known:
        raise ProvenanceError(
            f"The record beside the labels is about {known[0]} × {known[1]} pixels, but they "
            f"have {' × '.join(map(str, shape))}; move it away to use them without it."
        )


def _upright_plane(stored: StoredObjects, fixed: tuple[int, ...]) -> StoredPlane | None:
    """Return a plane along the last two axes, which may be on record with its axes exchanged."""
    last = PlaneIndex((len(fixed), len(fixed) + 1), fixed)
    turned = PlaneIndex((last.shown[1], last.shown[0]), fixed)
    for plane in stored.planes:
        if plane.index == last:
            return plane
        if plane.index == turned:
            return StoredPlane(
                last,
                (plane.shape[1], plane.shape[0]),
                {
                    label: replace(one, instance=one.instance.transposed())
                    for label, one in plane.objects.items()
                },
            )
    return None


def _shown_now(state: PlaneState) -> tuple[PlaneObject, ...]:
    synced = sync(state)
    shown = synced.shown | set(np.unique(state.actual).tolist())
    return _by_label(one for one in synced.objects.values() if one.label in shown)


def _by_label(objects: Iterable[PlaneObject]) -> tuple[PlaneObject, ...]:
    return tuple(sorted(objects, key=lambda one: one.label))
