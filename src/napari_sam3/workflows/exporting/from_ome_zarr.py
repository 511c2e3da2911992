"""Objects from the label images in OME-Zarr folders, 0.4 or 0.5: one for each label."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam3.core.arrays import Array
from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.objects import PlaneObject
from napari_sam3.errors import ImageError, reason_of
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.calibration import Calibration, full_name
from napari_sam3.workflows.exporting.file_object import MALFORMED, FileObject, malformed_as_sentence
from napari_sam3.workflows.exporting.from_labels import objects_of_labels, refuse_huge
from napari_sam3.workflows.exporting.ome_zarr_labels import MISSING, NAME
from napari_sam3.workflows.label_files import as_labels
from napari_sam3.workflows.paths import is_folder, require_file

_MAX_CHUNK = 1 << 28
_MAX_METADATA = 1 << 24


def read_ome_zarr(path: Path, plane: Sequence[int] | None = None) -> Exported:
    """Return the objects of the label image in an OME-Zarr folder.

    That is the folder itself, or the only one in its ``labels``, or the one called ``objects``.
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
        raise ImageError(f"{path} is damaged or no OME-Zarr: {reason_of(error)}.") from error
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
    refuse_huge(path, math.prod(array.shape))
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
    names = ("score", "concept", "engine", "state")
    found = FileObject.of(one.instance, **{name: said.get(name) for name in names})
    return replace(one, instance=found.instance, engine=found.engine, state=found.state)


def label_groups(path: Path) -> list[Path]:
    """Return the folders of the label images in an OME-Zarr, of its labels, or of one of them.

    Empty if it is none of these.  Only its metadata is read, and that without the library.
    """
    said = _said_in(path)
    if "image-label" in said:
        return [path]
    place = path if "labels" in said else path / "labels"
    names = _said_in(place).get("labels")
    found = [place / name for name in names if _is_inside(name)] if isinstance(names, list) else []
    return [folder for folder in found if is_folder(folder)]


def _said_in(folder: Path) -> Mapping[str, Any]:
    """Return what the metadata in a folder says, of either version of zarr; else nothing."""
    for name in ("zarr.json", ".zattrs"):
        try:
            require_file(folder / name)
            with (folder / name).open("rb") as file:
                said = json.loads(file.read(_MAX_METADATA))
            said = said.get("attributes", {}) if name == "zarr.json" else said
            inside = said.get("ome")
            return inside if isinstance(inside, dict) else dict(said)
        except (ImageError, OSError, RecursionError, *MALFORMED):
            continue
    return {}


def _is_inside(name: Any) -> bool:
    return isinstance(name, str) and bool(name) and ".." not in Path(name).parts and name[0] != "/"
