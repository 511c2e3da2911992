"""An engine whose answers are kept, and whose paid questions are written down first.

It is an engine itself, so that nobody above needs to know.  What holds, whatever fails:

- a question that is stored is answered from there: free, at once, offline;
- a paid question is in the ledger, on disk, before it leaves;
- one that was sent and not answered is collected, or waits for somebody's word: it is
  never sent again by itself;
- what collects its answer is kept until the answer is stored or saved;
- a question is sent only if somebody agreed to its cost, and once for each time that
  they agreed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from napari_sam3.engines import refuse_unsupported
from napari_sam3.engines.base import (
    NEVER,
    BilledEngine,
    Capabilities,
    Engine,
    SegmentationRequest,
    SegmentationResult,
    raise_if_stopped,
)
from napari_sam3.errors import CacheError, ConsentError, PromptError
from napari_sam3.jobs.consent import Consent
from napari_sam3.jobs.ledger import Origin
from napari_sam3.jobs.paid import Kept, Till, with_notices
from napari_sam3.jobs.question import Question, identified
from napari_sam3.jobs.records import Records


class RecordedEngine:
    """An engine that remembers what it answered, and what it was paid.

    Parameters
    ----------
    engine : Engine
    records : Records
    consent : Consent
        By default nothing may be billed.
    origin : Origin, optional
        On whose behalf it asks; by default a run of its own.
    planned : mapping, optional
        Key to the ledger's entry, for questions that are planned already.
    fresh : bool
        Whether to ask although an answer is stored; it is then replaced.
    about : mapping, optional
        What whoever collects an answer later should know of the image; JSON values.
    """

    def __init__(
        self,
        engine: Engine,
        records: Records,
        consent: Consent | None = None,
        *,
        origin: Origin | None = None,
        planned: Mapping[str, int] | None = None,
        fresh: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._engine = engine
        self._records = records
        self._till = Till(
            cast(BilledEngine, engine),
            records,
            consent or Consent(),
            origin or records.origin(),
            planned or {},
            lambda question: self._known(question)[0],
            self._kept,
            about or {},
        )
        self._fresh = fresh
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
        """Answer one request; see `napari_sam3.engines.base.Engine.segment`.

        Raises
        ------
        ConsentError
            If it would cost money that nobody agreed to.
        CapReachedError
            If it might cost more than is allowed.
        LedgerError
            If it would cost money and cannot be written down.
        OutcomeUnknownError
            If it was sent before, and may have been billed, and nobody agreed to send it again.
        """
        refuse_unsupported(self.name, self.capabilities, request.prompt)
        raise_if_stopped(stop)
        question = Question.of(self._engine, request)
        found, notices = self._known(question)
        if found is not None:
            return found
        if self.capabilities.billed:
            result = self._paid(question, request, stop, notices)
        else:
            result = self._free(question, self._engine.segment(request, stop))
        return with_notices(result, notices)

    def _paid(
        self,
        question: Question,
        request: SegmentationRequest,
        stop: threading.Event,
        notices: tuple[str, ...],
    ) -> SegmentationResult:
        try:
            return self._till.answer(question, request, stop)
        except ConsentError as error:
            if not notices:
                raise
            # what was taken for stored cannot be read: that, and nothing else, is why
            raise ConsentError(
                f"{' '.join(notices)} To ask again costs money, so nothing was sent; run it again "
                "to see the price."
            ) from error

    def _free(self, question: Question, result: SegmentationResult) -> SegmentationResult:
        kept = self._kept(question, result)
        return with_notices(kept.result, (kept.problem,) if kept.problem else ())

    def segment_many(
        self, requests: Sequence[SegmentationRequest], stop: threading.Event = NEVER
    ) -> list[SegmentationResult]:
        """Answer several requests; those to a free engine that are not stored together."""
        together = getattr(self._engine, "segment_many", None)
        if together is None or self.capabilities.billed:
            return [self.segment(request, stop) for request in requests]
        for request in requests:
            refuse_unsupported(self.name, self.capabilities, request.prompt)
        raise_if_stopped(stop)
        questions = [Question.of(self._engine, request) for request in requests]
        known = [self._known(question) for question in questions]
        asked = [r for r, (found, _) in zip(requests, known, strict=True) if found is None]
        try:
            answers = iter(together(asked, stop) if asked else ())
        except PromptError:
            # those before the one that is wrong are answered and stored
            return [self.segment(request, stop) for request in requests]
        return [
            found or with_notices(self._free(question, next(answers)), notices)
            for question, (found, notices) in zip(questions, known, strict=True)
        ]

    def _known(self, question: Question) -> tuple[SegmentationResult | None, tuple[str, ...]]:
        """Return an answer that costs nothing more, and what the user should read about it."""
        with self._lock:
            found = self._answers.get(question.key)
        if found is not None:
            return self._as_cached(found), ()
        cache = self._records.cache
        if cache is None or self._fresh:
            return None, ()
        try:
            stored = cache.get(question.key, question.image_shape, question.image_sha256)
        except CacheError as error:
            return None, (str(error),)
        return (None if stored is None else self._as_cached(stored.result)), ()

    def _as_cached(self, result: SegmentationResult) -> SegmentationResult:
        cost = 0.0 if self.capabilities.billed else None
        return replace(result, usage=replace(result.usage, credits=cost, seconds=0.0, cached=True))

    def _kept(self, question: Question, result: SegmentationResult) -> Kept:
        """Store an answer, and return it with what identifies it and whether it is stored."""
        result = identified(question, result)
        with self._lock:
            # before the ledger calls it answered: whoever waits for it looks here
            self._answers[question.key] = result
        cache = self._records.cache
        if cache is None:
            return Kept(result, is_held=False)
        try:
            cache.put(question.key, result, question.fields)
        except CacheError as error:
            return Kept(result, is_held=False, problem=str(error))
        return Kept(result, is_held=True)
