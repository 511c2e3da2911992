"""Objects in the files of other programs, on the command line."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from napari_sam3.cli.options import (
    AsJson,
    Overwrite,
    PlaneOf,
    Quiet,
    Verbose,
    image_option,
    output_option,
)
from napari_sam3.cli.parsing import TypedPlane
from napari_sam3.cli.telling import Voice, errors_of_strangers
from napari_sam3.core.calibration import PixelSize
from napari_sam3.errors import ImageError

if TYPE_CHECKING:
    from napari_sam3.workflows.exporting import Exported

T = TypeVar("T")

TOO_LARGE = "The objects do not fit in memory."


class Sides(NamedTuple):
    """Of a pixel; typer would count the entries of a plain tuple."""

    row: float
    col: float


def parse_sides(text: str) -> Sides:
    """Read ``row,col``, or one number for both."""
    try:
        sides = [float(part) for part in text.split(",")]
        row, col = sides * 2 if len(sides) == 1 else sides
        PixelSize(row, col)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no size of a pixel: give the distance between rows and that between "
            "columns, above 0, with a comma between, e.g. 0.325,0.325."
        ) from error
    return Sides(row, col)


def export_objects(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="Label image, OME-Zarr, COCO JSON, GeoJSON or ImageJ ROIs."
        ),
    ],
    outputs: Annotated[
        list[Path],
        output_option(
            "--output",
            "-o",
            metavar="OUT",
            help="Where to save; the name tells the format: .tif, .ome.zarr, .coco.json or .json "
            "(COCO), .geojson (QuPath), .zip (ImageJ ROIs) or .csv (measurements). Repeat it for "
            "more.",
        ),
    ],
    image: Annotated[
        Path | None, image_option(metavar="IMAGE", help="The image, to measure intensities.")
    ] = None,
    plane: PlaneOf = None,
    pixel_size: Annotated[
        Sides | None,
        image_option(
            metavar="R,C", parser=parse_sides, help="Size of a pixel; by default as in the file."
        ),
    ] = None,
    unit: Annotated[str, image_option(metavar="UNIT", help="Unit of --pixel-size.")] = "micrometer",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Export objects for other programs, and measure them.

    With the record beside a label image, objects are exported whole, also where others hide
    them; without it, each label is one object.  Objects that are not shown are left out.
    """
    from napari_sam3.workflows.exporting import export
    from napari_sam3.workflows.exporting.writing import not_held

    voice = Voice(quiet, verbose, as_json)
    with errors_of_strangers(ImageError, TOO_LARGE):
        _check_outputs(outputs, source, image, overwrite)
        content = _content(source, image, plane)
        if pixel_size is not None:
            content = _calibrated(content, PixelSize(*pixel_size, unit))
        _check_fit(outputs, content)
        told = [*content.notices, *_about_edges(source, content)]
        voice.notices(*told)
        voice.detail(_about(source, content))
        for path in outputs:
            export(path, content, overwrite)
            count, noun = _count(path, content)
            voice.result(f"{count} {noun}{'' if count == 1 else 's'} → {path}")
            left_out = not_held(path, content)
            voice.notices(*left_out)
            told += left_out
    voice.document(_to_json(source, outputs, content, told))


def _check_outputs(outputs: list[Path], source: Path, image: Path | None, overwrite: bool) -> None:
    """Refuse names that cannot be written, before anything is read."""
    from napari_sam3.workflows.exporting import check_target

    taken = {os.path.realpath(path) for path in (source, image) if path is not None}
    for path in outputs:
        if os.path.realpath(path) in taken:
            raise ImageError(f"{path} is given twice; choose another name for the output.")
        taken.add(os.path.realpath(path))
        check_target(path, overwrite)


def _check_fit(outputs: list[Path], content: Exported) -> None:
    from napari_sam3.workflows.exporting import format_of
    from napari_sam3.workflows.exporting.writing import refuse_unfit

    for path in outputs:
        try:
            refuse_unfit(format_of(path), content)
        except ImageError as error:
            raise ImageError(f"{path}: {str(error).rstrip('.')} with --plane.") from error


