"""A request → the JSON body that the service takes, and how to find the way back.

Coordinates on the wire are [x, y] pixels of the picture *as sent*; the three
``*_input`` fields are strings that hold JSON.
"""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    ObjectPrompt,
    Point,
)
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.segmind.options import SegmindOptions
from napari_sam3.engines.segmind.png import encode_png
from napari_sam3.errors import PromptError

JPEG_QUALITY = 92
LEAST_THRESHOLD = 0.1
RETURN_FLAGS = {
    "mask": "return_preview",
    "overlay": "return_overlay",
    "separate masks": "return_masks",
}


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What is sent, and what is needed to read the answer.

    Parameters
    ----------
    body : dict
        The JSON body.
    image_shape, sent_shape : tuple of int
        (rows, cols) of the request's image, and of the picture as sent.
    is_one_object : bool
        Whether the answer's mask is a single object, however many parts it has.
    concept : str
        What was asked for by name.
    picture : bytes
        The encoded picture, as it travels inside the body.
    """

    body: dict[str, Any] = field(repr=False)
    image_shape: tuple[int, int]
    sent_shape: tuple[int, int]
    is_one_object: bool
    concept: str
    picture: bytes = field(repr=False)
    notices: tuple[str, ...]


def build_payload(request: SegmentationRequest, options: SegmindOptions) -> Sent:
    """Make the body for a request.

    Parameters
    ----------
    request : SegmentationRequest
        With a prompt that the service can answer.

    Raises
    ------
    PromptError
        If a prompt lies outside of the image.
    """
    scaled = _shrunk(request.image, options.max_side)
    picture = encode_picture(scaled, options.image_format)
    sent_shape = (scaled.shape[0], scaled.shape[1])
    body: dict[str, Any] = {"image": base64.b64encode(picture).decode("ascii")}
    body |= _prompt_fields(request, sent_shape)
    body |= {flag: answer == options.answer for answer, flag in RETURN_FLAGS.items()}
    prompt = request.prompt
    notices = []
    if sent_shape != request.shape:
        notices.append(
            f"The picture was sent with {sent_shape[0]} × {sent_shape[1]} pixels instead of "
            f"{request.shape[0]} × {request.shape[1]}."
        )
    return Sent(
        body,
        request.shape,
        sent_shape,
        isinstance(prompt, ObjectPrompt),
        prompt.text if isinstance(prompt, ConceptPrompt | CombinedPrompt) else "",
        picture,
        tuple(notices),
    )


def encode_picture(image: npt.NDArray[np.uint8], image_format: str) -> bytes:
    """Encode an RGB picture, shape (rows, cols, 3), as PNG or JPEG."""
    if image_format != "jpeg":
        return encode_png(image)
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _shrunk(image: npt.NDArray[np.uint8], max_side: int) -> npt.NDArray[np.uint8]:
    rows, cols = image.shape[:2]
    factor = max_side / max(rows, cols)
    if factor >= 1:
        return image
    size = max(1, round(cols * factor)), max(1, round(rows * factor))
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize(size, Image.Resampling.BOX))


def _prompt_fields(request: SegmentationRequest, sent: tuple[int, int]) -> dict[str, Any]:
    prompt, to_sent = request.prompt, _ToSent(request.shape, sent)
    if isinstance(prompt, Everything):
        amg = {"points_per_side": prompt.points_per_side, "pred_iou_thresh": float(prompt.min_iou)}
        return amg | _max_masks(request)
    fields: dict[str, Any] = {}
    if request.min_score:
        fields["threshold"] = max(LEAST_THRESHOLD, float(request.min_score))
    if isinstance(prompt, ObjectPrompt):
        return fields | to_sent.point_fields(prompt.points)
    boxes = [exemplar.box for exemplar in prompt.exemplars]
    if prompt.text:
        fields["text_prompt"] = prompt.text
    if boxes:
        fields["boxes_input"] = json.dumps([to_sent.box(box) for box in boxes])
    if isinstance(prompt, CombinedPrompt) and prompt.points:
        fields |= to_sent.point_fields(prompt.points)
    return fields | _max_masks(request)


def _max_masks(request: SegmentationRequest) -> dict[str, int]:
    return {"max_masks": int(request.max_masks)} if request.max_masks else {}


@dataclass(frozen=True, slots=True)
class _ToSent:
    """Maps (row, col) of the image to [x, y] of the picture as sent."""

    shape: tuple[int, int]
    sent: tuple[int, int]

    def point_fields(self, points: tuple[Point, ...]) -> dict[str, str]:
        labels = [[int(point.positive) for point in points]]
        return {
            "points_input": json.dumps([self.point(point) for point in points]),
            "point_labels_input": json.dumps(labels),
        }

    def point(self, point: Point) -> list[int]:
        row, col = point.pixel
        if not (0 <= row < self.shape[0] and 0 <= col < self.shape[1]):
            raise PromptError(
                f"The point at row {point.row:g}, column {point.col:g} lies outside of the image; "
                "remove it, or move it inside."
            )
        at = [(point.col, self.shape[1], self.sent[1]), (point.row, self.shape[0], self.sent[0])]
        return [
            min(size - 1, max(0, math.floor((value + 0.5) * size / full)))
            for value, full, size in at
        ]

    def box(self, box: Box) -> list[int]:
        inside = box.intersection(Box.of_shape(self.shape))
        if inside is None:
            raise PromptError(f"The box {box} lies outside of the image; remove it, or move it.")
        rows, cols = self.sent[0] / self.shape[0], self.sent[1] / self.shape[1]
        left, top = math.floor(inside.left * cols), math.floor(inside.top * rows)
        right = min(self.sent[1], max(left + 1, math.ceil(inside.right * cols)))
        bottom = min(self.sent[0], max(top + 1, math.ceil(inside.bottom * rows)))
        return [left, top, right, bottom]
