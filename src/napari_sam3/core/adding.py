"""What an engine found, added to the objects of a plane.

Nothing that is labelled already is overwritten: new objects lie below all others.  An object that
is asked for again takes the place of the one before, and keeps its label, its depth and what was
painted by hand with its label; it takes no pixel from an object that lies below it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from napari_sam3.core.arrays import BoolArray, LabelImage
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances, common_area
from napari_sam3.core.labels import OverlapRule
from napari_sam3.core.objects import LabelledObject, Part, PlaneObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.plane_objects import PlaneObjects, PlaneView
from napari_sam3.core.store import ObjectStore

COVERED = 0.5
"""An object is known already once this part of it carries labels of earlier runs."""

SAME = 0.5
"""Two objects are the same above this IoU."""

LOOKED_AT_ONCE = 200
"""Objects that are looked at in one go."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Which label each of the objects gets that an engine found.

    Parameters
    ----------
    labels : dict
        Index of the instance to its label, for those that can be seen.
    areas : dict
        Label to the number of pixels that it shows.
    known : int
        How many were labelled already, and so left as they are.
    hidden : int
        How many have no pixel of their own, under others.
    covered : dict
        Index of the instance to its label, for those that others of the same run hide.
    unseen : int
        How many are on record, but rejected or filtered out, and so left out.
    """

    labels: dict[int, int] = field(default_factory=dict)
    areas: dict[int, int] = field(default_factory=dict)
    known: int = 0
    hidden: int = 0
    covered: dict[int, int] = field(default_factory=dict)
    unseen: int = 0

    @property
    def all_labels(self) -> dict[int, int]:
        """Index of the instance to its label, for all that are added."""
        return dict(sorted((self.labels | self.covered).items()))


def iter_plan(
    plane: LabelImage,
    instances: Instances,
    *,
    first_label: int,
    rule: OverlapRule = "score",
    replaced: Mapping[int, int] | None = None,
    skip_known: bool = False,
    is_unseen: Callable[[Instance], bool] | None = None,
) -> Generator[None, None, Plan]:
    """Find out what is new among the objects that an engine found.

    Parameters
    ----------
    plane : ndarray of int, shape (rows, cols)
        What it shows now.
    instances : Instances
        In pixels of the plane.
    first_label : int
        New labels are not lower than this.
    rule : {"score", "smallest", "first"}
        Which of the new objects shows where they overlap.
    replaced : mapping, optional
        Index of an instance to the label that it takes the place of.
    skip_known : bool
        Leave out objects of which more than half is labelled already.
    is_unseen : callable, optional
        With `skip_known`, leave out these objects, too.

    Yields
    ------
    None
        Every few milliseconds.

    Returns
    -------
    Plan
    """
    replaced = replaced or {}
    own_labels = np.array(sorted(replaced.values()), np.int64)
    order = instances.top_first(rule)
    above = _Pile(instances.image_shape)
    numbers = itertools.count(first_label)
    labels, areas, covered, left_out = dict[int, int](), dict[int, int](), [], Counter[str]()
    # what is asked for again lies where it was, above what is new
    for count, index in enumerate(sorted(order, key=lambda i: i not in replaced), start=1):
        item = instances[index]
        shown = plane[item.box.slices]
        is_free = (shown <= 0) | np.isin(shown, own_labels)
        if index not in replaced and skip_known:
            earlier = np.count_nonzero(item.mask & ~is_free)
            why = "known" if earlier > COVERED * item.area else ""
            if not why and is_unseen is not None and is_unseen(item):
                why = "unseen"
            if why:
                left_out[why] += 1
                if count % LOOKED_AT_ONCE == 0:
                    yield
                continue
        area = int(np.count_nonzero(item.mask & is_free & ~above.cut(item.box)))
        if area:
            label = replaced[index] if index in replaced else next(numbers)
            labels[index], areas[label] = label, area
            above.add(item)
        else:
            covered.append(index)
        if count % LOOKED_AT_ONCE == 0:
            yield
    # what earlier runs hide is there already; what its own run hides is an object all the same
    hidden = {i: next(numbers) for i in covered if i not in replaced} if skip_known else {}
    known, unseen = left_out["known"], left_out["unseen"]
    return Plan(dict(sorted(labels.items())), areas, known, len(covered), hidden, unseen)


class _Pile:
    """The pixels of some objects, looked at by region."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._items: list[Instance] = []
        self._sides = np.zeros((64, 4), np.int64)
        self._shape = shape

    def add(self, item: Instance) -> None:
        if len(self._items) == len(self._sides):
            self._sides = np.concatenate([self._sides, np.zeros_like(self._sides)])
        box = item.box
        self._sides[len(self._items)] = box.top, box.left, box.bottom, box.right
        self._items.append(item)

    def cut(self, box: Box) -> BoolArray:
        taken = np.zeros(box.shape, bool)
        tops, lefts, bottoms, rights = self._sides[: len(self._items)].T
        meets = (
            (tops < box.bottom) & (bottoms > box.top) & (lefts < box.right) & (rights > box.left)
        )
        for at in np.flatnonzero(meets).tolist():
            own = self._items[at].box
            common = own.intersection(box)
            if common is not None:
                inner = common.shifted(-own.top, -own.left).slices
                taken[common.shifted(-box.top, -box.left).slices] |= self._items[at].mask[inner]
        return taken