def _content(source: Path, image: Path | None, plane: TypedPlane | None) -> Exported:
    from napari_sam3.core.images import without_colours
    from napari_sam3.workflows.exporting import read_objects
    from napari_sam3.workflows.files import open_image

    if image is None:
        return _with_record(source, read_objects(source, plane=plane))
    # one of the two may be a stack and the other a plane
    told: list[str] = []
    pixels, image_used_it = _on_plane(lambda at: open_image(image, at, told.append), plane)
    shape = (pixels.shape[0], pixels.shape[1])

    def read(at: TypedPlane | None) -> Exported:
        found = read_objects(source, shape, image_name=image.name, plane=at)
        if plane is not None and found.is_stack:
            raise ImageError(f"{source} is a stack.")
        return found

    found, objects_used_it = _on_plane(read, plane)
    if plane is not None and not (image_used_it or objects_used_it):
        raise ImageError("There is only one plane: leave --plane out.")
    found = _with_record(source, found)
    notices = (*found.notices, *dict.fromkeys(told))
    found = replace(found, image_name=image.name, notices=notices)
    if image_used_it and found.plane is None and plane is not None:
        found = replace(found, plane=tuple(plane))
    pixels = without_colours(pixels)
    if pixels.ndim > 2:
        return replace(
            found, notices=(*found.notices, f"{image} is in colour: intensities are not measured.")
        )
    return replace(found, intensity=pixels)


def _on_plane(read: Callable[[TypedPlane | None], T], plane: TypedPlane | None) -> tuple[T, bool]:
    """Return what is read from the plane, or from a file that has only one; and which it was."""
    if plane is None:
        return read(None), False
    try:
        return read(plane), True
    except ImageError as error:
        try:
            return read(None), False
        except ImageError:
            raise error from None


def _with_record(source: Path, found: Exported) -> Exported:
    """Put the whole objects on record beside a label image in the place of its labels."""
    from napari_sam3.workflows.exporting.recorded_place import placed
    from napari_sam3.workflows.files import LABEL_SUFFIXES
    from napari_sam3.workflows.object_records import (
        record_beside,
        shown_on_record,
        stack_on_record,
    )
    from napari_sam3.workflows.provenance import bare_name

    is_labels = source.suffix.lower() in LABEL_SUFFIXES
    record = record_beside(source) if is_labels else None
    if record is None:
        return found
    name = found.image_name or bare_name(str(record["image"].get("name") or ""))
    found = placed(replace(found, image_name=name), record["layer"])
    if found.is_stack and found.labels is not None:
        stack = stack_on_record(record, found.labels)
        if stack is None or not stack[0]:
            return found
        planes, is_changed = stack
        found = replace(found, planes=planes)
    else:
        on_record = shown_on_record(record, found.labels, found.plane or ())
        if on_record is None:
            return found
        found, is_changed = replace(found, objects=on_record.objects), on_record.is_changed
    if not is_changed:
        return found
    changed = f"{source} was changed after its record was written; what it shows now is exported."
    return replace(found, notices=(*found.notices, changed))


def _about_edges(source: Path, content: Exported) -> tuple[str, ...]:
    if content.has_edges:
        return ()
    shape = content.image_shape if content.labels is None else content.labels.shape
    size = " × ".join(map(str, shape))
    said = (
        f"{source} does not say how large its image is: {size} pixels are taken, which "
        "just hold all objects, and touches_edge stays empty. Name the image with --image."
    )
    return (said,)


def _calibrated(content: Exported, size: PixelSize) -> Exported:
    """Give pixels another size; a place that is known in another unit is not known any more."""
    scale, units, start = content.scale, content.units, content.translate
    if scale is not None:
        sides = (
            math.copysign(side, old)
            for side, old in zip((size.row, size.col), scale[-2:], strict=True)
        )
        scale = (*scale[:-2], *sides)
    if start is not None and content.pixel_size.unit != size.unit:
        start = (*start[:-2], 0.0, 0.0)
    if units is not None:
        units = (*units[:-2], size.unit, size.unit)
    return replace(
        content, pixel_size=size, scale=scale, units=units, translate=start, to_world=None
    )


def _about(source: Path, content: Exported) -> str:
    rows, cols = content.image_shape
    size = content.pixel_size
    return (
        f"{source}: {rows} × {cols} pixels of {size.row:g} × {size.col:g} {size.unit}, "
        f"{_many(content)} objects"
    )


def _to_json(
    source: Path, outputs: list[Path], content: Exported, told: list[str]
) -> dict[str, Any]:
    size = content.pixel_size
    return {
        "input": str(source),
        "pixel_size": {"row": size.row, "col": size.col, "unit": size.unit},
        "outputs": [{"path": str(path), "objects": _count(path, content)[0]} for path in outputs],
        "notices": told,
    }


def _count(path: Path, content: Exported) -> tuple[int, str]:
    import numpy as np

    from napari_sam3.workflows.exporting import format_of

    count, noun = _many(content), "object"
    if content.labels is not None and not format_of(path).keeps_overlaps:
        count, noun = int(np.count_nonzero(np.unique(content.labels))), "label"
    return count, noun


def _many(content: Exported) -> int:
    """Return how many objects there are, one over many planes counted once."""
    return len({one.label for one in content.kept})
