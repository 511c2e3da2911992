"""A Labels layer that shows a store: the only place where its pixels are written.

An edit of the store is painted where it changes something, a few milliseconds at a time.  A pixel
that is other than it was painted was painted by somebody else: it is left alone until it was
looked at and taken over into the store, as an edit like any other.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels

from napari_sam3.core.arrays import LabelImage
from napari_sam3.core.geometry import Box
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.plane_objects import PlaneObjects, PlaneView
from napari_sam3.core.store import Edit, ObjectStore
from napari_sam3.core.taking_over import Look, Taken

STEP_S = 0.008
"""Of the window's thread, in one go."""

CELL = (256, 512)
"""Rows and columns that are painted in one go."""


_NOTHING = PlaneView(PlaneObjects())


class Showing:
    """Paints what a store says into a layer.

    Parameters
    ----------
    layer : Labels
        Its data must be a plain array.
    store : ObjectStore
        Of the same shape.  Its `painted` and `painting` are kept here.
    """

    def __init__(self, layer: Labels, store: ObjectStore) -> None:
        self.layer = layer
        self.store = store
        # what was edited while nobody painted is painted now
        self._stale = {i for i in store.planes if self.painted(i).differing(store.view_of(i))}
        self._stale |= store.painting.keys()
        self._is_writing = False
        store.connect(self._on_edit)

    def close(self) -> None:
        """Follow the store no more."""
        self.store.disconnect(self._on_edit)

    @property
    def is_writing(self) -> bool:
        """Whether the layer's events tell of our own writing."""
        return self._is_writing

    @property
    def stale(self) -> frozenset[PlaneIndex]:
        """The planes on which something is still to be painted."""
        return frozenset(self._stale)

    @property
    def fits(self) -> bool:
        """Whether the layer still has the store's shape."""
        return bool(self.layer.data.shape == self.store.shape)

    def painted(self, index: PlaneIndex) -> PlaneView:
        """Return what was painted on a plane."""
        return self.store.painted.get(index, _NOTHING)

    def _on_edit(self, edit: Edit) -> None:
        self._stale |= set(self.store.planes) if edit.shows_others else edit.planes

    # ------------------------------------------------------------------ painting

    def iter_paint(
        self, index: PlaneIndex, *, history: bool = False
    ) -> Generator[None, None, bool]:
        """Paint what the store says of a plane where it was painted otherwise.

        Between two steps the window may live.  What somebody else painted is left alone.

        Parameters
        ----------
        index : PlaneIndex
        history : bool
            Whether napari's undo can take it back, as one step.

        Yields
        ------
        None
            Every few milliseconds.

        Returns
        -------
        bool
            Whether a pixel was changed.

        Raises
        ------
        IndexError
            If the layer has no such plane any more.
        """
        # closed and not left: what is written can be undone even if painting is broken off
        with closing(ExitStack()) as one_step:
            if history:
                one_step.enter_context(self.layer.block_history())
            return (yield from self._iter_paint(index, history))

    def _iter_paint(self, index: PlaneIndex, history: bool) -> Generator[None, None, bool]:
        target, before = self.store.view_of(index), self.painted(index)
        # something else was being painted, which nobody went on with
        begun = self.store.painting.get(index, before)
        self._stale.discard(index)
        self._make_room(target)
        self.store.painting[index] = target
        is_changed, started = False, time.perf_counter()
        sides = np.concatenate([_sides(before, target), _sides(before, begun)])
        for box in _cells(sides):
            self._refuse_other_shape()
            now = index.cut(self.layer.data)[box.slices]
            new = target.paint(box, now.dtype)
            where = now != new
            if where.any():
                is_ours = now == before.paint(box, now.dtype)
                if begun is not before:
                    is_ours |= now == begun.paint(box, now.dtype)
                is_changed |= self._write(index, box, new, where & is_ours, history)
            if time.perf_counter() - started > STEP_S:
                yield
                started = time.perf_counter()
        self.store.painted[index] = target
        self.store.painting.pop(index, None)
        if is_changed and not history:
            self._refresh()
        return is_changed

    def iter_take(self, looks: Sequence[Look], taken: Taken) -> Generator[None, None, None]:
        """Make an edit of what somebody else painted, and paint what that changes there.

        The edit is made before the first step; between two of them the window may live.

        Parameters
        ----------
        looks : sequence of Look
            At the store as it is now.
        taken : Taken
            What became of the objects by them.

        Yields
        ------
        None
            Every few milliseconds.

        Raises
        ------
        IndexError
            As `iter_paint`.
        """
        self.store.undone = dict(taken.undone)
        stale = set(self._stale)
        if taken.changes:
            self.store.edit(taken.changes, renumbered=taken.renumbered)
        for one in looks:
            self.store.look_at(one.index)
            target = self.store.view_of(one.index)
            self._make_room(target)
            own = one.concerned | taken.changes.keys()
            self.store.painted[one.index] = _partly(self.painted(one.index), target, own)
        is_changed = False
        for one in looks:
            is_changed |= yield from self._iter_put_right(one)
            target = self.store.view_of(one.index)
            if one.index not in stale and not self.painted(one.index).differing(target):
                self.store.painted[one.index] = target
                self._stale.discard(one.index)
        if is_changed:
            self._refresh()

    def _iter_put_right(self, one: Look) -> Generator[None, None, bool]:
        """Paint what is as it was looked at, and is to be otherwise; whether anything was."""
        view = self.painted(one.index)
        is_changed, started = False, time.perf_counter()
        box = one.box
        for cell in _cells(np.array([(box.top, box.left, box.bottom, box.right)])):
            self._refuse_other_shape()
            now = one.index.cut(self.layer.data)[cell.slices]
            actual = one.actual[cell.shifted(-box.top, -box.left).slices]
            new = view.paint(cell, now.dtype)
            where = (now == actual) & (now != new) & (now >= 0)
            is_changed |= self._write(one.index, cell, new, where, history=False)
            if time.perf_counter() - started > STEP_S:
                yield
                started = time.perf_counter()
        return is_changed

    def _refuse_other_shape(self) -> None:
        if not self.fits:
            raise IndexError(f"the layer has the shape {self.layer.data.shape} now")

    def _write(
        self,
        index: PlaneIndex,
        box: Box,
        values: LabelImage,
        where: npt.NDArray[np.bool_],
        history: bool,
    ) -> bool:
        if not where.any():
            return False
        self._is_writing = True
        try:
            if history:
                rows, cols = np.nonzero(where)
                pixels = index.indices(rows + box.top, cols + box.left)
                self.layer.data_setitem(pixels, values[where])
            else:
                index.cut(self.layer.data)[box.slices][where] = values[where]
        finally:
            self._is_writing = False
        return True

    def _refresh(self) -> None:
        self._is_writing = True
        try:
            self.layer.refresh(extent=False)
        finally:
            self._is_writing = False

    def _make_room(self, view: PlaneView) -> None:
        """Widen the layer's type where a label that is shown does not fit in it."""
        own = self.layer.data.dtype
        labels = view.objects.labels
        highest = int(labels[-1]) if len(labels) else 0
        if highest <= np.iinfo(own).max:
            return
        highest = max((n for n in labels.tolist() if view.shows(n)), default=0)
        # signed ones stay signed, as there may be negative labels
        for dtype in (own, *(np.dtype(f"{own.kind}{size}") for size in (2, 4, 8))):
            if highest <= np.iinfo(dtype).max:
                break
        if dtype != own:
            self._is_writing = True
            try:
                self.layer.data = self.layer.data.astype(dtype)
            finally:
                self._is_writing = False


