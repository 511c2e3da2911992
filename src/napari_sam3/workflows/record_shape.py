"""What a record of how labels were made holds: the one declaration of its shape.

`napari_sam3.workflows.provenance.check_record` holds records to it, and the published
``provenance.schema.json`` is generated from it (``python -m
napari_sam3.workflows.record_shape``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from napari_sam3.core.geometry import Box
from napari_sam3.core.labels import OverlapRule
from napari_sam3.core.object_json import (
    ABSENT,
    AnswerObject,
    Count,
    Counts,
    Fraction,
    LabelNumber,
    ObjectsShape,
    Pair,
)
from napari_sam3.core.prompts import Prompt
from napari_sam3.core.schema import Schema
from napari_sam3.core.slabs import Slab

_Numbers = tuple[float, ...]
_Matrix = tuple[_Numbers, ...]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Time = Annotated[
    str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$")
]
_Labelled = Annotated[
    dict[Annotated[str, Field(pattern="^[0-9]+$")], LabelNumber],
    Field(json_schema_extra={"additionalProperties": False}),
]
_Software = Annotated[dict[str, str], Field(description="Versions by package.")]


@dataclass(frozen=True, kw_only=True)
class ImageShape:
    """An image, by its name without folders."""

    name: str
    shape: Counts = ()
    """Without colours."""
    plane: Counts = ()
    """What was chosen of a file's axes before rows and columns."""


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """The labels: their shape, and where they lie in the world."""

    shape: Counts
    scale: _Numbers = ()
    translate: _Numbers = ()
    rotate: _Matrix = ()
    shear: _Numbers = ()
    affine: _Matrix = ()
    units: tuple[str, ...] = ()
    axis_labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelsShape:
    """The label image beside this file, as it was saved."""

    sha256: _Sha256
    """Of its shape and values, whatever their type."""
    dtype: str
    shape: Counts
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class EngineShape:
    """Who answered."""

    name: str
    title: str = ""
    model: str | None = None
    parameters: dict[str, Any] = ABSENT
    """What else changed the answers."""


@dataclass(frozen=True, kw_only=True)
class PlaneShape:
    """The plane of the image that was asked about, as it was shown."""

    index: Counts
    """Along each axis of the full-resolution data; 0 on those that are shown. Where the labels
    have fewer axes, they are of this plane alone."""
    shown: Pair
    """The axes shown as rows and as columns."""
    shape: Pair
    """(rows, cols) at the level."""
    level: Count
    """Of a multiscale image; 0 is the full resolution."""
    factors: _Numbers
    """Full-resolution pixels per pixel of the level, along each axis."""
    world: _Numbers = ()
    """The viewer's position along all of its axes."""


@dataclass(frozen=True, kw_only=True)
class _Mapping:
    contrast_limits: tuple[float, float]
    """The values that became black and white."""
    gamma: Annotated[float, Field(gt=0)]
    dtype: str = ""
    slab: Slab = ABSENT
    """The planes that were shown at once, where it was not the one plane alone: first and one
    after the last along each axis that is not shown, and how they became one."""


@dataclass(frozen=True, kw_only=True)
class _Gray(_Mapping):
    kind: Literal["gray"]
    inverted: bool


@dataclass(frozen=True, kw_only=True)
class _Rgb(_Mapping):
    kind: Literal["rgb"]
    inverted: bool = False


@dataclass(frozen=True, kw_only=True)
class _Sent:
    sha256: _Sha256 | None
    """Of the pixels that the engine was sent."""
    shape: Pair = ABSENT


@dataclass(frozen=True, kw_only=True)
class _Channel:
    name: str = ""
    opacity: Fraction = 1.0
    blending: str = ""
    colormap: str = ""
    colors: Annotated[str, Field(pattern="^([0-9a-f]{1536})?$")] = ""
    """Red, green and blue of each of 256 levels, in hexadecimal digits."""
    matrix: _Matrix = ()
    """With `offset`: (row, col) of the picture to (row, col) of this layer."""
    offset: _Numbers = ()


@dataclass(frozen=True, kw_only=True)
class GrayChannel(_Gray, _Channel):
    """A layer of a composed picture."""


