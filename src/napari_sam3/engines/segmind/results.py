"""Decoded answers → instances in the size of the picture, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray, IndexArray
from napari_sam3.core.instances import Instance, Instances, split_labels
from napari_sam3.engines.base import SegmentationResult, Usage
from napari_sam3.engines.segmind.decode import Decoded
from napari_sam3.engines.segmind.json_values import balance, number
from napari_sam3.engines.segmind.options import AnswerKind
from napari_sam3.engines.segmind.payload import Sent
from napari_sam3.engines.segmind.wire import Reply
from napari_sam3.errors import ResponseError

MAX_PARTS = 100_000

SPLIT_NOTICE = (
    "Split from one mask: the service gave one mask for all objects, so those that touch are one. "
    "To ask for each by itself: Service options > Result > separate masks, or --separate-masks."
)
COMBINED_NOTICE = (
    "Text, examples and clicks were sent together; the model may have left one kind out of account."
)
_CONCEPT_FIELDS = {"text_prompt", "boxes_input"}


def make_result(
    sent: Sent, wanted: AnswerKind, answers: Sequence[Decoded], usage: Usage
) -> SegmentationResult:
    """Put together what an answer and its downloads hold."""
    masks = [fit_mask(m, sent.image_shape) for answer in answers for m in answer.masks]
    is_separate = wanted == "separate masks" or any(a.kind == "masks" for a in answers)
    items, notices = _instances(sent, masks, is_separate)
    notices += [notice for answer in answers for notice in answer.notices]
    if "points_input" in sent.body and sent.body.keys() & _CONCEPT_FIELDS:
        notices.append(COMBINED_NOTICE)
    return SegmentationResult(
        Instances(sent.image_shape, tuple(items)),
        usage,
        tuple(dict.fromkeys([*sent.notices, *notices])),
        tuple(picture for answer in answers for picture in answer.pictures),
    )


def _instances(
    sent: Sent, masks: list[BoolArray], is_separate: bool
) -> tuple[list[Instance], list[str]]:
    if sent.is_one_object and masks:
        masks, is_separate = [np.logical_or.reduce(masks)], True
    if is_separate or len(masks) != 1:
        found = (Instance.from_mask(mask, None, sent.concept) for mask in masks)
        return [item for item in found if item is not None], []
    items = [replace(i, concept=sent.concept) for i in split_into_instances(masks[0])]
    return items, [SPLIT_NOTICE]


def usage_of(reply: Reply, answer: Decoded, request_id: str | None) -> tuple[Usage, float | None]:
    """Return what a call took, and the balance, where the answer or its headers say so."""
    headers, told, left = reply.headers, answer.usage, answer.credits_left
    usage = Usage(
        number(headers.get("x-cost")) if told.credits is None else told.credits,
        number(headers.get("x-generation-time")) if told.seconds is None else told.seconds,
        request_id or told.request_id,
    )
    return usage, balance(headers.get("x-remaining-credits")) if left is None else left


def fit_mask(mask: BoolArray, shape: tuple[int, int]) -> BoolArray:
    """Map a mask to another size (rows, cols) by nearest neighbour.

    Examples
    --------
    >>> fit_mask(np.array([[True, False]]), (1, 4)).tolist()
    [[True, True, False, False]]
    """
    if mask.shape == tuple(shape):
        return mask
    rows, cols = (_nearest(old, new) for old, new in zip(mask.shape, shape, strict=True))
    return mask[rows][:, cols]


def _nearest(old: int, new: int) -> IndexArray:
    # the old pixel under the middle of each new one, in whole numbers
    return (2 * np.arange(new, dtype=np.intp) + 1) * old // (2 * new)


def split_into_instances(mask: BoolArray) -> tuple[Instance, ...]:
    """Split a mask into its connected parts, in scan order of their first pixels.

    Pixels that share a corner are connected.

    Raises
    ------
    ResponseError
        If there are more parts than a mask of objects can have.
    """
    from scipy import ndimage

    labels: npt.NDArray[Any]
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), np.int8))
    if count > MAX_PARTS:
        raise ResponseError(
            f"The mask falls into {count:,} separate parts: that is noise, not objects."
        )
    return tuple(split_labels(labels).values())
