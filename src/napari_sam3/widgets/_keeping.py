"""Keeps a layer, the store of its objects and its table in step."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import pandas as pd
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer, Signal

from napari_sam3.core.geometry import Box
from napari_sam3.core.objects import LabelledObject
from napari_sam3.core.plane_facts import PlaneFacts, class_numbers
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.plane_objects import PlaneObjects, PlaneView
from napari_sam3.core.progress import Progress
from napari_sam3.core.store import Edit, ObjectStore
from napari_sam3.core.taking_over import Look, Taken, look, take_over
from napari_sam3.core.viewing import View, crowded_labels, hidden_labels
from napari_sam3.errors import ImageError
from napari_sam3.layers.features import object_rows, write_features
from napari_sam3.layers.objects import find_store, flaw_of, plane_index, refuse_beyond, store_of
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.showing import Showing, painted_regions
from napari_sam3.widgets._worker import Job, Runner, Workflow

SETTLE_MS = 50
"""After the layer was drawn anew, which a slider does at each of its steps."""

LOOK_S = 0.1
"""So long planes are looked at for the first time, until what was found is shown."""

Steps = Generator[None, None, Any]


Regions = dict[PlaneIndex, Box | None]
"""Parts of planes, or (None) whole ones."""


@dataclass(slots=True, eq=False)
class _Task:
    steps: Steps
    done: Callable[[Any], object]
    failed: Callable[[BaseException], object]


class Keeper(QObject):
    """Keeps one layer in step with the store of its objects.

    Edits of the store are painted in the window's thread, some milliseconds at a time; what
    others paint is looked for in a worker, by region, and becomes an edit.  One thing is done
    at a time: nothing is looked for where something is still to be painted.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Labels

    Signals
    -------
    settled()
        The layer shows what its store says, and all that is known of it is up to date.
    told(str)
        What somebody else had changed.
    failed(exception)
    """

    settled = Signal()
    told = Signal(str)
    failed = Signal(object)

    def __init__(self, viewer: ViewerModel, layer: Labels) -> None:
        super().__init__()
        self._viewer = viewer
        self.layer = layer
        self.users: set[int] = set()
        self.wanted: set[str] = set()
        self._tasks: deque[_Task] = deque()
        # what to look at: now, once the layer rests, and what is being looked at
        self._due: Regions = {}
        self._resting: Regions = {}
        self._under_way: Regions = {}
        self._strokes = _STROKES.setdefault(layer, {})
        self._facts: dict[PlaneIndex, PlaneFacts] = {}
        self._renumbered: dict[int, int] = {}
        self._described_version = -1
        self._last_visible: PlaneIndex | None = None
        self._painting: PlaneIndex | None = None
        self._is_waiting = False
        self._taking: frozenset[PlaneIndex] = frozenset()
        self._writes_features = False
        self._is_closed = False
        self._flaw = ""
        self._runner = Runner(self)
        self._runner.failed.connect(self._on_failed)
        self._runner.idle.connect(self._wake)
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._step)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(SETTLE_MS)
        self._rest.timeout.connect(self._on_rest)
        self._showing: Showing | None = None
        self._adopt()
        layer.events.paint.connect(self._on_painted)
        layer.events.set_data.connect(self._on_drawn)
        layer.events.data.connect(self._on_data)
        layer.events.features.connect(self._on_features)
        for event in self._slider_events:
            event.connect(self._on_slider)

    def close(self) -> None:
        """Write what is to be written, and let go of the layer."""
        if self._is_closed:
            return
        self.finish_writing()
        self._is_closed = True
        self._timer.stop()
        self._rest.stop()
        self._runner.cancel()
        self.layer.events.paint.disconnect(self._on_painted)
        self.layer.events.set_data.disconnect(self._on_drawn)
        self.layer.events.data.disconnect(self._on_data)
        self.layer.events.features.disconnect(self._on_features)
        for event in self._slider_events:
            event.disconnect(self._on_slider)
        self._leave()

    @property
    def is_alive(self) -> bool:
        """Whether Qt still has it: at the end of a script, it may be gone before the window."""
        return bool(isalive(self))

    @property
    def _slider_events(self) -> tuple[Any, ...]:
        events = self._viewer.dims.events
        return events.point, events.order, events.ndisplay

    # ------------------------------------------------------------------ what there is

    @property
    def store(self) -> ObjectStore:
        """The objects of the layer, as they are now."""
        if find_store(self.layer) is not (self._showing and self._showing.store):
            self._adopt()
        return self._own.store

    @property
    def _own(self) -> Showing:
        assert self._showing is not None
        return self._showing

    @property
    def visible(self) -> PlaneIndex | None:
        """The plane on the screen, as it is on record; None if there is none."""
        try:
            plane = find_plane(self.layer, self._viewer.dims)
        except ImageError:
            return None
        index = self.store.find_index(plane_index(plane))
        return None if self.store.crosses(index) else index

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be painted, looked at or found out."""
        if self._is_closed:
            return False
        return self._timer.isActive() or self._rest.isActive() or self._runner.is_busy

    @property
    def flaw(self) -> str:
        """Why the layer's objects cannot be reviewed; empty if they can, as far as is known."""
        return self._flaw

    def facts(self, index: PlaneIndex | None) -> PlaneFacts | None:
        """Return what is known of a plane's objects; None if that is not found out yet."""
        return None if index is None else self._facts.get(index)

    def all_facts(self) -> Mapping[PlaneIndex, PlaneFacts]:
        """Return what is known of planes, so far as it was found out."""
        return self._facts

    def want(self, kind: str) -> None:
        """Find out of all planes what "overlaps" or "classes" they have, from now on."""
        self.wanted.add(kind)
        self._described_version = -1
        self._wake()

    def is_in_step(self, index: PlaneIndex) -> bool:
        """Whether a plane shows what the store says, as far as anybody knows."""
        looks = {*self._due, *self._under_way, *self._taking}
        return bool(self._flaw) or (index not in self._own.stale and index not in looks)

    # ------------------------------------------------------------------ what is to be done

    def run(
        self,
        steps: Steps,
        done: Callable[[Any], object],
        failed: Callable[[BaseException], object],
    ) -> None:
        """Run what writes into the layer, step by step, after all that was asked before."""
        self._tasks.append(_Task(steps, done, failed))
        self._wake()

    @property
    def is_writing(self) -> bool:
        """Whether something writes into the layer, or waits to."""
        return bool(self._tasks)

    def look(self, index: PlaneIndex, region: Box | None = None) -> None:
        """Look soon whether somebody else painted on a plane, or a part of it."""
        if index.ndim == self.layer.data.ndim:
            _add(self._due, index, region)
        self._wake()

    def look_everywhere(self) -> None:
        """Look at all planes of the layer."""
        self._due.update(dict.fromkeys(self.all_planes()))
        self._wake()

    def show(self, view: View) -> None:
        """Show other objects, soon; the objects stay as they are."""
        if view != self.store.view:
            self.store.intend(view)
            self._wake()

    def finish_writing(self) -> None:
        """Write all that is to be written now; the rest may take its time."""
        while not self._is_closed and (self._tasks or self._next_stale() is not None):
            if self._runner.is_busy:
                self._runner.cancel()
                self._look_again()
            self._advance()
            work = self._next_work() if self._due and not self._is_closed else None
            if work is not None:
                self._do_now(work)
        self._wake()

    def iter_in_step(self, index: PlaneIndex, region: Box | None) -> Generator[None, None, None]:
        """Wait until what others painted was taken over; a part of a task.

        Parameters
        ----------
        index : PlaneIndex
        region : Box or None
            What is looked at in any case, besides where something is known to have changed.
        """
        self._on_rest()
        if region is not None:
            self.look(index, region)
        while not self.is_in_step(index):
            if index in self._own.stale:
                yield from self._iter_paint(index)
            else:
                self._is_waiting = True
                yield

    # ------------------------------------------------------------------ events

    def _on_painted(self, event: Any) -> None:
        if self._own.is_writing:
            return
        shown = self._shown_axes()
        if shown is None:
            return
        for index, box in painted_regions(event.value, shown, self.layer.data.shape).items():
            self._strokes[index] = box.union(self._strokes.get(index, box))
            self.look(index, box)

    def _on_drawn(self) -> None:
        """Look at the plane that was drawn anew: undo and other programs say no more."""
        index = None if self._own.is_writing else self.visible
        if index is None:
            return
        self._resting[index] = None
        if index == self._last_visible:
            for other, box in self._strokes.items():
                _add(self._resting, other, box)
        self._last_visible = index
        self._rest.start()

    def _on_slider(self) -> None:
        index = self.visible
        if index is not None and not self.store.knows(index):
            self._resting[index] = None
        self._rest.start()

    def _on_rest(self) -> None:
        self._rest.stop()
        resting, self._resting = self._resting, {}
        for index, region in resting.items():
            _add(self._due, index, region)
        self._wake()

    def _on_data(self) -> None:
        if not self._own.is_writing:
            self._adopt()

    def _on_features(self) -> None:
        """Put the objects' rows into a table that somebody else has changed."""
        if not self._writes_features:
            self._described_version = -1
            self._wake()

    def _on_edit(self, edit: Edit) -> None:
        self._renumbered |= edit.renumbered
        self._wake()

    # ------------------------------------------------------------------ one thing at a time

    def _wake(self) -> None:
        if not self._is_closed and not self._timer.isActive():
            self._timer.start()

    def _step(self) -> None:
        """Do the next thing, for some milliseconds."""
        is_painting = self._advance()
        if self._is_closed:
            # what was written was the last that was needed of it
            return
        if (self._due or not is_painting) and not self._runner.is_busy:
            work = self._next_work()
            if work is not None:
                self._runner.start(Job(_working(work), done=partial(self._on_returned, work)))
        if not is_painting or (self._is_waiting and self._runner.is_busy):
            self._timer.stop()

    def _do_now(self, work: _Looking | _Viewing | _Describing) -> None:
        try:
            result = work.done()
        except ImageError as error:
            self._on_failed(None, error)
        else:
            self._receive(work, result)

    def _advance(self) -> bool:
        """Advance what writes into the layer; False if nothing does."""
        self._is_waiting = False
        if not self._tasks:
            index = self._next_stale()
            if index is None:
                return False
            self._tasks.append(_Task(self._iter_paint(index), lambda _: None, self._on_lost))
        task = self._tasks[0]
        try:
            next(task.steps)
        except StopIteration as end:
            self._tasks.popleft()
            task.done(end.value)
        except BaseException as error:  # noqa: BLE001 - handed on, shown or raised there
            self._tasks.popleft()
            task.failed(error)
        return True

    def _next_stale(self) -> PlaneIndex | None:
        stale = self._own.stale if not self._flaw else frozenset()
        if len(stale) < 2:
            return next(iter(stale), None)
        visible = self.visible
        if visible is not None and visible in stale:
            return visible
        return min(stale, key=lambda index: index.fixed)

    def _iter_paint(self, index: PlaneIndex) -> Steps:
        self._painting = index
        try:
            yield from self._own.iter_paint(index)
        finally:
            self._painting = None

    def iter_written(self, index: PlaneIndex) -> Steps:
        """Paint a plane as one step of napari's history; a part of a task."""
        self._painting = index
        try:
            yield from self._own.iter_paint(index, history=True)
        finally:
            self._painting = None

    def _on_lost(self, error: BaseException) -> None:
        if isinstance(error, IndexError):
            # other data took the place of these while they were painted
            self._adopt()
        else:
            self.failed.emit(error)

    # ------------------------------------------------------------------ in the worker

    def _next_work(self) -> _Looking | _Viewing | _Describing | None:
        """Return what is to be found out next; None if nothing is."""
        if self._flaw:
            return None
        if self._due:
            return self._looking()
        if self._tasks:
            return None
        store = self.store
        if store.intended is not None:
            return _Viewing(
                store, store.version, dict(store.objects), _planes_of(store), store.intended
            )
        visible = self.visible
        facts = self.facts(visible)
        lacks = visible is not None and (facts is None or not self.wanted <= facts.derived.keys())
        if not lacks and self._described_version == store.version:
            return None
        views = {index: store.view_of(index) for index in store.planes}
        wanted = frozenset(self.wanted)
        version, objects, former = store.version, dict(store.objects), dict(self._facts)
        return _Describing(store, version, objects, views, visible, wanted, former)

    def _looking(self) -> _Looking | None:
        own = self._own
        if not own.fits:
            self._adopt()
            return None
        busy = {*own.stale, *self._taking, self._painting}
        due = [index for index in self._due if index not in busy]
        known = [index for index in due if own.store.knows(index)]
        if not due:
            return None
        if not known:
            visible = self.visible
            due.sort(key=lambda index: (index != visible, index.fixed))
        self._under_way = {index: self._due.pop(index) for index in known or due}
        return _Looking(own, self.layer.data, dict(self._under_way), own.store.version, not known)

    def _on_returned(self, work: _Looking | _Viewing | _Describing, result: Any) -> None:
        if not self._is_closed:
            self._receive(work, result)
        self._wake()

    def _on_failed(self, _job: Job | None, error: BaseException) -> None:
        self._under_way = {}
        if isinstance(error, ImageError):
            self._flaw, self._due = str(error), {}
        self.failed.emit(error)

    def _receive(self, work: _Looking | _Viewing | _Describing, result: Any) -> None:
        if isinstance(work, _Looking):
            self._on_looked(work, result)
            return
        if work.store is not self.store or work.version != work.store.version:
            return
        if isinstance(work, _Viewing):
            work.store.show(work.view, *result)
        else:
            self._on_described(work, result)

    def _on_looked(self, work: _Looking, found: _Looked) -> None:
        own = self._own
        if work.showing is not own or work.data is not self.layer.data:
            self._under_way = {}
            return
        if work.version != own.store.version or self._painting in found.seen:
            # decided or written meanwhile: once more, with that
            self._look_again()
            return
        self._taking = frozenset(one.index for one in found.looks)
        self._tasks.appendleft(_Task(self._iter_taken(own, found), self._on_taken, self._on_lost))
        # before anything else is decided
        self._advance()
        for index in found.seen:
            own.store.look_at(index)
            self._under_way.pop(index, None)
        self._look_again()

    def _iter_taken(self, own: Showing, found: _Looked) -> Generator[None, None, tuple[str, ...]]:
        try:
            for _ in own.iter_take(found.looks, found.taken):
                if own is not self._showing:
                    break
                yield
        finally:
            self._taking = frozenset()
        return found.taken.words

    def _on_taken(self, said: tuple[str, ...]) -> None:
        for words in said:
            self.told.emit(words)

    def _look_again(self) -> None:
        for index, region in self._under_way.items():
            _add(self._due, index, region)
        self._under_way = {}

    def _on_described(self, work: _Describing, found: _Described) -> None:
        self._facts = found.facts
        self._described_version = work.version
        self._writes_features = True
        try:
            write_features(self.layer, found.rows, self._renumbered)
        finally:
            self._writes_features = False
        self._renumbered = {}
        self.settled.emit()

    # ------------------------------------------------------------------ other data

    def _adopt(self) -> None:
        """Follow the layer's store, which may be another one, or of another shape."""
        store = store_of(self.layer)
        if store.shape != self.layer.data.shape:
            self._strokes.clear()
            many = len(store)
            store.reshape(self.layer.data.shape)
            if many:
                self.told.emit("The layer has another shape now; its objects were set aside.")
            self._leave()
        if self._showing is None or self._showing.store is not store:
            self._leave()
            self._showing = Showing(self.layer, store)
            store.connect(self._on_edit)
        self._flaw = flaw_of(self.layer)
        self._facts, self._described_version = {}, -1
        self._due, self._resting, self._under_way = {}, {}, {}
        if self._flaw:
            self.failed.emit(ImageError(self._flaw))
        else:
            self.look_everywhere()

    def _leave(self) -> None:
        if self._showing is not None:
            self._showing.close()
            self._showing.store.disconnect(self._on_edit)
            self._showing = None

    def _shown_axes(self) -> tuple[int, int] | None:
        """Return the axes that are a plane's rows and columns, as they are on record."""
        known = next(iter(self.store.planes), None) or self.visible
        return None if known is None else known.shown

    def all_planes(self) -> Iterable[PlaneIndex]:
        """Return all planes that the layer has, along the axes that are on record or shown."""
        shown = self._shown_axes()
        if shown is None:
            return
        shape = self.layer.data.shape
        rest = [range(size) for axis, size in enumerate(shape) if axis not in shown]
        yield from (PlaneIndex(shown, fixed) for fixed in itertools.product(*rest))


