"""Segment image files: one engine, one price and one consent for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from napari_sam3.cli import options as typed_as
from napari_sam3.cli.following import unless_interrupted
from napari_sam3.cli.hosted import (
    confirmation,
    estimate_to_json,
    hosted_options,
    tell_unstored,
    what_is_left,
    with_limits,
)
from napari_sam3.cli.images import (
    FileResult,
    FileRun,
    Target,
    check_targets,
    expected_of,
    segment_each,
    targets_of,
)
from napari_sam3.cli.parsing import TypedOutline, as_usage_error
from napari_sam3.cli.telling import Voice, errors_as_sentences
from napari_sam3.core.concepts import split_concepts
from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
    Prompt,
    Proposal,
)
from napari_sam3.errors import CancelledError, CapReachedError

if TYPE_CHECKING:
    from napari_sam3.engines.base import Engine
    from napari_sam3.engines.segmind.options import SegmindOptions
    from napari_sam3.jobs.estimate import Estimate
    from napari_sam3.jobs.records import Records

NONE = 1
"""Exit code where no image was segmented."""

SOME_FAILED = 3
"""Exit code where some images were segmented, and others not."""

UNANSWERED = 4
"""Exit code where a limit or an error ended a paid run; what was answered is saved."""

EXAMPLES = """\b
Examples:
  napari-sam3 segment nuclei.tif --everything
  napari-sam3 segment nuclei.tif --point 199,343
  napari-sam3 segment nuclei.tif --exemplar 120,300,180,370 --min-score 0.4
  napari-sam3 segment *.png --text nuclei --output-dir labels
  napari-sam3 segment *.png --text mitochondrion --engine segmind --estimate

\b
Exit codes:
  0    all images were segmented
  1    none was, for the reason that is printed
  2    wrong usage
  3    some images were not segmented
  4    a limit or an error ended a paid run; what was answered is saved
  130  interrupted