def _partly(before: PlaneView, target: PlaneView, labels: Iterable[int]) -> PlaneView:
    """Return what was painted, but for some objects as they are to be painted now."""
    listed = set(labels)
    changes = {n: target.objects.get(n) for n in listed}
    hidden = (before.hidden - listed) | (target.hidden & listed)
    return PlaneView(before.objects.changed(changes), hidden, before.rule)


def _sides(before: PlaneView, target: PlaneView) -> npt.NDArray[np.int64]:
    """Return the sides of boxes that hold all pixels which two views show otherwise."""
    labels = before.differing(target)
    shown = [view.objects.sides(list(filter(view.shows, labels))) for view in (before, target)]
    return np.concatenate(shown)


def _cells(sides: npt.NDArray[np.int64]) -> Iterator[Box]:
    """Yield boxes that cover the same pixels, each of them once, none of them large.

    Parameters
    ----------
    sides : ndarray of int, shape (n, 4)
        Top, left, bottom and right of boxes.
    """
    size = np.array(CELL)
    first, last = sides[:, :2] // size, (sides[:, 2:] - 1) // size
    # a box once for each of the cells that it meets
    across = (last - first + 1)[:, 1]
    counts = (last - first + 1).prod(axis=1)
    of = np.repeat(np.arange(len(sides)), counts)
    steps = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    cells = first[of] + np.stack([steps // across[of], steps % across[of]], axis=1)
    near = np.maximum(sides[of, :2], cells * size)
    far = np.minimum(sides[of, 2:], (cells + 1) * size)
    _, which = np.unique(cells, axis=0, return_inverse=True)
    order = np.argsort(which.reshape(-1), kind="stable")
    starts = np.flatnonzero(np.diff(which.reshape(-1)[order], prepend=-1))
    if len(starts):
        near = np.minimum.reduceat(near[order], starts)
        far = np.maximum.reduceat(far[order], starts)
        yield from (Box(*box) for box in np.concatenate([near, far], axis=1).tolist())


def painted_regions(
    atoms: Iterable[Any], shown: tuple[int, int], shape: Sequence[int]
) -> dict[PlaneIndex, Box]:
    """Return in which part of which planes a paint event changed something.

    Parameters
    ----------
    atoms : iterable
        The value of the `paint` event of a Labels layer: each is a tuple that begins with an
        index of the data, of slices or of arrays.
    shown : tuple of int
        The axes that are a plane's rows and columns.
    shape : sequence of int
        Of the data.
    """
    regions: dict[PlaneIndex, Box] = {}
    for atom in atoms:
        spans = [_span(one, size) for one, size in zip(atom[0], shape, strict=True)]
        if any(low >= high for low, high in spans):
            continue
        (top, bottom), (left, right) = (spans[axis] for axis in shown)
        box = Box(top, left, bottom, right)
        rest = [range(*spans[axis]) for axis in range(len(shape)) if axis not in shown]
        for fixed in itertools.product(*rest):
            index = PlaneIndex(shown, fixed)
            regions[index] = box.union(regions.get(index, box))
    return regions


def _span(index: Any, size: int) -> tuple[int, int]:
    if isinstance(index, slice):
        low, high, _ = index.indices(size)
        return low, high
    values = np.atleast_1d(np.asarray(index))
    if not values.size:
        return 0, 0
    values = np.where(values < 0, values + size, values)
    return int(values.min()), int(values.max()) + 1
