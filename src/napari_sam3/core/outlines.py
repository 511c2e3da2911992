"""Masks as polygons along the edges of their pixels, and polygons as masks.

Coordinates are (row, col) of *pixel edges*: pixel (r, c) reaches from (r, c) to
(r + 1, c + 1), and its centre is (r + 0.5, c + 0.5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray, Float64Array, IndexArray
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance

Ring = npt.NDArray[Any]

# how many lines turn at a corner of pixels, by which of the four around it are the object's:
# 1 above left, 2 above right, 4 below left, 8 below right
_TURNS = np.array([0, 1, 1, 0, 1, 0, 2, 1, 1, 2, 0, 1, 0, 1, 1, 0], np.uint8)
_FALLING = 9
_BY_EDGES = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)

_CROSSINGS_AT_ONCE = 1 << 20
_MAX_CROSSINGS = 1 << 28
_FARTHEST = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One polygon with its holes; no ring repeats its first point at the end.

    Parameters
    ----------
    outer : ndarray, shape (n, 2)
        (row, col) of pixel edges.  What `trace_outlines` returns runs clockwise as an
        image is displayed, which is a positive area in (x, y).
    holes : tuple of ndarray, shape (n, 2)
        Run the other way around.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()

    @property
    def rings(self) -> tuple[Ring, ...]:
        """The outer ring, then the holes."""
        return self.outer, *self.holes


def trace_outlines(mask: BoolArray) -> list[Outline]:
    """Return the exact outlines of a mask, shape (rows, cols).

    There is one for each part whose pixels share edges, the topmost first.  Rings turn at each
    point, and none touches itself; a hole may touch another ring in single points.
    """
    from scipy import ndimage

    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    parts, count = ndimage.label(padded, _BY_EDGES)
    if not count:
        return []
    corners = _Corners.of(padded, parts)
    outers: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for ring in corners.rings():
        # a ring begins with its topmost line, from left to right
        row, col = ring[0]
        if part := int(parts[row + 1, col + 1]):
            outers[part] = ring
        else:
            holes.setdefault(int(parts[row, col + 1]), []).append(ring[::-1])
    return [Outline(outer, tuple(holes.get(part, ()))) for part, outer in outers.items()]


@dataclass(frozen=True, slots=True, eq=False)
class _Corners:
    """Where outlines turn, row by row: of each two in a row, a line joins the first to the second.

    Where two pixels of an object touch only by their corners, two lines turn, so the corner is
    there twice.
    """

    points: IndexArray
    below: IndexArray
    """Who is joined to each by a vertical line."""

    @classmethod
    def of(cls, padded: npt.NDArray[np.uint8], parts: npt.NDArray[Any]) -> _Corners:
        around = padded[:-1, :-1] + 2 * padded[:-1, 1:] + 4 * padded[1:, :-1] + 8 * padded[1:, 1:]
        turns = _TURNS[around]
        found = np.flatnonzero(turns)
        is_double = turns.ravel()[found] == 2
        swapped = np.zeros(found.size, bool)
        if is_double.any():
            swapped[is_double] = _swapped(around, parts, found[is_double])
        counts = 1 + is_double
        which = np.repeat(np.arange(found.size), counts)
        is_second = np.zeros(which.size, bool)
        is_second[1:] = which[1:] == which[:-1]
        row, col = np.divmod(found[which], around.shape[1])
        points = np.column_stack((row, col))
        place = (col * around.shape[0] + row) * 2 + (is_second ^ swapped[which])
        order = np.argsort(place)
        below = np.empty_like(order)
        below[order[::2]], below[order[1::2]] = order[1::2], order[::2]
        return cls(points, below)

    def rings(self) -> Iterator[IndexArray]:
        """Yield each ring, from its topmost line on."""
        size = len(self.points)
        # along a row to the neighbour, from there along a column
        onward = self.below[np.arange(size) ^ 1].tolist()
        seen = bytearray(size)
        for start in range(0, size, 2):
            at, ring = start, []
            while not seen[at]:
                seen[at] = seen[at ^ 1] = True
                ring += [at, at ^ 1]
                at = onward[at]
            if ring:
                yield self.points[ring]


def _swapped(
    around: npt.NDArray[np.uint8], parts: npt.NDArray[Any], doubles: IndexArray
) -> BoolArray:
    """Whether at such a corner the line from the left turns down, and not up.

    If both pixels are of one part, the corner is where two of its rings meet, each around the
    background; otherwise each is around its own pixel.  So no ring touches itself.
    """
    row, col = np.divmod(doubles, around.shape[1])
    is_falling = around[row, col] == _FALLING
    one = parts[row, np.where(is_falling, col, col + 1)]
    other = parts[row + 1, np.where(is_falling, col + 1, col)]
    swapped: BoolArray = is_falling == (one == other)
    return swapped


def instance_of_outlines(
    outlines: Sequence[Outline], shape: tuple[int, int], max_area: int | None = None
) -> Instance | None:
    """Return the object that polygons outline, cropped; None if it holds no pixel's centre.

    Parameters
    ----------
    outlines : sequence of Outline
        They may come from a stranger.
    shape : tuple of int
        (rows, cols) of the image.
    max_area : int, optional
        Most pixels that its box may have; a larger one is refused before it is made.

    Raises
    ------
    ValueError
        If a ring is none, has points that are no places, or is too long to be drawn.
    """
    _check_rings([hole for outline in outlines for hole in outline.holes])
    box = _box_around([outline.outer for outline in outlines], shape, max_area)
    if box is None:
        return None
    corner = (box.top, box.left)
    mask = np.zeros(box.shape, bool)
    for outline in outlines:
        part = _fill([outline.outer - corner], box.shape)
        if outline.holes:
            part &= ~_fill([hole - corner for hole in outline.holes], box.shape)
        mask |= part
    return _placed(mask, corner)


def instance_of_rings(
    rings: Sequence[Ring], shape: tuple[int, int], max_area: int | None = None
) -> Instance | None:
    """Return the object inside an odd number of rings; otherwise as `instance_of_outlines`."""
    box = _box_around(rings, shape, max_area)
    if box is None:
        return None
    corner = (box.top, box.left)
    return _placed(_fill([ring - corner for ring in rings], box.shape), corner)


def _box_around(rings: Sequence[Ring], shape: tuple[int, int], max_area: int | None) -> Box | None:
    _check_rings(rings)
    if not rings:
        return None
    (top, left), (bottom, right) = (
        _pixels(np.asarray(reach([reach(ring, axis=0) for ring in rings], axis=0)), shape)
        for reach in (np.min, np.max)
    )
    if top >= bottom or left >= right:
        return None
    box = Box(top, left, bottom, right)
    if max_area is not None and box.area > max_area:
        raise ValueError("the objects are too large")
    return box


def _placed(mask: BoolArray, corner: tuple[int, int]) -> Instance | None:
    found = Instance.from_mask(mask)
    return None if found is None else found.shifted(*corner)


def count_crossings(rings: Sequence[Ring], rows: int) -> int:
    """Return about how often rings cross the rows of an image: the work of filling them.

    Raises
    ------
    ValueError
        If a ring is none, or has points that are no places.
    """
    _check_rings(rings)
    count = 0
    for ring in rings:
        heights = np.clip(ring[:, 0], 0, rows)
        count += int(np.abs(heights - np.roll(heights, 1)).sum())
    return count


def _check_rings(rings: Iterable[Ring]) -> None:
    for ring in rings:
        if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3:
            raise ValueError("a ring has at least three points")
        if not np.all(np.abs(ring) < _FARTHEST):
            raise ValueError("a point is at no place of an image")


def _pixels(place: npt.NDArray[Any], shape: tuple[int, int]) -> tuple[int, int]:
    row, col = np.clip(np.ceil(place - 0.5), 0, shape).astype(int)
    return int(row), int(col)


def _fill(rings: Sequence[Ring], shape: tuple[int, int]) -> BoolArray:
    """Return where a line to the left edge crosses the rings an odd number of times."""
    rows, cols = shape
    start, end = np.concatenate([_sides(ring) for ring in rings], axis=1)
    first, last = (
        np.clip(np.ceil(side[:, 0] - 0.5), 0, rows).astype(np.intp) for side in (start, end)
    )
    low, spans = np.minimum(first, last), np.abs(last - first)
    if spans.sum() > _MAX_CROSSINGS:
        raise ValueError("the outline is too long")
    # one column more, for what crosses right of the image
    toggles = np.zeros(rows * (cols + 1), np.uint8)
    crossing = spans > 0
    start, end, low, spans = start[crossing], end[crossing], low[crossing], spans[crossing]
    for part in _blocks(spans):
        row, col = _crossings(start[part], end[part], low[part], spans[part], cols)
        np.bitwise_xor.at(toggles, row * (cols + 1) + col, np.uint8(1))
    inside = np.bitwise_xor.accumulate(toggles.reshape(rows, cols + 1), axis=1)
    return inside[:, :cols].astype(bool)


def _sides(ring: Ring) -> Float64Array:
    points = ring.astype(float)
    return np.stack([points, np.roll(points, -1, axis=0)])


def _blocks(spans: IndexArray) -> Iterator[slice]:
    """Yield sides whose crossings are many, but not too many to be held."""
    start = 0
    ends = np.cumsum(spans)
    while start < spans.size:
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + _CROSSINGS_AT_ONCE, "right"))
        # a single side is no longer than the image has rows
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start = stop


def _crossings(
    start: Ring, end: Ring, low: IndexArray, spans: IndexArray, cols: int
) -> tuple[IndexArray, IndexArray]:
    """Return the rows whose centres sides cross, and the first column right of each crossing."""
    side = np.repeat(np.arange(spans.size), spans)
    row = np.arange(side.size) - np.repeat(np.cumsum(spans) - spans, spans) + low[side]
    (y0, x0), (y1, x1) = start[side].T, end[side].T
    x = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    return row, np.clip(np.ceil(x - 0.5), 0, cols).astype(np.intp)
