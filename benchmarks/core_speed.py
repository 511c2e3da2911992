"""How fast the array functions are, each beside a floor measured in the same run.

    python benchmarks/core_speed.py

The ratio to the floor is what counts; seconds depend on the machine and what else it does.
Each figure is the best of several rounds, in which the work and its floor take turns.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from napari_sam3.core.contrast import auto_contrast_limits
from napari_sam3.core.geometry import Box
from napari_sam3.core.images import to_uint8
from napari_sam3.core.instances import Instance, Instances

SIDE, COUNT, RADIUS = 2048, 200, 40
ROUNDS = 7


def main() -> None:
    """Print one line per piece of work."""
    print(f"{'work':58} {'floor':>9} {'ours':>9} {'ratio':>6}  target")
    _crops()
    _full_masks()
    _levels()
    _import()


def _crops() -> None:
    disk, corners = _disk(), _corners()
    size = disk.shape[0]
    items = [
        Instance(disk, Box(top, left, top + size, left + size), score)
        for (top, left), score in zip(corners, np.linspace(0, 1, COUNT), strict=True)
    ]
    found = Instances((SIDE, SIDE), tuple(items))

    def paint_boxes() -> None:
        labels = np.zeros((SIDE, SIDE), np.uint16)
        for label, item in enumerate(items, start=1):
            labels[item.box.slices] = label

    floor, ours = _best(paint_boxes, found.to_labels)
    _report(f"{COUNT} crops of radius {RADIUS} → labels {SIDE}²", floor, ours, "0.03 s")


def _full_masks() -> None:
    disk = _disk()
    masks = np.zeros((COUNT, SIDE, SIDE), bool)
    for mask, (top, left) in zip(masks, _corners(), strict=True):
        mask[top : top + disk.shape[0], left : left + disk.shape[1]] = disk

    def read_once() -> None:
        for mask in masks:
            # eight pixels at a time, which is as fast as memory lets them be read
            np.bitwise_or.reduce(mask.view(np.uint64), axis=None)

    def count_once() -> None:
        for mask in masks:
            np.count_nonzero(mask)

    def build() -> None:
        Instances.from_masks(masks).to_labels()

    floor, ours = _best(read_once, build)
    counted, _ = _best(count_once, lambda: None)
    work = f"{COUNT} full masks {SIDE}² → instances → labels"
    _report(f"{work} (floor: or)", floor, ours, "1.5 ×")
    _report(f"{work} (floor: count)", counted, ours, "1.5 ×")


def _levels() -> None:
    rng = np.random.default_rng(1)
    plane = np.clip(rng.gamma(2, 2000, (4096, 4096)), 0, 65535).astype(np.uint16)
    table = (np.arange(65536) >> 8).astype(np.uint8)

    def look_up() -> npt.NDArray[np.uint8]:
        shown: npt.NDArray[np.uint8] = np.take(table, plane, mode="clip")
        return shown

    floor, ours = _best(look_up, lambda: to_uint8(plane, (500.0, 9000.0), 0.8))
    _report("uint16 4096² → uint8 as displayed (floor: np.take)", floor, ours, "1.5 ×")
    indexed, ours = _best(lambda: table[plane], lambda: to_uint8(plane, (500.0, 9000.0), 0.8))
    _report("uint16 4096² → uint8 as displayed (floor: table[plane])", indexed, ours, "1.5 ×")
    copied, limits = _best(plane.copy, lambda: auto_contrast_limits(plane))
    _report("uint16 4096² → contrast limits (floor: a copy)", copied, limits, "–")
    real = plane.astype(np.float32)
    copied, ours = _best(real.copy, lambda: to_uint8(real, (500.0, 9000.0), 0.8))
    _report("float32 4096² → uint8 as displayed (floor: a copy)", copied, ours, "–")


def _import() -> None:
    def start(program: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", program], check=True)

    floor, ours = _best(start("import numpy"), start("import napari_sam3"))
    bare, _ = _best(start("pass"), lambda: None)
    _report(
        "import napari_sam3, less bare Python (floor: numpy)", floor - bare, ours - bare, "0.3 s"
    )
    _, ours = _best(lambda: None, start("import napari_sam3.cli"))
    _report("import of the command line, less bare Python", floor - bare, ours - bare, "–")


def _disk() -> npt.NDArray[np.bool_]:
    rows, cols = np.ogrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    disk: npt.NDArray[np.bool_] = rows**2 + cols**2 <= RADIUS**2
    return disk


def _corners() -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    places = rng.integers(0, SIDE - 2 * RADIUS - 1, (COUNT, 2))
    return [(int(row), int(col)) for row, col in places]


def _best(floor: Callable[[], object], work: Callable[[], object]) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for function, taken in zip((floor, work), times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return min(times[0]), min(times[1])


def _report(work: str, floor: float, ours: float, target: str) -> None:
    print(f"{work:58} {floor:8.4f}s {ours:8.4f}s {ours / floor:6.2f}  ≤ {target}")


if __name__ == "__main__":
    main()
