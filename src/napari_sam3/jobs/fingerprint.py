"""What a question is known by: equal questions have equal keys, and others have others."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from napari_sam3.core.prompts import describe, prompt_to_json
from napari_sam3.engines.base import (
    AnswerRecord,
    Engine,
    SegmentationRequest,
    SegmentationResult,
)
from napari_sam3.jobs.answers import digest


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One request to one engine, by what its answer depends on.

    Parameters
    ----------
    key : str
        SHA-256 of `fields`, 64 hexadecimal digits.
    words : str
        What is asked, in a few words, e.g. for a table's cell.
    fields : dict
        JSON values: the picture's SHA-256 and shape, the prompt, the thresholds, the
        engine, its model and its parameters.
    """

    key: str
    words: str
    fields: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, engine: Engine, request: SegmentationRequest) -> Fingerprint:
        """Return what a request to an engine is known by."""
        fields = {
            "engine": engine.name,
            "model": engine.model,
            "parameters": dict(engine.parameters),
            "prompt": prompt_to_json(request.prompt),
            "min_score": float(request.min_score),
            "max_masks": int(request.max_masks),
            "image": {
                "shape": list(request.shape),
                "sha256": request.pixels.sha256,
            },
        }
        return cls(key_of(fields), describe(request.prompt), fields)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Rows and columns of the picture that is asked about."""
        rows, cols = self.fields["image"]["shape"]
        return rows, cols

    @property
    def image_sha256(self) -> str:
        """Of the picture that is asked about."""
        digest: str = self.fields["image"]["sha256"]
        return digest


def key_of(fields: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a question's fields; see `Fingerprint`."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def identified(question: Fingerprint, result: SegmentationResult) -> SegmentationResult:
    """Return a new answer with what identifies it and its question."""
    fields = question.fields
    record = AnswerRecord(
        question.key,
        question.image_sha256,
        digest(result.instances),
        fields["engine"],
        fields["model"],
        dict(fields["parameters"]),
        time.time(),
    )
    return replace(result, record=record)
