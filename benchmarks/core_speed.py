"""How fast the array functions are, each beside a floor measured in the same run.

    python -m benchmarks.core_speed

Each figure is the best of several rounds, in which the work and its floor take turns.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.made_up import disc, grid_of_discs
from benchmarks.timing import best, heading, report, sizes_asked_for
from benchmarks.watching import watch_memory
from napari_sam3.core.contrast import auto_contrast_limits
from napari_sam3.core.geometry import Box
from napari_sam3.core.images import to_uint8
from napari_sam3.core.instances import Instance, Instances


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    side: int = 2048
    count: int = 200
    radius: int = 40
    shown: int = 4096
    labelled: int = 6000
    across: int = 100
    rounds: int = 7


SMALL = Sizes(side=128, count=3, radius=9, shown=64, labelled=90, across=3, rounds=1)


def main() -> None:
    """Print one line per piece of work."""
    sizes = sizes_asked_for(__doc__, Sizes(), SMALL)
    heading()
    _crops(sizes)
    _full_masks(sizes)
    _levels(sizes)
    _objects(sizes)
    _import(sizes)


def _crops(sizes: Sizes) -> None:
    side, one, corners = sizes.side, disc(sizes.radius), _corners(sizes)
    size = one.shape[0]
    items = [
        Instance(one, Box(top, left, top + size, left + size), score)
        for (top, left), score in zip(corners, np.linspace(0, 1, sizes.count), strict=True)
    ]
    found = Instances((side, side), tuple(items))

    def paint_boxes() -> None:
        labels = np.zeros((side, side), np.uint16)
        for label, item in enumerate(items, start=1):
            labels[item.box.slices] = label

    work = f"{sizes.count} crops of radius {sizes.radius} → labels {side}² (boxes)"
    report(work, *best(sizes.rounds, paint_boxes, found.to_labels), within_s=0.03)


def _full_masks(sizes: Sizes) -> None:
    one, side = disc(sizes.radius), sizes.side
    masks = np.zeros((sizes.count, side, side), bool)
    for mask, (top, left) in zip(masks, _corners(sizes), strict=True):
        mask[top : top + one.shape[0], left : left + one.shape[1]] = one

    def read_once() -> None:
        for mask in masks:
            # eight pixels at a time, which is as fast as memory lets them be read
            np.bitwise_or.reduce(mask.view(np.uint64), axis=None)

    def count_once() -> None:
        for mask in masks:
            np.count_nonzero(mask)

    def build() -> None:
        Instances.from_masks(masks).to_labels()

    read, counted, ours = best(sizes.rounds, read_once, count_once, build)
    work = f"{sizes.count} full masks {side}² → instances → labels"
    report(f"{work} (or)", read, ours, within=1.5)
    report(f"{work} (count)", counted, ours, within=1.5)


def _levels(sizes: Sizes) -> None:
    rng, side, rounds = np.random.default_rng(1), sizes.shown, sizes.rounds
    plane = np.clip(rng.gamma(2, 2000, (side, side)), 0, 65535).astype(np.uint16)
    table = (np.arange(65536) >> 8).astype(np.uint8)
    limits = (500.0, 9000.0)

    def look_up() -> npt.NDArray[np.uint8]:
        shown: npt.NDArray[np.uint8] = np.take(table, plane, mode="clip")
        return shown

    taken, indexed, copied, shown, found = best(
        rounds,
        look_up,
        lambda: table[plane],
        plane.copy,
        lambda: to_uint8(plane, limits, 0.8),
        lambda: auto_contrast_limits(plane),
    )
    report(f"uint16 {side}² → uint8 as displayed (np.take)", taken, shown, within=1.5)
    report(f"uint16 {side}² → uint8 as displayed (table[plane])", indexed, shown, within=1.5)
    report(f"uint16 {side}² → contrast limits (a copy)", copied, found)
    real = plane.astype(np.float32)
    copied, shown = best(rounds, real.copy, lambda: to_uint8(real, limits, 0.8))
    report(f"float32 {side}² → uint8 as displayed (a copy)", copied, shown, within=4)


def _objects(sizes: Sizes) -> None:
    side, across = sizes.labelled, sizes.across
    labels = grid_of_discs(side, across)
    rounds = min(3, sizes.rounds)
    copied, ours = best(rounds, labels.copy, lambda: Instances.from_labels(labels))
    with watch_memory() as memory:
        found = Instances.from_labels(labels)
    work = f"labels {side}² of {across**2:,} → instances"
    report(f"{work} (a copy)", copied, ours)
    boxed = sum(one.box.area for one in found)
    print(f"{work}: at most {memory.most / boxed:.1f} bytes per pixel of the objects' boxes")


def _import(sizes: Sizes) -> None:
    def start(program: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", program], check=True)

    programs = ("pass", "import numpy", "import napari_sam3", "import napari_sam3.cli")
    bare, floor, ours, line = best(sizes.rounds, *map(start, programs))
    report("import napari_sam3, less bare Python (numpy)", floor - bare, ours - bare, within_s=0.3)
    report("import of the command line, less bare Python (numpy)", floor - bare, line - bare)


def _corners(sizes: Sizes) -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    places = rng.integers(0, sizes.side - 2 * sizes.radius - 1, (sizes.count, 2))
    return [(int(row), int(col)) for row, col in places]


if __name__ == "__main__":
    main()
