"""A saved record, or objects from another program → a Labels layer; napari's reader."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_warning

from napari_sam3.core.labels import labels_dtype
from napari_sam3.core.painting import paint_objects
from napari_sam3.errors import ImageError, ProvenanceError
from napari_sam3.layers.describing import PLACEMENT
from napari_sam3.layers.features import object_rows
from napari_sam3.layers.objects import OBJECTS_KEY
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.calibration import METERS, SECONDS, full_name
from napari_sam3.workflows.exporting.file_object import MAX_PIXELS
from napari_sam3.workflows.exporting.from_ome_zarr import label_groups
from napari_sam3.workflows.exporting.importing import is_readable, read_objects
from napari_sam3.workflows.label_files import open_labels
from napari_sam3.workflows.object_records import OBJECTS, objects_of_bundle, stored_objects
from napari_sam3.workflows.paths import is_folder
from napari_sam3.workflows.provenance import is_record
from napari_sam3.workflows.sidecars import find_labels, is_sidecar, read_sidecar

LayerData = tuple[Any, dict[str, Any], str]

_NO_PLACE = "The record cannot be used: its labels have a scale or place that napari cannot show."


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return what reads a file, or None if it is none of ours.

    Parameters
    ----------
    path : str or list of str
        As napari asks; several files at once are left to others.
    """
    if isinstance(path, list):
        return None
    if is_folder(Path(path)):
        # napari asks about each folder that is opened: most are for others
        return read_folder if label_groups(Path(path)) else None
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
    labels = open_labels(file, show_warning)
    layer = record["layer"]
    if list(labels.shape) != list(layer["shape"]):
        raise ImageError(f"{file} has another shape than {path} says: {labels.shape}.")
    store = stored_objects(record)
    kept = {name: value for name, value in record.items() if name not in (OBJECTS, "labels")}
    metadata: dict[str, Any] = {METADATA_KEY: kept} if is_record(kept) else {}
    attributes = {"name": file.stem, "metadata": metadata, **_placement(layer, labels.ndim)}
    if store is not None:
        metadata[OBJECTS_KEY] = store
        attributes["features"] = object_rows(store.objects)
    return [(labels, attributes, "labels")]


def read_others(path: str) -> list[LayerData]:
    """Open objects that another program, or this one, has exported.

    Raises
    ------
    ImageError
        If the file cannot be read.
    """
    return [_opened(read_objects(path), Path(path).name)]


def read_folder(path: str) -> list[LayerData]:
    """Open the label images of an OME-Zarr folder, and its image where that is one plane.

    Raises
    ------
    ImageError
        If one of them cannot be read.
    """
    groups = label_groups(Path(path))
    if not groups:
        raise ImageError(f"{path} holds no label image any more.")
    if len(groups) > 1:
        return [_opened(read_objects(group), group.name) for group in groups]
    found = read_objects(path if groups[0].parent.parent == Path(path) else groups[0])
    labels = _opened(found, Path(path).name)
    if found.intensity is None:
        return [labels]
    placed: dict[str, Any] = {
        name: labels[1][name] for name in ("scale", "units") if name in labels[1]
    }
    return [(found.intensity, {"name": "image", **placed}, "image"), labels]


def _opened(found: Exported, name: str) -> LayerData:
    for notice in found.notices:
        show_warning(notice)
    return layer_data_of(found, name)


def onto_image(found: Exported, letters: str, shape: tuple[int, ...]) -> Exported:
    """Return objects as labels of an image, on the planes that they say.

    Parameters
    ----------
    found : Exported
        As `read_objects` returns it.
    letters : str
        For each axis of the image, of T, C, Z, Y and X, the last two rows and columns; empty
        where they are not known.
    shape : tuple of int
        Of the image.

    Returns
    -------
    Exported
        As it came, where it is of another image; a notice says so if planes are concerned.
    """
    found = _grown(found, shape[-2:])
    placed = [(one.place, one.objects) for one in found.by_plane()]
    is_placed = any(place for place, _ in placed)
    if len(shape) == 2 or not (found.first_along or is_placed):
        return found
    first = dict.fromkeys(found.first_along, 0)
    where = _within([place for place, _ in placed], first, letters[:-2], shape[:-2])
    if where is None or found.image_shape != shape[-2:] or math.prod(shape) > MAX_PIXELS:
        if not is_placed:
            return found
        strange = "Its planes are not those of the image, so they were not laid over it."
        return replace(found, notices=(*found.notices, strange))
    planes = {at: objects for at, (_, objects) in zip(where, placed, strict=True)}
    labels = np.zeros(shape, labels_dtype(max((one.label for one in found.everything), default=0)))
    for plane, objects in planes.items():
        labels[plane] = paint_objects(objects, found.image_shape, dtype=labels.dtype)
    # what a file says of scale and place is said of its one plane
    return replace(
        found,
        objects=(),
        planes=planes,
        plane=None,
        labels=labels,
        axes=letters,
        first_along="",
        scale=None,
        translate=None,
        units=None,
    )


