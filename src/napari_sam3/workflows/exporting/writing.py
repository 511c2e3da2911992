"""Writing objects to a file, whole or not at all."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from pathlib import Path

from napari_sam3.core.progress import Progress, drain
from napari_sam3.errors import ImageError, ProvenanceError
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.formats import Format, format_of
from napari_sam3.workflows.paths import is_file, kind_in_place


def iter_export(
    path: str | Path, exported: Exported, overwrite: bool = False
) -> Generator[Progress, None, list[Path]]:
    """Write objects to a file, and return what was written; its name tells the format.

    Parameters
    ----------
    path : str or Path
        Ends as one of `FORMATS`.
    exported : Exported
    overwrite : bool
        Whether an existing file is replaced.

    Raises
    ------
    ImageError
        If the name stands for no format, the file exists, the format cannot hold the
        objects, or the file cannot be written.  Then nothing was written or replaced.
    """
    path = Path(path)
    chosen = format_of(path)
    check_target(path, overwrite)
    refuse_unfit(chosen, exported)
    # formats bring libraries along that no other needs
    writer = importlib.import_module(f"napari_sam3.workflows.exporting.{chosen.name}")
    yield from writer.iter_write(path, exported)
    return [path]


def export(path: str | Path, exported: Exported, overwrite: bool = False) -> list[Path]:
    """Write objects to a file, as `iter_export` does, and show no progress."""
    return drain(iter_export(path, exported, overwrite))


def check_target(path: Path, overwrite: bool) -> None:
    """Raise `ImageError` where something is that must not be replaced."""
    chosen = format_of(path)
    kind = kind_in_place(path)
    if kind == "nothing":
        return
    if kind != ("folder" if chosen.is_folder else "file"):
        what = "pipe or a device" if kind == "other" else kind
        raise ImageError(f"{path} is a {what}; choose another name.")
    if not overwrite:
        raise ImageError(f"{path} exists already; choose another name, or ask to overwrite it.")
    if chosen.is_folder and not _is_zarr(path):
        raise ImageError(f"{path} holds something else than OME-Zarr; choose another name.")
    if path.suffix.lower() == ".json" and _is_record(path):
        raise ImageError(
            f"{path} is the record of how labels were made, and would be lost; choose another name."
        )


def refuse_unfit(chosen: Format, exported: Exported) -> None:
    """Refuse a stack of labels whose objects are not known, where objects are asked for."""
    if chosen.keeps_overlaps and exported.is_stack and not exported.everything:
        raise ImageError(
            f"{chosen.title} holds the objects of one plane, but the labels are a stack; "
            "choose a plane."
        )


def not_held(path: Path, exported: Exported) -> tuple[str, ...]:
    """Return a sentence about what a file of this name does not hold of the objects."""
    chosen = format_of(path)
    if chosen.name in ("geojson", "imagej_rois") and exported.plane and not exported.place:
        return (f"{path.name} does not say on which plane they lie: it has no name for its axes.",)
    if exported.is_turned and not chosen.keeps_overlaps:
        turned = (
            f"{path.name} does not say that the labels are rotated, sheared or mirrored: it holds "
            "only their pixel size and where their first pixel lies."
        )
        return (turned,)
    return ()


def _is_zarr(path: Path) -> bool:
    names = ("zarr.json", ".zgroup", ".zattrs")
    try:
        return not any(path.iterdir()) or any(is_file(path / name) for name in names)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error


def _is_record(path: Path) -> bool:
    from napari_sam3.workflows.sidecars import read_sidecar

    try:
        read_sidecar(path)
    except ProvenanceError:
        return False
    return True
