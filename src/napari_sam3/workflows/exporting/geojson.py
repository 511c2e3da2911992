"""Objects as GeoJSON for QuPath: outlines along the edges of pixels, in (x, y).

Pixel (x, y) covers x to x + 1 and y to y + 1, as in QuPath.  Its keys are described at
https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html.
"""

from __future__ import annotations

import json
import math
import uuid
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.outlines import Outline, Ring, trace_outlines
from napari_sam3.core.progress import Progress
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.coco import (
    NO_CONCEPT,
    category_ids,
    class_color,
    described_place,
)
from napari_sam3.workflows.files import save_text

_AT_ONCE = 500
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "napari-sam3")


def iter_write(path: Path, exported: Exported) -> Generator[Progress, None, None]:
    """Write one feature per object, whole, also where others hide it."""
    objects = [(one, each) for each in exported.by_plane() for one in each.kept]
    numbers = category_ids(exported.kept)
    lines, seen = [], Counter[str]()
    for index, (one, plane) in enumerate(objects):
        if index % _AT_ONCE == 0:
            yield Progress(index, len(objects), "tracing outlines")
        color = class_color(numbers[one.instance.concept or NO_CONCEPT])
        lines.append(_dump(_feature(one, plane, color, seen)))
    # one feature a line; readers other than this program pass over what is said of the image
    head = f'{{"type": "FeatureCollection", "image": {_dump(_image(exported))}, "features": ['
    body = ",\n".join(lines)
    save_text(path, f"{head}\n{body}\n]}}\n")
    yield Progress(len(objects), len(objects), "tracing outlines")


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _image(exported: Exported) -> dict[str, Any]:
    rows, cols = exported.image_shape
    edges = {"height": rows, "width": cols} if exported.has_edges else {}
    return {"name": exported.image_name, **edges, **described_place(exported)}


def _feature(
    one: PlaneObject, exported: Exported, color: tuple[int, ...], seen: Counter[str]
) -> dict[str, Any]:
    item = one.instance
    traced = trace_outlines(item.mask)
    size = exported.pixel_size
    measurements = {"Area px^2": float(item.area)}
    if size.is_calibrated:
        measurements[f"Area {size.unit}^2"] = item.area * size.area
    if item.score is not None and math.isfinite(item.score):
        measurements["Score"] = float(item.score)
    return {
        "type": "Feature",
        "id": _identity(one, exported.image_name, exported.place, seen),
        "geometry": _geometry(traced, item.box.top, item.box.left) | _plane(exported.place),
        "properties": {
            "objectType": "detection",
            "name": str(one.label),
            "classification": {"name": item.concept or NO_CONCEPT, "color": list(color)},
            "measurements": measurements,
            "metadata": {"state": one.state, "engine": one.engine},
        },
    }


def _identity(one: PlaneObject, image_name: str, at: Mapping[str, int], seen: Counter[str]) -> str:
    """Return the same id for the same object of the same image, so that it can be replaced."""
    box = one.instance.box
    place = json.dumps(
        [image_name, *at.items(), one.label, box.top, box.left, box.bottom, box.right]
    )
    said = f"{place} {one.instance.mask.tobytes().hex()}"
    seen[said] += 1
    return str(uuid.uuid5(_NAMESPACE, f"{said} {seen[said]}"))


def _geometry(outlines: Sequence[Outline], top: int, left: int) -> dict[str, Any]:
    polygons = [[_closed(ring, top, left) for ring in outline.rings] for outline in outlines]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _plane(place: Mapping[str, int]) -> dict[str, Any]:
    """Return the plane as QuPath names it: a channel of -1 stands for all."""
    if not place:
        return {}
    return {"plane": {"c": place.get("C", -1), "z": place.get("Z", 0), "t": place.get("T", 0)}}


def _closed(ring: Ring, top: int, left: int) -> list[list[int]]:
    """Return a ring in (x, y) that ends where it began."""
    points: list[list[int]] = (ring[:, ::-1] + (left, top)).tolist()
    return [*points, points[0]]
