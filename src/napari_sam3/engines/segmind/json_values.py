"""JSON text → Python values, within limits, and what of them may be believed."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from napari_sam3.engines.segmind.bodies import DecodeLimits, UnreadableError

MAX_DIGITS = 1000
MAX_BALANCE = 1e9
MAX_CONTROL_BODY = 2**20
"""Bytes of an answer that holds no picture: a larger one is not parsed for a status or an id."""

# never "." or "..": that would lead to another address
REQUEST_ID = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,128}")


def parse_json(text: str, limits: DecodeLimits) -> Any:
    """Parse JSON; NaN becomes None, and a number that is far too long an infinite one.

    Raises
    ------
    UnreadableError
        If it is damaged, or more than can be read safely.
    """
    # a value in memory takes many times its text, so they are counted before they are made
    if sum(text.count(mark) for mark in ",[{") > limits.max_values:
        raise UnreadableError("The service answered with more JSON than can be read safely.")
    try:
        return json.loads(text, parse_int=_int, parse_constant=_no_number)
    except RecursionError as error:
        raise UnreadableError("The service answered with JSON that is nested too deep.") from error
    except ValueError as error:
        raise UnreadableError(
            "The service answered with JSON that is damaged or cut off. Ask again."
        ) from error


def _int(digits: str) -> float:
    # Python refuses to read very long ones, and a paid answer is worth more than such a number;
    # in the place of an output it must not look like null, which means that nothing was found
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


def _no_number(_name: str) -> None:
    """Read NaN and Infinity, which are no JSON, as null."""


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a short answer, or an empty one where it holds none."""
    if len(body) > MAX_CONTROL_BODY:
        return {}
    try:
        value = parse_json(body.decode("utf-8", "replace"), DecodeLimits())
    except UnreadableError:
        return {}
    return value if isinstance(value, dict) else {}


def looks_like_json(text: str) -> bool:
    """Whether a text begins like JSON that may hold more than a number or a word."""
    return text.lstrip()[:1] in ("{", "[", '"')


def status_of(value: dict[str, Any]) -> str:
    """Return the state of a job in capitals, or an empty text where an answer tells none."""
    status = value.get("status")
    return status.strip().upper() if isinstance(status, str) else ""


def checked_request_id(value: object) -> str | None:
    """Return a request id that is safe inside an address, or None."""
    return value if isinstance(value, str) and REQUEST_ID.fullmatch(value) else None


def number(value: object) -> float | None:
    """Return a finite number, whatever form it came in, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def balance(value: object) -> float | None:
    """Return what may be left of an account's credits, which may be below 0, or None."""
    found = number(value)
    return found if found is not None and abs(found) <= MAX_BALANCE else None
