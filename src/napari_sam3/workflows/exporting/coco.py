"""Objects as COCO JSON, the masks as compressed run lengths.

See `pycocotools.coco` and https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from pathlib import Path
from typing import Any

from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.progress import Progress
from napari_sam3.core.rle import whole_image_rle
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.files import save_text

NO_CONCEPT = "object"
"""The category of what was found without a name."""

_AT_ONCE = 500
# Okabe and Ito's palette, which is told apart by colour-blind eyes too; black left out
_PALETTE = (
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (240, 228, 66),
)


def iter_write(path: Path, exported: Exported) -> Generator[Progress, None, None]:
    """Write one annotation per object, whole, also where others hide it."""
    planes = list(exported.by_plane())
    objects = [(one, number) for number, each in enumerate(planes, 1) for one in each.kept]
    categories = category_ids(exported.kept)
    annotations = []
    for index, (one, image) in enumerate(objects):
        if index % _AT_ONCE == 0:
            yield Progress(index, len(objects), "writing masks")
        about = {"id": index + 1, "image_id": image}
        annotations.append(about | _annotation(one, exported.image_shape, categories))
    content = {
        "info": {"description": "Objects segmented in napari", "version": "1.0"},
        "images": [_image(each, number) for number, each in enumerate(planes, 1)],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": annotations,
    }
    save_text(path, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")
    yield Progress(len(objects), len(objects), "writing masks")


def category_ids(objects: tuple[PlaneObject, ...]) -> dict[str, int]:
    """Return a number for each concept, from 1, in the order in which they occur."""
    names = dict.fromkeys(one.instance.concept or NO_CONCEPT for one in objects)
    return {name: number for number, name in enumerate(names or [NO_CONCEPT], start=1)}


def class_color(number: int) -> tuple[int, int, int]:
    """Return red, green and blue, 0–255, of the class with this number, from 1."""
    return _PALETTE[(number - 1) % len(_PALETTE)]


def described_place(exported: Exported) -> dict[str, Any]:
    """Return the pixel size, and where the plane lies in its stack if it is in one, as JSON."""
    size = exported.pixel_size
    said: dict[str, Any] = {"pixel_size": {"row": size.row, "col": size.col, "unit": size.unit}}
    if exported.plane is not None:
        said["plane"] = list(exported.plane)
        said |= {"plane_axes": exported.plane_axes} if exported.plane_axes else {}
    return said


def _image(exported: Exported, number: int) -> dict[str, Any]:
    rows, cols = exported.image_shape
    about = {"id": number, "file_name": exported.image_name, "height": rows, "width": cols}
    return about | described_place(exported)


def _annotation(
    one: PlaneObject, shape: tuple[int, int], categories: dict[str, int]
) -> dict[str, Any]:
    item = one.instance
    rows, cols = item.box.shape
    annotation = {
        "category_id": categories[item.concept or NO_CONCEPT],
        "segmentation": {"size": list(shape), "counts": whole_image_rle(item, shape)},
        "bbox": [item.box.left, item.box.top, cols, rows],
        "area": item.area,
        "iscrowd": 0,
        "label": int(one.label),
        "state": one.state,
        "engine": one.engine,
    }
    if item.score is not None and math.isfinite(item.score):
        annotation["score"] = float(item.score)
    return annotation
