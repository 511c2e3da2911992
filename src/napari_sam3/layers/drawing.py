"""Prompt layers that are set up to be drawn in."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Points, Shapes

from napari_sam3.layers.prompts import (
    NEGATIVE,
    OBJECT,
    POLARITY,
    POSITIVE,
    is_negative,
    object_number,
)
from napari_sam3.layers.transforms import transform_kwargs

# blue and vermillion of Okabe & Ito's palette: told apart by colour-blind eyes too
POSITIVE_COLOUR = "#56b4e9"
NEGATIVE_COLOUR = "#d55e00"
COLOURS = {POSITIVE: POSITIVE_COLOUR, NEGATIVE: NEGATIVE_COLOUR}

PromptLayer: TypeAlias = Points | Shapes


def new_points_layer(image: Image, name: str, point_size: float) -> Points:
    """Make an empty Points layer over an image, with polarity and object number.

    Parameters
    ----------
    image : Image
        Gives the dimensions and the transform.
    name : str
    point_size : float
        Diameter in data pixels.

    Returns
    -------
    Points
        Not yet in a viewer.
    """
    return Points(
        np.empty((0, image.ndim)),
        ndim=image.ndim,
        name=name,
        size=point_size,
        symbol="disc",
        features={POLARITY: np.empty(0, object), OBJECT: np.empty(0, int)},
        feature_defaults={POLARITY: POSITIVE, OBJECT: 1},
        face_color=POLARITY,
        face_color_cycle=COLOURS,
        border_color="white",
        **transform_kwargs(image),
    )


def new_shapes_layer(image: Image, name: str, edge_width: float) -> Shapes:
    """Make an empty Shapes layer over an image, with polarity and object number.

    Parameters
    ----------
    image : Image
        Gives the dimensions and the transform.
    name : str
    edge_width : float
        In data pixels.

    Returns
    -------
    Shapes
        Not yet in a viewer.
    """
    layer = Shapes(
        ndim=image.ndim,
        name=name,
        edge_width=edge_width,
        face_color="transparent",
        features={POLARITY: np.empty(0, object), OBJECT: np.empty(0, int)},
        feature_defaults={POLARITY: POSITIVE, OBJECT: 1},
        **transform_kwargs(image),
    )
    layer.current_edge_color = POSITIVE_COLOUR
    return layer


def mark_size(shape: tuple[int, int]) -> float:
    """Return a point's diameter, in pixels, that is seen well on a plane of this shape."""
    return max(1.0, round(min(shape) / 60, 1))


def set_next_polarity(layer: PromptLayer, positive: bool) -> None:
    """Make what is drawn next positive or negative."""
    _set_default(layer, POLARITY, POSITIVE if positive else NEGATIVE)
    if isinstance(layer, Shapes):
        # a selected shape would be recoloured, and a new one is selected
        layer.selected_data = set()
        layer.current_edge_color = POSITIVE_COLOUR if positive else NEGATIVE_COLOUR


def next_polarity(layer: PromptLayer) -> bool:
    """Whether what is drawn next is positive."""
    return not is_negative(_default(layer, POLARITY, POSITIVE))


def set_next_object(layer: PromptLayer, number: int) -> None:
    """Make what is drawn next belong to the object of this number."""
    _set_default(layer, OBJECT, number)


def next_object(layer: PromptLayer) -> int:
    """Return the number of the object that what is drawn next belongs to."""
    number = object_number(_default(layer, OBJECT, 1))
    return 1 if number is None else number


def highest_object(layer: PromptLayer) -> int:
    """Return the highest object number in use, 0 if there is none."""
    column = layer.features.get(OBJECT)
    numbers = [] if column is None else [object_number(value) or 0 for value in column]
    return max(0, *numbers) if numbers else 0


def toggle_selected(layer: PromptLayer) -> bool:
    """Turn the selected points or shapes from positive to negative and back.

    Returns
    -------
    bool
        Whether there was something to turn.
    """
    selected = sorted(layer.selected_data)
    if not selected:
        return False
    features = layer.features.copy()
    column = _column(layer)
    for i in selected:
        column[i] = POSITIVE if column[i] == NEGATIVE else NEGATIVE
    features[POLARITY] = column
    layer.features = features
    colour_by_polarity(layer)
    return True


def colour_by_polarity(layer: PromptLayer) -> None:
    """Give every point or shape the colour of its polarity."""
    column = _column(layer)
    if isinstance(layer, Points):
        layer.refresh_colors()
    elif column:
        # a colour cycle of Shapes deals colours out by sorting order, not by name
        layer.edge_color = [NEGATIVE_COLOUR if p == NEGATIVE else POSITIVE_COLOUR for p in column]


def _column(layer: PromptLayer) -> list[str]:
    column = layer.features.get(POLARITY)
    if column is None:
        return [POSITIVE] * len(layer.data)
    return [NEGATIVE if is_negative(value) else POSITIVE for value in column]


def _default(layer: PromptLayer, name: str, otherwise: Any) -> Any:
    defaults = layer.feature_defaults
    return defaults[name].iloc[0] if name in defaults and len(defaults) else otherwise


def _set_default(layer: PromptLayer, name: str, value: Any) -> None:
    defaults = layer.feature_defaults
    if name not in defaults:
        features = layer.features.copy()
        filler: list[Any] = [POSITIVE if name == POLARITY else 1] * len(layer.data)
        features[name] = np.asarray(filler, dtype=object if name == POLARITY else int)
        layer.features = features
    row: dict[str, npt.ArrayLike] = {key: defaults[key].iloc[0] for key in defaults}
    layer.feature_defaults = {**row, name: value}
