"""What remembering costs: hashing a question, and an answer that is stored already.

Prints seconds and the ratio to a floor measured in the same run.

Run: ``python benchmarks/jobs_speed.py``
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from napari_sam3.core.images import to_rgb8
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.prompts import ConceptPrompt
from napari_sam3.engines.base import (
    NEVER,
    NO_PARAMETERS,
    Capabilities,
    SegmentationRequest,
    SegmentationResult,
)
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.ledger import Ledger
from napari_sam3.jobs.question import pixels_sha256
from napari_sam3.jobs.recorded import RecordedEngine
from napari_sam3.jobs.records import Records

SIDE, ROUNDS, OBJECTS = 2048, 9, 500


class InstantEngine:
    """Answers at once with many objects."""

    name, model, parameters = "builtin", "benchmark", NO_PARAMETERS
    capabilities = Capabilities(text=True)

    def segment(self, request: SegmentationRequest, _stop: object = NEVER) -> SegmentationResult:
        """Return objects of 40 pixels, here and there."""
        corner = np.ones((40, 40), bool)
        whole = np.zeros(request.shape, bool)
        items = []
        for number in range(OBJECTS):
            row, col = number // 25 * 80, number % 25 * 80
            whole[row : row + 40, col : col + 40] = corner
            items.append(Instance.from_mask(whole, 0.5))
            whole[row : row + 40, col : col + 40] = False
        return SegmentationResult(Instances(request.shape, tuple(i for i in items if i)))


def best(*works: Callable[[], object]) -> list[float]:
    """Return the shortest time of each; they take turns, so that all see the same machine."""
    times = [[0.0] * ROUNDS for _ in works]
    for round_number in range(ROUNDS):
        for own, work in zip(times, works, strict=True):
            start = time.perf_counter()
            work()
            own[round_number] = time.perf_counter() - start
    return [min(own) for own in times]


def main() -> None:
    """Print the table."""
    noise = np.random.default_rng(1)
    gray = to_rgb8(noise.integers(0, 255, (SIDE, SIDE), np.uint8))
    colour = noise.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    plane = np.ascontiguousarray(gray[..., 0])
    rows = []
    for words, picture, bare in (("gray", gray, plane), ("colour", colour, colour)):
        ours, floor = best(partial(pixels_sha256, picture), partial(hashlib.sha256, bare.data))
        rows.append((f"hash a {SIDE}² picture, {words} (bare SHA-256)", ours, floor, "1.2 ×"))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        records = Records(AnswerCache(home / "cache", 1 << 30), Ledger(home / "ledger.sqlite"))
        request = SegmentationRequest(colour, ConceptPrompt("nucleus"))
        RecordedEngine(InstantEngine(), records).segment(request)
        # a new one each time: one remembers the picture that it was asked about last
        ours, floor = best(
            lambda: RecordedEngine(InstantEngine(), records).segment(request),
            lambda: pixels_sha256(colour),
        )
        assert RecordedEngine(InstantEngine(), records).segment(request).usage.cached
    rows.append((f"stored answer, {OBJECTS} objects (floor: hashing)", ours, floor, "+ 20 ms"))
    print(f"{'work':58} {'seconds':>9} {'floor':>9} {'ratio':>6}  {'more':>8}  target")
    for words, ours, floor, target in rows:
        more = (ours - floor) * 1000
        print(f"{words:58} {ours:9.5f} {floor:9.5f} {ours / floor:6.2f}  {more:5.1f} ms  {target}")


if __name__ == "__main__":
    main()
