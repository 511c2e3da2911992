"""How long the window's thread is kept busy, beside floors measured in the same run.

Needs a display, real or virtual::

    xvfb-run -a python -m benchmarks.window_speed
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import napari
import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

from benchmarks.made_up import CostlessEngine, disc, discs, install
from benchmarks.timing import heading, middle, report, seconds, sizes_asked_for
from benchmarks.watching import OwnTime, settle
from napari_sam3.layers.output import find_output_place
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.prompts import read_points
from napari_sam3.widgets.demo import own_records, process_events, wait_for
from napari_sam3.widgets.panel import SegmentPanel


@dataclass(frozen=True)
class Sizes:
    """How much is measured: what comes in while the window is watched, and what is timed."""

    side: int = 2048
    objects: int = 200
    engine_s: float = 2.0
    large_side: int = 4096
    large_radius: int = 500
    rounds: int = 9


SMALL = Sizes(side=160, objects=3, engine_s=0.1, large_side=128, large_radius=20, rounds=2)


def finds_others(side: int, count: int, radius: int, seconds: float = 0.0) -> CostlessEngine:
    """Return an engine that finds other discs each time."""
    seeds = itertools.count()
    return CostlessEngine(lambda _: discs((side, side), count, radius, next(seeds)), seconds)


class StallClock(QObject):
    """Measures the longest time between two turns of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_s = 0.0
        self._last = time.perf_counter()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self._timer.start(0)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest_s = max(self.longest_s, now - self._last)
        self._last = now


def measure_stall(sizes: Sizes) -> None:
    """Let a slow engine answer many objects, and see how long the window stands still."""
    viewer = napari.Viewer()
    noise = np.random.default_rng(1).random((sizes.side, sizes.side)).astype(np.float32)
    image = viewer.add_image(noise)
    bare_s = seconds(lambda: viewer.window.add_dock_widget(QWidget(), area="right"))
    start = time.perf_counter()
    panel = SegmentPanel(viewer)
    viewer.window.add_dock_widget(panel, area="right")
    opened = time.perf_counter() - start
    report("open the panel (an empty dock)", bare_s, opened, within_s=1)
    install(finds_others(sizes.side, sizes.objects, sizes.side // 50, sizes.engine_s))
    viewer.add_labels(np.zeros((8, 8), np.uint16))  # napari's first labels layer compiles shaders
    process_events(sizes.engine_s)

    idle = StallClock()
    process_events(sizes.engine_s)
    floor_s = idle.longest_s
    clock = StallClock()
    panel.run_everything()
    wait_for(panel)
    words = f"{sizes.objects} objects on {sizes.side}²"
    report(f"longest turn, {words}, napari's drawing included (idle)", floor_s, clock.longest_s)
    with OwnTime.calibrated() as watch:
        panel.run_everything()
        settle(panel)
    report(f"longest event, {words} (idle)", floor_s, watch.longest_s, within_s=0.05)
    report(f"    all in the window's thread, {words} (idle)", floor_s, watch.window_s)
    panel.close_down()
    viewer.layers.remove(image)
    viewer.close()


def measure_events(sizes: Sizes) -> None:
    """Time prompts, commits and new layers of a large image."""
    side, rounds = sizes.large_side, sizes.rounds
    viewer = napari.Viewer()
    image = viewer.add_image(np.zeros((side, side), np.uint8), contrast_limits=(0, 255))
    panel = SegmentPanel(viewer)
    viewer.window.add_dock_widget(panel, area="right")
    panel.form.live.value = False
    panel.draw("points")
    points: Any = panel.prompts.get("points")
    plane = find_plane(image, viewer.dims)
    process_events(0.5)
    bare = middle(rounds, partial(points.add, [side // 9, side // 9]))
    asked = middle(rounds, panel.value)
    report(f"{rounds} points → a frozen run (napari adds one)", bare, asked, within_s=0.015)
    read = middle(rounds, lambda: read_points(points, plane))
    report(f"{rounds} points read (napari adds one)", bare, read, within_s=0.015)
    place = find_output_place(image, plane)
    layer = place.new_layer()
    bare = middle(3, lambda: _add(viewer, Labels(np.zeros((side, side), np.uint16))))
    ours = middle(3, lambda: _add(viewer, place.new_layer()))
    report(f"new output layer, {side}² (a bare one, removal included)", bare, ours, within_s=0.3)
    radius = sizes.large_radius
    install(finds_others(side, 1, radius))
    panel.run_everything()
    settle(panel)
    taken = []
    for _ in range(rounds):
        with OwnTime.calibrated() as watch:
            panel.run_everything()
            settle(panel)
        taken.append(watch.window_s)
    viewer.add_layer(layer)
    corner = side // 2 - radius
    bare = seconds(lambda: layer.data_setitem(tuple(i + corner for i in disc(radius).nonzero()), 7))
    words = f"a run that finds a disc of radius {radius} on {side}² (data_setitem)"
    report(words, bare, statistics.median(taken), within_s=0.1)
    panel.close_down()
    viewer.close()


def _add(viewer: napari.Viewer, layer: Labels) -> None:
    viewer.add_layer(layer)
    viewer.layers.remove(layer)


if __name__ == "__main__":
    asked_for = sizes_asked_for(__doc__, Sizes(), SMALL)
    heading()
    with own_records():
        measure_stall(asked_for)
        measure_events(asked_for)
