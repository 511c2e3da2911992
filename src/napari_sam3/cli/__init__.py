"""The command line: segment a file, list the engines, show what it is like."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from napari_sam3.cli.evaluate import evaluate
from napari_sam3.cli.export import export_objects
from napari_sam3.cli.hosted import (
    HostedOptions,
    errors_as_sentences,
    hosted_options,
    probe_segmind,
    save_pictures,
    standin,
)
from napari_sam3.cli.parsing import (
    Limits,
    Outline,
    Plane,
    parse_box,
    parse_limits,
    parse_outline,
    parse_plane,
    parse_point,
)
from napari_sam3.cli.provenance import cite, replay
from napari_sam3.cli.records import (
    cache_app,
    collect,
    confirmation,
    costs,
    limits,
    tell_estimate,
    what_is_left,
    with_limits,
)
from napari_sam3.core.concepts import split_concepts
from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import (
    PROPOSALS,
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
    Prompt,
)
from napari_sam3.errors import CancelledError, ImageError, PromptError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam3.engines import EngineInfo
    from napari_sam3.engines.base import Engine
    from napari_sam3.engines.segmind.options import SegmindOptions
    from napari_sam3.jobs.records import Records
    from napari_sam3.workflows.segment import Progress, SegmentAnswer, SegmentRun

    Ask = Callable[[threading.Event], Generator[Progress, None, SegmentAnswer]]

QT_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")

UNANSWERED = 4
"""Exit code where a cap or an error ended a paid run; what was answered is saved."""

DEMO_CLICK = (199, 343)
"""A pixel on one nucleus of the fluorescence sample."""


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    # plain text: it can be searched and piped, and breaks no sentence apart
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Promptable segmentation: name, click or box a thing in an image and get its labels.",
)


def main() -> None:
    """Run the command line; the entry point ``napari-sam3``."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # an arrow must not end the program on a terminal that has none
            reconfigure(errors="replace")
    app(prog_name="napari-sam3")


