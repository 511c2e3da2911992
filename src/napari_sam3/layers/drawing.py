"""Prompt layers that are set up to be drawn in."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from napari.layers import Image, Points, Shapes

from napari_sam3.core.prompts import PROPOSALS, Proposal
from napari_sam3.layers.prompts import (
    NEGATIVE,
    OBJECT,
    POLARITY,
    POSITIVE,
    PROPOSAL,
    is_negative,
    object_number,
)
from napari_sam3.layers.transforms import flat_kwargs

# blue and vermillion of Okabe & Ito's palette: told apart by colour-blind eyes too
POSITIVE_COLOUR = "#56b4e9"
NEGATIVE_COLOUR = "#d55e00"
COLOURS = {POSITIVE: POSITIVE_COLOUR, NEGATIVE: NEGATIVE_COLOUR}

PromptLayer: TypeAlias = Points | Shapes

LAST_TWO = (-2, -1)

STROKES = ("line", "path")
"""Shapes that are read as clicks along them; all others are read as areas."""
STROKE_MODES = ("add_line", "add_path", "add_polyline")


def new_points_layer(
    image: Image, name: str, point_size: float, shown: tuple[int, int] = LAST_TWO
) -> Points:
    """Make an empty Points layer over an image, with polarity and object number.

    Parameters
    ----------
    image : Image
        Gives the dimensions and the transform.
    name : str
    point_size : float
        Diameter in data pixels.
    shown : tuple of int, optional
        The image's axes that are shown; a click lands where the cursor is as long as they are.

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
        **flat_kwargs(image, shown),
    )


def new_shapes_layer(
    image: Image, name: str, edge_width: float, shown: tuple[int, int] = LAST_TWO
) -> Shapes:
    """Make an empty Shapes layer over an image, with polarity and object number.

    Parameters
    ----------
    image : Image
        Gives the dimensions and the transform.
    name : str
    edge_width : float
        In data pixels.
    shown : tuple of int, optional
        As for `new_points_layer`.

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
        **flat_kwargs(image, shown),
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
    if PROPOSAL in layer.features:
        _set_default(layer, PROPOSAL, (_chosen(layer, number) or [""])[-1])


def next_object(layer: PromptLayer) -> int:
    """Return the number of the object that what is drawn next belongs to."""
    number = object_number(_default(layer, OBJECT, 1))
    return 1 if number is None else number


def highest_object(layer: PromptLayer) -> int:
    """Return the highest object number in use, 0 if there is none."""
    return max([0, *(number or 0 for number in object_numbers(layer))])


def object_numbers(layer: PromptLayer) -> list[int | None]:
    """Return the object number of each mark, None where it says none."""
    column = layer.features.get(OBJECT)
    if column is None:
        return [None] * len(layer.data)
    return [object_number(value) for value in column]


def area_numbers(layer: Shapes) -> list[int | None]:
    """Return the object numbers of all boxes and outlines; strokes are left out."""
    numbered = zip(object_numbers(layer), layer.shape_type, strict=True)
    return [number for number, kind in numbered if kind not in STROKES]


def clicked_objects(layer: PromptLayer) -> set[int]:
    """Return the numbers of all objects that a positive mark of the layer lies on."""
    marked = zip(object_numbers(layer), _column(layer), strict=True)
    return {number for number, sign in marked if number is not None and sign == POSITIVE}


def proposal_of(layer: Points, number: int) -> Proposal:
    """Return which of what an object's first click may mean is wanted; "" for the likeliest."""
    if chosen := _chosen(layer, number):
        return chosen[-1]
    is_next = next_object(layer) == number
    return _proposal(_default(layer, PROPOSAL, "")) if is_next else ""


def set_proposal(layer: Points, number: int, proposal: Proposal) -> None:
    """Choose which of what an object's first click may mean, for all its points.

    Parameters
    ----------
    layer : Points
        Gets the column where it has none.
    number : int
        Of the object.
    proposal : {"", "small", "medium", "large"}
    """
    numbers = object_numbers(layer)
    pairs = zip(numbers, _proposals(layer), strict=True)
    features = layer.features.copy()
    features[PROPOSAL] = np.array([proposal if n == number else p for n, p in pairs], object)
    is_next = next_object(layer) == number
    default = proposal if is_next else _proposal(_default(layer, PROPOSAL, ""))
    write_features(layer, features, {PROPOSAL: default})


def can_be_negative(layer: Shapes) -> bool:
    """Whether what is selected, or what is drawn next, is a stroke: an area marks the object."""
    if str(layer.mode) == "select" and layer.selected_data:
        return all(layer.shape_type[i] in STROKES for i in layer.selected_data)
    return str(layer.mode) in STROKE_MODES


def drop_unfinished(layer: Shapes) -> None:
    """Take back the shape that is being drawn, and end drawing it."""
    mode = layer.mode
    # what is being drawn is complete as soon as the tool is laid down
    layer.mode = "pan_zoom"
    layer.selected_data = {len(layer.data) - 1}
    layer.remove_selected()
    layer.mode = mode


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
    write_features(layer, features)
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


def _proposals(layer: PromptLayer) -> list[Proposal]:
    column = layer.features.get(PROPOSAL)
    return [""] * len(layer.data) if column is None else [_proposal(value) for value in column]


def _proposal(value: Any) -> Proposal:
    return next((one for one in PROPOSALS if one == value), "")


def _chosen(layer: PromptLayer, number: int) -> list[Proposal]:
    pairs = zip(object_numbers(layer), _proposals(layer), strict=True)
    return [proposal for owner, proposal in pairs if owner == number]


def write_features(
    layer: PromptLayer, features: pd.DataFrame, defaults: dict[str, Any] | None = None
) -> None:
    """Write a layer's table; what is drawn next stays as it was, but for these defaults.

    Parameters
    ----------
    layer : Points or Shapes
    features : DataFrame
        One row for each mark.
    defaults : dict, optional
        What the next mark gets, by column.
    """
    kept = {**_defaults(layer), **(defaults or {})}
    # napari takes the last row for the defaults
    layer.features = features
    layer.feature_defaults = {**_defaults(layer), **kept}


def _defaults(layer: PromptLayer) -> dict[str, npt.ArrayLike]:
    row = layer.feature_defaults
    return {name: row[name].iloc[0] for name in row}


def _default(layer: PromptLayer, name: str, otherwise: Any) -> Any:
    defaults = layer.feature_defaults
    return defaults[name].iloc[0] if name in defaults and len(defaults) else otherwise


def _set_default(layer: PromptLayer, name: str, value: Any) -> None:
    if name in layer.feature_defaults:
        layer.feature_defaults = {**_defaults(layer), name: value}
        return
    features = layer.features.copy()
    filler: list[Any] = [POSITIVE if name == POLARITY else 1] * len(layer.data)
    features[name] = np.asarray(filler, dtype=object if name == POLARITY else int)
    write_features(layer, features, {name: value})
