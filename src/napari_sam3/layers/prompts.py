"""Drawn Points and Shapes → points and boxes in pixels of the image.

All positions go by where napari draws them, so a prompt layer may have any transform
of its own.  Only what is shown is read; what lies outside of the image is left out, and
said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Layer, Points, Shapes

from napari_sam3.core.arrays import BoolArray, Float64Array
from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import (
    PROPOSALS,
    ConceptPrompt,
    Exemplar,
    ObjectPrompt,
    Point,
    Proposal,
)
from napari_sam3.errors import PromptError
from napari_sam3.layers.planes import Plane
from napari_sam3.layers.slicing import NOISE_DECIMALS, shown_marks
from napari_sam3.layers.transforms import Cut, LayerTransform

POLARITY = "polarity"
OBJECT = "object"
PROPOSAL = "proposal"
NEGATIVE = "negative"
POSITIVE = "positive"

OTHER_PLANE = "not on the plane that is shown"
NOWHERE = "nowhere, as a coordinate is not a number"
MARK_OBJECT = "Click on an object in the plane that is shown, or draw a box around it."
DRAW_EXAMPLE = "Draw a box around an example in the plane that is shown, or type what to find."

STROKE_SPACING = 8.0
"""Pixels between the points along a drawn line."""
MAX_STROKE_POINTS = 16
ELLIPSE_CORNERS = 32

POINT_DECIMALS = 6
"""A click is known to a millionth of a pixel."""


@dataclass(frozen=True, slots=True)
class DrawnPoint:
    """A point and the number of the object that it belongs to (None if it says none)."""

    point: Point
    group: int | None


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box, its sign, the number of its object (None if it says none), and its outline.

    The outline is a polygon's or an ellipse's, (row, col); empty for a rectangle.
    """

    box: Box
    positive: bool
    group: int | None
    outline: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """Everything that is drawn on one plane, in pixels of the picture.

    Parameters
    ----------
    points : tuple of DrawnPoint
    boxes : tuple of DrawnBox
    notices : tuple of str
        What was left out, and why, for the user.
    proposals : tuple of (int, str)
        Object number, and which of what its first click may mean is wanted.
    unseen : tuple of str
        What is drawn, but not on the plane, in sentences: of interest if nothing else is.
    """

    points: tuple[DrawnPoint, ...] = ()
    boxes: tuple[DrawnBox, ...] = ()
    notices: tuple[str, ...] = ()
    proposals: tuple[tuple[int, Proposal], ...] = ()
    unseen: tuple[str, ...] = ()

    def __add__(self, other: Drawn) -> Drawn:
        return Drawn(
            self.points + other.points,
            self.boxes + other.boxes,
            self.notices + other.notices,
            self.proposals + other.proposals,
            self.unseen + other.unseen,
        )

    def explain(self, error: PromptError, advice: str) -> PromptError:
        """Return an error that says why what is drawn does not count, if something is."""
        reasons = self.notices + self.unseen
        return PromptError(" ".join((*reasons, advice))) if reasons else error


def read_points(layer: Points, plane: Plane) -> Drawn:
    """Read the points on the plane.

    Parameters
    ----------
    layer : Points
        With any transform, and any number of dimensions.
    plane : Plane
        Of the image that is segmented.

    Returns
    -------
    Drawn
    """
    if not len(layer.data):
        return Drawn()
    if not extends_along(layer, plane):
        return Drawn(notices=(_beside_view(layer),))
    pixels, on_plane = to_pixels(layer, layer.data, plane), is_shown(layer, plane)
    shown, somewhere = np.asarray(layer.shown), np.isfinite(layer.data).all(axis=1)
    unseen = (
        *_unseen(~shown, "hidden", layer),
        *_unseen(shown & ~somewhere, NOWHERE, layer),
        *_unseen(shown & somewhere & ~on_plane, OTHER_PLANE, layer),
    )
    inside = _inside(pixels, plane.shape)
    signs, groups = _signs(layer), _groups(layer)
    positions = _rounded(pixels)
    points = tuple(
        DrawnPoint(Point(*positions[i], positive=signs[i]), groups[i])
        for i in np.flatnonzero(on_plane & inside).tolist()
    )
    outside = int(np.count_nonzero(on_plane & ~inside))
    proposals = _proposals(layer, on_plane & inside)
    return Drawn(points, (), _left_out(outside, "point", layer), proposals, unseen)


