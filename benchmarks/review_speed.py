"""How long filters, view switches and brush strokes keep the window's thread busy.

Needs a display, real or virtual::

    xvfb-run -a python -m benchmarks.review_speed

Counted is this package's own CPU time, beside floors measured in the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import napari
import numpy as np
from napari.layers import Labels

from benchmarks.made_up import CostlessEngine, discs, grid_of_discs, install
from benchmarks.timing import heading, middle, report, sizes_asked_for
from benchmarks.watching import OwnTime, settle, watch_memory
from napari_sam3.widgets.demo import own_records
from napari_sam3.widgets.objects_panel import ObjectsPanel
from napari_sam3.widgets.panel import SegmentPanel

PROMISE_S = 0.1
EVENT_S = 0.05
STROKE_S = 0.2
BYTES_PER_PIXEL = 3


@dataclass(frozen=True)
class Sizes:
    """How much is measured: of overlapping objects that are filtered, and of many painted ones."""

    side: int = 4096
    objects: int = 5000
    radius: int = 20
    painted_side: int = 6000
    across: int = 100
    strokes: int = 3


SMALL = Sizes(side=128, objects=6, radius=9, painted_side=120, across=3, strokes=1)


def measure_views(sizes: Sizes) -> None:
    """Find overlapping objects, and change the view of them."""
    side = sizes.side
    found = discs((side, side), sizes.objects, sizes.radius)
    install(CostlessEngine(lambda _: found))
    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    viewer.add_image(np.zeros((side, side), np.uint8), contrast_limits=(0, 255))
    segmenting = SegmentPanel(viewer)
    viewer.window.add_dock_widget(segmenting, area="right")
    segmenting.run_everything()
    settle(segmenting)
    segmenting.close_down()
    layer = next(one for one in viewer.layers if isinstance(one, Labels))
    panel = opened(viewer)

    def copy_and_refresh() -> None:
        np.copyto(layer.data, layer.data.copy())
        layer.refresh()

    floor = middle(5, copy_and_refresh)
    view = panel.form.view
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("least area", lambda: setattr(view.min_area, "value", 3 * sizes.radius**2)),
        ("show all", lambda: view.reset.native.click()),
        ("shared part 0.1", lambda: setattr(view.max_iom, "value", 0.1)),
        ("shared part 1", lambda: setattr(view.max_iom, "value", 1.0)),
        ("smallest on top", lambda: setattr(view.rule, "value", "smallest")),
        ("highest score on top", lambda: setattr(view.rule, "value", "score")),
        ("without border", lambda: setattr(view.without_border, "value", True)),
    )
    for words, action in steps:
        with OwnTime.calibrated() as watch:
            action()
            _, waited_s = settle(panel)
        words = f"{words}, seen after {waited_s:.2f} s (copy {side}² labels, and refresh)"
        report(words, floor, watch.window_s, within_s=PROMISE_S)
        report("    its longest event", floor, watch.longest_s, within_s=EVENT_S)
    panel.close_down()
    viewer.close()


def measure_strokes(sizes: Sizes) -> None:
    """Paint by brush beside many objects that somebody else has painted."""
    side, across = sizes.painted_side, sizes.across
    viewer = napari.Viewer()
    viewer.add_image(np.zeros((side, side), np.uint8), contrast_limits=(0, 255))
    layer = viewer.add_labels(grid_of_discs(side, across), name="painted")
    layer.brush_size = max(3, side // across // 5)
    floor = middle(3, layer.data.copy)
    words = f"{across**2:,} objects on {side}²"
    with watch_memory() as memory:
        panel = opened(viewer)
    frame = layer.features
    pitch, radius = side // across, side // across // 3
    boxed = (2 * radius + 1) ** 2 * len(frame)
    report_memory(f"{words}, beyond image and labels", memory.held, boxed)
    for number in range(sizes.strokes):
        row, col = ((across // 2 + number) * pitch + radius, pitch + radius)
        with OwnTime.calibrated() as watch:
            layer.paint((row, col), number + 1)
            _, waited_s = settle(panel)
        told = f"a brush stroke, {words}, in step after {waited_s:.2f} s (a copy)"
        report(told, floor, watch.total_s, within_s=STROKE_S)
        report("    its longest event (a copy)", floor, watch.longest_s, within_s=EVENT_S)
    with watch_memory() as memory:
        layer.paint((pitch + radius, 2 * pitch + radius), 1)
        settle(panel)
    print(f"a brush stroke, {words}: at most {memory.most / 1e6:.1f} MB more meanwhile")
    panel.close_down()
    viewer.close()


def measure_emptiness(sizes: Sizes) -> None:
    """Look at one object of a large plane."""
    side, radius = sizes.painted_side, sizes.radius
    viewer = napari.Viewer()
    layer = viewer.add_labels(np.zeros((side, side), np.uint16), name="one")
    layer.data[: 2 * radius, : 2 * radius] = 1
    with watch_memory() as memory:
        panel = opened(viewer)
    empty = side**2 - (2 * radius) ** 2
    words = f"one object of {side}² ({empty / 1e6:.0f} million empty pixels)"
    print(f"{words}: {memory.held / 1e6:.1f} MB, its panel included")
    panel.close_down()
    viewer.close()


def report_memory(words: str, held: int, boxed: int) -> None:
    """Say how much memory the objects take for each pixel of their boxes."""
    per_pixel = held / max(boxed, 1)
    promise = "ok" if per_pixel <= BYTES_PER_PIXEL else "MISSED"
    told = f"{held / 1e6:.0f} MB, {per_pixel:.1f} bytes per pixel of their boxes"
    print(f"{words}: {told}  {BYTES_PER_PIXEL}: {promise}")


def opened(viewer: napari.Viewer) -> ObjectsPanel:
    """Open the panel of the objects, and wait until it knows them all."""
    panel = ObjectsPanel(viewer)
    viewer.window.add_dock_widget(panel, area="right")
    settle(panel)
    return panel


if __name__ == "__main__":
    asked_for = sizes_asked_for(__doc__, Sizes(), SMALL)
    heading()
    with own_records():
        measure_views(asked_for)
        measure_strokes(asked_for)
        measure_emptiness(asked_for)