def run_changes(
    store: ObjectStore,
    index: PlaneIndex,
    parts: Mapping[int, Part],
    former: Mapping[int, Part] | None = None,
) -> dict[int, LabelledObject]:
    """Return the objects of a run, for `ObjectStore.edit`.

    Parameters
    ----------
    store : ObjectStore
    index : PlaneIndex
    parts : mapping
        By label, what the plane has of each object; what lies on top comes first.
    former : mapping, optional
        By label, what an object that is asked for again was found with before: what is its
        own beside that was painted by hand, and stays.
    """
    view, depth = store.view_of(index), store.next_depth
    made: dict[int, LabelledObject] = {}
    for place, (label, part) in enumerate(parts.items()):
        known = store.objects.get(label)
        if known is None:
            made[label] = LabelledObject(label, {index: part}, depth=depth + place)
            continue
        was = view.objects.get(label)
        if was is not None:
            kept = _painted_by_hand(was.instance, (former or {}).get(label))
            part = _trimmed(replace(part, instance=_joined(part.instance, kept)), was, view)
        made[label] = replace(known, parts={**known.parts, index: part}, state="unreviewed")
    return made


def _joined(item: Instance, other: Instance | None) -> Instance:
    return item if other is None else item.joined(other)


def _painted_by_hand(now: Instance, found: Part | None) -> Instance | None:
    """Return what an object has beside what an engine found."""
    if found is None or found.instance is now:
        return None
    return now.without(found.instance)


def _trimmed(part: Part, was: PlaneObject, view: PlaneView) -> Part:
    """Leave to objects that lie below what they show: it was theirs before."""
    item = part.instance
    shown = view.paint(item.box, np.int64)
    below = [
        one.label
        for one in view.objects.meeting(item.box)
        if one.label != was.label and (one.depth, one.label) > (was.depth, was.label)
    ]
    theirs = np.isin(shown, below)
    trimmed = Instance.from_mask(item.mask & ~theirs, item.score, item.concept)
    if trimmed is None:
        return was.part
    return replace(part, instance=trimmed.shifted(item.box.top, item.box.left))


def brought_back(now: Instance, found: Instance, anew: Instance) -> int:
    """Return how many pixels that were erased by hand an object has again.

    Parameters
    ----------
    now, found, anew : Instance
        As it is, as it was found before, and as it was found again.
    """
    erased = found.without(now)
    return 0 if erased is None else common_area(erased, anew)


def hidden_finder(
    objects: PlaneObjects, hidden: frozenset[int]
) -> Callable[[Instance], bool] | None:
    """Return what tells whether an object is one that is on record but not shown.

    Returns
    -------
    callable or None
        True for an instance that has an IoU above 0.5 with an object of the plane that was
        rejected or filtered out: it need not be found again.  None if there is none.
    """
    unseen = PlaneObjects(one for label, one in objects.items() if label in hidden)
    if not len(unseen):
        return None
    return lambda item: any(_iou(one.instance, item) > SAME for one in unseen.meeting(item.box))


def _iou(one: Instance, other: Instance) -> float:
    shared = common_area(one, other)
    return shared / (one.area + other.area - shared)
