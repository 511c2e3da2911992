"""The record of a plane and its label image, brought back in step.

People paint into a Labels layer, and other plugins delete, merge, split and renumber its
labels.  What the layer holds is right; the record follows, and keeps what only it knows:
hidden parts, scores, concepts, and whole objects that were erased.

First it is found out which object has which label now (`napari_sam3.core.renumbering`).  Then

- what was **erased** is kept whole, as rejected;
- what a **filter** hides only gains pixels: which of its own do not show is the filter's doing;
- what is **edited** gains the pixels that it shows now, and loses those that it showed before.
  Hidden pixels stay, except where the image changed and they would come up on top of what it
  shows now;
- what is **added**, a label that belongs to no object, is a new one on top of all others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray, LabelImage
from napari_sam3.core.geometry import Box, bounding_box
from napari_sam3.core.instances import Instance, split_labels
from napari_sam3.core.label_runs import LabelRuns, find_boxes, find_changes
from napari_sam3.core.objects import PlaneObject, ReviewState
from napari_sam3.core.painting import PaintRule, order_from_top
from napari_sam3.core.renumbering import (
    ChangedPlane,
    Numbers,
    Stack,
    VisibleCounts,
    assign_numbers,
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What somebody else did to a plane's objects.

    Parameters
    ----------
    renumbered : dict
        Old label to new.
    edited, erased, added, returned : tuple of int
        Labels as they are now, in rising order.  No label is in two of them, but what was
        renumbered may be edited or erased as well.  What has returned is no longer hidden;
        what a filter hides and shows in part only, is.
    """

    renumbered: dict[int, int] = field(default_factory=dict)
    edited: tuple[int, ...] = ()
    erased: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    returned: tuple[int, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the record was in step."""
        return not self._counts

    @property
    def words(self) -> tuple[str, ...]:
        """Sentences for the user; none where nothing changed."""
        counts = self._counts
        if not counts:
            return ()
        them = "it" if sum(count for count, _ in counts) == 1 else "them"
        sentences = [f"{_list_up(counts)}; the record follows {them}."]
        if self.erased:
            sentences.append("What was erased is kept as rejected and can be brought back.")
        return tuple(sentences)

    @property
    def _counts(self) -> list[tuple[int, str]]:
        counts = [
            (len(self.renumbered), "renumbered"),
            (len(self.edited), "changed"),
            (len(self.erased), "erased"),
            (len(self.returned), "brought back"),
            (len(self.added), "added"),
        ]
        return [(count, verb) for count, verb in counts if count]


@dataclass(frozen=True, slots=True, eq=False)
class Reconciled:
    """A record that is in step with its label image.

    Parameters
    ----------
    objects : dict
        The record, by label.
    changes : Changes
        What was different.
    """

    objects: dict[int, PlaneObject]
    changes: Changes = field(default_factory=Changes)


def reconcile(
    objects: Mapping[int, PlaneObject],
    expected: npt.NDArray[Any],
    actual: npt.NDArray[Any],
    *,
    hidden: Collection[int] = (),
    rule: PaintRule = "",
) -> Reconciled:
    """Bring the record of a plane in step with its label image.

    Parameters
    ----------
    objects : mapping of int to PlaneObject
        The record, by label.
    expected : ndarray of int, shape (rows, cols)
        What was last painted for it (`napari_sam3.core.painting.paint_objects`).
    actual : ndarray of int, shape (rows, cols)
        What the layer holds now.  Labels below 1 are background.
    hidden, rule
        As they were painted with.  Labels that are hidden keep their pixels.

    Returns
    -------
    Reconciled
        Painted by depth, without the hidden ones that have not returned
        (`Changes.returned`), it shows what `actual` shows, if `expected` was painted by
        depth.  Only where `actual` shows a part of an object that a filter hides, it does
        not: no mask has that part alone.  The object has it, and would show there.

        Under a rule, an object that changed in size may come to lie above or below
        another; where the image itself changed, it shows what `actual` shows.

    Raises
    ------
    ValueError
        If the images are not two planes of one shape with whole numbers.

    Notes
    -----
    Where the images are equal, all that is done is to compare them.  Else only objects whose
    labels or whose boxes are concerned are looked at.
    """
    _refuse_other_images(expected, actual)
    runs = find_changes(expected, actual)
    if not len(runs):
        return Reconciled(dict(objects))
    pairs, pair_of_run = runs.count_pairs()
    before = ChangedPlane.of(objects, (expected, actual), hidden, rule)
    counts = VisibleCounts.of(before, pairs)
    numbers = assign_numbers(before, counts, pairs)
    touched = _Touched.of(before, counts, numbers, runs[numbers.differ(pairs)[pair_of_run]])
    return _follow(before, counts, numbers, touched)


def _refuse_other_images(expected: LabelImage, actual: LabelImage) -> None:
    if expected.ndim != 2 or expected.shape != actual.shape:
        raise ValueError(
            f"two planes of one shape are compared, not {expected.shape} and {actual.shape}"
        )
    if expected.dtype.kind not in "iu" or actual.dtype.kind not in "iu":
        raise ValueError(f"labels are whole numbers, not {expected.dtype} and {actual.dtype}")


@dataclass(frozen=True, slots=True, eq=False)
class _Touched:
    """Where the image shows another object than it did.

    Parameters
    ----------
    pixels : ndarray of bool, shape (rows, cols)
    box : Box or None
        Around them.
    gained : dict
        Label as it is now to a box around what it gained.
    again : ndarray of bool, shape (rows, cols)
        Where an object that a filter hides shows on its own pixels.
    """

    pixels: BoolArray
    box: Box | None
    gained: dict[int, Box]
    again: BoolArray

    @classmethod
    def of(
        cls, plane: ChangedPlane, counts: VisibleCounts, numbers: Numbers, touched: LabelRuns
    ) -> _Touched:
        pixels = np.zeros(plane.actual.shape, bool)
        touched.paint(pixels)
        gained = touched.boxes_after()
        # the same label, but of another object than before
        for label in numbers.moved.keys() | numbers.aside:
            if counts.same.get(label, 0):
                box = plane.objects[label].instance.box
                is_same = plane.expected[box.slices] == label
                pixels[box.slices] |= is_same & (plane.actual[box.slices] == label)
                gained[label] = box.union(gained.get(label, box))
        return cls(pixels, bounding_box(pixels), gained, _find_again(plane, numbers))

    def concerns(self, one: PlaneObject, label: int) -> bool:
        if label in self.gained:
            return True
        box = one.instance.box
        if self.box is None or box.intersection(self.box) is None:
            return False
        return bool((self.pixels[box.slices] & one.instance.mask).any())


def _find_again(plane: ChangedPlane, numbers: Numbers) -> BoolArray:
    again = np.zeros(plane.actual.shape, bool)
    for label in numbers.stroked:
        instance = plane.objects[label].instance
        area = instance.box.slices
        again[area] |= instance.mask & (plane.actual[area] == label)
    return again


@dataclass(frozen=True, slots=True, eq=False)
class _Masks:
    """What is needed to bring single masks in step."""

    plane: ChangedPlane
    numbers: Numbers
    touched: _Touched
    stack: Stack

    def follow(self, old: int, new: int) -> tuple[Instance | None, bool]:
        """Return an object's pixels as they are now, and whether it gained any."""
        instance = self.plane.objects[old].instance
        box = instance.box.union(self.touched.gained.get(new, instance.box))
        mask = _placed(instance, box)
        now = self.plane.actual[box.slices] == new
        lost = self._find_lost(old, box, mask & ~now)
        after = mask & ~lost | now
        gained = bool((now & ~mask).any())
        if not gained and not lost.any():
            return instance, False
        inner = bounding_box(after)
        if inner is None:
            return None, False
        around = inner.shifted(box.top, box.left)
        return replace(instance, mask=after[inner.slices].copy(), box=around), gained

    def _find_lost(self, old: int, box: Box, absent: BoolArray) -> BoolArray:
        """Return which of an object's pixels that do not show it are no longer its own."""
        if old in self.numbers.stroked:
            return np.zeros_like(absent)
        lost = absent
        if not (old in self.numbers.returned and self.plane.is_left_out(old)):
            lost = absent & self.touched.pixels[box.slices]
        lost[lost] = self._is_gone(old, box, lost)
        return lost

    def _is_gone(self, old: int, box: Box, lost: BoolArray) -> BoolArray:
        shows = self.plane.actual[box.slices][lost]
        would_show = self.stack.lies_below(shows, self.plane.ranks[old])
        is_gone: BoolArray = would_show | (self.plane.expected[box.slices][lost] == old)
        if self.plane.rule:
            # sizes change, and under a rule the order with them: only absence is sure
            is_gone |= self.touched.pixels[box.slices][lost]
        # what shows again on top of it takes nothing: it lay below it before
        is_gone &= would_show | ~self.touched.again[box.slices][lost]
        return is_gone


def _placed(instance: Instance, box: Box) -> BoolArray:
    mask = np.zeros(box.shape, bool)
    mask[instance.box.shifted(-box.top, -box.left).slices] = instance.mask
    return mask


def _follow(
    plane: ChangedPlane, counts: VisibleCounts, numbers: Numbers, touched: _Touched
) -> Reconciled:
    masks = _Masks(plane, numbers, touched, Stack.of(plane, numbers.new))
    former = _renumbered(plane, numbers)
    objects = {
        one.label: _follow_one(masks, old, one)
        if _may_differ(plane, counts, numbers, touched, old)
        else one
        for old, one in former.items()
    }
    for label in (numbers.new[old] for old in numbers.erased):
        objects[label] = replace(objects[label], state="rejected")
    return Reconciled(
        dict(sorted({**objects, **_added(plane, numbers, objects)}.items())),
        _name_changes(former, objects, numbers),
    )


def _follow_one(masks: _Masks, old: int, one: PlaneObject) -> PlaneObject:
    instance, has_gained = masks.follow(old, one.label)
    if instance is None:
        return replace(one, state="rejected")
    is_restored = old in masks.numbers.returned and one.state == "rejected"
    if instance is one.instance and not is_restored:
        return one
    state: ReviewState = "unreviewed" if is_restored and not has_gained else "edited"
    return replace(one, instance=instance, state=state)


def _name_changes(
    former: Mapping[int, PlaneObject], objects: Mapping[int, PlaneObject], numbers: Numbers
) -> Changes:
    returned = {numbers.new[old] for old in numbers.returned}
    erased = {numbers.new[old] for old in numbers.erased}
    edited = set()
    for one in former.values():
        now = objects[one.label]
        if now.instance is not one.instance:
            edited.add(one.label)
        elif now.state == "rejected" != one.state:
            erased.add(one.label)
    return Changes(
        {old: new for old, new in sorted(numbers.new.items()) if old != new},
        tuple(sorted(edited - returned)),
        tuple(sorted(erased)),
        tuple(numbers.unowned),
        tuple(sorted(returned)),
    )


def _may_differ(
    plane: ChangedPlane, counts: VisibleCounts, numbers: Numbers, touched: _Touched, old: int
) -> bool:
    if old in numbers.returned or old in numbers.stroked:
        return True
    if old in numbers.erased:
        return False
    if plane.is_left_out(old) and not counts.before.get(old, 0):
        return False
    return touched.concerns(plane.objects[old], numbers.new[old])


def _renumbered(plane: ChangedPlane, numbers: Numbers) -> dict[int, PlaneObject]:
    """Return by old label the objects under their new ones."""
    rows, cols = plane.actual.shape
    depths = {old: one.depth for old, one in plane.objects.items()}
    is_same = all(old == new for old, new in numbers.new.items())
    if not is_same and len(set(depths.values())) < len(depths):
        # of equal depth, the label decides; the order must outlive it
        ordered = order_from_top(plane.objects.values(), (rows, cols))
        depths = {one.label: depth for depth, one in enumerate(ordered)}
    return {
        old: one
        if one.label == numbers.new[old] and one.depth == depths[old]
        else replace(one, label=numbers.new[old], depth=depths[old])
        for old, one in plane.objects.items()
    }


def _added(
    plane: ChangedPlane, numbers: Numbers, objects: Mapping[int, PlaneObject]
) -> dict[int, PlaneObject]:
    if not numbers.unowned:
        return {}
    least_depth = min((one.depth for one in objects.values()), default=0)
    added = split_labels(plane.actual, find_boxes(plane.actual, numbers.unowned))
    return {
        label: PlaneObject(label, added[label], state="edited", depth=least_depth - place)
        for place, label in enumerate(numbers.unowned, start=1)
    }


def _list_up(counts: Sequence[tuple[int, str]]) -> str:
    (count, verb), *others = counts
    parts = [f"{'1 object was' if count == 1 else f'{count} objects were'} {verb}"]
    parts += [f"{count} {verb}" for count, verb in others]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if others else parts)
