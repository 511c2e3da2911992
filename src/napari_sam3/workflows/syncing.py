"""A plane's record and its label image: brought back in step, and shown by a view.

All of it is arrays and frozen objects: it runs in a worker while the window lives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.doubt import compactness, doubts, rank_doubtful
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.overlaps import Overlaps, find_overlaps, overlap_map, overlapping
from napari_sam3.core.painting import PaintRule, paint_objects
from napari_sam3.core.reconciling import reconcile
from napari_sam3.core.undoing import undone_labels
from napari_sam3.core.viewing import ObjectColumns, View, shown

IntArray = npt.NDArray[np.integer[Any]]

MOST_DENSE = 1 << 24
"""Up to this label, a table of all numbers is the faster way."""

UNNAMED = "object"
"""The concept of what was not asked for by name."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundOverlaps:
    """Which of some objects overlap; stays true as long as the objects are the same.

    Parameters
    ----------
    items : tuple of Instance
    overlaps : Overlaps
        By index in `items`.
    """

    items: tuple[Instance, ...]
    overlaps: Overlaps

    @classmethod
    def of(cls, items: Sequence[Instance], known: FoundOverlaps | None = None) -> FoundOverlaps:
        """Find them, unless they are known already."""
        if known is not None and len(known.items) == len(items):
            is_same = all(one is other for one, other in zip(items, known.items, strict=True))
            if is_same:
                return known
        return cls(tuple(items), find_overlaps(items))


@dataclass(frozen=True, slots=True, eq=False)
class PlaneState:
    """What a plane was like when a sync began.

    Parameters
    ----------
    objects : mapping
        The record, by label.
    expected, actual : ndarray of int, shape (rows, cols)
        What was painted for it, and what the layer holds; copies.
    view : View
        What is to be painted.
    hidden : collection of int
    rule : {"", "score", "smallest", "first"}
        Which labels were left out of `expected`, and by which rule it was painted.
    found : FoundOverlaps, optional
        From the sync before.
    wanted : frozenset of str
        What else is to be painted: "overlaps", "classes".
    undone : mapping
        By label, objects of runs that were taken back.
    """

    objects: Mapping[int, PlaneObject]
    expected: IntArray
    actual: IntArray
    view: View
    hidden: Collection[int] = frozenset()
    rule: PaintRule = ""
    found: FoundOverlaps | None = None
    wanted: frozenset[str] = frozenset()
    undone: Mapping[int, PlaneObject] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Synced:
    """The record in step with its plane, and the plane as the view shows it.

    Parameters
    ----------
    objects : dict
        By label.
    painted : ndarray of int, shape (rows, cols)
    is_other : bool
        Whether that differs from what the layer holds.
    shown, hidden : frozenset of int
        The labels that the view shows, and all others.
    overlapping : frozenset of int
        The labels of objects that share a pixel with another.
    doubtful : tuple of int
        The labels that are shown, the most doubtful first.
    reasons : dict
        Label to why it is doubtful, in a few words.
    found : FoundOverlaps
    derived : dict
        For each that was wanted, its array, shape (rows, cols): how many objects cover a
        pixel where there are several, or the number of the object's concept.
    classes : dict
        Concept to its number.
    notices : tuple of str
        What somebody else had changed.
    undone : dict
        By label, objects of runs that were taken back; they come back with a redo.
    renumbered : dict
        Former to present labels of objects that somebody else renumbered.
    """

    objects: dict[int, PlaneObject]
    painted: IntArray
    is_other: bool
    shown: frozenset[int]
    hidden: frozenset[int]
    overlapping: frozenset[int]
    doubtful: tuple[int, ...]
    reasons: dict[int, str]
    found: FoundOverlaps
    derived: dict[str, IntArray] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    undone: dict[int, PlaneObject] = field(default_factory=dict)
    renumbered: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Followed:
    """The record once it follows what somebody else painted."""

    objects: dict[int, PlaneObject]
    undone: dict[int, PlaneObject]
    renumbered: dict[int, int]
    notices: tuple[str, ...]


