"""Label images as OME-Zarr 0.5.

With the image's values, it is an image with ``labels/objects`` inside; without, the label
image stands alone.  See https://ngff.openmicroscopy.org/0.5/.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.bundle import (
    Array,
    Exported,
    LabelImage,
    label_image,
)
from napari_sam3.workflows.exporting.coco import NO_CONCEPT, category_ids
from napari_sam3.workflows.exporting.colors import class_color
from napari_sam3.workflows.exporting.units import METERS, full_name
from napari_sam3.workflows.exporting.writing import replace_folder
from napari_sam3.workflows.segment import Progress

if TYPE_CHECKING:
    import zarr

NAME = "objects"
"""Of the label image inside an image."""

_ORDER = "TCZYX"
_CHUNK = 1024
_SMALLEST = 256
"""Levels are added until both sides are at most so long."""

MISSING = (
    "OME-Zarr needs libraries that are not installed. "
    'Install them: pip install "napari-sam3[ome-zarr]"'
)


def iter_write(path: Path, exported: Exported) -> Generator[Progress, None, None]:
    """Write the label image in several resolutions, with what is known of each label."""
    writer = _library()
    yield Progress(0, 1, "writing OME-Zarr")
    labels = label_image(exported, _ORDER)
    replace_folder(path, lambda folder: _fill(folder, exported, labels, writer))
    yield Progress(1, 1, "writing OME-Zarr")


def _library() -> Any:
    """Return the module that writes the metadata; this one is imported without it too."""
    try:
        with warnings.catch_warnings():
            # it deprecates a class, and uses it while it is imported
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module("ome_zarr.writer")
    except ImportError as error:
        raise ImageError(MISSING) from error


def _fill(folder: Path, exported: Exported, labels: LabelImage, writer: Any) -> None:
    import zarr

    root = zarr.open_group(folder, mode="w", zarr_format=3)
    levels = _Levels(writer, full_name(exported.pixel_size.unit))
    about = _about_labels(exported)
    stem = Path(exported.image_name).stem
    image = exported.intensity
    if image is None or labels.pixels.shape != image.shape:
        levels.write(root, labels, stem or NAME)
        known = {"version": levels.format.version} | about
        writer.add_metadata(root, {"image-label": known}, fmt=levels.format)
        return
    levels.write(root, LabelImage(image, labels.axes, labels.scale), stem or "image")
    levels.write(root.require_group(f"labels/{NAME}"), labels, NAME)
    listing = root.require_group("labels")
    writer.add_metadata(listing, {"version": levels.format.version}, fmt=levels.format)
    source = {"image": "../../"}
    writer.write_label_metadata(listing, NAME, fmt=levels.format, source=source, **about)


class _Levels:
    """Writes images in several resolutions."""

    def __init__(self, writer: Any, unit: str) -> None:
        self._writer, self._unit = writer, unit
        self.format: Any = importlib.import_module("ome_zarr.format").FormatV05()

    def write(self, group: zarr.Group, image: LabelImage, name: str) -> None:
        """Write the pixels, and what they are, into a group."""
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
            steps = [
                value * (step if axis in "YX" else 1)
                for axis, value in zip(image.axes, image.scale, strict=True)
            ]
            scales = [{"type": "scale", "scale": steps}]
            datasets.append({"path": f"s{number}", "coordinateTransformations": scales})
        axes = [_axis(letter, self._unit) for letter in image.axes]
        self._writer.write_multiscales_metadata(
            group, datasets, fmt=self.format, axes=axes, name=name
        )


def _levels(pixels: Array) -> Iterator[tuple[Array, int]]:
    """Yield the pixels, and every second of them, until they are few.

    A level's first pixel has its centre where the first one of the image has it, so the levels
    need no translation.
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
    if letter in "ZYX":
        space = {"name": letter.lower(), "type": "space"}
        return space | ({"unit": unit} if unit in METERS else {})
    return {"name": letter.lower(), "type": {"T": "time", "C": "channel"}[letter]}


def _about_labels(exported: Exported) -> dict[str, Any]:
    objects = exported.kept
    if len({one.label for one in objects}) < len(objects):
        # of several planes: it is not known which is meant
        return {}
    numbers = category_ids(objects)
    colors, properties = [], []
    for one in objects:
        item = one.instance
        concept = item.concept or NO_CONCEPT
        colors.append({"label-value": one.label, "rgba": [*class_color(numbers[concept]), 255]})
        said: dict[str, Any] = {"label-value": one.label, "concept": item.concept}
        said |= {"state": one.state, "engine": one.engine, "area": item.area}
        if item.score is not None and math.isfinite(item.score):
            said["score"] = float(item.score)
        properties.append(said)
    return {"colors": colors, "properties": properties} if objects else {}
