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
from napari_sam3.workflows.exporting.coco import NO_CONCEPT
from napari_sam3.workflows.exporting.found import (
    Found,
    Room,
    known_shape,
    label_of,
    labelled,
    left_out,
    malformed_as_sentence,
    pixel_size_of,
    plane_of,
    said_shape,
    score_of,
    state_of,
)

_LISTED = 10


def objects_of_coco(
    content: Any,
    path: Path,
    image_shape: tuple[int, int] | None = None,
    image_name: str | None = None,
) -> Exported:
    """Return the objects of one image of a COCO file.

    Parameters
    ----------
    content : object
        The parsed JSON: a data set, or a list of results.
    path : Path
        For messages.
    image_shape : tuple of int, optional
        (rows, cols) that the image must have; a list of results does not say.
    image_name : str, optional
        Which image, if there are several.

    Raises
    ------
    ImageError
        If it is no such file, or it is not clear which image is meant.
    """
    with malformed_as_sentence(str(path)):
        if isinstance(content, list):
            content = {"annotations": content}
        annotations = [dict(one) for one in content["annotations"]]
        names = {one["id"]: str(one["name"]) for one in content.get("categories") or ()}
        image = _image(content, annotations, path, image_name)
        shape = _shape(image, annotations, path, image_shape)
        chosen = [one for one in annotations if _is_of(one, image)]
    room, found = Room(shape=shape), []
    for one in chosen:
        with malformed_as_sentence(f"Annotation {one.get('id', '?')!r:.20} of {path}"):
            item = _object(one, names, room)
            found.extend([item] if item else [])
    missing = left_out(len(chosen) - len(found), "they have no pixel in the image")
    return Exported(
        labelled(found),
        shape,
        pixel_size_of(image.get("pixel_size")),
        str(image.get("file_name", "")),
        notices=missing,
        plane=plane_of(image.get("plane")),
    )


def _image(
    content: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    path: Path,
    name: str | None,
) -> Mapping[str, Any]:
    images = [dict(one) for one in content.get("images") or ()]
    if not images:
        if len({str(one.get("image_id")) for one in annotations}) > 1:
            raise ImageError(f"{path} is about several images and does not name them.")
        return {}
    called = [one for one in images if name is None or _is_called(one, name)]
    if len(images) == 1 or len(called) == 1:
        return (called or images)[0]
    known = sorted(str(one.get("file_name")) for one in called or images)
    listed = ", ".join(known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
    if name is None:
        raise ImageError(f"{path} is about {len(known)} images; name one of them: {listed}.")
    count = "several images" if called else "no image"
    raise ImageError(f"{path} is about {count} of the name {name!r}; there are {listed}.")


def _is_called(image: Mapping[str, Any], name: str) -> bool:
    own = str(image.get("file_name"))
    return name in (own, own.replace("\\", "/").rpartition("/")[2])


def _is_of(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> bool:
    return not image or annotation.get("image_id") == image.get("id")


def _shape(
    image: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    path: Path,
    wanted: tuple[int, int] | None,
) -> tuple[int, int]:
    rows, cols = image.get("height"), image.get("width")
    for one in annotations if rows is None else ():
        segmentation = one.get("segmentation")
        if isinstance(segmentation, dict) and _is_of(one, image):
            rows, cols = segmentation["size"]
            break
    if rows is None and wanted is not None:
        return known_shape(wanted)
    return said_shape(rows, cols, wanted, path)


def _object(said: Mapping[str, Any], names: Mapping[Any, str], room: Room) -> Found | None:
    name = names.get(said.get("category_id"), NO_CONCEPT)
    instance = _instance(
        said.get("segmentation"),
        score_of(said.get("score")),
        "" if name == NO_CONCEPT else name,
        room,
    )
    if instance is None:
        return None
    return Found(
        instance,
        label_of(said.get("label")),
        str(said.get("engine") or ""),
        state_of(said.get("state")),
    )


def _instance(segmentation: Any, score: float | None, concept: str, room: Room) -> Instance | None:
    if isinstance(segmentation, dict):
        if tuple(segmentation.get("size") or ()) != room.shape:
            raise ValueError("its mask has another size than the image")
        counts = segmentation["counts"]
        lengths = counts_of(counts) if isinstance(counts, str) else counts
        return room.counted(
            instance_of_counts(lengths, room.shape, score, concept, max_area=room.pixels)
        )
    flat = [np.asarray(each, float) for each in segmentation or ()]
    # two points are no polygon, but there are files that have such
    outlines = [Outline(each.reshape(-1, 2)[:, ::-1]) for each in flat if each.size >= 6]
    return room.outlined(outlines, score, concept)
