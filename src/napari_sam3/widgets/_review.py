"""The review of a layer's objects: what is chosen, what is said of it, what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qtpy.QtCore import QObject, Signal

from napari_sam3.core.objects import LabelledObject, PlaneObject, ReviewState
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore, Step
from napari_sam3.widgets._keeping import Keeper

WORDS: dict[ReviewState, str] = {"accepted": "accept", "rejected": "reject"}


class Review(QObject):
    """Decides on objects of one layer, step by step.

    Parameters
    ----------
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

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._keeper: Keeper | None = None
        self._current: tuple[int, ...] = ()

    def follow(self, keeper: Keeper | None) -> None:
        """Review the layer of this keeper from now on."""
        self._keeper = keeper
        self._current = ()
        self.stepped.emit()

    @property
    def store(self) -> ObjectStore | None:
        """The objects of the layer."""
        return None if self._keeper is None else self._keeper.store

    @property
    def current(self) -> tuple[int, ...]:
        """The labels of the objects that keys act on."""
        return self._current

    @property
    def undo_words(self) -> str:
        """What would be taken back; empty if there is nothing."""
        return "" if self.store is None else self.store.undo_words

    @property
    def reviewed(self) -> tuple[int, int]:
        """How many objects are reviewed, of how many."""
        return (0, 0) if self.store is None else self.store.reviewed

    def objects(self, labels: Sequence[int]) -> list[tuple[PlaneIndex, PlaneObject]]:
        """Return what a plane has of the objects that labels stand for, the shown one if it can."""
        store, visible = self.store, self._visible()
        found = []
        for label in labels:
            one = None if store is None else store.objects.get(label)
            if one is not None:
                index = visible if visible in one.parts else min(one.parts, key=_position)
                here = None if index is None else one.on(index)
                found += [] if index is None or here is None else [(index, here)]
        return found

    def _visible(self) -> PlaneIndex | None:
        return None if self._keeper is None else self._keeper.visible

    def choose(self, labels: Sequence[int], *, quiet: bool = False) -> None:
        """Make objects the current ones."""
        self._current = tuple(labels)
        if not quiet:
            self.chosen.emit(self._current)

    def decide(self, state: ReviewState) -> tuple[int, ...]:
        """Say something of the current objects, and go on; return their labels."""
        store = self.store
        objects: Mapping[int, LabelledObject] = {} if store is None else store.objects
        after = {n: replace(objects[n], state=state) for n in self._current if n in objects}
        if store is not None and after:
            store.edit(after, words=f"{WORDS[state]} {_numbers(tuple(after))}")
            self.stepped.emit()
            self.move(1)
        return tuple(after)

    def undo(self) -> Step | None:
        """Take the last step back, and make its objects the current ones."""
        step = None if self.store is None else self.store.undo()
        if step is not None:
            self.stepped.emit()
            self.choose(step.labels)
        return step

    def move(self, by: int) -> bool:
        """Go to the next doubtful object that nobody has reviewed, or back to the one before.

        Returns
        -------
        bool
            False if none is left.
        """
        order, store = self._order(), self.store
        if not order or store is None:
            return False
        here = next((order.index(label) for label in self._current if label in order), None)
        start = (-1 if by > 0 else 0) if here is None else here
        around = [order[(start + by * step) % len(order)] for step in range(1, len(order) + 1)]
        # back is where one came from, reviewed or not
        for label in around:
            if by < 0 or store.objects[label].state == "unreviewed":
                self.choose((label,))
                return True
        self.choose(())
        return False

    def _order(self) -> list[int]:
        """Return the labels of the plane from the most to the least doubtful."""
        keeper, visible = self._keeper, self._visible()
        facts = None if keeper is None else keeper.facts(visible)
        if keeper is None or facts is None:
            return []
        return [label for label in facts.doubtful if label in keeper.store.objects]


def _position(index: PlaneIndex) -> tuple[int, ...]:
    return index.fixed


def _numbers(labels: Sequence[int]) -> str:
    few = ", ".join(str(label) for label in labels[:3])
    return few if len(labels) <= 3 else f"{len(labels)} objects"
