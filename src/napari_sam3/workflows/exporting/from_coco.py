"""Objects from COCO JSON: run lengths, compressed or not, and polygons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam3.core.instances import Instance
from napari_sam3.core.outlines import Outline
from napari_sam3.core.rle import counts_of, instance_of_counts
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.entries import Entries
from napari_sam3.workflows.exporting.file_object import (
    FileObject,
    NoObjectError,
    Room,
    Wanted,
    concept_of,
    entries_of,
    malformed_as_sentence,
    pixel_size_of,
    place_of,
    said_shape,
    whole_number,
)

Said = Mapping[str, Any]

_LISTED = 10


def objects_of_coco(content: Any, path: Path, wanted: Wanted) -> Exported:
    """Return the objects of one image of a COCO file, or of the planes of a stack.

    Parameters
    ----------
    content : object
        The parsed JSON: a data set, or a list of results, which does not name its image.
    path : Path
        For messages.
    wanted : Wanted
    """
    with malformed_as_sentence(str(path)):
        if isinstance(content, list):
            content = {"annotations": content}
        annotations = entries_of(content["annotations"])
        categories = entries_of(content.get("categories") or [])
        names = {_id(one["id"]): str(one["name"]) for one in categories}
        called = _images(content, annotations, path, wanted.image_name)
        images = {_id(one.get("id")): one for one in called}
        image = next(iter(images.values()), {})
        chosen = [one for one in annotations if not images or _image_id(one) in images]
        shape = _shape(image, chosen, path, wanted.image_shape)
    entries, room = Entries("annotation"), Room(shape)
    entries.leave_out("an empty entry", len(content["annotations"]) - len(annotations))
    entries.leave_out("another image", len(annotations) - len(chosen))
    for one in chosen:
        with entries.reading(f"Annotation {one.get('id', '?')!r:.20} of {path}"):
            at = place_of(images.get(_image_id(one), {}))
            entries.add(_object(one, names, room), at)
    return entries.assembled(
        path,
        shape,
        wanted.plane,
        pixel_size=pixel_size_of(image.get("pixel_size")),
        image_name=str(image.get("file_name", "")),
    )


def _images(
    content: Said, annotations: Sequence[Said], path: Path, name: str | None
) -> Sequence[Said]:
    """Return the image that is meant, or the planes of one stack; none if the file names none."""
    images = entries_of(content.get("images") or [])
    if not images:
        if len({_image_id(one) for one in annotations}) > 1:
            raise ImageError(f"{path} is about several images and does not name them.")
        return []
    called = [one for one in images if name is None or _is_called(one, name)]
    if len(images) == 1 or len(called) == 1:
        return (called or images)[:1]
    if called and _are_planes(called):
        return called
    known = sorted(str(one.get("file_name")) for one in called or images)
    listed = ", ".join(known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
    if name is None:
        raise ImageError(f"{path} is about {len(known)} images; name one of them: {listed}.")
    count = "several images" if called else "no image"
    raise ImageError(f"{path} is about {count} of the name {name!r}; there are {listed}.")


def _are_planes(images: Sequence[Said]) -> bool:
    """Whether these are planes of one stack, as this program writes them."""
    alike = {(str(one.get("file_name")), one.get("height"), one.get("width")) for one in images}
    places = {tuple(sorted(place_of(one).items())) for one in images}
    return len(alike) == 1 and len(places) == len(images)


def _image_id(annotation: Said) -> str:
    return _id(annotation.get("image_id"))


def _id(said: Any) -> str:
    # some programs write numbers as text, or with a point
    return str(whole_number(said))


def _is_called(image: Mapping[str, Any], name: str) -> bool:
    own = str(image.get("file_name"))
    return name in (own, own.replace("\\", "/").rpartition("/")[2])


def _shape(
    image: Said, annotations: Sequence[Said], path: Path, wanted: tuple[int, int] | None
) -> tuple[int, int]:
    rows, cols = image.get("height"), image.get("width")
    for one in annotations if rows is None else ():
        segmentation = one.get("segmentation")
        if isinstance(segmentation, dict):
            rows, cols = segmentation["size"]
            break
    if rows is None and wanted is not None:
        return wanted
    return said_shape(rows, cols, wanted, path)


def _object(said: Said, names: Mapping[str, str], room: Room) -> FileObject:
    return FileObject.of(
        _instance(said, room),
        said.get("label"),
        said.get("score"),
        concept_of(names.get(_id(said.get("category_id")))),
        said.get("engine"),
        said.get("state"),
    )


def _instance(said: Said, room: Room) -> Instance:
    segmentation = said.get("segmentation")
    if isinstance(segmentation, dict):
        if tuple(map(whole_number, segmentation.get("size") or ())) != room.shape:
            raise ValueError("its mask has another size than the image")
        counts = segmentation["counts"]
        lengths = counts_of(counts) if isinstance(counts, str) else counts
        return room.counted(instance_of_counts(lengths, room.shape, room.pixels))
    if not segmentation:
        raise NoObjectError("a bounding box and no mask" if said.get("bbox") else "no mask")
    return room.outlined(_outlines(segmentation))


def _outlines(polygons: Sequence[Any]) -> list[Outline]:
    if all(isinstance(number, int | float) for number in polygons):
        # one polygon, without the list around it
        polygons = [polygons]
    listed = [np.asarray(each, float).ravel() for each in polygons]
    if any(each.size % 2 for each in listed):
        raise NoObjectError("an odd number of coordinates")
    # two points are no polygon, but there are files that have such
    corners = [each.reshape(-1, 2)[:, ::-1] for each in listed if each.size >= 6]
    if not corners:
        raise NoObjectError("fewer than three corners")
    return [Outline(each) for each in corners]
