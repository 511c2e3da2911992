"""What went wrong on the wire → the typed error and its sentence, and whether to ask again.

Statuses, bodies and their meaning: the service's documents, and what public clients
report.  "Only HTTP 200 is billed" is the vendor's word; so an error that came as an
answer cost nothing, while a lost answer may have.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from napari_sam3.engines.base import MAX_SECONDS, possible
from napari_sam3.engines.segmind.json_values import json_object, number, status_of
from napari_sam3.errors import (
    AuthenticationError,
    CreditsError,
    EngineError,
    EngineUnavailableError,
    OutcomeUnknownError,
    RateLimitError,
    RequestRejectedError,
)

RequestKind = Literal["v1", "submit", "status", "result", "download", "credits"]
Kind = Literal["not sent", "broken", "rate limit", "server", "refused"]

PAID: frozenset[RequestKind] = frozenset({"v1", "submit"})
FAILED = frozenset({"FAILED", "FAILURE", "ERROR", "CANCELLED", "CANCELED"})

BACKOFF_S = (1.0, 2.0, 4.0, 8.0)
NOT_SENT_RETRIES = 2
"""The user waits meanwhile, and a network that is down stays down for longer than that."""
RATE_LIMIT_WAIT_S = 60.0
LONGEST_WAIT_S = 300.0

NOT_BILLED = "Nothing was billed."
MAYBE_BILLED = "It may have been billed."
MAX_DETAIL = 300
MAX_PAGE = 4000
GATEWAY = (502, 504)
MARKUP = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.S | re.I)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, as far as asking again depends on it.

    Parameters
    ----------
    kind : str
        ``not sent``: it never reached the service.  ``broken``: no whole answer came
        back.  ``rate limit``, ``server``: the answer said so.  ``refused``: asking
        again is of no use.
    error : EngineError
        For the user, if it is not asked again.
    retry_after : float, optional
        Seconds, if the answer said.
    is_clean : bool
        Whether the answer came from the service itself and not from a gateway before it.
    """

    kind: Kind
    error: EngineError
    retry_after: float | None = None
    is_clean: bool = False


def from_status(
    status: int, headers: dict[str, str], body: bytes, *, paid: bool, request_id: str | None = None
) -> Failure:
    """Translate an answer that is not a success.

    Parameters
    ----------
    headers : dict
        With lower-case names.
    paid : bool
        Whether the request could cost money.
    request_id : str, optional
        Of the request that is asked about.
    """
    detail, is_json = detail_of(body)
    said = f" It said: “{detail}”." if detail else ""
    # about a request that was sent before, whoever collects its answer says what it may cost
    cost = NOT_BILLED if paid or request_id is None else ""
    if status == 429:
        failure = _rate_limit(headers, cost)
    elif paid and status >= 500 and (not is_json or status in GATEWAY):
        failure = Failure("broken", unknown_outcome(f"a gateway answered {status}"))
    elif status >= 500:
        failure = _server_error(status, said, cost, is_json, is_collecting=not cost)
    elif 300 <= status < 400:
        sentence = (
            f"The service redirects to another address ({status}), which is not followed, so "
            "that your key is not given away. Check the address in the settings."
        )
        failure = Failure("refused", EngineError(_joined(sentence, cost)))
    else:
        make, words = _refusal(status, detail.lower(), paid)
        failure = Failure("refused", make(_joined(f"{words}{said}", cost)))
    failure.error.status, failure.error.request_id = status, request_id
    return failure


def _joined(sentence: str, cost: str) -> str:
    return f"{sentence} {cost}".rstrip()


def _rate_limit(headers: dict[str, str], cost: str) -> Failure:
    wait = _seconds_until_reset(headers)
    when = f"in about {wait:.0f} s" if wait is not None else "in a minute"
    sentence = f"The service gets too many requests from this account; try again {when}."
    error = RateLimitError(_joined(sentence, cost), retry_after=wait)
    return Failure("rate limit", error, retry_after=wait)


def _server_error(
    status: int, said: str, cost: str, is_json: bool, *, is_collecting: bool
) -> Failure:
    sentence = f"The service had an error of its own ({status}).{said}"
    if is_collecting:
        return Failure("server", OutcomeUnknownError(sentence), is_clean=is_json)
    advice = "If you have just changed a threshold, change it back; otherwise try again later."
    return Failure("server", EngineError(f"{sentence} {cost} {advice}"), is_clean=is_json)


def _refusal(status: int, detail: str, paid: bool) -> tuple[type[EngineError], str]:
    if status == 406:
        return _refusal_406(detail)
    if status == 404 and paid:
        return RequestRejectedError, (
            "The service does not know this model at this address; check the address, or choose "
            "another version of the API."
        )
    usual = "The service does not take this request; check prompts and thresholds."
    return _REFUSALS.get(status, (RequestRejectedError, usual))


