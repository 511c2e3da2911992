"""The built-in engine: which question goes to which algorithm."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt, Everything, ObjectPrompt, Prompt
from napari_sam3.engines import refuse_unsupported
from napari_sam3.engines.base import (
    NEVER,
    NO_PARAMETERS,
    SegmentationRequest,
    SegmentationResult,
    Usage,
    raise_if_stopped,
)
from napari_sam3.engines.builtin import CAPABILITIES
from napari_sam3.engines.builtin.exemplars import segment_alike
from napari_sam3.engines.builtin.hints import hints
from napari_sam3.engines.builtin.nets.threads import one_blas_thread
from napari_sam3.engines.builtin.scene import LastOnes, Scene, one_plane
from napari_sam3.engines.builtin.sketch import object_in_outline
from napari_sam3.engines.builtin.trained import all_objects, is_new, objects_in_boxes, proposals
from napari_sam3.engines.builtin.words import segment_named
from napari_sam3.errors import PromptError

MODEL = "nets-3"
"""Counts up whenever an answer changes, so that stored ones are not taken for new ones."""

LOOKING = "looking at this image for the first time"
SEGMENTING = "segmenting"

_KEPT_SCENES = 3


class BuiltinEngine:
    """Promptable segmentation on this computer: small nets, and classical algorithms beside them.

    Notes
    -----
    Scores estimate the overlap (IoU) with a true object.  `Everything`'s
    `points_per_side` and `min_iou` do not change the answer: no grid of clicks is used;
    use the request's `min_score`.  May be used from several threads.

    Attributes
    ----------
    state : str
        What it is doing, for the user; empty while it does nothing.
    """

    name = "builtin"
    capabilities = CAPABILITIES
    model = MODEL
    parameters: Mapping[str, Any] = NO_PARAMETERS

    def __init__(self) -> None:
        # so that the next question about one of the last images is answered faster
        self._scenes = LastOnes(_KEPT_SCENES)
        self.state = ""

    def segment(
        self, request: SegmentationRequest, stop: threading.Event = NEVER
    ) -> SegmentationResult:
        """Answer one request; see `napari_sam3.engines.base.Engine.segment`.

        Raises
        ------
        UnsupportedPromptError
            If the prompt holds a word that the engine does not know.
        PromptError
            If a box or a positive click lies outside of the image, or words contradict
            each other.
        CancelledError
            If `stop` was set before the answer was there.
        """
        start = time.perf_counter()
        refuse_unsupported(self.name, self.capabilities, request.prompt)
        raise_if_stopped(stop)
        picture = self._scene(request.pixels)
        with self._working(picture):
            found, notices = _answer(picture, request, stop)
        raise_if_stopped(stop)
        return _result(request, found, notices, time.perf_counter() - start)

    def segment_many(
        self, requests: Sequence[SegmentationRequest], stop: threading.Event = NEVER
    ) -> list[SegmentationResult]:
        """Answer several requests about one picture; see `napari_sam3.engines.base.BatchEngine`.

        Boxes go through the net together, which takes half the time.
        """
        boxed = [request for request in requests if _lone_box(request.prompt)]
        if len(boxed) < 2 or len({request.pixels.sha256 for request in boxed}) > 1:
            return [self.segment(request, stop) for request in requests]
        answers = iter(self._boxes(boxed, stop))
        return [
            next(answers) if _lone_box(request.prompt) else self.segment(request, stop)
            for request in requests
        ]

    def _boxes(
        self, requests: Sequence[SegmentationRequest], stop: threading.Event
    ) -> list[SegmentationResult]:
        start = time.perf_counter()
        raise_if_stopped(stop)
        picture = self._scene(requests[0].pixels)
        boxes = [box for request in requests if (box := _lone_box(request.prompt))]
        for box in boxes:
            _check_reach(box, picture.box)
        with self._working(picture):
            found = objects_in_boxes(picture, boxes, stop)
        raise_if_stopped(stop)
        seconds = (time.perf_counter() - start) / len(requests)
        results = []
        for request, item in zip(requests, found, strict=True):
            items = [] if item is None else [item]
            notices = hints(picture, request.prompt, items, len(items))
            results.append(_result(request, items, notices, seconds))
        return results

    def _scene(self, pixels: Pixels) -> Scene:
        scene: Scene = self._scenes.made(pixels.sha256, lambda: Scene(one_plane(pixels.rgb)))
        return scene

    @contextmanager
    def _working(self, picture: Scene) -> Iterator[None]:
        self.state = LOOKING if is_new(picture) else SEGMENTING
        try:
            with one_blas_thread():
                yield
        finally:
            self.state = ""


def _lone_box(prompt: Prompt) -> Box | None:
    """Return the box of a prompt that is nothing else."""
    return prompt.box if isinstance(prompt, ObjectPrompt) and not prompt.points else None


def _result(
    request: SegmentationRequest, found: list[Instance], notices: tuple[str, ...], seconds: float
) -> SegmentationResult:
    kept = Instances(request.shape, tuple(found)).at_least(request.min_score)
    return SegmentationResult(kept.best(request.max_masks), Usage(seconds=seconds), notices)


def _answer(
    picture: Scene, request: SegmentationRequest, stop: threading.Event
) -> tuple[list[Instance], tuple[str, ...]]:
    prompt = request.prompt
    if isinstance(prompt, Everything):
        found = all_objects(picture, prompt.diameter, stop)
    elif isinstance(prompt, ConceptPrompt):
        found = _alike_or_named(picture, prompt, request.min_score, stop)
    elif isinstance(prompt, ObjectPrompt):
        meant = _one_object(picture, prompt, stop)
        return meant[:1], hints(picture, prompt, meant[:1], len(meant))
    else:
        # refused above already: whoever adds a kind of prompt hears of it here
        raise TypeError(f"the built-in engine has no answer to a {type(prompt).__name__}")
    return found, hints(picture, prompt, found)


def _alike_or_named(
    picture: Scene, prompt: ConceptPrompt, min_score: float, stop: threading.Event
) -> list[Instance]:
    for exemplar in prompt.exemplars:
        _check_reach(exemplar.box, picture.box)
    if prompt.text:
        return segment_named(picture, prompt.text, prompt.exemplars, min_score, stop)
    return segment_alike(picture, prompt.exemplars, stop)


def _one_object(picture: Scene, prompt: ObjectPrompt, stop: threading.Event) -> list[Instance]:
    """Return what the prompt may mean, the likeliest or the wanted first."""
    if prompt.box is not None:
        _check_reach(prompt.box, picture.box)
    if prompt.outline_box is not None:
        _check_reach(prompt.outline_box, picture.box, "outline")
        found = object_in_outline(picture, prompt, stop)
        return [] if found is None else [found]
    return proposals(picture, prompt.points, prompt.box, stop, prompt.proposal)


def _check_reach(box: Box, frame: Box, noun: str = "box") -> None:
    if box.intersection(frame) is None:
        raise PromptError(
            f"The {noun} (rows {box.top} to {box.bottom}, columns {box.left} to {box.right}) lies "
            f"outside of the image, which has {frame.bottom} rows and {frame.right} columns."
        )
