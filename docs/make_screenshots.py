"""Make the pictures of the documentation from the real window.

Run under a display, real or virtual::

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/make_screenshots.py docs/images
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import napari
import numpy as np

from napari_sam3.samples import fluorescence, histology
from napari_sam3.settings import UPLOAD_NOTICE_SEEN, write_setting
from napari_sam3.testing import Behaviour, SegmindServer
from napari_sam3.widgets.demo import (
    own_records,
    process_events,
    save_window,
    segment_everything,
    wait_for,
)
from napari_sam3.widgets.panel import SegmentPanel

THEMES = ("dark", "light")


def main(folder: Path, themes: Sequence[str]) -> None:
    """Write all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "everything": _everything,
        "object": _one_object,
        "concept": _find_all,
        "history": _history,
        "objects": _objects,
    }
    for theme in themes:
        for name, take in pictures.items():
            with own_records():
                take(folder / f"{name}_{theme}.png", theme)


def _window(sample: list[tuple[object, ...]], theme: str) -> tuple[napari.Viewer, SegmentPanel]:
    viewer = napari.Viewer()
    viewer.theme = theme
    viewer.window.resize(1300, 820)
    viewer.add_layer(napari.layers.Layer.create(*sample[0]))
    _, panel = viewer.window.add_plugin_dock_widget("napari-sam3", "Segment")
    process_events(0.5)
    viewer.reset_view()
    return viewer, panel


def _everything(path: Path, theme: str) -> None:
    viewer, panel = _window(fluorescence(), theme)
    segment_everything(viewer, panel)
    save_window(viewer, path)
    viewer.close()


def _one_object(path: Path, theme: str) -> None:
    viewer, panel = _window(fluorescence(), theme)
    objects = _largest_objects(viewer.layers[0].data)
    panel.draw("points")
    for row, col in objects[:2]:
        panel.prompts.get("points").add([row, col])
        wait_for(panel)
        panel.next_object()
    panel.draw("boxes")
    row, col = objects[2]
    panel.prompts.get("boxes").add_rectangles(
        np.array([[row - 34, col - 26], [row + 34, col + 26]])
    )
    wait_for(panel)
    save_window(viewer, path)
    viewer.close()


def _find_all(path: Path, theme: str) -> None:
    viewer, panel = _window(histology(), theme)
    panel.form.question.value = "concept"
    panel.draw("examples")
    for row, col in _largest_objects(255 - viewer.layers[0].data.min(axis=-1))[:2]:
        corners = np.array([[row - 10, col - 10], [row + 10, col + 10]])
        panel.prompts.get("examples").add_rectangles(corners)
    panel.run()
    wait_for(panel)
    panel.form.thresholds.expand(animate=False)
    save_window(viewer, path)
    viewer.close()


def _history(path: Path, theme: str) -> None:
    quick = Behaviour(queued_polls=0, processing_polls=0)
    with SegmindServer(quick, credits=4.2) as server:
        os.environ["SEGMIND_API_KEY"] = server.key
        write_setting(UPLOAD_NOTICE_SEEN, True)
        viewer, panel = _window(fluorescence(), theme)
        segment_everything(viewer, panel)
        panel.form.engine.value = "segmind"
        panel.hosted.url.value = server.url
        panel.form.question.value = "concept"
        for text in ("nucleus", "bright nucleus", "nucleus"):
            panel.form.text.value = text
            panel.run()
            wait_for(panel)
        panel.form.engine.value = "builtin"
        panel.form.history.expand(animate=False)
        panel.history.table.selectRow(0)
        save_window(viewer, path)
        viewer.close()


def _objects(path: Path, theme: str) -> None:
    viewer, panel = _window(fluorescence(), theme)
    labels = segment_everything(viewer, panel)
    _, objects = viewer.window.add_plugin_dock_widget("napari-sam3", "Objects", tabify=True)
    wait_for(objects)
    viewer.reset_view()
    objects.next()
    for decide in (objects.reject, objects.accept, objects.accept, objects.accept):
        decide()
        wait_for(objects)
    objects.form.view.folded.expand(animate=False)
    viewer.layers.selection.active = labels
    viewer.reset_view()
    save_window(viewer, path)
    viewer.close()


def _largest_objects(gray: np.ndarray) -> list[tuple[float, float]]:
    from scipy import ndimage
    from skimage.filters import threshold_otsu
    from skimage.measure import label, regionprops

    smooth = ndimage.gaussian_filter(gray.astype(float), 1)
    regions = regionprops(label(smooth > threshold_otsu(smooth)))
    round_ones = [r for r in regions if r.solidity > 0.93 and min(r.bbox[:2]) > 0]
    return [r.centroid for r in sorted(round_ones, key=lambda r: -r.area)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/images"))
    parser.add_argument("--themes", nargs="+", choices=THEMES, default=THEMES)
    asked_for = parser.parse_args()
    main(asked_for.folder, asked_for.themes)
