"""The main job in a real window: a sample, a few prompts, a Labels layer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
import numpy as np
from napari.layers import Labels
from PIL import Image as PillowImage
from qtpy.QtWidgets import QApplication

from napari_sam3.errors import Sam3Error
from napari_sam3.jobs.accounts import close_ledgers
from napari_sam3.samples import fluorescence
from napari_sam3.widgets.objects_panel import ObjectsPanel
from napari_sam3.widgets.panel import SegmentPanel
from napari_sam3.widgets.saving import capture_labels, save_layer_data

WINDOW_SIZE = (1400, 900)
TIMEOUT_S = 120.0


def show_demo(output_dir: Path, keep_open: bool) -> list[Path]:
    """Segment the fluorescence sample in a window, as a user would.

    Parameters
    ----------
    output_dir : Path
        Gets ``nuclei_labels.tif`` with its record and ``demo.png``, a picture of the window.
    keep_open : bool
        Whether the window stays until it is closed.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    Sam3Error
        If there was no answer in time.
    """
    viewer = napari.Viewer(title="napari-sam3 demo")
    viewer.window.resize(*WINDOW_SIZE)
    viewer.add_layer(napari.layers.Layer.create(*fluorescence()[0]))
    _, panel = viewer.window.add_plugin_dock_widget("napari-sam3", "Segment")
    process_events(0.5)
    # the dock has taken some of the canvas since the image came
    viewer.reset_view()
    labels = segment_everything(viewer, panel)
    output_dir.mkdir(parents=True, exist_ok=True)
    saved = save_layer_data(output_dir / "nuclei_labels.tif", capture_labels(labels))
    written = [*map(Path, saved), output_dir / "demo.png"]
    save_window(viewer, written[-1])
    if keep_open:
        napari.run()
    else:
        viewer.close()
    return written


def segment_everything(viewer: napari.Viewer, panel: SegmentPanel) -> Labels:
    """Press Run for everything in the chosen image and wait for the labels."""
    panel.form.question.value = "everything"
    panel.form.run.native.click()
    wait_for(panel)
    found = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    if not found:
        raise Sam3Error(f"The demo found nothing: {panel.form.result.text()}")
    return found[-1]


@contextmanager
def own_records() -> Iterator[None]:
    """Keep the settings, answers and costs of what is shown apart from the user's, until the end.

    So what is shown is neither in the user's history nor taken from it.
    """
    before = dict(os.environ)
    with TemporaryDirectory() as home:
        for variable in ("CONFIG", "CACHE", "DATA"):
            os.environ[f"NAPARI_SAM3_{variable}"] = str(Path(home) / variable.lower())
        try:
            yield
        finally:
            close_ledgers()
            os.environ.clear()
            os.environ.update(before)


def wait_for(panel: SegmentPanel | ObjectsPanel, timeout_s: float = TIMEOUT_S) -> None:
    """Let the window live until the panel has nothing to do.

    Raises
    ------
    Sam3Error
        If that takes longer than `timeout_s`.
    """
    end = time.monotonic() + timeout_s
    process_events(0.05)
    while panel.is_busy:
        if time.monotonic() > end:
            raise Sam3Error(f"There was no answer within {timeout_s:.0f} s.")
        process_events(0.02)


def process_events(seconds: float) -> None:
    """Let the window live for so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def save_window(viewer: napari.Viewer, path: Path) -> None:
    """Save a picture of the whole window, once it has been drawn."""
    process_events(0.5)
    picture = np.asarray(viewer.screenshot(canvas_only=False, flash=False))
    PillowImage.fromarray(picture[..., :3]).save(path)
