"""Answers that were paid for and never arrived: fetched, and stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from napari_sam3.engines.base import NEVER, AnswerRecord, SegmentationResult, raise_if_stopped
from napari_sam3.errors import CacheError, EngineError, LedgerError, Sam3Error
from napari_sam3.jobs.answers import digest
from napari_sam3.jobs.ledger import Entry
from napari_sam3.jobs.question import Question
from napari_sam3.jobs.records import Records, UnderWay
from napari_sam3.jobs.tickets import (
    how_it_ended,
    is_forgotten,
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
    question : Question, optional
        What was asked, as far as it is known.
    error : str
        Why there is none; empty if there is one.
    about : dict
        What the run told of the image: see `napari_sam3.workflows.segment.SegmentRun`.
    """

    entry: Entry
    result: SegmentationResult | None = None
    question: Question | None = None
    error: str = ""
    about: dict[str, Any] = field(default_factory=dict)


def iter_collect(
    records: Records, stop: threading.Event = NEVER
) -> Generator[Entry, None, tuple[Collected, ...]]:
    """Fetch the answers of all unfinished questions; costs nothing.

    Parameters
    ----------
    records : Records
    stop : threading.Event
        Set by another thread to cancel; what was collected before is kept.

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
    done = []
    for entry in records.unfinished():
        if stop.is_set():
            break
        yield entry
        done.append(_collect(entry, records, stop))
    return tuple(done)


def _collect(entry: Entry, records: Records, stop: threading.Event) -> Collected:
    try:
        packed = records.ledger.packed(entry.id)
        stored = _stored(entry, records)
        if stored is not None:
            # it ended between storing the answer and saying so
            question = unpack_question(packed) if packed is not None else None
            about = unpack_about(packed) if packed is not None else {}
            return Collected(entry, _noted(entry, stored, records), question, about=about)
        if packed is None:
            words = "It was sent, but the program ended before the service answered."
            records.ledger.lose(entry.id, words)
            return Collected(entry, error=f"{words} It may have been billed.")
        with UnderWay(records.ledger, entry.id):
            return _fetched(entry, packed, records, stop)
    except Sam3Error as error:
        # the others may be collected all the same
        return Collected(entry, error=str(error))


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


def _fetched(entry: Entry, packed: bytes, records: Records, stop: threading.Event) -> Collected:
    question = unpack_question(packed)
    engine, ticket = unpack(entry.engine, packed)
    raise_if_stopped(stop)
    try:
        result = engine.collect(ticket, stop)
    except Sam3Error as error:
        _note_failure(entry, error, how_it_ended(error, ticket), records)
        raise
    record = AnswerRecord(
        question.key,
        question.image_sha256,
        digest(result.instances),
        entry.engine,
        entry.model,
        dict(question.fields.get("parameters", {})),
        time.time(),
    )
    result = replace(result, record=record)
    if records.cache is not None:
        try:
            records.cache.put(question.key, result, question.fields)
        except CacheError as error:
            result = replace(result, notices=(*result.notices, str(error)))
    about = unpack_about(packed)
    return Collected(entry, _noted(entry, result, records), question, about=about)


def _note_failure(entry: Entry, error: Sam3Error, end: str, records: Records) -> None:
    if end == "failed":
        records.ledger.fail(entry.id, str(error))
    elif end == "unknown":
        keep = isinstance(error, EngineError) and not is_forgotten(error)
        records.ledger.lose(entry.id, str(error), keep_ticket=keep)
