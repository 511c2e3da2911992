"""The main job on a sample image, in a window or without one."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_sam3.cli.following import follow
from napari_sam3.cli.images import summary
from napari_sam3.cli.telling import errors_as_sentences, notices_of, tell
from napari_sam3.core.prompts import Everything, ObjectPrompt, Point

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

QT_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")

DEMO_CLICK = (199, 343)
"""A pixel on one nucleus of the fluorescence sample."""

OUTLINE_COLORS = (
    (255, 214, 0),
    (0, 229, 255),
    (255, 82, 82),
    (105, 240, 174),
    (224, 130, 255),
    (255, 152, 0),
    (130, 177, 255),
    (198, 255, 0),
    (255, 128, 171),
)
"""Red, green and blue; neighbours differ, as their labels do."""


def run_demo(
    output_dir: Annotated[Path, typer.Option(help="Save labels and a picture here.")] = Path(
        "demo-output"
    ),
    window: Annotated[
        bool | None,
        typer.Option(
            "--window/--no-window", help="Show it in napari; by default if there is a screen."
        ),
    ] = None,
    keep_open: Annotated[
        bool, typer.Option("--keep-open/--close", help="Whether the window stays open.")
    ] = True,
) -> None:
    """Segment a sample image with the built-in engine."""
    has_window = _can_show_window() if window is None else window
    with errors_as_sentences():
        written = _demo_in_window(output_dir, keep_open) if has_window else _demo(output_dir)
    for path in written:
        tell(f"Wrote {path}")


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

    from napari_sam3.core.pictures import Picture
    from napari_sam3.engines.creating import create_engine
    from napari_sam3.jobs.records import open_records
    from napari_sam3.samples import sample_path
    from napari_sam3.workflows.accounted import iter_accounted
    from napari_sam3.workflows.files import (
        make_folder,
        open_image,
        save_labels,
        save_picture,
    )
    from napari_sam3.workflows.object_records import objects_of, with_objects
    from napari_sam3.workflows.provenance import record_of_file
    from napari_sam3.workflows.run import SegmentRun
    from napari_sam3.workflows.sidecars import own_sidecar_path, write_sidecar

    engine, records, sample = create_engine(), open_records(), sample_path("fluorescence")
    picture = Picture.from_array(open_image(sample))
    click = ObjectPrompt(points=(Point(*DEMO_CLICK),))
    runs = SegmentRun(picture, (Everything(),), 0.5), SegmentRun(picture, (click,))
    # the built-in engine is free: nobody is asked, and its answers are there for a replay
    everything, one = (follow(iter_accounted(engine, run, records, lambda _: True)) for run in runs)
    typer.echo(f"Everything: {summary(everything)}")
    typer.echo(f"One click at {DEMO_CLICK}: {summary(one)}")
    for notice in notices_of(everything):
        typer.echo(notice, err=True)
    written = [folder / "nuclei_labels.tif", folder / "demo.png"]
    make_folder(folder)
    labels = [answer.instances.to_labels() for answer in (everything, one)]
    save_labels(written[0], labels[0])
    record = record_of_file(sample.name, runs[0], everything, engine=engine.name, labels=labels[0])
    written.append(own_sidecar_path(written[0]))
    title = str(record["runs"][-1]["engine"]["title"])
    record = with_objects(record, objects_of(everything.instances, title))
    write_sidecar(written[2], record, labels[0], written[0].name)
    rgb = picture.read().rgb
    written.append(folder / "nuclei.png")
    save_picture(written[3], rgb)
    save_picture(written[1], np.hstack([with_outlines(rgb, shown) for shown in labels]))
    return written


def with_outlines(
    rgb: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.uint8]:
    """Return a copy of a picture with objects' outlines on their outermost pixels."""
    import numpy as np
    from skimage import segmentation

    boundaries: Any = segmentation.find_boundaries
    outline = boundaries(labels, connectivity=1, mode="inner")
    colors = np.array(OUTLINE_COLORS, np.uint8)
    picture = np.array(rgb)
    picture[outline] = colors[(labels[outline] - 1) % len(colors)]
    return picture