def read_shapes(layer: Shapes, plane: Plane) -> Drawn:
    """Read the shapes on the plane.

    Rectangles, ellipses and polygons become the box around them, clipped to the
    image, the latter two with their outline; lines and paths become points along the
    stroke, as far as it lies inside.

    Parameters
    ----------
    layer : Shapes
        With any transform, and any number of dimensions.
    plane : Plane
        Of the image that is segmented.

    Returns
    -------
    Drawn
    """
    if not len(layer.data):
        return Drawn()
    if not extends_along(layer, plane):
        return Drawn(notices=(_beside_view(layer),))
    drawn, outside, clipped = Drawn(), 0, 0
    signs, groups = _signs(layer), _groups(layer)
    finite = np.array([np.isfinite(vertices).all() for vertices in layer.data], bool)
    on_planes = is_shown(layer, plane)
    ends = np.cumsum([len(vertices) for vertices in layer.data])
    places = np.split(to_pixels(layer, np.concatenate(layer.data), plane), ends[:-1])
    for i in np.flatnonzero(on_planes).tolist():
        pixels, kind = places[i], layer.shape_type[i]
        positive, group = signs[i], groups[i]
        if kind in ("line", "path"):
            stroke = _stroke(pixels)
            inside = stroke[_inside(stroke, plane.shape)]
            marks = tuple(
                DrawnPoint(Point(*at, positive=positive), group) for at in _rounded(inside)
            )
            drawn += Drawn(points=marks)
            outside += not marks
            clipped += 0 < len(inside) < len(stroke)
            continue
        whole = _box_around(_ellipse_ends(pixels) if kind == "ellipse" else pixels)
        box = whole.intersection(Box.of_shape(plane.shape)) if whole else None
        if whole is None:
            drawn += Drawn(notices=(_without_size(kind, layer),))
        elif box is None:
            outside += 1
        else:
            clipped += box != whole
            outline = _outline(pixels, kind)
            drawn += Drawn(boxes=(DrawnBox(box, positive, group, outline),))
    unseen = (
        *_unseen(~finite, NOWHERE, layer),
        *_unseen(finite & ~on_planes, OTHER_PLANE, layer),
    )
    notices = _left_out(outside, "shape", layer) + _clipped(clipped, layer)
    return drawn + Drawn(notices=notices, unseen=unseen)


def to_concept_prompt(text: str, drawn: Drawn) -> ConceptPrompt:
    """Make “find all” of a text and the drawn examples.

    Raises
    ------
    PromptError
        If there is nothing to find.
    """
    exemplars = tuple(Exemplar(box.box, box.positive) for box in drawn.boxes)
    try:
        return ConceptPrompt(text, exemplars)
    except PromptError as error:
        raise drawn.explain(error, DRAW_EXAMPLE) from error


def to_object_prompts(
    drawn: Drawn, *, one_per_point: bool = False, outlines: bool = True
) -> tuple[dict[ObjectKey, ObjectPrompt], tuple[str, ...]]:
    """Make “this object” of what is drawn, one prompt for each object.

    What carries the same object number belongs together.  Where there are no
    numbers, each box is an object; points belong to the box around them, or to the
    only one there is, and those in no box to one object of their own.

    Parameters
    ----------
    drawn : Drawn
    one_per_point : bool
        Each positive point is an object of its own; negative ones go with all.
    outlines : bool
        Whether the engine takes outlines; without, the box around one stands for it.

    Returns
    -------
    prompts : dict
        Object number, or (kind, index) where there is none, to prompt.
    notices : tuple of str
        What was left out, and why.

    Raises
    ------
    PromptError
        If no object is marked.
    """
    groups = _one_per_point(drawn) if one_per_point else _by_group(drawn)
    wanted = dict[ObjectKey, Proposal](drawn.proposals)
    prompts: dict[ObjectKey, ObjectPrompt] = {}
    lonely = 0
    for key, (points, box) in groups.items():
        if box is not None and box.outline and outlines:
            prompts[key] = ObjectPrompt(points, outline=box.outline)
        elif box is not None:
            prompts[key] = ObjectPrompt(points, box.box)
        elif any(point.positive for point in points):
            prompts[key] = ObjectPrompt(points, proposal=wanted.get(key, ""))
        else:
            lonely += len(points)
    if not prompts:
        try:
            ObjectPrompt()  # refuses, and says what to do
        except PromptError as error:
            raise drawn.explain(error, MARK_OBJECT) from error
    return prompts, _unusable(sum(not box.positive for box in drawn.boxes), lonely)


ObjectKey = int | tuple[str, int]
_Group = tuple[tuple[Point, ...], DrawnBox | None]


