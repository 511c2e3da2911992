"""How long the window's thread is kept busy, beside floors measured in the same run.

Needs a display, real or virtual::

    xvfb-run -a python benchmarks/window_speed.py
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import napari
import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.engines.base import NEVER, SegmentationRequest, SegmentationResult
from napari_sam3.engines.builtin import CAPABILITIES
from napari_sam3.layers.output import find_output_place, write_instances
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.prompts import read_points
from napari_sam3.widgets import panel as panel_module
from napari_sam3.widgets.demo import process_events, wait_for
from napari_sam3.widgets.panel import SegmentPanel


def disc(radius: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return a disc's mask."""
    row, col = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(row**2 + col**2 <= radius**2)


def discs(shape: tuple[int, int], count: int, radius: int) -> Instances:
    """Return discs at random places."""
    random = np.random.default_rng(0)
    mask = disc(radius)
    side = mask.shape[0]
    tops = random.integers(0, shape[0] - side, count).tolist()
    lefts = random.integers(0, shape[1] - side, count).tolist()
    items = [
        Instance(mask, Box(t, c, t + side, c + side), 0.9) for t, c in zip(tops, lefts, strict=True)
    ]
    return Instances(shape, tuple(items))


class SlowEngine:
    """Answers after two seconds, with 200 objects."""

    name = "builtin"
    capabilities = CAPABILITIES

    def segment(
        self, request: SegmentationRequest, stop: threading.Event = NEVER
    ) -> SegmentationResult:
        """Wait, then answer."""
        stop.wait(2.0)
        return SegmentationResult(discs(request.shape, 200, 40))


def _slow_engine(_name: str, _options: Any = None) -> SlowEngine:
    return SlowEngine()


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


def timed(action: Callable[[], Any], times: int = 5) -> float:
    """Return the median of some runs, in milliseconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


def report(work: str, found_ms: float, target_ms: float, note: str = "") -> None:
    """Print one line of the table."""
    verdict = "ok" if found_ms <= target_ms else "MISSED"
    print(f"{work:<52} {found_ms:8.1f} ms   target {target_ms:5.0f} ms   {verdict}  {note}")


def measure_stall() -> None:
    """Let a two-second engine answer 200 objects on 2048²."""
    viewer = napari.Viewer()
    image = viewer.add_image(np.random.default_rng(1).random((2048, 2048)).astype(np.float32))
    start = time.perf_counter()
    panel = SegmentPanel(viewer)
    viewer.window.add_dock_widget(panel, area="right")
    report("open the panel", 1000 * (time.perf_counter() - start), 1000)
    setattr(panel_module, "create_engine", _slow_engine)  # noqa: B010 - mypy takes it for final
    viewer.add_labels(np.zeros((8, 8), np.uint16))  # napari's first labels layer compiles shaders
    process_events(2.0)

    steps: list[float] = []
    original = panel.committer._step

    def step() -> None:
        begin = time.perf_counter()
        original()
        steps.append(time.perf_counter() - begin)

    panel.committer._timer.timeout.disconnect()
    panel.committer._timer.timeout.connect(step)
    idle = StallClock()
    process_events(2.0)
    floor_ms = 1000 * idle.longest_s
    clock = StallClock()
    panel.run()
    wait_for(panel)
    report("longest step of ours, 200 objects on 2048²", 1000 * max(steps[1:]), 50)
    print(f"    first step, with napari's new layer: {1000 * steps[0]:.1f} ms, {len(steps)} steps")
    print(
        f"    longest turn of the event loop, napari's drawing included: "
        f"{1000 * clock.longest_s:.0f} ms (idle: {floor_ms:.0f} ms)"
    )
    panel.close_down()
    viewer.layers.remove(image)
    viewer.close()


def measure_events() -> None:
    """Time prompts, commits and new layers at 4096²."""
    viewer = napari.Viewer()
    image = viewer.add_image(np.zeros((4096, 4096), np.uint8), contrast_limits=(0, 255))
    panel = SegmentPanel(viewer)
    viewer.window.add_dock_widget(panel, area="right")
    panel.form.live.value = False
    panel.draw("points")
    points: Any = panel.prompts.get("points")
    plane = find_plane(image, viewer.dims)
    process_events(0.5)
    bare = timed(lambda: points.add([100, 100]), 9)
    report("read 9 points and build the frozen run", timed(panel.value, 9), 15)
    report("read the points alone", timed(lambda: read_points(points, plane), 9), 15)
    print(f"    floor: napari adds a point in {bare:.1f} ms, our counting included")
    place = find_output_place(image, plane)
    layer = place.new_layer()
    bare = timed(lambda: _add(viewer, Labels(np.zeros((4096, 4096), np.uint16))), 3)
    report("new output layer, 4096²", timed(lambda: _add(viewer, place.new_layer()), 3), 300)
    print(f"    floor: a bare Labels layer of that size takes {bare:.1f} ms, removal included")
    viewer.add_layer(layer)
    process_events(0.5)
    one = discs(plane.shape, 1, 500)
    taken = []
    for _ in range(5):
        taken.append(timed(lambda: _write(layer, plane, one), 1))
        layer.undo()
    report("commit one mask of radius 500 at 4096²", statistics.median(taken), 100)
    indices = tuple(i + 2000 for i in np.nonzero(one[0].mask))
    bare = timed(lambda: layer.data_setitem(indices, 7), 1)
    print(f"    floor: one bare data_setitem of these pixels {bare:.1f} ms")
    panel.close_down()
    viewer.close()


def _add(viewer: napari.Viewer, layer: Labels) -> None:
    viewer.add_layer(layer)
    viewer.layers.remove(layer)


def _write(layer: Labels, plane: Any, instances: Instances) -> None:
    for _ in write_instances(layer, plane, instances):
        pass


if __name__ == "__main__":
    measure_stall()
    measure_events()
