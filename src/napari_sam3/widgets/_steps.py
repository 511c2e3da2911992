"""The steps of a review, and how each is taken back."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_sam3.core.objects import LabelledObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.layers.objects import ObjectRecord

MOST_STEPS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one key press did.

    Parameters
    ----------
    words : str
        What it was, for the button that takes it back.
    index : PlaneIndex
    before, after : dict
        Label to the object as it was and as the step left it.
    run_ids : tuple of str
        The runs on the layer's record that the step added.
    """

    words: str
    index: PlaneIndex
    before: dict[int, LabelledObject]
    after: dict[int, LabelledObject]
    run_ids: tuple[str, ...] = ()


class Steps:
    """The steps that can still be taken back, the last one first.

    Parameters
    ----------
    record : ObjectRecord
        Changed by each step.
    """

    def __init__(self, record: ObjectRecord) -> None:
        self.record = record
        self._done: list[Step] = []

    def __len__(self) -> int:
        return len(self._done)

    @property
    def next_words(self) -> str:
        """What *Undo* would take back; empty if there is nothing."""
        return self._done[-1].words if self._done else ""

    def do(self, step: Step) -> None:
        """Put a step's objects into the record."""
        self.record.change(step.index, step.after)
        self._done = [*self._done, step][-MOST_STEPS:]

    def extend(self, after: dict[int, LabelledObject], run_id: str) -> None:
        """Let the last step end with other objects: it went on."""
        last = self._done[-1]
        self.record.change(last.index, after)
        self._done[-1] = replace(last, after=after, run_ids=(*last.run_ids, run_id))

    def undo(self) -> Step | None:
        """Take the last step back; return it, or None if there is none."""
        if not self._done:
            return None
        step = self._done.pop()
        plane = self.record.planes.get(step.index)
        now = {} if plane is None else plane.objects
        back = {
            label: _back(now[label], step.before[label], step.after[label])
            for label in step.before
            if label in now
        }
        if back:
            self.record.change(step.index, back)
        return step

    def forget(self) -> None:
        """Let go of all steps: the numbers that they speak of mean other objects now."""
        self._done = []


def _back(now: LabelledObject, before: LabelledObject, after: LabelledObject) -> LabelledObject:
    # what was painted by hand since stays
    return before if now.instance is after.instance else replace(now, state=before.state)
