"""How long the built-in engine takes, beside a floor measured in the same run.

    python benchmarks/engine_latency.py --side 2048

The picture is drawn here: blurred, noisy discs.  The floor is one pass of a Gaussian filter over
the same number of pixels; as other programs slow both down, read the ratio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_sam3 import Box, Everything, ObjectPrompt, Point
from napari_sam3.engines.base import Engine, SegmentationRequest
from napari_sam3.engines.builtin.engine import BuiltinEngine

_SPACING = 40
_RADIUS = 12


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


def seconds(action: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def centres(side: int, count: int) -> list[tuple[int, int]]:
    """Return pixels inside random discs."""
    rng = np.random.default_rng(1)
    places = rng.integers(0, side // _SPACING, (count, 2)) * _SPACING + _SPACING // 2
    return [(int(row), int(col)) for row, col in places]


def floor(side: int) -> float:
    """Return the time of one Gaussian pass over as many pixels."""
    plane = np.random.default_rng(0).random((side, side), np.float32)
    return min(seconds(lambda: ndimage.gaussian_filter(plane, 1.0)) for _ in range(3))


def report(task: str, taken: float, side: int) -> None:
    """Print one line: milliseconds, and how many floors that is."""
    least = floor(side)
    print(f"{task:34s} {taken * 1e3:8.1f} ms   floor {least * 1e3:7.1f} ms   × {taken / least:.1f}")


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
            seconds(partial(engine.segment, SegmentationRequest(image, prompt)))
            for prompt in prompts
        ]
        report(f"{word} at {side}², the first", times[0], side)
        report(f"{word} at {side}², median of {count - 1} more", median(times[1:]), side)


def time_refining(engine: Engine, image: npt.NDArray[np.uint8], count: int) -> None:
    """Print the median of a second click, which takes a piece of the object away."""
    times = []
    for row, col in centres(image.shape[0], count):
        first = Point(row, col)
        second = Point(row, col + _RADIUS - 4, positive=False)
        for points in ((first,), (first, second)):
            request = SegmentationRequest(image, ObjectPrompt(points=points))
            taken = seconds(partial(engine.segment, request))
        times.append(taken)
    report(f"further click, median of {count}", median(times), image.shape[0])


def time_together(engine: BuiltinEngine, image: npt.NDArray[np.uint8], count: int) -> None:
    """Print how long many boxes take that are asked together."""
    half = _RADIUS + 2
    requests = [
        SegmentationRequest(
            image, ObjectPrompt(box=Box(row - half, col - half, row + half, col + half))
        )
        for row, col in centres(image.shape[0], count)
    ]
    report(f"{count} boxes together", seconds(partial(engine.segment_many, requests)), len(image))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--side", type=int, default=2048, help="of the picture clicked on")
    parser.add_argument("--clicks", type=int, default=15)
    parser.add_argument("--boxes", type=int, default=200, help="asked together")
    parser.add_argument("--everything", type=int, nargs="*", default=[512, 1024, 2048])
    options = parser.parse_args()
    engine, image = BuiltinEngine(), drawn_cells(options.side)
    time_prompts(engine, image, options.clicks)
    time_refining(engine, image, options.clicks)
    time_together(engine, image, options.boxes)
    for side in options.everything:
        request = SegmentationRequest(drawn_cells(side), Everything())
        engine = BuiltinEngine()
        report(f"everything at {side}²", seconds(partial(engine.segment, request)), side)
        given = SegmentationRequest(request.image, Everything(diameter=2.0 * _RADIUS))
        report("  the same, diameter given", seconds(partial(engine.segment, given)), side)


if __name__ == "__main__":
    main()
