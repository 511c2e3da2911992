"""How long the built-in engine takes, beside a floor measured in the same run.

    python -m benchmarks.engine_latency --side 2048

The picture is drawn here: blurred, noisy discs.  The floor is one pass of a Gaussian filter over
the same number of pixels; as other programs slow both down, read the ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.timing import best, heading, report, seconds, sizes_asked_for
from napari_sam3 import Box, Everything, ObjectPrompt, Point
from napari_sam3.core.pictures import Pixels
from napari_sam3.engines.base import Engine, SegmentationRequest
from napari_sam3.engines.builtin.engine import BuiltinEngine

_SPACING = 40
_RADIUS = 12


@dataclass(frozen=True)
class Sizes:
    """How much is measured: the side of the picture clicked on, and how often."""

    side: int = 2048
    clicks: int = 15
    boxes: int = 200
    everything: tuple[int, ...] = (512, 1024, 2048)


SMALL = Sizes(side=120, clicks=2, boxes=2, everything=(120,))


def drawn_cells(side: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return a (side, side, 3) picture of discs on a grid, every one of another brightness."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices((side, side), dtype=np.float32)
    inside = (rows % _SPACING - _SPACING / 2) ** 2 + (cols % _SPACING - _SPACING / 2) ** 2
    number = -(-side // _SPACING)
    levels = rng.uniform(80, 200, (number, number)).repeat(_SPACING, 0).repeat(_SPACING, 1)
    gray = np.where(inside < _RADIUS**2, levels[:side, :side], 20).astype(np.float32)
    noisy = ndimage.gaussian_filter(gray, 1.5) + rng.normal(0, 5, gray.shape)
    plane = np.clip(noisy, 0, 255).astype(np.uint8)
    return np.broadcast_to(plane[:, :, None], (side, side, 3))


def centres(side: int, count: int) -> list[tuple[int, int]]:
    """Return pixels inside random discs."""
    rng = np.random.default_rng(1)
    places = rng.integers(0, side // _SPACING, (count, 2)) * _SPACING + _SPACING // 2
    return [(int(row), int(col)) for row, col in places]


def told(task: str, taken_s: float, side: int) -> None:
    """Print a line, beside one Gaussian pass over as many pixels."""
    plane = np.random.default_rng(0).random((side, side), np.float32)
    [floor_s] = best(3, partial(ndimage.gaussian_filter, plane, 1.0))
    report(f"{task} (a Gaussian pass)", floor_s, taken_s)


def time_prompts(engine: Engine, image: npt.NDArray[np.uint8], count: int) -> None:
    """Print the first click, the median click and the median box on one picture."""
    side, half = image.shape[0], _RADIUS + 2
    clicks = [ObjectPrompt(points=(Point(*place),)) for place in centres(side, count)]
    boxes = [
        ObjectPrompt(box=Box(row - half, col - half, row + half, col + half))
        for row, col in centres(side, count)
    ]
    for word, prompts in (("click", clicks), ("box", boxes)):
        times = [
            seconds(partial(engine.segment, SegmentationRequest(Pixels(image), prompt)))
            for prompt in prompts
        ]
        told(f"{word} at {side}², the first", times[0], side)
        told(f"{word} at {side}², median of {count - 1} more", median(times[1:]), side)


def time_refining(engine: Engine, image: npt.NDArray[np.uint8], count: int) -> None:
    """Print the median of a second click, which takes a piece of the object away."""
    times = []
    for row, col in centres(image.shape[0], count):
        first = Point(row, col)
        second = Point(row, col + _RADIUS - 4, positive=False)
        for points in ((first,), (first, second)):
            request = SegmentationRequest(Pixels(image), ObjectPrompt(points=points))
            taken = seconds(partial(engine.segment, request))
        times.append(taken)
    told(f"further click, median of {count}", median(times), image.shape[0])


def time_together(engine: BuiltinEngine, image: npt.NDArray[np.uint8], count: int) -> None:
    """Print how long many boxes take that are asked together."""
    half = _RADIUS + 2
    requests = [
        SegmentationRequest(
            Pixels(image), ObjectPrompt(box=Box(row - half, col - half, row + half, col + half))
        )
        for row, col in centres(image.shape[0], count)
    ]
    told(f"{count} boxes together", seconds(partial(engine.segment_many, requests)), len(image))


def main() -> None:
    """Measure and print."""
    sizes = sizes_asked_for(__doc__, Sizes(), SMALL)
    heading()
    engine, image = BuiltinEngine(), drawn_cells(sizes.side)
    time_prompts(engine, image, sizes.clicks)
    time_refining(engine, image, sizes.clicks)
    time_together(engine, image, sizes.boxes)
    for side in sizes.everything:
        request = SegmentationRequest(Pixels(drawn_cells(side)), Everything())
        engine = BuiltinEngine()
        told(f"everything at {side}²", seconds(partial(engine.segment, request)), side)
        given = SegmentationRequest(request.pixels, Everything(diameter=2.0 * _RADIUS))
        told("  the same, diameter given", seconds(partial(engine.segment, given)), side)


if __name__ == "__main__":
    main()
