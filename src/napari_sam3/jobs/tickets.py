"""What collects a paid answer later, with what was asked; and what a failed try means."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from napari_sam3.engines.base import BilledEngine, Ticket
from napari_sam3.engines.creating import read_ticket, resume
from napari_sam3.errors import (
    AuthenticationError,
    CancelledError,
    EngineError,
    EngineUnavailableError,
    LedgerError,
    OutcomeUnknownError,
    RateLimitError,
    RequestRejectedError,
    Sam3Error,
)
from napari_sam3.jobs.fingerprint import Fingerprint

STILL_KEPT = (
    CancelledError,
    OutcomeUnknownError,
    EngineUnavailableError,
    RateLimitError,
    AuthenticationError,
)
"""What ends the wait for an answer that can still be collected."""

NOT_FOUND = 404
KEY = re.compile(r"[0-9a-f]{64}")


class End(NamedTuple):
    """What a failed collection means for the ledger.

    Parameters
    ----------
    state : str
        ``submitted``: the answer can still be collected.  ``failed``: the engine could
        not do it, and nothing was billed.  ``unknown``: it may have been billed.
    keeps_ticket : bool
        Whether another try may succeed.
    """

    state: Literal["submitted", "failed", "unknown"]
    keeps_ticket: bool = True


def was_sent(error: BaseException) -> bool:
    """Whether a question whose submission failed may be billed all the same."""
    if isinstance(error, CancelledError):
        return error.was_sent
    if isinstance(error, EngineError):
        return error.maybe_billed
    return not isinstance(error, Sam3Error)


def how_it_ended(error: BaseException, ticket: Ticket, age_s: float, kept_s: float) -> End:
    """Return what a failed collection means for the ledger.

    Parameters
    ----------
    error : BaseException
    ticket : Ticket
    age_s : float
        Seconds since the question was sent.
    kept_s : float
        For how many seconds the engine keeps an answer.
    """
    if isinstance(error, RequestRejectedError) and error.status is None:
        return End("unknown" if error.maybe_billed else "failed")
    if ticket.request_id is None:
        return End("unknown")
    if isinstance(error, EngineError) and error.status == NOT_FOUND:
        # early on it is a service that lags, or a proxy; a clock that was set back is no proof
        is_forgotten = age_s > kept_s
        return End("unknown", keeps_ticket=False) if is_forgotten else End("submitted")
    is_kept = isinstance(error, STILL_KEPT) or not isinstance(error, Exception)
    return End("submitted" if is_kept else "unknown")


def pack(question: Fingerprint, ticket: bytes, about: Mapping[str, Any] | None = None) -> bytes:
    """Return a packed ticket with what was asked and of what, for whoever collects its answer."""
    head = {
        "key": question.key,
        "words": question.words,
        "fields": dict(question.fields),
        "about": dict(about or {}),
    }
    return json.dumps(head).encode() + b"\n" + ticket


def unpack(engine_name: str, packed: bytes, url: str | None = None) -> tuple[BilledEngine, Ticket]:
    """Return an engine and the ticket that it can collect, of what `pack` gave.

    Parameters
    ----------
    engine_name : str
    packed : bytes
    url : str, optional
        An address that the user names.
    """
    return resume(engine_name, packed.partition(b"\n")[2], url)


def unpack_ticket(engine_name: str, packed: bytes) -> Ticket:
    """Return the ticket alone, for an engine that is there already."""
    return read_ticket(engine_name, packed.partition(b"\n")[2])


def unpack_about(packed: bytes) -> dict[str, Any]:
    """Return what `pack` was told of the image; empty if that cannot be read."""
    try:
        about = json.loads(packed.partition(b"\n")[0])["about"]
    except (ValueError, TypeError, KeyError):
        return {}
    return about if isinstance(about, dict) else {}


def unpack_question(packed: bytes) -> Fingerprint:
    """Return the question of what `pack` gave.

    Raises
    ------
    LedgerError
        If it is no such thing.
    """
    try:
        head = json.loads(packed.partition(b"\n")[0])
        question = Fingerprint(str(head["key"]), str(head["words"]), dict(head["fields"]))
        # whoever uses it relies on these
        _ = question.image_sha256, dict(question.fields["parameters"])
        _ = question.fields["engine"], question.fields["model"]
        if not KEY.fullmatch(question.key):
            raise ValueError("no key")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LedgerError("What the ledger notes of a paid request cannot be read.") from error
    return question
