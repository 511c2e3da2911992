"""How well an engine segments a folder of annotated images.

The folder holds ``NAME.png``, ``NAME_labels.png`` (0 is background) and ``index.csv``
with the columns name, kind and suspect; suspect images are skipped.

    python benchmarks/accuracy.py FOLDER --images 20

Prompts are simulated: each side of a box is moved by −5…+12 % of the box, a click falls
where the distance to the outline is at least 0.6 of the largest, and a corrective click
falls likewise into the larger of what is missing and what is too much.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from napari_sam3 import (
    Box,
    ConceptPrompt,
    Engine,
    Everything,
    Exemplar,
    Instances,
    ObjectPrompt,
    Point,
    Sam3Error,
    create_engine,
    segment,
)
from napari_sam3.core.instances import bounding_box

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]

_SMALLEST = 20
_CLICKS = 3
_EXEMPLARS = (1, 3)


@dataclass(frozen=True)
class Sample:
    """One annotated image."""

    image: npt.NDArray[np.uint8]
    labels: Labels


def iter_samples(folder: Path, kind: str, count: int, seed: int) -> Iterator[Sample]:
    """Yield `count` random images of a kind, always the same for a seed."""
    with (folder / "index.csv").open() as file:
        names = [
            row["name"]
            for row in csv.DictReader(file)
            if row["kind"] == kind and row["suspect"] == "0"
        ]
    for index in np.random.default_rng(seed).permutation(len(names))[:count]:
        image = np.asarray(Image.open(folder / f"{names[index]}.png"))
        labels = np.asarray(Image.open(folder / f"{names[index]}_labels.png"))
        yield Sample(image, labels.astype(np.int32))


def kinds_in(folder: Path) -> list[str]:
    """Return the kinds of image that the index names."""
    with (folder / "index.csv").open() as file:
        return sorted({row["kind"] for row in csv.DictReader(file)})


def random_objects(labels: Labels, count: int, rng: np.random.Generator) -> list[Mask]:
    """Return some objects of an image that are not tiny."""
    sizes = np.bincount(labels.ravel())
    names = np.flatnonzero(sizes >= _SMALLEST)
    return [labels == name for name in rng.permutation(names[names > 0])[:count]]


def loose_box(mask: Mask, rng: np.random.Generator) -> Box:
    """Return a box as a hurried user draws it."""
    box = bounding_box(mask)
    assert box is not None
    rows, cols = box.shape
    top, left, bottom, right = rng.uniform(-0.05, 0.12, 4) * (rows, cols, rows, cols)
    drawn = Box(
        round(box.top - top),
        round(box.left - left),
        max(round(box.bottom + bottom), round(box.top - top) + 1),
        max(round(box.right + right), round(box.left - left) + 1),
    )
    return drawn.intersection(Box.of_shape((mask.shape[0], mask.shape[1]))) or box


def click_in(mask: Mask, rng: np.random.Generator) -> tuple[int, int]:
    """Return a random pixel well inside a mask."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    rows, cols = np.nonzero(distance >= 0.6 * distance.max())
    chosen = rng.integers(rows.size)
    return int(rows[chosen]), int(cols[chosen])


def iou(one: Mask, two: Mask) -> float:
    """Return the overlap of two masks of the same shape."""
    union = np.count_nonzero(one | two)
    return float(np.count_nonzero(one & two) / union) if union else 0.0


def only_mask(instances: Instances) -> Mask:
    """Return all answered pixels as one mask."""
    return np.asarray(instances.to_labels() > 0)


def clicked_ious(
    engine: Engine, sample: Sample, mask: Mask, rng: np.random.Generator
) -> Iterator[float]:
    """Yield the overlap after one click, after two and so on."""
    points = [Point(*click_in(mask, rng))]
    for _ in range(_CLICKS):
        found = only_mask(
            segment(sample.image, ObjectPrompt(points=tuple(points)), engine).instances
        )
        yield iou(found, mask)
        missing, excess = mask & ~found, found & ~mask
        is_missing = np.count_nonzero(missing) >= np.count_nonzero(excess)
        wrong = missing if is_missing else excess
        if wrong.any():
            points.append(Point(*click_in(wrong, rng), positive=bool(is_missing)))


def f1(instances: Instances, labels: Labels) -> float:
    """Return F1 at an overlap of one half."""
    found = instances.to_labels().astype(np.int64)
    rows, cols = int(labels.max()) + 1, int(found.max()) + 1
    common = np.bincount(labels.ravel() * cols + found.ravel(), minlength=rows * cols)
    common = common.reshape(rows, cols)
    sizes, answers = common.sum(axis=1), common.sum(axis=0)
    overlap = common / np.maximum(sizes[:, None] + answers - common, 1)
    hits = int(np.count_nonzero(overlap[1:, 1:] > 0.5))
    total = np.count_nonzero(sizes[1:]) + np.count_nonzero(answers[1:])
    return 2 * hits / total if total else 1.0


def measured(
    engine: Engine, sample: Sample, objects: int, threshold: float, rng: np.random.Generator
) -> Iterator[tuple[str, float]]:
    """Yield (task, value) for one image."""
    for mask in random_objects(sample.labels, objects, rng):
        answer = segment(sample.image, ObjectPrompt(box=loose_box(mask, rng)), engine)
        yield "box IoU", iou(only_mask(answer.instances), mask)
        for number, value in enumerate(clicked_ious(engine, sample, mask, rng), start=1):
            yield f"click@{number} IoU", value
    everything = segment(sample.image, Everything(), engine, threshold)
    yield "everything F1", f1(everything.instances, sample.labels)
    for count in _EXEMPLARS:
        chosen = random_objects(sample.labels, count, rng)
        exemplars = tuple(Exemplar(loose_box(mask, rng)) for mask in chosen)
        if exemplars:
            found = segment(sample.image, ConceptPrompt(exemplars=exemplars), engine, threshold)
            yield f"exemplars@{count} F1", f1(found.instances, sample.labels)


def main() -> None:
    """Measure and print one table row per kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engine", default="builtin")
    parser.add_argument("--images", type=int, default=10, help="per kind")
    parser.add_argument("--objects", type=int, default=6, help="per image")
    parser.add_argument("--threshold", type=float, default=0.5, help="for everything, exemplars")
    parser.add_argument("--kinds", nargs="*", help="all by default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        engine = create_engine(options.engine)
    except Sam3Error as error:
        sys.exit(str(error))
    for kind in options.kinds or kinds_in(options.folder):
        rng = np.random.default_rng(options.seed)
        table: dict[str, list[float]] = defaultdict(list)
        for sample in iter_samples(options.folder, kind, options.images, options.seed):
            for task, value in measured(engine, sample, options.objects, options.threshold, rng):
                table[task].append(value)
        print_row(kind, table)


def print_row(kind: str, table: dict[str, Any]) -> None:
    """Print the mean of each task and how many values it is the mean of."""
    cells = [f"{task} {np.mean(values):.3f} (n={len(values)})" for task, values in table.items()]
    print(f"{kind:10s} {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
