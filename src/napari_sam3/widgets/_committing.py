"""Answers → the Labels layer, a few milliseconds at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any
from weakref import WeakSet

from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer

from napari_sam3.core.adding import Plan, brought_back, hidden_finder, iter_plan, run_changes
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.labels import OverlapRule
from napari_sam3.core.objects import Part, Source
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.plane_objects import PlaneObjects
from napari_sam3.core.prompts import ObjectPrompt, Prompt, describe
from napari_sam3.core.store import Asked, ObjectStore
from napari_sam3.engines import engine_info
from napari_sam3.layers.describing import describe_placement, describe_plane
from napari_sam3.layers.drawing import PromptLayer
from napari_sam3.layers.features import highest_in_features
from napari_sam3.layers.objects import plane_index
from napari_sam3.layers.output import (
    METADATA_KEY,
    OutputPlace,
    iter_highest,
    iter_is_empty,
    picture_kwargs,
)
from napari_sam3.widgets._keeping import Keeper, keep, let_go
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.provenance import (
    Began,
    append_run,
    is_record,
    new_record,
    new_run_id,
    run_record,
)
from napari_sam3.workflows.run import SegmentRun

POSTPONED_MS = 500
"""Until then a viewer that closes has closed its panels."""


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
    written : Plan
    notices : tuple of str
    """

    context: RunContext
    answer: SegmentAnswer
    layer: Labels | None
    written: Plan
    notices: tuple[str, ...]


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
        self._keepers: dict[Labels, Keeper] = {}
        self._own: dict[Hashable, Labels] = {}
        self._noted: WeakSet[Labels] = WeakSet()
        self._pending = 0
        self._is_closing = False
        self._postponed: list[QTimer] = []

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be written, or to be brought in step."""
        return self.is_writing or any(keeper.is_busy for keeper in self._keepers.values())

    @property
    def is_writing(self) -> bool:
        """Whether an answer is still to be written."""
        return bool(self._pending)

    def commit(
        self,
        context: RunContext,
        answer: SegmentAnswer,
        done: Callable[[Committed], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Write an answer; `done` or `failed` is called once it is."""
        layer, notices = self._layer(context, is_needed=bool(len(answer.instances)))
        if layer is None:
            done(Committed(context, answer, None, Plan(), (*notices, *answer.notices)))
            return
        self._pending += 1

        def written(committed: Committed | None) -> None:
            if not isalive(self):
                # its window is gone, and with it whoever would be told
                return
            self._pending -= 1
            if not self._is_there(layer):
                self.forget(layer)
            if committed is not None:
                done(committed)
            elif len(self._viewer.layers):
                # it was taken away meanwhile: write it all into another one
                self.commit(context, answer, done, failed)
            elif not self._is_closing:
                self._postpone(partial(self.commit, context, answer, done, failed))

        def broken_off(error: BaseException) -> None:
            if not isalive(self):
                return
            self._pending -= 1
            failed(error)

        steps = self._iter_written(context, answer, layer, notices)
        self._keeper(layer).run(steps, written, broken_off)

    def finish(self) -> None:
        """Write all that is left at once."""
        while busy := [keeper for keeper in self._keepers.values() if keeper.is_writing]:
            for keeper in busy:
                keeper.finish_writing()

    def close(self) -> None:
        """Write all that is left, and let go of all layers."""
        self._is_closing = True
        self.finish()
        for layer in list(self._keepers):
            self._let_go(layer)
        for timer in self._postponed:
            # the viewer closes: its layers are gone, and it can take no other
            timer.stop()
        self._pending -= len(self._postponed)
        self._postponed = []
        self._is_closing = False

    def forget(self, layer: Any) -> None:
        """Forget a layer that was removed; its objects are asked for anew."""
        self._own = {k: v for k, v in self._own.items() if v is not layer}
        keeper = self._keepers.get(layer)
        # what is just being written into it goes into another one, and not before all are gone
        if keeper is not None and not keeper.is_writing:
            self._let_go(layer)

    def key_refined_by(self, place: tuple[Hashable, Hashable], prompt: ObjectPrompt) -> Hashable:
        """Return the key of the unnumbered object that a prompt goes on with.

        That is one whose box is the same, and whose clicks are all among its clicks.
        """
        for key, known in self._all_asked():
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
        asked = {key: known.prompt for key, known in self._all_asked()}
        return [key in asked and asked[key] == prompt for key, prompt in keyed]

    def _all_asked(self) -> Iterator[tuple[Hashable, Asked]]:
        for layer, keeper in self._keepers.items():
            if self._is_there(layer):
                yield from keeper.store.asked.items()

    def _postpone(self, commit: Callable[[], None]) -> None:
        """Write an answer in a moment: a viewer without any layer may be one that closes."""
        self._pending += 1
        timer = QTimer(self)
        timer.setSingleShot(True)
        self._postponed.append(timer)

        def write() -> None:
            self._pending -= 1
            self._postponed.remove(timer)
            commit()

        timer.timeout.connect(write)
        timer.start(POSTPONED_MS)

    def _is_there(self, layer: Labels) -> bool:
        return any(other is layer for other in self._viewer.layers)

    def _keeper(self, layer: Labels) -> Keeper:
        if layer not in self._keepers:
            self._keepers[layer] = keep(self._viewer, layer, self)
        return self._keepers[layer]

    def _let_go(self, layer: Labels) -> None:
        keeper = self._keepers.pop(layer, None)
        if keeper is not None and keeper.is_alive:
            let_go(keeper, self)

    # ------------------------------------------------------------------ one answer

    def _iter_written(
        self,
        context: RunContext,
        answer: SegmentAnswer,
        layer: Labels,
        notices: tuple[str, ...],
    ) -> Generator[None, None, Committed | None]:
        """Write an answer into a layer; None if that was taken away meanwhile."""
        keeper = self._keeper(layer)
        began = yield from self._iter_began(layer)
        index = keeper.store.find_index(plane_index(context.place.plane))
        run = _Run.of(context, answer, index, keeper.store)
        yield from keeper.iter_in_step(index, run.box)
        if not self._still_fits(layer, context):
            return None
        try:
            plan = yield from self._iter_plan(run, keeper)
            told = (*notices, *run.add_to(keeper.store, plan), *answer.notices)
            # before it is painted, so that a file that is saved meanwhile has all of it
            told += self._note(layer, context.place, run.record(plan, told), began)
            yield from keeper.iter_written(index)
        except (IndexError, ValueError):
            if not context.place.misfit(layer):
                raise
        if not self._still_fits(layer, context):
            return None
        return Committed(context, answer, layer, plan, told)

    def _still_fits(self, layer: Labels, context: RunContext) -> bool:
        return self._is_there(layer) and not context.place.misfit(layer)

    def _iter_plan(self, run: _Run, keeper: Keeper) -> Generator[None, None, Plan]:
        store, layer = keeper.store, keeper.layer
        unseen = [index for index in keeper.all_planes() if not store.knows(index)]
        elsewhere = yield from iter_highest(layer.data, unseen)
        highest = max(store.highest_label, highest_in_features(layer), elsewhere)
        return (
            yield from iter_plan(
                run.index.cut(layer.data),
                run.instances,
                first_label=highest + 1,
                rule=run.context.rule,
                replaced=run.replaced,
                skip_known=run.skips_known,
                is_unseen=hidden_finder(store.on(run.index), store.hidden),
            )
        )

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

    # ------------------------------------------------------------------ which layer

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


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """An answer, on its way into a store.

    Parameters
    ----------
    context : RunContext
    answer : SegmentAnswer
    index : PlaneIndex
        The plane as it is on record, whose rows may be the columns that were shown.
    instances : Instances
        In pixels of that plane.
    prompt_of : list of int
        For each instance the index of the prompt that it answers.
    replaced : dict
        Index of an instance to the label that it takes the place of.
    former : dict
        By label, what is replaced, as it was found.
    run_id : str
    """

    context: RunContext
    answer: SegmentAnswer
    index: PlaneIndex
    instances: Instances
    prompt_of: list[int]
    replaced: dict[int, int]
    former: dict[int, Asked]
    run_id: str

    @classmethod
    def of(
        cls, context: RunContext, answer: SegmentAnswer, index: PlaneIndex, store: ObjectStore
    ) -> _Run:
        instances = answer.instances
        if index.shown != context.place.plane.shown:
            instances = instances.transposed()
        prompt_of = [i for i, result in enumerate(answer.results) for _ in result.instances]
        replaced: dict[int, int] = {}
        former: dict[int, Asked] = {}
        for i, prompt_index in enumerate(prompt_of):
            known = store.asked.get(context.keys[prompt_index])
            if known is not None and known.index == index and known.label not in former:
                replaced[i], former[known.label] = known.label, known
        return cls(context, answer, index, instances, prompt_of, replaced, former, new_run_id())

    @property
    def box(self) -> Box | None:
        """Around all of the instances; None if there is none."""
        boxes = [item.box for item in self.instances]
        return reduce(Box.union, boxes) if boxes else None

    @property
    def skips_known(self) -> bool:
        return not isinstance(self.context.run.prompts[0], ObjectPrompt)

    def add_to(self, store: ObjectStore, plan: Plan) -> tuple[str, ...]:
        """Put the objects into a store; return what is to be told of that."""
        parts, former = self._parts(plan), {n: one.part for n, one in self.former.items()}
        told = _what_comes_back(store.on(self.index), parts, former)
        changes = run_changes(store, self.index, parts, former)
        for label in changes:
            store.undone.pop(label, None)
        store.edit(changes)
        for index, label in plan.labels.items():
            key = self.context.keys[self.prompt_of[index]]
            if key is not None:
                prompt = self.context.run.prompts[self.prompt_of[index]]
                store.asked[key] = Asked(label, self.index, prompt, parts[label])
        return told

    def _parts(self, plan: Plan) -> dict[int, Part]:
        labels, title = plan.all_labels, engine_info(self.context.engine).title
        from_top = [i for i in self.instances.top_first(self.context.rule) if i in labels]
        return {
            labels[i]: Part(self.instances[i], title, self._source(i), self._words(i))
            for i in from_top
        }

    def _source(self, index: int) -> Source:
        prompt_index = self.prompt_of[index]
        return self.run_id, prompt_index, index - self.prompt_of.index(prompt_index)

    def _words(self, index: int) -> str:
        prompt = self.context.run.prompts[self.prompt_of[index]]
        return self.instances[index].concept or describe(prompt)

    def record(self, plan: Plan, told: tuple[str, ...]) -> dict[str, Any]:
        """Return what the layer's record says of the run."""
        return run_record(
            self.context.run,
            self.answer,
            engine=self.context.engine,
            plane=describe_plane(self.context.place.plane),
            image=self.context.place.image,
            labels=plan.all_labels,
            rule=self.context.rule,
            skips_known=self.skips_known,
            replaced=self.replaced,
            former=[one.part.source for one in self.former.values() if one.part.source],
            notices=told,
            run_id=self.run_id,
        )


def _what_comes_back(
    plane: PlaneObjects, parts: Mapping[int, Part], former: Mapping[int, Part]
) -> tuple[str, ...]:
    """Say what of a person's work on objects is lost, since they were asked for again."""
    told = []
    for label, found in former.items():
        now, anew = plane.get(label), parts.get(label)
        if now is None or anew is None:
            continue
        if brought_back(now.instance, found.instance, anew.instance):
            told.append(f"Erased pixels of object {label} are back, as it was asked for again.")
        if now.state == "accepted":
            told.append(f"Object {label} was accepted; its new outline is to be reviewed.")
    return tuple(told)


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


def _free_key(metadata: dict[str, Any]) -> str:
    """Return a name for what stood where our record belongs, and is none."""
    names = (f"{METADATA_KEY}_unreadable_{number}" for number in itertools.count(1))
    return next(name for name in names if name not in metadata)
