"""Made-up objects, and an engine that finds them at no cost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.watching import uncounted
from napari_sam3 import Box, Instance, Instances, SegmentationRequest, SegmentationResult, engines
from napari_sam3.engines import creating
from napari_sam3.engines.base import NEVER, NO_PARAMETERS

Answer = Callable[[SegmentationRequest], Instances]


def disc(radius: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return a disc's mask."""
    row, col = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(row**2 + col**2 <= radius**2)


def discs(shape: tuple[int, int], count: int, radius: int, seed: int = 0) -> Instances:
    """Return discs at random places, with scores between 0.2 and 0.95."""
    random = np.random.default_rng(seed)
    mask = disc(radius)
    side = mask.shape[0]
    tops = random.integers(0, shape[0] - side, count).tolist()
    lefts = random.integers(0, shape[1] - side, count).tolist()
    scores = np.linspace(0.2, 0.95, count).tolist()
    items = [
        Instance(mask, Box(t, c, t + side, c + side), score)
        for t, c, score in zip(tops, lefts, scores, strict=True)
    ]
    return Instances(shape, tuple(items))


def grid_of_discs(side: int, across: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return labels of `across`² discs that nowhere touch."""
    pitch = side // across
    mask = disc(max(1, pitch // 3))
    labels = np.zeros((side, side), np.uint16)
    for number in range(across**2):
        top, left = (place * pitch for place in divmod(number, across))
        labels[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = number + 1
    return labels


def disc_around_clicks(radius: int) -> Answer:
    """Return what finds a disc around the middle of clicks or box, cut off at the border."""

    def answer(request: SegmentationRequest) -> Instances:
        prompt: Any = request.prompt
        marked = [point.pixel for point in prompt.points]
        if prompt.box:
            marked += [(prompt.box.top, prompt.box.left), (prompt.box.bottom, prompt.box.right)]
        row, col = np.mean(marked, axis=0).astype(int).tolist()
        box = Box(row - radius, col - radius, row + radius + 1, col + radius + 1)
        found = Instance(disc(radius), box, 0.9).clipped(request.shape)
        return Instances(request.shape, (found,) if found else ())

    return answer


class CostlessEngine:
    """Answers what it is told to; its time is nobody's."""

    name, model, parameters = "builtin", "benchmark", NO_PARAMETERS
    capabilities = engines.engine_info("builtin").capabilities

    def __init__(self, answer: Answer, seconds: float = 0.0) -> None:
        self.answer, self.seconds = answer, seconds

    @uncounted
    def segment(
        self, request: SegmentationRequest, stop: threading.Event = NEVER
    ) -> SegmentationResult:
        """Wait, then answer."""
        stop.wait(self.seconds)
        return SegmentationResult(self.answer(request))


def install(engine: CostlessEngine) -> None:
    """Let it stand in the place of the built-in engine, in this process."""
    creating.CREATE[engine.name] = lambda _options: engine