def _print_version(asked: bool) -> None:
    if asked:
        from napari_sam3 import __version__

        typer.echo(f"napari-sam3 {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


@app.command("segment")
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
        typer.Option(min=0, metavar="USD", help="Hosted: most that this run may cost."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Hosted: agree to the price without being asked.")
    ] = False,
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
    clicks = [*(points or ()), *(Point(*p.position, False) for p in negative_points or ())]
    examples = [*_exemplars(exemplars, True), *_exemplars(negative_exemplars, False)]
    concepts = split_concepts(*(texts or ()))
    prompts = _questions(
        *(
            [_combined_question(concepts, examples, clicks, boxes)]
            if combine
            else [
                _object_questions(clicks, boxes or [], outlines or [], proposal),
                _concept_questions(concepts, examples),
            ]
        ),
        (_everything(points_per_side, pred_iou_thresh, diameter),) if everything else (),
    )
    if diameter is not None and not everything:
        raise typer.BadParameter("--diameter belongs to --everything.")
    if engine != "segmind" and (separate_masks or picture):
        raise typer.BadParameter("--separate-masks and --overlay need --engine segmind.")
    if picture and (output or picture.suffix.lower() != ".png"):
        raise typer.BadParameter("--overlay takes a .png file, and no --output beside it.")
    from napari_sam3.jobs.records import open_records
    from napari_sam3.workflows.accounted import estimate_run, iter_accounted
    from napari_sam3.workflows.provenance import record_of_file

    options = hosted_options(
        HostedOptions(url, api, separate_masks, picture is not None, image_format, max_side)
    )
    # how well a click was understood is no reason to leave its object out
    min_score = 0.0 if isinstance(prompts[0], ObjectPrompt) else threshold
    target = output or image.with_name(f"{image.stem}_labels.tif")
    with errors_as_sentences():
        if not estimate_only:
            _check_output(picture or target, image, overwrite)
        who = _able_engine(engine, prompts, options)
        run = _prepare(image, plane, contrast_limits, prompts)
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
        confirm = confirmation(records, options.url, yes=yes)

        def ask(stop: threading.Event) -> Generator[Progress, None, SegmentAnswer]:
            return iter_accounted(who, run, records, confirm, stop, fresh=fresh)

        answer = _unless_interrupted(ask, records, billed=who.capabilities.billed)
        if answer.unanswered and target.exists():
            # half an answer does not take the place of a whole one
            target = target.with_stem(f"{target.stem}_partial")
        labels = None if picture else answer.instances.to_labels()
        record = record_of_file(
            image.name, run, answer, engine=who.name, plane=plane, labels=labels
        )
        written = _save(picture or target, answer, record, labels)
    for notice in answer.notices:
        typer.echo(notice, err=True)
    typer.echo(f"{_summary(answer)} → {written}")
    if answer.unanswered:
        raise typer.Exit(UNANSWERED)


app.command("standin")(standin)
app.command("replay")(replay)
app.command("cite")(cite)
app.command("export")(export_objects)
app.command("evaluate")(evaluate)
app.command("probe-segmind")(probe_segmind)
app.add_typer(cache_app, name="cache")
for command in (costs, limits, collect):
    app.command()(command)


@app.command("engines")
def list_engines() -> None:
    """List the engines: what is ready, what the others need, what each can do."""
    from napari_sam3.engines import ENGINES

    states = {info.name: info.missing or (info.lacks() if info.lacks else "") for info in ENGINES}
    infos = sorted(ENGINES, key=lambda info: bool(states[info.name]))
    rows = [(i.name, i.title, states[i.name] or "ready", _abilities(i), i.summary) for i in infos]
    table = Table("name", "engine", "state", "can do", "where", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    unbounded = console.options.update(width=10_000)
    width = Measurement.get(console, unbounded, table).maximum
    if console.is_terminal and console.width < width:
        # a table that is squeezed breaks words apart, or leaves them out
        for name, title, state, abilities, summary in rows:
            console.print(f"{name} ({title}): {state}", f"can do: {abilities}", summary, sep="\n")
            console.print()
        return
    console.width = width
    console.print(table)


@app.command("demo")
def demo(
    output_dir: Annotated[Path, typer.Option(help="Gets the labels and a picture.")] = Path(
        "demo-output"
    ),
    window: Annotated[
        bool | None,
        typer.Option(
            "--window/--no-window", help="Show it in napari; default: if there is a screen."
        ),
    ] = None,
    keep_open: Annotated[
        bool, typer.Option("--keep-open/--close", help="Whether the window stays.")
    ] = True,
) -> None:
    """Segment a real sample image with the built-in engine."""
    has_window = _can_show_window() if window is None else window
    with errors_as_sentences():
        written = _demo_in_window(output_dir, keep_open) if has_window else _demo(output_dir)
    for path in written:
        typer.echo(f"Wrote {path}")


def _exemplars(boxes: list[Box] | None, positive: bool) -> list[Exemplar]:
    return [Exemplar(box, positive) for box in boxes or ()]


def _object_questions(
    clicks: list[Point], boxes: list[Box], outlines: list[Outline], proposal: str
) -> tuple[Prompt, ...]:
    from napari_sam3.workflows.asking import object_prompts

    wanted = next((one for one in PROPOSALS if one == proposal), None)
    if wanted is None:
        raise typer.BadParameter(f"--proposal is small, medium or large, not {proposal!r}.")
    if proposal and not any(click.positive for click in clicks):
        raise typer.BadParameter("--proposal says which of what a click may mean: add --point.")
    try:
        return object_prompts(clicks, boxes, outlines, wanted)
    except PromptError as error:
        raise typer.BadParameter(
            "--negative-point alone marks no object: add --point, --box or --outline."
        ) from error


def _concept_questions(texts: tuple[str, ...], examples: list[Exemplar]) -> tuple[Prompt, ...]:
    if not texts and not examples:
        return ()
    if len(texts) > 1 and examples:
        raise typer.BadParameter("--exemplar and --negative-exemplar go with one --text only.")
    try:
        return tuple(ConceptPrompt(text, tuple(examples)) for text in texts or ("",))
    except PromptError as error:
        raise typer.BadParameter(
            "--negative-exemplar alone says not what to find: add --exemplar or --text."
        ) from error


def _combined_question(
    texts: tuple[str, ...], examples: list[Exemplar], clicks: list[Point], boxes: list[Box] | None
) -> tuple[Prompt, ...]:
    if boxes:
        raise typer.BadParameter("--combine takes --exemplar instead of --box.")
    if len(texts) > 1:
        raise typer.BadParameter("--combine asks one question: give one --text only.")
    try:
        return (CombinedPrompt("".join(texts), tuple(examples), tuple(clicks)),)
    except PromptError as error:
        raise typer.BadParameter(str(error)) from error


def _everything(points_per_side: int, min_iou: float, diameter: float | None) -> Everything:
    try:
        return Everything(points_per_side, min_iou, diameter)
    except PromptError as error:
        raise typer.BadParameter(str(error)) from error


def _questions(*kinds: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    asked = [prompts for prompts in kinds if prompts]
    if not asked:
        raise typer.BadParameter(
            "nothing is asked: give --point, --box, --outline, --exemplar, --text or --everything."
        )
    if len(asked) > 1:
        raise typer.BadParameter(
            "these are different questions, ask one at a time: one object each (--point, "
            "--box, --outline), all like this (--text, --exemplar), or --everything."
        )
    return asked[0]


def _check_output(target: Path, image: Path, overwrite: bool) -> None:
    from napari_sam3.workflows.files import check_label_path
    from napari_sam3.workflows.sidecars import sidecar_path

    check_label_path(target)
    for path in (target, sidecar_path(target)):
        if not path.exists():
            continue
        if image.exists() and path.samefile(image):
            raise ImageError(f"{path} is the image itself; choose another --output.")
        if not overwrite:
            raise ImageError(f"{path} exists already; choose another --output, or add --overwrite.")


def _able_engine(name: str, prompts: tuple[Prompt, ...], options: SegmindOptions) -> Engine:
    from napari_sam3.engines import create_engine, refuse_unsupported

    engine = create_engine(name, options if name == "segmind" else None)
    for prompt in prompts:
        refuse_unsupported(engine.name, engine.capabilities, prompt)
    return engine


def _prepare(
    image: Path, plane: Plane | None, limits: Limits | None, prompts: tuple[Prompt, ...]
) -> SegmentRun:
    from napari_sam3.workflows.asking import require_inside
    from napari_sam3.workflows.files import open_image
    from napari_sam3.workflows.segment import ArrayPicture, SegmentRun

    pixels = open_image(image, plane)
    require_inside(prompts, (pixels.shape[0], pixels.shape[1]))
    return SegmentRun(ArrayPicture(pixels, limits), prompts)


def _follow(workflow: Generator[Progress, None, SegmentAnswer]) -> SegmentAnswer:
    from napari_sam3.workflows.segment import finish

    if not sys.stderr.isatty():
        return finish(workflow)
    return finish(_with_bar(workflow))


def _unless_interrupted(ask: Ask, records: Records, *, billed: bool) -> SegmentAnswer:
    """Follow a run; the first Ctrl-C ends it in good order, a second one at once."""
    stop = threading.Event()
    try:
        with _stopped_by_interrupt(stop):
            answer = _follow(ask(stop))
        if not stop.is_set():
            return answer
    except KeyboardInterrupt:
        stop.set()
    except CancelledError:
        if not stop.is_set():
            raise
    left = f" {what_is_left(records)}" if billed else ""
    typer.echo(f"Stopped; no labels were written.{left}", err=True)
    raise typer.Exit(130)


@contextmanager
def _stopped_by_interrupt(stop: threading.Event) -> Iterator[None]:
    def on_interrupt(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    try:
        usual = signal.signal(signal.SIGINT, on_interrupt)
    except ValueError:
        # not the main thread: whoever runs this there has its own way to stop it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _with_bar(
    workflow: Generator[Progress, None, SegmentAnswer],
) -> Generator[Progress, None, SegmentAnswer]:
    from rich import progress

    console = Console(stderr=True)
    columns = progress.TextColumn("{task.description}"), progress.BarColumn()
    with progress.Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None)
        while True:
            try:
                step = next(workflow)
            except StopIteration as end:
                answer: SegmentAnswer = end.value
                return answer
            # a single question has no known end: the bar only shows that it runs
            total = step.total if step.total > 1 else None
            bars.update(task, description=step.message, completed=step.done, total=total)
            yield step


def _save(
    target: Path, answer: SegmentAnswer, record: dict[str, Any], labels: NDArray[Any] | None
) -> Path:
    from napari_sam3.workflows.files import save_labels
    from napari_sam3.workflows.object_records import objects_of, with_objects
    from napari_sam3.workflows.sidecars import sidecar_path, write_sidecar

    if labels is None:
        save_pictures(target, answer)
    else:
        save_labels(target, labels)
        title = str(record["runs"][-1]["engine"].get("title", ""))
        record = with_objects(record, objects_of(answer.instances, title))
    write_sidecar(sidecar_path(target), record, labels, target.name)
    return target


def _summary(answer: SegmentAnswer) -> str:
    overlapping, parts = answer.overlapping, [answer.found_words]
    if any(result.pictures for result in answer.results):
        parts = ["a picture, no labels"]
    parts += [f"{overlapping} overlap"] if overlapping else []
    usage = answer.usage
    parts += [f"${usage.credits:.4f}"] if usage.credits is not None else []
    parts += [answer.cached_words] if answer.cached_words else []
    return ", ".join([*parts, f"{answer.seconds:.1f} s"])


def _abilities(info: EngineInfo) -> str:
    can = info.capabilities
    words = {
        "text": can.text and not can.words,
        "some words": bool(can.words),
        "exemplars": can.exemplars,
        "negative exemplars": can.negative_exemplars,
        "points": can.points,
        "boxes": can.object_box,
        "outlines": can.outline,
        "everything": can.everything,
    }
    return ", ".join(word for word, able in words.items() if able)


def _can_show_window() -> bool:
    has_screen = sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    return has_screen and any(importlib.util.find_spec(name) for name in QT_BINDINGS)


def _demo_in_window(folder: Path, keep_open: bool) -> list[Path]:
    # by name, as the command line must work where no window can be made
    shown = importlib.import_module("napari_sam3.widgets.demo")
    written: list[Path] = shown.show_demo(folder, keep_open)
    return written


def _demo(folder: Path) -> list[Path]:
    import numpy as np

    from napari_sam3.engines import create_engine
    from napari_sam3.jobs.records import open_records
    from napari_sam3.samples import sample_path
    from napari_sam3.workflows.accounted import iter_accounted
    from napari_sam3.workflows.files import (
        make_folder,
        open_image,
        overlay,
        save_labels,
        save_picture,
    )
    from napari_sam3.workflows.object_records import objects_of, with_objects
    from napari_sam3.workflows.provenance import record_of_file
    from napari_sam3.workflows.segment import ArrayPicture, SegmentRun
    from napari_sam3.workflows.sidecars import sidecar_path, write_sidecar

    engine, records, sample = create_engine(), open_records(), sample_path("fluorescence")
    picture = ArrayPicture(open_image(sample))
    click = ObjectPrompt(points=(Point(*DEMO_CLICK),))
    runs = SegmentRun(picture, (Everything(),), 0.5), SegmentRun(picture, (click,))
    # the built-in engine is free: nobody is asked, and its answers are there for a replay
    everything, one = (
        _follow(iter_accounted(engine, run, records, lambda _: True)) for run in runs
    )
    typer.echo(f"Everything: {_summary(everything)}")
    typer.echo(f"One click at {DEMO_CLICK}: {_summary(one)}")
    for notice in everything.notices:
        typer.echo(notice, err=True)
    written = [folder / "nuclei_labels.tif", folder / "demo.png"]
    make_folder(folder)
    labels = [answer.instances.to_labels() for answer in (everything, one)]
    save_labels(written[0], labels[0])
    record = record_of_file(sample.name, runs[0], everything, engine=engine.name, labels=labels[0])
    written.append(sidecar_path(written[0]))
    title = str(record["runs"][-1]["engine"]["title"])
    record = with_objects(record, objects_of(everything.instances, title))
    write_sidecar(written[2], record, labels[0], written[0].name)
    rgb = picture.read()
    written.append(folder / "nuclei.png")
    save_picture(written[3], rgb)
    save_picture(written[1], np.hstack([overlay(rgb, shown) for shown in labels]))
    return written
