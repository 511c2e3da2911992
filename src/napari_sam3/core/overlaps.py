"""Which objects share pixels, and which of them to show: greedy suppression.

*IoM* is the intersection of two masks over the smaller of their areas.  Unlike IoU it finds a
part inside a whole, and a cell inside a clump of cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray, IndexArray, Int64Array
from napari_sam3.core.instances import Instance, Instances, common_area

_PAIRS_AT_ONCE = 1 << 20
# half a minute; three hundred thousand objects side by side need half as many
_MOST_LOOKED_AT = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """The pairs of objects that share pixels.

    Parameters
    ----------
    first, second : ndarray of int, shape (count,)
        Indices of the two objects, the smaller one first; in rising order.
    shared : ndarray of int, shape (count,)
        Pixels in common, above 0.
    """

    first: IndexArray
    second: IndexArray
    shared: Int64Array

    @property
    def count(self) -> int:
        """Number of pairs."""
        return len(self.first)


def find_overlaps(items: Sequence[Instance]) -> Overlaps:
    """Find all pairs of objects of one image that share pixels.

    Parameters
    ----------
    items : sequence of Instance

    Returns
    -------
    Overlaps

    Notes
    -----
    Objects that share no pixel are found by counting, in one pass over their pixels.  Only
    the others are compared, and of these only those whose boxes meet.
    """
    suspects = _find_sharing(items)
    sides = np.array([_sides(items[i]) for i in suspects], np.int64).reshape(-1, 4)
    found = [
        (
            *sorted((suspects[one], suspects[two])),
            common_area(items[suspects[one]], items[suspects[two]]),
        )
        for ones, twos in _iter_meeting(sides)
        for one, two in zip(ones.tolist(), twos.tolist(), strict=True)
    ]
    table = np.array(sorted(pair for pair in found if pair[2]), np.int64).reshape(-1, 3)
    return Overlaps(table[:, 0].astype(np.intp), table[:, 1].astype(np.intp), table[:, 2])


def _sides(item: Instance) -> tuple[int, int, int, int]:
    return item.box.top, item.box.left, item.box.bottom, item.box.right


def count_overlapping(items: Sequence[Instance]) -> int:
    """Return how many objects of one image share at least one pixel with another.

    Parameters
    ----------
    items : sequence of Instance
    """
    return len(_find_sharing(items))


def _find_sharing(items: Sequence[Instance]) -> list[int]:
    """Return the indices of the items that have a pixel in common with another."""
    if len(items) < 2:
        return []
    tops, lefts, bottoms, rights = np.array([_sides(item) for item in items]).T
    top, left = int(tops.min()), int(lefts.min())
    shape = int(bottoms.max()) - top, int(rights.max()) - left
    moved = [item.shifted(-top, -left) for item in items]
    many = overlap_map(moved, shape) > 0
    return [i for i, item in enumerate(moved) if (many[item.box.slices] & item.mask).any()]


def _iter_meeting(sides: Int64Array) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Yield the indices of boxes that meet, so many at a time that memory stays small."""
    order, counts, (_, lefts, _, rights) = _sorted_along_an_axis(sides)
    blocks = np.cumsum(counts) // _PAIRS_AT_ONCE
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        one = np.repeat(rows, counts[rows])
        starts = np.repeat(np.cumsum(counts[rows]) - counts[rows], counts[rows])
        two = one + 1 + np.arange(len(one)) - starts
        meet = (lefts[one] < rights[two]) & (lefts[two] < rights[one])
        yield order[one[meet]], order[two[meet]]


def _sorted_along_an_axis(sides: Int64Array) -> tuple[IndexArray, Int64Array, Int64Array]:
    """Return an order of boxes, how many of the next ones each may meet, and their sides.

    That is along rows or along columns, in which of them fewer may meet; of the sides,
    top and bottom are along it.
    """
    found = []
    for turned in (sides, sides[:, [1, 0, 3, 2]]):
        order = np.argsort(turned[:, 0], kind="stable")
        tops, _, bottoms, _ = turned[order].T
        # by rising top, those that a box may meet below it lie side by side
        ends = np.searchsorted(tops, bottoms)
        counts = np.maximum(ends - np.arange(len(order)) - 1, 0)
        found.append((order, counts, turned[order].T))
    return min(found, key=lambda each: int(each[1].sum()))


