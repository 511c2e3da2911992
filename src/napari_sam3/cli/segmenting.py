"""Segment an image file."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_sam3.cli.following import unless_interrupted
from napari_sam3.cli.hosted import (
    HostedOptions,
    errors_as_sentences,
    hosted_options,
    save_pictures,
)
from napari_sam3.cli.parsing import (
    Limits,
    Outline,
    Plane,
    parse_amount,
    parse_box,
    parse_limits,
    parse_outline,
    parse_plane,
    parse_point,
)
from napari_sam3.cli.prompting import Typed, prompts_of
from napari_sam3.cli.records import (
    confirmation,
    paid_answers_kept,
    pay_again_option,
    tell_estimate,
    with_limits,
)
from napari_sam3.cli.telling import tell
from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import ObjectPrompt, Point, Prompt
from napari_sam3.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam3.engines.base import Engine
    from napari_sam3.engines.segmind.options import SegmindOptions
    from napari_sam3.workflows.segment import Progress, SegmentAnswer, SegmentRun

UNANSWERED = 4
"""Exit code where a cap or an error ended a paid run; what was answered is saved."""


def segment_file(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="TIFF, PNG, JPEG, BMP or NPY file.")
    ],
    engine: Annotated[str, typer.Option(help="Who answers; see: napari-sam3 engines.")] = "builtin",
    points: Annotated[
        list[Point] | None,
        typer.Option("--point", metavar="R,C", parser=parse_point, help="A click on an object."),
    ] = None,
    negative_points: Annotated[
        list[Point] | None,
        typer.Option(
            "--negative-point",
            metavar="R,C",
            parser=parse_point,
            help="A click beside the objects; counts for each of them.",
        ),
    ] = None,
    boxes: Annotated[
        list[Box] | None,
        typer.Option(
            "--box", metavar="R0,C0,R1,C1", parser=parse_box, help="A box around one object."
        ),
    ] = None,
    outlines: Annotated[
        list[Outline] | None,
        typer.Option(
            "--outline",
            metavar="R0,C0,R1,C1,…",
            parser=parse_outline,
            help="A rough outline of one object, by its corners.",
        ),
    ] = None,
    proposal: Annotated[
        str, typer.Option(help="Which of what a click may mean: small, medium or large.")
    ] = "",
    exemplars: Annotated[
        list[Box] | None,
        typer.Option(
            "--exemplar",
            metavar="R0,C0,R1,C1",
            parser=parse_box,
            help="A box around an example: find all like this.",
        ),
    ] = None,
    negative_exemplars: Annotated[
        list[Box] | None,
        typer.Option(
            "--negative-exemplar",
            metavar="R0,C0,R1,C1",
            parser=parse_box,
            help="A box around an example of what not to find.",
        ),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="T",
            help="What to find, e.g. nucleus; give it several times for several classes.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Find all objects.")] = False,
    threshold: Annotated[
        float,
        typer.Option(min=0.1, max=1, help="Least score, for text, exemplars and --everything."),
    ] = 0.5,
    points_per_side: Annotated[
        int, typer.Option(min=0, max=128, help="Grid of automatic clicks, for --everything.")
    ] = 32,
    pred_iou_thresh: Annotated[
        float, typer.Option(min=0.5, max=1, help="Least predicted quality, for --everything.")
    ] = 0.88,
    diameter: Annotated[
        float | None,
        typer.Option(
            metavar="PIXELS", help="Width of the objects, for --everything; found if not given."
        ),
    ] = None,
    max_masks: Annotated[
        int, typer.Option(min=0, max=100, help="At most so many objects, the best; 0 for all.")
    ] = 0,
    plane: Annotated[
        Plane | None,
        typer.Option(
            metavar="T,Z", parser=parse_plane, help="Which plane of a stack, counted from 0."
        ),
    ] = None,
    contrast_limits: Annotated[
        Limits | None,
        typer.Option(
            metavar="LOW,HIGH",
            parser=parse_limits,
            help="Values shown as black and white; found from the image if not given.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Where to save; default: beside IMAGE, its name with _labels.tif."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it exists.")
    ] = False,
    combine: Annotated[
        bool,
        typer.Option(
            "--combine",
            help="Hosted: send text, exemplars and points as one question; the model may leave "
            "one kind out of account.",
        ),
    ] = False,
    separate_masks: Annotated[
        bool, typer.Option("--separate-masks", help="Hosted: one mask per object (experimental).")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--overlay",
            metavar="PNG",
            help="Hosted: get a picture with the objects marked, instead of labels.",
        ),
    ] = None,
    api: Annotated[str, typer.Option(help="Hosted: auto, v1 or v2.")] = "auto",
    image_format: Annotated[str, typer.Option(help="Hosted: send png or jpeg.")] = "png",
    max_side: Annotated[
        int, typer.Option(min=64, help="Hosted: shrink larger pictures to this side.")
    ] = 2048,
    in_flight: Annotated[
        int, typer.Option(min=1, max=16, help="Hosted: questions asked at the same time.")
    ] = 1,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Hosted: the service's address.")
    ] = None,
    cap: Annotated[
        float | None,
        typer.Option(
            parser=parse_amount, metavar="USD", help="Hosted: most that this run may cost."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Hosted: agree to the price without being asked.")
    ] = False,
    pay_again: Annotated[bool, pay_again_option] = False,
    project: Annotated[
        str | None, typer.Option(help="Hosted: count the cost under this project.")
    ] = None,
    estimate_only: Annotated[
        bool, typer.Option("--estimate", help="Say what it would cost, and send nothing.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask although the answer is stored already.")
    ] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither look up nor store answers.")
    ] = False,
) -> None:
    """Segment one image file and save a label image.

    Positions are (row, col) pixels; boxes reach from the first row and column inside to
    the first behind.  Each --box and each --point alone is an object of its own; with
    one --box, all points belong to it, and with several, each to the box around it.
    Each --text is a class of its own, asked in the same run.
    Ends with 4 if a paid run was cut short; what was answered is saved.
    """
    prompts = prompts_of(
        Typed(
            points,
            negative_points,
            boxes,
            outlines,
            proposal,
            exemplars,
            negative_exemplars,
            texts,
            everything,
            points_per_side,
            pred_iou_thresh,
            diameter,
            combine,
        )
    )
    if engine != "segmind" and (separate_masks or picture):
        raise typer.BadParameter("--separate-masks and --overlay need --engine segmind.")
    if picture and (output or picture.suffix.lower() != ".png"):
        raise typer.BadParameter("--overlay takes a .png file, and no --output beside it.")
    from napari_sam3.jobs.records import open_records
    from napari_sam3.workflows.accounted import estimate_run, iter_accounted
    from napari_sam3.workflows.paths import is_file
    from napari_sam3.workflows.provenance import record_of_file

    options = hosted_options(
        HostedOptions(url, api, separate_masks, picture is not None, image_format, max_side)
    )
    # how well a click was understood is no reason to leave its object out
    min_score = 0.0 if isinstance(prompts[0], ObjectPrompt) else threshold
    with errors_as_sentences():
        target = output or _beside(image)
        if not estimate_only:
            _check_output(picture or target, image, overwrite)
        who = _able_engine(engine, prompts, options)
        run = prepare(image, plane, contrast_limits, prompts)
        run = replace(
            run,
            min_score=min_score,
            max_masks=max_masks,
            in_flight=in_flight,
            about={"image": image.name},
        )
        opened = open_records(use_cache=False if no_cache else None, project=project)
        records = with_limits(opened, cap)
        if estimate_only:
            tell_estimate(estimate_run(who, run, records, fresh=fresh))
            return
        confirm = confirmation(records, options.url, yes=yes, pay_again=pay_again)

        def ask(stop: threading.Event) -> Generator[Progress, None, SegmentAnswer]:
            return iter_accounted(who, run, records, confirm, stop, fresh=fresh)

        answer = unless_interrupted(ask, records, billed=who.capabilities.billed)
        if answer.unanswered and is_file(target):
            # half an answer does not take the place of a whole one
            target = target.with_stem(f"{target.stem}_partial")
        # before it is saved: should that fail, they say what was paid for and where it is
        for notice in answer.notices:
            typer.echo(notice, err=True)
        labels = None if picture else answer.instances.to_labels()
        record = record_of_file(
            image.name, run, answer, engine=who.name, plane=plane, labels=labels
        )
        with paid_answers_kept(records, answer):
            written = _save(picture or target, answer, record, labels)
    tell(f"{summary(answer)} → {written}")
    if answer.unanswered:
        raise typer.Exit(UNANSWERED)


def _beside(image: Path) -> Path:
    from napari_sam3.workflows.paths import require_file

    require_file(image)
    return image.with_name(f"{image.stem}_labels.tif")


def _check_output(target: Path, image: Path, overwrite: bool) -> None:
    from napari_sam3.workflows.files import check_label_path
    from napari_sam3.workflows.paths import are_same, kind_at
    from napari_sam3.workflows.sidecars import sidecar_path

    check_label_path(target)
    for path in (target, sidecar_path(target)):
        if kind_at(path) == "nothing":
            continue
        if are_same(path, image):
            raise ImageError(f"{path} is the image itself; choose another --output.")
        if not overwrite:
            raise ImageError(f"{path} exists already; choose another --output, or add --overwrite.")


def _able_engine(name: str, prompts: tuple[Prompt, ...], options: SegmindOptions) -> Engine:
    from napari_sam3.engines import create_engine, refuse_unsupported

    engine = create_engine(name, options if name == "segmind" else None)
    for prompt in prompts:
        refuse_unsupported(engine.name, engine.capabilities, prompt)
    return engine


def prepare(
    image: Path, plane: Plane | None, limits: Limits | None, prompts: tuple[Prompt, ...]
) -> SegmentRun:
    """Read the image and return the run on it."""
    from napari_sam3.workflows.asking import require_inside
    from napari_sam3.workflows.files import open_image
    from napari_sam3.workflows.segment import ArrayPicture, SegmentRun

    pixels = open_image(image, plane, lambda sentence: tell(sentence, err=True))
    require_inside(prompts, (pixels.shape[0], pixels.shape[1]))
    return SegmentRun(ArrayPicture(pixels, limits), prompts)


def _save(
    target: Path, answer: SegmentAnswer, record: dict[str, Any], labels: NDArray[Any] | None
) -> Path:
    from napari_sam3.workflows.files import save_labels
    from napari_sam3.workflows.object_records import objects_of, with_objects
    from napari_sam3.workflows.sidecars import settle_answers, sidecar_path, write_sidecar

    if labels is None:
        save_pictures(target, answer)
    else:
        save_labels(target, labels)
        title = str(record["runs"][-1]["engine"].get("title", ""))
        record = with_objects(record, objects_of(answer.instances, title))
    write_sidecar(sidecar_path(target), record, labels, target.name)
    settle_answers(record)
    return target


def summary(answer: SegmentAnswer) -> str:
    """Say in one line what was found, what it cost and how long it took."""
    overlapping, parts = answer.overlapping, [answer.found_words]
    if any(result.pictures for result in answer.results):
        parts = ["a picture, no labels"]
    parts += [f"{overlapping} overlap"] if overlapping else []
    usage = answer.usage
    parts += [f"${usage.credits:.4f}"] if usage.credits is not None else []
    parts += [answer.cached_words] if answer.cached_words else []
    return ", ".join([*parts, f"{answer.seconds:.1f} s"])