def _add(regions: Regions, index: PlaneIndex, region: Box | None) -> None:
    known = regions.get(index, region)
    regions[index] = None if region is None or known is None else region.union(known)


def _is_same(one: PlaneView, other: PlaneView) -> bool:
    return one.objects is other.objects and one.hidden is other.hidden and one.rule == other.rule


def _planes_of(store: ObjectStore) -> tuple[PlaneObjects, ...]:
    return tuple(store.on(index) for index in store.planes)


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    looks: list[Look]
    taken: Taken
    seen: list[PlaneIndex]


@dataclass(frozen=True, slots=True, eq=False)
class _Looking:
    """Planes that are looked at, to be done in a worker."""

    showing: Showing
    data: Any
    planes: Regions
    version: int
    is_first: bool

    def done(self) -> _Looked:
        store, looks, seen = self.showing.store, [], []
        objects, undone, hidden = dict(store.objects), dict(store.undone), store.hidden
        until = time.perf_counter() + LOOK_S
        for index, region in self.planes.items():
            plane = index.cut(self.data)
            box = region or Box.of_shape(plane.shape)
            refuse_beyond(self.showing.layer, plane[box.slices])
            view = self.showing.painted(index)
            found = look(index, view, plane, box, is_first=self.is_first)
            seen.append(index)
            looks += [found] if found is not None else []
            if self.is_first and time.perf_counter() > until:
                break
        return _Looked(looks, take_over(objects, looks, undone=undone, hidden=hidden), seen)


