"""Objects from GeoJSON, as QuPath writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam3.core.outlines import Outline, Ring
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.entries import Entries, Place
from napari_sam3.workflows.exporting.file_object import (
    MAX_PLANE,
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
    shape_around,
    whole_number,
)

Feature = Mapping[str, Any]


def objects_of_geojson(content: Any, path: Path, wanted: Wanted) -> Exported:
    """Return the objects of a feature collection, a list of features, or one feature.

    What reaches out of the image is cut off.  If it is not known how large that is, it just holds
    all objects.

    Parameters
    ----------
    content : object
        The parsed JSON.
    path : Path
        For messages.
    wanted : Wanted
    """
    with malformed_as_sentence(str(path)):
        listed = _features(content)
        features = entries_of(listed)
        image = content.get("image") if isinstance(content, dict) else None
        image = image if isinstance(image, dict) else {}
        here = place_of(image)
    entries, outlined = Entries("feature"), []
    entries.leave_out("an empty entry", len(listed) - len(features))
    for number, feature in enumerate(features, start=1):
        what = f"Feature {number} of {path}"
        with entries.reading(what):
            geometry = feature.get("geometry")
            outlined.append((what, feature, _outlines(geometry), _place(geometry)))
    if "height" in image:
        shape = said_shape(image["height"], image.get("width"), wanted.image_shape, path)
    else:
        outer = [outline.outer for _, _, outlines, _ in outlined for outline in outlines]
        shape = wanted.image_shape or shape_around(outer, path)
    room = Room(shape)
    # QuPath says 0 also along the axes that an image does not have
    named = {letter for *_, at in outlined for letter in at}
    axes = {letter for *_, at in outlined for letter, place in at.items() if place}
    for what, feature, outlines, said in outlined:
        # and nothing at all of the first plane
        at = here or {**dict.fromkeys(axes - {"C"}, 0), **said}
        at = {letter: place for letter, place in at.items() if here or letter in axes}
        with entries.reading(what):
            entries.add(_object(feature, outlines, room), at)
    return entries.assembled(
        path,
        shape,
        wanted.plane,
        pixel_size=pixel_size_of(image.get("pixel_size")),
        image_name=str(image.get("name", "")),
        has_edges="height" in image or wanted.image_shape is not None,
        first_along="" if here else "".join(sorted(named - axes)),
    )


def _place(geometry: Any) -> Place:
    """Return what QuPath says of a geometry's plane; a channel of -1 stands for all."""
    said = geometry.get("plane") if isinstance(geometry, dict) else None
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise NoObjectError(f"no such plane ({said!s:.40})")
    place = {}
    for name in "tcz":
        at = whole_number(said.get(name))
        if at is None or (name == "c" and at == -1):
            continue
        if type(at) is not int or not 0 <= at <= MAX_PLANE:
            raise NoObjectError(f"no such plane ({name}: {said[name]!s:.40})")
        place[name.upper()] = at
    return place


def _features(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    if content["type"] == "FeatureCollection":
        features: list[Any] = content["features"]
        return features
    if content["type"] == "Feature":
        return [content]
    raise ValueError("it is no collection of features")


def _outlines(geometry: Any) -> list[Outline]:
    if geometry is None:
        raise NoObjectError("no geometry")
    kind = geometry["type"]
    if kind == "Polygon":
        polygons = [geometry["coordinates"]]
    elif kind == "MultiPolygon":
        polygons = geometry["coordinates"]
    else:
        raise NoObjectError(f"no area ({kind!s:.40})")
    outlines = []
    for polygon in polygons:
        rings = [_ring(ring) for ring in polygon]
        if rings and len(rings[0]):
            outlines.append(Outline(rings[0], tuple(ring for ring in rings[1:] if len(ring))))
    if not outlines:
        raise NoObjectError("fewer than three corners")
    return outlines


def _ring(said: Any) -> Ring:
    """Return the corners of a ring, each once; none where they enclose nothing."""
    # a third number may be a height
    corners = np.array([point[:2] for point in said], float).reshape(-1, 2)[:, ::-1]
    if len(corners) > 1 and (corners[0] == corners[-1]).all():
        corners = corners[:-1]
    return corners if len(corners) > 2 else corners[:0]


def _object(feature: Feature, outlines: list[Outline], room: Room) -> FileObject:
    said = feature.get("properties") or {}
    about = said.get("metadata") or {}
    return FileObject.of(
        room.outlined(outlines),
        said.get("name"),
        _score(said.get("measurements")),
        _concept(said),
        about.get("engine"),
        about.get("state"),
    )


def _concept(said: Mapping[str, Any]) -> str:
    what = said.get("classification") or {}
    if isinstance(what, str):
        what = {"name": what}
    # QuPath has a list where a class is derived from others
    return concept_of(what.get("name") or ": ".join(map(str, what.get("names") or ())))


def _score(measurements: Any) -> Any:
    if isinstance(measurements, list):
        # as older versions of QuPath have them
        measurements = {str(one["name"]): one["value"] for one in measurements}
    known = {str(name).lower(): value for name, value in (measurements or {}).items()}
    return known.get("score")
