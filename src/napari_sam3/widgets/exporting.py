"""The objects of a Labels layer → a file of another program; also napari's writers for them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels

from napari_sam3.core.objects import LabelledObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.errors import ImageError
from napari_sam3.layers.calibrating import axis_letters, axis_steps, pixel_size
from napari_sam3.layers.objects import ObjectRecord
from napari_sam3.layers.planes import Plane
from napari_sam3.workflows.exporting import Exported, iter_export
from napari_sam3.workflows.provenance import bare_name
from napari_sam3.workflows.segment import Progress
from napari_sam3.workflows.syncing import PlaneState, sync


def capture_content(
    layer: Labels,
    index: PlaneIndex,
    objects: tuple[LabelledObject, ...],
    image: Image | None = None,
    plane: Plane | None = None,
) -> Callable[[], Exported]:
    """Take from the layers, in the window's thread, what is exported; pixels are read later.

    Parameters
    ----------
    layer : Labels
    index : PlaneIndex
        The plane whose objects are exported.
    objects : tuple of LabelledObject
        Those that are shown.
    image, plane : optional
        Whose values are measured.
    """
    labels = np.array(layer.data)
    size, steps, axes = pixel_size(layer, index), axis_steps(layer), axis_letters(layer)
    shape = index.cut(labels).shape
    name = bare_name(image.name if image is not None else layer.name)
    content = Exported(objects, shape, size, name, labels, steps, axes)
    if image is None or plane is None or image.rgb:
        return lambda: content
    values = image.data[plane.level] if image.multiscale else image.data
    return lambda: replace(content, intensity=plane.read(values))


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
    full = np.asarray(data[0] if attributes.get("multiscale") else data)
    if full.ndim != 2:
        raise ImageError(
            f"Objects are exported plane by plane, but the labels have {full.ndim} axes: use "
            "Export in the panel “Objects”, which takes the plane that is shown."
        )
    layer = Labels(full, **{k: v for k, v in attributes.items() if k != "multiscale"})
    index = PlaneIndex()
    record = ObjectRecord.find(layer) or ObjectRecord()
    plane = record.plane(index, full.shape)
    state = PlaneState(plane.objects, plane.expected, full, record.view, plane.hidden, plane.rule)
    synced = sync(state)
    shown = tuple(one for label, one in synced.objects.items() if label in synced.shown)
    content = capture_content(layer, index, shown)()
    workflow = iter_export(path, content, overwrite=True)
    return [str(file) for file in _finish(workflow)]


def _finish(workflow: Generator[Progress, None, list[Path]]) -> list[Path]:
    while True:
        try:
            next(workflow)
        except StopIteration as end:
            files: list[Path] = end.value
            return files
