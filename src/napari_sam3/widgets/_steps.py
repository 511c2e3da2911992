"""The steps of a review, and how each is taken back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from napari.layers import Labels

from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.layers.objects import ObjectRecord

MOST_STEPS = 200

Objects = Mapping[int, PlaneObject]


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What a step did on one plane.

    Parameters
    ----------
    index : PlaneIndex
    before, after : mapping
        Label to the object as it was and as the step left it.
    """

    index: PlaneIndex
    before: Objects
    after: Objects


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one key press did.

    Parameters
    ----------
    words : str
        What it was, for the line that says what can be taken back.
    changes : tuple of Change
        One for each plane.
    run_ids : tuple of str
        The runs on the layer's record that the step added.
    session : object, optional
        What of the same session follows is the same step.
    """

    words: str
    changes: tuple[Change, ...]
    run_ids: tuple[str, ...] = ()
    session: object = None

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels of its objects."""
        return tuple(label for change in self.changes for label in change.before)


class Steps:
    """The steps on a layer that can still be taken back, the last one first.

    Parameters
    ----------
    layer : Labels
        Its record is changed by each step.
    """

    def __init__(self, layer: Labels) -> None:
        self._layer = layer
        self._done: list[Step] = []

    @property
    def record(self) -> ObjectRecord:
        """The record of the layer, as it is now."""
        return ObjectRecord.of(self._layer)

    @property
    def next_words(self) -> str:
        """What *Undo* would take back; empty if there is nothing."""
        return self._done[-1].words if self._done else ""

    def do(self, step: Step) -> None:
        """Put a step's objects into the record."""
        for change in step.changes:
            self.record.change(change.index, change.after)
        last = self._done[-1] if self._done else None
        if last is not None and step.session is not None and last.session is step.session:
            (old,), (new,) = last.changes, step.changes
            joined = replace(new, before=old.before)
            run_ids = (*last.run_ids, *step.run_ids)
            self._done[-1] = replace(step, changes=(joined,), run_ids=run_ids)
        else:
            self._done = [*self._done, step][-MOST_STEPS:]

    def undo(self) -> Step | None:
        """Take the last step back; return it, or None if there is none."""
        if not self._done:
            return None
        step = self._done.pop()
        for change in step.changes:
            plane = self.record.planes.get(change.index)
            now = {} if plane is None else plane.objects
            back = {
                label: _back(now[label], old, change.after[label])
                for label, old in change.before.items()
                if label in now
            }
            if back:
                self.record.change(change.index, back)
        return step

    def forget(self, labels: Collection[int]) -> None:
        """Let go of the steps on labels that mean other objects now."""
        self._done = [step for step in self._done if not set(step.labels) & set(labels)]


def _back(now: PlaneObject, before: PlaneObject, after: PlaneObject) -> PlaneObject:
    # what was painted by hand since stays
    return before if now.instance is after.instance else replace(now, state=before.state)
