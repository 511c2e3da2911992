"""Values out of a file, which may hold anything: each is returned, or refused by its kind."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DIGITS = 20
"""Of a whole number; a longer one fits into nothing that is counted here."""


def parse(data: bytes, most: int | None = None) -> Any:
    """Return the values of a JSON text.

    Parameters
    ----------
    data : bytes
    most : int, optional
        How many values there may be, about: each takes many times its text in memory.

    Raises
    ------
    ValueError
        If it is none, or holds more, or a number that is none or too large; the reason
        completes "it cannot be read: …".

    Examples
    --------
    >>> parse(b'{"rows": [1, 2.5]}')
    {'rows': [1, 2.5]}
    """
    if most is not None and sum(data.count(mark) for mark in b",[{") > most:
        raise ValueError("it holds more values than can be read safely")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError("it is no text") from error
    try:
        return json.loads(text, parse_int=_int, parse_float=_float, parse_constant=_float)
    except _NumberError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON, or was cut off") from error


class _NumberError(ValueError):
    """A number that no file of ours has."""


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _NumberError("it holds a number that is too large")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _NumberError("it holds a number that is too large, or none")
    return number


def whole(value: Any, least: int = 0, most: int | None = None) -> int:
    """Return a whole number in a range, both ends included.

    Raises
    ------
    TypeError
        If it is no whole number; True and 1.0 are none.
    ValueError
        If it is out of range.

    Examples
    --------
    >>> whole(7), whole(-2, least=-5)
    (7, -2)
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    if value < least or (most is not None and value > most):
        raise ValueError(f"{value} is out of range")
    return value


def fraction(value: Any) -> float:
    """Return a number from 0 to 1.

    Raises
    ------
    TypeError
        If it is no number; True is none.
    ValueError
        If it is out of range.

    Examples
    --------
    >>> fraction(1)
    1.0
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no number")
    if not 0 <= value <= 1:
        raise ValueError(f"{value} does not lie between 0 and 1")
    return float(value)


def text(value: Any) -> str:
    """Return a text.

    Raises
    ------
    TypeError
        If it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
