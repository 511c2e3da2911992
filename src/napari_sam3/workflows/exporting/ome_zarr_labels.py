"""Label images as OME-Zarr 0.5.

With the image's values, it is an image with ``labels/objects`` inside; without, the label
image stands alone.  See https://ngff.openmicroscopy.org/0.5/.
"""

from __future__ import annotations

import importlib
import math
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3.core.arrays import Array
from napari_sam3.core.progress import Progress
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.bundle import Exported, PlacedLabels, label_image
from napari_sam3.workflows.exporting.calibration import METERS, SECONDS, full_name
from napari_sam3.workflows.exporting.coco import NO_CONCEPT, category_ids, class_color
from napari_sam3.workflows.paths import behind_links, is_folder

if TYPE_CHECKING:
    import zarr

NAME = "objects"
"""Of the label image inside an image."""

_ORDER = "TCZYX"
_CHUNK = 1024
_SMALLEST = 256
"""Levels are added until both sides are at most so long."""

MISSING = (
    "OME-Zarr needs a library that is not installed. "
    'Install it: pip install "napari-sam3[ome-zarr]"'
)

_VERSION = "0.5"


def iter_write(path: Path, exported: Exported) -> Generator[Progress, None, None]:
    """Write the label image in several resolutions, with what is known of each label."""
    try:
        importlib.import_module("zarr")
    except ImportError as error:
        raise ImageError(MISSING) from error
    yield Progress(0, 1, "writing OME-Zarr")
    labels = label_image(exported, _ORDER)
    if min(labels.scale) <= 0:
        raise ImageError(
            "OME-Zarr holds no mirrored image, but an axis of this one runs backwards."
        )
    _replace_folder(path, lambda folder: _fill(folder, exported, labels))
    yield Progress(1, 1, "writing OME-Zarr")


def _fill(folder: Path, exported: Exported, labels: PlacedLabels) -> None:
    import zarr

    root = zarr.open_group(folder, mode="w", zarr_format=3)
    about = {"version": _VERSION, **_about_labels(exported)}
    stem = Path(exported.image_name).stem
    image = exported.intensity
    if image is None or labels.pixels.shape != image.shape:
        _describe(root, _write(root, labels, stem or NAME) | {"image-label": about})
        return
    _describe(root, _write(root, replace(labels, pixels=_values(image)), stem or "image"))
    _describe(root.require_group("labels"), {"labels": [NAME]})
    inside = root.require_group(f"labels/{NAME}")
    about["source"] = {"image": "../../"}
    _describe(inside, _write(inside, labels, NAME) | {"image-label": about})


def _values(image: Array) -> Array:
    """Return an image's own values as a file holds them; what is masked is NaN."""
    if not np.ma.isMaskedArray(image):
        return image
    return np.ma.filled(image.astype(np.result_type(image, np.float32)), np.nan)


def _describe(group: zarr.Group, said: dict[str, Any]) -> None:
    group.attrs["ome"] = {"version": _VERSION, **said}


def _write(group: zarr.Group, image: PlacedLabels, name: str) -> dict[str, Any]:
    """Write the pixels in several resolutions into a group, and return what they are."""
    datasets = []
    for number, (pixels, step) in enumerate(_levels(image.pixels)):
        level = group.create_array(
            f"s{number}",
            shape=pixels.shape,
            dtype=pixels.dtype,
            chunks=_chunks(pixels.shape),
            dimension_names=list(image.axes.lower()),
        )
        level[...] = pixels
        datasets.append(
            {"path": f"s{number}", "coordinateTransformations": _placement(image, step)}
        )
    axes = [_axis(*one) for one in zip(image.axes, image.units, strict=True)]
    return {"multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}


def _placement(image: PlacedLabels, step: int) -> list[dict[str, Any]]:
    """Return where the pixels of a level lie: in NGFF, their centres have whole coordinates."""
    scale = [
        value * (step if axis in "YX" else 1)
        for axis, value in zip(image.axes, image.scale, strict=True)
    ]
    placement: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(image.translate):
        placement.append({"type": "translation", "translation": list(image.translate)})
    return placement


def _levels(pixels: Array) -> Iterator[tuple[Array, int]]:
    """Yield the pixels, and every second of them, until they are few.

    A level's first pixel has its centre where the first one of the image has it, so all levels
    have the same translation.
    """
    step = 1
    while True:
        yield pixels[..., ::step, ::step], step
        if max(math.ceil(side / step) for side in pixels.shape[-2:]) <= _SMALLEST:
            return
        step *= 2


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    planes, sides = shape[:-2], shape[-2:]
    return (*(1 for _ in planes), *(max(1, min(side, _CHUNK)) for side in sides))


def _axis(letter: str, unit: str) -> dict[str, str]:
    kind = {"T": "time", "C": "channel"}.get(letter, "space")
    name, known = full_name(unit), {"time": SECONDS, "space": METERS}.get(kind, ())
    return {"name": letter.lower(), "type": kind} | ({"unit": name} if name in known else {})


def _about_labels(exported: Exported) -> dict[str, Any]:
    objects = [one for one in exported.labelled if one.state != "rejected"]
    numbers = category_ids(exported.kept)
    colors, properties = [], []
    for one in objects:
        color = class_color(numbers[one.concept or NO_CONCEPT])
        colors.append({"label-value": one.label, "rgba": [*color, 255]})
        said: dict[str, Any] = {"label-value": one.label, "concept": one.concept}
        said |= {"state": one.state, "engine": one.engine, "area": one.area}
        if one.score is not None and math.isfinite(one.score):
            said["score"] = float(one.score)
        properties.append(said)
    return {"colors": colors, "properties": properties} if objects else {}


def _replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder by what fills a new one, whole or not at all; an existing one is replaced."""
    target = behind_links(path)
    # beside its place, as only a move within one disk happens at once; not named after it,
    # as its name may be as long as names can be
    token = secrets.token_hex(8)
    partial, old = (target.with_name(f".{token}.{end}") for end in ("part", "old"))
    try:
        partial.mkdir()
        write(partial)
        if target.exists():
            target.replace(old)
        partial.replace(target)
    except OSError as error:
        if is_folder(old) and not is_folder(target):
            old.replace(target)
        raise ImageError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)
