"""Answers → the Labels layer, a few milliseconds at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Hashable, Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer

from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.labels import OverlapRule
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.prompts import ObjectPrompt, Prompt, describe
from napari_sam3.engines import engine_info
from napari_sam3.layers.describing import describe_placement, describe_plane
from napari_sam3.layers.drawing import PromptLayer
from napari_sam3.layers.objects import (
    ObjectRecord,
    add_written,
    hidden_finder,
    iter_take_undone,
    plane_index,
)
from napari_sam3.layers.output import (
    METADATA_KEY,
    OutputPlace,
    Written,
    add_features,
    iter_is_empty,
    next_free_label,
    picture_kwargs,
    write_instances,
)
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.provenance import (
    Began,
    Source,
    append_run,
    is_record,
    new_record,
    new_run_id,
    run_record,
)
from napari_sam3.workflows.run import SegmentRun


@dataclass(frozen=True, slots=True, eq=False)
class RunContext:
    """What was so when Run was pressed, and must not change until the answer is written.

    Parameters
    ----------
    run : SegmentRun
    engine : str
        Its name.
    place : OutputPlace
        Where the objects belong.
    output : Labels, optional
        The layer that was chosen; None for the image's own, made on first use.
    rule : {"score", "smallest", "first"}
    keys : tuple
        One per prompt: what it is known by when it is asked again, or None.
    notices : tuple of str
        For the user, from reading the prompts.
    live : bool
        Whether a click asked, and not Run.
    image_id : hashable
        Tells the image's layer from all others, those of earlier times included.
    options : object
        How the engine is called.
    """

    run: SegmentRun
    engine: str
    place: OutputPlace
    output: Labels | None
    rule: OverlapRule
    keys: tuple[Hashable, ...]
    notices: tuple[str, ...] = ()
    live: bool = False
    image_id: Hashable = None
    options: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Committed:
    """What became of an answer.

    Parameters
    ----------
    context : RunContext
    answer : SegmentAnswer
    layer : Labels, optional
        None where nothing was found and the image has no layer of its own yet.
    written : Written
    notices : tuple of str
    """

    context: RunContext
    answer: SegmentAnswer
    layer: Labels | None
    written: Written
    notices: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Known:
    """Which label an object has in which layer, and what was asked for it."""

    layer: Labels
    label: int
    prompt: Prompt
    mask: Instance
    source: Source


@dataclass(slots=True, eq=False)
class _Pending:
    steps: Generator[None, None, Committed]
    done: Callable[[Committed], None]
    failed: Callable[[BaseException], None]


class Committer(QObject):
    """Writes answers into Labels layers, one after the other.

    Parameters
    ----------
    viewer : ViewerModel
    parent : QObject, optional
    """

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._known: dict[Hashable, _Known] = {}
        self._queue: list[_Pending] = []
        self._is_writing = False
        self._highest: dict[int, int] = {}
        self._own: dict[Hashable, Labels] = {}
        self._noted: WeakSet[Labels] = WeakSet()
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._step)

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be written."""
        return bool(self._queue)

    def commit(
        self,
        context: RunContext,
        answer: SegmentAnswer,
        done: Callable[[Committed], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Write an answer; `done` or `failed` is called once it is."""
        self._queue.append(_Pending(self._iter_commit(context, answer), done, failed))
        self._timer.start()

    def finish(self) -> None:
        """Write all that is left at once."""
        while self._queue:
            self._step()

    def key_refined_by(self, place: tuple[Hashable, Hashable], prompt: ObjectPrompt) -> Hashable:
        """Return the key of the unnumbered object that a prompt goes on with.

        That is one whose box is the same, and whose clicks are all among its clicks.
        """
        for key, known in self._known.items():
            former = known.prompt
            if (
                isinstance(key, tuple)
                and key[:2] == place
                and isinstance(key[2], ObjectPrompt)
                and isinstance(former, ObjectPrompt)
                and former.box == prompt.box
                and former.points
                and set(former.points) <= set(prompt.points)
            ):
                return key
        return (*place, prompt)

    def answered(self, keyed: Iterable[tuple[Hashable, Prompt]]) -> list[bool]:
        """Whether each prompt has its answer in a layer that is still there."""
        there = {id(layer) for layer in self._viewer.layers}
        known = ((self._known.get(key), prompt) for key, prompt in keyed)
        return [
            one is not None and one.prompt == prompt and id(one.layer) in there
            for one, prompt in known
        ]

    def forget(self, layer: Any) -> None:
        """Forget a layer that was removed; its objects are asked for anew."""
        self._own = {k: v for k, v in self._own.items() if v is not layer}
        self._known = {k: v for k, v in self._known.items() if v.layer is not layer}
        if self._highest.pop(id(layer), None) is not None:
            layer.events.paint.disconnect(self._on_paint)

    def _is_there(self, layer: Labels) -> bool:
        return any(other is layer for other in self._viewer.layers)

    def _step(self) -> None:
        if not self._queue:
            self._timer.stop()
            return
        pending = self._queue[0]
        self._is_writing = True
        try:
            next(pending.steps)
        except StopIteration as end:
            self._queue.pop(0)
            pending.done(end.value)
        except BaseException as error:  # noqa: BLE001 - handed on, shown or raised there
            self._queue.pop(0)
            pending.failed(error)
        finally:
            self._is_writing = False

    def _iter_commit(
        self, context: RunContext, answer: SegmentAnswer
    ) -> Generator[None, None, Committed]:
        layer, notices = self._layer(context, is_needed=bool(len(answer.instances)))
        if layer is None:
            return Committed(context, answer, None, Written(), (*notices, *answer.notices))
        record = ObjectRecord.of(layer)
        record.writers += 1
        try:
            return (yield from self._iter_written(context, answer, layer, notices))
        finally:
            record.writers -= 1

    def _iter_written(
        self,
        context: RunContext,
        answer: SegmentAnswer,
        layer: Labels,
        notices: tuple[str, ...],
    ) -> Generator[None, None, Committed]:
        began = yield from self._iter_began(layer)
        on_record = ObjectRecord.of(layer).find_index(plane_index(context.place.plane))
        undone = yield from iter_take_undone(layer, on_record)
        prompt_of = _prompt_indices(answer)
        instances = answer.instances
        replaced = self._replaced(context, layer, prompt_of)
        former = self._former(layer, replaced)
        written = yield from self._iter_write(context, instances, layer, replaced, former)
        if written is None:
            # it was taken away between two steps: write it all into another one
            return (yield from self._iter_commit(context, answer))
        run_id = new_run_id()
        sources = {
            label: (run_id, prompt_of[index], index - prompt_of.index(prompt_of[index]))
            for index, label in (written.labels | written.covered).items()
        }
        _record_objects(context, layer, on_record, instances, written, former, sources)
        rows = _feature_rows(context, instances, written, prompt_of)
        add_features(layer, rows, tuple(label for label in undone if label not in rows))
        for index, label in written.labels.items():
            key = context.keys[prompt_of[index]]
            if key is not None:
                prompt = context.run.prompts[prompt_of[index]]
                self._known[key] = _Known(layer, label, prompt, instances[index], sources[label])
        told = (*notices, *answer.notices)
        said = run_record(
            context.run,
            answer,
            engine=context.engine,
            plane=describe_plane(context.place.plane),
            image=context.place.image,
            labels=written.labels,
            rule=context.rule,
            skips_known=_skips_known(context),
            replaced=replaced,
            former=[known.source for known in former],
            notices=told,
            run_id=run_id,
        )
        told += self._note(layer, context.place, said, began)
        return Committed(context, answer, layer, written, told)

    def _iter_began(self, layer: Labels) -> Generator[None, None, Began]:
        """Find out how a layer was before its first run, unless that is on record."""
        entry = layer.metadata.get(METADATA_KEY)
        if is_record(entry):
            return "empty"
        if entry == {} and layer in self._own.values() and layer not in self._noted:
            return "empty"
        is_empty = yield from iter_is_empty(layer)
        return "empty" if is_empty else "labels"

    def _note(
        self, layer: Labels, place: OutputPlace, run: dict[str, Any], began: Began
    ) -> tuple[str, ...]:
        """Append a run to the layer's record, and say so where that had to begin anew."""
        entry = layer.metadata.get(METADATA_KEY)
        notices: tuple[str, ...] = ()
        if not is_record(entry):
            if entry or layer in self._noted:
                lost = f"The record of how “{layer.name}” was made had been changed or removed"
                notices = (f"{lost}; a new one begins with this run.",)
            if entry:
                layer.metadata[_free_key(layer.metadata)] = entry
            entry = new_record(place.image, place.describe(), began)
        layer.metadata[METADATA_KEY] = append_run(entry, run)
        self._noted.add(layer)
        return notices

    def _iter_write(
        self,
        context: RunContext,
        instances: Instances,
        layer: Labels,
        replaced: dict[int, int],
        former: list[_Known],
    ) -> Generator[None, None, Written | None]:
        """Write into a layer; None if it could not keep what was written."""
        try:
            written = yield from write_instances(
                layer,
                context.place.plane,
                instances,
                rule=context.rule,
                replaced=replaced,
                former=[known.mask for known in former],
                skip_known=_skips_known(context),
                is_known=_hidden_finder(layer, context),
                first_label=self._first_label(layer, context),
            )
        except (IndexError, ValueError):
            if not context.place.misfit(layer):
                raise
            return None
        is_kept = self._is_there(layer) and not context.place.misfit(layer)
        return written if is_kept else None

    def labels_of(self, image_id: Hashable) -> Labels | None:
        """Return the layer that was made for an image, if it is still there."""
        layer = self._own.get(image_id)
        return layer if layer is not None and self._is_there(layer) else None

    def own_layer(self, image_id: Hashable, place: OutputPlace) -> Labels | None:
        """Return the layer that was made for an image, if it can still be written in."""
        layer = self.labels_of(image_id)
        return layer if layer is not None and not place.misfit(layer) else None

    def _layer(
        self, context: RunContext, *, is_needed: bool
    ) -> tuple[Labels | None, tuple[str, ...]]:
        """Return the layer to write in; a new one, if it is needed, rather than lose an answer."""
        output, notices = context.output, context.notices
        why_not = "" if output is None else self._why_not(output, context)
        if why_not:
            output = None
            notices += (f"{why_not}; the objects are in a new layer.",) if is_needed else ()
        # asked now and not when Run was pressed: an answer in between may have made it
        output = output or self.own_layer(context.image_id, context.place)
        if output is None and is_needed:
            output = self._own[context.image_id] = context.place.new_layer()
            self._watch(output, 0)
            active = self._viewer.layers.selection.active
            self._add_below_prompts(output, context.image_id)
            if context.live and active is not None and active in self._viewer.layers:
                # the user is drawing there
                self._viewer.layers.selection.active = active
        return output, notices

    def _why_not(self, output: Labels, context: RunContext) -> str:
        """Return why the layer that was chosen cannot be written in any more."""
        if not self._is_there(output):
            return f"“{output.name}” was removed meanwhile"
        return context.place.misfit(output)

    def _add_below_prompts(self, layer: Labels, image_id: Hashable) -> None:
        """Add a layer above its image, but below what is drawn, so that no prompt is hidden."""
        layers = self._viewer.layers
        image_at = next((i for i, other in enumerate(layers) if other.unique_id == image_id), 0)
        prompts_at = (
            i for i, other in enumerate(layers) if i > image_at and isinstance(other, PromptLayer)
        )
        layers.insert(next(prompts_at, len(layers)), layer)

    def _replaced(self, context: RunContext, layer: Labels, prompt_of: list[int]) -> dict[int, int]:
        replaced: dict[int, int] = {}
        for index, prompt_index in enumerate(prompt_of):
            known = self._known.get(context.keys[prompt_index])
            if known is not None and known.layer is layer and known.label not in replaced.values():
                replaced[index] = known.label
        return replaced

    def _former(self, layer: Labels, replaced: dict[int, int]) -> list[_Known]:
        """Return what the replaced labels were written with."""
        labels = set(replaced.values())
        return [k for k in self._known.values() if k.layer is layer and k.label in labels]

    def _first_label(self, layer: Labels, context: RunContext) -> int:
        if id(layer) not in self._highest:
            # someone else's layer: its labels stand in no table of ours
            self._watch(layer, int(layer.data.max(initial=0)))
        return next_free_label(layer, context.place.plane, self._highest[id(layer)])

    def _watch(self, layer: Labels, highest: int) -> None:
        self._highest[id(layer)] = highest
        layer.events.paint.connect(self._on_paint)

    def _on_paint(self, event: Any) -> None:
        """Note labels that are painted by hand, perhaps on a plane that is not looked at."""
        if not self._is_writing:
            layer = event.source
            # a script's data_setitem tells its values; a brush tells only what is selected
            values = [atom[2] for atom in event.value or () if isinstance(atom, tuple)]
            highest = max((int(np.max(v, initial=0)) for v in values), default=0)
            known = self._highest.get(id(layer), 0)
            self._highest[id(layer)] = max(known, int(layer.selected_label), highest)


def picture_metadata(
    context: RunContext, answer: SegmentAnswer, shape: tuple[int, ...]
) -> dict[str, Any]:
    """Return the metadata of a layer that shows a picture from an engine."""
    place = context.place
    run = run_record(
        context.run,
        answer,
        engine=context.engine,
        plane=describe_plane(place.plane),
        image=place.image,
        labels={},
        rule=context.rule,
    )
    layer = describe_placement(shape[:2], picture_kwargs(place, shape))
    return {METADATA_KEY: append_run(new_record(place.image, layer), run)}


def _hidden_finder(layer: Labels, context: RunContext) -> Callable[[Instance], bool] | None:
    index = plane_index(context.place.plane)
    own = ObjectRecord.of(layer).find_index(index)
    is_hidden = hidden_finder(layer, own)
    if is_hidden is None or own == index:
        return is_hidden
    return lambda item: is_hidden(item.transposed())


def _record_objects(
    context: RunContext,
    layer: Labels,
    index: PlaneIndex,
    instances: Instances,
    written: Written,
    former: list[_Known],
    sources: dict[int, Source],
) -> None:
    labels = written.labels | written.covered
    from_top = [i for i in instances.top_first(context.rule) if i in labels]
    # where the plane is on record with rows and columns exchanged, it stays so
    is_turned = index.shown != context.place.plane.shown

    def on_record(item: Instance) -> Instance:
        return item.transposed() if is_turned else item

    add_written(
        layer,
        index,
        {labels[i]: on_record(instances[i]) for i in from_top},
        engine=engine_info(context.engine).title,
        former=[on_record(known.mask) for known in former],
        sources=sources,
    )


def _skips_known(context: RunContext) -> bool:
    return not isinstance(context.run.prompts[0], ObjectPrompt)


def _free_key(metadata: dict[str, Any]) -> str:
    """Return a name for what stood where our record belongs, and is none."""
    names = (f"{METADATA_KEY}_unreadable_{number}" for number in itertools.count(1))
    return next(name for name in names if name not in metadata)


def _prompt_indices(answer: SegmentAnswer) -> list[int]:
    """Return for each instance the index of the prompt that it answers."""
    return [i for i, result in enumerate(answer.results) for _ in result.instances]


def _feature_rows(
    context: RunContext, instances: Instances, written: Written, prompt_of: list[int]
) -> dict[int, dict[str, Any]]:
    title = engine_info(context.engine).title
    rows = {}
    for index, label in (written.labels | written.covered).items():
        item = instances[index]
        prompt = describe(context.run.prompts[prompt_of[index]])
        rows[label] = {
            "score": float("nan") if item.score is None else round(item.score, 4),
            "area": item.area,
            "prompt": item.concept or prompt,
            "engine": title,
            "concept": item.concept,
            "state": "unreviewed",
        }
    return rows
