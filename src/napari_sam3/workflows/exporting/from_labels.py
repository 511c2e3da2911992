"""Objects from label images: one for each label."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.instances import split_labels
from napari_sam3.core.label_runs import find_boxes
from napari_sam3.core.objects import PlaneObject
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.bundle import Array, Exported
from napari_sam3.workflows.exporting.calibration import Calibration, read_calibration
from napari_sam3.workflows.exporting.coco import NO_CONCEPT
from napari_sam3.workflows.exporting.found import (
    MALFORMED,
    MAX_MASK_PIXELS,
    MAX_PIXELS,
    malformed_as_sentence,
    score_of,
    state_of,
)
from napari_sam3.workflows.exporting.ome_zarr_labels import MISSING, NAME
from napari_sam3.workflows.exporting.units import full_name
from napari_sam3.workflows.files import TIFF_MAGIC, choose_plane, first_bytes
from napari_sam3.workflows.label_files import as_labels, open_label_plane, open_labels
from napari_sam3.workflows.paths import is_folder

_MAX_CHUNK = 1 << 28


def read_label_file(path: Path, plane: Sequence[int] | None = None) -> Exported:
    """Return the objects of a label image on disk.

    Parameters
    ----------
    path : Path
        A TIFF, PNG or NPY; also Cellpose's ``_seg.npy``.
    plane : sequence of int, optional
        Of a stack, as `napari_sam3.workflows.files.open_image`.  Without it, a stack's labels
        are returned as they are, and no objects.

    Raises
    ------
    ImageError
        If it holds no labels, or there is no such plane.
    """
    notices: list[str] = []
    is_tiff = first_bytes(path)[:4] in TIFF_MAGIC
    calibration = read_calibration(path) if is_tiff else Calibration()
    if is_tiff and plane is not None:
        # the other planes may be too many, or cut off
        labels, place = open_label_plane(path, plane, notices.append)
        found = objects_of_labels(labels, Calibration(calibration.pixel_size))
        axes = _plane_axes(calibration.axes) if len(calibration.axes) == len(place) + 2 else ""
        return replace(found, plane=place or None, plane_axes=axes, notices=tuple(notices))
    _refuse_huge_file(path)
    labels = open_labels(path, notices.append)
    axes = calibration.axes if len(calibration.axes) == labels.ndim else ""
    if labels.ndim < 2 or not labels.size:
        raise ImageError(f"{path} holds no label image: its shape is {labels.shape}.")
    found = objects_of_labels(labels, replace(calibration, axes=axes), plane)
    return replace(found, notices=tuple(notices))


def _plane_axes(axes: str) -> str:
    """Return the letters besides those of rows and columns."""
    return "".join(letter for letter in axes if letter not in "YX")


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
        plane_axes="".join(axes[:-2]),
        scale=scale[-2:] or None,
        translate=translate and translate[-2:],
        units=units and units[-2:],
    )


def _to_objects(labels: Array) -> tuple[PlaneObject, ...]:
    if labels.min(initial=0) < 0:
        raise ImageError(f"The labels go down to {labels.min()}, but none is below 0.")
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
    _refuse_huge(path, size)


def _refuse_huge(path: Path, size: int) -> None:
    if size > MAX_PIXELS:
        raise ImageError(f"{path} says that it has {size} pixels; {MAX_PIXELS} are the most.")


def read_ome_zarr(path: Path, plane: Sequence[int] | None = None) -> Exported:
    """Return the objects of the label image in an OME-Zarr folder.

    Parameters
    ----------
    path : Path
        Of an image with labels, or of a label image; version 0.4 or 0.5.
    plane : sequence of int, optional
        As in `read_label_file`.

    Raises
    ------
    ImageError
        If it holds no label image, or several and none of them is called ``objects``.
    """
    try:
        import zarr
    except ImportError as error:
        raise ImageError(MISSING) from error
    if not is_folder(path):
        raise ImageError(f"There is no folder {path}.")
    try:
        root: Any = zarr.open_group(path, mode="r")
        group = _label_group(root, path)
        array, calibration = _level(group, path)
        notices: list[str] = []
        labels = as_labels(np.asarray(array[...]), str(path), notices.append)
        read = objects_of_labels(labels, calibration, plane)
        image = _intensity(root, read) if group.path != root.path else None
        about = _about(group)
    except ImageError:
        raise
    except Exception as error:  # a damaged folder makes decoders raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ImageError(f"{path} is damaged or no OME-Zarr: {reason:.200}.") from error
    objects = tuple(_described(one, about.get(one.label, {})) for one in read.objects)
    return replace(read, objects=objects, intensity=image, notices=tuple(notices))


def _metadata(group: Any) -> Mapping[str, Any]:
    attributes = dict(group.attrs)
    inside = attributes.get("ome")
    return inside if isinstance(inside, dict) else attributes


def _label_group(root: Any, path: Path) -> Any:
    if "image-label" in _metadata(root):
        return root
    names = []
    if "labels" in root:
        names = [str(name) for name in _metadata(root["labels"]).get("labels", ())]
    if NAME in names or len(names) == 1:
        return root["labels"][NAME if NAME in names else names[0]]
    if names:
        raise ImageError(
            f"{path} holds several label images; name the folder of one of them: "
            f"{', '.join(sorted(names)[:10])} in {path / 'labels'}."
        )
    raise ImageError(f"{path} holds no label image.")


def _level(group: Any, path: Path) -> tuple[Any, Calibration]:
    """Return the finest level, and the steps along its axes."""
    with malformed_as_sentence(str(path)):
        said = _metadata(group)["multiscales"][0]
        dataset = said["datasets"][0]
        axes = [dict(axis) for axis in said["axes"]]
        scale, translate = _placement(said, dataset, len(axes))
        array = group[str(dataset["path"])]
    _refuse_huge(path, math.prod(array.shape))
    if math.prod(array.chunks) > _MAX_CHUNK:
        raise ImageError(f"{path} is stored in pieces that are too large to be read.")
    letters = "".join(str(axis["name"])[:1].upper() for axis in axes)
    if len(letters) != array.ndim:
        raise ImageError(f"{path} does not say what its axes are.")
    units = tuple(full_name(str(axis.get("unit", ""))) for axis in axes)
    size = _pixel_size(letters, units, scale)
    return array, Calibration(size, letters, scale, translate, units)


def _placement(
    multiscale: Mapping[str, Any], dataset: Mapping[str, Any], ndim: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scale and translation: the level's own, and then those of all levels."""
    scale, translate = np.ones(ndim), np.zeros(ndim)
    own = dataset["coordinateTransformations"]
    if not any(one["type"] == "scale" for one in own):
        raise ValueError("its pixels have no size")
    for one in (*own, *(multiscale.get("coordinateTransformations") or ())):
        if one["type"] == "identity":
            continue
        values = np.array(one[one["type"]], float)
        if values.shape != (ndim,) or not np.isfinite(values).all():
            raise ValueError("its axes have other sizes than its pixels")
        if one["type"] == "scale":
            scale, translate = scale * values, translate * values
        elif one["type"] == "translation":
            translate = translate + values
        else:
            raise ValueError(f"its pixels are placed by a {one['type']}")
    return tuple(scale.tolist()), tuple(translate.tolist())


