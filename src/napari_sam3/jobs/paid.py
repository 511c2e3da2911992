"""An engine whose questions cost money: written down, sent once, collected if left behind.

What holds, whatever fails:

- a question that is stored is answered from there: free, at once, offline;
- any other is in the ledger, on disk, before it leaves;
- one that was sent and not answered is collected, or waits for somebody's word: it is
  never sent again by itself;
- what collects its answer is kept until the answer is stored or saved;
- a question is sent only if somebody agreed to its cost, and once for each time that
  they agreed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from napari_sam3.engines.base import (
    NEVER,
    BilledEngine,
    SegmentationRequest,
    SegmentationResult,
    Ticket,
    raise_if_stopped,
)
from napari_sam3.errors import (
    CacheError,
    CancelledError,
    ConsentError,
    CreditsError,
    EngineError,
    LedgerError,
    OutcomeUnknownError,
    ResponseError,
    Sam3Error,
)
from napari_sam3.jobs import owners, turns
from napari_sam3.jobs.accounts import UnderWay, is_under_way
from napari_sam3.jobs.cached import CachedEngine, with_notices
from napari_sam3.jobs.consent import Consent, Purse
from napari_sam3.jobs.costs import expected_price
from napari_sam3.jobs.fingerprint import Fingerprint
from napari_sam3.jobs.ledger import Entry, InFlightError, Ledger, Origin
from napari_sam3.jobs.records import Records
from napari_sam3.jobs.tickets import End, how_it_ended, pack, unpack_ticket, was_sent
from napari_sam3.jobs.turns import Turns

_LOG = logging.getLogger("napari_sam3")

COLLECTABLE = (
    "It is paid for: until it is saved, it can be fetched again for an hour at no cost "
    "(“Collect” in the panel, or: napari-sam3 collect)."
)


@dataclass(eq=False, slots=True)
class _Asked:
    """One question on its way, and what the user should read of it."""

    question: Fingerprint
    request: SegmentationRequest
    stop: threading.Event
    notices: list[str] = field(default_factory=list)

    def note(self, write: Callable[[], None]) -> None:
        """Write into the ledger what has happened already; it must not stand in its way."""
        try:
            write()
        except LedgerError as error:
            self.notices.append(str(error))


class PaidEngine(CachedEngine):
    """A billed engine that remembers what it answered and what it was paid.

    Parameters
    ----------
    engine : BilledEngine
    records : Records
    consent : Consent
        By default nothing may be billed.
    newer_than : float
        As in `CachedEngine`.
    about : mapping, optional
        What whoever collects an answer later should know of the image; JSON values.
    """

    def __init__(
        self,
        engine: BilledEngine,
        records: Records,
        consent: Consent | None = None,
        *,
        newer_than: float = 0.0,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(engine, records.cache, newer_than=newer_than)
        self._billed, self._records, self._about = engine, records, about or {}
        self._purse = Purse(consent or Consent())
        self._origin: Origin | None = None
        self._planned: dict[str, int] = {}
        self._turns = Turns(lambda: self._ledger.rate(engine.name, engine.billed_as) is not None)

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
        (question,) = self._questions([request], stop)
        found, notices = self._known(question)
        if found is not None:
            return found
        try:
            result = self._paid(_Asked(question, request, stop))
        except ConsentError as error:
            if not notices:
                raise
            # what was taken for stored cannot be read: that, and nothing else, is why
            raise ConsentError(
                f"{' '.join(notices)} To ask again costs money, so nothing was sent; run it again "
                "to see the price."
            ) from error
        return with_notices(result, notices)

    def segment_many(
        self, requests: Sequence[SegmentationRequest], stop: threading.Event = NEVER
    ) -> list[SegmentationResult]:
        """Answer several requests one by one, so that each answer is kept as it comes."""
        return [self.segment(request, stop) for request in requests]

    @contextmanager
    def planned(self, calls: Sequence[Fingerprint]) -> Iterator[None]:
        """Have it in the ledger, while it is entered, what is going to be sent."""
        if not calls:
            yield
            return
        try:
            ids = self._plan(calls)
            self._planned |= {call.key: one for call, one in zip(calls, ids, strict=True)}
            yield
        finally:
            # were they never sent and this fails, the next start drops them
            with suppress(LedgerError):
                self._ledger.cancel_run(self._on_behalf().run)

    # ------------------------------------------------------------------ once at a time

    def _paid(self, asked: _Asked) -> SegmentationResult:
        """Collect what is paid for already, or send it."""
        key = asked.question.key
        with self._turns.taken(key, asked.stop):
            try:
                result = self._answered(asked)
            finally:
                self._drop_planned(key)
            self._turns.note_price(result.usage.credits)
            return result

    # ------------------------------------------------------------------ its entry

    @property
    def _ledger(self) -> Ledger:
        return self._records.ledger

    def _on_behalf(self) -> Origin:
        with self._lock:
            if self._origin is None:
                self._origin = self._records.accounts().origin()
            return self._origin

    def _plan(self, calls: Sequence[Fingerprint]) -> list[int]:
        name, model = self._billed.name, self._billed.billed_as
        price = expected_price(self._billed, self._ledger.rate(name, model))
        asked = [(call.key, call.words) for call in calls]
        return self._ledger.plan(self._on_behalf(), name, model, asked, price)

    def _take_entry(self, question: Fingerprint) -> int:
        """Return the ledger's entry for a question; a new one where none is planned."""
        with self._lock:
            planned = self._planned.pop(question.key, None)
        return self._plan([question])[0] if planned is None else planned

    def _drop_planned(self, key: str) -> None:
        with self._lock:
            planned = self._planned.pop(key, None)
        if planned is not None:
            with suppress(LedgerError):
                self._ledger.cancel(planned)

    # ------------------------------------------------------------------ paid for already

    def _answered(self, asked: _Asked) -> SegmentationResult:
        key = asked.question.key
        while True:
            entry = self._ledger.open_entry(key)
            if entry is None:
                # it may have been answered since it was looked for
                result = self._known(asked.question)[0] or self._sent(asked)
            elif entry.state == "answered":
                result = self._fetched_again(asked, entry)
            elif entry.state == "unknown" and self._purse.has_again(key):
                result = self._collected_after_all(asked, entry) or self._sent(asked)
            else:
                result = self._resumed(asked, entry)
            if result is not None:
                return with_notices(result, asked.notices)

    def _fetched_again(self, asked: _Asked, entry: Entry) -> SegmentationResult | None:
        """Return an answer that came before and that nothing holds; None if it is gone."""
        try:
            found = self._resumed(asked, entry)
        except EngineError:
            if self._ledger.packed(entry.id) is None:
                # the service keeps it no longer, and whoever had it did not say it was lost
                return None
            raise
        if found is None:
            return None
        # it counts for the run that it was paid in
        return replace(found, usage=replace(found.usage, credits=0.0))

    def _collected_after_all(self, asked: _Asked, entry: Entry) -> SegmentationResult | None:
        """Try once more to have the answer for nothing, before it is paid for again."""
        try:
            return self._resumed(asked, entry)
        except CancelledError:
            raise
        except Sam3Error:
            return None

    def _resumed(self, asked: _Asked, entry: Entry) -> SegmentationResult | None:
        """Return the answer to a question that was sent before; None to look again."""
        if self._is_waited_for(entry):
            asked.stop.wait(turns.LOOK_AGAIN_S)
            raise_if_stopped(asked.stop)
            return self._known(asked.question)[0]
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
            asked.note(lambda: self._ledger.lose(entry.id, words))
            raise
        with UnderWay(self._ledger, entry.id):
            asked.note(lambda: self._ledger.hold(entry.id))
            return self._collected(asked, entry.id, ticket, entry.submitted_at)

    def _is_waited_for(self, entry: Entry) -> bool:
        """Whether this process or another one is about to have the answer."""
        if entry.owner == owners.here() or entry.state != "submitted":
            return is_under_way(self._ledger, entry.id)
        return self._ledger.is_owned(entry)

    # ------------------------------------------------------------------ to be paid for

    def _sent(self, asked: _Asked) -> SegmentationResult | None:
        key = asked.question.key
        self._records.accounts().require_limits()
        self._purse.take(key)
        try:
            entry_id = self._take_entry(asked.question)
        except BaseException:
            self._purse.give_back(key)
            raise
        with UnderWay(self._ledger, entry_id):
            try:
                caps = self._records.accounts().limits.caps
                self._ledger.submit(entry_id, caps, self._turns.highest)
            except BaseException as error:
                self._purse.give_back(key)
                with self._lock:
                    # it is planned still
                    self._planned[key] = entry_id
                if isinstance(error, InFlightError):
                    return None
                raise
            found = self._known(asked.question)[0]
            if found is not None:
                # another process was faster, and only now no other can be
                self._purse.give_back(key)
                asked.note(lambda: self._ledger.fail(entry_id, "It was answered meanwhile."))
                return found
            ticket = self._submitted(asked, entry_id)
            return self._collected(asked, entry_id, ticket, self._ledger.now())

    def _submitted(self, asked: _Asked, entry_id: int) -> Ticket:
        try:
            ticket = self._billed.submit(asked.request, asked.stop)
        except BaseException as error:
            words = _words(error)
            if was_sent(error):
                asked.note(lambda: self._ledger.lose(entry_id, words))
            else:
                self._purse.give_back(asked.question.key)
                asked.note(lambda: self._ledger.fail(entry_id, words))
            if isinstance(error, CreditsError):
                error.args = (f"{error}{self._reserved()}",)
            raise
        packed = pack(asked.question, self._billed.pack(ticket), self._about)
        try:
            self._ledger.accept(entry_id, ticket.request_id, packed)
        except LedgerError as error:
            words = _not_collectable(ticket)
            # at once, for nobody else knows of it should this process end now
            _LOG.warning(words)
            asked.notices += [str(error), words]
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

    # ------------------------------------------------------------------ its answer

    def _collected(
        self, asked: _Asked, entry_id: int, ticket: Ticket, sent_at: float | None
    ) -> SegmentationResult:
        try:
            result = self._billed.collect(ticket, asked.stop)
        except BaseException as error:
            age_s = self._ledger.now() - (sent_at or 0.0)
            end = how_it_ended(error, ticket, age_s, self._billed.kept_s)
            self._note_failure(asked, entry_id, end, _words(error))
            if isinstance(error, Sam3Error) and asked.notices:
                error.args = (" ".join((str(error), *asked.notices)),)
            raise
        # before the ledger calls it answered: whoever waits for it looks here
        result = self._noted(asked.question, result)
        usage = result.usage
        problem = self._stored(asked.question, result)
        if problem is None:
            # stored first: if it ends in between, the ledger still knows how to collect it
            asked.note(lambda: self._ledger.answer(entry_id, usage.credits, usage.seconds))
            return result
        asked.note(
            lambda: self._ledger.deliver(entry_id, usage.credits, usage.seconds, usage.request_id)
        )
        if not problem:
            return result
        asked.note(lambda: self._ledger.release(entry_id))
        return with_notices(result, (f"{problem} {self._remains(entry_id)}".rstrip(),))

    def _stored(self, question: Fingerprint, result: SegmentationResult) -> str | None:
        """Store an answer; return why it is not, "" where answers are not stored on purpose."""
        if self._cache is None:
            return ""
        try:
            self._cache.put(question.key, result, question.fields)
        except CacheError as error:
            return str(error)
        return None

    def _note_failure(self, asked: _Asked, entry_id: int, end: End, words: str) -> None:
        if end.state == "failed":
            self._purse.give_back(asked.question.key)
            asked.note(lambda: self._ledger.fail(entry_id, words))
        elif end.state == "unknown":
            keep = end.keeps_ticket
            asked.note(lambda: self._ledger.lose(entry_id, words, keep_ticket=keep))
        else:
            asked.note(lambda: self._ledger.release(entry_id))

    def _remains(self, entry_id: int) -> str:
        """Say that an answer which is not stored can be collected, if it can."""
        with suppress(LedgerError):
            if self._ledger.packed(entry_id) is not None:
                return COLLECTABLE
        return ""


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
