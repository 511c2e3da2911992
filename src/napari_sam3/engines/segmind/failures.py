"""What went wrong on the wire → the typed error and its sentence.

Statuses, bodies and their meaning: the service's documents, and what public clients
report.  "Only HTTP 200 is billed" is the vendor's word; so an error that came as an
answer cost nothing, while a lost answer may have.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from napari_sam3.errors import (
    AuthenticationError,
    CreditsError,
    EngineError,
    EngineUnavailableError,
    OutcomeUnknownError,
    RateLimitError,
    RequestRejectedError,
)

Kind = Literal["not sent", "broken", "rate limit", "server", "refused"]

NOT_BILLED = "Nothing was billed."
MAX_DETAIL = 300


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
    status : int
    headers : dict
        With lower-case names.
    body : bytes
        Already free of keys, or not: what is taken from it is redacted later.
    paid : bool
        Whether the request could cost money.
    request_id : str, optional

    Returns
    -------
    Failure
    """
    detail, is_json = detail_of(body)
    said = f" It said: “{detail}”." if detail else ""
    if status == 429:
        wait = _seconds_until_reset(headers)
        when = f"in about {wait:.0f} s" if wait is not None else "in a minute"
        return Failure(
            "rate limit",
            RateLimitError(
                f"The service gets too many requests from this account; try again {when}. "
                f"{NOT_BILLED}",
                retry_after=wait,
                request_id=request_id,
            ),
            retry_after=wait,
        )
    if status in (502, 503, 504) and paid and not (status == 503 and is_json):
        return Failure("broken", unknown_outcome(f"a gateway answered {status}", request_id))
    if status >= 500:
        return Failure(
            "server",
            EngineError(
                f"The service had an error of its own ({status}).{said} {NOT_BILLED} "
                "If you have just changed a threshold, change it back; otherwise try again later.",
                request_id=request_id,
            ),
            is_clean=is_json,
        )
    if 300 <= status < 400:
        return Failure(
            "refused",
            EngineError(
                f"The service redirects to another address ({status}), which is not followed, so "
                "that your key is not given away. Check the address in the settings.",
                request_id=request_id,
            ),
        )
    return Failure("refused", _refusal(status, detail, said, request_id))


def _refusal(status: int, detail: str, said: str, request_id: str | None) -> EngineError:
    lower = detail.lower()
    make: type[EngineError] = RequestRejectedError
    if status == 401:
        make = AuthenticationError
        words = "The service does not accept the API key; check it, or make a new one."
    elif status == 403:
        make = AuthenticationError
        words = "This account may not use the model; ask whoever manages it."
    elif status == 404:
        words = "The service does not know this request, or keeps its record no longer (1 hour)."
    elif status == 405:
        words = "The service does not take requests of this kind at this address."
    elif status == 406 and ("credit" in lower or "balance" in lower):
        make, words = CreditsError, "The account has not enough credits for this call; add some."
    elif status == 406 and ("limit" in lower or "spend" in lower):
        make, words = CreditsError, "The team's spending limit is reached; raise it, or wait."
    elif status == 406:
        words = (
            "The service refuses the request: credits, a spending limit, or a value that it "
            "does not take."
        )
    elif status == 410:
        make, words = EngineUnavailableError, "The service has retired this model."
    elif status == 413:
        words = (
            "The picture is too large for the service; lower the longest side as sent, "
            "or send JPEG."
        )
    else:
        words = "The service does not take this request; check prompts and thresholds."
    return make(f"{words}{said} {NOT_BILLED}", request_id=request_id, status=status)


def unknown_outcome(what: str, request_id: str | None = None) -> OutcomeUnknownError:
    """Return the error for a request that was sent and whose answer was lost."""
    known = (
        f" The answer can be collected for an hour under the request id {request_id}."
        if request_id
        else " Look at your credits, or the service's console, before you ask again."
    )
    return OutcomeUnknownError(
        f"The request was sent, but its answer was lost: {what}. It may have been billed, and is "
        f"not sent again by itself.{known}",
        request_id=request_id,
    )


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
        return _short(
            re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.S | re.I)
        ), False
    return _short(_detail(value)), True


def _detail(value: Any, depth: int = 4) -> str:
    if isinstance(value, dict) and depth:
        for name in ("error_description", "error", "message", "detail", "msg"):
            if value.get(name):
                return _detail(value[name], depth - 1)
        return ""
    if isinstance(value, list) and depth:
        return "; ".join(filter(None, (_detail(item, depth - 1) for item in value[:5])))
    return value if isinstance(value, str) else ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]} …"


def _seconds_until_reset(headers: dict[str, str]) -> float | None:
    """Read ``retry-after`` or the service's own header, whose format is not documented."""
    after = headers.get("retry-after", "").strip()
    if after.replace(".", "", 1).isdigit():
        return float(after)
    text = (headers.get("x-rate-limit-reset-at-utc") or after).strip()
    when = _moment(text) if text else None
    if when is None:
        return None
    seconds = (when - datetime.now(UTC)).total_seconds()
    # a moment long past or far away is a clock that differs, not a promise
    return max(0.0, seconds) if -60 <= seconds <= 3600 else None


def _moment(text: str) -> datetime | None:
    try:
        number = float(text)
        seconds = number / 1000 if number > 1e11 else number
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(text)
        except (ValueError, TypeError):
            continue
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    return None
