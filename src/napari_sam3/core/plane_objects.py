"""The objects of one plane: found by where they lie, and shown by a view, part by part."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import Int64Array
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import common_area
from napari_sam3.core.labels import paint
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.overlaps import Overlaps, find_overlaps
from napari_sam3.core.painting import PaintRule, objects_from_top


class PlaneObjects(Mapping[int, PlaneObject]):
    """The objects of one plane, by label, in rising order; never changed.

    Parameters
    ----------
    objects : iterable of PlaneObject
        No two of one label.

    Attributes
    ----------
    by_label : dict
        The same, for whoever asks often; not to be changed.
    """

    __slots__ = ("_labels", "_pairs", "_sides", "by_label")

    def __init__(self, objects: Iterable[PlaneObject] = ()) -> None:
        listed = sorted(objects, key=lambda one: one.label)
        self.by_label = {one.label: one for one in listed}
        self._labels = np.array([one.label for one in listed], np.int64)
        self._sides = _sides_of(listed)
        # which labels share how many pixels, found when first asked for: shape (n, 3)
        self._pairs: Int64Array | None = None

    def __getitem__(self, label: int) -> PlaneObject:
        return self.by_label[label]

    def __iter__(self) -> Iterator[int]:
        return iter(self.by_label)

    def __len__(self) -> int:
        return len(self.by_label)

    def __contains__(self, label: object) -> bool:
        return label in self.by_label

    @property
    def labels(self) -> Int64Array:
        """The labels, in rising order; not to be changed."""
        return self._labels

    def sides(self, labels: Collection[int]) -> Int64Array:
        """Return top, left, bottom and right of some objects' boxes, shape (n, 4)."""
        return self._sides[np.searchsorted(self._labels, np.array(sorted(labels), np.int64))]

    @property
    def sharing(self) -> set[int]:
        """The labels of objects that share pixels; all of them, as long as that is not known."""
        known = self._labels if self._pairs is None else self._pairs[:, :2].reshape(-1)
        return set(known.tolist())

    def meeting(self, box: Box) -> list[PlaneObject]:
        """Return the objects whose boxes share a pixel with a box."""
        tops, lefts, bottoms, rights = self._sides.T
        meets = (tops < box.bottom) & (bottoms > box.top)
        meets &= (lefts < box.right) & (rights > box.left)
        return [self.by_label[label] for label in self._labels[meets].tolist()]

    @property
    def overlaps(self) -> Overlaps:
        """Which objects share pixels, by their index in rising order of labels."""
        pairs = self.labelled_overlaps
        first, second = np.searchsorted(self._labels, pairs[:, :2].T)
        return Overlaps(first, second, pairs[:, 2])

    @property
    def labelled_overlaps(self) -> Int64Array:
        """The same by label: the smaller label, the larger, pixels in common; shape (n, 3).

        Found when first asked for, which may take long; what `changed` returns finds only
        what is new.
        """
        if self._pairs is None:
            found = find_overlaps([one.instance for one in self.values()])
            labels = self._labels[found.first], self._labels[found.second]
            self._pairs = np.stack([*labels, found.shared], axis=1).astype(np.int64)
        return self._pairs

    def changed(self, changes: Mapping[int, PlaneObject | None]) -> PlaneObjects:
        """Return the same objects with some added, in place of others, or (None) gone.

        Parameters
        ----------
        changes : mapping
            By label.
        """
        new = [one for one in changes.values() if one is not None]
        stays = ~np.isin(self._labels, np.array(list(changes), np.int64))
        labels = np.concatenate([self._labels[stays], [one.label for one in new]])
        order = np.argsort(labels, kind="stable")
        made = PlaneObjects()
        made._labels = labels[order].astype(np.int64)
        made._sides = np.concatenate([self._sides[stays], _sides_of(new)])[order]
        by_label = {**self.by_label, **{one.label: one for one in new}}
        made.by_label = {label: by_label[label] for label in made._labels.tolist()}
        if self._pairs is not None:
            made._pairs = made._pairs_after(self._pairs, changes)
        return made

    def _pairs_after(
        self, pairs: Int64Array, changes: Mapping[int, PlaneObject | None]
    ) -> Int64Array:
        """Return the pairs of before, with those of changed objects found anew."""
        kept = pairs[~np.isin(pairs[:, :2], np.array(list(changes), np.int64)).any(axis=1)]
        found = {
            (min(one.label, other.label), max(one.label, other.label)): shared
            for one in changes.values()
            if one is not None
            for other in self.meeting(one.instance.box)
            if other is not one and (shared := common_area(one.instance, other.instance))
        }
        new = np.array([(*labels, shared) for labels, shared in found.items()], np.int64)
        joined = np.concatenate([kept, new.reshape(-1, 3)])
        order: Int64Array = np.lexsort((joined[:, 1], joined[:, 0]))
        return joined[order]


def _sides_of(objects: Collection[PlaneObject]) -> Int64Array:
    boxes = (one.instance.box for one in objects)
    sides = [(box.top, box.left, box.bottom, box.right) for box in boxes]
    return np.array(sides, np.int64).reshape(-1, 4)


@dataclass(frozen=True, eq=False)
class PlaneView:
    """What a plane shows of its objects.

    Parameters
    ----------
    objects : PlaneObjects
    hidden : frozenset of int
        Labels that are not shown; they may be of other planes, too.
    rule : {"", "score", "smallest", "first"}
        What shows where several overlap, as in `napari_sam3.core.painting`.
    """

    objects: PlaneObjects
    hidden: frozenset[int] = frozenset()
    rule: PaintRule = ""

    def shows(self, label: int) -> bool:
        """Whether an object lies on the plane and is neither hidden nor rejected."""
        one = self.objects.get(label)
        return one is not None and label not in self.hidden and one.state != "rejected"

    def paint(self, box: Box, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return the labels in a part of the plane, 0 for the background.

        Parameters
        ----------
        box : Box
        dtype : dtype
            Must hold all labels that are shown there.

        Returns
        -------
        ndarray of int, shape ``box.shape``
        """
        painted = np.zeros(box.shape, dtype)
        items = ((one.label, one.instance.box, one.instance.mask) for one in self.from_top(box))
        paint(painted, items, box)
        return painted

    def from_top(self, box: Box) -> list[PlaneObject]:
        """Return what is shown in a part of the plane, what lies on top first."""
        hidden = self.hidden
        shown = [
            one
            for one in self.objects.meeting(box)
            if one.label not in hidden and one.state != "rejected"
        ]
        return objects_from_top(shown, self.rule)

    def differing(self, other: PlaneView) -> list[int]:
        """Return the labels whose boxes hold all pixels that another view may show otherwise."""
        mine, theirs = self.objects.by_label, other.objects.by_label
        found = set() if self.hidden is other.hidden else self.hidden ^ other.hidden
        found &= mine.keys() | theirs.keys()
        if self.rule != other.rule:
            found |= self.objects.sharing | other.objects.sharing
        if mine is not theirs:
            found |= theirs.keys() - mine.keys()
            found |= {n for n, one in mine.items() if _differs(one, theirs.get(n))}
        return sorted(found)


def _differs(one: PlaneObject, other: PlaneObject | None) -> bool:
    if one is other:
        return False
    if other is None or one.instance is not other.instance:
        return True
    return one.depth != other.depth or (one.state == "rejected") != (other.state == "rejected")