def _refusal_406(detail: str) -> tuple[type[EngineError], str]:
    if "spend" in detail or "budget" in detail:
        return CreditsError, "The team's spending limit is reached; raise it, or wait."
    if "credit" in detail or "balance" in detail:
        return CreditsError, "The account has not enough credits for this call; add some."
    if "content type" in detail or "content-type" in detail:
        return RequestRejectedError, (
            "The request did not arrive as it was sent: something on the way changed its content "
            "type; check the proxy."
        )
    return RequestRejectedError, (
        "The service refuses the request: credits, a spending limit, or a value that it "
        "does not take. Check the balance, and the thresholds."
    )


_REFUSALS: dict[int, tuple[type[EngineError], str]] = {
    401: (
        AuthenticationError,
        "The service does not accept the API key; check it, or make a new one.",
    ),
    403: (AuthenticationError, "This account may not use the model; ask whoever manages it."),
    404: (
        RequestRejectedError,
        "The service does not know this request, or keeps its record no longer (1 hour).",
    ),
    405: (
        RequestRejectedError,
        "The service does not take this kind of request at this address; check the address.",
    ),
    410: (
        EngineUnavailableError,
        "The service has retired this model; update this plugin, or use another engine.",
    ),
    413: (
        RequestRejectedError,
        "The picture is too large for the service; lower the longest side as sent, or send JPEG.",
    ),
}


def unknown_outcome(what: str) -> OutcomeUnknownError:
    """Return the error for a request that was sent and whose answer was lost."""
    return OutcomeUnknownError(
        f"The request was sent, but its answer was lost: {what}. It may have been billed, and is "
        "not sent again by itself. Look at your credits, or the service's console, before you ask "
        "again."
    )


def says_failed(body: bytes) -> bool:
    """Whether an answer, whatever its status, is the word of a job that failed."""
    return status_of(json_object(body)) == "FAILED"


def job_failed(detail: str, request_id: str | None) -> RequestRejectedError:
    """Return the error for a job that the service ran and that failed."""
    said = f" It said: “{detail}”." if detail else ""
    return RequestRejectedError(
        f"The service could not do this job.{said} {NOT_BILLED} Check prompts and thresholds.",
        request_id=request_id,
    )


def detail_of(body: bytes) -> tuple[str, bool]:
    """Return what an error's body says, shortened to plain text, and whether it was JSON."""
    text = body[:20_000].decode("utf-8", "replace").strip()
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return _short(MARKUP.sub(" ", text[:MAX_PAGE])), False
    return words_of(value), True


def words_of(value: Any) -> str:
    """Return what JSON says in words, from where errors are told, shortened to plain text."""
    return _short(_told(value))


def _told(value: Any, depth: int = 4) -> str:
    if isinstance(value, bool) or not value:
        return ""
    if isinstance(value, int | float | str):
        return str(value)
    if not depth:
        return "…"
    if isinstance(value, list):
        return "; ".join(filter(None, (_told(item, depth - 1) for item in value[:5])))
    for name in ("error_description", "error", "message", "detail", "msg"):
        if value.get(name):
            return _told(value[name], depth - 1)
    return ""


def _short(text: str) -> str:
    # JSON can spell halves of characters, and control characters could move a terminal's cursor
    text = text.encode("utf-8", "replace").decode()
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]} …"


def _seconds_until_reset(headers: dict[str, str]) -> float | None:
    """Read ``retry-after`` or the service's own header, whose format is not documented."""
    after = headers.get("retry-after", "").strip()
    if (wait := possible(number(after), MAX_SECONDS)) is not None:
        return wait
    text = (headers.get("x-rate-limit-reset-at-utc") or after).strip()
    when = _moment(text) if text else None
    if when is None:
        return None
    left = (when - datetime.now(UTC)).total_seconds()
    # a moment long past or far away is a clock that differs, not a promise
    return max(0.0, left) if -60 <= left <= 3600 else None


def _moment(text: str) -> datetime | None:
    seconds = number(text)
    if seconds is not None:
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(text)
        except (ValueError, TypeError):
            continue
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    return None


def retry_delay(step: RequestKind, failure: Failure, attempt: int) -> float | None:
    """Return after how many seconds to try again, or None for never.

    What only looks (polls, downloads, the balance) may be repeated.  A submit may be repeated
    only when it certainly was not accepted: every accepted one is billed.

    Parameters
    ----------
    step : str
        What failed.
    failure : Failure
        How it failed.
    attempt : int
        How often this step has failed so far, from 1.
    """
    if attempt > len(BACKOFF_S):
        return None
    backoff = BACKOFF_S[attempt - 1]
    if failure.kind == "rate limit":
        wait = RATE_LIMIT_WAIT_S if failure.retry_after is None else failure.retry_after
        return max(backoff, wait) if wait <= LONGEST_WAIT_S else None
    if failure.kind == "not sent":
        return backoff if attempt <= NOT_SENT_RETRIES else None
    if step not in PAID:
        return backoff if failure.kind in ("broken", "server") else None
    if step == "submit" and failure.kind == "server" and failure.is_clean and attempt == 1:
        # the vendor's documents allow this one: a clean 5xx of a v2 submit is no accepted job
        return backoff
    return None
