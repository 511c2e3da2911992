"""Answers that were paid for and never arrived: fetched, and stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

from napari_sam3.engines.base import NEVER, SegmentationResult, raise_if_stopped
from napari_sam3.errors import CacheError, LedgerError, Sam3Error
from napari_sam3.jobs.accounts import UnderWay
from napari_sam3.jobs.fingerprint import Fingerprint, identified
from napari_sam3.jobs.ledger import Entry
from napari_sam3.jobs.records import Records
from napari_sam3.jobs.tickets import (
    End,
    how_it_ended,
    unpack,
    unpack_about,
    unpack_question,
)


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """What became of one unfinished question.

    Parameters
    ----------
    entry : Entry
        As it was before.
    result : SegmentationResult, optional
        The answer, if it came.
    question : Fingerprint, optional
        What was asked, as far as it is known.
    error : str
        Why there is none; empty if there is one.
    about : dict
        What the run told of the image: see `napari_sam3.workflows.run.SegmentRun`.
    """

    entry: Entry
    result: SegmentationResult | None = None
    question: Fingerprint | None = None
    error: str = ""
    about: dict[str, Any] = field(default_factory=dict)


Keep = Callable[[Collected], bool]


def iter_collect(
    records: Records,
    stop: threading.Event = NEVER,
    *,
    url: str | None = None,
    keep: Keep = lambda _: False,
) -> Generator[Entry, None, tuple[Collected, ...]]:
    """Fetch the answers of all unfinished questions; costs nothing.

    A question counts as answered once its answer is stored, or kept otherwise; until then
    it stays to be collected.

    Parameters
    ----------
    records : Records
    stop : threading.Event
        Set by another thread to cancel; what was collected before is kept.
    url : str, optional
        An address that the user names; see `napari_sam3.jobs.tickets.unpack`.
    keep : callable
        Given an answer that cannot be stored, keeps it elsewhere; returns whether it did.

    Yields
    ------
    Entry
        Each question before its answer is fetched.

    Returns
    -------
    tuple of Collected

    Raises
    ------
    LedgerError
        If the ledger cannot be read.
    """
    collector = _Collector(records, stop, url, keep)
    done = []
    for entry in records.accounts().unfinished():
        if stop.is_set():
            break
        yield entry
        done.append(collector.collect(entry))
    return tuple(done)


class _Collector:
    """Fetches one answer after the other."""

    def __init__(
        self, records: Records, stop: threading.Event, url: str | None, keep: Keep
    ) -> None:
        self._records, self._ledger = records, records.ledger
        self._stop, self._url, self._keep = stop, url, keep

    def collect(self, entry: Entry) -> Collected:
        try:
            packed = self._ledger.packed(entry.id)
            stored = _stored(entry, self._records)
            if stored is not None:
                # it ended between storing the answer and saying so
                question = unpack_question(packed) if packed is not None else None
                about = unpack_about(packed) if packed is not None else {}
                result = _noted(entry, stored, self._records)
                return Collected(entry, result, question, about=about)
            if packed is None:
                words = "It was sent, but the program ended before the service answered."
                self._ledger.lose(entry.id, words)
                return Collected(entry, error=f"{words} It may have been billed.")
            with UnderWay(self._ledger, entry.id):
                return self._fetched(entry, packed)
        except Sam3Error as error:
            # the others may be collected all the same
            return Collected(entry, error=str(error))

    def _fetched(self, entry: Entry, packed: bytes) -> Collected:
        question, about = unpack_question(packed), unpack_about(packed)
        engine, ticket = unpack(entry.engine, packed, self._url)
        raise_if_stopped(self._stop)
        try:
            result = engine.collect(ticket, self._stop)
        except Sam3Error as error:
            age_s = self._ledger.now() - (entry.submitted_at or 0.0)
            self._note_failure(entry, error, how_it_ended(error, ticket, age_s, engine.kept_s))
            raise
        result = identified(question, result)
        found = Collected(entry, result, question, about=about)
        problem = self._store(question, result)
        if problem and not self._keep(found):
            words = f"{problem} The answer stays to be collected."
            return replace(found, result=replace(result, notices=(*result.notices, words)))
        return replace(found, result=_noted(entry, result, self._records))

    def _store(self, question: Fingerprint, result: SegmentationResult) -> str:
        """Store an answer; return why that failed, empty if it did not."""
        if self._records.cache is None:
            return "Stored results are switched off."
        try:
            # one that was asked for since is not replaced by an older one
            self._records.cache.put(question.key, result, question.fields, replace=False)
        except CacheError as error:
            return str(error)
        return ""

    def _note_failure(self, entry: Entry, error: Sam3Error, end: End) -> None:
        if end.state == "failed":
            self._ledger.fail(entry.id, str(error))
        elif end.state == "unknown":
            self._ledger.lose(entry.id, str(error), keep_ticket=end.keeps_ticket)


def _noted(entry: Entry, result: SegmentationResult, records: Records) -> SegmentationResult:
    """Write down that an answer is here; that this fails is no reason to keep it back."""
    try:
        records.ledger.answer(entry.id, result.usage.credits, result.usage.seconds)
    except LedgerError as error:
        return replace(result, notices=(*result.notices, str(error)))
    return result


def _stored(entry: Entry, records: Records) -> SegmentationResult | None:
    if records.cache is None:
        return None
    try:
        found = records.cache.get(entry.key)
    except CacheError:
        return None
    return found.result if found is not None and _is_of(entry, found.result) else None


def _is_of(entry: Entry, result: SegmentationResult) -> bool:
    """Whether an answer to the same question is that of this submission."""
    if entry.request_id is not None and result.usage.request_id is not None:
        return result.usage.request_id == entry.request_id
    if result.record is None or entry.submitted_at is None:
        return False
    return result.record.answered_at >= entry.submitted_at