def meet_often(items: Sequence[Instance], most: int) -> bool:
    """Return whether the boxes of more pairs than this meet, or too many to tell might.

    No pixel is looked at.

    Parameters
    ----------
    items : sequence of Instance
    most : int

    Examples
    --------
    >>> whole = Instance.from_mask(np.ones((2, 3), bool))
    >>> meet_often([whole] * 4, 6), meet_often([whole] * 4, 5)
    (False, True)
    """
    sides = np.array([_sides(item) for item in items], np.int64).reshape(-1, 4)
    if int(_sorted_along_an_axis(sides)[1].sum()) > _MOST_LOOKED_AT:
        return True
    count = 0
    for ones, _ in _iter_meeting(sides):
        count += len(ones)
        if count > most:
            return True
    return False


def suppress(
    overlaps: Overlaps, areas: npt.ArrayLike, order: npt.ArrayLike, max_iom: float
) -> BoolArray:
    """Choose objects that do not cover each other too much, the best first.

    Objects are visited in order, and one is dropped if its IoM with one that was kept
    exceeds `max_iom`.

    Parameters
    ----------
    overlaps : Overlaps
    areas : array_like of int, shape (n,)
        Pixels of each object.
    order : array_like of int, shape (m,)
        Indices of the objects, the best first; each at most once.  Those that are left out
        are not kept, and drop no other.
    max_iom : float
        0–1; 1 drops none.

    Returns
    -------
    ndarray of bool, shape (n,)
        Which are kept.

    Raises
    ------
    ValueError
        If `max_iom` is out of range.
    """
    if not 0 <= max_iom <= 1:
        raise ValueError(f"an overlap lies between 0 and 1, not at {max_iom}")
    pixels, visits = np.asarray(areas), np.asarray(order, np.intp)
    unvisited = len(pixels)
    ranks = np.full(len(pixels), unvisited)
    ranks[visits] = np.arange(len(visits))
    kept = ranks < unvisited
    one, two = ranks[overlaps.first], ranks[overlaps.second]
    smaller = np.minimum(pixels[overlaps.first], pixels[overlaps.second])
    # a quotient, so that 3 of 10 pixels are not more than 0.3
    clash = (overlaps.shared / np.maximum(smaller, 1) > max_iom) & (
        np.maximum(one, two) < unvisited
    )
    better, worse = np.minimum(one, two)[clash], np.maximum(one, two)[clash]
    by_better = np.argsort(better, kind="stable")
    stays = [True] * len(visits)
    # when an object's turn comes, all that could drop it have had theirs
    for winner, loser in zip(better[by_better].tolist(), worse[by_better].tolist(), strict=True):
        if stays[winner]:
            stays[loser] = False
    kept[visits] = stays
    return kept


def best_first(scores: npt.ArrayLike, areas: npt.ArrayLike) -> IndexArray:
    """Order objects for `suppress`: the highest score first, those without one last.

    Without a score, and of equal scores, the object of the most typical size comes first:
    the one whose area is the smallest factor away from the median of all.  Neither *large
    first* nor *small first* would do: the one lets a clump drop all the cells in it, the
    other lets a fragment drop its cell.  A cell is nearer to the median than either, as long
    as most objects are whole cells.  Of equally typical ones the larger comes first, then
    the one that is first in the answer.

    Parameters
    ----------
    scores : array_like of float, shape (n,)
        NaN where there is none.
    areas : array_like of int, shape (n,)
        In pixels.

    Returns
    -------
    ndarray of int, shape (n,)
        All indices.
    """
    known, pixels = np.asarray(scores, float), np.asarray(areas, float)
    sizes = np.log(np.maximum(pixels, 1))
    middle = np.median(sizes) if len(sizes) else 0.0
    # rounded, so that half and double are equally far
    distance = np.round(np.abs(sizes - middle), 9)
    return np.lexsort((-pixels, distance, np.where(np.isnan(known), np.inf, -known)))


def overlapping(overlaps: Overlaps, n: int) -> BoolArray:
    """Return for each of `n` objects whether it shares a pixel with another."""
    shares = np.zeros(n, bool)
    shares[overlaps.first] = True
    shares[overlaps.second] = True
    return shares


def overlap_map(items: Sequence[Instance], image_shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Count how many objects lie on a pixel, where at least two do.

    Parameters
    ----------
    items : sequence of Instance
    image_shape : tuple of int
        (rows, cols).

    Returns
    -------
    ndarray of uint8 or uint16, shape `image_shape`
        0 where fewer than two objects lie; uint16 only where uint8 does not hold the counts.

    Raises
    ------
    ValueError
        If an object lies outside the image.
    """
    Instances(image_shape, tuple(items))
    counts = np.zeros(image_shape, np.uint8 if len(items) < 256 else np.uint16)
    for item in items:
        counts[item.box.slices] += item.mask
    if counts.dtype != np.uint8 and counts.max(initial=0) < 256:
        counts = counts.astype(np.uint8)
    counts[counts == 1] = 0
    return counts
