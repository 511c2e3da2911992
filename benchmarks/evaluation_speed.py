"""What it costs to evaluate 5,000 objects at 4096².

    python -m benchmarks.evaluation_speed

The floor, measured in the same run: looking at both images once, for the highest label of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks.timing import best, heading, report, sizes_asked_for
from napari_sam3.core.contingency import tabulate_labels
from napari_sam3.core.evaluation import evaluate

LabelImage = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    side: int = 4096
    objects: int = 5000
    radius: int = 26
    rounds: int = 9


SMALL = Sizes(side=128, objects=9, radius=12, rounds=1)


def discs(rng: np.random.Generator, centers: npt.NDArray[np.int64], sizes: Sizes) -> LabelImage:
    """Return discs of about this radius, which may lie on each other."""
    labels = np.zeros((sizes.side, sizes.side), np.uint16)
    for number, (row, col) in enumerate(centers, start=1):
        size = int(rng.integers(sizes.radius - 6, sizes.radius + 7))
        part = labels[max(row - size, 0) : row + size + 1, max(col - size, 0) : col + size + 1]
        rows, cols = np.ogrid[: part.shape[0], : part.shape[1]]
        down, right = rows - min(row, size), cols - min(col, size)
        part[down**2 + right**2 <= size**2] = number
    return labels


def main() -> None:
    """Print the table."""
    sizes = sizes_asked_for(__doc__, Sizes(), SMALL)
    rng = np.random.default_rng(1)
    across = int(np.ceil(sizes.objects**0.5))
    corners = np.stack(np.divmod(np.arange(sizes.objects), across), axis=1)
    places = corners * (sizes.side // across) + sizes.radius
    truth = discs(rng, places, sizes)
    pred = discs(rng, np.maximum(places + rng.integers(-6, 7, places.shape), 0), sizes)
    table = tabulate_labels(pred, truth)
    works: dict[str, Callable[[], object]] = {
        "table of overlaps": partial(tabulate_labels, pred, truth),
        "match at 0.3 (an assignment)": partial(table.match, 0.3),
        "match at 0.5": partial(table.match, 0.5),
        "all of it": partial(evaluate, pred, truth),
    }
    floor, *taken = best(sizes.rounds, lambda: (pred.max(), truth.max()), *works.values())
    print(f"{len(table.true_labels)} objects, {len(table.iou)} pairs")
    heading()
    for words, each in zip(works, taken, strict=True):
        report(f"{words} (highest labels)", floor, each)


if __name__ == "__main__":
    main()
