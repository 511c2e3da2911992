"""The objects behind a label image, kept whole in the record beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.labels import labels_dtype
from napari_sam3.core.object_json import objects_from_json, objects_to_json
from napari_sam3.core.objects import LabelledObject, Part, PlaneObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.taking_over import look, take_over
from napari_sam3.errors import ProvenanceError
from napari_sam3.workflows.exporting.bundle import Exported, Planes
from napari_sam3.workflows.provenance import Record
from napari_sam3.workflows.sidecars import find_labels, is_sidecar, read_sidecar, record_path

OBJECTS = "objects"

Objects = tuple[PlaneObject, ...]


def objects_of(instances: Instances, engine: str = "") -> ObjectStore:
    """Return the objects of one answer, labelled as `Instances.to_labels` does.

    Parameters
    ----------
    instances : Instances
    engine : str
        The title of what found them.
    """
    depths = {index: depth for depth, index in enumerate(instances.top_first("score"))}
    return ObjectStore(
        instances.image_shape,
        (
            LabelledObject(index + 1, {PlaneIndex(): Part(item, engine)}, depth=depths[index])
            for index, item in enumerate(instances)
        ),
    )


def objects_of_bundle(found: Exported) -> ObjectStore:
    """Return what was read from a file as the objects of a label image.

    What has one label on several planes is one object.
    """
    shape = found.image_shape if not found.planes or found.labels is None else found.labels.shape
    return ObjectStore(shape, found.labelled)


def with_objects(record: Mapping[str, Any], store: ObjectStore) -> Record:
    """Return a record that also holds its objects."""
    if not store.objects:
        return {name: value for name, value in record.items() if name != OBJECTS}
    return {**record, OBJECTS: objects_to_json(store)}


def stored_objects(record: Mapping[str, Any]) -> ObjectStore | None:
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
        # JSON's whole numbers may be written as 3.0
        return objects_from_json(said, tuple(map(int, record["layer"]["shape"])))
    except ValueError as error:
        raise ProvenanceError(f"The objects of the record cannot be read: {error}.") from error


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

    objects: Objects
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
    store = stored_objects(record)
    index = PlaneIndex((len(plane), len(plane) + 1), plane)
    if store is None or not store.on(store.find_index(index)):
        return None
    seen: set[int] = set()
    if labels is not None:
        _refuse_other_shape(labels.shape, store.plane_shape(index))
        seen = _take_over(store, {index: labels})
    return OnRecord(_upright(store, index, seen), bool(seen))


def stack_on_record(
    record: Mapping[str, Any], labels: npt.NDArray[np.integer[Any]]
) -> tuple[Planes, bool] | None:
    """Return which objects of a record are shown on each plane of a stack.

    Parameters
    ----------
    record : mapping
    labels : ndarray of int, shape (…, rows, cols)
        What is shown now, as in `shown_on_record`.

    Returns
    -------
    tuple or None
        The objects of each plane that has some, by its place along the axes before the last
        two, and whether the labels show something else than the record says; None where no
        object is on record, or one that runs along other axes.

    Raises
    ------
    ProvenanceError
        As `shown_on_record`.
    """
    store = stored_objects(record)
    last = {labels.ndim - 2, labels.ndim - 1}
    if store is None or any(set(index.shown) != last for index in store.planes):
        return None
    _refuse_other_shape(labels.shape, store.shape)
    shown = (labels.ndim - 2, labels.ndim - 1)
    every = {PlaneIndex(shown, at): labels[at] for at in np.ndindex(labels.shape[:-2])}
    seen = _take_over(store, every)
    found = {index.fixed: _upright(store, index, seen) for index in every}
    return {at: objects for at, objects in found.items() if objects}, bool(seen)


def _take_over(
    store: ObjectStore, planes: Mapping[PlaneIndex, npt.NDArray[np.integer[Any]]]
) -> set[int]:
    """Let the objects follow planes that show something else; return what these show."""
    looks, seen = [], set[int]()
    for upright, labels in planes.items():
        index = store.find_index(upright)
        plane = labels if index == upright else labels.T
        dtype = np.result_type(labels, labels_dtype(store.highest_label))
        found = look(
            index,
            store.view_of(index),
            plane.astype(dtype, copy=False),
            Box.of_shape(store.plane_shape(index)),
            is_first=not store.knows(index),
        )
        if found is not None:
            looks.append(found)
            seen |= set(np.unique(plane).tolist())
    store.edit(take_over(store.objects, looks, hidden=store.hidden).changes)
    return seen


def _upright(store: ObjectStore, index: PlaneIndex, seen: Collection[int]) -> Objects:
    """Return what a plane shows, which may be on record with its axes exchanged."""
    known = store.find_index(index)
    objects = [one for n, one in store.on(known).items() if n in seen or n not in store.hidden]
    return tuple(objects if known == index else map(transposed, objects))


def _refuse_other_shape(shape: tuple[int, ...], known: tuple[int, ...]) -> None:
    if shape != known:
        raise ProvenanceError(
            f"The record beside the labels is about {' × '.join(map(str, known))} pixels, but "
            f"they have {' × '.join(map(str, shape))}; move it away to use them without it."
        )


def transposed(one: PlaneObject) -> PlaneObject:
    """Return an object of a plane with rows and columns exchanged."""
    return replace(one, instance=one.instance.transposed())
