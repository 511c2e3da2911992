"""What somebody else painted into a label image, taken over into the record of its objects.

A `Look` is a part of a plane, as it was painted and as it is.  `napari_sam3.core.reconciling`
follows each plane by itself; here what it found becomes of the objects, which may lie on many:

- an object that is **erased** on some of its planes has lost those parts; one that is erased on
  all of them is kept whole, as rejected;
- a label that is **new on a plane** belongs to the object of that label, if that is shown
  anywhere.  One that is not makes way, to a fresh label;
- an object is **renumbered** plane by plane; what nobody sees of it goes along;
- a **run was undone** if something of it was erased, and nothing of it is to be seen any more.
  Its hidden objects go with it, and all of them come back with a redo.  A single object that was
  erased from many was erased by hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from napari_sam3.core.arrays import LabelImage
from napari_sam3.core.corrected import corrected
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.label_runs import find_changes
from napari_sam3.core.objects import LabelledObject, Part, PlaneObject, ReviewState
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.plane_objects import PlaneView
from napari_sam3.core.reconciling import Changes, Reconciled, reconcile

Objects = Mapping[int, LabelledObject]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A part of a plane in which somebody else painted.

    Parameters
    ----------
    index : PlaneIndex
    box : Box
        Holds all pixels that differ, and all of the objects concerned.
    view : PlaneView
        What was painted on the plane.
    actual : ndarray of int, shape ``box.shape``
        What is there; a copy.
    concerned : frozenset of int
        Labels of the plane's objects that may have changed.
    is_first : bool
        Whether nobody has looked at the plane before.
    """

    index: PlaneIndex
    box: Box
    view: PlaneView
    actual: LabelImage
    concerned: frozenset[int]
    is_first: bool = False

    @property
    def expected(self) -> LabelImage:
        """What was painted, shape ``box.shape``."""
        return self.view.paint(self.box, self.actual.dtype)


def look(
    index: PlaneIndex, view: PlaneView, plane: LabelImage, region: Box, *, is_first: bool = False
) -> Look | None:
    """Find out where a part of a plane is other than it was painted; None if nowhere.

    Parameters
    ----------
    index : PlaneIndex
    view : PlaneView
        What was painted.
    plane : ndarray of int, shape (rows, cols)
        What is there.
    region : Box
        Where to look; inside the plane.
    is_first : bool
        As in `Look`.
    """
    actual = plane[region.slices]
    runs = find_changes(view.paint(region, actual.dtype), actual)
    if not len(runs):
        return None
    top, left = int(runs.rows.min()) + region.top, int(runs.cols.min()) + region.left
    bottom = int(runs.rows.max()) + region.top + 1
    right = int((runs.cols + runs.lengths).max()) + region.left
    box = Box(top, left, bottom, right)
    labels = np.unique(np.concatenate([runs.before, runs.after])).tolist()
    concerned = {one.label for one in view.objects.meeting(box)} | (view.objects.keys() & labels)
    for label in concerned:
        box = box.union(view.objects[label].instance.box)
    return Look(index, box, view, plane[box.slices].copy(), frozenset(concerned), is_first)


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What became of the objects.

    Parameters
    ----------
    changes : dict
        By label, what an object is now; None where there is none.
    undone : dict
        By label, objects of runs that were taken back; they come back with a redo.
    renumbered : dict
        Former to present labels of objects that are shown.
    words : tuple of str
        What somebody else had changed, in sentences for the user.
    """

    changes: dict[int, LabelledObject | None] = field(default_factory=dict)
    undone: dict[int, LabelledObject] = field(default_factory=dict)
    renumbered: dict[int, int] = field(default_factory=dict)
    words: tuple[str, ...] = ()


def take_over(
    objects: Objects,
    looks: Sequence[Look],
    *,
    undone: Objects | None = None,
    hidden: Collection[int] = (),
) -> Taken:
    """Let the objects follow what somebody else painted.

    Parameters
    ----------
    objects : mapping
        All of them, by label.  Where a look was taken, they are what its view shows.
    looks : sequence of Look
        At most one of a plane.
    undone : mapping, optional
        Objects of runs that were taken back, by label.
    hidden : collection of int
        Labels of objects that are not shown.

    Returns
    -------
    Taken
    """
    if not looks:
        return Taken(undone=dict(undone or {}))
    taking = _TakingOver(objects, undone or {}, frozenset(hidden), looks)
    for one in looks:
        taking.follow(one)
    return taking.result(looks)


@dataclass(frozen=True, slots=True, eq=False)
class _Move:
    """An object's part on a plane, as it is now."""

    index: PlaneIndex
    old: int | None
    now: PlaneObject
    is_first: bool = False


