"""JSON and types: one reader for all that lies in files, and the published schema that it goes by.

A file may be a stranger's.  So texts are parsed within limits, a value is checked strictly
(no text is taken for a number, and no number for True), the first misfit ends it, and its
place is named.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import math
import re
import textwrap
import types
import typing
from collections.abc import Iterable
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema, ErrorDetails, SchemaValidator

T = TypeVar("T")

MAX_DIGITS = 20
"""Of a whole number; a longer one fits into nothing that is counted here."""

LONGEST_MISFIT = 300

# control characters, turns of the direction of writing, and halves of characters
_UNSEEN = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text with spaces in place of what would move a terminal's cursor or turn a line."""
    return _UNSEEN.sub(" ", text)


def printable_json(value: Any) -> Any:
    """Return JSON values with `printable` texts, names included."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [printable_json(item) for item in value]
    if isinstance(value, dict):
        return {printable(name): printable_json(item) for name, item in value.items()}
    return value


def values_in(data: bytes) -> int:
    """Return about how many values a JSON text holds, before any is made."""
    return sum(data.count(mark) for mark in b",[{")


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
    if most is not None and values_in(data) > most:
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


class Listed:
    """A dataclass that is a plain list of its fields in JSON, as a point or a box is."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Tell pydantic of it."""
        from pydantic_core import core_schema

        hints = typing.get_type_hints(cls)
        names = [each.name for each in fields(cls)]  # type: ignore[arg-type]  # all are dataclasses

        values = core_schema.tuple_schema([handler.generate_schema(hints[name]) for name in names])
        return core_schema.no_info_after_validator_function(
            lambda found: cls(*found),
            values,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda one: tuple(getattr(one, name) for name in names), return_schema=values
            ),
        )


class Schema(Generic[T]):
    """A type as JSON, built when it is first needed.

    Parameters
    ----------
    of : type
        A dataclass, or a union of some with different ``kind``.

    Examples
    --------
    >>> Schema(tuple[int, ...]).read([1, 2])
    (1, 2)
    """

    def __init__(self, of: Any) -> None:
        self._type = of

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        from pydantic import Field, TypeAdapter

        is_union = isinstance(self._type, types.UnionType)
        return TypeAdapter(
            Annotated[self._type, Field(discriminator="kind")] if is_union else self._type
        )

    @cached_property
    def _validator(self) -> SchemaValidator:
        from pydantic_core import SchemaValidator

        return SchemaValidator(_strict(self._adapter.core_schema))

    def read(self, value: Any) -> T:
        """Return what JSON values stand for.

        Raises
        ------
        ValueError
            If they do not fit; the sentence begins with the place.
        """
        return self.read_text(_text_of(value), value)

    def read_text(self, text: bytes, value: Any = None) -> T:
        """Return what a JSON text stands for.

        Parameters
        ----------
        text : bytes
            It should be short enough: all its values are made.
        value : object, optional
            The same, parsed; a misfit's place is looked up there.

        Raises
        ------
        ValueError
            If it is none, or does not fit.
        """
        from pydantic_core import ValidationError

        try:
            found: T = self._validator.validate_json(text, strict=True)
        except ValidationError as error:
            misfit = error.errors(include_url=False, include_context=False)[0]
            raise ValueError(_sentence(value, misfit)) from None
        return found

    def to_json(self, value: T) -> Any:
        """Return a value as JSON values."""
        return self._adapter.dump_python(value, mode="json")

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema that `read` goes by, with what the docstrings say."""
        from pydantic.json_schema import GenerateJsonSchema

        class Described(GenerateJsonSchema):
            def dataclass_schema(self, schema: Any) -> dict[str, Any]:
                said = super().dataclass_schema(schema)
                _describe(said, schema["cls"])
                return said

        schema: dict[str, Any] = _bare(self._adapter.json_schema(schema_generator=Described))
        return schema


def _text_of(value: Any) -> bytes:
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(value, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError):
        pass
    try:
        # half of a character, as a file's name may hold it, is a poor text, but one
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError("it holds what is no JSON value") from error


def _strict(schema: Any) -> Any:
    """Let the first misfit end it, or a small file of misfits takes gigabytes; no infinity."""
    if isinstance(schema, list | tuple):
        return type(schema)(_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    inner = {name: part if name == "metadata" else _strict(part) for name, part in schema.items()}
    if kind in ("list", "tuple", "dict"):
        return inner | {"fail_fast": True}
    return inner | {"allow_inf_nan": False} if kind == "float" else inner


def _describe(schema: dict[str, Any], of: type) -> None:
    """Add what stands below a class, up to its parameters, and below each of its fields."""
    schema["description"] = (inspect.getdoc(of) or "").partition("\nParameters\n")[0]
    for part in of.__mro__[:-1]:
        (told,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        for field, words in itertools.pairwise(told.body if isinstance(told, ast.ClassDef) else ()):
            match field, words:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(said))),
                ):
                    schema["properties"][name]["description"] = said


def _bare(schema: Any) -> Any:
    """Leave out titles, which repeat the names, and empty defaults."""
    if isinstance(schema, list):
        return [_bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    bare = {
        name: _bare(part)
        for name, part in schema.items()
        if not (name == "title" and isinstance(part, str)) and not (name == "default" and not part)
    }
    if isinstance(bare.get("description"), str):
        bare["description"] = " ".join(bare["description"].split())
    return bare


def _sentence(value: Any, misfit: ErrorDetails) -> str:
    place = _place(value, misfit["loc"])
    words = misfit["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    words = "it is missing" if misfit["type"] == "missing" else words.rstrip(".")
    said = printable(f"at {place or 'the top'}: {words}")
    return said[:LONGEST_MISFIT]


def _place(value: Any, steps: Iterable[int | str]) -> str:
    """Return a path, without pydantic's own steps into unions and keys."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
            value = value[step] if isinstance(value, list | tuple) and step < len(value) else None
        elif isinstance(value, dict) and step in value:
            path += f".{step}"
            value = value[step]
        elif step != "[key]" and not (isinstance(value, dict) and value.get("kind") == step):
            path += f".{step}"
    return path.removeprefix(".")
