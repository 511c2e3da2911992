"""How long filters and view switches keep the window's thread busy, beside a floor.

Needs a display, real or virtual::

    xvfb-run -a python -m benchmarks.review_speed
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import napari
import numpy as np
from napari.layers import Labels

from benchmarks.timing import heading, middle, report, sizes_asked_for
from benchmarks.window_speed import discs
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.layers.objects import add_written
from napari_sam3.widgets._keeping import Keeper
from napari_sam3.widgets.demo import process_events
from napari_sam3.widgets.objects_panel import ObjectsPanel

PROMISE_S = 0.1


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    side: int = 4096
    objects: int = 5000
    radius: int = 20


SMALL = Sizes(side=128, objects=6, radius=9)


class BusyClock:
    """Sums up the time that some methods take."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def wrap(self, owner: Any, name: str) -> None:
        """Time each call of a method."""
        original = getattr(owner, name)

        def timed_call(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args)
            finally:
                self.seconds.append(time.perf_counter() - start)

        setattr(owner, name, timed_call)


def settle(panel: ObjectsPanel) -> float:
    """Wait until the panel is idle; return the seconds that it took."""
    start = time.perf_counter()
    process_events(0.01)
    while panel.is_busy:
        process_events(0.005)
    return time.perf_counter() - start


def labels_of_discs(sizes: Sizes) -> Labels:
    """Return a layer with its record, as a run would leave it."""
    instances = discs((sizes.side, sizes.side), sizes.objects, sizes.radius)
    layer = Labels(instances.to_labels(), name="discs")
    by_label = {index + 1: item for index, item in enumerate(instances)}
    add_written(layer, PlaneIndex(), by_label, engine="none")
    return layer


def main() -> None:
    """Measure each switch."""
    sizes = sizes_asked_for(__doc__, Sizes(), SMALL)
    side = sizes.side
    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    viewer.add_image(np.zeros((side, side), np.uint8), contrast_limits=(0, 255))
    layer = labels_of_discs(sizes)
    viewer.add_layer(layer)
    process_events(1.0)
    clock = BusyClock()
    for name in ("_on_returned", "_start_due"):
        clock.wrap(Keeper, name)
    start = time.perf_counter()
    panel = ObjectsPanel(viewer)
    viewer.window.add_dock_widget(panel, area="right")
    print(f"open the panel: {time.perf_counter() - start:.2f} s, then {settle(panel):.2f} s idle")

    def copy_and_refresh() -> None:
        np.copyto(layer.data, layer.data.copy())
        layer.refresh()

    floor = middle(5, copy_and_refresh)
    heading()
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
        clock.seconds.clear()
        start = time.perf_counter()
        action()
        pressed = time.perf_counter() - start
        waited = settle(panel)
        busy = pressed + sum(clock.seconds)
        words = f"{words}, seen after {waited:.2f} s (copy {side}² labels, and refresh)"
        report(words, floor, busy, within_s=PROMISE_S)
    panel.close_down()
    viewer.close()


if __name__ == "__main__":
    main()
