"""Error answers in all the forms that the service and what stands before it use."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

from napari_sam3.testing._behaviour import BodyKind, Fault, ResetFormat
from napari_sam3.testing._wire import Reply

RESET_HEADER = "x-rate-limit-reset-at-utc"

_MESSAGES = {
    400: "Malformed request",
    401: "Invalid API key",
    403: "You are not allowed to use this model",
    404: "Not found",
    405: "Method Not Allowed",
    406: "Insufficient credits",
    410: "This model has been retired",
    413: "Request body too large",
    422: "Validation Error",
    429: "Rate limit exceeded",
    500: "Internal server error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_HTML_STATUSES = (405, 502, 504)


def json_reply(value: Any, status: int = 200) -> Reply:
    """Return an answer of JSON."""
    return Reply(status, json.dumps(value).encode())


def error_reply(fault: Fault, message: str = "") -> Reply:
    """Return the answer for a fault.

    Parameters
    ----------
    message : str
        Said where the fault itself says nothing.
    """
    status = fault.status
    words = fault.message or message or _MESSAGES.get(status, "Error")
    kind = fault.body or ("html" if status in _HTML_STATUSES else "error")
    body, content_type = _BODIES[kind](words, status)
    headers: Mapping[str, str] = {}
    if fault.reset is not None:
        headers = {RESET_HEADER: reset_moment(fault.reset, fault.reset_in_s)}
    return Reply(status, body, content_type, headers)


def reset_moment(form: ResetFormat, in_s: float) -> str:
    """Return the moment so many seconds from now, in one of the formats that may occur."""
    at = time.time() + in_s
    texts: Mapping[ResetFormat, str] = {
        "iso": datetime.fromtimestamp(at, UTC).isoformat(),
        "epoch s": str(round(at)),
        "epoch ms": str(round(at * 1000)),
        "rfc 1123": formatdate(at, usegmt=True),
        "garbage": "soon",
    }
    return texts[form]


def _as_json(make: Callable[[str, int], Any]) -> Callable[[str, int], tuple[bytes, str]]:
    return lambda words, status: (json.dumps(make(words, status)).encode(), "application/json")


def _html(words: str, status: int) -> tuple[bytes, str]:
    page = (
        f"<!DOCTYPE html><html><head><title>{status}</title><style>h1 {{color: red}}</style>"
        f"</head><body><h1>{status} {words}</h1></body></html>"
    )
    return page.encode(), "text/html; charset=utf-8"


_BODIES: Mapping[BodyKind, Callable[[str, int], tuple[bytes, str]]] = {
    "error": _as_json(lambda words, _: {"error": words}),
    "oauth": _as_json(
        lambda words, status: {
            "error": "request_refused",
            "error_description": words,
            "status_code": status,
        }
    ),
    "message": _as_json(lambda words, _: {"message": words}),
    "detail": _as_json(
        lambda words, _: {"detail": [{"loc": ["body"], "msg": words, "type": "value_error"}]}
    ),
    "text": lambda words, _: (words.encode(), "text/plain"),
    "html": _html,
    "empty": lambda _words, _status: (b"", "application/json"),
}
