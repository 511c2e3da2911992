"""What is typed about objects → the prompts of a run."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from napari_sam3.cli.parsing import Outline
from napari_sam3.core.concepts import split_concepts
from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    Point,
    Prompt,
    Proposal,
)
from napari_sam3.errors import PromptError


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed about objects, as it was typed."""

    points: list[Point] | None = None
    negative_points: list[Point] | None = None
    boxes: list[Box] | None = None
    outlines: list[Outline] | None = None
    proposal: Proposal = ""
    exemplars: list[Box] | None = None
    negative_exemplars: list[Box] | None = None
    texts: list[str] | None = None
    everything: bool = False
    points_per_side: int = 32
    min_iou: float = 0.88
    diameter: float | None = None
    combine: bool = False


def prompts_of(typed: Typed) -> tuple[Prompt, ...]:
    """Return the prompts of one run, all of one kind, or end with a usage error."""
    clicks = [
        *(typed.points or ()),
        *(Point(*point.position, False) for point in typed.negative_points or ()),
    ]
    examples = [
        *_exemplars(typed.exemplars, True),
        *_exemplars(typed.negative_exemplars, False),
    ]
    concepts = split_concepts(*(typed.texts or ()))
    kinds = (
        [_combined_prompts(concepts, examples, clicks, typed.boxes)]
        if typed.combine
        else [
            _object_prompts(clicks, typed.boxes or [], typed.outlines or [], typed.proposal),
            _concept_prompts(concepts, examples),
        ]
    )
    if typed.diameter is not None and not typed.everything:
        raise typer.BadParameter("--diameter goes with --everything.")
    return _only_kind(*kinds, _everything(typed))


def _exemplars(boxes: list[Box] | None, positive: bool) -> list[Exemplar]:
    return [Exemplar(box, positive) for box in boxes or ()]


def _object_prompts(
    clicks: list[Point], boxes: list[Box], outlines: list[Outline], proposal: Proposal
) -> tuple[Prompt, ...]:
    from napari_sam3.workflows.asking import object_prompts

    if proposal and not any(click.positive for click in clicks):
        raise typer.BadParameter("--proposal goes with --point.")
    try:
        return object_prompts(clicks, boxes, outlines, proposal)
    except PromptError as error:
        raise typer.BadParameter(
            "--negative-point alone marks no object: add --point, --box or --outline."
        ) from error


def _concept_prompts(texts: tuple[str, ...], examples: list[Exemplar]) -> tuple[Prompt, ...]:
    if not texts and not examples:
        return ()
    if len(texts) > 1 and examples:
        raise typer.BadParameter("--exemplar and --negative-exemplar go with a single --text.")
    try:
        return tuple(ConceptPrompt(text, tuple(examples)) for text in texts or ("",))
    except PromptError as error:
        raise typer.BadParameter(
            "--negative-exemplar alone does not say what to find: add --exemplar or --text."
        ) from error


def _combined_prompts(
    texts: tuple[str, ...], examples: list[Exemplar], clicks: list[Point], boxes: list[Box] | None
) -> tuple[Prompt, ...]:
    if boxes:
        raise typer.BadParameter("--combine takes --exemplar instead of --box.")
    if len(texts) > 1:
        raise typer.BadParameter("--combine goes with a single --text.")
    try:
        return (CombinedPrompt("".join(texts), tuple(examples), tuple(clicks)),)
    except PromptError as error:
        raise typer.BadParameter(str(error)) from error


def _everything(typed: Typed) -> tuple[Prompt, ...]:
    if not typed.everything:
        return ()
    try:
        return (Everything(typed.points_per_side, typed.min_iou, typed.diameter),)
    except PromptError as error:
        raise typer.BadParameter(str(error)) from error


def _only_kind(*kinds: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    asked = [prompts for prompts in kinds if prompts]
    if not asked:
        raise typer.BadParameter(
            "say what to find: --text, --exemplar, --point, --box, --outline or --everything."
        )
    if len(asked) > 1:
        raise typer.BadParameter(
            "choose one: all of a kind (--text, --exemplar), single objects (--point, --box, "
            "--outline), or --everything."
        )
    return asked[0]
