"""JSON text → Python values, within limits, and what of them may be kept."""

from __future__ import annotations

import json
import math
from typing import Any

from napari_sam3.engines.base import MAX_PRICE, MAX_SECONDS, possible
from napari_sam3.engines.segmind.bodies import BASE64_HEADS, DecodeLimits, UnreadableError

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]

MAX_EXTRA_TEXT = 1000
MAX_DIGITS = 1000
MAX_BALANCE = 1e9


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


def looks_like_json(text: str) -> bool:
    """Whether a text begins like JSON that may hold more than a number or a word."""
    return text.lstrip()[:1] in ("{", "[", '"')


def number(value: object) -> float | None:
    """Return a finite number, whatever form it came in, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def price(value: object) -> float | None:
    """Return what an answer may cost, or None."""
    return possible(number(value), MAX_PRICE)


def seconds(value: object) -> float | None:
    """Return how long an answer may take, or None."""
    return possible(number(value), MAX_SECONDS)


def balance(value: object) -> float | None:
    """Return what may be left of an account's credits, which may be below 0, or None."""
    found = number(value)
    return found if found is not None and abs(found) <= MAX_BALANCE else None


def without_pictures(value: Any, limits: DecodeLimits, depth: int = 1) -> JSON:
    """Return a value with encoded pictures, long texts and deep nesting left out."""
    if isinstance(value, str):
        return _short_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, dict | list):
        return value  # type: ignore[no-any-return]  # a JSON scalar: that is all there is
    if depth >= limits.max_depth:
        return "…"
    if isinstance(value, list):
        return [without_pictures(item, limits, depth + 1) for item in value[: limits.max_items]]
    return {
        printable(key): without_pictures(item, limits, depth + 1) for key, item in value.items()
    }


def _short_text(text: str) -> str:
    is_picture = len(text) > 40 and text.startswith(("data:", *BASE64_HEADS))
    if is_picture or len(text) > MAX_EXTRA_TEXT:
        return f"({len(text)} characters left out)"
    return printable(text)


def printable(text: str) -> str:
    """Return a text, shortened, that any file takes."""
    # JSON can spell halves of characters, which no file takes
    return text[:MAX_EXTRA_TEXT].encode("utf-8", "replace").decode()
