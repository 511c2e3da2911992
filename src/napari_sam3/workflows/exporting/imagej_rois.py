"""Objects as regions of interest for ImageJ's ROI Manager."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.outlines import Ring, trace_outlines
from napari_sam3.core.progress import Progress
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.coco import NO_CONCEPT, category_ids
from napari_sam3.workflows.exporting.file_object import MAX_PLANE
from napari_sam3.workflows.files import replace_file

if TYPE_CHECKING:
    import roifile

_AT_ONCE = 500
# ImageJ takes 16 bits for a number from -5000 on
_MAX_SIDE = 60535
_MAX_POINTS = 65535
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
# what file systems and ImageJ's own file names have another use for
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]+")


def iter_write(path: Path, exported: Exported) -> Generator[Progress, None, None]:
    """Write one region per object, whole, also where others hide it.

    Points lie on the edges of pixels, which is where ImageJ has them too.
    """
    if max(exported.image_shape) > _MAX_SIDE:
        raise ImageError(
            f"ImageJ's regions reach {_MAX_SIDE} pixels far, but the image has "
            f"{' × '.join(map(str, exported.image_shape))}; save GeoJSON instead."
        )
    objects = [(one, each.place) for each in exported.by_plane() for one in each.kept]
    last = max((at for _, place in objects for at in place.values()), default=0)
    if last > MAX_PLANE:
        raise ImageError(
            f"ImageJ's regions name planes up to {MAX_PLANE}, but an object lies on plane {last}; "
            "save another format instead."
        )
    groups = category_ids(exported.kept)
    packed, taken = io.BytesIO(), set[str]()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, (one, place) in enumerate(objects):
            if index % _AT_ONCE == 0:
                yield Progress(index, len(objects), "tracing outlines")
            roi = _roi(one, _free_name(one, taken))
            _put(roi, place)
            roi.group = min(groups[one.instance.concept or NO_CONCEPT], 255)
            # without a date, so that the same objects are the same file
            archive.writestr(
                zipfile.ZipInfo(f"{roi.name}.roi"), roi.tobytes(), zipfile.ZIP_DEFLATED
            )
    replace_file(path, lambda file: file.write(packed.getbuffer()))
    yield Progress(len(objects), len(objects), "tracing outlines")


def _free_name(one: PlaneObject, taken: set[str]) -> str:
    concept = " ".join(_UNSAFE.sub(" ", one.instance.concept).split())[:80].strip(" .")
    wanted = name = f"{one.label:04} {concept}".strip()
    number = 1
    while name.lower() in taken:
        number += 1
        name = f"{wanted} {number}"
    taken.add(name.lower())
    return name


def _roi(one: PlaneObject, name: str) -> roifile.ImagejRoi:
    import roifile

    item = one.instance
    outlines = trace_outlines(item.mask)
    rings = [ring for outline in outlines for ring in outline.rings]
    points = len(rings[0])
    roi = roifile.ImagejRoi()
    roi.name = name
    roi.top, roi.left = item.box.top, item.box.left
    roi.bottom, roi.right = item.box.bottom, item.box.right
    if len(rings) == 1 and points <= _MAX_POINTS:
        roi.roitype = roifile.ROI_TYPE.POLYGON
        roi.integer_coordinates = rings[0][:, ::-1].astype(np.int32)
        roi.n_coordinates = points
    else:
        roi.roitype = roifile.ROI_TYPE.RECT
        shift = (item.box.top, item.box.left)
        roi.multi_coordinates = np.concatenate([_path(ring + shift) for ring in rings])
        roi.shape_roi_size = len(roi.multi_coordinates)
    roi.props = _properties(one)
    return roi


def _put(roi: roifile.ImagejRoi, place: Mapping[str, int]) -> None:
    """Say on which plane a region lies; ImageJ counts from 1, and 0 stands for all.

    A stack with a single axis of planes has slices and no hyperstack's positions.
    """
    if set(place) == {"Z"}:
        roi.position = place["Z"] + 1
        return
    roi.t_position, roi.c_position, roi.z_position = (
        place[letter] + 1 if letter in place else 0 for letter in "TCZ"
    )


def _path(ring: Ring) -> Any:
    """Return a ring as a piece of a Java path: steps with their (x, y), then the end."""
    steps = np.empty((len(ring), 3), np.float32)
    steps[:, 0] = _LINE
    steps[0, 0] = _MOVE
    steps[:, 1:] = ring[:, ::-1]
    return np.append(steps.ravel(), np.float32(_CLOSE))


def _properties(one: PlaneObject) -> str:
    item = one.instance
    said = {"Label": str(one.label), "Concept": item.concept, "State": one.state}
    said["Engine"] = one.engine
    if item.score is not None and math.isfinite(item.score):
        said["Score"] = repr(float(item.score))
    # one a line, so that none may break it
    lines = (f"{key}: {' '.join(value.split())}\n" for key, value in said.items() if value)
    return "".join(lines)
