"""Boxes that were found → rectangles in a layer of examples that are read as the same boxes."""

from __future__ import annotations

from collections.abc import Sequence

from napari.layers import Shapes

from napari_sam3.core.geometry import Box
from napari_sam3.layers.drawing import colour_by_polarity, next_polarity, set_next_polarity
from napari_sam3.layers.planes import Plane
from napari_sam3.layers.prompts import from_pixels, read_shapes
from napari_sam3.layers.restoring import corners_of


def add_examples(layer: Shapes, plane: Plane, boxes: Sequence[Box], positive: bool) -> int:
    """Add boxes as examples; what is drawn next keeps its sign.

    Parameters
    ----------
    layer : Shapes
        With any transform, and at least as many dimensions as the image of the plane.
    plane : Plane
        On which the rectangles will lie.
    boxes : sequence of Box
        In pixels of the plane.  What reaches beyond the image is cut off.
    positive : bool
        Whether they show what is meant, or what is not.

    Returns
    -------
    int
        How many were added: those that were not there with this sign.
    """
    there = [drawn.box for drawn in read_shapes(layer, plane).boxes if drawn.positive == positive]
    clipped = (box.intersection(Box.of_shape(plane.shape)) for box in boxes)
    new = [box for box in dict.fromkeys(clipped) if box is not None and box not in there]
    if not new:
        return 0
    before = next_polarity(layer)
    set_next_polarity(layer, positive)
    layer.add_rectangles([from_pixels(layer, corners_of(box), plane) for box in new])
    set_next_polarity(layer, before)
    colour_by_polarity(layer)
    return len(new)
