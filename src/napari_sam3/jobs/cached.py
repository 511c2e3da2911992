"""Any engine, remembered: what is stored is answered from there, free, at once, offline."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from napari_sam3.engines import refuse_unsupported
from napari_sam3.engines.base import (
    NEVER,
    Capabilities,
    Engine,
    SegmentationRequest,
    SegmentationResult,
    raise_if_stopped,
)
from napari_sam3.errors import CacheError, PromptError
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.fingerprint import Fingerprint, identified
from napari_sam3.jobs.storing import STORING


class CachedEngine:
    """An engine that remembers what it answered; an engine itself, so that nobody need know.

    Its answers are handed on at once and stored later, see `napari_sam3.jobs.storing`.  What
    costs money goes through `napari_sam3.jobs.paid.PaidEngine`.

    Parameters
    ----------
    engine : Engine
    cache : AnswerCache, optional
        None if answers are neither looked up nor stored; the same question is asked once all
        the same.
    newer_than : float
        Unix time: answers that are as old as that are asked for again, and replaced.
    """

    def __init__(
        self,
        engine: Engine,
        cache: AnswerCache | None,
        *,
        newer_than: float = 0.0,
    ) -> None:
        self._engine, self._cache, self._newer_than = engine, cache, newer_than
        self._lock = threading.Lock()
        self._answers: dict[str, SegmentationResult] = {}

    @property
    def name(self) -> str:
        """The engine's."""
        return self._engine.name

    @property
    def capabilities(self) -> Capabilities:
        """The engine's."""
        return self._engine.capabilities

    @property
    def model(self) -> str:
        """The engine's."""
        return self._engine.model

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The engine's."""
        return self._engine.parameters

    def segment(
        self, request: SegmentationRequest, stop: threading.Event = NEVER
    ) -> SegmentationResult:
        """Answer one request; see `napari_sam3.engines.base.Engine.segment`."""
        (question,) = self._questions([request], stop)
        found, notices = self._known(question)
        if found is not None:
            return found
        return self._new(question, self._engine.segment(request, stop), notices)

    def segment_many(
        self, requests: Sequence[SegmentationRequest], stop: threading.Event = NEVER
    ) -> list[SegmentationResult]:
        """Answer several requests; those that are not stored together, if the engine can."""
        together = getattr(self._engine, "segment_many", None)
        if together is None:
            return [self.segment(request, stop) for request in requests]
        questions = self._questions(requests, stop)
        known = [self._known(question) for question in questions]
        asked = [r for r, (found, _) in zip(requests, known, strict=True) if found is None]
        try:
            answers = iter(together(asked, stop) if asked else ())
        except PromptError:
            # those before the one that is wrong are answered and stored
            return [self.segment(request, stop) for request in requests]
        return [
            found or self._new(question, next(answers), notices)
            for question, (found, notices) in zip(questions, known, strict=True)
        ]

    def _questions(
        self, requests: Sequence[SegmentationRequest], stop: threading.Event
    ) -> list[Fingerprint]:
        for request in requests:
            refuse_unsupported(self.name, self.capabilities, request.prompt)
        raise_if_stopped(stop)
        return [Fingerprint.of(self._engine, request) for request in requests]

    def _known(self, question: Fingerprint) -> tuple[SegmentationResult | None, tuple[str, ...]]:
        """Return an answer that costs nothing more, and what the user should read about it."""
        with self._lock:
            found = self._answers.get(question.key)
        if found is None:
            try:
                found = stored_answer(self._cache, question, self._newer_than)
            except CacheError as error:
                return None, (str(error),)
        return (None if found is None else self._as_cached(found)), ()

    def _as_cached(self, result: SegmentationResult) -> SegmentationResult:
        cost = 0.0 if self.capabilities.billed else None
        return replace(result, usage=replace(result.usage, credits=cost, seconds=0.0, cached=True))

    def _new(
        self, question: Fingerprint, result: SegmentationResult, notices: tuple[str, ...]
    ) -> SegmentationResult:
        result = self._noted(question, result)
        if self._cache is not None:
            self._cache.put_later(question.key, result, question.fields)
        return with_notices(result, (*notices, *STORING.problems()))

    def _noted(self, question: Fingerprint, result: SegmentationResult) -> SegmentationResult:
        """Remember an answer, and return it with what identifies it."""
        result = identified(question, result)
        with self._lock:
            self._answers[question.key] = result
        return result


def stored_answer(
    cache: AnswerCache | None, question: Fingerprint, newer_than: float = 0.0
) -> SegmentationResult | None:
    """Return what is stored for a question, unless it is too old.

    Raises
    ------
    CacheError
        If it cannot be read.
    """
    if cache is None:
        return None
    stored = cache.get(question.key, question.image_shape, question.image_sha256)
    record = None if stored is None else stored.result.record
    if stored is None or record is None or record.answered_at <= newer_than:
        return None
    return stored.result


def with_notices(result: SegmentationResult, notices: Iterable[str]) -> SegmentationResult:
    """Return an answer with more sentences for the user."""
    added = tuple(notices)
    return replace(result, notices=(*result.notices, *added)) if added else result
