"""What the model takes: as strict as the documents, so that clients keep to them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_sam3.testing._images import ImageRefusedError, UInt8Array, image_bytes, read_pixels

FLAGS = ("return_preview", "return_overlay", "return_masks")

_TEXTS = ("text_prompt", "points_input", "point_labels_input", "boxes_input")
_RANGES: Mapping[str, tuple[float, float]] = {
    "threshold": (0.1, 1),
    "points_per_side": (0, 128),
    "pred_iou_thresh": (0.5, 1),
    "max_masks": (0, 100),
}
_WHOLE = ("points_per_side", "max_masks")
_KNOWN = frozenset({"image", *_TEXTS, *_RANGES, *FLAGS})


class InvalidError(ValueError):
    """A field is refused; the message says which, and why."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A valid request without its picture; coordinates are [x, y] pixels.

    Parameters
    ----------
    text : str
        Empty for none.
    points : tuple of (x, y)
    labels : tuple of int
        One for each point; 1 belongs to the object, 0 does not.
    boxes : tuple of (x1, y1, x2, y2)
    threshold, points_per_side, pred_iou_thresh, max_masks
        As documented.
    flags : tuple of str
        The ``return_…`` fields that are true, in the order of the documents.
    """

    text: str = ""
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    threshold: float = 0.5
    points_per_side: int = 32
    pred_iou_thresh: float = 0.88
    max_masks: int = 0
    flags: tuple[str, ...] = ("return_preview",)


def read_body(
    body: Mapping[str, Any], fetch: Callable[[str], bytes | None]
) -> tuple[UInt8Array, Fields]:
    """Check a body and return the picture and the fields.

    Parameters
    ----------
    body : mapping
        With an ``image``.
    fetch : callable
        Address → uploaded file, or None.

    Returns
    -------
    image : ndarray of uint8, shape (rows, cols, 3)
    fields : Fields

    Raises
    ------
    InvalidError
    """
    unknown = sorted(set(body) - _KNOWN)
    if unknown:
        raise InvalidError(f"unknown field: {', '.join(unknown)}")
    numbers = {name: _number(body, name) for name in _RANGES if name in body}
    flags = _flags(body)
    texts = {name: _text(body, name) for name in _TEXTS}
    image = _image(body["image"], fetch)
    rows, cols = image.shape[:2]
    points = _points(texts["points_input"], cols, rows)
    return image, Fields(
        text=texts["text_prompt"].strip(),
        points=points,
        labels=_labels(texts["point_labels_input"], len(points)),
        boxes=_boxes(texts["boxes_input"], cols, rows),
        flags=flags,
        **numbers,
    )


def _image(value: Any, fetch: Callable[[str], bytes | None]) -> UInt8Array:
    if not isinstance(value, str):
        raise InvalidError("image must be a string")
    try:
        return read_pixels(image_bytes(value, fetch))
    except ImageRefusedError as error:
        raise InvalidError(str(error)) from None


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:  # null is the documented default
        return ""
    if not isinstance(value, str):
        raise InvalidError(f"{name} must be a string, not {type(value).__name__}")
    return value


def _number(body: Mapping[str, Any], name: str) -> Any:
    value = body[name]
    wanted = int if name in _WHOLE else int | float
    if isinstance(value, bool) or not isinstance(value, wanted):
        kind = "an integer" if name in _WHOLE else "a number"
        raise InvalidError(f"{name} must be {kind}")
    low, high = _RANGES[name]
    if not low <= value <= high:
        raise InvalidError(f"{name} must be between {low} and {high}, but is {value}")
    return value


def _flags(body: Mapping[str, Any]) -> tuple[str, ...]:
    values = {name: body.get(name, name == "return_preview") for name in FLAGS}
    for name, value in values.items():
        if not isinstance(value, bool):
            raise InvalidError(f"{name} must be a boolean")
    return tuple(name for name, value in values.items() if value)


def _points(text: str, cols: int, rows: int) -> tuple[tuple[float, float], ...]:
    points = _rows_of_numbers(text, "points_input", 2)
    for x, y in points:
        if not (0 <= x < cols and 0 <= y < rows):
            raise InvalidError(f"the point [{x}, {y}] lies outside of the {cols} x {rows} image")
    return tuple((x, y) for x, y in points)


def _labels(text: str, count: int) -> tuple[int, ...]:
    if not text:
        # the documented default is [[1]], which fits one point only
        if count > 1:
            raise InvalidError("point_labels_input must have one label for each point")
        return (1,) * count
    rows = _json_list(text, "point_labels_input")
    if len(rows) != 1 or not isinstance(rows[0], list):
        raise InvalidError("point_labels_input must be a list that holds one list, like [[1, 0]]")
    labels = rows[0]
    if any(type(label) is not int or label not in (0, 1) for label in labels):
        raise InvalidError("labels must be 1 or 0")
    if count and len(labels) != count:
        raise InvalidError(f"there are {len(labels)} labels for {count} points")
    # the vendor's own example sends labels without points
    return tuple(labels) if count else ()


def _boxes(text: str, cols: int, rows: int) -> tuple[tuple[float, float, float, float], ...]:
    boxes = []
    for left, top, right, bottom in _rows_of_numbers(text, "boxes_input", 4):
        shown = f"the box [{left}, {top}, {right}, {bottom}]"
        if not (left < right and top < bottom):
            raise InvalidError(f"{shown} must be [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
        if left < 0 or top < 0 or right > cols or bottom > rows:
            raise InvalidError(f"{shown} lies outside of the {cols} x {rows} image")
        boxes.append((left, top, right, bottom))
    return tuple(boxes)


def _rows_of_numbers(text: str, name: str, length: int) -> list[list[float]]:
    if not text:
        return []
    rows = _json_list(text, name)
    for row in rows:
        if not isinstance(row, list) or len(row) != length or not all(map(_is_number, row)):
            raise InvalidError(f"{name} must hold lists of {length} numbers")
    return rows


def _json_list(text: str, name: str) -> list[Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidError(f"{name} is not JSON") from None
    if not isinstance(value, list) or not value:
        raise InvalidError(f"{name} must be a list with something in it")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