def sync(state: PlaneState) -> Synced:
    """Take over what somebody else painted, then paint what the view shows.

    Parameters
    ----------
    state : PlaneState

    Returns
    -------
    Synced
    """
    followed = _follow(state)
    objects = followed.objects
    listed = list(objects.values())
    shape = (state.actual.shape[0], state.actual.shape[1])
    found = FoundOverlaps.of([one.instance for one in listed], state.found)
    columns = ObjectColumns.of(listed, shape)
    is_shown = shown(columns, found.overlaps, state.view)
    hidden = frozenset(columns.labels[~is_shown].tolist())
    painted = paint_objects(listed, shape, rule=state.view.rule, hidden=hidden)
    if state.actual.dtype.kind == "i" and (below := state.actual < 0).any():
        # what is below 0 is no object, and nobody's to change
        painted = np.where(below, state.actual, painted)
    shares = overlapping(found.overlaps, len(listed))
    order, reasons = _doubtful(columns, shares, [one.instance for one in listed])
    return Synced(
        objects,
        painted,
        not np.array_equal(painted, state.actual),
        frozenset(columns.labels[is_shown].tolist()),
        hidden,
        frozenset(columns.labels[shares].tolist()),
        tuple(int(columns.labels[i]) for i in order if is_shown[i]),
        {int(label): words for label, words in zip(columns.labels, reasons, strict=True)},
        found,
        {kind: _derived(kind, listed, is_shown, painted) for kind in state.wanted},
        class_numbers(listed),
        followed.notices,
        followed.undone,
        followed.renumbered,
    )


def _follow(state: PlaneState) -> _Followed:
    """Let the record follow what somebody else painted, undo and redo of runs included."""
    if np.array_equal(state.expected, state.actual):
        return _Followed(dict(state.objects), dict(state.undone), {}, ())
    present = set(np.unique(state.actual).tolist())
    # as rejected ones: their number counts only where it is back on their own pixels
    back = {
        label: replace(one, state="rejected")
        for label, one in state.undone.items()
        if label in present and label not in state.objects
    }
    reconciled = reconcile(
        {**state.objects, **back},
        state.expected,
        state.actual,
        hidden={*state.hidden, *back},
        rule=state.rule,
    )
    objects, changes = dict(reconciled.objects), reconciled.changes
    undone = dict(state.undone)
    for label in back:
        if label in changes.returned:
            one = undone.pop(label)
            objects[label] = replace(objects[label], state=one.state)
        else:
            objects.pop(changes.renumbered.get(label, label), None)
    renumbered = {old: new for old, new in changes.renumbered.items() if old not in back}
    gone = undone_labels(state.objects, changes.erased, present) & objects.keys()
    undone |= {label: state.objects[label] for label in gone if label in state.objects}
    objects = {label: one for label, one in objects.items() if label not in gone}
    if not state.objects:
        # labels from elsewhere, seen for the first time: nobody has reviewed them yet
        objects = {
            label: one if label in back else replace(one, state="unreviewed")
            for label, one in objects.items()
        }
        return _Followed(objects, undone, {}, ())
    erased = tuple(label for label in changes.erased if label not in gone)
    left = replace(changes, erased=erased, renumbered=renumbered)
    told = (*((f"A run was undone: {_count(gone)} left the table.",) if gone else ()), *left.words)
    return _Followed(objects, undone, renumbered, told)


def _count(labels: Collection[int]) -> str:
    return f"{len(labels)} objects" if len(labels) > 1 else "1 object"


def class_numbers(objects: Sequence[PlaneObject]) -> dict[str, int]:
    """Return a number for each concept, from 1 on, in order of their names."""
    names = sorted({one.instance.concept or UNNAMED for one in objects})
    return {name: number for number, name in enumerate(names, start=1)}


def _derived(
    kind: str,
    objects: Sequence[PlaneObject],
    is_shown: npt.NDArray[np.bool_],
    painted: IntArray,
) -> IntArray:
    if kind == "classes":
        return _as_classes(objects, painted)
    visible = [one.instance for one, is_seen in zip(objects, is_shown, strict=True) if is_seen]
    return overlap_map(visible, (painted.shape[0], painted.shape[1]))


def _as_classes(objects: Sequence[PlaneObject], painted: IntArray) -> IntArray:
    numbers = class_numbers(objects)
    class_of = {one.label: numbers[one.instance.concept or UNNAMED] for one in objects}
    labels = np.array([0, *sorted(class_of)])
    classes = np.array([class_of.get(label, 0) for label in labels.tolist()], np.uint16)
    if labels[-1] <= MOST_DENSE:
        table = np.zeros(labels[-1] + 1, np.uint16)
        table[labels] = classes
        return table[painted]
    return classes[np.searchsorted(labels, painted)]


def _doubtful(
    columns: ObjectColumns, shares: npt.NDArray[np.bool_], items: Sequence[Instance]
) -> tuple[list[int], list[str]]:
    known = (columns.scores, columns.areas, compactness(items), columns.on_border, shares)
    return [int(i) for i in rank_doubtful(*known)], list(doubts(*known))