@dataclass(frozen=True, kw_only=True)
class RgbChannel(_Rgb, _Channel):
    """A layer of a composed picture that has its own colours."""


@dataclass(frozen=True, kw_only=True)
class GrayPicture(_Gray, _Sent):
    """Values that were shown as grey levels."""


@dataclass(frozen=True, kw_only=True)
class RgbPicture(_Rgb, _Sent):
    """Colours."""


@dataclass(frozen=True, kw_only=True)
class ComposedPicture(_Sent):
    """Several layers in one picture."""

    kind: Literal["composed"]
    layers: tuple[Annotated[GrayChannel | RgbChannel, Field(discriminator="kind")], ...] = ()
    """From bottom to top."""


@dataclass(frozen=True, kw_only=True)
class UnknownPicture(_Sent):
    """A picture of which nobody told how it was made."""

    kind: Literal["unknown"]


_Picture = GrayPicture | RgbPicture | ComposedPicture | UnknownPicture


@dataclass(frozen=True, kw_only=True)
class ThresholdsShape:
    """What an engine was to leave out."""

    min_score: Fraction
    max_masks: Count


@dataclass(frozen=True, kw_only=True)
class QuestionShape:
    """One request, and what became of it."""

    prompt: Annotated[Prompt, Field(discriminator="kind")]
    objects: Count
    """How many the answer holds."""
    labels: _Labelled
    """The object's index in the answer to its label; those that are missing were labelled
    already, or hidden."""
    replaced: _Labelled = ABSENT
    """The object's index to the label that it took the place of."""
    answered: bool = True
    """Whether the engine answered; false where a cap, a failure or a stop ended the run before."""
    question_sha256: _Sha256 | None = None
    """Of engine, model, parameters, prompt, thresholds, and the picture's shape and SHA-256; its
    answer is stored under it."""
    answer_sha256: _Sha256 | None = None
    answered_at: _Time | None = None
    request_id: str | None = None
    cost: float | None = None
    seconds: float | None = None
    cached: bool = False


@dataclass(frozen=True, kw_only=True)
class RunShape:
    """What was asked at once."""

    id: Annotated[str, Field(min_length=1)]
    time: _Time
    engine: EngineShape
    plane: PlaneShape
    picture: Annotated[_Picture, Field(discriminator="kind")]
    thresholds: ThresholdsShape
    overlap_rule: OverlapRule
    """Which of the new objects shows where they overlap."""
    questions: tuple[QuestionShape, ...]
    image: ImageShape = ABSENT
    """Where it is another than the record's."""
    software: _Software = ABSENT
    crop: Box = ABSENT
    """The part of the plane that was asked about, where it was not all of it: top, left, bottom,
    right, half-open. The picture, the prompts and the answer are in its pixels."""
    skips_known: bool = False
    """Whether objects that were labelled already got no label."""
    former: tuple[AnswerObject, ...] = ()
    """What the replaced labels were written with."""
    cost: float | None = None
    """Of its new answers together; stored ones cost nothing."""
    currency: str = ""
    """Of all costs of the run."""
    seconds: float | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RecordShape:
    """How labels were made with napari-sam3.

    Later versions may add properties, which readers of this one pass over; a change that would
    mislead them counts `schema` up. Positions are (row, col) pixels of the plane, times are UTC,
    costs are US dollars.
    """

    schema: Literal[1]
    software: _Software
    image: ImageShape
    layer: LayerShape
    began: Literal["empty", "labels"]
    """Whether the layer held labels before the first run."""
    runs: tuple[RunShape, ...]
    """In the order in which they were written."""
    labels: LabelsShape = ABSENT
    objects: ObjectsShape = ABSENT


RECORD: Schema[RecordShape] = Schema(RecordShape)


def published_schema() -> str:
    """Return the text of ``provenance.schema.json``."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:napari-sam3:provenance:1",
        **RECORD.json_schema(),
    }
    text = json.dumps(schema, indent=1, ensure_ascii=False)
    # what holds nothing else fits in a line
    return re.sub(r"[\[{]\n[^\[\]{}]*[\]}]", lambda part: " ".join(part[0].split()), text) + "\n"


if __name__ == "__main__":
    from pathlib import Path

    Path(__file__).with_name("provenance.schema.json").write_text(published_schema(), "utf-8")