def _unusable(negative_boxes: int, lonely_points: int) -> tuple[str, ...]:
    notices = []
    if negative_boxes:
        notices.append(
            f"{_many(negative_boxes, 'negative box')} left out: a box marks the object itself; "
            "to exclude a part, click on it with a negative point."
        )
    if lonely_points:
        notices.append(
            f"{_many(lonely_points, 'negative point')} left out: "
            "click on the object first, then on what does not belong to it."
        )
    return tuple(notices)


def _one_per_point(drawn: Drawn) -> dict[ObjectKey, _Group]:
    points = [mark.point for mark in drawn.points]
    negative = tuple(point for point in points if not point.positive)
    positive = [point for point in points if point.positive]
    groups: dict[ObjectKey, _Group] = {
        ("point", i): ((point, *negative), None) for i, point in enumerate(positive)
    }
    for i, box in enumerate(_positive(drawn.boxes)):
        inside = tuple(point for point in negative if box.box.contains(*point.pixel))
        groups["box", i] = (inside, box)
    return groups


def _by_group(drawn: Drawn) -> dict[ObjectKey, _Group]:
    boxes: dict[ObjectKey, DrawnBox] = {}
    for i, drawn_box in enumerate(_positive(drawn.boxes)):
        # two boxes cannot be one object, whatever their numbers say
        is_new = drawn_box.group is not None and drawn_box.group not in boxes
        boxes[drawn_box.group if is_new else ("box", i)] = drawn_box  # type: ignore[index]
    points: dict[ObjectKey, list[Point]] = {}
    for mark in drawn.points:
        key = mark.group if mark.group is not None else _key_around(mark.point, boxes)
        points.setdefault(key, []).append(mark.point)
    keys = dict.fromkeys([*boxes, *points])
    return {key: (tuple(points.get(key, ())), boxes.get(key)) for key in keys}


def _key_around(point: Point, boxes: dict[ObjectKey, DrawnBox]) -> ObjectKey:
    if len(boxes) == 1:
        return next(iter(boxes))
    around = (key for key, box in boxes.items() if box.box.contains(*point.pixel))
    return next(around, ("point", 0))


def _positive(boxes: Iterable[DrawnBox]) -> list[DrawnBox]:
    return [box for box in boxes if box.positive]


def to_pixels(layer: Layer, points: npt.ArrayLike, plane: Plane) -> Float64Array:
    """Return the (row, col) on which a layer's points are drawn, (n, 2)."""
    own = np.atleast_2d(np.asarray(points, dtype=float))
    # infinite positions are drawn nowhere; NaN stands for them without a warning
    own = np.where(np.isfinite(own), own, np.nan)
    return plane.from_canvas(LayerTransform.of(layer).to_canvas(own, plane.axes_of(layer)))


def from_pixels(layer: Layer, pixels: npt.ArrayLike, plane: Plane) -> Float64Array:
    """Return the layer's points that are drawn on (row, col), where the sliders are, (n, ndim)."""
    transform, axes = LayerTransform.of(layer), plane.axes_of(layer)
    drawn = transform.from_canvas(plane.to_canvas(pixels), axes)
    points = np.zeros((len(drawn), layer.ndim))
    points[:, axes] = drawn
    hidden, cut = _cut(layer, plane)
    # napari cuts off the fractions of rectangles: 2.9999999 would not be on plane 3
    points[:, hidden] = np.round(cut.point, NOISE_DECIMALS)
    return points


def is_shown(layer: Points | Shapes, plane: Plane) -> BoolArray:
    """Return which marks of a layer are shown with a plane, one for each; see `extends_along`."""
    return shown_marks(layer, *_cut(layer, plane))


def _cut(layer: Layer, plane: Plane) -> tuple[list[int], Cut]:
    axes = plane.axes_of(layer)
    hidden = [axis for axis in range(layer.ndim) if axis not in axes]
    return hidden, LayerTransform.of(layer).cut(plane.world, plane.margins, hidden)


def extends_along(layer: Layer, plane: Plane) -> bool:
    """Whether a layer has both of the axes that are shown."""
    return min(plane.axes_of(layer)) >= 0


def _rounded(pixels: Float64Array) -> list[tuple[float, float]]:
    # the way through the world leaves errors of rounding, which would make another question
    return [(row, col) for row, col in np.round(pixels, POINT_DECIMALS).tolist()]


