"""Prompts of an earlier run → prompt layers that are read as the same prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from napari.layers import Image, Points, Shapes

from napari_sam3.core.arrays import Float64Array
from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import Everything, ObjectPrompt, Point, Prompt
from napari_sam3.layers.drawing import (
    PromptLayer,
    colour_by_polarity,
    mark_size,
    new_points_layer,
    new_shapes_layer,
    set_next_object,
)
from napari_sam3.layers.planes import Plane
from napari_sam3.layers.prompts import (
    NEGATIVE,
    OBJECT,
    POLARITY,
    POSITIVE,
    PROPOSAL,
    from_pixels,
)

INSIDE = 0.25
"""How far, in pixels, a box is drawn inside of its edges: no rounding moves it beyond them."""

Kind = Literal["points", "boxes", "examples"]
Outline = tuple[tuple[float, float], ...]


def restore_prompts(
    prompts: Sequence[Prompt], image: Image, plane: Plane, numbers: Sequence[int] = ()
) -> dict[Kind, PromptLayer]:
    """Make layers that hold the prompts of an earlier run.

    Parameters
    ----------
    prompts : sequence of prompt
        In pixels of `plane`.
    image : Image
        That was segmented.
    plane : Plane
        Of that image, on which they lie.
    numbers : sequence of int, optional
        The object number of each prompt; by default from 1.

    Returns
    -------
    dict
        Kind to layer, not yet in a viewer; only the kinds that the prompts need.
    """
    points: list[tuple[Point, int]] = []
    boxes: list[tuple[Box, bool, int]] = []
    examples: list[tuple[Box, bool, int]] = []
    outlines: list[tuple[Outline, int]] = []
    proposals: dict[int, str] = {}
    for number, prompt in zip(numbers or range(1, len(prompts) + 1), prompts, strict=True):
        if isinstance(prompt, Everything):
            continue
        if isinstance(prompt, ObjectPrompt):
            boxes += [(prompt.box, True, number)] if prompt.box else []
            outlines += [(prompt.outline, number)] if prompt.outline else []
        else:
            examples += [(e.box, e.positive, number) for e in prompt.exemplars]
        points += [(point, number) for point in getattr(prompt, "points", ())]
        proposals[number] = getattr(prompt, "proposal", "")
    layers: dict[Kind, PromptLayer] = {}
    if points:
        layers["points"] = _points_layer(points, proposals, image, plane)
    if boxes or outlines:
        layers["boxes"] = _boxes_layer(boxes, "boxes", image, plane, outlines)
    if examples:
        layers["examples"] = _boxes_layer(examples, "examples", image, plane)
    return layers


def _points_layer(
    marks: list[tuple[Point, int]], proposals: Mapping[int, str], image: Image, plane: Plane
) -> Points:
    layer = new_points_layer(image, f"points: {image.name}", mark_size(plane.shape), plane.shown)
    pixels = np.array([point.position for point, _ in marks])
    layer.add(from_pixels(layer, pixels, plane))
    features = _features([(point.positive, number) for point, number in marks])
    if any(proposals.values()):
        features[PROPOSAL] = np.array([proposals[number] for _, number in marks], object)
    layer.features = features
    set_next_object(layer, marks[-1][1])
    layer.selected_data = set()
    return layer


def _boxes_layer(
    marks: list[tuple[Box, bool, int]],
    kind: Kind,
    image: Image,
    plane: Plane,
    outlines: Sequence[tuple[Outline, int]] = (),
) -> Shapes:
    width = mark_size(plane.shape) / 4
    layer = new_shapes_layer(image, f"{kind}: {image.name}", width, plane.shown)
    if marks:
        layer.add_rectangles([from_pixels(layer, corners_of(box), plane) for box, _, _ in marks])
    if outlines:
        layer.add_polygons([from_pixels(layer, corners, plane) for corners, _ in outlines])
    signs = [(positive, number) for _, positive, number in marks]
    signs += [(True, number) for _, number in outlines]
    layer.features = _features(signs)
    set_next_object(layer, max(number for _, number in signs))
    layer.selected_data = set()
    colour_by_polarity(layer)
    return layer


def corners_of(box: Box) -> Float64Array:
    """Return the corners of a rectangle that reads back as this box, (4, 2), as (row, col)."""
    # pixel i covers i − 0.5 to i + 0.5
    top, left = box.top - 0.5 + INSIDE, box.left - 0.5 + INSIDE
    bottom, right = box.bottom - 0.5 + INSIDE, box.right - 0.5 + INSIDE
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left)], dtype=float)


def _features(marks: list[tuple[bool, int]]) -> dict[str, Any]:
    return {
        POLARITY: np.array([POSITIVE if sign else NEGATIVE for sign, _ in marks], object),
        OBJECT: np.array([number for _, number in marks], int),
    }