"""


def segment_files(
    images: typed_as.Images,
    texts: typed_as.Texts = None,
    exemplars: typed_as.Exemplars = None,
    negative_exemplars: typed_as.NegativeExemplars = None,
    min_score: typed_as.MinScore = 0.5,
    max_masks: typed_as.MaxMasks = 0,
    points: typed_as.Points = None,
    negative_points: typed_as.NegativePoints = None,
    boxes: typed_as.Boxes = None,
    outlines: typed_as.Outlines = None,
    proposal: typed_as.ProposalOf = None,
    everything: typed_as.IsEverything = False,
    diameter: typed_as.Diameter = None,
    points_per_side: typed_as.PointsPerSide = 32,
    pred_iou_thresh: typed_as.PredIouThresh = 0.88,
    plane: typed_as.PlaneOf = None,
    contrast_limits: typed_as.ContrastLimits = None,
    output: typed_as.Output = None,
    output_dir: typed_as.OutputDir = None,
    overwrite: typed_as.Overwrite = False,
    as_json: typed_as.AsJson = False,
    quiet: typed_as.Quiet = False,
    verbose: typed_as.Verbose = False,
    engine: typed_as.EngineOf = "builtin",
    estimate_only: typed_as.Estimating = False,
    fresh: typed_as.Fresh = False,
    no_cache: typed_as.NoCache = False,
    cap: typed_as.Cap = None,
    yes: typed_as.Yes = False,
    pay_again: typed_as.PayAgain = False,
    project: typed_as.Project = None,
    combine: typed_as.Combine = False,
    separate_masks: typed_as.SeparateMasks = False,
    overlay: typed_as.Overlay = None,
    api: typed_as.ApiOf = "auto",
    image_format: typed_as.ImageFormatOf = "png",
    max_side: typed_as.MaxSide = 2048,
    in_flight: typed_as.InFlight = 1,
    url: typed_as.Url = None,
) -> None:
    """Segment images and save label images.

    Positions are (row, col) in pixels, counted from 0; a box ends before its second row and
    column.  Each --box and each --point alone is one object; with one --box, all points belong
    to it, and with several, each to the box around it.  Of several images, one that fails is
    reported and the others are segmented.
    """
    prompts = _prompts_of(
        clicks=[*(points or ()), *(negative_points or ())],
        boxes=boxes or [],
        outlines=outlines or [],
        proposal=proposal or "",
        examples=[*(exemplars or ()), *(negative_exemplars or ())],
        texts=texts or [],
        everything=_everything_of(everything, points_per_side, pred_iou_thresh, diameter),
        combine=combine,
    )
    _check_usage(images, output, output_dir, overlay)
    if engine != "segmind" and (separate_masks or overlay):
        raise typer.BadParameter("--separate-masks and --overlay need --engine segmind.")
    if separate_masks and overlay:
        raise typer.BadParameter("give either --separate-masks or --overlay.")
    answer = "overlay" if overlay else "separate masks" if separate_masks else "mask"
    hosted = hosted_options(url, answer, image_format, max_side, api)
    from napari_sam3.workflows.files import make_folder

    voice = Voice(quiet, verbose, as_json)
    with errors_as_sentences():
        targets = targets_of(images, overlay or output, output_dir)
        if not estimate_only:
            if output_dir is not None:
                make_folder(output_dir)
            check_targets(targets, overwrite=overwrite)
        run = FileRun(
            _able_engine(engine, prompts, hosted),
            _records(project, cap, use_cache=not no_cache),
            prompts,
            # how well a click was understood is no reason to leave its object out
            0.0 if isinstance(prompts[0], ObjectPrompt) else min_score,
            max_masks,
            in_flight,
            plane,
            contrast_limits,
            time.time() if fresh else 0.0,
            is_overlay=overlay is not None,
        )
        if estimate_only:
            results = _estimate(run, targets, voice)
        else:
            confirm = confirmation(run.records, hosted.url, yes=yes, pay_again=pay_again)
            results = _segment(run, targets, confirm, voice)
            voice.document({"images": [result.to_json() for result in results]})
    if code := _exit_code(results, of=len(targets)):
        raise typer.Exit(code)


def _prompts_of(
    *,
    clicks: list[Point],
    boxes: list[Box],
    outlines: list[TypedOutline],
    proposal: Proposal,
    examples: list[Exemplar],
    texts: list[str],
    everything: tuple[Prompt, ...],
    combine: bool,
) -> tuple[Prompt, ...]:
    """Return the prompts of one run, all of one kind, or end with a usage error."""
    concepts = split_concepts(*texts)
    if combine:
        kinds = [_combined_prompts(concepts, examples, clicks, boxes)]
    else:
        kinds = [
            _object_prompts(clicks, boxes, outlines, proposal),
            _concept_prompts(concepts, examples),
        ]
    asked = [prompts for prompts in (*kinds, everything) if prompts]
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


def _everything_of(
    is_asked: bool, points_per_side: int, min_iou: float, diameter: float | None
) -> tuple[Prompt, ...]:
    """Return the prompt for everything, if it is asked for."""
    if is_asked:
        with as_usage_error():
            return (Everything(points_per_side, min_iou, diameter),)
    if diameter is not None:
        raise typer.BadParameter("--diameter goes with --everything.")
    return ()


def _object_prompts(
    clicks: list[Point], boxes: list[Box], outlines: list[TypedOutline], proposal: Proposal
) -> tuple[Prompt, ...]:
    from napari_sam3.workflows.asking import object_prompts

    if proposal and not any(click.positive for click in clicks):
        raise typer.BadParameter("--proposal goes with --point.")
    with as_usage_error("--negative-point alone marks no object: add --point, --box or --outline."):
        return object_prompts(clicks, boxes, outlines, proposal)


def _concept_prompts(texts: tuple[str, ...], examples: list[Exemplar]) -> tuple[Prompt, ...]:
    if not texts and not examples:
        return ()
    if len(texts) > 1 and examples:
        raise typer.BadParameter("--exemplar and --negative-exemplar go with a single --text.")
    alone = "--negative-exemplar alone does not say what to find: add --exemplar or --text."
    with as_usage_error(alone):
        return tuple(ConceptPrompt(text, tuple(examples)) for text in texts or ("",))


def _combined_prompts(
    texts: tuple[str, ...], examples: list[Exemplar], clicks: list[Point], boxes: list[Box]
) -> tuple[Prompt, ...]:
    if boxes:
        raise typer.BadParameter("--combine takes --exemplar instead of --box.")
    if len(texts) > 1:
        raise typer.BadParameter("--combine goes with a single --text.")
    with as_usage_error():
        return (CombinedPrompt("".join(texts), tuple(examples), tuple(clicks)),)


def _check_usage(
    images: list[Path], output: Path | None, output_dir: Path | None, overlay: Path | None
) -> None:
    if len(images) > 1 and (output or overlay):
        raise typer.BadParameter(
            "--output and --overlay are for one image; give several an --output-dir."
        )
    if output and output_dir:
        raise typer.BadParameter("give either --output or --output-dir.")
    if overlay and (output or output_dir or overlay.suffix.lower() != ".png"):
        raise typer.BadParameter(
            "--overlay takes a .png file, and no --output or --output-dir beside it."
        )


def _able_engine(name: str, prompts: tuple[Prompt, ...], options: SegmindOptions) -> Engine:
    from napari_sam3.engines import refuse_unsupported
    from napari_sam3.engines.creating import create_engine

    engine = create_engine(name, options if name == "segmind" else None)
    for prompt in prompts:
        refuse_unsupported(engine.name, engine.capabilities, prompt)
    return engine


def _records(project: str | None, cap: float | None, *, use_cache: bool) -> Records:
    from napari_sam3.jobs.records import open_records

    opened = open_records(use_cache=None if use_cache else False, project=project)
    # the cap for a run is one for all images
    return with_limits(opened, cap).counted(lambda accounts: accounts.as_one_run())


def _estimate(run: FileRun, targets: list[Target], voice: Voice) -> list[FileResult]:
    expected, failed = expected_of(run, targets, voice)
    voice.document({"estimate": estimate_to_json(expected)})
    voice.result(f"{expected.words}.")
    voice.notices(*expected.warnings)
    return list(failed.values())


def _segment(
    run: FileRun,
    targets: list[Target],
    confirm: Callable[[Estimate], bool],
    voice: Voice,
) -> list[FileResult]:
    results: dict[Path, FileResult] = {}
    agreed: list[str] = []
    billed = run.engine.capabilities.billed
    if billed:
        expected, results = expected_of(run, targets, voice)
        if expected.calls:
            run.records.accounts().require_limits()
            if not confirm(expected):
                raise CancelledError("Nothing was sent.")
        agreed = [question.key for question in expected.calls]

    def stopped() -> str:
        done = sum(result.saved is not None for result in results.values())
        labels = f"{done} of {len(targets)} images are done" if done else "no labels were written"
        return f"Stopped; {labels}.{f' {what_is_left(run.records)}' if billed else ''}"

    if len(results) < len(targets):
        unless_interrupted(
            lambda stop: segment_each(run, targets, results, agreed, voice, stop), stopped
        )
    tell_unstored(voice.notices)
    if len(targets) > 1:
        voice.result(_total(results.values(), len(targets)))
    return [results.get(target.image, FileResult(target.image)) for target in targets]


def _total(results: Collection[FileResult], count: int) -> str:
    answers = [result.answer for result in results if result.answer is not None]
    parts = [f"{len(answers)} of {count} images segmented"]
    parts.append(f"{sum(len(answer.instances) for answer in answers)} objects")
    costs = [answer.usage.credits for answer in answers if answer.usage.credits is not None]
    parts += [f"${sum(costs):.4f}"] if costs else []
    return ", ".join(parts)


def _exit_code(results: Collection[FileResult], of: int) -> int:
    failed = [result for result in results if result.status in ("failed", "skipped")]
    if len(failed) == of:
        return NONE
    is_cut = any(isinstance(result.error, CapReachedError) for result in failed)
    if is_cut or any(result.status == "partial" for result in results):
        return UNANSWERED
    return SOME_FAILED if failed else 0
