"""Segmentations against ground truth, on the command line."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from napari_sam3.cli.options import AsJson, Overwrite, Quiet, Verbose, output_option
from napari_sam3.cli.telling import Voice, errors_as_sentences, print_table
from napari_sam3.core.progress import Progress, drain
from napari_sam3.errors import ImageError

if TYPE_CHECKING:
    from napari_sam3.core.evaluation import Evaluation, Metric


def evaluate(
    pred: Annotated[
        Path, typer.Argument(metavar="PRED", help="A label image, or a folder of them.")
    ],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Its ground truth, or a folder.")],
    plot: Annotated[
        Path | None,
        output_option(metavar="SVG", help="Save a histogram of the true objects' IoUs."),
    ] = None,
    csv: Annotated[
        Path | None, output_option(metavar="CSV", help="Save a table with a row for each object.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compare a segmentation with ground truth.

    Prints AP, F1, panoptic quality and counts; --json also those of each image and threshold.
    In two folders, files of the same name are compared; endings such as _labels, _masks or
    _gt do not matter.
    """
    from napari_sam3.workflows.evaluating import iter_evaluate, to_csv, to_json
    from napari_sam3.workflows.files import save_text
    from napari_sam3.workflows.plotting import iou_histogram_svg

    named = {"svg": plot, "csv": csv}
    voice = Voice(quiet, verbose, as_json)
    for suffix, path in named.items():
        # so that none of them takes a label image's place
        if path is not None and path.suffix.lower() != f".{suffix}":
            raise typer.BadParameter(f"{path.name} must end in .{suffix}.")
    targets = [path for path in named.values() if path is not None]
    with errors_as_sentences():
        _check_outputs(targets, overwrite=overwrite)
        found = _run_to_end(iter_evaluate(pred, truth))
        voice.notices(*found.notices)
        voice.document(to_json(found))
        for image in found.images:
            voice.detail(f"{image.name}: AP50 {image.counts[0].average_precision:.4f}")
        if not (quiet or as_json):
            _print_metrics(found)
        if plot is not None:
            save_text(plot, iou_histogram_svg(found.true_ious, _title(found)))
        if csv is not None:
            save_text(csv, to_csv(found))
    for path in targets:
        voice.result(f"→ {path}")


def _check_outputs(targets: list[Path], *, overwrite: bool) -> None:
    from napari_sam3.workflows.paths import kind_at, require_place

    for path in targets:
        require_place(path)
        if kind_at(path) == "file" and not overwrite:
            raise ImageError(f"{path} exists already; choose another name, or add --overwrite.")


def _run_to_end(steps: Generator[Progress, None, Evaluation]) -> Evaluation:
    console = Console(stderr=True, highlight=False, markup=False)
    with console.status("Comparing …") as status:
        return drain(steps, lambda step: status.update(f"{step.done} of {step.total} compared"))


def _print_metrics(found: Evaluation) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("what it is")
    for metric in found.metrics():
        table.add_row(metric.name, _shown(metric), metric.meaning)
    print_table(table)
    noun = "image" if len(found.images) == 1 else "images"
    typer.echo(
        f"{len(found.images)} {noun}; an object counts as found if its IoU reaches the threshold."
    )


def _shown(metric: Metric) -> str:
    if metric.value is None:
        return "–"
    if metric.key == "relative_count_error":
        return f"{metric.value:+.1%}"
    if metric.key == "count_error":
        return f"{metric.value:+.0f}"
    return str(metric.value) if isinstance(metric.value, int) else f"{metric.value:.4f}"


def _title(found: Evaluation) -> str:
    if len(found.images) == 1:
        return found.images[0].name
    return f"{len(found.images)} images"
