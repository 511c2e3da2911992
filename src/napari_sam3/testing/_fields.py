"""What a request's body may hold: as strict as the documents, so that clients keep to them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, Json, ValidationError

from napari_sam3.core.arrays import UInt8Array

MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP")
FLAGS = ("return_preview", "return_overlay", "return_masks")
TEXTS = ("text_prompt", "points_input", "point_labels_input", "boxes_input")

T = TypeVar("T")
JsonText = Json[Annotated[list[T], Field(min_length=1)]]
"""A text that holds a list in JSON."""


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


class _Body(BaseModel):
    """The documented fields."""

    model_config = ConfigDict(strict=True, extra="forbid")

    image: str
    text_prompt: str = ""
    points_input: JsonText[tuple[FiniteFloat, FiniteFloat]] = []
    point_labels_input: Json[tuple[list[Annotated[int, Field(ge=0, le=1)]]]] = ([],)
    boxes_input: JsonText[tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]] = []
    threshold: float = Field(0.5, ge=0.1, le=1)
    points_per_side: int = Field(32, ge=0, le=128)
    pred_iou_thresh: float = Field(0.88, ge=0.5, le=1)
    max_masks: int = Field(0, ge=0, le=100)
    return_preview: bool = True
    return_overlay: bool = False
    return_masks: bool = False


def read_body(
    body: Mapping[str, Any], fetch: Callable[[str], bytes | None]
) -> tuple[UInt8Array, Fields]:
    """Check a body and return the picture, shape (rows, cols, 3), and the fields.

    Parameters
    ----------
    fetch : callable
        Address → uploaded file, or None.

    Raises
    ------
    InvalidError
    """
    # null is the documented default of a text
    given = {n: v for n, v in body.items() if n not in TEXTS or v not in (None, "")}
    try:
        read = _Body.model_validate(given)
    except ValidationError as error:
        misfit = error.errors(include_url=False)[0]
        raise InvalidError(f"{'.'.join(map(str, misfit['loc']))}: {misfit['msg']}") from None
    image = read_pixels(image_bytes(read.image, fetch))
    shape = (image.shape[0], image.shape[1])
    return image, Fields(
        read.text_prompt.strip(),
        _inside(read.points_input, shape),
        _labels(read.point_labels_input[0], len(read.points_input)),
        _boxes(read.boxes_input, shape),
        read.threshold,
        read.points_per_side,
        read.pred_iou_thresh,
        read.max_masks,
        tuple(flag for flag in FLAGS if getattr(read, flag)),
    )


def _inside(
    points: list[tuple[float, float]], shape: tuple[int, int]
) -> tuple[tuple[float, float], ...]:
    rows, cols = shape
    for x, y in points:
        if not (0 <= x < cols and 0 <= y < rows):
            raise InvalidError(f"the point [{x}, {y}] lies outside of the {cols} x {rows} image")
    return tuple(points)


def _labels(labels: list[int], count: int) -> tuple[int, ...]:
    # the documented default is [[1]], which fits one point only
    labels = labels or [1] * min(count, 1)
    if count and len(labels) != count:
        raise InvalidError(f"there are {len(labels)} labels for {count} points")
    # the vendor's own example sends labels without points
    return tuple(labels) if count else ()


def _boxes(
    boxes: list[tuple[float, float, float, float]], shape: tuple[int, int]
) -> tuple[tuple[float, float, float, float], ...]:
    rows, cols = shape
    for left, top, right, bottom in boxes:
        shown = f"the box [{left}, {top}, {right}, {bottom}]"
        if not (left < right and top < bottom):
            raise InvalidError(f"{shown} must be [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
        if left < 0 or top < 0 or right > cols or bottom > rows:
            raise InvalidError(f"{shown} lies outside of the {cols} x {rows} image")
    return tuple(boxes)


# ------------------------------------------------------------------ the picture


def image_bytes(text: str, fetch: Callable[[str], bytes | None]) -> bytes:
    """Return the file that is bare base64, ``data:…;base64,…``, or lies at an address.

    Raises
    ------
    InvalidError
    """
    if text.startswith(("http://", "https://")):
        found = fetch(text)
        if found is None:
            raise InvalidError("the image's address cannot be fetched")
        return found
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise InvalidError("the image's data URI must be base64")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidError("the image is neither base64 nor an address") from None


def read_header(data: bytes) -> tuple[tuple[int, int], str]:
    """Return (rows, cols) and format of an image file, without its pixels.

    Raises
    ------
    InvalidError
    """
    with _open(data) as picture:
        return (picture.height, picture.width), picture.format or ""


def read_pixels(data: bytes) -> UInt8Array:
    """Return an image file as 8-bit RGB, shape (rows, cols, 3).

    Raises
    ------
    InvalidError
    """
    with _open(data) as picture:
        try:
            return np.array(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError):
            raise InvalidError("the image is damaged") from None


def _open(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidError("the image has too many pixels") from None
    except (OSError, ValueError, SyntaxError):
        raise InvalidError("the image is no PNG, JPEG or WebP") from None
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise InvalidError("the image has too many pixels")
    return picture
