"""What collects a paid answer later, with what was asked; and what a failed try means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from napari_sam3.engines import engine_info
from napari_sam3.engines.base import BilledEngine, Ticket
from napari_sam3.errors import (
    AuthenticationError,
    CancelledError,
    EngineError,
    EngineUnavailableError,
    LedgerError,
    OutcomeUnknownError,
    RateLimitError,
    RequestRejectedError,
)
from napari_sam3.jobs.question import Question

STILL_KEPT = (
    CancelledError,
    OutcomeUnknownError,
    EngineUnavailableError,
    RateLimitError,
    AuthenticationError,
)
"""What ends the wait for an answer that can still be collected."""


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


def pack(question: Question, ticket: bytes, about: Mapping[str, Any] | None = None) -> bytes:
    """Return a packed ticket with what was asked and of what, for whoever collects its answer."""
    head = {
        "key": question.key,
        "words": question.words,
        "fields": dict(question.fields),
        "about": dict(about or {}),
    }
    return json.dumps(head).encode() + b"\n" + ticket


def unpack(engine_name: str, packed: bytes) -> tuple[BilledEngine, Ticket]:
    """Return an engine and the ticket that it can collect, of what `pack` gave."""
    resume = engine_info(engine_name).resume
    if resume is None:
        raise EngineUnavailableError(
            f"The engine {engine_name!r} cannot collect answers in this version."
        )
    return resume(packed.partition(b"\n")[2])


def unpack_about(packed: bytes) -> dict[str, Any]:
    """Return what `pack` was told of the image; empty if that cannot be read."""
    try:
        about = json.loads(packed.partition(b"\n")[0])["about"]
    except (ValueError, TypeError, KeyError):
        return {}
    return about if isinstance(about, dict) else {}


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
