"""One object, refined by clicks on the image: asked on a crop around it, live where it is free."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_sam3.core.geometry import Box
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.pictures import Picture
from napari_sam3.core.plane_index import PlaneIndex, Region
from napari_sam3.core.prompts import ObjectPrompt
from napari_sam3.engines import engine_info
from napari_sam3.engines.base import Engine
from napari_sam3.engines.creating import create_engine
from napari_sam3.errors import ImageError
from napari_sam3.jobs.records import open_records
from napari_sam3.layers.drawing import mark_size, new_points_layer, next_polarity, set_next_polarity
from napari_sam3.layers.objects import find_store, plane_index, store_of
from napari_sam3.layers.output import find_output_place, picture_kwargs
from napari_sam3.layers.pictures import LastPicture, capture_picture
from napari_sam3.layers.planes import Plane, find_plane
from napari_sam3.layers.prompts import read_points
from napari_sam3.widgets._consent import ConsentDesk
from napari_sam3.widgets._keeping import Keeper
from napari_sam3.widgets._worker import Job, Runner, Workflow
from napari_sam3.workflows.accounted import iter_accounted
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.provenance import bare_name, new_run_id
from napari_sam3.workflows.refining import (
    crop_around,
    refining_prompt,
    take_answer,
)
from napari_sam3.workflows.run import RunEvent, SegmentRun

POLARITY_KEY = "W"

LOST = "The object was changed or removed meanwhile: the result was not used."


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """What became of an object.

    Parameters
    ----------
    layer : Labels
    index : PlaneIndex
    before, after : PlaneObject
        As it was before this answer, and as it is now.
    image, plane
        That were asked about.
    run : SegmentRun
    answer : SegmentAnswer
    crop : Box
        The part of the plane that was asked about.
    engine : str
        Its name.
    run_id : str
    session : object
        The same for all answers that are one step.
    """

    layer: Labels
    index: PlaneIndex
    before: PlaneObject
    after: PlaneObject
    image: Image
    plane: Plane
    run: SegmentRun
    answer: SegmentAnswer
    crop: Box
    engine: str
    run_id: str
    session: object


@dataclass(slots=True, eq=False)
class _Session:
    layer: Labels
    index: PlaneIndex
    before: PlaneObject
    image: Image
    plane: Plane
    picture: Picture
    crop: Box
    points: Points
    engine: str
    current: PlaneObject
    asked: ObjectPrompt | None = None
    key: object = field(default_factory=object)


class Refining(QObject):
    """Refines one object at a time.

    Parameters
    ----------
    viewer : ViewerModel
    keep : callable
        Gives what keeps a layer in step.
    parent : QWidget

    Signals
    -------
    refined(Refined)
    said(str)
    ended()
    """

    refined = Signal(object)
    said = Signal(str)
    ended = Signal()

    def __init__(
        self, viewer: ViewerModel, keep: Callable[[Labels], Keeper], parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._keep = keep
        self._session: _Session | None = None
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()
        self._last = LastPicture()
        self._consent = ConsentDesk(parent)
        self._runner = Runner(self, self.said.emit)
        self._runner.cancelled.connect(lambda _job: self.said.emit("Stopped; nothing changed."))
        # several events of one mouse press make one question
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.ask)

    @property
    def is_on(self) -> bool:
        """Whether an object is being refined."""
        return self._session is not None

    @property
    def is_busy(self) -> bool:
        """Whether an engine is being asked."""
        return self._runner.is_busy or self._timer.isActive()

    @property
    def label(self) -> int | None:
        """The label of the object that is refined."""
        return None if self._session is None else self._session.current.label

    def start(self, layer: Labels, image: Image | None, one: PlaneObject, engine: str) -> None:
        """Begin with an object of the plane that is shown.

        Raises
        ------
        ImageError
            If it does not lie on that plane of that image.
        EngineUnavailableError
            If the engine cannot be used.
        """
        self.end()
        info = engine_info(engine)
        if info.missing:
            raise ImageError(info.missing)
        if image is None:
            raise ImageError("Refining needs the image: choose it under “Image”.")
        plane = find_plane(image, self._viewer.dims)
        if misfit := find_output_place(image, plane).misfit(layer):
            raise ImageError(f"{misfit}; choose the image that “{layer.name}” was made from.")
        index = plane_index(plane)
        if one.label not in store_of(layer).on(index):
            raise ImageError(
                "That object lies on another plane, or one that was turned: move the slider, or "
                "turn the view, to where it was found."
            )
        crop = crop_around(one.instance, plane.shape)
        points = self._add_points(image, plane, one.label)
        picture = capture_picture(image, plane).cropped(crop)
        self._session = _Session(
            layer, index, one, image, plane, picture, crop, points, engine, one
        )
        if info.capabilities.billed:
            self.said.emit(f"Click on object {one.label} or beside it (W), then press Ask.")
        else:
            self.ask()

    def end(self) -> None:
        """Stop refining; what was refined stays."""
        session, self._session = self._session, None
        if session is None:
            return
        self._timer.stop()
        self._runner.drop("refine")
        self._last.forget()
        session.points.events.data.disconnect(self._on_drawn)
        if session.points in self._viewer.layers:
            self._viewer.layers.remove(session.points)
        if session.layer in self._viewer.layers:
            self._viewer.layers.selection.active = session.layer
        self.ended.emit()

    def forget(self, layer: Any) -> None:
        """End, if a layer that it needs was removed."""
        session = self._session
        if session is not None and layer in (session.layer, session.points, session.image):
            self.end()

    def close(self) -> None:
        """End, and stop waiting."""
        self.end()
        self._runner.cancel()

    def ask(self) -> None:
        """Ask with the clicks as they are."""
        session = self._session
        if session is None:
            return
        info = engine_info(session.engine)
        clicks = [mark.point for mark in read_points(session.points, session.plane).points]
        prompt = refining_prompt(session.before.instance, session.crop, clicks, info.capabilities)
        if prompt == session.asked:
            return
        place = find_output_place(session.image, session.plane)
        lies = picture_kwargs(place, session.plane.shape)["affine"].tolist()
        about = {"image": bare_name(session.image.name), "affine": lies}
        picture = self._last.kept(session.picture, [session.image])
        region = Region(session.index, session.crop)
        run = SegmentRun(picture, (prompt,), region=region, about=about)
        billed = info.capabilities.billed

        def done(answer: SegmentAnswer) -> None:
            # what was paid for is used, unless its object is gone
            if billed or session is self._session:
                session.asked = prompt
                self._take(session, run, answer)

        workflow = self._asking(session.engine, run)
        job = Job(workflow, lane="refine", billed=billed, done=done)
        if self._runner.start(job):
            self.said.emit(f"Asking {info.title} about object {session.before.label} …")
        else:
            self.said.emit("A paid request is running; wait for its result.")

    def toggle_polarity(self) -> None:
        """Turn what is clicked next from + to − and back."""
        if self._session is None:
            return
        points = self._session.points
        set_next_polarity(points, not next_polarity(points))
        sign = "positive (+)" if next_polarity(points) else "negative (−)"
        self.said.emit(f"The next click is {sign}.")

    def _add_points(self, image: Image, plane: Plane, label: int) -> Points:
        points = new_points_layer(image, f"refine {label}", mark_size(plane.shape), plane.shown)
        self._viewer.add_layer(points)
        points.mode = "add"
        # the panel for segmenting has the same key for its own layers
        points.bind_key(POLARITY_KEY, lambda _layer: self.toggle_polarity())
        points.bind_key("Escape", lambda _layer: self.end())
        points.events.data.connect(self._on_drawn)
        return points

    def _on_drawn(self, event: Any) -> None:
        session = self._session
        if session is None or event.action not in ("added", "changed", "removed"):
            return
        if not engine_info(session.engine).capabilities.billed:
            self._timer.start()

    def _asking(self, name: str, run: SegmentRun) -> Workflow:
        def workflow(stop: threading.Event) -> Generator[RunEvent, None, SegmentAnswer]:
            engine = self._engine(name)
            confirm = self._consent.confirm(stop, engine_info(name))
            return (yield from iter_accounted(engine, run, open_records(), confirm, stop))

        return workflow

    def _engine(self, name: str) -> Engine:
        if engine_info(name).capabilities.billed:
            # its key and its address may be others by now
            return create_engine(name)
        with self._lock:
            # what it computed for a picture answers the next click faster
            if name not in self._engines:
                self._engines[name] = create_engine(name)
            return self._engines[name]

    def _take(self, session: _Session, run: SegmentRun, answer: SegmentAnswer) -> None:
        if self._find(session) is None:
            self.said.emit(LOST)
            return
        keeper = self._keep(session.layer)
        keeper.run(
            self._iter_taken(keeper, session, run, answer), lambda _: None, self._on_not_taken
        )

    def _iter_taken(
        self, keeper: Keeper, session: _Session, run: SegmentRun, answer: SegmentAnswer
    ) -> Generator[None, None, None]:
        """Give an object what was found, once it is known which one that is by now."""
        yield from keeper.iter_in_step(session.index, session.crop)
        now = self._find(session)
        if now is None:
            self.said.emit(LOST)
            return
        plane = np.asarray(session.index.cut(session.layer.data))
        title, run_id = engine_info(session.engine).title, new_run_id()
        own = replace(session.before, label=now.label)
        after = take_answer(own, answer, session.crop, plane, title, run_id)
        if after is None:
            why = (
                answer.flatness.reason if answer.flatness is not None else "Click on it once more."
            )
            self.said.emit(f"Nothing was found there; it stays as it was. {why}")
            return
        session.current = after
        self.refined.emit(
            Refined(
                session.layer,
                session.index,
                now,
                after,
                session.image,
                session.plane,
                run,
                answer,
                session.crop,
                session.engine,
                run_id,
                session.key,
            )
        )

    def _on_not_taken(self, error: BaseException) -> None:
        if isinstance(error, IndexError):
            self.said.emit(LOST)
        else:
            raise error

    def _find(self, session: _Session) -> PlaneObject | None:
        """Return the object as it is now, under whatever number; None if it is gone."""
        store = find_store(session.layer)
        if store is None or session.layer not in self._viewer.layers:
            return None
        if session.layer.data.shape != store.shape:
            # the store is told of other data only when its keeper has looked at them
            return None
        plane, known = store.on(session.index), session.current
        for one in plane.values():
            if one.instance is known.instance:
                return one
        same = plane.get(known.label)
        if same is None or (same.depth, same.source) != (known.depth, known.source):
            return None
        # somebody painted on it: what follows is a step of its own, so that this is not lost
        session.key = object()
        return same
