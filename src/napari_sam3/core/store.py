"""All objects of a label image, in one place: what else there is to see of them is derived.

Every change is an `Edit`, which knows what it changed and how to take it back, and of which
listeners are told.  What a Labels layer shows, the rows of a table and what files hold follow
from the store; `napari_sam3.core.taking_over` makes an edit of what somebody else painted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from napari_sam3.core.objects import LabelledObject, Part, PlaneObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.plane_objects import PlaneObjects, PlaneView
from napari_sam3.core.viewing import View, crowded_labels, hidden_labels

MOST_STEPS = 200

Objects = Mapping[int, LabelledObject]
"""By label."""

Changes = Mapping[int, LabelledObject | None]
"""By label, what an object is now; None where there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """What changed in a store.

    Parameters
    ----------
    before, after : mapping
        By label, what an object was and what it is now; None where there is none.
    views : tuple of View
        Which objects were shown, and are shown now.
    renumbered : mapping
        Former to present labels of objects that somebody else renumbered.
    planes : frozenset of PlaneIndex
        Those on which an object is another than before.
    """

    before: Changes
    after: Changes
    views: tuple[View, View]
    renumbered: Mapping[int, int] = field(default_factory=dict)
    planes: frozenset[PlaneIndex] = frozenset()

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels of the objects, in rising order."""
        return tuple(sorted(self.after))

    @property
    def shows_others(self) -> bool:
        """Whether other objects are shown, although they are the same as before."""
        return not self.after


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """An edit that the user can take back.

    Parameters
    ----------
    words : str
        What it was, for the line that says what can be taken back.
    before, after : mapping
        As in `Edit`.
    run_ids : tuple of str
        The runs on the layer's record that the step added.
    session : object, optional
        What of the same session follows is the same step.
    """

    words: str
    before: Changes
    after: Changes
    run_ids: tuple[str, ...] = ()
    session: object = None

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels of its objects, in rising order."""
        return tuple(sorted(self.after))

    def followed_by(self, other: Step) -> Step:
        """Return both as one step."""
        before = {**other.before, **self.before}
        after = {**self.after, **other.after}
        return replace(other, before=before, after=after, run_ids=self.run_ids + other.run_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a prompt was answered with.

    Parameters
    ----------
    label : int
        Of the object.
    index : PlaneIndex
    prompt : object
        What was asked for.
    part : Part
        What was found, before anything was painted by hand.
    """

    label: int
    index: PlaneIndex
    prompt: object
    part: Part


class ObjectStore:
    """All objects of a label image.

    Parameters
    ----------
    shape : tuple of int
        Of the label image.
    objects : iterable of LabelledObject
        No two of one label.  The label image shows them already.
    view : View, optional
        Which of them are shown.

    Attributes
    ----------
    painted : dict
        By plane, what the label image shows of it, kept by whoever writes it; nothing where a
        plane is missing.  What differs from that was painted by somebody else.
    painting : dict
        By plane, what is just being painted in its place, part by part.
    undone : dict
        By label, objects of runs that were taken back; they come back with a redo.
    asked : dict
        By what a prompt is known by, what it was answered with.
    owner : hashable
        Which layer it is of, if it is of one.
    aside : list of LabelledObject
        Objects of a label image of another shape that was in the layer before.

    Raises
    ------
    ValueError
        If an object lies on a plane that the image does not have, or outside of it, or a
        label is there twice or below 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        objects: Iterable[LabelledObject] = (),
        view: View | None = None,
    ) -> None:
        self._shape = tuple(int(size) for size in shape)
        self._objects: dict[int, LabelledObject] = {}
        self._planes: dict[PlaneIndex, PlaneObjects] = {}
        self._view = view or View()
        self._intended: View | None = None
        self._crowded: frozenset[int] = frozenset()
        self._hidden: frozenset[int] = frozenset()
        self._steps: list[Step] = []
        self._version = 0
        self._listeners: list[Callable[[Edit], object]] = []
        self.painted: dict[PlaneIndex, PlaneView] = {}
        self.painting: dict[PlaneIndex, PlaneView] = {}
        self.undone: dict[int, LabelledObject] = {}
        self.asked: dict[Hashable, Asked] = {}
        self.owner: Hashable = None
        self.aside: list[LabelledObject] = []
        listed = list(objects)
        if len({one.label for one in listed}) < len(listed):
            raise ValueError("two objects have the same label")
        self._put({one.label: one for one in listed})
        if self._view.max_iom < 1:
            planes = self._planes.values()
            self._crowded = crowded_labels(self._objects, planes, self._view, self.plane_shape)
            self._hidden |= self._crowded
        self.painted = {index: self.view_of(index) for index in self._planes}

    def __len__(self) -> int:
        return len(self._objects)

    # ------------------------------------------------------------------ what there is

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the label image."""
        return self._shape

    @property
    def objects(self) -> Objects:
        """All objects, by label; a view that follows."""
        return MappingProxyType(self._objects)

    @property
    def version(self) -> int:
        """Counts up with every change."""
        return self._version

    @property
    def planes(self) -> tuple[PlaneIndex, ...]:
        """The planes that are known: that hold objects, or were looked at."""
        return tuple(self._planes)

    @property
    def view(self) -> View:
        """Which objects are to be shown, and what lies on top."""
        return self._intended or self._view

    @property
    def intended(self) -> View | None:
        """The view that is to be shown, as long as it is not found out what it hides."""
        return self._intended

    @property
    def crowded(self) -> frozenset[int]:
        """The labels of objects that `View.max_iom` leaves out."""
        return self._crowded

    @property
    def hidden(self) -> frozenset[int]:
        """The labels of all objects that are not shown, rejected ones included."""
        return self._hidden

    @property
    def highest_label(self) -> int:
        """The highest label in use, also by runs that were taken back; 0 if there is none."""
        return max(max(self._objects, default=0), max(self.undone, default=0))

    @property
    def reviewed(self) -> tuple[int, int]:
        """How many objects are reviewed, of how many."""
        states = [one.state for one in self._objects.values()]
        return sum(state != "unreviewed" for state in states), len(states)

    @property
    def next_depth(self) -> int:
        """Below all objects."""
        return max((one.depth for one in self._objects.values()), default=0) + 1

    def knows(self, index: PlaneIndex) -> bool:
        """Whether a plane is known."""
        return index in self._planes

    def on(self, index: PlaneIndex) -> PlaneObjects:
        """Return the objects of a plane as they are now."""
        return self._planes.get(index, _NONE)

    def view_of(self, index: PlaneIndex) -> PlaneView:
        """Return what a plane shows of its objects as they are now."""
        return PlaneView(self.on(index), self._hidden, self._view.rule)

    def plane_shape(self, index: PlaneIndex) -> tuple[int, int]:
        """Return (rows, cols) of a plane."""
        rows, cols = (self._shape[axis] for axis in index.shown)
        return rows, cols

    def find_index(self, index: PlaneIndex) -> PlaneIndex:
        """Return the plane as it is on record, whose rows may be the columns that are shown."""
        turned = PlaneIndex((index.shown[1], index.shown[0]), index.fixed)
        return turned if index not in self._planes and turned in self._planes else index

    def crosses(self, index: PlaneIndex) -> bool:
        """Whether a plane that is not on record runs across others that are.

        Its pixels are theirs, so that each object would be counted once more.
        """
        filled = [known for known, objects in self._planes.items() if objects]
        return index not in filled and any(set(i.shown) != set(index.shown) for i in filled)

    # ------------------------------------------------------------------ changes

    def edit(
        self,
        changes: Changes,
        *,
        words: str = "",
        run_ids: tuple[str, ...] = (),
        session: object = None,
        renumbered: Mapping[int, int] | None = None,
    ) -> Edit:
        """Put objects in place of those of the same labels.

        Parameters
        ----------
        changes : mapping
            By label; None takes an object away.
        words : str
            What the user did, who can take it back with `undo`; empty for what is not the
            user's to take back here.
        run_ids, session
            As in `Step`.
        renumbered : mapping, optional
            As in `Edit`.

        Raises
        ------
        ValueError
            As the class; nothing is changed then.
        """
        before = {label: self._objects.get(label) for label in changes}
        planes = self._put(changes)
        if changes and self._view.max_iom < 1:
            # who gives way to whom may be another now
            self._intended = self.view
        if words:
            self._note(Step(words, before, dict(changes), run_ids, session))
        if renumbered:
            self.forget_steps({*renumbered, *renumbered.values()})
            self.asked = {
                key: replace(one, label=renumbered.get(one.label, one.label))
                for key, one in self.asked.items()
            }
        views = (self._view, self._view)
        return self._tell(Edit(before, dict(changes), views, dict(renumbered or {}), planes))

    def look_at(self, index: PlaneIndex) -> None:
        """Note that a plane was looked at: from now on what differs there was painted."""
        self._planes.setdefault(index, _NONE)

    def intend(self, view: View) -> None:
        """Say what is to be shown, and leave it to others to find out what that hides."""
        self._intended = view
        self._version += 1

    def show_intended(self) -> None:
        """Show what is intended; of very many objects it takes long to find out."""
        view, self._intended = self._intended, None
        if view is not None:
            planes = self._planes.values()
            self.show(view, crowded_labels(self._objects, planes, view, self.plane_shape))

    def show(
        self,
        view: View,
        crowded: Collection[int] = (),
        hidden: frozenset[int] | None = None,
    ) -> Edit:
        """Show other objects.

        Parameters
        ----------
        view : View
        crowded : collection of int
            Labels of the objects that `View.max_iom` leaves out
            (`napari_sam3.core.viewing.crowded_labels`).
        hidden : frozenset of int, optional
            Labels of all objects that are not shown; found here if not given, which takes
            long for very many.
        """
        before, self._view, self._crowded = self._view, view, frozenset(crowded)
        self._intended = None
        if hidden is None:
            hidden = hidden_labels(self._objects, view, self.plane_shape) | self._crowded
        self._hidden = hidden
        return self._tell(Edit({}, {}, (before, view)))

    def reshape(self, shape: Sequence[int]) -> None:
        """Begin anew, as the label image is of another shape; its objects are set aside."""
        self.aside += self._objects.values()
        self._objects, self._planes, self._steps = {}, {}, []
        self._hidden = self._crowded = frozenset()
        self._shape = tuple(shape)
        self.painted, self.painting, self.undone, self.asked = {}, {}, {}, {}
        self._version += 1

    def copied(self) -> ObjectStore:
        """Return a store of the same objects that can be changed by itself."""
        made = ObjectStore(self._shape, view=self._view)
        made._objects, made._planes = dict(self._objects), dict(self._planes)
        made._crowded, made._hidden = self._crowded, self._hidden
        made._intended = self._intended
        made.painted, made.painting = dict(self.painted), dict(self.painting)
        made.undone = dict(self.undone)
        return made

    def connect(self, listener: Callable[[Edit], object]) -> None:
        """Tell this of every edit from now on."""
        self._listeners.append(listener)

    def disconnect(self, listener: Callable[[Edit], object]) -> None:
        """Tell it no more."""
        self._listeners = [one for one in self._listeners if one != listener]

    # ------------------------------------------------------------------ steps

    @property
    def undo_words(self) -> str:
        """What `undo` would take back; empty if there is nothing."""
        return self._steps[-1].words if self._steps else ""

    def undo(self) -> Step | None:
        """Take the last step back; return it, or None if there is none.

        What was painted since on a plane stays.
        """
        if not self._steps:
            return None
        step = self._steps.pop()
        back = {}
        for label, before in step.before.items():
            now = self._objects.get(label)
            if now is not None and before is not None:
                back[label] = _back(now, before, step.after[label])
        self.edit(back)
        return step

    def forget_steps(self, labels: Collection[int]) -> None:
        """Let go of the steps on labels that mean other objects now."""
        self._steps = [step for step in self._steps if not step.after.keys() & set(labels)]

    def _note(self, step: Step) -> None:
        last = self._steps[-1] if self._steps else None
        if last is not None and step.session is not None and last.session is step.session:
            self._steps[-1] = last.followed_by(step)
        else:
            self._steps = [*self._steps, step][-MOST_STEPS:]

    # ------------------------------------------------------------------ inside

    def _put(self, changes: Changes) -> frozenset[PlaneIndex]:
        """Put objects in place of others; return on which planes that changes something."""
        self._refuse_misfit(changes)
        by_plane: dict[PlaneIndex, dict[int, PlaneObject | None]] = {}
        for label, new in changes.items():
            old = self._objects.get(label)
            for index in _changed_planes(old, new):
                one = None if new is None else new.on(index)
                by_plane.setdefault(index, {})[label] = one
        for index, plane in by_plane.items():
            self._planes[index] = self.on(index).changed(plane)
        for label, new in changes.items():
            if new is None:
                self._objects.pop(label, None)
            else:
                self._objects[label] = new
        hidden = self._hidden_of(changes)
        shown = changes.keys() - hidden
        if shown & self._hidden or hidden - self._hidden:
            self._hidden = (self._hidden - shown) | hidden
        return frozenset(by_plane)

    def _hidden_of(self, changes: Changes) -> frozenset[int]:
        there = {label: one for label, one in changes.items() if one is not None}
        crowded = self._crowded & there.keys()
        return hidden_labels(there, self._view, self.plane_shape) | crowded

    def _refuse_misfit(self, changes: Changes) -> None:
        shapes: dict[PlaneIndex, tuple[int, int]] = {}
        for label, one in changes.items():
            if one is None:
                continue
            if label != one.label or label < 1:
                raise ValueError(f"an object has the label {one.label}, in the place of {label}")
            if not one.parts:
                raise ValueError(f"object {label} lies on no plane")
            old = self._objects.get(label)
            known = _NO_PARTS if old is None else old.parts
            for index, part in one.parts.items():
                if known.get(index) is part:
                    continue
                rows, cols = shapes.get(index) or shapes.setdefault(index, self._shape_of(index))
                box = part.instance.box
                if box.top < 0 or box.left < 0 or box.bottom > rows or box.right > cols:
                    raise ValueError(f"{box} lies outside a plane of shape {(rows, cols)}")

    def _shape_of(self, index: PlaneIndex) -> tuple[int, int]:
        """Return (rows, cols) of a plane that the image must have."""
        rest = iter(index.fixed)
        if index.ndim != len(self._shape) or any(
            not 0 <= next(rest) < size
            for axis, size in enumerate(self._shape)
            if axis not in index.shown
        ):
            raise ValueError(f"labels of shape {self._shape} have no plane {index}")
        return self.plane_shape(index)

    def _tell(self, edit: Edit) -> Edit:
        self._version += 1
        for listener in list(self._listeners):
            listener(edit)
        return edit


_NONE = PlaneObjects()
_NO_PARTS: Mapping[PlaneIndex, Part] = {}


def _changed_planes(
    old: LabelledObject | None, new: LabelledObject | None
) -> Collection[PlaneIndex]:
    """Return the planes that have something else of an object than before."""
    before = _NO_PARTS if old is None else old.parts
    after = _NO_PARTS if new is None else new.parts
    if old is None or new is None or (old.state, old.depth) != (new.state, new.depth):
        return before if new is None else after if old is None else {*before, *after}
    changed = {index for index, part in after.items() if before.get(index) is not part}
    return changed | (before.keys() - after.keys())


def _back(
    now: LabelledObject, before: LabelledObject, after: LabelledObject | None
) -> LabelledObject:
    """Return an object as it was before a step, but for what was painted since."""
    left: Mapping[PlaneIndex, Part] = {} if after is None else after.parts
    untouched = {index for index, part in now.parts.items() if left.get(index) is part}
    parts = {
        **{index: part for index, part in now.parts.items() if index not in untouched},
        **{index: part for index, part in before.parts.items() if index in untouched},
    }
    return replace(now, parts=parts or now.parts, state=before.state)
