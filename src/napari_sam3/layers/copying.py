"""Marks of a prompt layer → the same marks on another plane, or over another image.

What is copied are the marks on one plane, with all that their features say.  The marks that
are copied stay as they are.  What lies on the other plane already, at the same place and with
the same sign, is not copied again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import numpy.typing as npt
import pandas as pd
from napari.layers import Image, Points, Shapes

from napari_sam3.core.arrays import Float64Array
from napari_sam3.layers.drawing import (
    PromptLayer,
    colour_by_polarity,
    mark_size,
    new_points_layer,
    new_shapes_layer,
    next_polarity,
    object_numbers,
    set_next_polarity,
    write_features,
)
from napari_sam3.layers.planes import Plane
from napari_sam3.layers.prompts import (
    OBJECT,
    POINT_DECIMALS,
    POLARITY,
    POSITIVE,
    extends_along,
    from_pixels,
    is_negative,
    is_shown,
    object_number,
    to_pixels,
)
from napari_sam3.layers.slicing import NOISE_DECIMALS
from napari_sam3.layers.transforms import LayerTransform

SAME_PLACE = 10 * 10**-POINT_DECIMALS
"""Marks less than this many pixels apart lie at the same place."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of marks that were to be copied.

    Parameters
    ----------
    count : int
        Of copies.
    notices : tuple of str
        What was left out, and why, for the user.
    already : int
        How many were there already, and so were not copied.
    """

    count: int = 0
    notices: tuple[str, ...] = ()
    already: int = 0

    def __add__(self, other: Copied) -> Copied:
        return Copied(
            self.count + other.count, self.notices + other.notices, self.already + other.already
        )


def marks_on(layer: PromptLayer, plane: Plane) -> list[int]:
    """Return the indices of all marks of a layer that lie on a plane, inside the image or not."""
    if not len(layer.data) or not extends_along(layer, plane):
        return []
    return [int(i) for i in np.flatnonzero(is_shown(layer, plane))]


def next_plane(image: Image, plane: Plane, axis: int) -> Plane | None:
    """Return the plane that follows along a hidden axis, None after the last.

    Parameters
    ----------
    image : Image
    plane : Plane
        Of that image.
    axis : int
        One of the plane's hidden data axes.

    Returns
    -------
    Plane or None
        Its `world` is where the viewer's sliders show it; of them, only what `axis` asks for
        is moved.
    """
    index = list(plane.index)
    index[axis] += 1
    if index[axis] >= plane_count(image, axis):
        return None
    return replace(plane, index=tuple(index), world=_world_of(plane, axis, index[axis]))


def plane_count(image: Image, axis: int) -> int:
    """Return how many planes an image has along a data axis, at full resolution."""
    finest = image.data[0] if image.multiscale else image.data
    return int(finest.shape[axis])


def _world_of(plane: Plane, axis: int, at: int) -> tuple[float, ...]:
    """Return where the sliders are once one data index is changed, as `find_plane` reads them."""
    places = plane.transform.cut(plane.world, plane.margins, plane.hidden).point
    places[plane.hidden.index(axis)] = at
    world = np.array(plane.world, dtype=float)
    own = world[len(world) - plane.ndim :]
    own[list(plane.hidden)] = plane.transform.slider_at(places, plane.hidden)
    return tuple(world.tolist())


def copy_to_plane(
    layer: PromptLayer, plane_from: Plane, plane_to: Plane, numbers: Mapping[int, int]
) -> Copied:
    """Copy the marks on one plane to the same pixels of another plane of the same image.

    Those that lie there already are left out.

    Parameters
    ----------
    layer : Points or Shapes
        Gets the copies, behind all other marks.  With any transform.
    plane_from, plane_to : Plane
        Of the same image, shown along the same axes.
    numbers : mapping of int to int
        Which object number the copies get for that of their original; those that are not
        named are kept.

    Returns
    -------
    Copied
    """
    marks = marks_on(layer, plane_from)
    if not marks:
        return Copied()
    shift = _shift(layer, plane_from, plane_to)
    if shift is None:
        seen = f"“{layer.name}” is seen on every plane, so nothing in it was copied."
        return Copied(notices=(seen,))
    there = _find_twins(layer, plane_from, plane_to)
    new = [i for i in marks if i not in there]
    if new:
        places = [np.asarray(layer.data[i], dtype=float) + shift for i in new]
        _append(layer, new, places, numbers)
    return Copied(len(new), already=len(there))


def _find_twins(layer: PromptLayer, plane_from: Plane, plane_to: Plane) -> dict[int, int]:
    """Return for marks on one plane those that are alike, at the same pixels of another.

    Each mark is the twin of one.
    """
    twins = {}
    free = _by_kind(layer, plane_to)
    for kind, marks in _by_kind(layer, plane_from).items():
        others = free.get(kind, {})
        for i, place in marks.items():
            twin = _find_same(place, others)
            if twin is not None:
                twins[i] = twin
                del others[twin]
    return twins


def _by_kind(layer: PromptLayer, plane: Plane) -> dict[Hashable, dict[int, Float64Array]]:
    """Return (row, col) of the marks on a plane by index, for each sign and kind of mark."""
    column = layer.features.get(POLARITY)
    places: dict[Hashable, dict[int, Float64Array]] = defaultdict(dict)
    for i in marks_on(layer, plane):
        corners = to_pixels(layer, layer.data[i], plane)
        is_positive = column is None or not is_negative(column.iloc[i])
        shape = "" if isinstance(layer, Points) else layer.shape_type[i]
        places[is_positive, shape, len(corners)][i] = corners
    return places


def _find_same(place: Float64Array, others: Mapping[int, Float64Array]) -> int | None:
    if not others:
        return None
    apart = np.abs(np.stack(list(others.values())) - place).max(axis=(1, 2))
    nearest = int(apart.argmin())
    return list(others)[nearest] if apart[nearest] < SAME_PLACE else None


def _shift(layer: PromptLayer, plane_from: Plane, plane_to: Plane) -> Float64Array | None:
    """Return the way between two planes in data of a layer; None if it lacks such an axis."""
    here, there = np.asarray(plane_from.world), np.asarray(plane_to.world)
    lacking = max(0, len(here) - layer.ndim)
    if not np.array_equal(here[:lacking], there[:lacking]):
        return None
    hidden = [axis for axis in range(layer.ndim) if axis not in plane_from.axes_of(layer)]
    transform = LayerTransform.of(layer)
    cuts = [transform.cut(p.world, p.margins, hidden).point for p in (plane_from, plane_to)]
    shift = np.zeros(layer.ndim)
    shift[hidden] = np.round(cuts[1] - cuts[0], NOISE_DECIMALS)
    return shift


def _append(
    layer: PromptLayer, marks: list[int], places: list[Float64Array], numbers: Mapping[int, int]
) -> None:
    # in the table's own order, whatever adding makes of it
    table = layer.features.copy()
    copies = _rows(table, marks)
    if OBJECT in copies:
        copies[OBJECT] = _renumbered(copies[OBJECT], numbers)
    if isinstance(layer, Points):
        layer.add(np.stack(places))
    else:
        layer.selected_data = set()
        _add_shapes(layer, layer, marks, places)
    write_features(layer, pd.concat([table, copies], ignore_index=True))
    layer.selected_data = set()
    if isinstance(layer, Points):
        colour_by_polarity(layer)


def _add_shapes(
    layer: Shapes, source: Shapes, marks: list[int], places: Sequence[Float64Array]
) -> None:
    layer.add(
        list(places),
        shape_type=[source.shape_type[i] for i in marks],
        edge_width=[source.edge_width[i] for i in marks],
        edge_color=source.edge_color[marks],
        face_color=source.face_color[marks],
    )


def _rows(table: pd.DataFrame, marks: list[int]) -> pd.DataFrame:
    return table.iloc[marks].reset_index(drop=True)


def _renumbered(column: Iterable[object], numbers: Mapping[int, int]) -> list[object]:
    known = ((value, object_number(value)) for value in column)
    return [value if number is None else numbers.get(number, value) for value, number in known]


def copy_to_image(
    layer: PromptLayer, plane_from: Plane, image: Image, plane_to: Plane, name: str
) -> tuple[PromptLayer | None, Copied]:
    """Copy the marks on a plane to the same pixels of a plane of another image.

    Pixels are those at full resolution, so that a multiscale image and a copy of its finest
    level are alike.

    Parameters
    ----------
    layer : Points or Shapes
        With any transform; it stays as it is.
    plane_from : Plane
        On which the marks lie.
    image : Image
        That the copies are laid over.
    plane_to : Plane
        Of that image.
    name : str
        Of the new layer.

    Returns
    -------
    layer : Points or Shapes, or None
        Not yet in a viewer, with as many dimensions as the image; None if nothing is copied.
        What is drawn next in it has the sign and the object number that it has in the original.
    copied : Copied
    """
    marks, places, outside = [], [], 0
    for i in marks_on(layer, plane_from):
        corners = _full_pixels(layer, layer.data[i], plane_from)
        if _is_inside(corners, plane_to):
            marks.append(i)
            places.append((corners + 0.5) / _factors(plane_to) - 0.5)
        else:
            outside += 1
    copied = Copied(len(marks), _left_out(outside, image))
    return (_over(image, plane_to, name, layer, marks, places) if marks else None), copied


def _full_pixels(layer: PromptLayer, points: npt.ArrayLike, plane: Plane) -> Float64Array:
    """Return (row, col) of points of a layer, in pixels of the full resolution, (n, 2)."""
    full = (to_pixels(layer, points, plane) + 0.5) * _factors(plane) - 0.5
    # the way through the world leaves errors of rounding, which would make another question
    return np.asarray(np.round(full, POINT_DECIMALS), dtype=float)


def _factors(plane: Plane) -> Float64Array:
    return np.asarray([plane.factors[axis] for axis in plane.shown], dtype=float)


def _is_inside(corners: Float64Array, plane: Plane) -> bool:
    """Whether something of what has these corners lies on an image."""
    size = np.asarray(plane.shape) * _factors(plane)
    low, high = np.floor(corners.min(axis=0) + 0.5), np.floor(corners.max(axis=0) + 0.5)
    return bool((high >= 0).all() and (low < np.round(size)).all())


def _over(
    image: Image,
    plane: Plane,
    name: str,
    source: PromptLayer,
    marks: list[int],
    places: list[Float64Array],
) -> PromptLayer:
    size = mark_size(plane.shape)
    features = _rows(source.features, marks)
    if POLARITY not in features:
        # what says nothing is positive, and coloured so
        features[POLARITY] = np.full(len(marks), POSITIVE, object)
    new: PromptLayer
    if isinstance(source, Points):
        new = new_points_layer(image, name, size, plane.shown)
        new.add(from_pixels(new, np.concatenate(places), plane))
    else:
        new = new_shapes_layer(image, name, size / 4, plane.shown)
        corners = [from_pixels(new, pixels, plane) for pixels in places]
        new.add(corners, shape_type=[source.shape_type[i] for i in marks])
    new.features = features
    defaults = source.feature_defaults
    kept = {column: defaults[column].iloc[0] for column in defaults if column in features}
    new.feature_defaults = {POLARITY: POSITIVE, **kept}
    new.selected_data = set()
    set_next_polarity(new, next_polarity(source))
    colour_by_polarity(new)
    return new


def _left_out(count: int, image: Image) -> tuple[str, ...]:
    if not count:
        return ()
    marks = "1 mark was" if count == 1 else f"{count} marks were"
    return (f"{marks} left out, outside of “{image.name}”.",)


def number_copies(
    layers: Iterable[PromptLayer], plane: Plane, first: int, plane_to: Plane | None = None
) -> dict[int, int]:
    """Give the objects on a plane new numbers, for their copies.

    Parameters
    ----------
    layers : iterable of Points or Shapes
        That share their object numbers.
    plane : Plane
    first : int
        The least new number.
    plane_to : Plane, optional
        Where the copies will lie.  An object of which a mark was copied there already has the
        number of that copy.

    Returns
    -------
    dict
        Old number to new number; in the order of the old ones.
    """
    used: set[int] = set()
    known: dict[int, int] = {}
    for layer in layers:
        numbers = object_numbers(layer)
        used |= {number for i in marks_on(layer, plane) if (number := numbers[i]) is not None}
        twins = {} if plane_to is None else _find_twins(layer, plane, plane_to)
        for i, twin in twins.items():
            own, other = numbers[i], numbers[twin]
            if own is not None and other is not None:
                known.setdefault(own, other)
    fresh = count(first)
    return {n: known[n] if n in known else next(fresh) for n in sorted(used)}
