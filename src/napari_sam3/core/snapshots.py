"""A label image and its store as they are at one moment, to be written to a file by a thread.

Nothing is copied in the window's thread but the store's own tables.  What is painted while the
thread copies the labels is told apart: our own painting is what the live store says of it, and
taken back; what others painted is taken over into the store that is written, so that pixels and
record agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_sam3.core.arrays import LabelImage
from napari_sam3.core.geometry import Box
from napari_sam3.core.labels import labels_dtype
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.plane_objects import PlaneObjects, PlaneView
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.taking_over import look, take_over

_NOTHING = PlaneView(PlaneObjects())


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What is to be written.

    Parameters
    ----------
    data : array_like of int
        The label image, which may be painted in meanwhile.
    store : ObjectStore
        Its objects at that moment.
    live : ObjectStore
        Its objects as they are now; only looked at.
    """

    data: Any
    store: ObjectStore
    live: ObjectStore

    @classmethod
    def of(cls, data: Any, store: ObjectStore) -> Snapshot:
        """Take one, where edits are made: in the window's thread."""
        return cls(data, store.copied(), store)

    def in_step(self) -> tuple[LabelImage, ObjectStore]:
        """Return the label image and the store, which tell of the same.

        What others painted is taken over, and what the store's view shows is painted.

        Returns
        -------
        labels : ndarray of int
            A copy.
        store : ObjectStore
            Without an object where the label image has another shape than that.
        """
        store = self.store.copied()
        store.show_intended()
        if store.shape != tuple(self.data.shape):
            return _copied(self.data), ObjectStore(self.data.shape, view=store.view)
        labels = _copied(self.data, store.highest_label)
        self._bring_in_step(store, {index: index.cut(labels) for index in store.planes})
        return labels, store

    def plane_in_step(self, index: PlaneIndex) -> tuple[LabelImage, ObjectStore]:
        """Return one plane of the label image and the store; of others nothing is read.

        Raises
        ------
        IndexError
            If the label image has no such plane.
        """
        store = self.store.copied()
        store.show_intended()
        if store.shape != tuple(self.data.shape):
            store = ObjectStore(self.data.shape, view=store.view)
        plane = _copied(index.cut(self.data), store.highest_label)
        self._bring_in_step(store, {index: plane})
        return plane, store

    def _bring_in_step(self, store: ObjectStore, planes: Mapping[PlaneIndex, LabelImage]) -> None:
        looks = []
        for index, plane in planes.items():
            painted, whole = store.painted.get(index, _NOTHING), Box.of_shape(plane.shape)
            self._take_back(index, plane, painted)
            found = look(index, painted, plane, whole, is_first=not store.knows(index))
            looks += [] if found is None else [found]
        taken = take_over(store.objects, looks, undone=store.undone, hidden=store.hidden)
        store.edit(taken.changes)
        looked_at = {one.index for one in looks}
        for index, plane in planes.items():
            target, painted = store.view_of(index), store.painted.get(index, _NOTHING)
            if index in looked_at or painted.differing(target):
                shown = target.paint(Box.of_shape(plane.shape), plane.dtype)
                # what is below 0 is no object, and nobody's to change
                np.copyto(plane, shown, where=plane >= 0)

    def _take_back(self, index: PlaneIndex, plane: LabelImage, painted: PlaneView) -> None:
        """Take back what we painted since, and what we were painting."""
        for view in self._painted_since(index, painted):
            whole = Box.of_shape(plane.shape)
            before, after = (each.paint(whole, plane.dtype) for each in (painted, view))
            ours = (plane == after) & (before != after)
            plane[ours] = before[ours]

    def _painted_since(self, index: PlaneIndex, painted: PlaneView) -> Iterator[PlaneView]:
        views = (self.live.painted.get(index, _NOTHING), self.live.painting.get(index))
        for view in views:
            if view is not None and view is not painted and painted.differing(view):
                yield view


def _copied(data: Any, highest: int = 0) -> LabelImage:
    """Return labels as numbers, of a type that also holds a label that shows again."""
    # cut first: some arrays are read by an index only
    array = np.array(data[...])
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    if highest > np.iinfo(array.dtype).max:
        array = array.astype(np.result_type(array, labels_dtype(highest)))
    return array
