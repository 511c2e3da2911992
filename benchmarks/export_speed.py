"""What exporting costs: 5,000 objects of some 40 × 40 pixels in an image of 4096² pixels.

    python -m benchmarks.export_speed

The floor, measured in the same run: taking the same masks once through memory, and writing as
many bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.timing import best, heading, report, sizes_asked_for
from napari_sam3.core.arrays import BoolArray
from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.labels import paint
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.outlines import trace_outlines
from napari_sam3.core.rle import whole_image_rle
from napari_sam3.workflows.exporting import FORMATS, Exported, export, read_objects

WIDTH = 40
PROMISE_S = 5.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    side: int = 4096
    objects: int = 5000
    rounds: int = 3


SMALL = Sizes(side=160, objects=5, rounds=1)


def cells(noise: np.random.Generator, sizes: Sizes) -> tuple[PlaneObject, ...]:
    """Return ellipses on a grid, shaken so that some overlap; one in ten has a hole."""
    across = int(np.ceil(np.sqrt(sizes.objects)))
    furthest = sizes.side - WIDTH
    step = furthest / across
    objects = []
    for index in range(sizes.objects):
        row, col = divmod(index, across)
        shake = noise.uniform(-12, 12, 2)
        top, left = np.clip(np.array([row, col]) * step + shake, 0, furthest).astype(int)
        mask = ellipse(noise, has_hole=index % 10 == 0)
        box = Box(int(top), int(left), int(top) + WIDTH, int(left) + WIDTH)
        score = float(noise.uniform(0.5, 1))
        instance = Instance(mask, box, score, "nucleus" if index % 3 else "cell")
        objects.append(PlaneObject(index + 1, instance, "Benchmark", depth=index))
    return tuple(objects)


def ellipse(noise: np.random.Generator, has_hole: bool) -> BoolArray:
    """Return a tilted ellipse that fills a square of 40 pixels more or less."""
    row, col = np.mgrid[:WIDTH, :WIDTH] - (WIDTH - 1) / 2
    angle = noise.uniform(0, np.pi)
    along, across = noise.uniform(14, 20, 2)
    first = (row * np.cos(angle) + col * np.sin(angle)) / along
    second = (col * np.cos(angle) - row * np.sin(angle)) / across
    mask: BoolArray = first**2 + second**2 <= 1
    mask[(row**2 + col**2 <= 9) & has_hole] = False
    return mask


def touch(
    objects: tuple[PlaneObject, ...], path: Path, size: int, side: int
) -> Callable[[], object]:
    """Return the floor: paint all masks once, and write so many bytes."""

    def work() -> None:
        labels = np.zeros((side, side), np.uint16)
        paint(labels, ((one.label, one.instance.box, one.instance.mask) for one in objects))
        path.write_bytes(bytes(size))

    return work


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(file.stat().st_size for file in files)


def main() -> None:
    """Print the table."""
    sizes = sizes_asked_for(__doc__, Sizes(), SMALL)
    noise, side, rounds = np.random.default_rng(1), sizes.side, sizes.rounds
    objects = cells(noise, sizes)
    values: npt.NDArray[Any] = noise.integers(0, 4096, (side, side), np.uint16)
    exported = Exported(
        objects, (side, side), PixelSize(0.25, 0.25, "micrometer"), "cells.tif", intensity=values
    )
    print(f"{sizes.objects} objects, {side}² pixels")
    heading()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        masks = [one.instance for one in objects]
        painted, lengths, outlines = best(
            rounds,
            touch(objects, home / "floor", 0, side),
            lambda: [whole_image_rle(mask, (side, side)) for mask in masks],
            lambda: [trace_outlines(mask.mask) for mask in masks],
        )
        report("run lengths (painting)", painted, lengths, within_s=PROMISE_S)
        report("outlines (painting)", painted, outlines, within_s=PROMISE_S)
        for each in FORMATS:
            path = home / f"cells{each.suffixes[0]}"
            export(path, exported, overwrite=True)
            size = size_of(path)
            works: list[Callable[[], object]] = [partial(export, path, exported, overwrite=True)]
            works += [partial(read_objects, path)] if each.can_be_read else []
            floor, *taken = best(rounds, touch(objects, home / "floor", size, side), *works)
            for what, each_s in zip(("write", "read"), taken, strict=False):
                words = f"{what} {each.title}, {size / 1e6:.2f} MB (painting, so many bytes)"
                report(words, floor, each_s, within_s=PROMISE_S)


if __name__ == "__main__":
    main()
