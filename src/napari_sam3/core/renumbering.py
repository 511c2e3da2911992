"""Which object has which label, after somebody else changed a label image.

An object's *visible* pixels are those that carry its label.

- **Moved**: the visible pixels of an object and those that another label has now have an
  IoU above 0.5.  No two objects can claim one label so, and no object two labels.
- **Pushed aside**, to a fresh number: whose number was taken so.  Also an object that was not
  visible, a rejected one say, where its number has come up on other pixels: napari offers
  the largest visible number plus one as the next, which may be that of an object that cannot
  be seen.
- **Stroked**: a filter hides it, and its number has come up on its own pixels or beside them.
  napari's undo and redo do that, and so does a brush while the view is painted.  It is the
  same object, whatever part of it shows.
- **Returned**: it was not visible, and its number is back on its own pixels (IoU above 0.5
  with what would show of it).  One that a filter hides has returned where all that would show
  of it does.
- **Erased**: it was visible and is not any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from napari_sam3.core.arrays import BoolArray, Int64Array, LabelImage
from napari_sam3.core.geometry import Box
from napari_sam3.core.label_runs import LabelPairs
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.painting import PaintRule, order_from_top


@dataclass(frozen=True, slots=True, eq=False)
class ChangedPlane:
    """A record, and its label image before and after.

    Parameters
    ----------
    objects : mapping of int to PlaneObject
        By label.
    expected, actual : ndarray of int, shape (rows, cols)
        What was painted for them, and what is there now.
    hidden : frozenset of int
        Labels that were not painted, besides those that are rejected.
    rule : {"", "score", "smallest", "first"}
    ranks : mapping of int to int
        By label: of two objects, the one of smaller rank lies on top.
    """

    objects: Mapping[int, PlaneObject]
    expected: LabelImage
    actual: LabelImage
    hidden: frozenset[int]
    rule: PaintRule
    ranks: Mapping[int, int]

    @classmethod
    def of(
        cls,
        objects: Mapping[int, PlaneObject],
        images: tuple[LabelImage, LabelImage],
        hidden: Collection[int],
        rule: PaintRule,
    ) -> ChangedPlane:
        """Find out what lies on top of what."""
        rows, cols = images[0].shape
        ordered = order_from_top(objects.values(), (rows, cols), rule)
        ranks = {one.label: rank for rank, one in enumerate(ordered)}
        return cls(objects, *images, frozenset(hidden), rule, ranks)

    def is_left_out(self, label: int) -> bool:
        """Whether it was not painted, wherever it lies."""
        return label in self.hidden or self.objects[label].state == "rejected"

    def is_filtered(self, label: int) -> bool:
        """Whether it was not painted, though nobody rejected it."""
        return label in self.hidden and self.objects[label].state != "rejected"


@dataclass(frozen=True, slots=True, eq=False)
class VisibleCounts:
    """How many pixels show the labels that changed.

    Parameters
    ----------
    before, after, same : dict
        By label: in the image before, after, and at the same place in both.
    """

    before: dict[int, int]
    after: dict[int, int]
    same: dict[int, int]

    @classmethod
    def of(cls, plane: ChangedPlane, pairs: LabelPairs) -> VisibleCounts:
        """Count where the labels' objects lie, and nowhere else."""
        lost, gained = pairs.sum_before(), pairs.sum_after()
        before = dict(lost)
        for label in plane.objects.keys() & (lost.keys() | gained.keys()):
            box = plane.objects[label].instance.box
            before[label] = int(np.count_nonzero(plane.expected[box.slices] == label))
        same = {n: before.get(n, 0) - lost.get(n, 0) for n in before.keys() | gained.keys()}
        after = {n: same[n] + gained.get(n, 0) for n in same}
        return cls(before, after, same)


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """Which label each object has now, and what became of it.

    Parameters
    ----------
    new : dict
        Old label to new, of all objects.
    moved : dict
        Of those whose visible pixels carry another label.
    aside : set of int
        Old labels of those that got a fresh number.
    erased, stroked, returned : set of int
        Old labels; of those that are stroked, some have returned.
    unowned : list of int
        Labels of the image that belong to no object.
    """

    new: dict[int, int]
    moved: dict[int, int]
    aside: set[int]
    erased: set[int]
    stroked: set[int]
    returned: set[int]
    unowned: list[int]

    def differ(self, pairs: LabelPairs) -> BoolArray:
        """Return for each pair of labels whether its pixels changed their owner."""
        same = ((self.new.get(e, -1), a) for e, a in _zipped(pairs.before, pairs.after))
        return np.array([new != now for new, now in same], bool)


def _zipped(*arrays: Int64Array) -> Iterator[tuple[int, ...]]:
    return zip(*(array.tolist() for array in arrays), strict=True)


