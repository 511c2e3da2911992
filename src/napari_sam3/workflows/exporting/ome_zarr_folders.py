"""Which label images a folder of OME-Zarr holds, told by its metadata alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.found import MALFORMED
from napari_sam3.workflows.paths import is_folder, require_file

_MAX_METADATA = 1 << 24


def label_groups(path: Path) -> list[Path]:
    """Return the folders of the label images in an OME-Zarr, of its labels, or of one of them.

    Parameters
    ----------
    path : Path
        Only its metadata is read, and that without the library.

    Returns
    -------
    list of Path
        Empty if it is none of these.
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
