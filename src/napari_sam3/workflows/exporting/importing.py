"""Objects from files of other programs, and of this one."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.file_object import MAX_BYTES, Wanted
from napari_sam3.workflows.exporting.formats import FORMATS
from napari_sam3.workflows.files import LABEL_SUFFIXES, all_bytes
from napari_sam3.workflows.paths import is_file, is_folder, require_file

_WRITTEN = [suffix for each in FORMATS if each.can_be_read for suffix in each.suffixes]

READABLE = tuple(dict.fromkeys((*_WRITTEN, ".geojson.gz", ".roi", *LABEL_SUFFIXES)))
"""The ends of the names of files that can be read."""

_JSON_MARKS = (b'"annotations"', b'"segmentation"', b'"Feature"', b'"FeatureCollection"')
_LONGEST_MARK = max(map(len, _JSON_MARKS))
_BLOCK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


def read_objects(
    path: str | Path,
    image_shape: tuple[int, int] | None = None,
    *,
    image_name: str | None = None,
    plane: Sequence[int] | None = None,
) -> Exported:
    """Read objects from a file; what it is, its name and its content tell.

    Parameters
    ----------
    path : str or Path
        COCO JSON, GeoJSON (also ``.geojson.gz``), regions of ImageJ (``.zip``, ``.roi``), a
        label image (TIFF, PNG, NPY, Cellpose's ``_seg.npy``) or an OME-Zarr folder with labels.
    image_shape : tuple of int, optional
        (rows, cols) of the image that they are of.  Files that say so must agree.
    image_name : str, optional
        Which image of a COCO file with several.
    plane : sequence of int, optional
        Which plane of a stack.  Without it, a label image with more axes is returned whole,
        and no objects; of other files about several planes, the objects of each
        (`Exported.planes`).

    Returns
    -------
    Exported
        With one object for each object or label of the file, and in ``notices`` what had to
        be left out.  Labels are those of the file if it has any, else 1 to n.

    Raises
    ------
    ImageError
        If there is no such file, it holds no objects, it is damaged, or is about another
        image.  Nothing of an image's size is allocated before its size was checked.
    """
    path = Path(path)
    if not is_folder(path):
        require_file(path)
    if image_shape is not None:
        image_shape = int(image_shape[0]), int(image_shape[1])
    found = _read(path, Wanted(image_shape, image_name, plane))
    if image_shape is not None and found.image_shape != image_shape:
        rows, cols = found.image_shape
        raise ImageError(
            f"{path} has {rows} × {cols} pixels (rows × columns), but the image has "
            f"{image_shape[0]} × {image_shape[1]}."
        )
    # some tell it themselves
    named = (one if str(path) in one else f"{path.name}: {one}" for one in found.notices)
    return replace(found, notices=tuple(named))


def is_readable(path: str | Path) -> bool:
    """Return whether a file looks like one that `read_objects` reads.

    Of a JSON file so much is read that its kind is known, of others only the name.
    """
    path = Path(path)
    name = path.name.lower()
    if not (is_file(path) or is_folder(path)) or not name.endswith(READABLE):
        return False
    return not name.endswith(".json") or (is_file(path) and _mentions(path, _JSON_MARKS))


def _mentions(path: Path, words: tuple[bytes, ...]) -> bool:
    """Whether one of these words is in a file that is not too long to be read."""
    before = b""
    try:
        with path.open("rb") as file:
            for _ in range(MAX_BYTES // _BLOCK):
                block = file.read(_BLOCK)
                if any(word in before + block for word in words):
                    return True
                if not block:
                    return False
                before = block[-_LONGEST_MARK:]
    except OSError:
        pass
    return False


def _read(path: Path, wanted: Wanted) -> Exported:
    from napari_sam3.workflows.exporting.from_labels import read_label_file
    from napari_sam3.workflows.exporting.from_ome_zarr import read_ome_zarr
    from napari_sam3.workflows.exporting.from_rois import read_rois

    suffix = path.suffix.lower()
    if suffix == ".zarr" or is_folder(path):
        return read_ome_zarr(path, wanted.plane)
    if suffix in (".json", ".geojson") or path.name.lower().endswith(".geojson.gz"):
        return _read_json(path, wanted)
    if suffix in (".zip", ".roi"):
        return read_rois(path, wanted)
    if suffix in LABEL_SUFFIXES:
        return read_label_file(path, wanted.plane)
    raise ImageError(
        f"Objects cannot be read from {path.name!r}; its name should end in "
        f"{', '.join(READABLE[:-1])} or {READABLE[-1]}."
    )


def _read_json(path: Path, wanted: Wanted) -> Exported:
    from napari_sam3.workflows.exporting.from_coco import objects_of_coco
    from napari_sam3.workflows.exporting.from_geojson import objects_of_geojson

    content = _load(path)
    known = [one for one in content if one is not None] if isinstance(content, list) else [content]
    first = known[0] if known else None
    if not isinstance(first, dict):
        raise ImageError(f"{path} is neither COCO nor GeoJSON.")
    if "annotations" in first or "segmentation" in first:
        return objects_of_coco(content, path, wanted)
    if first.get("type") in ("Feature", "FeatureCollection"):
        return objects_of_geojson(content, path, wanted)
    if "napari-sam3" in (first.get("software") or ()):
        raise ImageError(
            f"{path} is the record of how labels were made; name the label image beside it."
        )
    raise ImageError(f"{path} is neither COCO nor GeoJSON.")


def _load(path: Path) -> Any:
    data = all_bytes(path, MAX_BYTES)
    # told by the content: browsers unpack a file and leave it its name
    if data.startswith(_GZIP_MAGIC):
        try:
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ImageError(
                f"{path} cannot be unpacked: it is damaged, or was cut off."
            ) from error
        if len(data) > MAX_BYTES:
            raise ImageError(f"{path} is longer than {MAX_BYTES >> 20} MB.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{path} cannot be read: it is no JSON, or was cut off.") from error
