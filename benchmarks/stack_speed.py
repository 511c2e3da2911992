"""How long a stack with objects on all planes keeps the window's thread busy.

Needs a display, real or virtual, and some gigabytes of memory::

    xvfb-run -a python -m benchmarks.stack_speed

Counted is this package's own CPU time, beside floors measured in the same run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import napari
import numpy as np
from napari.layers import Labels

from benchmarks.made_up import CostlessEngine, discs, install
from benchmarks.timing import best, heading, report, seconds, sizes_asked_for
from benchmarks.watching import OwnTime, settle, watch_memory
from napari_sam3.widgets.demo import own_records
from napari_sam3.widgets.objects_panel import ObjectsPanel
from napari_sam3.widgets.panel import SegmentPanel

SHOWN_S = 0.1
EVENT_S = 0.05


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    planes: int = 100
    side: int = 2048
    objects: int = 300
    radius: int = 20


SMALL = Sizes(planes=3, side=128, objects=6, radius=9)


def measure(sizes: Sizes) -> None:
    """Find objects on all planes; then look at them, paint, and save them."""
    shape = (sizes.planes, sizes.side, sizes.side)
    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    # one plane for all: what counts are the labels
    viewer.add_image(np.broadcast_to(np.zeros((1, *shape[1:]), np.uint8), shape), name="stack")
    layer = found_on_all_planes(viewer, sizes)
    floor_s = floor_of(layer)
    panel = ObjectsPanel(viewer)
    viewer.window.add_dock_widget(panel, area="right")
    settle(panel)
    words = f"{sizes.planes} × {sizes.side}² × {sizes.objects} objects (a copy of a plane)"
    measure_view(panel, layer, words, floor_s)
    with OwnTime.calibrated() as watch:
        panel.form.table.select((int(layer.data[0].max()),))
        viewer.dims.set_current_step(0, 1)
        settle(panel)
    report(f"another plane: longest event, {words}", floor_s, watch.longest_s, within_s=EVENT_S)
    with OwnTime.calibrated() as watch:
        layer.paint((1, sizes.side // 2, sizes.side // 2), 1)
        settle(panel)
    report(f"a brush stroke in step, {words}", floor_s, watch.total_s, within_s=SHOWN_S)
    report("    its longest event (a copy of a plane)", floor_s, watch.longest_s, within_s=EVENT_S)
    panel.close_down()
    measure_saving(layer)
    viewer.close()


def found_on_all_planes(viewer: napari.Viewer, sizes: Sizes) -> Labels:
    """Run on each plane, as somebody does who goes through a stack."""
    found = [
        discs((sizes.side, sizes.side), sizes.objects, sizes.radius, seed)
        for seed in range(sizes.planes)
    ]
    install(CostlessEngine(lambda _: found[viewer.dims.current_step[0]]))
    panel = SegmentPanel(viewer)
    viewer.window.add_dock_widget(panel, area="right")
    floor_s = 0.0
    with OwnTime.calibrated() as watch:
        for plane in range(sizes.planes):
            viewer.dims.set_current_step(0, plane)
            panel.run_everything()
            settle(panel)
            if plane == 0:
                layer = next(one for one in viewer.layers if isinstance(one, Labels))
                floor_s = floor_of(layer)
    words = f"a run on each of {sizes.planes} planes (a copy of one)"
    report(f"{words}: own time of one", floor_s, watch.total_s / sizes.planes)
    report("    their longest event", floor_s, watch.longest_s, within_s=EVENT_S)
    panel.close_down()
    viewer.dims.set_current_step(0, 0)
    return layer


def floor_of(layer: Labels) -> float:
    """Return how long a copy of a plane takes."""
    return best(5, lambda: layer.data[0].copy())[0]


def measure_view(panel: ObjectsPanel, layer: Labels, words: str, floor_s: float) -> None:
    """Hide what scores little, and see when it is gone from the plane that is shown."""
    # labels go by score
    weak = int(layer.data[0].max())
    where = tuple(axis[0] for axis in np.nonzero(layer.data[0] == weak))
    own_s: list[float] = []
    with OwnTime.calibrated() as watch:

        def is_seen() -> bool:
            if layer.data[0][where] != weak:
                own_s.append(watch.total_s)
            return bool(own_s)

        panel.form.view.min_score.value = 0.5
        seen_s, waited_s = settle(panel, seen=is_seen)
    after = f"wall {seen_s:.2f} s; all planes after {waited_s:.2f} s"
    report(f"a view change shows, {words}; {after}", floor_s, own_s[0], within_s=SHOWN_S)
    report("    its longest event (a copy of a plane)", floor_s, watch.longest_s, within_s=EVENT_S)
    report("    all of it in the window's thread (a copy)", floor_s, watch.window_s)


def measure_saving(layer: Labels) -> None:
    """Save the stack as napari does."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "labels.tif")
        write = np.asarray(layer.data).tofile
        floor_s = seconds(lambda: write(f"{path}.raw"))
        with watch_memory() as memory:
            ours_s = seconds(lambda: layer.save(path, plugin="napari-sam3"))
    report("save the stack (NumPy's tofile)", floor_s, ours_s)
    share = memory.most / layer.data.nbytes
    print(f"save the stack: at most {share:.2f} × its own bytes more meanwhile")


def measure_foreign(sizes: Sizes) -> None:
    """Look at a stack that others have labelled, and click into it."""
    shape = (sizes.planes, sizes.side, sizes.side)
    one = discs(shape[1:], sizes.objects, sizes.radius).to_labels()
    viewer = napari.Viewer()
    viewer.add_image(np.broadcast_to(np.zeros((1, *shape[1:]), np.uint8), shape), name="stack")
    data = np.zeros(shape, np.int64)
    data[:] = one
    layer = viewer.add_labels(data, name="others")
    floor_s = floor_of(layer)
    words = f"a stack of others, {sizes.planes} × {sizes.side}² int64 (a copy of a plane)"

    def tell(what: str, watch: OwnTime) -> None:
        report(f"{what} {words}: longest event", floor_s, watch.longest_s, within_s=EVENT_S)

    with OwnTime.calibrated() as watch:
        panel = ObjectsPanel(viewer)
        settle(panel)
    tell("open", watch)
    with OwnTime.calibrated() as watch:
        layer.paint((0, sizes.side // 2, sizes.side // 2), 1)
        settle(panel)
    tell("a brush stroke in", watch)
    panel.close_down()
    install(CostlessEngine(lambda _: discs(shape[1:], 1, sizes.radius, 1)))
    segmenting: Any = SegmentPanel(viewer)
    segmenting.form.output.value = layer
    settle(segmenting)
    with OwnTime.calibrated() as watch:
        segmenting.run_everything()
        settle(segmenting)
    tell("a run into", watch)
    segmenting.close_down()
    viewer.close()


if __name__ == "__main__":
    asked_for = sizes_asked_for(__doc__, Sizes(), SMALL)
    heading()
    with own_records():
        measure(asked_for)
        measure_foreign(asked_for)
