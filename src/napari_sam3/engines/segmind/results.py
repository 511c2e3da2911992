"""Decoded answers → instances, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_sam3.core.instances import BoolArray, Instance, Instances
from napari_sam3.engines.base import SegmentationResult, Usage
from napari_sam3.engines.segmind.decode import Decoded, fit_mask, split_into_instances
from napari_sam3.engines.segmind.json_values import balance, price, seconds
from napari_sam3.engines.segmind.options import Answer
from napari_sam3.engines.segmind.payload import Sent
from napari_sam3.engines.segmind.wire import Reply

SPLIT_NOTICE = (
    "Split from one mask: the service gave one mask for all objects, so those that touch are one. "
    "To ask for each by itself: Service options > Result > separate masks, or --separate-masks."
)
COMBINED_NOTICE = (
    "Text, examples and clicks were sent together; the model may have left one kind out of account."
)
_CONCEPT_FIELDS = {"text_prompt", "boxes_input"}


def make_result(
    sent: Sent, wanted: Answer, answers: Sequence[Decoded], usage: Usage
) -> SegmentationResult:
    """Put together what an answer and its downloads hold.

    Parameters
    ----------
    sent : Sent
    wanted : str
        See `napari_sam3.engines.segmind.options.SegmindOptions`.
    answers : sequence of Decoded
    usage : Usage

    Returns
    -------
    SegmentationResult
    """
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
    headers = reply.headers
    cost, took, left = answer.credits, answer.seconds, answer.credits_left
    if cost is None:
        cost = price(headers.get("x-cost"))
    if took is None:
        took = seconds(headers.get("x-generation-time"))
    if left is None:
        left = balance(headers.get("x-remaining-credits"))
    return Usage(cost, took, request_id), left
