"""A line of text as a choice of rows: ``nucleus area>500 score<=0.7 state=edited``.

Words, and comparisons of a column with a value, all of which must hold.  A word is looked
for anywhere in the columns that are named; quotes keep a value or a phrase together.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from napari_sam3.core.arrays import BoolArray
from napari_sam3.widgets._feature_values import Values

EXAMPLES = "nucleus area>500 score<=0.7 state=edited"

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_YES = frozenset({"true", "yes", "1", "✓"})
_NO = frozenset({"false", "no", "0"})


class UnreadableError(ValueError):
    """A comparison makes no sense; the message is the hint for who typed it."""


class Filtered(NamedTuple):
    """What a filter leaves.

    Parameters
    ----------
    rows : ndarray of bool, shape (n,)
    hints : tuple of str
        A sentence for each comparison that cannot be read and so was left out.
    """

    rows: BoolArray
    hints: tuple[str, ...]


def filter_rows(
    text: str,
    columns: Mapping[str, Values],
    names: Mapping[str, str],
    searched: Iterable[str],
) -> Filtered:
    """Return which rows a filter leaves.

    Parameters
    ----------
    text : str
    columns : mapping
        Name to values, all of the same length; not empty.
    names : mapping
        What a column may be called in the text, in lower case, to its name.
    searched : iterable of str
        Names of the columns in which words are looked for.
    """
    rows = np.ones(len(next(iter(columns.values()))), bool)
    fields = [columns[name] for name in searched if name in columns]
    hints = []
    for part in _parts(text, names):
        word = part["phrase"] or part["word"]
        try:
            if part["operator"]:
                rows &= _compare(part, columns, names)
            elif word:
                rows &= _search(word, fields, len(rows))
        except UnreadableError as hint:
            hints.append(str(hint))
    return Filtered(rows, tuple(hints))


def _parts(text: str, names: Iterable[str]) -> Iterable[re.Match[str]]:
    # names of more than one word are found because they are known; the longest goes first
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = (
        rf'(?P<name>{known}|[^\s"<>=!]*)\s*(?P<operator>>=|<=|!=|==|=|>|<)'
        r'\s*(?P<value>"[^"]*"?|\S*)|"(?P<phrase>[^"]*)"?|(?P<word>\S+)'
    )
    return re.finditer(pattern, text, re.IGNORECASE)


def _search(word: str, fields: Iterable[Values], count: int) -> BoolArray:
    wanted = " ".join(word.split()).casefold()
    found = np.zeros(count, bool)
    for values in fields:
        if values.numbers is not None:
            found |= _search_numbers(wanted, values)
            continue
        codes, texts = values.texts
        # one more, for the code −1 of what is missing
        found |= np.array([*(wanted in text for text in texts), False])[codes]
    return found


def _search_numbers(wanted: str, values: Values) -> BoolArray:
    if not re.fullmatch(r"-?\d+", wanted):
        return np.zeros(len(values), bool)
    return np.asarray(np.strings.find(values.digits, wanted) >= 0)


def _compare(
    part: re.Match[str], columns: Mapping[str, Values], names: Mapping[str, str]
) -> BoolArray:
    name, symbol, value = part["name"], part["operator"], part["value"]
    if not name:
        raise UnreadableError(f"Write a column before “{symbol}”, e.g. area{symbol}500.")
    if name.casefold() not in names:
        raise UnreadableError(f"There is no column “{name}”.")
    if value in ("", '"'):
        raise UnreadableError(f"Write a value after “{name}{symbol}”.")
    values, wanted = columns[names[name.casefold()]], " ".join(value.strip('"').split())
    if symbol in _OPERATORS:
        return _order(name, values, symbol, wanted)
    equal = _equal(name, values, wanted)
    return ~equal if symbol == "!=" else equal


def _order(name: str, values: Values, symbol: str, wanted: str) -> BoolArray:
    numbers = values.numbers
    if numbers is None or values.is_logical:
        raise UnreadableError(f"“{name}” holds no numbers; compare it with = or !=.")
    limit = _to_number(name, wanted)
    if numbers.dtype.kind == "f":
        # or .7, stored with fewer bits, were not .7
        with np.errstate(over="ignore"):
            limit = numbers.dtype.type(limit)
    return np.asarray(_OPERATORS[symbol](numbers, limit)) & ~values.is_missing


def _equal(name: str, values: Values, wanted: str) -> BoolArray:
    if not wanted:
        return values.is_missing
    if values.is_logical:
        return _equal_logical(name, values, wanted.casefold())
    if values.numbers is not None:
        # as many decimals as were typed, since no more of them are shown
        half_step = 0.5 * 10.0 ** -len(wanted.partition(".")[2])
        near = np.abs(values.numbers - _to_number(name, wanted)) <= half_step * (1 + 1e-9)
        return np.asarray(near) & ~values.is_missing
    codes, texts = values.texts
    return np.array([*(wanted.casefold() == text for text in texts), False])[codes]


def _equal_logical(name: str, values: Values, wanted: str) -> BoolArray:
    if wanted not in _YES | _NO:
        raise UnreadableError(f"“{name}” is yes or no; write {name}=yes or {name}=no.")
    is_true = np.asarray(values.numbers == 1)
    return is_true if wanted in _YES else ~is_true & ~values.is_missing


def _to_number(name: str, wanted: str) -> float:
    try:
        number = float(wanted)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UnreadableError(f"“{name}” holds numbers, and “{wanted}” is none.")
    return number
