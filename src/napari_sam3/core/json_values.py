"""Values out of a file, which may hold anything: each is returned, or refused by its kind."""

from __future__ import annotations

from typing import Any


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
