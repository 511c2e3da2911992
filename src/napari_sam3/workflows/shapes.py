"""Whether JSON values have the shape that a JSON Schema asks for, quickly.

A schema becomes functions once; a record of thousands of runs is then looked through in a
fraction of a second.  Only the words that the schema of records uses are understood, and whole
numbers are those that are written as such.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], None]
"""Raises `MisfitError` if a value does not fit."""

_SILENT = {"$schema", "$id", "$defs", "title", "description"}
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "object": ("no object", lambda value: isinstance(value, dict)),
    "array": ("no list", lambda value: isinstance(value, list)),
    "string": ("no text", lambda value: isinstance(value, str)),
    "boolean": ("neither true nor false", lambda value: isinstance(value, bool)),
    "null": ("not null", lambda value: value is None),
    "integer": ("no whole number", lambda value: type(value) is int),
    "number": ("no number", lambda value: type(value) in (int, float)),
}


class MisfitError(Exception):
    """A value does not fit.

    Attributes
    ----------
    where : list of (str or int)
        The steps to it, the last one first.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.where: list[str | int] = []


def compile_schema(schema: Mapping[str, Any]) -> Check:
    """Return a function that raises `MisfitError` where a value does not fit a schema.

    Raises
    ------
    ValueError
        If the schema has a word that is not understood here.
    """
    return _Compiler(schema.get("$defs", {})).compile(schema)


class _Compiler:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._known: dict[str, Check] = {}

    def compile(self, schema: Any) -> Check:
        if schema is True:
            return lambda _: None
        checks = []
        for word, said in schema.items():
            if word in _SILENT or word in ("then", "prefixItems"):
                continue
            make = getattr(self, "_" + word.lstrip("$"), None)
            if make is None:
                raise ValueError(f"a schema's {word} is not understood")
            checks.append(make(said, schema))
        if len(checks) == 1:
            return checks[0]  # type: ignore[no-any-return]

        def all_of(value: Any) -> None:
            for check in checks:
                check(value)

        return all_of

    def _ref(self, said: str, _: Mapping[str, Any]) -> Check:
        name = said.removeprefix("#/$defs/")
        if name not in self._known:
            self._known[name] = self.compile(self._definitions[name])
        return self._known[name]

    def _type(self, said: str | list[str], _: Mapping[str, Any]) -> Check:
        kinds = [said] if isinstance(said, str) else said
        fits = [_TYPES[kind][1] for kind in kinds]
        words = " and ".join(_TYPES[kind][0] for kind in kinds)

        def check(value: Any) -> None:
            for each in fits:
                if each(value):
                    return
            raise MisfitError(f"{reprlib.repr(value)} is {words}")

        return check

    def _required(self, said: list[str], _: Mapping[str, Any]) -> Check:
        def check(value: Any) -> None:
            if isinstance(value, dict):
                for name in said:
                    if name not in value:
                        raise MisfitError(f"“{name}” is missing")

        return check

    def _properties(self, said: Mapping[str, Any], _: Mapping[str, Any]) -> Check:
        checks = {name: self.compile(each) for name, each in said.items()}

        def check(value: Any) -> None:
            if isinstance(value, dict):
                for name, each in checks.items():
                    if name in value:
                        _step(each, value[name], name)

        return check

    def _additionalProperties(self, said: Any, schema: Mapping[str, Any]) -> Check:  # noqa: N802
        named, each = schema.get("properties", {}), self.compile(said)

        def check(value: Any) -> None:
            if said is not True and isinstance(value, dict):
                for name, item in value.items():
                    if name not in named:
                        _step(each, item, name)

        return check

    def _propertyNames(self, said: Any, _: Mapping[str, Any]) -> Check:  # noqa: N802
        each = self.compile(said)

        def check(value: Any) -> None:
            if isinstance(value, dict):
                for name in value:
                    each(name)

        return check

    def _items(self, said: Any, _: Mapping[str, Any]) -> Check:
        each = self.compile(said)

        def check(value: Any) -> None:
            if isinstance(value, list):
                for index, item in enumerate(value):
                    _step(each, item, index)

        return check

    def _minItems(self, said: int, schema: Mapping[str, Any]) -> Check:  # noqa: N802
        firsts = [self.compile(each) for each in schema.get("prefixItems", ())]

        def check(value: Any) -> None:
            if isinstance(value, list):
                if len(value) < said:
                    raise MisfitError(f"{reprlib.repr(value)} is too short")
                for index, each in enumerate(firsts):
                    _step(each, value[index], index)

        return check

    def _maxItems(self, said: int, _: Mapping[str, Any]) -> Check:  # noqa: N802
        return _refusing(lambda value: isinstance(value, list) and len(value) > said, "too long")

    def _minLength(self, said: int, _: Mapping[str, Any]) -> Check:  # noqa: N802
        return _refusing(lambda value: isinstance(value, str) and len(value) < said, "too short")

    def _minimum(self, said: float, _: Mapping[str, Any]) -> Check:
        return _refusing(lambda value: _is_number(value) and not value >= said, f"below {said}")

    def _maximum(self, said: float, _: Mapping[str, Any]) -> Check:
        return _refusing(lambda value: _is_number(value) and not value <= said, f"above {said}")

    def _exclusiveMinimum(self, said: float, _: Mapping[str, Any]) -> Check:  # noqa: N802
        return _refusing(lambda value: _is_number(value) and not value > said, f"not above {said}")

    def _pattern(self, said: str, _: Mapping[str, Any]) -> Check:
        search = re.compile(said).search
        return _refusing(
            lambda value: isinstance(value, str) and not search(value), "not of the form asked for"
        )

    def _enum(self, said: list[Any], _: Mapping[str, Any]) -> Check:
        words = ", ".join(map(str, said))
        return _refusing(lambda value: value not in said, f"none of {words}")

    def _const(self, said: Any, _: Mapping[str, Any]) -> Check:
        def is_other(value: Any) -> bool:
            return isinstance(value, bool) or bool(value != said)

        return _refusing(is_other, f"not {said}")

    def _anyOf(self, said: list[Any], _: Mapping[str, Any]) -> Check:  # noqa: N802
        ways = [self.compile(each) for each in said]

        def check(value: Any) -> None:
            first = None
            for way in ways:
                try:
                    return way(value)
                except MisfitError as error:
                    first = first or error
            if first is not None:
                raise first

        return check

    def _if(self, said: Any, schema: Mapping[str, Any]) -> Check:
        condition, then = self.compile(said), self.compile(schema["then"])

        def check(value: Any) -> None:
            try:
                condition(value)
            except MisfitError:
                return
            then(value)

        return check


def _step(check: Check, value: Any, name: str | int) -> None:
    try:
        check(value)
    except MisfitError as error:
        error.where.append(name)
        raise


def _refusing(is_wrong: Callable[[Any], bool], words: str) -> Check:
    def check(value: Any) -> None:
        if is_wrong(value):
            raise MisfitError(f"{reprlib.repr(value)} is {words}")

    return check


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
