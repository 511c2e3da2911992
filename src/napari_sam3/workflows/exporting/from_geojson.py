"""Objects from GeoJSON, as QuPath writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam3.core.outlines import Outline
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.coco import NO_CONCEPT
from napari_sam3.workflows.exporting.found import (
    Found,
    Room,
    checked_shape,
    known_shape,
    label_of,
    labelled,
    left_out,
    malformed_as_sentence,
    pixel_size_of,
    reach_of,
    said_shape,
    score_of,
    state_of,
)

Feature = Mapping[str, Any]


def objects_of_geojson(
    content: Any, path: Path, image_shape: tuple[int, int] | None = None
) -> Exported:
    """Return the objects of a feature collection, a list of features, or one feature.

    Parameters
    ----------
    content : object
        The parsed JSON.
    path : Path
        For messages.
    image_shape : tuple of int, optional
        (rows, cols) of the image; what reaches out of it is cut off.  By default as the file
        says, or the smallest that holds all objects.

    Raises
    ------
    ImageError
        If it is no such file.
    """
    with malformed_as_sentence(str(path)):
        features = [dict(one) for one in _features(content)]
        image = content.get("image") if isinstance(content, dict) else None
        image = image if isinstance(image, dict) else {}
    outlined = []
    for number, feature in enumerate(features, start=1):
        with malformed_as_sentence(f"Feature {number} of {path}"):
            outlined.append((number, feature, _outlines(feature.get("geometry"))))
    shape = _shape(image, [part for _, _, part in outlined], path, image_shape)
    room, found = Room(shape=shape), []
    for number, feature, outlines in outlined:
        with malformed_as_sentence(f"Feature {number} of {path}"):
            item = _object(feature, outlines, room)
            found.extend([item] if item else [])
    missing = left_out(
        len(features) - len(found), "they are no polygons, or hold no pixel's centre"
    )
    size = pixel_size_of(image.get("pixel_size"))
    return Exported(labelled(found), shape, size, str(image.get("name", "")), notices=missing)


def _features(content: Any) -> list[Feature]:
    if isinstance(content, list):
        return content
    if content["type"] == "FeatureCollection":
        features: list[Feature] = content["features"]
        return features
    if content["type"] == "Feature":
        return [content]
    raise ValueError("it is no collection of features")


def _outlines(geometry: Any) -> list[Outline]:
    kind = (geometry or {}).get("type")
    if kind == "Polygon":
        polygons = [geometry["coordinates"]]
    elif kind == "MultiPolygon":
        polygons = geometry["coordinates"]
    else:
        return []
    outlines = []
    for polygon in polygons:
        # a third number may be a height
        rings = [np.array([point[:2] for point in ring], float)[:-1, ::-1] for ring in polygon]
        outlines.append(Outline(rings[0], tuple(rings[1:])))
    return outlines


def _shape(
    image: Mapping[str, Any],
    outlined: list[list[Outline]],
    path: Path,
    wanted: tuple[int, int] | None,
) -> tuple[int, int]:
    if "height" in image:
        return said_shape(image["height"], image.get("width"), wanted, path)
    if wanted is not None:
        return known_shape(wanted)
    with malformed_as_sentence(str(path)):
        outer = [outline.outer for outlines in outlined for outline in outlines]
        rows, cols = reach_of(outer) if outer else (1, 1)
    return checked_shape(rows, cols, path)


def _object(feature: Feature, outlines: list[Outline], room: Room) -> Found | None:
    said = feature.get("properties") or {}
    instance = room.outlined(outlines, _score(said.get("measurements")), _concept(said))
    if instance is None:
        return None
    about = said.get("metadata") or {}
    return Found(
        instance,
        label_of(said.get("name")),
        str(about.get("engine", "")),
        state_of(about.get("state")),
    )


def _concept(said: Mapping[str, Any]) -> str:
    what = said.get("classification") or {}
    # QuPath has a list where a class is derived from others
    name = what.get("name") or ": ".join(map(str, what.get("names") or ()))
    return "" if name == NO_CONCEPT else str(name)


def _score(measurements: Any) -> float | None:
    if isinstance(measurements, list):
        # as older versions of QuPath have them
        measurements = {str(one["name"]): one["value"] for one in measurements}
    known = {str(name).lower(): value for name, value in (measurements or {}).items()}
    return score_of(known.get("score"))