def _inside(pixels: Float64Array, shape: tuple[int, int]) -> BoolArray:
    at = np.floor(pixels + 0.5)
    return np.asarray(((at >= 0) & (at < shape)).all(axis=1))


def _ellipse_ends(corners: Float64Array) -> Float64Array:
    """Return two opposite corners of the box around an ellipse, given by its own four."""
    centre = corners.mean(axis=0)
    half = np.hypot(corners[1] - corners[0], corners[3] - corners[0]) / 2
    return np.stack([centre - half, centre + half])


def _outline(pixels: Float64Array, kind: str) -> tuple[tuple[float, float], ...]:
    """Return the corners of a polygon or an ellipse, none of a rectangle or of what is flat."""
    if kind == "rectangle":
        return ()
    corners = _ellipse(pixels) if kind == "ellipse" else pixels
    try:
        return ObjectPrompt(outline=tuple(_rounded(corners))).outline
    except PromptError:
        return ()


def _ellipse(corners: Float64Array) -> Float64Array:
    centre = corners.mean(axis=0)
    one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)[:, np.newaxis]
    return np.asarray(centre + np.cos(angles) * one + np.sin(angles) * other, np.float64)


def _box_around(pixels: Float64Array) -> Box | None:
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    if not (high > low).all():
        return None
    # pixel i covers i − 0.5 to i + 0.5: its edges lie at half numbers
    top, left = (math.floor(v + 0.5) for v in low)
    bottom, right = (math.floor(v + 0.5) for v in high)
    return Box(top, left, max(bottom, top + 1), max(right, left + 1))


def _stroke(pixels: Float64Array) -> Float64Array:
    """Return points along a line through the vertices, evenly spaced, (n, 2)."""
    steps = np.hypot(*np.diff(pixels, axis=0).T) if len(pixels) > 1 else np.zeros(0)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = min(MAX_STROKE_POINTS, int(along[-1] // STROKE_SPACING) + 2)
    at = np.linspace(0, along[-1], count)
    stroke = np.stack([np.interp(at, along, pixels[:, axis]) for axis in (0, 1)], axis=1)
    _, first = np.unique(np.floor(stroke + 0.5), axis=0, return_index=True)
    return stroke[np.sort(first)]


def is_negative(value: Any) -> bool:
    """Whether a cell of the polarity column says “negative”; all else is positive."""
    return str(value).strip().lower() == NEGATIVE


def object_number(value: Any) -> int | None:
    """Return what a cell of the object column says, None if it is no number."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _signs(layer: Points | Shapes) -> list[bool]:
    """Return for each mark whether it is positive."""
    column = layer.features.get(POLARITY)
    if column is None:
        return [True] * len(layer.data)
    return [not is_negative(value) for value in column.tolist()]


def _proposals(layer: Points, is_read: BoolArray) -> tuple[tuple[int, Proposal], ...]:
    """Return for each object whose points say it which proposal is wanted; the last one counts."""
    column = layer.features.get(PROPOSAL)
    if column is None:
        return ()
    wanted = {
        group: value
        for group, value, read in zip(_groups(layer), column.tolist(), is_read, strict=True)
        if read and group is not None and value in PROPOSALS
    }
    return tuple(wanted.items())


def _groups(layer: Points | Shapes) -> list[int | None]:
    """Return for each mark the number of its object."""
    column = layer.features.get(OBJECT)
    if column is None:
        return [None] * len(layer.data)
    return [object_number(value) for value in column.tolist()]


def _left_out(count: int, noun: str, layer: Layer) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"{_many(count, noun)} left out, outside of the image (“{layer.name}”).",)


def _unseen(which: BoolArray, where: str, layer: Points | Shapes) -> tuple[str, ...]:
    count = int(np.count_nonzero(which))
    noun = "point" if isinstance(layer, Points) else "shape"
    words = f"1 {noun} is" if count == 1 else f"{count} {noun}s are"
    return (f"{words} {where} (“{layer.name}”).",) if count else ()


def _without_size(kind: str, layer: Shapes) -> str:
    article = "An" if kind == "ellipse" else "A"
    return f"{article} {kind} without size in “{layer.name}” was left out."


def _clipped(count: int, layer: Layer) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"{_many(count, 'shape')} cut off at the image's border (“{layer.name}”).",)


def _beside_view(layer: Layer) -> str:
    return (
        f"“{layer.name}” was left out, since it does not extend along the axes that are shown; "
        "turn the view (the roll button), or draw in a layer with as many dimensions as the image."
    )


def _many(count: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"1 {noun} was" if count == 1 else f"{count} {plural} were"
