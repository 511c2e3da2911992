"""The objects of a Labels layer → a file of another program; also napari's writers for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.notifications import show_warning

from napari_sam3.core.arrays import Array
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.progress import drain
from napari_sam3.core.snapshots import Snapshot
from napari_sam3.core.store import ObjectStore
from napari_sam3.errors import ImageError
from napari_sam3.layers.calibrating import (
    axis_letters,
    axis_steps,
    pixel_size,
    plane_to_world,
)
from napari_sam3.layers.objects import find_store
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.layers.planes import Plane
from napari_sam3.layers.transforms import LayerTransform
from napari_sam3.workflows.exporting import Exported, format_of, iter_export
from napari_sam3.workflows.exporting.recorded_place import is_turned
from napari_sam3.workflows.exporting.writing import not_held
from napari_sam3.workflows.object_records import transposed
from napari_sam3.workflows.provenance import bare_name


def capture_content(
    layer: Labels,
    index: PlaneIndex,
    image: Image | None = None,
    plane: Plane | None = None,
    *,
    whole: bool,
) -> Callable[[], Exported]:
    """Take from the layers, in the window's thread, what is exported.

    Parameters
    ----------
    layer : Labels
    index : PlaneIndex
        The plane whose objects are exported, as it is on record.
    image, plane : optional
        Whose values are measured, if its plane has the shape of the labels' one.
    whole : bool
        Whether the labels are those of all planes, for a format that holds labels and no
        objects (`Format.keeps_overlaps` is false).

    Returns
    -------
    callable
        To be called in a worker: brings record and labels in step, reads the image, and
        returns the objects that are shown, with the label image that shows them.  Rows and
        columns are those of the data, also where the viewer shows them exchanged.
    """
    upright, is_turned = _upright(index), index.shown[0] > index.shown[1]
    size, axes, to_world = (
        pixel_size(layer, upright),
        axis_letters(layer),
        plane_to_world(layer, upright),
    )
    placement = _placement(layer)
    letters = (
        "".join(axes[axis] for axis in range(layer.ndim) if axis not in index.shown) if axes else ""
    )
    name = bare_name(image.name) if image is not None else _image_name(layer)
    store = find_store(layer)
    snapshot = Snapshot.of(layer.data, ObjectStore(layer.data.shape) if store is None else store)
    is_stack = whole and layer.ndim > 2
    read = _reader(image, plane)

    def content() -> Exported:
        if is_stack:
            full, store = snapshot.in_step()
            labels = index.cut(full)
        else:
            labels, store = snapshot.plane_in_step(index)
        shown = tuple(one for n, one in store.on(index).items() if n not in store.hidden)
        if is_turned:
            shown, labels = tuple(map(transposed, shown)), labels.T
        rows, cols = labels.shape
        made = Exported(
            shown,
            (rows, cols),
            size,
            name,
            labels,
            intensity=read((rows, cols)),
            to_world=to_world,
        )
        if is_stack:
            return replace(made, labels=full, axes=axes, **placement)
        if whole:
            return replace(made, **placement)
        return replace(made, plane=index.fixed or None, plane_axes=letters)

    return content


def _placement(layer: Labels) -> dict[str, Any]:
    """Return where all labels lie, as far as steps along axes and a first pixel can say it."""
    transform = LayerTransform.of(layer)
    return {
        "scale": axis_steps(layer),
        "translate": tuple(transform.offset.tolist()),
        "units": tuple(str(unit) for unit in layer.units),
        "is_turned": is_turned(transform.linear),
    }


def _upright(index: PlaneIndex) -> PlaneIndex:
    one, other = sorted(index.shown)
    return PlaneIndex((one, other), index.fixed)


def _image_name(layer: Labels) -> str:
    """Return the name of the image that the labels are of; their own if it is not known."""
    entry = layer.metadata.get(METADATA_KEY)
    image = entry.get("image") if isinstance(entry, dict) else None
    known = image.get("name") if isinstance(image, dict) else None
    return bare_name(str(known or layer.name))


def _reader(image: Image | None, plane: Plane | None) -> Callable[[tuple[int, int]], Array | None]:
    """Return what reads a plane's values; None, where they are colours or of another shape."""
    if image is None or plane is None or image.rgb:
        return lambda _shape: None
    values = image.data[plane.level] if image.multiscale else image.data

    def read(shape: tuple[int, int]) -> Array | None:
        if (plane.shape[::-1] if plane.is_transposed else plane.shape) != shape:
            return None
        read = plane.read(values)
        return read.T if plane.is_transposed else read

    return read


def write_objects(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Export the objects of a Labels layer of one plane; napari's writer contribution.

    Parameters
    ----------
    path : str
        Its ending tells the format, as in `napari_sam3.workflows.exporting`.
    data : array-like of int
    attributes : dict
        As in `Layer.as_layer_data_tuple`.

    Returns
    -------
    list of str
        The files that were written.

    Raises
    ------
    ImageError
        If the labels have more than one plane, or the file cannot be written.
    """
    # cut first: some arrays are read by an index only
    full = np.asarray((data[0] if attributes.get("multiscale") else data)[...])
    if full.ndim != 2:
        raise ImageError(
            f"Objects are exported plane by plane, but the labels have {full.ndim} axes: use "
            "Export in the panel “Objects”, which takes the plane that is shown."
        )
    layer = Labels(full, **{k: v for k, v in attributes.items() if k != "multiscale"})
    store = find_store(layer)
    index = PlaneIndex() if store is None else store.find_index(PlaneIndex())
    content = capture_content(layer, index, whole=not format_of(path).keeps_overlaps)()
    files = drain(iter_export(path, content, overwrite=True))
    for sentence in not_held(Path(path), content):
        show_warning(sentence)
    return [str(file) for file in files]
