"""How much of this package's own time a click takes, beside floors of the same run.

Needs a display, real or virtual::

    xvfb-run -a python -m benchmarks.click_speed

The engine answers at once, and neither its time nor napari's counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import napari
import numpy as np
from napari.layers import Points

from benchmarks.made_up import CostlessEngine, disc, disc_around_clicks, install
from benchmarks.timing import best, heading, report, sizes_asked_for
from benchmarks.watching import OwnTime, settle
from napari_sam3.widgets.demo import own_records
from napari_sam3.widgets.objects_panel import ObjectsPanel
from napari_sam3.widgets.panel import SegmentPanel


@dataclass(frozen=True)
class Sizes:
    """How much is measured: of live clicks, and of clicks that refine an object."""

    live_side: int = 4096
    refined_side: int = 16_000
    radius: int = 60
    rounds: int = 5


SMALL = Sizes(live_side=160, refined_side=200, radius=9, rounds=2)


def measure_live(sizes: Sizes) -> None:
    """Click twice and more on one object, live."""
    install(CostlessEngine(disc_around_clicks(sizes.radius)))
    side = sizes.live_side
    picture = np.random.default_rng(1).integers(0, 60_000, (side, side), np.uint16)
    viewer = napari.Viewer()
    viewer.add_image(picture, name="cells")
    panel = SegmentPanel(viewer)
    viewer.window.add_dock_widget(panel, area="right")
    panel.draw("points")
    points = next(layer for layer in viewer.layers if isinstance(layer, Points))
    settle(panel)
    points.add([side // 2, side // 2])
    settle(panel)
    clicks = [(side // 2 + 3 * number, side // 2 + 2) for number in range(sizes.rounds)]
    taken = own_times(clicks, points.add, panel)
    (floor_s,) = best(3, picture.copy)
    words = f"a second live click on {side}²"
    all_s = statistics.median(one.total_s for one in taken)
    report(f"{words}, own CPU time (a copy of the picture)", floor_s, all_s, within_s=0.015)
    longest_s = max(one.longest_s for one in taken)
    report(f"{words}, its longest event (a copy)", floor_s, longest_s, within_s=0.016)
    print(f"{words}: {taken[0].called} of this package")
    close(viewer, panel)


def measure_refining(sizes: Sizes) -> None:
    """Refine one object of a large plane by clicks."""
    side, radius = sizes.refined_side, sizes.radius
    viewer = napari.Viewer()
    viewer.add_image(np.zeros((side, side), np.uint8), contrast_limits=(0, 255), name="cells")
    labels = np.zeros((side, side), np.uint16)
    top = side // 3
    one = disc(radius)
    labels[top : top + one.shape[0], top : top + one.shape[1]][one] = 1
    viewer.add_labels(labels, name="cells objects")
    panel = ObjectsPanel(viewer)
    viewer.window.add_dock_widget(panel, area="right")
    settle(panel)
    # asked about a crop, in whose pixels the answer is
    install(CostlessEngine(disc_around_clicks(radius)))
    panel.form.table.select((1,))
    panel.review.choose((1,))
    panel.refine()
    settle(panel)
    points = next(layer for layer in viewer.layers if isinstance(layer, Points))
    clicks = [(top + radius + 2 * number, top + radius - 3) for number in range(sizes.rounds)]
    taken = own_times(clicks, points.add, panel)
    (floor_s,) = best(3, np.ones((1024, 1024), np.uint16).copy)
    words = f"a click that refines an object on {side}²"
    longest_s = statistics.median(one.longest_s for one in taken)
    report(f"{words}, its longest event (a copy of 1024²)", floor_s, longest_s, within_s=0.05)
    window_s = statistics.median(one.window_s for one in taken)
    report(f"{words}, in the window's thread (a copy)", floor_s, window_s)
    all_s = statistics.median(one.total_s for one in taken)
    report(f"{words}, in all threads (a copy)", floor_s, all_s)
    close(viewer, panel)


def own_times(
    places: list[tuple[int, int]], click: Callable[[Any], object], panel: Any
) -> list[OwnTime]:
    """Return what each click took until the panel was idle again."""
    taken = []
    for place in places:
        with OwnTime.calibrated() as watch:
            click(place)
            settle(panel)
        taken.append(watch)
    return taken


def close(viewer: napari.Viewer, panel: Any) -> None:
    """Close the panel, then the window."""
    panel.close_down()
    viewer.close()


if __name__ == "__main__":
    asked_for = sizes_asked_for(__doc__, Sizes(), SMALL)
    heading()
    with own_records():
        measure_live(asked_for)
        measure_refining(asked_for)
