"""Prompts as JSON values, and back: for keys of answers, records and sidecar files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
    Prompt,
)
from napari_sam3.errors import PromptError


def prompt_to_json(prompt: Prompt) -> dict[str, Any]:
    """Return a prompt as JSON values; equal prompts give equal values.

    Returns
    -------
    dict
        ``kind`` and what belongs to it.  A box is ``[top, left, bottom, right]``,
        half-open; a point is ``[row, col, is_positive]``; an example is a box and its sign;
        an outline is a list of ``[row, col]``.  What was not asked for (``outline``,
        ``proposal``, ``diameter``) is missing.

    Examples
    --------
    >>> prompt_to_json(ObjectPrompt((Point(3, 4.5),)))
    {'kind': 'object', 'points': [[3.0, 4.5, True]], 'box': None}
    """
    if isinstance(prompt, Everything):
        return {
            "kind": "everything",
            "points_per_side": prompt.points_per_side,
            "min_iou": float(prompt.min_iou),
            **_if_given("diameter", prompt.diameter and float(prompt.diameter)),
        }
    if isinstance(prompt, ObjectPrompt):
        return {
            "kind": "object",
            "points": [_point(point) for point in prompt.points],
            "box": _box(prompt.box) if prompt.box else None,
            **_if_given("outline", [list(corner) for corner in prompt.outline]),
            **_if_given("proposal", prompt.proposal),
        }
    examples = [[*_box(example.box), bool(example.positive)] for example in prompt.exemplars]
    concept = {"text": prompt.text, "exemplars": examples}
    if isinstance(prompt, ConceptPrompt):
        return {"kind": "concept", **concept}
    return {"kind": "combined", **concept, "points": [_point(p) for p in prompt.points]}


def prompt_from_json(value: Mapping[str, Any]) -> Prompt:
    """Return the prompt that `prompt_to_json` made the value of.

    Raises
    ------
    PromptError
        If it is no such value.
    """
    try:
        return _KINDS[value["kind"]](value)
    except PromptError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PromptError(f"This is no prompt that can be read: {value!r:.200}.") from error


def _if_given(name: str, value: Any) -> dict[str, Any]:
    # a key of its own for "not given" would make other questions of the stored ones
    return {name: value} if value else {}


def _everything(value: Mapping[str, Any]) -> Prompt:
    diameter = value.get("diameter")
    return Everything(
        value["points_per_side"],
        float(value["min_iou"]),
        None if diameter is None else float(diameter),
    )


def _object(value: Mapping[str, Any]) -> Prompt:
    box = value["box"]
    return ObjectPrompt(
        _points(value),
        None if box is None else Box(*box),
        tuple(value.get("outline", ())),
        value.get("proposal", ""),
    )


def _concept(value: Mapping[str, Any]) -> Prompt:
    return ConceptPrompt(value["text"], _exemplars(value))


def _combined(value: Mapping[str, Any]) -> Prompt:
    return CombinedPrompt(value["text"], _exemplars(value), _points(value))


_KINDS = {
    "everything": _everything,
    "object": _object,
    "concept": _concept,
    "combined": _combined,
}


def _points(value: Mapping[str, Any]) -> tuple[Point, ...]:
    return tuple(Point(float(row), float(col), bool(sign)) for row, col, sign in value["points"])


def _exemplars(value: Mapping[str, Any]) -> tuple[Exemplar, ...]:
    return tuple(Exemplar(Box(*box), bool(sign)) for *box, sign in value["exemplars"])


def _point(point: Point) -> list[Any]:
    return [float(point.row), float(point.col), bool(point.positive)]


def _box(box: Box) -> list[int]:
    return [int(box.top), int(box.left), int(box.bottom), int(box.right)]