@dataclass(frozen=True, slots=True, eq=False)
class _Viewing:
    """Which objects a view shows, to be found in a worker."""

    store: ObjectStore
    version: int
    objects: Mapping[int, LabelledObject]
    planes: tuple[PlaneObjects, ...]
    view: View

    def done(self) -> tuple[frozenset[int], frozenset[int]]:
        shape = self.store.plane_shape
        crowded = crowded_labels(self.objects, self.planes, self.view, shape)
        return crowded, hidden_labels(self.objects, self.view, shape) | crowded


@dataclass(frozen=True, slots=True, eq=False)
class _Described:
    facts: dict[PlaneIndex, PlaneFacts]
    rows: pd.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class _Describing:
    """What there is to know of the objects, to be found in a worker."""

    store: ObjectStore
    version: int
    objects: Mapping[int, LabelledObject]
    views: Mapping[PlaneIndex, PlaneView]
    visible: PlaneIndex | None
    wanted: frozenset[str]
    former: Mapping[PlaneIndex, PlaneFacts]

    def done(self) -> _Described:
        classes = class_numbers(one.concept for one in self.objects.values())
        facts = {}
        for index, view in self.views.items():
            known = self.former.get(index)
            is_known = known is not None and _is_same(known.view, view)
            if known is not None and is_known and self._has_all(known, classes):
                facts[index] = known
            elif index == self.visible or self.wanted:
                shape = self.store.plane_shape(index)
                facts[index] = PlaneFacts.of(view, shape, classes, self.wanted)
        pairs = [view.objects.labelled_overlaps[:, :2] for view in self.views.values()]
        overlapping = {n for each in pairs if len(each) for n in each.reshape(-1).tolist()}
        return _Described(facts, object_rows(self.objects, overlapping))

    def _has_all(self, known: PlaneFacts, classes: dict[str, int]) -> bool:
        has_wanted = self.wanted <= known.derived.keys()
        return has_wanted and ("classes" not in self.wanted or known.classes == classes)


def _working(work: _Looking | _Viewing | _Describing) -> Workflow:
    def workflow(_stop: threading.Event) -> Generator[Progress, None, Any]:
        yield Progress(0, 0, "looking at the objects")
        return work.done()

    return workflow


# where somebody painted, who may still take it back, whatever else becomes of the layer
_STROKES: WeakKeyDictionary[Labels, dict[PlaneIndex, Box]] = WeakKeyDictionary()

# whoever needs a keeper has it; one that nobody closed goes with its last user
_KEEPERS: WeakValueDictionary[Labels, Keeper] = WeakValueDictionary()


def keep(viewer: ViewerModel, layer: Labels, user: object) -> Keeper:
    """Return what keeps a layer; one that two panels need is the same.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Labels
    user : object
        Who needs it, until `let_go`.
    """
    keeper = _KEEPERS.get(layer)
    if keeper is None:
        keeper = _KEEPERS[layer] = Keeper(viewer, layer)
    keeper.users.add(id(user))
    return keeper


def let_go(keeper: Keeper, user: object) -> None:
    """Say that a keeper is not needed by a user any more; without one it is closed."""
    keeper.users.discard(id(user))
    if not keeper.users:
        _KEEPERS.pop(keeper.layer, None)
        keeper.close()