class _TakingOver:
    def __init__(
        self, objects: Objects, undone: Objects, hidden: frozenset[int], looks: Sequence[Look]
    ) -> None:
        self._objects = objects
        self._undone = undone
        self._hidden = hidden
        self._moves: list[_Move] = []
        shown = (int(one.actual.max(initial=0)) for one in looks)
        # above what any plane shows: a number that is free on one may be taken on the next
        self._fresh = max([0, *objects, *undone, *shown])
        self._renumbered: dict[int, int] = {}
        self._kinds: dict[str, set[int]] = defaultdict(set)
        self._back: set[int] = set()
        # by its label of now, the one that an object had
        self._former: dict[int, int] = {}

    # ------------------------------------------------------------------ plane by plane

    def follow(self, one: Look) -> None:
        """Follow a plane."""
        expected = one.expected
        back = self._on_again(one)
        own = {**self._concerned(one, expected), **back}
        hidden = {*one.view.hidden, *back}
        found = reconcile(own, expected, one.actual, hidden=hidden, rule=one.view.rule)
        found = self._with_other_numbers(found, own, one.actual)
        new = {old: found.changes.renumbered.get(old, old) for old in own}
        for old, label in new.items():
            now = found.objects[label]
            if old in back:
                if label in found.changes.returned:
                    self._back.add(label)
                    self._add(one, None, replace(now, state=self._undone[old].state))
            elif _is_other(now, own[old]):
                self._add(one, old, now, own[old].instance)
        for label in found.changes.added:
            self._add(one, None, found.objects[label])
        self._note(found.changes, back)

    def _concerned(self, one: Look, expected: LabelImage) -> dict[int, PlaneObject]:
        """Return the objects concerned, in pixels of the look."""
        shown = set(np.unique(expected).tolist()) if one.view.objects else set()
        shifted = {}
        for label in sorted(one.concerned):
            is_elsewhere = label not in self._hidden and len(self._objects[label].parts) > 1
            if label in shown or not is_elsewhere:
                # what nobody sees here is seen elsewhere: its number is its own here, too
                shifted[label] = _shifted(one.view.objects[label], one.box)
            elif not (one.actual == label).any():
                shifted[label] = _shifted(one.view.objects[label], one.box)
        return shifted

    def _on_again(self, one: Look) -> dict[int, PlaneObject]:
        """Return what may have come back by a redo, as rejected, in pixels of the look."""
        found = {}
        for label, was in self._undone.items():
            here = was.on(one.index)
            if here is None or label in self._objects or not (one.actual == label).any():
                continue
            if here.instance.box.union(one.box) != one.box:
                continue
            found[label] = replace(_shifted(here, one.box), state="rejected")
        return found

    def _with_other_numbers(
        self, found: Reconciled, own: Mapping[int, PlaneObject], actual: LabelImage
    ) -> Reconciled:
        """Give whoever made way a number that is free on all planes, the same on each."""
        objects, renumbered = dict(found.objects), dict(found.changes.renumbered)
        aside = {o: n for o, n in renumbered.items() if o in own and not (actual == n).any()}
        # all out before one comes back: the numbers of the one may be those of the other
        moved = {old: objects.pop(new) for old, new in aside.items()}
        for old, one in moved.items():
            self._fresh += 1
            other = self._renumbered.get(old, self._fresh)
            # what it became on another plane may be somebody else here
            other = renumbered[old] = self._fresh if other in objects else other
            objects[other] = replace(one, label=other)
        return Reconciled(objects, replace(found.changes, renumbered=renumbered))

    def _add(
        self, one: Look, old: int | None, now: PlaneObject, was: Instance | None = None
    ) -> None:
        if old is not None and now.instance is was:
            instance = one.view.objects[old].instance
        else:
            instance = now.instance.shifted(one.box.top, one.box.left)
        if old is not None and now.label != old:
            self._renumbered[old] = now.label
        self._moves.append(_Move(one.index, old, replace(now, instance=instance), one.is_first))

    def _note(self, changes: Changes, back: Collection[int]) -> None:
        self._kinds["edited"].update(changes.edited)
        self._kinds["erased"].update(set(changes.erased) - set(back))
        self._kinds["added"].update(changes.added)
        self._kinds["returned"].update(changes.returned)

    # ------------------------------------------------------------------ over all planes

    def result(self, looks: Sequence[Look]) -> Taken:
        """Return what became of the objects."""
        left = self._left()
        made: dict[int, LabelledObject | None] = dict.fromkeys(self._former_labels())
        self._make_way(left, made)
        by_label: dict[int, list[_Move]] = defaultdict(list)
        for move in self._moves:
            by_label[move.now.label].append(move)
        for label in sorted(by_label.keys() | (left.keys() & made.keys())):
            made[label] = self._assembled(label, by_label.get(label, []), left.get(label, {}))
        self._keep_order(made)
        for one in looks:
            made |= self._corrected(one, made)
        return self._told(made, looks)

    def _corrected(
        self, one: Look, made: Mapping[int, LabelledObject | None]
    ) -> dict[int, LabelledObject]:
        """Find out what would show something else: a number may mean another on each plane."""
        is_sure = not (self._renumbered or self._kinds["returned"])
        if one.view.rule or (is_sure and not self._is_otherwise_deep(one, made)):
            return {}
        changes = {n: None if o is None else o.on(one.index) for n, o in made.items()}
        objects = {n: o for n, o in {**self._objects, **made}.items() if o is not None}
        hidden = one.view.hidden - made.keys()
        hidden |= {n for n, former in self._former.items() if former in one.view.hidden}
        shown = {n for n, o in objects.items() if self._was_rejected(n) and o.state != "rejected"}
        view = PlaneView(one.view.objects.changed(changes), frozenset(hidden - shown))
        return corrected(objects, one.index, view, one.actual, one.box)

    def _is_otherwise_deep(self, one: Look, made: Mapping[int, LabelledObject | None]) -> bool:
        """Whether something lies above or below others by its parts on other planes."""
        if not one.view.objects:
            return False
        moves = (move for move in self._moves if move.index == one.index)
        pairs = ((move.now.depth, made.get(move.now.label)) for move in moves)
        return any(now is not None and now.depth != depth for depth, now in pairs)

    def _was_rejected(self, label: int) -> bool:
        was = self._objects.get(self._former.get(label, label))
        return was is not None and was.state == "rejected"

    def _former_labels(self) -> set[int]:
        return {move.old for move in self._moves if move.old is not None}

    def _left(self) -> dict[int, dict[PlaneIndex, Part]]:
        """Return the parts of objects concerned on planes where nothing changed."""
        labels = self._former_labels() | {move.now.label for move in self._moves}
        left = {
            label: dict(self._objects[label].parts) for label in labels if label in self._objects
        }
        for move in self._moves:
            if move.old is not None:
                left[move.old].pop(move.index, None)
        return left

    def _make_way(
        self, left: dict[int, dict[PlaneIndex, Part]], made: dict[int, LabelledObject | None]
    ) -> None:
        """Let what nobody sees of an object follow its number, or give way to another."""
        own = {move.now.label for move in self._moves if move.old == move.now.label}
        new = (one for one in self._moves if one.old != one.now.label and not one.is_first)
        painted = {one.now.label for one in new}
        for label in sorted(left.keys() & self._hidden):
            follows = self._renumbered.get(label)
            if follows is None and label in painted - own - self._back and left[label]:
                self._fresh += 1
                follows = self._renumbered[label] = self._fresh
            if follows is not None and left[label]:
                one = self._objects[label]
                parts = {**left.pop(label), **left.pop(follows, {})}
                left[follows] = parts
                made.setdefault(label, None)
                made[follows] = replace(one, label=follows, parts=parts)
                self._former[follows] = label

    def _keep_order(self, made: dict[int, LabelledObject | None]) -> None:
        """Let what lay on top stay there: of equal depth the label decides, and is another now."""
        order = sorted(self._objects.values(), key=lambda one: (one.depth, one.label))
        if not self._renumbered or len({one.depth for one in order}) == len(order):
            return
        ranks = {one.label: rank for rank, one in enumerate(order)}
        added = [one for n, one in made.items() if one is not None and n not in self._former]
        added.sort(key=lambda one: one.depth)
        made |= {n.label: replace(n, depth=i - len(added)) for i, n in enumerate(added)}
        for label, one in {**self._objects, **made}.items():
            former = self._former.get(label) if label in made else label
            if one is not None and former in ranks:
                made[label] = replace(one, depth=ranks[former])

    def _assembled(
        self, label: int, moves: Sequence[_Move], left: Mapping[PlaneIndex, Part]
    ) -> LabelledObject | None:
        base = self._base(label, moves, left)
        parts = dict(left)
        erased = [move for move in moves if base is not None and _is_erased(move, base)]
        is_gone = len(erased) == len(moves) and not left and bool(moves)
        for move in moves:
            if is_gone or move not in erased:
                parts[move.index] = _joined(move.now.part, parts.get(move.index))
        if not parts:
            return None
        if base is not None:
            self._former[label] = base.label
        depth = moves[0].now.depth if base is None else base.depth
        return LabelledObject(label, parts, self._state(base, moves, erased, is_gone), depth)

    def _base(
        self, label: int, moves: Sequence[_Move], left: Mapping[PlaneIndex, Part]
    ) -> LabelledObject | None:
        """Return the object that goes on under a label."""
        own = self._objects.get(label)
        if own is not None and (left or any(move.old == label for move in moves)):
            return own
        if label in self._back:
            return self._undone[label]
        former = [move for move in moves if move.old is not None]
        if former:
            largest = max(former, key=lambda move: move.now.instance.area)
            return None if largest.old is None else self._objects[largest.old]
        renumbered = {new: old for old, new in self._renumbered.items()}
        return self._objects[renumbered[label]] if label in renumbered else None

    def _state(
        self,
        base: LabelledObject | None,
        moves: Sequence[_Move],
        erased: Sequence[_Move],
        is_gone: bool,
    ) -> ReviewState:
        if base is None:
            return "unreviewed" if all(m.is_first for m in moves) else moves[0].now.state
        if is_gone:
            return "rejected"
        if erased:
            return "edited"
        painted = [move for move in moves if not move.is_first]
        states = [move.now.state for move in painted if move.now.state != base.state]
        if not states:
            return base.state
        return "edited" if "edited" in states else states[0]

    # ------------------------------------------------------------------ runs taken back

    def _told(self, made: dict[int, LabelledObject | None], looks: Sequence[Look]) -> Taken:
        undone = {label: one for label, one in self._undone.items() if label not in self._back}
        for label in self._hidden_again(undone, made, looks):
            made[label] = undone.pop(label)
        gone = self._undone_labels(made, looks)
        for label in gone:
            undone[label] = self._objects[label]
            made[self._renumbered.get(label, label)] = None
        shown = {old: new for old, new in self._renumbered.items() if old not in gone}
        return Taken(made, undone, shown, self._words(gone, looks, shown))

    def _hidden_again(
        self, undone: Objects, made: Mapping[int, LabelledObject | None], looks: Sequence[Look]
    ) -> list[int]:
        """Return what nobody sees of runs that are done again: it comes back with the rest."""
        runs = {run for label in self._back for run in _runs_of(self._undone[label])}
        planes = {one.index for one in looks}
        return [
            label
            for label, one in undone.items()
            if runs & _runs_of(one)
            and planes.issuperset(one.parts)
            and made.get(label) is None
            and label not in self._objects
        ]

    def _undone_labels(
        self, made: Mapping[int, LabelledObject | None], looks: Sequence[Look]
    ) -> set[int]:
        erased = {
            label
            for label in made.keys() & self._objects.keys()
            if _has_gone(made[label], self._objects[label])
        } - self._renumbered.keys()
        runs = {run for label in erased for run in _runs_of(self._objects[label])}
        if not runs:
            return set()
        undone = set()
        labels = {n for n, one in self._objects.items() if runs & _runs_of(one)}
        for run in runs:
            own = {n for n in labels if run in _runs_of(self._objects[n])}
            if not any(self._is_seen(n, made, looks) for n in own):
                undone |= own
        return undone

    def _is_seen(
        self, label: int, made: Mapping[int, LabelledObject | None], looks: Sequence[Look]
    ) -> bool:
        was, label = label, self._renumbered.get(label, label)
        one = made[label] if label in made else self._objects[label]
        if one is None or one.state == "rejected" or was in self._hidden:
            return False
        looked_at = {each.index: each for each in looks}
        for index, part in one.parts.items():
            here = looked_at.get(index)
            common = None if here is None else part.instance.box.intersection(here.box)
            if here is None or common is None or label not in {*here.concerned, *made}:
                return True
            area = here.actual[common.shifted(-here.box.top, -here.box.left).slices]
            if (area == label).any():
                return True
        return False

    def _words(
        self, gone: Collection[int], looks: Sequence[Look], renumbered: Mapping[int, int]
    ) -> tuple[str, ...]:
        if all(one.is_first for one in looks):
            return ()
        kinds = {kind: tuple(sorted(labels)) for kind, labels in self._kinds.items()}
        erased = tuple(label for label in kinds.pop("erased", ()) if label not in gone)
        changes = Changes(dict(renumbered), erased=erased, **kinds)
        many = f"{len(gone)} objects" if len(gone) > 1 else "1 object"
        said = (f"A run was undone: {many} left the table.",) if gone else ()
        return (*said, *changes.words)


def _is_other(now: PlaneObject, was: PlaneObject) -> bool:
    # its depth is that of the whole object
    is_same = now.instance is was.instance and (now.label, now.state) == (was.label, was.state)
    return not is_same


def _is_erased(move: _Move, base: LabelledObject) -> bool:
    return move.now.state == "rejected" != base.state


def _has_gone(now: LabelledObject | None, was: LabelledObject) -> bool:
    return now is None or (now.state == "rejected" and was.state != "rejected")


def _runs_of(one: LabelledObject) -> set[str]:
    return {part.source[0] for part in one.parts.values() if part.source is not None}


def _shifted(one: PlaneObject, box: Box) -> PlaneObject:
    return replace(one, instance=one.instance.shifted(-box.top, -box.left))


def _joined(part: Part, other: Part | None) -> Part:
    """Return a part with the pixels of another of the same object."""
    if other is None:
        return part
    return replace(part, instance=part.instance.joined(other.instance))
