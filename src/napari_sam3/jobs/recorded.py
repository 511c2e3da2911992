"""An engine whose answers are kept, and whose paid questions are written down first.

It is an engine itself, so that nobody above needs to know.  What holds, whatever fails:

- a question that is stored is answered from there: free, at once, offline;
- a paid question is in the ledger, on disk, before it leaves;
- one that was sent and not answered is collected, or waits for somebody's word: it is
  never sent again by itself;
- a question is sent only if somebody agreed to its cost, and once for each time that
  they agreed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from napari_sam3.engines import engine_info, refuse_unsupported
from napari_sam3.engines.base import (
    NEVER,
    AnswerRecord,
    BilledEngine,
    Capabilities,
    Engine,
    SegmentationRequest,
    SegmentationResult,
    Ticket,
    raise_if_stopped,
)
from napari_sam3.errors import (
    AuthenticationError,
    CacheError,
    CancelledError,
    ConsentError,
    EngineError,
    EngineUnavailableError,
    LedgerError,
    OutcomeUnknownError,
    RateLimitError,
    RequestRejectedError,
    ResponseError,
    Sam3Error,
)
from napari_sam3.jobs import owners
from napari_sam3.jobs.answers import digest
from napari_sam3.jobs.ledger import Entry, InFlightError, Origin
from napari_sam3.jobs.question import Question, pixels_sha256
from napari_sam3.jobs.records import Records, UnderWay, is_under_way

LOOK_AGAIN_S = 0.25
"""How often it is looked whether another process has its answer."""

STILL_KEPT = (
    CancelledError,
    OutcomeUnknownError,
    EngineUnavailableError,
    RateLimitError,
    AuthenticationError,
)
"""What ends the wait for an answer that can still be collected."""


@dataclass(frozen=True, slots=True)
class Consent:
    """Which questions somebody agreed to pay for, once each.

    Parameters
    ----------
    keys : frozenset of str, optional
        Of the questions; None stands for whatever is asked.
    again : frozenset of str, optional
        Those of them that may be sent although it is not known whether they were billed
        before; None stands for all.
    """

    keys: frozenset[str] | None = frozenset()
    again: frozenset[str] | None = frozenset()


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
    ) -> None:
        self._engine = engine
        self._records = records
        self._purse = _Purse(consent or Consent())
        self._origin = origin or records.origin()
        self._planned = dict(planned or {})
        self._fresh = fresh
        self._lock = threading.Lock()
        self._answers: dict[str, SegmentationResult] = {}
        self._image: tuple[npt.NDArray[np.uint8], str] | None = None
        self._asking: dict[str, threading.Lock] = {}

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
        question = Question.of(self._engine, request, self._image_sha256(request.image))
        found, notices = self._known(question)
        if found is not None:
            return found
        if self.capabilities.billed:
            result = _PaidQuestion(self, question, request, stop).answer()
        else:
            result = self._kept(question, self._engine.segment(request, stop))
        return _with_notices(result, notices)

    def _image_sha256(self, image: npt.NDArray[np.uint8]) -> str:
        with self._lock:
            # a run asks all its questions about one picture
            if self._image is None or self._image[0] is not image:
                self._image = image, pixels_sha256(image)
            return self._image[1]

    @contextmanager
    def _alone(self, key: str, stop: threading.Event) -> Iterator[None]:
        """Keep the run's other threads from asking the same question at the same time."""
        with self._lock:
            lock = self._asking.setdefault(key, threading.Lock())
        while not lock.acquire(timeout=LOOK_AGAIN_S):
            raise_if_stopped(stop)
        try:
            yield
        finally:
            lock.release()

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
            stored = cache.get(question.key)
        except CacheError as error:
            return None, (str(error),)
        return (None if stored is None else self._as_cached(stored.result)), ()

    def _as_cached(self, result: SegmentationResult) -> SegmentationResult:
        cost = 0.0 if self.capabilities.billed else None
        return replace(result, usage=replace(result.usage, credits=cost, seconds=0.0, cached=True))

    def _kept(self, question: Question, result: SegmentationResult) -> SegmentationResult:
        """Store an answer, and return it with what identifies it."""
        record = AnswerRecord(
            question.key,
            question.image_sha256,
            digest(result.instances),
            self.name,
            self.model,
            dict(self.parameters),
            time.time(),
        )
        result = replace(result, record=record)
        with self._lock:
            # before the ledger calls it answered: whoever waits for it looks here
            self._answers[question.key] = result
        cache = self._records.cache
        if cache is not None:
            try:
                cache.put(question.key, result, question.fields)
            except CacheError as error:
                return _with_notices(result, (str(error),))
        return result