def _pixel_size(letters: str, units: tuple[str, ...], scale: tuple[float, ...]) -> PixelSize:
    row, col = letters.index("Y"), letters.index("X")
    if units[row] != units[col]:
        return PixelSize()
    return PixelSize(abs(scale[row]), abs(scale[col]), units[row])


def _intensity(root: Any, read: Exported) -> Array | None:
    """Return the image's own values, where it has one plane of the labels' shape."""
    said = _metadata(root).get("multiscales")
    if not said or read.labels is None or read.labels.ndim != 2:
        return None
    array = root[str(said[0]["datasets"][0]["path"])]
    if array.shape != read.image_shape or math.prod(array.chunks) > _MAX_CHUNK:
        return None
    return np.asarray(array[...])


def _about(group: Any) -> dict[int, Mapping[str, Any]]:
    """Return what is said of each label."""
    said = _metadata(group).get("image-label", {})
    try:
        return {int(one["label-value"]): dict(one) for one in said.get("properties") or ()}
    except MALFORMED:
        return {}


def _described(one: PlaneObject, said: Mapping[str, Any]) -> PlaneObject:
    concept = str(said.get("concept") or "")
    instance = replace(
        one.instance,
        score=score_of(said.get("score")),
        concept="" if concept == NO_CONCEPT else concept,
    )
    return replace(
        one,
        instance=instance,
        engine=str(said.get("engine") or ""),
        state=state_of(said.get("state")),
    )
