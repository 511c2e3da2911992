"""The built-in engine: which question goes to which algorithm."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.prompts import ConceptPrompt, Everything, ObjectPrompt
from napari_sam3.engines.base import (
    NEVER,
    NO_PARAMETERS,
    Capabilities,
    SegmentationRequest,
    SegmentationResult,
    Usage,
    raise_if_stopped,
)
from napari_sam3.engines.builtin import CAPABILITIES
from napari_sam3.engines.builtin.exemplars import segment_alike
from napari_sam3.engines.builtin.hints import hints
from napari_sam3.engines.builtin.nets.threads import one_blas_thread
from napari_sam3.engines.builtin.picture import Picture, PictureCache
from napari_sam3.engines.builtin.sketch import object_in_outline
from napari_sam3.engines.builtin.trained import all_objects, is_new, proposals
from napari_sam3.engines.builtin.words import segment_named
from napari_sam3.errors import PromptError

MODEL = "nets-2"
"""Counts up whenever an answer changes, so that stored ones are not taken for new ones."""

LOOKING = "looking at this image for the first time"
SEGMENTING = "segmenting"


class BuiltinEngine:
    """Promptable segmentation on this computer: small nets, and classical algorithms beside them.

    Parameters
    ----------
    cached_pictures : int
        How many images are kept with what was derived from them, so that the
        next question about one of them is answered faster.

    Notes
    -----
    Scores estimate the overlap (IoU) with a true object.  `Everything`'s
    `points_per_side` and `min_iou` do not change the answer: no grid of clicks is used;
    use the request's `min_score`.  May be used from several threads.
    """

    def __init__(self, cached_pictures: int = 3) -> None:
        self._pictures = PictureCache(cached_pictures)
        self._state = ""

    @property
    def state(self) -> str:
        """What it is doing, for the user; empty while it does nothing."""
        return self._state

    @property
    def name(self) -> str:
        """The name that `create_engine` knows."""
        return "builtin"

    @property
    def capabilities(self) -> Capabilities:
        """What it can answer: everything, but of language only some words."""
        return CAPABILITIES

    @property
    def model(self) -> str:
        """Which algorithms answer, by number."""
        return MODEL

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Nothing: it has no options."""
        return NO_PARAMETERS

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
        # the registry imports this package for its capabilities
        from napari_sam3.engines import refuse_unsupported

        start = time.perf_counter()
        refuse_unsupported(self.name, self.capabilities, request.prompt)
        raise_if_stopped(stop)
        picture = self._pictures.get(request.image)
        self._state = LOOKING if is_new(picture) else SEGMENTING
        try:
            with one_blas_thread():
                found, notices = _answer(picture, request, stop)
        finally:
            self._state = ""
        raise_if_stopped(stop)
        kept = Instances(request.shape, tuple(found)).at_least(request.min_score)
        usage = Usage(seconds=time.perf_counter() - start)
        return SegmentationResult(kept.best(request.max_masks), usage, notices)


def _answer(
    picture: Picture, request: SegmentationRequest, stop: threading.Event
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
    picture: Picture, prompt: ConceptPrompt, min_score: float, stop: threading.Event
) -> list[Instance]:
    for exemplar in prompt.exemplars:
        _check_box(exemplar.box, picture.box)
    if prompt.text:
        return segment_named(picture, prompt.text, prompt.exemplars, min_score, stop)
    return segment_alike(picture, prompt.exemplars, stop)


def _one_object(picture: Picture, prompt: ObjectPrompt, stop: threading.Event) -> list[Instance]:
    """Return what the prompt may mean, the likeliest or the wanted first."""
    box = prompt.box or prompt.outline_box
    if box is not None:
        _check_box(box, picture.box)
    if prompt.outline:
        found = object_in_outline(picture, prompt, stop)
        return [] if found is None else [found]
    return proposals(picture, prompt.points, prompt.box, stop, prompt.proposal)


def _check_box(box: Box, frame: Box) -> None:
    if box.intersection(frame) is None:
        raise PromptError(
            f"The box (rows {box.top} to {box.bottom}, columns {box.left} to {box.right}) lies "
            f"outside of the image, which has {frame.bottom} rows and {frame.right} columns."
        )
