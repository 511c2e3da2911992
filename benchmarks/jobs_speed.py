"""What remembering costs: hashing a question, and an answer that is stored already.

Run: ``python -m benchmarks.jobs_speed``
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.timing import best, heading, report, sizes_asked_for
from napari_sam3.core.images import to_rgb8
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt
from napari_sam3.engines.base import (
    NEVER,
    NO_PARAMETERS,
    Capabilities,
    SegmentationRequest,
    SegmentationResult,
)
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.cached import CachedEngine


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    side: int = 2048
    objects: int = 500
    rounds: int = 9


SMALL = Sizes(side=200, objects=3, rounds=1)


class InstantEngine:
    """Answers at once with many objects."""

    name, model, parameters = "builtin", "benchmark", NO_PARAMETERS
    capabilities = Capabilities(text=True)

    def __init__(self, objects: int) -> None:
        self.objects = objects

    def segment(self, request: SegmentationRequest, _stop: object = NEVER) -> SegmentationResult:
        """Return objects of 40 pixels, here and there."""
        corner = np.ones((40, 40), bool)
        whole = np.zeros(request.shape, bool)
        items = []
        for number in range(self.objects):
            row, col = number // 25 * 80, number % 25 * 80
            whole[row : row + 40, col : col + 40] = corner
            items.append(Instance.from_mask(whole, 0.5))
            whole[row : row + 40, col : col + 40] = False
        return SegmentationResult(Instances(request.shape, tuple(i for i in items if i)))


def _digest(rgb: npt.NDArray[np.uint8]) -> str:
    return Pixels(rgb).sha256


def main() -> None:
    """Print the table."""
    sizes = sizes_asked_for(__doc__, Sizes(), SMALL)
    noise, side, rounds = np.random.default_rng(1), sizes.side, sizes.rounds
    gray = to_rgb8(noise.integers(0, 255, (side, side), np.uint8))
    colour = noise.integers(0, 255, (side, side, 3), np.uint8)
    plane = np.ascontiguousarray(gray[..., 0])
    heading()
    for words, picture, bare in (("gray", gray, plane), ("colour", colour, colour)):
        bare_hash = partial(hashlib.sha256, bare.data)
        hashed = best(rounds, bare_hash, partial(_digest, picture))
        report(f"hash a {side}² picture, {words} (bare SHA-256)", *hashed, within=1.2)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        cache = AnswerCache(home / "cache", 1 << 30)
        request = SegmentationRequest(Pixels(colour), ConceptPrompt("nucleus"))

        # a new one each time: one remembers the picture that it was asked about last
        def ask() -> SegmentationResult:
            return CachedEngine(InstantEngine(sizes.objects), cache).segment(request)

        ask()
        floor, ours = best(rounds, partial(_digest, colour), ask)
        assert ask().usage.cached
    stored = f"stored answer, {sizes.objects} objects (hashing)"
    report(stored, floor, ours, within_s=floor + 0.02)


if __name__ == "__main__":
    main()
