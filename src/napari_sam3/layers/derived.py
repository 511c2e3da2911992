"""Layers that are made of a record: how many objects cover a pixel, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.layers.transforms import transform_kwargs

# Okabe & Ito's palette without black: told apart by colour-blind eyes too
CLASS_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def derived_layer(layer: Labels, name: str) -> Labels:
    """Make an empty Labels layer over another one; not yet in a viewer."""
    data = np.zeros(layer.data.shape, np.uint16)
    return Labels(data, name=name, opacity=0.6, **transform_kwargs(layer))


def write_plane(layer: Labels, index: PlaneIndex, plane: npt.NDArray[np.integer[Any]]) -> None:
    """Put an array into a plane of a layer that nobody draws in."""
    index.cut(layer.data)[...] = plane
    layer.refresh()


def colour_classes(layer: Labels, numbers: Mapping[str, int]) -> None:
    """Give each class a colour and a name: hovering over an object says what it is."""
    colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    for number in numbers.values():
        colours[number] = CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)]
    layer.colormap = DirectLabelColormap(color_dict=colours)
    layer.features = {"index": list(numbers.values()), "concept": list(numbers)}
