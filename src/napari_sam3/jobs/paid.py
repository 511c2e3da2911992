"""Paid questions: written down, sent once, collected where an answer is left behind."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple

from napari_sam3.engines.base import (
    BilledEngine,
    SegmentationRequest,
    SegmentationResult,
    Ticket,
    raise_if_stopped,
)
from napari_sam3.errors import (
    CancelledError,
    CreditsError,
    EngineError,
    LedgerError,
    OutcomeUnknownError,
    ResponseError,
    Sam3Error,
)
from napari_sam3.jobs import owners
from napari_sam3.jobs.consent import Consent, Purse
from napari_sam3.jobs.ledger import Entry, InFlightError, Origin
from napari_sam3.jobs.question import Question
from napari_sam3.jobs.records import Records, UnderWay, is_under_way
from napari_sam3.jobs.tickets import how_it_ended, pack, unpack_ticket

_LOG = logging.getLogger("napari_sam3")

LOOK_AGAIN_S = 0.25
"""How often it is looked whether another process has its answer."""


COLLECTABLE = (
    "It is paid for: until it is saved, it can be fetched again for an hour at no cost "
    "(“Collect” in the panel, or: napari-sam3 collect)."
)


class Kept(NamedTuple):
    """An answer that somebody tried to store.

    Parameters
    ----------
    result : SegmentationResult
    is_held : bool
        Whether it is stored.
    problem : str
        Why not, if it should have been.
    """

    result: SegmentationResult
    is_held: bool
    problem: str = ""


class Till:
    """Where a run's paid questions are asked.

    Parameters
    ----------
    engine : BilledEngine
    records : Records
    consent : Consent
    origin : Origin
        On whose behalf it is asked.
    planned : mapping
        Key to the ledger's entry, for questions that are planned already.
    known : callable
        Returns a question's answer that costs nothing more, or None.
    keep : callable
        Stores an answer.
    about : mapping
        What whoever collects an answer later should know of the image; JSON values.

    Attributes
    ----------
    highest : float
        What the run's dearest answer cost so far, in US dollars.
    """

    def __init__(
        self,
        engine: BilledEngine,
        records: Records,
        consent: Consent,
        origin: Origin,
        planned: Mapping[str, int],
        known: Callable[[Question], SegmentationResult | None],
        keep: Callable[[Question, SegmentationResult], Kept],
        about: Mapping[str, Any],
    ) -> None:
        self.about = about
        self.engine, self.records, self.origin = engine, records, origin
        self.known, self.keep = known, keep
        self.purse = Purse(consent)
        self._planned = dict(planned)
        self._asking: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._first = threading.Lock()
        self._has_price = False
        self.highest = 0.0

    def answer(
        self, question: Question, request: SegmentationRequest, stop: threading.Event
    ) -> SegmentationResult:
        """Collect what is paid for already, or send it; see `RecordedEngine.segment`."""
        with self._alone(question.key, stop), self._priced(stop):
            try:
                result = _PaidQuestion(self, question, request, stop).answer()
                self._note_price(result)
                return result
            finally:
                self._drop_planned(question.key)

    @contextmanager
    def _priced(self, stop: threading.Event) -> Iterator[None]:
        """Let the first question go alone while no price is known: the caps go by it."""
        if not self._has_price:
            while not self._first.acquire(timeout=LOOK_AGAIN_S):
                raise_if_stopped(stop)
            try:
                if not self._has_price and not self._knows_rate():
                    yield
                    return
                self._has_price = True
            finally:
                self._first.release()
        yield

    def _knows_rate(self) -> bool:
        ledger = self.records.ledger
        return ledger.rate(self.engine.name, self.engine.billed_as) is not None

    def _note_price(self, result: SegmentationResult) -> None:
        with self._lock:
            self._has_price = True
            self.highest = max(self.highest, result.usage.credits or 0.0)

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

    def take_entry(self, question: Question) -> int:
        """Return the ledger's entry for a question; a new one where none is planned."""
        with self._lock:
            planned = self._planned.pop(question.key, None)
        if planned is not None:
            return planned
        price = expected_price(self.engine, self.records)
        asked = [(question.key, question.words)]
        name, model = self.engine.name, self.engine.billed_as
        return self.records.ledger.plan(self.origin, name, model, asked, price)[0]

    def put_back_entry(self, key: str, entry_id: int) -> None:
        """Keep an entry that is still planned."""
        with self._lock:
            self._planned[key] = entry_id

    def _drop_planned(self, key: str) -> None:
        with self._lock:
            planned = self._planned.pop(key, None)
        if planned is not None:
            with suppress(LedgerError):
                self.records.ledger.cancel(planned)