def _grown(found: Exported, shape: tuple[int, ...]) -> Exported:
    """Return what reaches no farther than an image, if that is all that is known, in its shape."""
    rows, cols = shape
    more = rows - found.image_shape[0], cols - found.image_shape[1]
    if found.has_edges or min(more) < 0:
        return found
    labels = found.labels
    if labels is not None:
        labels = np.pad(labels, [*[(0, 0)] * (labels.ndim - 2), (0, more[0]), (0, more[1])])
    return replace(found, image_shape=(rows, cols), labels=labels, has_edges=True)


def _within(
    places: list[dict[str, int]], first: dict[str, int], axes: str, sizes: tuple[int, ...]
) -> list[tuple[int, ...]] | None:
    """Return where planes lie along the axes of a stack; None if one lies in no such stack."""
    if "C" not in axes and len({place.get("C") for place in places}) > 1:
        return None
    found = [_at(place, first, axes, sizes) for place in places]
    known = [at for at in found if at is not None]
    return known if len(known) == len(found) else None


def _at(
    place: dict[str, int], first: dict[str, int], axes: str, sizes: tuple[int, ...]
) -> tuple[int, ...] | None:
    # regions are drawn on some channel, and labels have none
    said = {letter: at for letter, at in place.items() if letter in axes or letter != "C"}
    if len(axes) == len(said) == 1:
        # frames or slices: a single axis is the same one, whatever it is called
        said = dict(zip(axes, said.values(), strict=True))
    said = {**first, **said}
    if any(at for letter, at in said.items() if letter not in axes):
        return None
    steps = list(zip(axes, sizes, strict=True))
    is_inside = all(said.get(name, 0 if size == 1 else size) < size for name, size in steps)
    return tuple(said.get(name, 0) for name in axes) if axes and is_inside else None


def layer_data_of(found: Exported, name: str) -> LayerData:
    """Return what was read from a file as a Labels layer.

    Parameters
    ----------
    found : Exported
        As `read_objects` returns it.
    name : str
        Of the file; the layer has the part before the first dot.

    Returns
    -------
    tuple
        Labels, attributes and ``"labels"``, as napari's readers return them.  The objects
        are on record in the metadata, if any are known: of a stack of labels, none are.
        Pixels are as large as the file says.
    """
    metadata: dict[str, Any] = {}
    attributes: dict[str, Any] = {"name": name.partition(".")[0], "metadata": metadata}
    labels = found.labels
    if found.planes or not found.is_stack:
        store = metadata[OBJECTS_KEY] = objects_of_bundle(found)
        attributes["features"] = object_rows(store.objects)
        if not found.planes or labels is None:
            labels = paint_objects(found.objects, found.image_shape)
    assert labels is not None
    labels = labels.astype(labels_dtype(int(labels.max(initial=0))))
    return labels, attributes | _calibration(found, labels.ndim), "labels"


def _calibration(found: Exported, ndim: int) -> dict[str, Any]:
    size = found.pixel_size
    steps, start = found.scale or (), found.translate or ()
    said: dict[str, Any] = {"translate": start} if len(start) == ndim else {}
    if len(steps) != ndim:
        steps = (*(1.0,) * (ndim - 2), size.row, size.col)
    if not size.is_calibrated and set(steps) == {1.0}:
        return said
    said["scale"] = steps
    if full_name(size.unit) in METERS:
        # others napari would refuse, or take for one that they are not
        said["units"] = _units(found, ndim)
    return said


def _units(found: Exported, ndim: int) -> tuple[str, ...]:
    unit = full_name(found.pixel_size.unit)
    if found.units is not None and len(found.units) == ndim:
        known = (*METERS, *SECONDS)
        return tuple(name if name in known else "pixel" for name in map(full_name, found.units))
    axes = found.axes if found.axes is not None and len(found.axes) == ndim else "Z" * ndim
    return tuple("pixel" if axis in "TC" else unit for axis in axes)


def _placement(layer: Mapping[str, Any], ndim: int) -> dict[str, Any]:
    names = (*PLACEMENT, "units", "axis_labels")
    try:
        placement = {name: _value(layer[name]) for name in names if name in layer}
        # napari is asked itself, by one pixel
        placed = Labels(np.zeros((1,) * ndim, np.uint8), **placement)
        is_somewhere = bool(np.isfinite(placed.extent.world).all())
    except Exception as error:  # napari raises anything
        raise ProvenanceError(_NO_PLACE) from error
    if not is_somewhere:
        raise ProvenanceError(_NO_PLACE)
    return placement


def _value(said: Any) -> Any:
    return said if all(isinstance(v, str) for v in said) else np.asarray(said, float)