class _Purse:
    """Counts what of a consent is used up."""

    def __init__(self, consent: Consent) -> None:
        self._left = None if consent.keys is None else set(consent.keys)
        self._again = consent.again
        self._lock = threading.Lock()

    def take(self, key: str) -> None:
        with self._lock:
            if self._left is not None and key not in self._left:
                raise ConsentError(
                    "This question would cost money that was not agreed to, so it was not sent: "
                    "its stored answer is gone, or something has changed since. Run it again to "
                    "see its price."
                )
            if self._left is not None:
                self._left.discard(key)

    def give_back(self, key: str) -> None:
        with self._lock:
            if self._left is not None:
                self._left.add(key)

    def has_again(self, key: str) -> bool:
        """Whether a question may be sent although it was perhaps billed before."""
        with self._lock:
            is_agreed = self._again is None or key in self._again
            return is_agreed and (self._left is None or key in self._left)


class _PaidQuestion:
    """One question on its way to a billed engine."""

    def __init__(
        self,
        asker: RecordedEngine,
        question: Question,
        request: SegmentationRequest,
        stop: threading.Event,
    ) -> None:
        self._asker = asker
        self._engine = cast(BilledEngine, asker._engine)
        self._ledger = asker._records.ledger
        self._question = question
        self._request = request
        self._stop = stop
        self._notices: list[str] = []

    def answer(self) -> SegmentationResult:
        """Collect what is paid for already, or send it."""
        with self._asker._alone(self._question.key, self._stop):
            try:
                return self._answer()
            finally:
                self._drop_planned()

    def _answer(self) -> SegmentationResult:
        while True:
            entry = self._ledger.open_entry(self._question.key)
            if entry is None:
                # it may have been answered since it was looked for
                result = self._asker._known(self._question)[0] or self._send()
            elif self._is_to_be_sent_again(entry):
                result = self._send()
            else:
                result = self._resumed(entry)
            if result is not None:
                return _with_notices(result, self._notices)

    def _drop_planned(self) -> None:
        with self._asker._lock:
            planned = self._asker._planned.pop(self._question.key, None)
        if planned is not None:
            with suppress(LedgerError):
                self._ledger.cancel(planned)

    def _is_to_be_sent_again(self, entry: Entry) -> bool:
        return entry.state == "unknown" and self._asker._purse.has_again(self._question.key)

    # ------------------------------------------------------------------ paid for already

    def _resumed(self, entry: Entry) -> SegmentationResult | None:
        """Return the answer to a question that was sent before; None to look again."""
        if self._is_waited_for(entry):
            self._stop.wait(LOOK_AGAIN_S)
            raise_if_stopped(self._stop)
            return self._asker._known(self._question)[0]
        packed = self._ledger.packed(entry.id)
        if packed is None:
            if entry.state == "submitted":
                self._ledger.lose(entry.id, "The program ended before the service answered.")
                # somebody may have agreed to send it again
                return None
            raise OutcomeUnknownError(_sent_before(entry))
        try:
            engine, ticket = unpack(entry.engine, packed)
        except ResponseError as error:
            words = str(error)
            # kept: another version may be able to read it
            self._note(lambda: self._ledger.lose(entry.id, words))
            raise
        with UnderWay(self._ledger, entry.id):
            self._note(lambda: self._ledger.hold(entry.id))
            return self._collected(entry.id, lambda: engine.collect(ticket, self._stop), ticket)

    def _is_waited_for(self, entry: Entry) -> bool:
        """Whether this process or another one is about to have the answer."""
        if entry.owner == owners.here() or entry.state != "submitted":
            return is_under_way(self._ledger, entry.id)
        return self._ledger.is_owned(entry)

    # ------------------------------------------------------------------ to be paid for

    def _send(self) -> SegmentationResult | None:
        asker, key = self._asker, self._question.key
        asker._purse.take(key)
        try:
            entry_id = self._entry()
        except BaseException:
            asker._purse.give_back(key)
            raise
        with UnderWay(self._ledger, entry_id):
            try:
                self._ledger.submit(entry_id, asker._records.limits.caps)
            except BaseException as error:
                asker._purse.give_back(key)
                with asker._lock:
                    asker._planned[key] = entry_id
                if isinstance(error, InFlightError):
                    return None
                raise
            found = asker._known(self._question)[0]
            if found is not None:
                # another process was faster, and only now no other can be
                asker._purse.give_back(key)
                self._note(lambda: self._ledger.fail(entry_id, "It was answered meanwhile."))
                return found
            ticket = self._submitted(entry_id)
            return self._collected(
                entry_id, lambda: self._engine.collect(ticket, self._stop), ticket
            )

    def _entry(self) -> int:
        asker, question = self._asker, self._question
        with asker._lock:
            planned = asker._planned.pop(question.key, None)
        if planned is not None:
            return planned
        price = expected_price(self._engine, asker._records)
        asked = [(question.key, question.words)]
        return self._ledger.plan(asker._origin, asker.name, asker.model, asked, price)[0]

    def _submitted(self, entry_id: int) -> Ticket:
        try:
            ticket = self._engine.submit(self._request, self._stop)
        except BaseException as error:
            self._note_refusal(entry_id, error)
            raise
        packed = pack(self._question, self._engine.pack(ticket))
        self._note(lambda: self._ledger.accept(entry_id, ticket.request_id, packed))
        return ticket

    def _note_refusal(self, entry_id: int, error: BaseException) -> None:
        was_sent = error.was_sent if isinstance(error, CancelledError) else True
        if isinstance(error, EngineError):
            was_sent = error.maybe_billed
        elif isinstance(error, Sam3Error) and not isinstance(error, CancelledError):
            was_sent = False
        words = _words(error)
        if was_sent:
            self._note(lambda: self._ledger.lose(entry_id, words))
        else:
            self._asker._purse.give_back(self._question.key)
            self._note(lambda: self._ledger.fail(entry_id, words))

    # ------------------------------------------------------------------ its answer

    def _collected(
        self, entry_id: int, collect: Callable[[], SegmentationResult], ticket: Ticket
    ) -> SegmentationResult:
        try:
            result = collect()
        except BaseException as error:
            words, keep = _words(error), not is_forgotten(error)
            end = how_it_ended(error, ticket)
            if end == "failed":
                self._asker._purse.give_back(self._question.key)
                self._note(lambda: self._ledger.fail(entry_id, words))
            elif end == "unknown":
                self._note(lambda: self._ledger.lose(entry_id, words, keep_ticket=keep))
            else:
                self._note(lambda: self._ledger.release(entry_id))
            raise
        # stored first: if it ends in between, the ledger still knows how to collect it
        kept = self._asker._kept(self._question, result)
        usage = result.usage
        self._note(lambda: self._ledger.answer(entry_id, usage.credits, usage.seconds))
        return kept

    def _note(self, write: Callable[[], None]) -> None:
        """Write into the ledger what has happened already; it must not stand in its way."""
        try:
            write()
        except LedgerError as error:
            self._notices.append(str(error))


