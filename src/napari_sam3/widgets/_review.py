"""The review of a layer's objects: what is chosen, what is said of it, what comes next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_sam3.core.objects import PlaneObject, ReviewState
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.viewing import View
from napari_sam3.layers.objects import ObjectRecord
from napari_sam3.widgets._keeping import Keeper
from napari_sam3.widgets._steps import Change, Step, Steps

WORDS: dict[ReviewState, str] = {"accepted": "accept", "rejected": "reject"}


class Review(QObject):
    """Decides on objects of one layer, step by step.

    Parameters
    ----------
    keeper : Keeper
        Brings the layer in step after each change.
    parent : QObject, optional

    Signals
    -------
    chosen(tuple of int)
        Other objects are the current ones.
    stepped()
        A step was done, or taken back.
    """

    chosen = Signal(object)
    stepped = Signal()

    def __init__(self, keeper: Keeper, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._keeper = keeper
        self._steps: Steps | None = None
        self._index: PlaneIndex | None = None
        self._current: tuple[int, ...] = ()

    def follow(self, layer: Labels | None) -> None:
        """Review this layer from now on; steps of the one before cannot be taken back."""
        self._steps = None if layer is None else Steps(layer)
        self._current = ()
        self.stepped.emit()

    def show_plane(self, index: PlaneIndex | None) -> None:
        """Say which plane is on the screen."""
        self._index = index

    @property
    def record(self) -> ObjectRecord | None:
        """The record of the layer."""
        return None if self._steps is None else self._steps.record

    @property
    def current(self) -> tuple[int, ...]:
        """The labels of the objects that keys act on."""
        return self._current

    @property
    def undo_words(self) -> str:
        """What would be taken back; empty if there is nothing."""
        return "" if self._steps is None else self._steps.next_words

    @property
    def reviewed(self) -> tuple[int, int]:
        """How many objects are reviewed, of how many."""
        states = [one.state for one in self.record.all_objects()] if self.record else []
        return sum(state != "unreviewed" for state in states), len(states)

    def objects(self, labels: Sequence[int]) -> list[tuple[PlaneIndex, PlaneObject]]:
        """Return the objects that labels stand for, those of the shown plane first."""
        record = self.record
        if record is None:
            return []
        found = []
        for label in labels:
            planes = sorted(record.planes_of(label), key=lambda index: index != self._index)
            found += [(index, record.planes[index].objects[label]) for index in planes[:1]]
        return found

    def choose(self, labels: Sequence[int], *, quiet: bool = False) -> None:
        """Make objects the current ones."""
        self._current = tuple(labels)
        if not quiet:
            self.chosen.emit(self._current)

    def decide(self, state: ReviewState) -> tuple[int, ...]:
        """Say something of the current objects, and go on; return their labels."""
        pairs = self.objects(self._current)
        changes = []
        for index in dict.fromkeys(index for index, _ in pairs):
            before = {one.label: one for own, one in pairs if own == index}
            after = {label: replace(one, state=state) for label, one in before.items()}
            changes.append(Change(index, before, after))
        if changes:
            labels = [one.label for _, one in pairs]
            self.do(Step(f"{WORDS[state]} {_numbers(labels)}", tuple(changes)))
        if pairs:
            self.move(1)
        return tuple(one.label for _, one in pairs)

    def do(self, step: Step) -> None:
        """Do a step."""
        if self._steps is not None:
            self._steps.do(step)
            self._sync(step)

    def _sync(self, step: Step) -> None:
        for change in step.changes:
            self._keeper.sync(change.index)
        self.stepped.emit()

    def undo(self) -> Step | None:
        """Take the last step back, and make its objects the current ones."""
        step = None if self._steps is None else self._steps.undo()
        if step is not None:
            self._sync(step)
            self.choose(step.labels)
        return step

    def forget_steps(self, labels: Collection[int]) -> None:
        """Let go of steps on these labels: they mean other objects now."""
        if self._steps is not None:
            self._steps.forget(labels)
            self.stepped.emit()

    def move(self, by: int) -> bool:
        """Go to the next doubtful object that nobody has reviewed, or back to the one before.

        Returns
        -------
        bool
            False if none is left.
        """
        order, record = self._order(), self.record
        if not order or record is None or self._index is None:
            return False
        objects = record.planes[self._index].objects
        here = next((order.index(label) for label in self._current if label in order), None)
        start = (-1 if by > 0 else 0) if here is None else here
        around = [order[(start + by * step) % len(order)] for step in range(1, len(order) + 1)]
        # back is where one came from, reviewed or not
        for label in around:
            if by < 0 or objects[label].state == "unreviewed":
                self.choose((label,))
                return True
        self.choose(())
        return False

    def _order(self) -> list[int]:
        """Return the labels of the plane from the most to the least doubtful."""
        record, index = self.record, self._index
        if record is None or index is None or index not in record.planes:
            return []
        latest, objects = self._keeper.latest(index), record.planes[index].objects
        return [label for label in latest.doubtful if label in objects] if latest else []

    def set_view(self, view: View) -> None:
        """Show other objects; the record stays as it is."""
        record = self.record
        if record is not None and record.view != view:
            record.view = view
            record.version += 1
            self._keeper.sync_all()


def _numbers(labels: Sequence[int]) -> str:
    few = ", ".join(str(label) for label in labels[:3])
    return few if len(labels) <= 3 else f"{len(labels)} objects"
