"""What is typed on the command line → points, boxes, limits, planes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import typer

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import Exemplar, ObjectPrompt, Point
from napari_sam3.errors import PromptError


class TypedLimits(NamedTuple):
    """Values shown as black and white."""

    low: float
    high: float


class TypedOutline(tuple[tuple[float, float], ...]):
    """Corners, (row, col); typer would count the entries of a plain tuple."""

    __slots__ = ()


class TypedPlane(tuple[int, ...]):
    """Indices of a plane; typer would count the entries of a plain tuple."""

    __slots__ = ()


@contextmanager
def as_usage_error(words: str = "") -> Iterator[None]:
    """End with a usage error where a prompt cannot be, in these words or its own."""
    try:
        yield
    except PromptError as error:
        raise typer.BadParameter(words or str(error)) from error


def parse_amount(text: str) -> float:
    """Return an amount of US dollars, 0 or more."""
    try:
        amount = float(text.strip().removeprefix("$"))
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise typer.BadParameter(f"{text!r} is no amount of US dollars; give one like 0.5.")
    return amount


def _numbers(text: str, kind: type, names: str) -> list[Any]:
    count = names.count(",") + 1
    example = {"row,col": "12,40", "low,high": "100,4000"}.get(names, "10,20,50,80")
    parts = text.split(",")
    try:
        values = [kind(part.strip()) for part in parts]
    except ValueError:
        values = []
    if len(values) != count:
        sort = "whole numbers" if kind is int else "numbers"
        raise typer.BadParameter(
            f"{text!r} is not {names}: give {count} {sort} with commas between, e.g. {example}."
        )
    return values


def parse_point(text: str) -> Point:
    """Read ``row,col``; refuse anything else with an example."""
    with as_usage_error():
        return Point(*_numbers(text, float, "row,col"))


def parse_negative_point(text: str) -> Point:
    """Read ``row,col`` of what does not belong to an object."""
    return replace(parse_point(text), positive=False)


def parse_box(text: str) -> Box:
    """Read ``row0,col0,row1,col1``, half-open."""
    with as_usage_error():
        return Box(*_numbers(text, int, "row0,col0,row1,col1"))


def parse_example(text: str) -> Exemplar:
    """Read the box around an example of what to find."""
    return Exemplar(parse_box(text))


def parse_negative_example(text: str) -> Exemplar:
    """Read the box around an example of what not to find."""
    return Exemplar(parse_box(text), positive=False)


def parse_outline(text: str) -> TypedOutline:
    """Read ``row,col,row,col,…``, at least three corners."""
    try:
        values = [float(part) for part in text.split(",")]
        corners = TypedOutline(zip(values[::2], values[1::2], strict=True))
        ObjectPrompt(outline=corners)
    except (ValueError, PromptError) as error:
        raise typer.BadParameter(
            f"{text!r} is no outline: give row and column of at least three corners with commas "
            "between, e.g. 10,20,10,60,50,40."
        ) from error
    return corners


def parse_limits(text: str) -> TypedLimits:
    """Read ``low,high``."""
    low, high = _numbers(text, float, "low,high")
    if not low < high:
        raise typer.BadParameter(f"the second limit must exceed the first, but it is {text}.")
    return TypedLimits(low, high)


def parse_plane(text: str) -> TypedPlane:
    """Read one index for each axis before the rows."""
    try:
        plane = TypedPlane(int(part) for part in text.split(","))
    except ValueError:
        plane = TypedPlane([-1])
    if min(plane) < 0:
        raise typer.BadParameter(
            f"{text!r} is no plane: give one whole number from 0 for each axis before the "
            "rows, with commas between, e.g. 3,12."
        )
    return plane
