"""Objects from label images: one for each label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_sam3.core.arrays import Array
from napari_sam3.core.instances import split_labels
from napari_sam3.core.label_runs import find_boxes
from napari_sam3.core.objects import PlaneObject
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.calibration import Calibration, read_calibration
from napari_sam3.workflows.exporting.file_object import MAX_MASK_PIXELS, MAX_PIXELS
from napari_sam3.workflows.files import TIFF_MAGIC, choose_plane, first_bytes
from napari_sam3.workflows.label_files import open_label_plane, open_labels


def read_label_file(path: Path, plane: Sequence[int] | None = None) -> Exported:
    """Return the objects of a label image on disk.

    Parameters
    ----------
    path : Path
        A TIFF, PNG or NPY; also Cellpose's ``_seg.npy``.
    plane : sequence of int, optional
        Of a stack, as in `read_objects`.  Without it, a stack's labels are returned as they are,
        and no objects.
    """
    notices: list[str] = []
    is_tiff = first_bytes(path)[:4] in TIFF_MAGIC
    calibration = read_calibration(path) if is_tiff else Calibration()
    if is_tiff and plane is not None:
        # the other planes may be too many, or cut off
        labels, place = open_label_plane(path, plane, notices.append)
        found = objects_of_labels(labels, Calibration(calibration.pixel_size))
        axes = calibration.axes if len(calibration.axes) == len(place) + 2 else ""
        axes = "".join(letter for letter in axes if letter not in "YX")
        return replace(found, plane=place or None, plane_axes=axes, notices=tuple(notices))
    _refuse_huge_file(path)
    labels = open_labels(path, notices.append)
    axes = calibration.axes if len(calibration.axes) == labels.ndim else ""
    if labels.ndim < 2 or not labels.size:
        raise ImageError(f"{path} holds no label image: its shape is {labels.shape}.")
    found = objects_of_labels(labels, replace(calibration, axes=axes), plane)
    return replace(found, notices=tuple(notices))


def objects_of_labels(
    labels: Array, calibration: Calibration, plane: Sequence[int] | None = None
) -> Exported:
    """Return a label image as what may be exported.

    Parameters
    ----------
    labels : ndarray of int, shape (…, rows, cols)
    calibration : Calibration
        Of its axes.
    plane : sequence of int, optional
        As in `read_label_file`.

    Raises
    ------
    ImageError
        If there is no such plane, or the labels or objects are too large.
    """
    if labels.max(initial=0) > np.iinfo(np.uint32).max:
        raise ImageError(
            f"The largest label, {labels.max()}, is too large: {np.iinfo(np.uint32).max} is the "
            "largest that is read."
        )
    labels, calibration = _rows_and_cols_last(labels, calibration)
    axes, scale = calibration.axes, calibration.scale
    translate, units = calibration.translate or None, calibration.units or None
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    names = axes or [f"axis {i}" for i in range(labels.ndim)]
    sizes = list(zip(names[:-2], labels.shape[:-2], strict=True))
    size = calibration.pixel_size
    shape = labels.shape[-2:]
    if plane is None and any(count != 1 for _, count in sizes):
        return Exported(
            (),
            shape,
            size,
            labels=labels,
            axes=axes or None,
            scale=scale or None,
            translate=translate,
            units=units,
        )
    chosen = choose_plane(sizes, plane)
    shown = labels[chosen]
    return Exported(
        _to_objects(shown),
        shape,
        size,
        labels=shown,
        plane=chosen or None,
        plane_axes=axes[:-2],
        scale=scale[-2:] or None,
        translate=translate and translate[-2:],
        units=units and units[-2:],
    )


def _to_objects(labels: Array) -> tuple[PlaneObject, ...]:
    boxes = find_boxes(labels)
    if sum(box.area for box in boxes.values()) > MAX_MASK_PIXELS:
        raise ImageError(
            "The labels lie too scattered to be objects: each is taken out with all that lies "
            "between its pixels."
        )
    found = enumerate(split_labels(labels, boxes).items())
    return tuple(PlaneObject(label, item, depth=depth) for depth, (label, item) in found)


def _rows_and_cols_last(labels: Array, calibration: Calibration) -> tuple[Array, Calibration]:
    axes = calibration.axes
    if len(axes) != labels.ndim or not {"Y", "X"} <= set(axes):
        return labels, Calibration(calibration.pixel_size)
    order = sorted(range(labels.ndim), key=lambda at: "YX".find(axes[at]))
    calibration = replace(
        calibration,
        axes="".join(axes[at] for at in order),
        scale=tuple(calibration.scale[at] for at in order),
        translate=tuple(calibration.translate[at] for at in order if calibration.translate),
        units=tuple(calibration.units[at] for at in order if calibration.units),
    )
    return labels.transpose(order), calibration


def _refuse_huge_file(path: Path) -> None:
    """Refuse a label image that says of itself that it is huge, before it is allocated."""
    size = 0
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            import tifffile

            with tifffile.TiffFile(path) as tiff:
                size = math.prod(tiff.series[0].shape)
        elif path.suffix.lower() == ".npy":
            size = np.load(path, mmap_mode="r", allow_pickle=False).size
    except Exception:  # noqa: BLE001 - whoever reads it says what is wrong
        return
    refuse_huge(path, size)


def refuse_huge(path: Path, size: int) -> None:
    """Refuse a label image of so many pixels, if they are too many."""
    if size > MAX_PIXELS:
        raise ImageError(f"{path} says that it has {size} pixels; {MAX_PIXELS} are the most.")
