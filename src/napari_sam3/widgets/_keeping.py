"""Keeps a layer's record, its pixels and its features in step, off the window's thread."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer, Signal

from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.progress import Progress
from napari_sam3.errors import ImageError
from napari_sam3.layers.objects import (
    ObjectRecord,
    PlaneRecord,
    flaw_of,
    object_rows,
    write_features,
)
from napari_sam3.layers.output import make_room
from napari_sam3.widgets._worker import Job, Runner, Workflow
from napari_sam3.workflows.syncing import PlaneState, Synced, sync

RETRY_MS = 40
SETTLE_MS = 120
"""After the layer was drawn anew: a brush stroke is looked at when it ends."""


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    layer: Labels
    index: PlaneIndex
    version: int
    state: PlaneState


class Keeper(QObject):
    """Syncs planes of a layer one after the other.

    Signals
    -------
    synced(Labels, PlaneIndex, Synced)
        The layer shows what its record says.
    failed(exception)
    """

    synced = Signal(object, object, object)
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._layer: Labels | None = None
        self._shown: PlaneIndex | None = None
        self._is_writing = False
        self._wanted: WeakKeyDictionary[Labels, set[str]] = WeakKeyDictionary()
        self._latest: WeakKeyDictionary[Labels, dict[PlaneIndex, Synced]] = WeakKeyDictionary()
        self._due: set[PlaneIndex] = set()
        self._renumbered: dict[int, int] = {}
        self._runner = Runner(self)
        self._runner.returned.connect(self._on_returned)
        self._runner.failed.connect(lambda _job, error: self.failed.emit(error))
        self._runner.idle.connect(self._start_due)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._start_due)

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be looked at."""
        return self._runner.is_busy or self._timer.isActive() or bool(self._due)

    @property
    def wanted(self) -> set[str]:
        """What else is painted of the layer: "overlaps", "classes"."""
        return set() if self._layer is None else self._wanted.setdefault(self._layer, set())

    def follow(self, layer: Labels | None) -> None:
        """Keep this layer in step from now on, instead of the one before."""
        if self._layer is not None:
            self._layer.events.paint.disconnect(self._on_touched)
            self._layer.events.set_data.disconnect(self._on_touched)
        self._layer = layer
        self._due.clear()
        self._renumbered = {}
        self._timer.stop()
        if layer is not None:
            layer.events.paint.connect(self._on_touched)
            layer.events.set_data.connect(self._on_touched)

    def show_plane(self, index: PlaneIndex | None) -> None:
        """Say which plane is on the screen: that one is watched."""
        self._shown = index

    def latest(self, index: PlaneIndex) -> Synced | None:
        """Return what the last sync of a plane found."""
        if self._layer is None:
            return None
        return self._latest.get(self._layer, {}).get(index)

    def sync(self, index: PlaneIndex, wait_ms: int = 0) -> None:
        """Bring a plane in step soon."""
        self._due.add(index)
        if not self._timer.isActive() or self._timer.remainingTime() > wait_ms:
            self._timer.start(wait_ms)

    def sync_all(self) -> None:
        """Bring all planes that have a record, and the one on the screen, in step."""
        record = None if self._layer is None else ObjectRecord.find(self._layer)
        planes = set(record.planes if record is not None else ())
        if self._shown is not None:
            planes.add(self._shown)
        for index in planes:
            self.sync(index)

    def state_of(self, index: PlaneIndex) -> PlaneState | None:
        """Return what the layer and its record are like now; None if there is no such plane."""
        layer = self._layer
        asked = None if layer is None else self._capture(layer, ObjectRecord.of(layer), index)
        return None if asked is None else asked.state

    def close(self) -> None:
        """Stop listening and forget what was asked."""
        self.follow(None)
        self._runner.cancel()

    def _on_touched(self) -> None:
        if not self._is_writing and self._shown is not None:
            self.sync(self._shown, SETTLE_MS)

    def _start_due(self) -> None:
        layer = self._layer
        if layer is None:
            self._due.clear()
        if layer is None or not self._due or self._runner.is_busy:
            return
        if flaw := flaw_of(layer):
            self._due.clear()
            self.failed.emit(ImageError(flaw))
            return
        record = ObjectRecord.of(layer)
        if record.writers:
            # a run is half written: what it paints is nobody's edit
            self._timer.start(RETRY_MS)
            return
        # one plane at a time: a copy of each of a stack would be a second stack
        index = self._shown if self._shown in self._due else next(iter(self._due))
        assert index is not None
        self._due.discard(index)
        asked = self._capture(layer, record, index)
        if asked is None:
            if not self._due and layer in self._latest:
                # the planes before it wait for their rows
                self._write_rows(layer, record)
            self._start_due()
            return
        self._runner.start(Job(_syncing(asked.state), asked))

    def _capture(self, layer: Labels, record: ObjectRecord, index: PlaneIndex) -> _Asked | None:
        try:
            actual = index.cut(layer.data)
        except IndexError:
            return None
        plane = record.plane(index, actual.shape)
        before = self._latest.get(layer, {}).get(index)
        state = PlaneState(
            dict(plane.objects),
            plane.expected,
            np.array(actual),
            record.view,
            plane.hidden,
            plane.rule,
            before.found if before is not None else None,
            frozenset(self._wanted.get(layer, ())),
            dict(plane.undone),
        )
        return _Asked(layer, index, record.version, state)

    def _on_returned(self, job: Job, synced: Synced) -> None:
        asked: _Asked = job.context
        layer = asked.layer
        if layer is not self._layer:
            return
        record = ObjectRecord.of(layer)
        plane = record.planes.get(asked.index)
        if plane is None or record.version != asked.version or record.writers:
            # decided or written meanwhile: once more, with that
            self.sync(asked.index, RETRY_MS if record.writers else 0)
            return
        plane.objects, plane.undone = synced.objects, synced.undone
        self._paint(layer, asked, plane, synced)
        self._latest.setdefault(layer, {})[asked.index] = synced
        self._renumbered |= synced.renumbered
        if not self._due:
            self._write_rows(layer, record)
        self.synced.emit(layer, asked.index, synced)

    def _write_rows(self, layer: Labels, record: ObjectRecord) -> None:
        sharing = {index: one.overlapping for index, one in self._latest[layer].items()}
        write_features(layer, object_rows(record, sharing), self._renumbered)
        self._renumbered = {}

    def _paint(self, layer: Labels, asked: _Asked, plane: PlaneRecord, synced: Synced) -> None:
        self._is_writing = True
        try:
            # what was hidden may have a number that a narrow type does not hold
            make_room(layer, int(synced.painted.max(initial=0)))
            now = asked.index.cut(layer.data)
            if now.shape != synced.painted.shape:
                return
            painted = synced.painted.astype(now.dtype, copy=False)
            plane.expected = painted
            plane.hidden, plane.rule = synced.hidden, asked.state.view.rule
            if synced.is_other:
                # a stroke that was painted meanwhile stays, and is looked at next
                np.copyto(now, painted, where=now == asked.state.actual)
                layer.refresh()
        except IndexError:
            return
        finally:
            self._is_writing = False


def _syncing(state: PlaneState) -> Workflow:
    def workflow(_stop: threading.Event) -> Generator[Progress, None, Any]:
        yield Progress(0, 0, "looking at the objects")
        return sync(state)

    return workflow