def assign_numbers(plane: ChangedPlane, counts: VisibleCounts, pairs: LabelPairs) -> Numbers:
    """Find out which label each object has now.

    Parameters
    ----------
    plane : ChangedPlane
    counts : VisibleCounts
    pairs : LabelPairs
        Of the pixels that changed.
    """
    moved = _find_moved(plane, counts, pairs)
    taken = set(moved.values())
    unseen = _find_unseen(plane, counts) - taken
    stroked = {label for label in unseen if plane.is_filtered(label) and _is_met(plane, label)}
    returned = _find_returned(plane, counts, unseen) - stroked
    aside = (plane.objects.keys() & taken) - moved.keys() | (unseen - stroked - returned)
    fresh = dict(zip(sorted(aside), _fresh_numbers(plane, len(aside)), strict=True))
    new = {label: moved.get(label, fresh.get(label, label)) for label in plane.objects}
    owned = set(new.values())
    unowned = sorted(n for n, pixels in counts.after.items() if pixels and n not in owned)
    erased = _find_erased(plane, counts, aside) - moved.keys()
    returned |= _find_whole(plane, stroked, new)
    return Numbers(new, moved, aside, erased, stroked, returned, unowned)


def _find_unseen(plane: ChangedPlane, counts: VisibleCounts) -> set[int]:
    """Return the labels of objects that showed nowhere, and now do."""
    labels = plane.objects.keys() & counts.after.keys()
    return {label for label in labels if not counts.before[label] and counts.after[label]}


def _find_erased(plane: ChangedPlane, counts: VisibleCounts, aside: set[int]) -> set[int]:
    labels = plane.objects.keys() & counts.before.keys()
    return {
        label
        for label in labels
        if counts.before[label] and (label in aside or not counts.after[label])
    }


def _find_moved(plane: ChangedPlane, counts: VisibleCounts, pairs: LabelPairs) -> dict[int, int]:
    return {
        old: new
        for old, new, common in _zipped(pairs.before, pairs.after, pairs.pixels)
        if new > 0
        and old in plane.objects
        and 2 * common > counts.before[old] + counts.after[new] - common
    }


def _is_met(plane: ChangedPlane, label: int) -> bool:
    """Whether a label shows on its object's own pixels or beside them, diagonally too."""
    instance = plane.objects[label].instance
    around = instance.box.grown(1)
    inside = around.intersection(Box.of_shape((plane.actual.shape[0], plane.actual.shape[1])))
    if inside is None:
        return False
    grown = _grown(instance.mask)[inside.shifted(-around.top, -around.left).slices]
    return bool((grown & (plane.actual[inside.slices] == label)).any())


def _grown(mask: BoolArray) -> BoolArray:
    """Return a mask with all pixels beside it, a pixel wider on each side."""
    grown = np.pad(mask, 1)
    for one in (grown, grown.T):
        before = one.copy()
        one[1:] |= before[:-1]
        one[:-1] |= before[1:]
    return grown


def _find_whole(plane: ChangedPlane, stroked: set[int], numbers: Mapping[int, int]) -> set[int]:
    """Return those that show wherever nothing else lies on top of them."""
    if not stroked:
        return set()
    stack = Stack.of(plane, numbers)
    whole = set()
    for label in stroked:
        instance = plane.objects[label].instance
        shows = plane.actual[instance.box.slices][instance.mask]
        if not stack.lies_below(shows[shows != label], plane.ranks[label]).any():
            whole.add(label)
    return whole


def _find_returned(plane: ChangedPlane, counts: VisibleCounts, unseen: set[int]) -> set[int]:
    """Return those whose number is back on their own pixels, not on somebody else's."""
    if not unseen:
        return set()
    # where two unseen objects came up, neither is held against the other
    stack = Stack.of(plane, {label: label for label in plane.objects.keys() - unseen})
    returned = set()
    for label in unseen:
        instance = plane.objects[label].instance
        now = plane.actual[instance.box.slices]
        back = instance.mask & (now == label)
        missing = np.count_nonzero(stack.lies_below(now[instance.mask & ~back], plane.ranks[label]))
        if 2 * np.count_nonzero(back) > counts.after[label] + missing:
            returned.add(label)
    return returned


def _fresh_numbers(plane: ChangedPlane, count: int) -> Iterable[int]:
    if not count:
        return ()
    largest = max(max(plane.objects), int(plane.actual.max()))
    limit = int(np.iinfo(plane.actual.dtype).max)
    if largest + count <= limit:
        return range(largest + 1, largest + count + 1)
    # a narrow type is full at its end, not in between
    used = plane.objects.keys() | set(np.unique(plane.actual).tolist())
    free = (n for n in range(1, limit + 1) if n not in used)
    return list(islice(chain(free, range(largest + 1, largest + count + 1)), count))


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Which labels of the image now lie on top of which objects.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        In rising order.
    ranks : ndarray of int, shape (n,)
        As in `ChangedPlane`.
    """

    labels: Int64Array
    ranks: Int64Array

    @classmethod
    def of(cls, plane: ChangedPlane, numbers: Mapping[int, int]) -> Stack:
        """Take the ranks over to new labels (`numbers`: old to new)."""
        rank_of = {new: plane.ranks[old] for old, new in numbers.items()}
        labels = sorted(rank_of)
        return cls(np.array(labels, np.int64), np.array([rank_of[n] for n in labels], np.int64))

    def lies_below(self, labels: LabelImage, rank: int) -> BoolArray:
        """Return where an object of this rank would hide what a label shows."""
        labels = labels.astype(np.int64)
        if not len(self.labels):
            return labels <= 0
        index = np.minimum(np.searchsorted(self.labels, labels), len(self.labels) - 1)
        # what belongs to no object will lie on top of all
        is_below: BoolArray = (self.labels[index] == labels) & (self.ranks[index] > rank)
        return is_below | (labels <= 0)
