"""Segmentations against ground truth, on the command line."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from napari_sam3.cli.hosted import errors_as_sentences
from napari_sam3.cli.telling import print_table, tell
from napari_sam3.errors import ImageError

if TYPE_CHECKING:
    from napari_sam3.core.evaluation import Evaluation, Metric
    from napari_sam3.workflows.segment import Progress


def evaluate(
    pred: Annotated[
        Path, typer.Argument(metavar="PRED", help="A label image, or a folder of them.")
    ],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUTH", help="Its ground truth, or a folder of that.")
    ],
    plot: Annotated[
        Path | None,
        typer.Option(metavar="SVG", help="Save a histogram of the true objects' IoUs."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Save a table with a line for each object.")
    ] = None,
    as_json: Annotated[
        Path | None,
        typer.Option("--json", metavar="JSON", help="Save all numbers, of each image as well."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is saved if it exists.")
    ] = False,
) -> None:
    """Compare a segmentation with ground truth: AP, F1, panoptic quality, counts.

    Of two folders, files are compared that have the same name, but for endings such as
    _labels, _masks or _gt.
    """
    from napari_sam3.workflows.evaluating import iter_evaluate, to_csv, to_json
    from napari_sam3.workflows.files import save_text
    from napari_sam3.workflows.plotting import iou_histogram_svg

    named = {"svg": plot, "csv": csv, "json": as_json}
    for suffix, path in named.items():
        # so that none of them takes a label image's place
        if path is not None and path.suffix.lower() != f".{suffix}":
            raise typer.BadParameter(f"{path.name} has to end in .{suffix}.")
    targets = [path for path in named.values() if path is not None]
    with errors_as_sentences():
        _check_outputs(targets, overwrite=overwrite)
        found = _run_to_end(iter_evaluate(pred, truth))
        for notice in found.notices:
            tell(notice, err=True)
        _print_metrics(found)
        if plot is not None:
            save_text(plot, iou_histogram_svg(found.true_ious, _title(found)))
        if csv is not None:
            save_text(csv, to_csv(found))
        if as_json is not None:
            save_text(as_json, json.dumps(to_json(found), indent=1, ensure_ascii=False) + "\n")
    for path in targets:
        tell(f"→ {path}")


def _check_outputs(targets: list[Path], *, overwrite: bool) -> None:
    from napari_sam3.workflows.paths import kind_at, require_place

    for path in targets:
        require_place(path)
        if kind_at(path) == "file" and not overwrite:
            raise ImageError(f"{path} exists already; choose another name, or add --overwrite.")


def _run_to_end(steps: Generator[Progress, None, Evaluation]) -> Evaluation:
    console = Console(stderr=True, highlight=False, markup=False)
    with console.status("Comparing …") as status:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                found: Evaluation = end.value
                return found
            status.update(f"{step.done} of {step.total} compared")


def _print_metrics(found: Evaluation) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("what it is")
    for metric in found.metrics():
        table.add_row(metric.name, _shown(metric), metric.meaning)
    print_table(table)
    noun = "image" if len(found.images) == 1 else "images"
    typer.echo(f"{len(found.images)} {noun}; an object is found where IoU ≥ the threshold.")


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
