"""What it costs to evaluate 5,000 objects at 4096².

Prints seconds and the ratio to a floor measured in the same run: how long it takes to look at
both images once, for the highest label of each.

Run: ``python -m benchmarks.evaluation_speed``
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.jobs_speed import best
from napari_sam3.core.contingency import tabulate_labels
from napari_sam3.core.evaluation import evaluate

SIDE, OBJECTS, RADIUS = 4096, 5000, 26
Labels = npt.NDArray[np.uint16]


def discs(rng: np.random.Generator, centers: npt.NDArray[np.int64], radius: int) -> Labels:
    """Return discs of about this radius, which may lie on each other."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for number, (row, col) in enumerate(centers, start=1):
        size = int(rng.integers(radius - 6, radius + 7))
        part = labels[max(row - size, 0) : row + size + 1, max(col - size, 0) : col + size + 1]
        rows, cols = np.ogrid[: part.shape[0], : part.shape[1]]
        down, right = rows - min(row, size), cols - min(col, size)
        part[down**2 + right**2 <= size**2] = number
    return labels


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(1)
    across = int(np.ceil(OBJECTS**0.5))
    places = np.stack(np.divmod(np.arange(OBJECTS), across), axis=1) * (SIDE // across) + RADIUS
    truth = discs(rng, places, RADIUS)
    pred = discs(rng, np.maximum(places + rng.integers(-6, 7, places.shape), 0), RADIUS)
    table = tabulate_labels(pred, truth)
    works: dict[str, Callable[[], object]] = {
        "table of overlaps": partial(tabulate_labels, pred, truth),
        "match at 0.3 (an assignment)": partial(table.match, 0.3),
        "match at 0.5": partial(table.match, 0.5),
        "all of it": partial(evaluate, pred, truth),
    }
    floor, *seconds = best(lambda: (pred.max(), truth.max()), *works.values())
    print(f"{len(table.true_labels)} objects, {len(table.iou)} pairs; floor {floor:.5f} s")
    print(f"{'work':30} {'seconds':>9} {'ratio':>8}")
    for words, each in zip(works, seconds, strict=True):
        print(f"{words:30} {each:9.5f} {each / floor:8.2f}")


if __name__ == "__main__":
    main()