class _PaidQuestion:
    """One question on its way to a billed engine."""

    def __init__(
        self, till: Till, question: Question, request: SegmentationRequest, stop: threading.Event
    ) -> None:
        self._till, self._engine, self._ledger = till, till.engine, till.records.ledger
        self._question = question
        self._request = request
        self._stop = stop
        self._notices: list[str] = []

    def answer(self) -> SegmentationResult:
        """Collect what is paid for already, or send it."""
        while True:
            entry = self._ledger.open_entry(self._question.key)
            if entry is None:
                # it may have been answered since it was looked for
                result = self._till.known(self._question) or self._send()
            elif entry.state == "answered":
                result = self._fetched_again(entry)
            elif self._is_to_be_sent_again(entry):
                result = self._collected_after_all(entry) or self._send()
            else:
                result = self._resumed(entry)
            if result is not None:
                return with_notices(result, self._notices)

    def _is_to_be_sent_again(self, entry: Entry) -> bool:
        return entry.state == "unknown" and self._till.purse.has_again(self._question.key)

    # ------------------------------------------------------------------ paid for already

    def _fetched_again(self, entry: Entry) -> SegmentationResult | None:
        """Return an answer that came before and that nothing holds; None if it is gone."""
        try:
            found = self._resumed(entry)
        except EngineError:
            if self._ledger.packed(entry.id) is None:
                # the service keeps it no longer, and whoever had it did not say it was lost
                return None
            raise
        if found is None:
            return None
        # it counts for the run that it was paid in
        return replace(found, usage=replace(found.usage, credits=0.0))

    def _collected_after_all(self, entry: Entry) -> SegmentationResult | None:
        """Try once more to have the answer for nothing, before it is paid for again."""
        try:
            return self._resumed(entry)
        except CancelledError:
            raise
        except Sam3Error:
            return None

    def _resumed(self, entry: Entry) -> SegmentationResult | None:
        """Return the answer to a question that was sent before; None to look again."""
        if self._is_waited_for(entry):
            self._stop.wait(LOOK_AGAIN_S)
            raise_if_stopped(self._stop)
            return self._till.known(self._question)
        packed = self._ledger.packed(entry.id)
        if packed is None:
            if entry.state == "submitted":
                self._ledger.lose(entry.id, "The program ended before the service answered.")
                # somebody may have agreed to send it again
                return None
            raise OutcomeUnknownError(_sent_before(entry))
        try:
            # for the engine that is asked: it has the key, and the same service to ask
            ticket = unpack_ticket(entry.engine, packed)
        except ResponseError as error:
            words = str(error)
            # kept: another version may be able to read it
            self._note(lambda: self._ledger.lose(entry.id, words))
            raise
        with UnderWay(self._ledger, entry.id):
            self._note(lambda: self._ledger.hold(entry.id))
            return self._collected(entry.id, ticket, entry.submitted_at)

    def _is_waited_for(self, entry: Entry) -> bool:
        """Whether this process or another one is about to have the answer."""
        if entry.owner == owners.here() or entry.state != "submitted":
            return is_under_way(self._ledger, entry.id)
        return self._ledger.is_owned(entry)

    # ------------------------------------------------------------------ to be paid for

    def _send(self) -> SegmentationResult | None:
        till, key = self._till, self._question.key
        till.records.require_limits()
        till.purse.take(key)
        try:
            entry_id = till.take_entry(self._question)
        except BaseException:
            till.purse.give_back(key)
            raise
        with UnderWay(self._ledger, entry_id):
            try:
                self._ledger.submit(entry_id, till.records.limits.caps, till.highest)
            except BaseException as error:
                till.purse.give_back(key)
                till.put_back_entry(key, entry_id)
                if isinstance(error, InFlightError):
                    return None
                raise
            found = till.known(self._question)
            if found is not None:
                # another process was faster, and only now no other can be
                till.purse.give_back(key)
                self._note(lambda: self._ledger.fail(entry_id, "It was answered meanwhile."))
                return found
            ticket = self._submitted(entry_id)
            return self._collected(entry_id, ticket, self._ledger.now())

    def _submitted(self, entry_id: int) -> Ticket:
        try:
            ticket = self._engine.submit(self._request, self._stop)
        except BaseException as error:
            self._note_refusal(entry_id, error)
            if isinstance(error, CreditsError):
                error.args = (f"{error}{self._reserved()}",)
            raise
        packed = pack(self._question, self._engine.pack(ticket), self._till.about)
        try:
            self._ledger.accept(entry_id, ticket.request_id, packed)
        except LedgerError as error:
            words = _not_collectable(ticket)
            # at once, for nobody else knows of it should this process end now
            _LOG.warning(words)
            self._notices += [str(error), words]
        return ticket

    def _reserved(self) -> str:
        """Say that calls which are under way may have taken what this one was refused for."""
        count = 0
        with suppress(LedgerError):
            count = len(self._ledger.under_way())
        if not count:
            return ""
        others = "another request is" if count == 1 else f"{count} other requests are"
        return (
            f" But {others} under way, and the service may reserve credits until they are done: "
            "wait for them and try again, or send fewer at a time."
        )

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
            self._till.purse.give_back(self._question.key)
            self._note(lambda: self._ledger.fail(entry_id, words))

    # ------------------------------------------------------------------ its answer

    def _collected(
        self, entry_id: int, ticket: Ticket, sent_at: float | None
    ) -> SegmentationResult:
        try:
            result = self._engine.collect(ticket, self._stop)
        except BaseException as error:
            self._note_failure(entry_id, ticket, error, sent_at)
            if isinstance(error, Sam3Error) and self._notices:
                error.args = (" ".join((str(error), *self._notices)),)
            raise
        # stored first: if it ends in between, the ledger still knows how to collect it
        kept = self._till.keep(self._question, result)
        cost, seconds = kept.result.usage.credits, kept.result.usage.seconds
        request_id = kept.result.usage.request_id
        if kept.is_held:
            self._note(lambda: self._ledger.answer(entry_id, cost, seconds))
        else:
            self._note(lambda: self._ledger.deliver(entry_id, cost, seconds, request_id))
        if not kept.problem:
            return kept.result
        self._note(lambda: self._ledger.release(entry_id))
        return with_notices(kept.result, (f"{kept.problem} {self._remains(entry_id)}".rstrip(),))

    def _note_failure(
        self, entry_id: int, ticket: Ticket, error: BaseException, sent_at: float | None
    ) -> None:
        words, age_s = _words(error), self._ledger.now() - (sent_at or 0.0)
        end = how_it_ended(error, ticket, age_s, self._engine.kept_s)
        if end.state == "failed":
            self._till.purse.give_back(self._question.key)
            self._note(lambda: self._ledger.fail(entry_id, words))
        elif end.state == "unknown":
            keep = end.keeps_ticket
            self._note(lambda: self._ledger.lose(entry_id, words, keep_ticket=keep))
        else:
            self._note(lambda: self._ledger.release(entry_id))

    def _remains(self, entry_id: int) -> str:
        """Say that an answer which is not stored can be collected, if it can."""
        with suppress(LedgerError):
            if self._ledger.packed(entry_id) is not None:
                return COLLECTABLE
        return ""

    def _note(self, write: Callable[[], None]) -> None:
        """Write into the ledger what has happened already; it must not stand in its way."""
        try:
            write()
        except LedgerError as error:
            self._notices.append(str(error))


def expected_price(engine: BilledEngine, records: Records) -> float:
    """Return what one question may cost, in US dollars; the caps go by it."""
    rate = records.ledger.rate(engine.name, engine.billed_as)
    return max(engine.price.high, rate.high) if rate else engine.price.high


def _sent_before(entry: Entry) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.submitted_at or entry.planned_at))
    about = f" (request id {entry.request_id})" if entry.request_id else ""
    return (
        f"This request was sent on {when}{about}, and its result was lost; it may have been "
        "billed, and was not sent again. Look at your credits, then agree to ask it anew."
    )


def _not_collectable(ticket: Ticket) -> str:
    known = f"its request id is {ticket.request_id}" if ticket.request_id else "it gave no id"
    return (
        f"The service accepted the request and may bill it; {known}. If this program ends before "
        "the answer is saved, the answer cannot be collected."
    )


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, Sam3Error) else f"Interrupted ({type(error).__name__})."


def with_notices(result: SegmentationResult, notices: Iterable[str]) -> SegmentationResult:
    """Return an answer with more sentences for the user."""
    added = tuple(notices)
    return replace(result, notices=(*result.notices, *added)) if added else result