def expected_price(engine: BilledEngine, records: Records) -> float:
    """Return what one question may cost, in US dollars; the caps go by it."""
    rate = records.ledger.rate(engine.name, engine.model)
    return max(engine.price.high, rate.high) if rate else engine.price.high


def how_it_ended(error: BaseException, ticket: Ticket) -> str:
    """Return what a failed collection means for the ledger.

    Returns
    -------
    str
        ``submitted``: the answer can still be collected.  ``failed``: the engine could
        not do it, and nothing was billed.  ``unknown``: it may have been billed.
    """
    if isinstance(error, RequestRejectedError) and error.status is None:
        return "unknown" if error.maybe_billed else "failed"
    if ticket.request_id is None:
        return "unknown"
    is_kept = isinstance(error, STILL_KEPT) or not isinstance(error, Exception)
    return "submitted" if is_kept else "unknown"


def is_forgotten(error: BaseException) -> bool:
    """Whether the engine says that it keeps an answer no longer."""
    return isinstance(error, EngineError) and error.status == 404


def pack(question: Question, ticket: bytes) -> bytes:
    """Return a packed ticket with what was asked, for whoever collects its answer."""
    head = {"key": question.key, "words": question.words, "fields": dict(question.fields)}
    return json.dumps(head).encode() + b"\n" + ticket


def unpack(engine_name: str, packed: bytes) -> tuple[BilledEngine, Ticket]:
    """Return an engine and the ticket that it can collect, of what `pack` gave."""
    resume = engine_info(engine_name).resume
    if resume is None:
        raise EngineUnavailableError(
            f"The engine {engine_name!r} cannot collect answers in this version."
        )
    return resume(packed.partition(b"\n")[2])


def unpack_question(packed: bytes) -> Question:
    """Return the question of what `pack` gave.

    Raises
    ------
    LedgerError
        If it is no such thing.
    """
    try:
        head = json.loads(packed.partition(b"\n")[0])
        question = Question(str(head["key"]), str(head["words"]), dict(head["fields"]))
        # whoever uses it relies on these
        _ = question.image_sha256
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LedgerError("What the ledger notes of a paid question cannot be read.") from error
    return question


def _sent_before(entry: Entry) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.submitted_at or entry.planned_at))
    about = f" (request id {entry.request_id})" if entry.request_id else ""
    return (
        f"This question was sent on {when}{about}, and its answer was lost; it may have been "
        "billed, and was not sent again. Look at your credits, then agree to ask it anew."
    )


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, Sam3Error) else f"Interrupted ({type(error).__name__})."


def _with_notices(result: SegmentationResult, notices: Iterable[str]) -> SegmentationResult:
    added = tuple(notices)
    return replace(result, notices=(*result.notices, *added)) if added else result
